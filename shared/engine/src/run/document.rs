//! The document of a run, and of what it pinned.

use super::parts::Split;
use crate::keys;
use crate::model::name::Name;
use crate::plan::cut::Totals;
use crate::port::{Document, Expect, Index, IndexEntry, PortError, Store};
use crate::shape::Shape;
use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its plan is being written.
    Planning,
    /// Its parcels are in the backlog.
    Delivering,
    /// A guard wants a person's approval; nothing was sent.
    Held,
    /// Every row was delivered.
    Succeeded,
    /// Some rows are invalid or were not delivered.
    CompletedWithErrors,
    /// Nothing was delivered.
    Failed,
    /// Stopped by a person; what was delivered counts.
    Canceled,
}

impl Status {
    /// All seven.
    pub const ALL: [Status; 7] = [
        Status::Planning,
        Status::Delivering,
        Status::Held,
        Status::Succeeded,
        Status::CompletedWithErrors,
        Status::Failed,
        Status::Canceled,
    ];

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the run has come to its end.
    pub fn has_ended(self) -> bool {
        !matches!(self, Status::Planning | Status::Delivering | Status::Held)
    }

    /// The word that documents use.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Planning => "planning",
            Status::Delivering => "delivering",
            Status::Held => "held",
            Status::Succeeded => "succeeded",
            Status::CompletedWithErrors => "completed_with_errors",
            Status::Failed => "failed",
            Status::Canceled => "canceled",
        }
    }
}

/// What became of a run's rows (semantics.md 12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Accepted.
    pub delivered: u64,
    /// Refused by the API.
    pub rejected: u64,
    /// Never sent: our check, when they were read or when they were rendered.
    pub invalid: u64,
    /// Not delivered; the next run finds them again.
    pub pending: u64,
    /// Not delivered, and left alone until they change.
    pub given_up: u64,
}

/// What became of a run's deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCounts {
    /// Accepted.
    pub succeeded: u64,
    /// Tried, or found unsendable, and not accepted.
    pub failed: u64,
}

/// A row that was never sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidRow {
    /// Where it stands in the source, or in which delivery.
    pub place: String,
    /// Its key, where it can be read.
    pub key: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// So many invalid rows are listed; all are counted.
pub const LISTED_INVALID_ROWS: usize = 100;

/// Who asked for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A person at the command line.
    #[default]
    CommandLine,
    /// A call of the API.
    Api,
    /// The export's schedule.
    Schedule,
}

/// What a run was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// Go past a guard.
    pub approve: bool,
    /// Take the rows as delivered; sends nothing.
    pub adopt: bool,
    /// Send all present rows again.
    pub full: bool,
    /// Only plan: the plan is kept until it is executed, or retention takes it.
    pub plan_only: bool,
    /// Who asked.
    pub trigger: Trigger,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `run_…`
    pub id: String,
    /// Its export.
    pub export: Name,
    /// Its destination.
    pub destination: Name,
    /// Where it stands.
    pub status: Status,
    /// Unix microseconds; the frozen "now" of its templates.
    pub started_at: u64,
    /// Unix microseconds.
    pub finished_at: Option<u64>,
    /// The pinned shape.
    pub shape_version: String,
    /// Changes with the fields or the key.
    pub mapping_version: String,
    /// The object with its rows.
    pub object: String,
    /// When it was put to work, Unix microseconds: parcels of its plan that are due at another time are of someone who planned or approved
    /// it as well and came too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<u64>,
    /// The names of the rows' fields.
    pub field_names: Vec<String>,
    /// How many parcels it has.
    pub parcels: u32,
    /// What its plan holds.
    pub totals: Totals,
    /// Rows of the source that were found invalid when it was read.
    pub invalid_rows: u64,
    /// The first of them, and of those that did not render.
    pub invalid: Vec<InvalidRow>,
    /// Why it is held or has failed.
    pub reason: Option<String>,
    /// What became of its rows, when it has ended.
    pub rows: RowCounts,
    /// What became of its deliveries.
    pub deliveries: DeliveryCounts,
    /// Requests tried.
    pub attempts: u64,
    /// What the source was when it was read.
    pub source_version: Option<String>,
    /// How often it was finished: once, and once more for each redelivery.
    pub finishes: u32,
    /// What was asked for.
    #[serde(default)]
    pub wish: Wish,
    /// A person wants it to end: nothing more of it may start.
    #[serde(default)]
    pub cancel_asked: bool,
    /// The snapshot's files that it was compared with; a kept plan is good for as long as they are the same.
    #[serde(default)]
    pub snapshot: Vec<String>,
    /// Where its plan is made in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

