//! How long a plan takes at its destination's limits, and what it costs on a stack.

mod stack;

pub use stack::{Load, OnStack, PRICES, Prices, SPREAD_SECONDS, on_stack};

use crate::model::limit::{LimitMode, RateLimit};

/// Requests a second that all the limits allow together; `None`: unlimited.
pub fn rate(limits: &[RateLimit]) -> Option<f64> {
    limits
        .iter()
        .map(|limit| {
            let rate = f64::from(limit.requests) / f64::from(limit.window_seconds);
            if limit.mode == LimitMode::Paced { rate * 0.99 } else { rate }
        })
        .reduce(f64::min)
}

/// Seconds that so many requests take at the limits, were every answer immediate.
pub fn seconds(requests: u64, limits: &[RateLimit]) -> f64 {
    limits
        .iter()
        .map(|limit| {
            let spacing = f64::from(limit.window_seconds) / f64::from(limit.requests);
            (requests.saturating_sub(u64::from(limit.burst()))) as f64 * spacing
        })
        .fold(0.0, f64::max)
}
