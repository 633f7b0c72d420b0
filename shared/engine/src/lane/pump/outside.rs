//! Requests outside of any run, tests of a destination: they take permits and sockets like every other, and nothing else of the pump.

use super::{Next, Pump};
use crate::lane::permits::Ready;
use crate::port::Now;

impl Pump {
    /// What a request outside of any run waits for at `now`; `None`: it can go.
    pub fn wait_outside(&mut self, now: Now) -> Option<Next> {
        if !self.lease.allows_sending(now) {
            return Some(Next::Lost);
        }
        if self.in_flight >= self.settings.concurrency {
            return Some(self.beat_or(Next::Answer, now));
        }
        if now.mono < self.quiet_until {
            return Some(self.beat_or(Next::Until(self.quiet_until), now));
        }
        match self.permits.ready(now) {
            Ready::Now => None,
            Ready::At(at) => Some(self.beat_or(Next::Until(at), now)),
            Ready::AfterResponse => Some(self.beat_or(Next::Answer, now)),
            Ready::AfterHeartbeat => Some(Next::Beat),
        }
    }

    /// A request outside of any run starts: it takes its permits.
    pub fn start_outside(&mut self, now: Now) {
        self.permits.take(now);
        self.in_flight += 1;
    }

    /// It has ended.
    pub fn ended_outside(&mut self, now: Now) {
        self.in_flight -= 1;
        self.permits.give_back(now);
    }
}
