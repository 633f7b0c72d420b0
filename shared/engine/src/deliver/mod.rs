//! Delivery: working a lane off. `drive` is the loop, `order` makes requests of deliveries, `log` records what came of them.
//!
//! It must not know a runtime: the clock is a port, and nothing is spawned.

pub mod attach;
pub mod command;
pub mod drive;
pub mod ear;
pub mod log;
pub mod once;
pub mod order;
pub mod owner;

use crate::judge::Class;
use crate::keys::LaneName;
use crate::lane::pump::Waiting;
use crate::model::name::Name;

/// The ports that delivery needs.
#[derive(Debug)]
pub struct Ports<'a, S, O, T, C> {
    /// Documents.
    pub store: &'a S,
    /// Whole objects.
    pub objects: &'a O,
    /// HTTP.
    pub transport: &'a T,
    /// Time.
    pub clock: &'a C,
}

impl<S, O, T, C> Clone for Ports<'_, S, O, T, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, O, T, C> Copy for Ports<'_, S, O, T, C> {}

/// An attempt that has ended, as it may be shown.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// The lane that it went through.
    pub lane: &'a LaneName,
    /// The run; of an event's, its errand.
    pub run: &'a str,
    /// The run's export; empty where it is an event's.
    pub export: &'a str,
    /// The rule that owes it, where it is an event's.
    pub rule: Option<&'a Name>,
    /// The delivery's id.
    pub delivery: &'a str,
    /// 1 for the first.
    pub number: u32,
    /// Its outcome class.
    pub class: Class,
    /// The status, if a response came.
    pub status: Option<u16>,
    /// Unix milliseconds.
    pub started_ms: u64,
    /// Milliseconds.
    pub duration_ms: u64,
    /// Rows that it carried.
    pub rows: u64,
    /// Whether no further one follows.
    pub last: bool,
    /// What went wrong, without secrets.
    pub error: Option<&'a str>,
}

/// How a lane stands; told about once a second while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Requests on their way.
    pub in_flight: u32,
    /// Permits that could be taken now, of the limit that has the fewest; `None`: no limit holds.
    pub permits: Option<u32>,
    /// Deliveries that are owed.
    pub owed: u64,
}

/// Whoever watches the work: a progress bar, metrics, a log.
pub trait Watch {
    /// An attempt of a delivery has ended.
    fn attempted(&self, attempted: &Attempted<'_>);

    /// What a lane waits for, if it is the destination's doing.
    fn waits(&self, lane: &LaneName, waiting: Option<Waiting>);

    /// How a lane stands.
    fn pulse(&self, _pulse: Pulse) {}

    /// Nothing of a run is left on this lane, and all of it is recorded: it can be finished.
    fn completed(&self, _lane: &LaneName, _run: &str) {}
}

/// Watches nothing.
#[derive(Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn attempted(&self, _: &Attempted<'_>) {}
    fn waits(&self, _: &LaneName, _: Option<Waiting>) {}
}
