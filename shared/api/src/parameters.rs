//! The parameters that several operations share.

use crate::operation::{Parameter, Place, Value};
use engine::judge::Class;
use engine::lookback::DeliveryStatus;

const fn query(name: &'static str, value: Value, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, value, required: false, about, example }
}

const fn path(name: &'static str, value: Value, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Path, value, required: true, about, example }
}

const fn header(name: &'static str, value: Value, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Header, value, required: false, about, example }
}

/// The most that a list gives at once.
pub(crate) const MOST_ITEMS: u64 = 200;
/// What a list gives where nothing is said.
pub(crate) const ITEMS: u64 = 50;

pub(crate) static LIMIT: Parameter = query("limit", Value::Number(1, MOST_ITEMS), "How many items at most; 50 unless given.", "50");
pub(crate) static AFTER: Parameter =
    query("after", Value::Text(1000), "Goes on after an earlier answer: its `next`, as it is.", "bmV3c2xldHRlcg");

pub(crate) static CREDENTIAL: Parameter = path("id", Value::Name, "The credential's name.", "crm");
pub(crate) static DESTINATION: Parameter = path("id", Value::Name, "The destination's name.", "crm");
pub(crate) static MODEL: Parameter = path("id", Value::Name, "The model's name.", "newsletter");
pub(crate) static EXPORT: Parameter = path("id", Value::Name, "The export's name.", "newsletter");
pub(crate) static REQUEST: Parameter = path("id", Value::Name, "The request's name.", "customer_profile");
pub(crate) static RULE: Parameter = path("id", Value::Name, "The rule's name.", "welcome");
pub(crate) static EVENT_TYPE: Parameter = path("id", Value::EventType, "The type's name, as events write it.", "order.placed");
pub(crate) static RUN: Parameter = path("id", Value::Id("run_"), "The run.", "run_06c1m2k3n4p5q6r7");
pub(crate) static PLAN: Parameter = path("id", Value::Id("plan_"), "The plan.", "plan_06c1m2k3n4p5q6r7");
pub(crate) static DELIVERY: Parameter = path("id", Value::Id("dlv_"), "The delivery.", "dlv_06c1m2k3n4p5q6r7_0_0");
pub(crate) static TOKEN: Parameter = path("id", Value::Id("tok_"), "The token.", "tok_06c1m2k3n4p5q6r7");
pub(crate) static UPLOAD: Parameter = path("upload", Value::Id("upl_"), "The upload.", "upl_06c1m2k3n4p5q6r7");
pub(crate) static PART: Parameter = path("number", Value::Number(1, 10_000), "Which part, from 1.", "1");

pub(crate) static IF_MATCH: Parameter =
    header("If-Match", Value::Tag, "Only if what is there has this `ETag`; `*`: only if it is there.", "\"7\"");
pub(crate) static IF_NONE_MATCH: Parameter = header("If-None-Match", Value::Tag, "`*`: only if nothing is there yet.", "*");
pub(crate) static IDEMPOTENCY_KEY: Parameter = header(
    "Idempotency-Key",
    Value::Key,
    "1 to 255 visible characters of the caller's choice. The same request with the same key within 24 hours does nothing again and gets \
     the first answer, with `Idempotency-Replayed: true`. Answers of 5xx are not kept, nor are bodies over 300 KB.",
    "5f3a9c1e-2d4b-4f6a-8b7c-9d0e1f2a3b4c",
);

fn statuses_of_runs() -> Vec<&'static str> {
    use engine::run::document::Status;
    [Status::Planning, Status::Delivering, Status::Held, Status::Succeeded, Status::CompletedWithErrors, Status::Failed, Status::Canceled]
        .into_iter()
        .map(Status::as_str)
        .collect()
}

fn statuses_of_deliveries() -> Vec<&'static str> {
    DeliveryStatus::WORDS.iter().map(|(word, _)| *word).collect()
}

fn classes() -> Vec<&'static str> {
    Class::ALL.iter().map(|class| class.as_str()).collect()
}

pub(crate) static RUN_STATUS: Parameter = query("status", Value::Word(statuses_of_runs), "Runs that stand so now.", "held");
pub(crate) static OF_RUN: Parameter = query("run", Value::Id("run_"), "Of this run.", "run_06c1m2k3n4p5q6r7");
pub(crate) static OF_EXPORT: Parameter = query("export", Value::Name, "Of this export.", "newsletter");
pub(crate) static OF_DESTINATION: Parameter = query("destination", Value::Name, "To this destination.", "crm");
pub(crate) static OF_RULE: Parameter = query("rule", Value::Name, "Owed by this rule.", "welcome");
pub(crate) static OF_EVENT: Parameter = query("event", Value::Text(128), "Owed for the event of this id.", "evt-1");
pub(crate) static OF_CLASS: Parameter = query("class", Value::Word(classes), "Some attempt had this outcome class.", "client_error");
pub(crate) static OF_STATUS: Parameter = query("status", Value::Word(statuses_of_deliveries), "Deliveries that stand so now.", "failed");
pub(crate) static SINCE: Parameter = query("since", Value::Time, "At this time or later (RFC 3339).", "2026-01-01T00:00:00Z");
pub(crate) static UNTIL: Parameter = query("until", Value::Time, "Before this time (RFC 3339).", "2026-01-02T00:00:00Z");
pub(crate) static OF_ROW: Parameter = query(
    "row",
    Value::Text(1000),
    "The delivery carries the row of this key, the columns of a composite key joined by `|`; only together with `run`, `export` or \
     `destination`.",
    "42",
);
pub(crate) static MODE: Parameter = Parameter {
    name: "mode",
    place: Place::Query,
    value: Value::Word(|| vec!["changes"]),
    required: true,
    about: "`changes`: rows that were added or changed, and keys that are gone. A whole snapshot goes through an upload.",
    example: "changes",
};
pub(crate) static DRY_RUN: Parameter =
    query("dry_run", Value::Boolean, "`true`, which holds unless given: only count what would be sent again. `false`: send it.", "true");
pub(crate) static APPLY_DRY_RUN: Parameter = query("dry_run", Value::Boolean, "`true`: only tell what would change.", "true");
pub(crate) static PRUNE: Parameter = query("prune", Value::Boolean, "`true`: delete what the project does not have.", "false");
