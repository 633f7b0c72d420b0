//! A delivery as a person sees it: where it stands, its attempts. It must not read anything.

use super::reading::Tried;
use crate::deliver::order::delivery_id;
use crate::event::errand::Errand;
use crate::judge::Class;
use crate::model::action::ActionName;
use crate::plan::layout::Place;
use crate::record::segment::{AttemptRecord, Segment};
use crate::run::document::{Run, Status};
use crate::run::outcome::{self, Outcome};
use serde::Serialize;

/// Where a delivery stands (contract.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Not tried yet.
    Pending,
    /// On its way: only the process that sends it knows, so no list ever shows it.
    Sending,
    /// Tried, and to be tried again.
    Retrying,
    /// Accepted.
    Succeeded,
    /// Refused, or never sendable.
    Failed,
    /// Its retries are used up.
    Exhausted,
    /// It waits: its destination is paused, or a guard holds its run.
    Held,
    /// Taken back before it was tried to its end.
    Canceled,
}

impl DeliveryStatus {
    /// The words of contract.md.
    pub const WORDS: [(&'static str, DeliveryStatus); 8] = [
        ("pending", DeliveryStatus::Pending),
        ("sending", DeliveryStatus::Sending),
        ("retrying", DeliveryStatus::Retrying),
        ("succeeded", DeliveryStatus::Succeeded),
        ("failed", DeliveryStatus::Failed),
        ("exhausted", DeliveryStatus::Exhausted),
        ("held", DeliveryStatus::Held),
        ("canceled", DeliveryStatus::Canceled),
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        DeliveryStatus::WORDS.iter().find(|(_, status)| *status == self).map_or("", |(word, _)| word)
    }
}

/// An attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// `att_…`
    pub id: String,
    /// 1 for the first.
    pub number: u32,
    /// Its outcome class.
    pub class: Class,
    /// The status, if a response came.
    pub status_code: Option<u16>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub completed_at: String,
    /// Milliseconds.
    pub duration_ms: u64,
    /// What came back; only where details were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<serde_json::Value>,
    /// What went wrong, for a person; only where details were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip)]
    pub(super) started_ms: u64,
}

/// A delivery with its attempts.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// `dlv_…`
    pub id: String,
    /// Its run, where rows are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Its export, where rows are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<String>,
    /// The event that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The rule that owes it for the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Its destination.
    pub destination: String,
    /// Its action.
    pub action: ActionName,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many rows it carries.
    pub rows: u64,
    /// Their keys; of an event its own, if it has one.
    pub row_keys: Vec<String>,
    /// Stays the same over all attempts.
    pub idempotency_key: String,
    /// The request as rendered; only where details were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<serde_json::Value>,
    /// All attempts, the first one first.
    pub attempts: Vec<Attempt>,
    /// The run's start, or when the event was taken, RFC 3339.
    pub created_at: String,
}

/// Where a delivery stands in its run.
#[derive(Clone, Copy)]
pub(super) struct Owed<'a> {
    pub run: &'a Run,
    pub place: &'a Place,
    pub index: u32,
    pub keys: &'a [String],
    /// Whether its destination is paused.
    pub paused: bool,
}

impl Delivery {
    /// A delivery with its attempts, the first one first.
    pub(super) fn of(Owed { run, place, index, keys, paused }: Owed, tried: &[Tried]) -> Delivery {
        let id = delivery_id(&run.id, place.number, index);
        Delivery {
            run: Some(run.id.clone()),
            export: Some(run.export.to_string()),
            event: None,
            rule: None,
            destination: run.destination.to_string(),
            action: place.action,
            status: status_of(tried, run.status, paused),
            rows: keys.len() as u64,
            row_keys: keys.iter().map(|key| key.replace('\u{1f}', "|")).collect(),
            idempotency_key: id.clone(),
            request: None,
            attempts: tried.iter().map(|tried| attempt(&id, tried.class, &tried.record)).collect(),
            created_at: run.started_at_text(),
            id,
        }
    }

