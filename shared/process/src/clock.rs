//! The clock of this machine.

use engine::port::{Clock, Now};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall clock and monotonic clock of this process.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl SystemClock {
    /// Monotonic time counts from here.
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }

    /// Unix seconds.
    pub fn seconds(&self) -> u64 {
        self.now().wall / 1_000_000
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { wall: wall.as_micros() as u64, mono: self.start.elapsed().as_micros() as u64 }
    }

    async fn sleep_until(&self, mono: u64) {
        // The timer counts in milliseconds; what is closer than that is only given way to.
        let until = self.start + Duration::from_micros(mono);
        tokio::time::sleep_until(until.into()).await;
    }
}
