//! Delivery: working a lane off. `drive` is the loop, `order` makes requests of deliveries, `log` records what came of them.
//!
//! It must not know a runtime: the clock is a port, and nothing is spawned.

pub mod attach;
pub mod drive;
pub mod log;
pub mod once;
pub mod order;
pub mod owner;

use crate::judge::Class;
use crate::keys::LaneName;
use crate::lane::pump::Waiting;

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

/// Whoever watches the work: a progress bar, metrics.
pub trait Watch {
    /// An attempt of a delivery of `run` has ended. `last`: no further one follows.
    fn attempted(&self, run: &str, class: Class, rows: u64, last: bool, error: Option<&str>);

    /// What a lane waits for, if it is the destination's doing.
    fn waits(&self, lane: &LaneName, waiting: Option<Waiting>);
}

/// Watches nothing.
#[derive(Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn attempted(&self, _: &str, _: Class, _: u64, _: bool, _: Option<&str>) {}
    fn waits(&self, _: &LaneName, _: Option<Waiting>) {}
}
