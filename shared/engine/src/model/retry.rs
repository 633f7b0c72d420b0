//! When a failed attempt is followed by another within the run.

use super::status::StatusSet;

/// A destination's retry policy. Applies as it is now, not as it was when the run began.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// GL-17: the switch. Off: no failed attempt is repeated within the run.
    pub enabled: bool,
    /// The statuses that are tried again.
    pub statuses: StatusSet,
    /// Whether a timeout is.
    pub timeout: bool,
    /// Whether a network error is.
    pub network: bool,
    /// At most this many attempts in all; `None`: until `give_up_after_seconds`.
    pub max_attempts: Option<u32>,
    /// The first delay's upper bound, seconds; doubled each time, with full jitter.
    pub first_delay_seconds: f64,
    /// No delay of our own is longer, seconds. Retry-After may be.
    pub max_delay_seconds: f64,
    /// After this long since a delivery's first attempt it is not tried again.
    pub give_up_after_seconds: u64,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            enabled: true,
            statuses: StatusSet::new(vec![(408, 408), (429, 429), (500, 504)]),
            timeout: true,
            network: true,
            max_attempts: Some(8),
            first_delay_seconds: 1.0,
            max_delay_seconds: 900.0,
            give_up_after_seconds: 24 * 3600,
        }
    }
}
