//! What an answer says when something is wrong: RFC 9457, with stable codes and every problem found. It must not show a secret, nor
//! what went wrong inside of us.

use engine::model::project::Problem as Found;
use engine::port::PortError;
use serde::Serialize;
use utoipa::ToSchema;

/// What is wrong, for programs. A word never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    InvalidParameter,
    InvalidHeader,
    MalformedJson,
    MalformedBody,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    InUse,
    ExportBusy,
    RunNotFinished,
    RunEnded,
    RunNotHeld,
    PlanNotReady,
    LaterRun,
    NewerEvent,
    NotPushed,
    UploadClosed,
    IdempotencyKeyInUse,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
    Invalid,
    UploadTorn,
    IdempotencyKeyReused,
    Internal,
    Busy,
    LaneBusy,
    StorageFull,
}

/// A line of the table of codes.
pub(crate) struct Meaning {
    pub(crate) code: Code,
    pub(crate) word: &'static str,
    pub(crate) status: u16,
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
}

const fn meaning(code: Code, word: &'static str, status: u16, title: &'static str, about: &'static str) -> Meaning {
    Meaning { code, word, status, title, about }
}

/// Every code there is: what answers carry, what the document lists and what the page shows.
pub(crate) static CODES: &[Meaning] = &[
    meaning(
        Code::InvalidParameter,
        "invalid_parameter",
        400,
        "A parameter is wrong",
        "A query parameter is unknown, stands there twice or has a value that is not allowed; `problems` names each.",
    ),
    meaning(
        Code::InvalidHeader,
        "invalid_header",
        400,
        "A header is wrong",
        "`If-Match`, `If-None-Match` or `Idempotency-Key` cannot be read.",
    ),
    meaning(Code::MalformedJson, "malformed_json", 400, "The body is not JSON", "Says the line and the column where reading stopped."),
    meaning(
        Code::MalformedBody,
        "malformed_body",
        400,
        "The body cannot be read",
        "It ended early, came too slowly, or is missing where one is needed.",
    ),
    meaning(
        Code::Unauthorized,
        "unauthorized",
        401,
        "A token is needed",
        "No bearer token, or one that is unknown, expired or revoked. `penstock token create` makes one.",
    ),
    meaning(Code::Forbidden, "forbidden", 403, "The token may not do this", "It lacks a scope; `detail` names it."),
    meaning(
        Code::NotFound,
        "not_found",
        404,
        "There is no such thing",
        "The path is unknown, or nothing of your organization has this id.",
    ),
    meaning(Code::MethodNotAllowed, "method_not_allowed", 405, "This path knows other methods", "`Allow` lists them."),
    meaning(Code::InUse, "in_use", 409, "Others refer to it", "What refers to it is listed in `problems`; change that first."),
    meaning(
        Code::ExportBusy,
        "export_busy",
        409,
        "A run of this export is going on",
        "Two runs of one export never overlap; `detail` names the one that has it.",
    ),
    meaning(Code::RunNotFinished, "run_not_finished", 409, "The run has not ended", "Wait for its end, or cancel it."),
    meaning(Code::RunEnded, "run_ended", 409, "The run has ended", "What has ended cannot be canceled or approved."),
    meaning(Code::RunNotHeld, "run_not_held", 409, "The run is not held", "Only a run that a guard holds can be approved."),
    meaning(Code::PlanNotReady, "plan_not_ready", 409, "The plan is still being made", "Ask again after `Retry-After` seconds."),
    meaning(
        Code::LaterRun,
        "later_run",
        409,
        "A later run was planned",
        "Rows may have moved on since: run the export, which finds what is still owed.",
    ),
    meaning(
        Code::NewerEvent,
        "newer_event",
        409,
        "A newer event was delivered",
        "An event of the same key came after it and was delivered to the same destination: the older one would undo it.",
    ),
    meaning(
        Code::NotPushed,
        "not_a_push_model",
        409,
        "The model takes no pushed rows",
        "Its source is another one: `source: {type: push}` takes them.",
    ),
    meaning(Code::UploadClosed, "upload_closed", 409, "The upload takes no more", "It was committed already; begin another one."),
    meaning(
        Code::IdempotencyKeyInUse,
        "idempotency_key_in_use",
        409,
        "The first request is still at work",
        "A request with this `Idempotency-Key` has not been answered yet: ask again after a moment.",
    ),
    meaning(
        Code::PreconditionFailed,
        "precondition_failed",
        412,
        "It has changed meanwhile",
        "`If-Match` or `If-None-Match` does not hold: read it again, then change that.",
    ),
    meaning(Code::TooLarge, "too_large", 413, "The body is too large", "`detail` says how much is taken."),
    meaning(
        Code::UnsupportedMediaType,
        "unsupported_media_type",
        415,
        "The body is of another type",
        "`detail` says which `Content-Type` is taken.",
    ),
    meaning(Code::Invalid, "invalid", 422, "The content is not valid", "Every problem is listed in `problems`, with its path."),
    meaning(
        Code::UploadTorn,
        "upload_torn",
        422,
        "The upload is not whole",
        "Parts are missing, or the number of rows or the checksum is another. Nothing was changed.",
    ),
    meaning(
        Code::IdempotencyKeyReused,
        "idempotency_key_reused",
        422,
        "The Idempotency-Key belongs to another request",
        "The key was used with another path or body within the last 24 hours: use a fresh one.",
    ),
    meaning(Code::Internal, "internal", 500, "We failed", "Our log has the cause, under the answer's `X-Request-Id`."),
    meaning(Code::Busy, "busy", 503, "Too much is asked at once", "Ask again after `Retry-After` seconds."),
    meaning(
        Code::LaneBusy,
        "lane_busy",
        503,
        "The destination's limit left no room",
        "No permit came free within 25 seconds: ask again later.",
    ),
    meaning(Code::StorageFull, "storage_full", 503, "No space is left", "Nothing was written; make room, then ask again."),
];