impl Run {
    /// A run that was asked for and is not planned yet.
    pub fn asked(id: &str, organization: &Name, export: &Name, destination: &Name, wish: Wish, wall: u64) -> Run {
        Run {
            id: id.to_string(),
            export: export.clone(),
            destination: destination.clone(),
            status: Status::Planning,
            started_at: wall,
            finished_at: None,
            shape_version: String::new(),
            mapping_version: String::new(),
            object: keys::plan_object(organization, id, None),
            begun_at: None,
            field_names: Vec::new(),
            parcels: 0,
            totals: Totals::default(),
            invalid_rows: 0,
            invalid: Vec::new(),
            reason: None,
            rows: RowCounts::default(),
            deliveries: DeliveryCounts::default(),
            attempts: 0,
            source_version: None,
            finishes: 0,
            wish,
            cancel_asked: false,
            snapshot: Vec::new(),
            split: None,
        }
    }

    /// Whether it has come to its end.
    pub fn has_ended(&self) -> bool {
        self.status.has_ended()
    }

    /// RFC 3339.
    pub fn started_at_text(&self) -> String {
        crate::time::rfc3339(self.started_at)
    }
}

/// Reads a run.
pub async fn read<S: Store>(store: &S, organization: &Name, run: &str, now: u64) -> Result<Option<(Run, u64)>, PortError> {
    let Some(stored) = store.get(&keys::run(organization, run), now).await? else { return Ok(None) };
    let parsed =
        serde_json::from_slice(&stored.body).map_err(|e| PortError::Failed(format!("the document of {run} cannot be read: {e}")))?;
    Ok(Some((parsed, stored.version)))
}

/// Writes a run, with its places in the lists of runs.
pub async fn write<S: Store>(store: &S, organization: &Name, run: &Run, expect: Expect, now: u64) -> Result<u64, PortError> {
    let body = serde_json::to_vec(run).expect("plain data always serializes");
    let index = listed(organization, run);
    store.put(&keys::run(organization, &run.id), Document { body, expires_at: None, index }, expect, now).await
}

/// The lists that a run stands in: by export, by destination, and all of the organization's, each by start.
fn listed(organization: &Name, run: &Run) -> Vec<IndexEntry> {
    let sort = keys::run_sort(run.started_at, &run.id);
    let Run { status, finished_at, parcels, shape_version, .. } = run.clone();
    let summary = Listing { status, finished_at, parcels, shape_version }.summary();
    let entry = |index, partition| IndexEntry { index, partition, sort: sort.clone(), summary: summary.clone() };
    // A plan that nobody has executed is no run yet.
    if run.wish.plan_only {
        return vec![entry(Index::Third, keys::plans(organization))];
    }
    vec![
        entry(Index::First, keys::runs_of_export(organization, &run.export)),
        entry(Index::Second, keys::runs_of_destination(organization, &run.destination)),
        entry(Index::Third, keys::runs(organization)),
    ]
}

/// What a list of runs says of one without reading its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Where it stands.
    pub status: Status,
    /// Unix microseconds.
    pub finished_at: Option<u64>,
    /// How many parcels it has.
    pub parcels: u32,
    /// The pinned shape.
    pub shape_version: String,
}

impl Listing {
    /// The summary of an index entry.
    fn summary(&self) -> String {
        format!("{} {} {} {}", self.status.as_str(), self.finished_at.unwrap_or(0), self.parcels, self.shape_version)
    }

    /// Reads a summary.
    pub fn parse(summary: &str) -> Option<Listing> {
        let mut parts = summary.split(' ');
        let status = Status::parse(parts.next()?)?;
        let finished_at = parts.next()?.parse().ok().filter(|at| *at != 0);
        Some(Listing { status, finished_at, parcels: parts.next()?.parse().ok()?, shape_version: parts.next()?.to_string() })
    }
}

/// Pins a shape.
pub async fn pin<S: Store>(store: &S, organization: &Name, export: &Name, shape: &Shape, now: u64) -> Result<(), PortError> {
    let body = serde_json::to_vec(shape).expect("plain data always serializes");
    let key = keys::pinned(organization, export, &shape.version());
    store.put(&key, Document { body, ..Document::default() }, Expect::Any, now).await.map(drop)
}

/// What a run pinned.
pub async fn read_shape<S: Store>(store: &S, organization: &Name, run: &Run, now: u64) -> Result<Shape, PortError> {
    let key = keys::pinned(organization, &run.export, &run.shape_version);
    let stored = store.get(&key, now).await?.ok_or_else(|| PortError::Missing(format!("what {} pinned", run.id)))?;
    serde_json::from_slice(&stored.body).map_err(|e| PortError::Failed(format!("what {} pinned cannot be read: {e}", run.id)))
}
