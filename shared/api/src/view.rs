//! What answers look like: the engine's types as JSON, with their schemas. It must not decide what is shown to whom.

use engine::judge::Class;
use engine::lookback;
use engine::model::action::ActionName;
use engine::record::page::{LoggedRequest, LoggedResponse};
use engine::run::document::{Run, Status, Trigger};
use engine::time::rfc3339;
use serde::Serialize;
use utoipa::ToSchema;

/// A run: one execution of an export.
#[derive(Serialize, ToSchema)]
#[schema(as = Run)]
pub(crate) struct RunView {
    /// The run.
    #[schema(pattern = "^run_[0-9a-z_]+$")]
    id: String,
    /// Its export.
    export: String,
    /// Its destination.
    destination: String,
    /// Where it stands.
    #[schema(value_type = RunStatus)]
    status: &'static str,
    /// Its plan, to be looked at: `GET /v1/plans/{id}`.
    plan: String,
    /// Who asked for it.
    #[schema(value_type = RunTrigger)]
    trigger: &'static str,
    /// Whether a person has asked for its end.
    cancel_asked: bool,
    /// What its plan holds.
    changes: Changes,
    /// Requests of its plan.
    requests: u64,
    /// Rows that are taken as they are, without being sent.
    settled: u64,
    /// Rows that the limits leave no time for; the next run finds them again.
    left: u64,
    /// What became of its rows, once it has ended.
    rows: Rows,
    /// What became of its deliveries, once it has ended.
    deliveries: Deliveries,
    /// Requests tried, once it has ended.
    attempts: u64,
    /// The first hundred rows that are not valid; all are counted.
    invalid: Vec<InvalidRow>,
    /// Why it is held, has failed or was canceled.
    reason: Option<String>,
    /// When it was asked for (RFC 3339).
    #[schema(format = DateTime)]
    started_at: String,
    /// When it ended (RFC 3339).
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    /// From start to end, milliseconds.
    duration_ms: Option<u64>,
}

/// Where a run stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there for its schema; the engine's words are sent, and a test compares them")]
pub(crate) enum RunStatus {
    Planning,
    Delivering,
    Held,
    Succeeded,
    CompletedWithErrors,
    Failed,
    Canceled,
}

/// Who asked for a run.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there for its schema; the engine's words are sent, and a test compares them")]
pub(crate) enum RunTrigger {
    CommandLine,
    Api,
    Schedule,
}

/// Rows by kind of change.
#[derive(Serialize, ToSchema)]
pub(crate) struct Changes {
    /// Rows that the destination does not have.
    added: u64,
    /// Rows that it has with other fields.
    changed: u64,
    /// Rows that it has and the model no longer does.
    removed: u64,
}

/// What became of rows.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rows {
    /// Accepted.
    delivered: u64,
    /// Refused by the destination.
    rejected: u64,
    /// Never sent: our check.
    invalid: u64,
    /// Not delivered; the next run finds them again.
    pending: u64,
    /// Not delivered, and left alone until they change.
    given_up: u64,
}

/// What became of deliveries.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deliveries {
    /// Accepted.
    succeeded: u64,
    /// Tried, or found unsendable, and not accepted.
    failed: u64,
}

/// A row that was never sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvalidRow {
    /// Where it stands in the source, or in which delivery.
    place: String,
    /// Its key, where it can be read.
    key: Option<String>,
    /// What is wrong with it.
    reason: String,
}

impl Changes {
    fn of(run: &Run) -> Changes {
        Changes { added: run.totals.added, changed: run.totals.changed, removed: run.totals.removed }
    }
}

fn invalid(run: &Run) -> Vec<InvalidRow> {
    run.invalid.iter().map(|row| InvalidRow { place: row.place.clone(), key: row.key.clone(), reason: row.reason.clone() }).collect()
}

/// The plan of a run, under the name that plans have.
pub(crate) fn plan_id(run: &str) -> String {
    run.replacen("run_", "plan_", 1)
}

