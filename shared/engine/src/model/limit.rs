//! Rate limits and concurrency of a destination.

use serde::{Deserialize, Serialize};

/// How a limit is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitMode {
    /// Never more than `requests` arrivals in any window, whatever the clocks and the latency do: a permit comes back one window
    /// after the response. Reaches N · W / (W + round trip).
    Strict,
    /// Even spacing at 99 % of the limit; a window may see a few per cent more where latency varies.
    Paced,
}

/// At most `requests` in any window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// N, at least 1.
    pub requests: u32,
    /// W, in seconds: 1, 60, 3600 or 86400.
    pub window_seconds: u32,
    /// How it is kept.
    pub mode: LimitMode,
    /// How many may go at once; unless set what 0.1 s allows, and at least 1.
    pub burst: Option<u32>,
    /// What so many seconds allow goes at once, and then nothing until as much is allowed again: whoever is paid by the millisecond need not
    /// be there in between. `None`: evenly. It only delays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_seconds: Option<u32>,
}

impl RateLimit {
    /// How many may go at once before even spacing sets in.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.requests / (self.window_seconds * 10)).max(1)
    }

    /// How many go at once in a spread, if that is more than go at once in any case.
    pub fn spread(&self) -> Option<u32> {
        let allowed = u64::from(self.requests) * u64::from(self.spread_seconds?) / u64::from(self.window_seconds);
        let allowed = allowed.min(self.requests.into()) as u32;
        (allowed > self.burst()).then_some(allowed)
    }

    /// HT-38: what holds where no limit is given: 1000 a second.
    pub fn default_limit() -> RateLimit {
        RateLimit { requests: 1000, window_seconds: 1, mode: LimitMode::Strict, burst: None, spread_seconds: None }
    }
}
