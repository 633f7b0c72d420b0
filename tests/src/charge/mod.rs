//! What AWS charges for a stack's work, counted on virtual time: the real loop with the real backlog, log, lease, tickets and finishing, in
//! functions that are billed from a message to its end, before a destination that answers when it is said to.
//!
//! The same work gives the same count everywhere. What is counted: every call of DynamoDB, S3 and SQS by the rules of
//! `backend_aws::meter`, calls and milliseconds of functions. It must not use a real clock, nor anything that is not deterministic.

mod functions;
pub mod page;
mod ports;
mod workload;

pub use workload::{Answers, Measured, Run, Workload, idle_minute, measure, measure_on};

/// What calls of AWS take, microseconds: medians as they are commonly seen within a region, so that counts of milliseconds can be repeated.
pub(crate) mod latency {
    /// A call of DynamoDB.
    pub(crate) const DYNAMODB: u64 = 5_000;
    /// A PUT of S3.
    pub(crate) const S3_PUT: u64 = 30_000;
    /// A GET of S3.
    pub(crate) const S3_GET: u64 = 20_000;
    /// A call of SQS; also from a message that can be received to the call of the function.
    pub(crate) const SQS: u64 = 10_000;
    /// What a call of a function takes beside its work.
    pub(crate) const CALL: u64 = 10_000;
}
