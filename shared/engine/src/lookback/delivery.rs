//! A delivery as a person sees it: where it stands, its attempts. It must not read anything.

use crate::judge::Class;
use crate::model::action::ActionName;
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
    /// It waits since its destination is paused.
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
    /// Its run.
    pub run: String,
    /// Its export.
    pub export: String,
    /// Its destination.
    pub destination: String,
    /// Its action.
    pub action: ActionName,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many rows it carries.
    pub rows: u64,
    /// Their keys.
    pub row_keys: Vec<String>,
    /// Stays the same over all attempts.
    pub idempotency_key: String,
    /// The request as rendered; only where details were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<serde_json::Value>,
    /// All attempts, the first one first.
    pub attempts: Vec<Attempt>,
    /// The run's start, RFC 3339.
    pub created_at: String,
}

pub(super) fn attempt(delivery: &str, class: Class, record: &AttemptRecord) -> Attempt {
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

/// Where a delivery stands, given its attempts from the first to the last. `paused`: its destination is paused.
pub(super) fn status_of(attempts: &[(Class, AttemptRecord)], run: &Run, paused: bool) -> DeliveryStatus {
    let delivering = run.status == Status::Delivering;
    let segments = attempts.iter().map(|(class, record)| Segment {
        class: *class,
        attempts: vec![AttemptRecord { index: 0, ..record.clone() }],
        unsent: vec![],
        page: None,
        inline_page: vec![],
    });
    let last = attempts.last().is_some_and(|(_, record)| record.last);
    match outcome::recount(1, segments.collect()).deliveries[0] {
        Outcome::Delivered(_) => DeliveryStatus::Succeeded,
        _ if delivering && paused && !last => DeliveryStatus::Held,
        _ if delivering && attempts.is_empty() => DeliveryStatus::Pending,
        _ if delivering && !last => DeliveryStatus::Retrying,
        Outcome::Untried => DeliveryStatus::Canceled,
        Outcome::Failed { .. } if !last => DeliveryStatus::Canceled,
        // What no policy tries again has used up nothing.
        Outcome::Failed { .. } if attempts.len() == 1 && !is_retried(attempts[0].0) => DeliveryStatus::Failed,
        Outcome::Failed { .. } => DeliveryStatus::Exhausted,
        Outcome::Rejected { .. } | Outcome::Unsendable => DeliveryStatus::Failed,
    }
}

fn is_retried(class: Class) -> bool {
    !matches!(class, Class::PolicyError | Class::ResponseError | Class::AuthConfigError | Class::InternalError)
}
