//! Destinations: HTTP APIs that we send to.

use super::credential::{Credential, Secret};
use super::limit::RateLimit;
use super::name::Name;
use super::retry::RetryPolicy;

/// An HTTP API that we send to. Its actions are merged into each [`super::export::Export`].
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// Its name in documents.
    pub id: Name,
    /// GL-08: its label for people.
    pub name: String,
    /// http or https, with a host; its path is a prefix of every action's.
    pub base_url: url::Url,
    /// Whether requests may go over plain http to public addresses (semantics.md 22).
    pub allow_http: bool,
    /// The credential put on every request.
    pub credential: Option<Credential>,
    /// GL-15: headers of every request; values are templates.
    pub headers: Vec<(String, String)>,
    /// Headers of every request whose values are never shown (HT-06).
    pub secret_headers: Vec<(String, Secret)>,
    /// From the first attempt to connect to the last byte of the response.
    pub timeout_seconds: f64,
    /// All of them hold at once; empty: `unlimited`.
    pub rate_limits: Vec<RateLimit>,
    /// At most this many requests in flight.
    pub concurrency: u32,
    /// Where the idempotency key goes; `None`: nowhere.
    pub idempotency_header: Option<String>,
    /// When a failed attempt is repeated.
    pub retry: RetryPolicy,
    /// GL-09: the default schedule of the destination's exports, seconds.
    pub sync_frequency_seconds: Option<u64>,
}