    /// An event's delivery.
    pub(super) fn of_errand(errand: &Errand, paused: bool, tried: &[Tried]) -> Delivery {
        let id = delivery_id(&errand.id, 0, 0);
        Delivery {
            run: None,
            export: None,
            event: Some(errand.event.id.clone()),
            rule: Some(errand.rule.to_string()),
            destination: errand.destination.to_string(),
            action: errand.action,
            status: status_of(tried, Status::Delivering, paused),
            rows: 1,
            row_keys: errand.key.iter().cloned().collect(),
            idempotency_key: id.clone(),
            request: None,
            attempts: tried.iter().map(|tried| attempt(&id, tried.class, &tried.record)).collect(),
            created_at: crate::time::rfc3339(errand.created_at),
            id,
        }
    }
}

fn attempt(delivery: &str, class: Class, record: &AttemptRecord) -> Attempt {
    Attempt {
        id: format!("att_{}_{}", delivery.strip_prefix("dlv_").unwrap_or(delivery), record.number),
        number: record.number,
        class,
        status_code: record.status,
        started_at: crate::time::rfc3339(record.started_ms * 1000),
        completed_at: crate::time::rfc3339((record.started_ms + record.duration_ms) * 1000),
        duration_ms: record.duration_ms,
        response: None,
        error: None,
        started_ms: record.started_ms,
    }
}

impl Attempt {
    /// Unix milliseconds.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }
}

/// Where a delivery stands, given its attempts from the first to the last, and its run. `paused`: its destination is paused.
pub(super) fn status_of(tried: &[Tried], run: Status, paused: bool) -> DeliveryStatus {
    let segments = tried.iter().map(|tried| Segment {
        class: tried.class,
        attempts: vec![AttemptRecord { index: 0, ..tried.record.clone() }],
        unsent: vec![],
        page: None,
        inline_page: vec![],
    });
    let outcome = outcome::recount(1, segments.collect()).deliveries[0];
    let last = tried.last().is_some_and(|tried| tried.record.last);
    match outcome {
        Outcome::Delivered(_) => DeliveryStatus::Succeeded,
        _ if !last => match run {
            Status::Held => DeliveryStatus::Held,
            Status::Delivering if paused => DeliveryStatus::Held,
            Status::Planning | Status::Delivering if tried.is_empty() => DeliveryStatus::Pending,
            Status::Planning | Status::Delivering => DeliveryStatus::Retrying,
            _ => DeliveryStatus::Canceled,
        },
        // What no policy tries again has used up nothing.
        Outcome::Failed { .. } if tried.len() == 1 && !is_retried(tried[0].class) => DeliveryStatus::Failed,
        Outcome::Failed { .. } | Outcome::Untried => DeliveryStatus::Exhausted,
        Outcome::Rejected { .. } | Outcome::Unsendable => DeliveryStatus::Failed,
    }
}

/// The class and the last-try flag that the newest attempt of a delivery with this status can have.
pub(super) fn newest_of(status: DeliveryStatus) -> impl Iterator<Item = (Class, bool)> {
    let classes = |classes: &'static [Class], last: bool| classes.iter().map(move |class| (*class, last));
    match status {
        DeliveryStatus::Succeeded => classes(&[Class::Success], true),
        DeliveryStatus::Failed => classes(&FAILING, true),
        DeliveryStatus::Exhausted => classes(&EXHAUSTING, true),
        DeliveryStatus::Retrying | DeliveryStatus::Held | DeliveryStatus::Canceled => classes(&Class::ALL[1..], false),
        DeliveryStatus::Pending | DeliveryStatus::Sending => classes(&[], false),
    }
}

/// Refused, not sendable, or not retried.
const FAILING: [Class; 7] = [
    Class::RedirectionError,
    Class::ClientError,
    Class::AuthConfigError,
    Class::InternalError,
    Class::RenderError,
    Class::PolicyError,
    Class::ResponseError,
];

/// Tried for the last time (a 408 is a client's error), or once more by hand.
const EXHAUSTING: [Class; 9] = [
    Class::TooManyRequestsError,
    Class::ClientError,
    Class::ServerError,
    Class::NetworkError,
    Class::TimeoutError,
    Class::AuthConfigError,
    Class::InternalError,
    Class::PolicyError,
    Class::ResponseError,
];

fn is_retried(class: Class) -> bool {
    !matches!(class, Class::PolicyError | Class::ResponseError | Class::AuthConfigError | Class::InternalError)
}
