//! A lane: the backlog, lease and rate-limit tokens of a destination, worked off by one pump at a time.
//!
//! Everything here is pure or a bounded compare-and-swap loop over [`crate::port::Store`]; time comes in as an argument.

pub mod backlog;
pub mod bell;
pub mod circuit;
pub mod lease;
mod ordering;
pub mod pause;
pub mod permits;
pub mod pump;
mod turns;

/// One second, in the microseconds that all of the engine counts in.
pub const SECOND: u64 = 1_000_000;
