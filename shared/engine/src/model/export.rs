//! Exports: a model joined to a destination.

use super::action::Actions;
use super::name::Name;
use serde::{Deserialize, Serialize};

/// A model joined to a destination (HT-17).
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// Its name in documents.
    pub id: Name,
    /// The model's name; the project has it.
    pub model: Name,
    /// The destination's name; the project has it.
    pub destination: Name,
    /// Empty: all columns under their own names.
    pub fields: Vec<FieldMapping>,
    /// The destination's actions with the export's own merged over them (semantics.md 17).
    pub actions: Actions,
    /// What happens to rows that are there when the export first runs.
    pub first_run: FirstRun,
    /// What a row that used up its retries does.
    pub on_error: OnError,
    /// What happens when `success_path` counted fewer rows than were sent.
    pub on_partial: OnPartial,
    /// Columns whose change alone is no change.
    pub ignore_in_diff: Vec<String>,
    /// When a plan is held for a person.
    pub guard: Guard,
    /// GL-10: when it runs by itself; absent: as often as the destination's sync frequency says, else by hand.
    pub schedule: Option<Schedule>,
}

/// When an export runs by itself; acts under `penstock serve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Every so many seconds, at least 1.
    Every(u64),
    /// At the times that a cron expression names.
    Cron {
        /// Minute, hour, day of month, month, day of week; checked.
        expression: String,
        /// An IANA time zone, `UTC` unless given; only its spelling is checked.
        timezone: String,
    },
}

/// One field of the export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMapping {
    /// The model's column.
    pub from: String,
    /// What templates call it.
    pub to: String,
}

/// What happens to rows that are there when the export first runs (HT-54).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstRun {
    /// HT-55: all are sent.
    Backfill,
    /// HT-56: none is; only later changes are.
    Skip,
}

/// What a row that used up its retries does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// HT-51: the next run finds it again.
    NextRun,
    /// It is left alone until it changes.
    GiveUp,
}

/// What happens when fewer rows succeeded than were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPartial {
    /// All rows of the batch are uncertain and found again by the next run.
    NextRun,
    /// The batch counts as succeeded.
    Accept,
}

/// When a plan is held for a person (semantics.md 6).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// Per cent of the snapshot's rows.
    pub max_removed_percent: f64,
    /// A number of rows.
    pub max_removed: Option<u64>,
    /// Per cent of the rows read.
    pub max_invalid_percent: f64,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard { max_removed_percent: 30.0, max_removed: None, max_invalid_percent: 10.0 }
    }
}
