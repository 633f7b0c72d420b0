//! The attempt log: what was tried, what came of it, and what went over the wire, without secrets.

pub mod page;
pub mod redact;
pub mod segment;
