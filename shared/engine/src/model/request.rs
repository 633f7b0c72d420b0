//! Requests: reusable pulls of JSON that rules run before they deliver.

use super::action::Action;
use super::name::Name;
use serde::{Deserialize, Serialize};

/// How long a request may take unless it says otherwise, and at most, seconds.
pub const TIMEOUT_SECONDS: (f64, f64) = (10.0, 60.0);
/// How long its response may be unless it says otherwise, and at most, bytes.
pub const RESPONSE_BYTES: (u64, u64) = (1024 * 1024, 5 * 1024 * 1024);

/// A reusable pull that fetches JSON (LP-01 to LP-04). It shapes requests, so that all of it is pinned when an event comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its name in documents.
    pub id: Name,
    /// Its label for people.
    pub name: String,
    /// What is sent; its URL is a whole one.
    pub call: Action,
    /// From the first attempt to connect to the last byte of the response, at most 60 (LP-18).
    pub timeout_seconds: f64,
    /// A longer response is a failure (LP-19).
    pub max_response_bytes: u64,
    /// One that is off cannot run (LP-21).
    pub enabled: bool,
}