/// The run that a plan is of.
pub(crate) fn run_of_plan(plan: &str) -> Option<String> {
    plan.strip_prefix("plan_").map(|rest| format!("run_{rest}"))
}

impl RunView {
    pub(crate) fn of(run: &Run) -> RunView {
        RunView {
            id: run.id.clone(),
            export: run.export.to_string(),
            destination: run.destination.to_string(),
            status: run.status.as_str(),
            plan: plan_id(&run.id),
            trigger: match run.wish.trigger {
                Trigger::CommandLine => "command_line",
                Trigger::Api => "api",
                Trigger::Schedule => "schedule",
            },
            cancel_asked: run.cancel_asked,
            changes: Changes::of(run),
            requests: run.totals.deliveries,
            settled: run.totals.settled,
            left: run.totals.left,
            rows: Rows {
                delivered: run.rows.delivered,
                rejected: run.rows.rejected,
                invalid: run.rows.invalid.max(run.invalid_rows),
                pending: run.rows.pending,
                given_up: run.rows.given_up,
            },
            deliveries: Deliveries { succeeded: run.deliveries.succeeded, failed: run.deliveries.failed },
            attempts: run.attempts,
            invalid: invalid(run),
            reason: run.reason.clone(),
            started_at: rfc3339(run.started_at),
            finished_at: run.finished_at.map(rfc3339),
            duration_ms: run.finished_at.map(|finished| finished.saturating_sub(run.started_at) / 1000),
        }
    }
}

/// A plan: what a run would do, or what one did.
#[derive(Serialize, ToSchema)]
#[schema(as = Plan)]
pub(crate) struct PlanView {
    /// The plan.
    #[schema(pattern = "^plan_[0-9a-z_]+$")]
    id: String,
    /// The run that executes it, or would.
    run: String,
    /// Its export.
    export: String,
    /// Its destination.
    destination: String,
    /// `planning`: it is being made. `ready`: it can be looked at and executed. `executed`: it was. `failed`: it could not be made.
    /// `canceled`: it was dropped, or a later run was planned.
    #[schema(value_type = PlanStatus)]
    status: &'static str,
    /// What it would change.
    changes: Changes,
    /// How many requests it holds.
    requests: u64,
    /// Rows that are taken as they are, without being sent.
    settled: u64,
    /// Rows that the limits leave no time for.
    left: u64,
    /// Rows that are not valid.
    invalid_rows: u64,
    /// The first hundred of them.
    invalid: Vec<InvalidRow>,
    /// Why a guard holds it, or why it could not be made.
    reason: Option<String>,
    /// When it was asked for (RFC 3339).
    #[schema(format = DateTime)]
    started_at: String,
}

/// Where a plan stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there for its schema; the words are sent")]
pub(crate) enum PlanStatus {
    Planning,
    Ready,
    Executed,
    Failed,
    Canceled,
}

impl PlanView {
    pub(crate) fn of(run: &Run) -> PlanView {
        PlanView {
            id: plan_id(&run.id),
            run: run.id.clone(),
            export: run.export.to_string(),
            destination: run.destination.to_string(),
            status: match run.status {
                Status::Planning => "planning",
                Status::Held => "ready",
                Status::Canceled if run.attempts == 0 => "canceled",
                Status::Failed if run.parcels == 0 => "failed",
                _ => "executed",
            },
            changes: Changes::of(run),
            requests: run.totals.deliveries,
            settled: run.totals.settled,
            left: run.totals.left,
            invalid_rows: run.invalid_rows,
            invalid: invalid(run),
            reason: run.reason.clone(),
            started_at: rfc3339(run.started_at),
        }
    }
}

