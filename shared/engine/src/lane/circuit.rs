//! The circuit of a destination: after many failures in a row one probe at a time (semantics.md 13).

use super::SECOND;
use super::lease::Down;
use crate::port::Now;

/// So many retryable failures in a row open the circuit.
const FAILURES_TO_OPEN: u32 = 10;
/// The first probe's delay; each further one doubles it.
const FIRST_PROBE: u64 = 30 * SECOND;
/// No probe waits longer.
const LAST_PROBE: u64 = 15 * 60 * SECOND;

/// Open, closed, or waiting for a probe's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Requests flow; so many retryable failures came in a row.
    Closed {
        /// In a row, until now.
        failures: u32,
    },
    /// Nothing is sent until the probe's monotonic time; the delay before it was `delay`.
    Open {
        /// When the probe may go.
        probe_at: u64,
        /// What was waited for it.
        delay: u64,
    },
    /// The probe is on its way.
    Probing {
        /// What was waited for it.
        delay: u64,
    },
}

impl Circuit {
    /// Closed.
    pub fn new() -> Circuit {
        Circuit::Closed { failures: 0 }
    }

    /// The monotonic time before which nothing may go; `None`: go; `u64::MAX`: not before the probe's answer.
    pub fn closed_until(&self, now: u64) -> Option<u64> {
        match self {
            Circuit::Closed { .. } => None,
            Circuit::Open { probe_at, .. } if *probe_at <= now => None,
            Circuit::Open { probe_at, .. } => Some(*probe_at),
            Circuit::Probing { .. } => Some(u64::MAX),
        }
    }

    /// As an owner before left it.
    pub fn inherited(down: Option<Down>, now: Now) -> Circuit {
        match down {
            Some(Down { probe_at, delay }) => Circuit::Open { probe_at: now.mono + probe_at.saturating_sub(now.wall), delay },
            None => Circuit::new(),
        }
    }

    /// As an owner leaves it. A probe that is on its way counts as one that will fail.
    pub fn left(&self, now: Now) -> Option<Down> {
        match self {
            Circuit::Closed { .. } => None,
            Circuit::Open { probe_at, delay } => Some(Down { probe_at: now.wall + probe_at.saturating_sub(now.mono), delay: *delay }),
            Circuit::Probing { delay } => Some(Down { probe_at: now.wall + delay, delay: *delay }),
        }
    }

    /// Whether the next request is a probe.
    pub fn is_open(&self) -> bool {
        !matches!(self, Circuit::Closed { .. })
    }

    /// A request goes out.
    pub fn sent(&mut self) {
        if let Circuit::Open { delay, .. } = self {
            *self = Circuit::Probing { delay: *delay };
        }
    }

    /// The destination answered something that shows it at work.
    pub fn answered(&mut self) {
        *self = Circuit::new();
    }

    /// A retryable failure. True if it has just opened the circuit or was the probe's.
    pub fn failed(&mut self, now: u64) -> bool {
        let delay = match self {
            Circuit::Closed { failures } if *failures + 1 < FAILURES_TO_OPEN => {
                *failures += 1;
                return false;
            }
            Circuit::Closed { .. } => FIRST_PROBE,
            Circuit::Probing { delay } => (*delay * 2).min(LAST_PROBE),
            // Answers to what was sent before the circuit opened change nothing.
            Circuit::Open { .. } => return false,
        };
        *self = Circuit::Open { probe_at: now + delay, delay };
        true
    }
}

impl Default for Circuit {
    fn default() -> Circuit {
        Circuit::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_in_a_row_open_it_and_probes_wait_longer_and_longer() {
        let mut circuit = Circuit::new();
        assert!((0..9).all(|_| !circuit.failed(0)));
        circuit.answered();
        assert!((0..9).all(|_| !circuit.failed(0)), "an answer in between starts the count again");
        assert!(circuit.failed(0));
        assert_eq!(circuit.closed_until(0), Some(30 * SECOND));
        let mut now = 30 * SECOND;
        for expected in [60, 120, 240, 480, 900, 900] {
            assert_eq!(circuit.closed_until(now), None, "the probe may go");
            circuit.sent();
            assert_eq!(circuit.closed_until(now), Some(u64::MAX), "one probe at a time");
            assert!(circuit.failed(now));
            assert_eq!(circuit.closed_until(now), Some(now + expected * SECOND));
            now += expected * SECOND;
        }
        circuit.sent();
        circuit.answered();
        assert_eq!(circuit.closed_until(now), None);
    }

    #[test]
    fn late_answers_to_earlier_requests_do_not_move_the_probe() {
        let mut circuit = Circuit::new();
        assert!((0..10).any(|_| circuit.failed(0)));
        assert!(!circuit.failed(5));
        assert_eq!(circuit.closed_until(5), Some(30 * SECOND));
    }
}