impl Code {
    pub(crate) fn meaning(self) -> &'static Meaning {
        CODES.iter().find(|meaning| meaning.code == self).unwrap_or(&CODES[0])
    }

    pub(crate) fn status(self) -> u16 {
        self.meaning().status
    }
}

/// What is wrong with a request, or with us.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    /// A sentence a user can act on.
    pub(crate) detail: String,
    pub(crate) problems: Vec<Found>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// For our log alone.
    pub(crate) cause: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem { code, detail: detail.into(), problems: Vec::new(), headers: Vec::new(), cause: None }
    }

    /// With every single thing that is wrong.
    pub(crate) fn listed(code: Code, detail: impl Into<String>, problems: Vec<Found>) -> Problem {
        Problem { problems, ..Problem::new(code, detail) }
    }

    /// Content with these problems.
    pub(crate) fn invalid(problems: Vec<Found>) -> Problem {
        let detail = match problems.len() {
            1 => "one thing is wrong".to_string(),
            count => format!("{count} things are wrong"),
        };
        Problem::listed(Code::Invalid, detail, problems)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    /// Nothing of the caller's organization has this id. The same for what is another organization's.
    pub(crate) fn missing(kind: &str, id: &str) -> Problem {
        Problem::new(Code::NotFound, format!("there is no {kind} `{id}`"))
    }

    pub(crate) fn internal(cause: impl Into<String>) -> Problem {
        let detail = "something of ours failed; our log has the cause under this answer's X-Request-Id";
        Problem { cause: Some(cause.into()), ..Problem::new(Code::Internal, detail) }
    }

    pub(crate) fn body(&self) -> ProblemBody {
        let meaning = self.code.meaning();
        ProblemBody {
            kind: format!("/docs#{}", meaning.word),
            title: meaning.title.to_string(),
            status: meaning.status,
            code: meaning.word.to_string(),
            detail: self.detail.clone(),
            problems: self.problems.iter().map(|found| Fault { path: found.path.clone(), message: found.message.clone() }).collect(),
        }
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Problem {
        match error {
            PortError::Full(_) => {
                let full = Problem::new(Code::StorageFull, "no space is left; nothing was written").header("retry-after", "30");
                Problem { cause: Some(error.to_string()), ..full }
            }
            error => Problem::internal(error.to_string()),
        }
    }
}

/// A problem (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// Leads to what the code means.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/docs#invalid")]
    kind: String,
    /// What the code means, for people.
    title: String,
    /// The HTTP status once more.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Stable; the page lists all codes.
    #[schema(example = "invalid")]
    code: String,
    /// What is wrong this time and what to do about it.
    detail: String,
    /// Every single thing that is wrong, where there are such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    problems: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// Where: keys from the top, as in `actions.add.url`; list places as `fields[2].from`; a parameter's name; `line 3`.
    path: String,
    /// What is wrong and what to do.
    message: String,
}