/// A request as it went, or would go, over the wire; secrets are `[redacted]`.
#[derive(Serialize, ToSchema)]
#[schema(as = Request)]
pub(crate) struct RequestView {
    /// The method.
    #[schema(example = "POST")]
    method: String,
    /// The whole URL.
    pub(crate) url: String,
    /// Name and value, in order.
    headers: Vec<(String, String)>,
    /// The body, if there is one.
    body: Option<String>,
    /// Whether the body is longer than what is shown.
    truncated: bool,
}

/// So much of a rendered body is shown.
const SHOWN_BODY_BYTES: usize = 64 * 1024;

impl RequestView {
    pub(crate) fn of(request: &LoggedRequest) -> RequestView {
        let mut body = request.body.clone();
        let truncated = body.as_ref().is_some_and(|body| body.len() > SHOWN_BODY_BYTES);
        if let Some(body) = body.as_mut().filter(|_| truncated) {
            body.truncate(body.floor_char_boundary(SHOWN_BODY_BYTES));
        }
        RequestView { method: request.method.clone(), url: request.url.clone(), headers: request.headers.clone(), body, truncated }
    }
}

/// A response as it came; secrets that it echoes are `[redacted]`.
#[derive(Serialize, ToSchema)]
#[schema(as = Response)]
pub(crate) struct ResponseView {
    /// The status code.
    #[schema(minimum = 100, maximum = 999)]
    status: u16,
    /// Name and value, in order.
    headers: Vec<(String, String)>,
    /// The first 64 KB of the body.
    body: String,
    /// Whether the body is longer than what is kept.
    truncated: bool,
}

impl ResponseView {
    pub(crate) fn of(response: &LoggedResponse) -> ResponseView {
        ResponseView {
            status: response.status,
            headers: response.headers.clone(),
            body: response.body.clone(),
            truncated: response.truncated,
        }
    }
}

/// What a caller may know of why an address was refused: which address a name led to is for who runs the server alone, else anybody
/// who may put a destination could look around in the server's network.
pub(crate) fn public_error(class: Class, error: &str, url: &str) -> String {
    let is_address = |word: &&str| {
        let word = word.trim_matches(|c: char| matches!(c, ',' | ';' | '(' | ')' | '[' | ']' | '`'));
        let word = word.strip_suffix(':').unwrap_or(word);
        word.parse::<std::net::IpAddr>().is_ok()
    };
    let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(|host| host.trim_matches(['[', ']']).to_string()));
    let written = host.is_some_and(|host| host.parse::<std::net::IpAddr>().is_ok());
    match class == Class::PolicyError && !written && error.split_whitespace().any(|word| is_address(&word)) {
        true => {
            "the host's address is not one that may be connected to; who runs the server can allow it, and its log says which".to_string()
        }
        false => error.to_string(),
    }
}

/// An outcome class of an attempt.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there for its schema; the engine's words are sent, and a test compares them")]
pub(crate) enum OutcomeClass {
    Success,
    RedirectionError,
    TooManyRequestsError,
    ClientError,
    ServerError,
    NetworkError,
    TimeoutError,
    AuthConfigError,
    InternalError,
    RenderError,
    PolicyError,
    ResponseError,
}

/// Which action.
#[derive(ToSchema)]
#[schema(as = ActionName, rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there for its schema; the engine's words are sent, and a test compares them")]
pub(crate) enum ActionWord {
    Add,
    Update,
    Remove,
}

/// Where a delivery stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there for its schema; the engine's words are sent, and a test compares them")]
pub(crate) enum DeliveryStatus {
    Pending,
    Sending,
    Retrying,
    Succeeded,
    Failed,
    Exhausted,
    Held,
    Canceled,
}

/// One try of a delivery.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// The attempt.
    id: String,
    /// 1 for the first.
    number: u32,
    /// Its outcome.
    #[schema(value_type = OutcomeClass)]
    class: Class,
    /// The status, if a response came.
    #[schema(minimum = 100, maximum = 999)]
    status_code: Option<u16>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    started_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    completed_at: String,
    /// Milliseconds.
    duration_ms: u64,
    /// What came back; in a list not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    response: Option<serde_json::Value>,
    /// What went wrong, for a person; in a list not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A credential, all but its secrets.
#[derive(Serialize, ToSchema)]
pub(crate) struct CredentialName {
    /// Its name.
    pub(crate) id: String,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "bearer")]
    pub(crate) kind: String,
}

/// A delivery: one request that was owed, with every attempt.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    /// The delivery.
    #[schema(pattern = "^dlv_[0-9a-z_]+$")]
    id: String,
    /// Its run, where rows are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    run: Option<String>,
    /// Its export, where rows are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    export: Option<String>,
    /// The event that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    event: Option<String>,
    /// The rule that owes it for the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    rule: Option<String>,
    /// Its destination.
    destination: String,
    /// Its action.
    #[schema(value_type = ActionWord)]
    action: ActionName,
    /// Where it stands now.
    #[schema(value_type = DeliveryStatus)]
    status: &'static str,
    /// How many rows it carries.
    rows: u64,
    /// Their keys, the columns of a composite key joined by `|`.
    row_keys: Vec<String>,
    /// The same over all attempts.
    idempotency_key: String,
    /// The request as rendered, secrets redacted; in a list not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    request: Option<serde_json::Value>,
    /// The credential that its destination has now; null: it has none. In a list not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    credential: Option<Option<CredentialName>>,
    /// All attempts, the first one first.
    attempts: Vec<AttemptView>,
    /// When its run was asked for, or its event taken (RFC 3339).
    #[schema(format = DateTime)]
    created_at: String,
}

impl DeliveryView {
    /// With the credential that its destination has, if it has one.
    pub(crate) fn with_credential(self, credential: Option<CredentialName>) -> DeliveryView {
        DeliveryView { credential: Some(credential), ..self }
    }

    pub(crate) fn of(delivery: lookback::Delivery) -> DeliveryView {
        let url = delivery.request.as_ref().and_then(|request| request["url"].as_str()).unwrap_or_default().to_string();
        let attempts = delivery.attempts.into_iter().map(|attempt| AttemptView {
            id: attempt.id,
            number: attempt.number,
            class: attempt.class,
            status_code: attempt.status_code,
            started_at: attempt.started_at,
            completed_at: attempt.completed_at,
            duration_ms: attempt.duration_ms,
            response: attempt.response,
            error: attempt.error.map(|error| public_error(attempt.class, &error, &url)),
        });
        DeliveryView {
            attempts: attempts.collect(),
            id: delivery.id,
            run: delivery.run,
            export: delivery.export,
            event: delivery.event,
            rule: delivery.rule,
            destination: delivery.destination,
            action: delivery.action,
            status: delivery.status.as_str(),
            rows: delivery.rows,
            row_keys: delivery.row_keys,
            idempotency_key: delivery.idempotency_key,
            request: delivery.request,
            credential: None,
            created_at: delivery.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// faults.md S33: what a name led to is not told, what the caller wrote is.
    #[test]
    fn a_refused_address_is_told_to_who_wrote_it_only() {
        let refused = "10.0.0.7 is a private address: allow private addresses or name its range, 10.0.0.7/32:443, to connect to it";
        for (class, url, error, told) in [
            (Class::PolicyError, "https://internal.example/x", refused, false),
            (Class::PolicyError, "https://10.0.0.7/x", refused, true),
            (Class::PolicyError, "https://[::1]/x", "::1 is a loopback address: name its range", true),
            (Class::PolicyError, "https://a.example/", "the run began before the destination moved to https://b.example", true),
            (Class::ClientError, "https://a.example/", "the destination answered 422: 10.0.0.7 is unknown", true),
        ] {
            assert_eq!(public_error(class, error, url) == error, told, "{url}: {error}");
        }
        assert!(!public_error(Class::PolicyError, refused, "https://internal.example/x").contains("10.0.0.7"));
    }
}
