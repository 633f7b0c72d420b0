//! Permits (rate-limit tokens): what keeps a destination's limits as its receiver sees them.
//!
//! A permit of a limit of N per W is taken before a request's first byte and comes back W after its response (or timeout).
//! Each permit's holding time covers [arrival, arrival + W], so N + 1 arrivals in one window would need N + 1 permits: no clock is
//! compared and no latency assumed. Pacing on top only delays. This file must not know who sends or what.

use super::SECOND;
use crate::model::limit::{LimitMode, RateLimit};
use crate::port::Now;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Release times are kept in this many buckets a window, each time rounded up.
const BUCKETS: u64 = 256;

/// How long a reservation is made for: the time between two heartbeats.
pub const HEARTBEAT: u64 = 10 * SECOND;

/// What the lane's document keeps of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLimit {
    /// W, which tells limits apart.
    pub window_seconds: u32,
    /// Wall-clock release times (microseconds, on the clock of whoever stored them, never with a margin) and how many permits each.
    pub releases: Vec<(u64, u32)>,
    /// Permits that may be taken before the next heartbeat; of an owner that ended ill they count as used.
    pub reserved: u32,
    /// Wall-clock time up to which even spacing has spent the limit (the theoretical arrival time of GCRA): a new owner goes on from
    /// there, or every short run would begin with a burst. It only delays. 0: nothing is spent.
    #[serde(default)]
    pub spent_until: u64,
}

/// How a successor reads what its predecessor left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inheritance {
    /// Added when a stored time is compared with our clock, never to what is stored.
    pub margin: u64,
    /// Where the predecessor ended ill: the wall-clock time by which its last request had surely ended. Its reserved permits come
    /// back one window after that.
    pub ill_until: Option<u64>,
    /// Where the predecessor is known to be dead: nothing of it can arrive after this wall-clock time, so no permit of it is held
    /// longer than one window after that.
    pub dead_since: Option<u64>,
    /// Planted bugs, each found by some seed of the simulation; all off outside of it.
    pub canary: Option<Canary>,
}

/// Planted bugs of the hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Compares stored times without the margin.
    NoSkewMargin,
    /// Sends without looking at the lease.
    NoFence,
    /// Takes over without the reserved permits.
    ForgetsReservation,
    /// Stores what it inherited with the margin added, so that it grows at every hand-over.
    StoresMargin,
}

#[derive(Debug)]
struct Limited {
    limit: RateLimit,
    window: u64,
    /// Taken, response outstanding.
    out: u32,
    /// (usable here at this monotonic time, stored as this wall time) -> how many.
    returning: BTreeMap<(u64, u64), u32>,
    returning_count: u32,
    /// Even spacing: the theoretical arrival time of the next request (GCRA), monotonic.
    pace: u64,
    spacing: u64,
    slack: u64,
    /// It goes in spreads, and whether the next one is being gathered.
    gathers: Option<bool>,
    /// May still be taken before a heartbeat must have reserved more.
    reserved_left: u32,
    /// What the heartbeat being written reserves, and what was taken since it was prepared.
    preparing: Option<(u32, u32)>,
    /// The whole limit is reserved, so taking never has to wait for a heartbeat.
    reserved_all: bool,
}

/// The permits of a lane, in the hands of its pump.
#[derive(Debug)]
pub struct Permits {
    limits: Vec<Limited>,
}

/// Whether a permit can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Yes.
    Now,
    /// Not before this monotonic time.
    At(u64),
    /// Once a response has come back; nothing else helps.
    AfterResponse,
    /// After a heartbeat has reserved more.
    AfterHeartbeat,
}

impl Permits {
    /// Takes over what a predecessor stored. Nothing can be taken before a first document is confirmed.
    pub fn inherit(limits: &[RateLimit], stored: &[StoredLimit], how: Inheritance, now: Now) -> Permits {
        Permits { limits: limits.iter().map(|limit| Limited::inherit(limit, stored, how, now)).collect() }
    }

    /// Whether a permit of every limit can be taken at `now`.
    pub fn ready(&mut self, now: Now) -> Ready {
        let mut ready = Ready::Now;
        for limited in &mut self.limits {
            ready = later(ready, limited.ready(now));
        }
        ready
    }

    /// Takes a permit of every limit. Call only when [`Permits::ready`] said so.
    pub fn take(&mut self, now: Now) {
        for limited in &mut self.limits {
            limited.take(now);
        }
    }

    /// How many could be taken at most, pacing aside, of the limit that has the fewest; `None`: no limit holds.
    pub fn free(&self) -> Option<u32> {
        self.limits.iter().map(|limited| limited.limit.requests.saturating_sub(limited.out + limited.returning_count)).min()
    }

    /// Puts back a permit whose request never left: no byte of it was written.
    pub fn cancel(&mut self) {
        for limited in &mut self.limits {
            limited.out -= 1;
        }
    }

    /// The response (or the end of waiting for one) has come: the permit returns one window from now.
    pub fn give_back(&mut self, now: Now) {
        for limited in &mut self.limits {
            limited.give_back(now);
        }
    }

    /// What the lane's document has to say, with permits reserved until the next heartbeat. They may be taken only once the
    /// document is written and [`Permits::confirm`]ed; until then what was reserved before goes on. Requests in flight are stored
    /// as if each took all of `timeout` (microseconds). `release`: the owner leaves, nothing is reserved.
    pub fn prepare(&mut self, now: Now, timeout: u64, release: bool) -> Vec<StoredLimit> {
        self.limits.iter_mut().map(|limited| limited.prepare(now, timeout, release)).collect()
    }

    /// The document that was prepared last is written.
    pub fn confirm(&mut self) {
        self.limits.iter_mut().for_each(Limited::confirm);
    }
}

/// The more restrictive of two answers.
fn later(a: Ready, b: Ready) -> Ready {
    match (a, b) {
        (Ready::Now, other) | (other, Ready::Now) => other,
        (Ready::AfterResponse, _) | (_, Ready::AfterResponse) => Ready::AfterResponse,
        (Ready::At(a), Ready::At(b)) => Ready::At(a.max(b)),
        (Ready::At(at), Ready::AfterHeartbeat) | (Ready::AfterHeartbeat, Ready::At(at)) => Ready::At(at),
        (Ready::AfterHeartbeat, Ready::AfterHeartbeat) => Ready::AfterHeartbeat,
    }
}

impl Limited {
    fn inherit(limit: &RateLimit, stored: &[StoredLimit], how: Inheritance, now: Now) -> Limited {
        let window = u64::from(limit.window_seconds) * SECOND;
        let margin = if how.canary == Some(Canary::NoSkewMargin) { 0 } else { how.margin };
        let mut returning = BTreeMap::new();
        let mut returning_count = 0;
        let mut hold = |at: u64, count: u32| {
            let latest = how.dead_since.map_or(u64::MAX, |dead| bucket(dead + window, window));
            let at = at.min(latest);
            let here = at.saturating_add(margin);
            if count > 0 && here > now.wall {
                let kept = if how.canary == Some(Canary::StoresMargin) { here } else { at };
                *returning.entry((now.mono + (here - now.wall), kept)).or_insert(0) += count;
                returning_count += count;
            }
        };
        if let Some(stored) = stored.iter().find(|s| s.window_seconds == limit.window_seconds) {
            for (at, count) in &stored.releases {
                hold(*at, *count);
            }
            if let (Some(ill_until), true) = (how.ill_until, how.canary != Some(Canary::ForgetsReservation)) {
                hold(bucket(ill_until + window, window), stored.reserved);
            }
        }
        let spacing = match limit.mode {
            LimitMode::Strict => window / u64::from(limit.requests),
            LimitMode::Paced => (window * 100).div_ceil(u64::from(limit.requests) * 99),
        };
        let burst = match limit.mode {
            LimitMode::Strict => limit.burst(),
            // A burst counts on top of the spacing, so that a window sees 99 % and the burst.
            LimitMode::Paced => limit.burst.unwrap_or(limit.requests / 50).max(1),
        };
        let spread = limit.spread();
        let slack = spacing * u64::from(spread.unwrap_or(burst).max(burst) - 1);
        let spent_until = stored.iter().find(|s| s.window_seconds == limit.window_seconds).map_or(0, |s| s.spent_until);
        // A clock that was ahead must not hold the lane for longer than pacing ever does.
        // Without the margin: what is left of it would be stored again, and so grow at every hand-over.
        let spent = spent_until.saturating_sub(now.wall).min(slack + spacing);
        Limited {
            limit: limit.clone(),
            window,
            out: 0,
            returning,
            returning_count,
            pace: now.mono + spent,
            spacing,
            slack,
            gathers: spread.map(|_| spent > 0),
            reserved_left: 0,
            preparing: None,
            reserved_all: false,
        }
    }

    fn ready(&mut self, now: Now) -> Ready {
        while let Some(entry) = self.returning.first_entry() {
            if entry.key().0 > now.mono {
                break;
            }
            self.returning_count -= entry.remove();
        }
        let pace = self.paced(now);
        if self.limit.mode == LimitMode::Strict && self.out + self.returning_count >= self.limit.requests {
            // What returns first is what is known to return; a response may bring a permit only after that or later.
            return match self.returning.first_key_value() {
                Some(((at, _), _)) => later(Ready::At(*at), pace),
                None => Ready::AfterResponse,
            };
        }
        if !self.reserved_all && self.reserved_left == 0 {
            return later(pace, Ready::AfterHeartbeat);
        }
        pace
    }

    /// What even spacing, or spreading, says.
    fn paced(&mut self, now: Now) -> Ready {
        let next = self.pace.saturating_sub(self.slack);
        let at = match self.gathers {
            None => next,
            // A spread that is spent is gathered whole before it is spent again.
            Some(gathering) => {
                let gathering = self.pace > now.mono && (gathering || next > now.mono);
                self.gathers = Some(gathering);
                if gathering { self.pace } else { next }
            }
        };
        if at > now.mono { Ready::At(at) } else { Ready::Now }
    }

    fn take(&mut self, now: Now) {
        self.out += 1;
        self.pace = self.pace.max(now.mono) + self.spacing;
        self.reserved_left = self.reserved_left.saturating_sub(1);
        if let Some((_, taken)) = &mut self.preparing {
            *taken += 1;
        }
    }

    fn give_back(&mut self, now: Now) {
        self.out -= 1;
        let stored = bucket(now.wall + self.window, self.window);
        let usable = now.mono + (stored - now.wall);
        *self.returning.entry((usable, stored)).or_insert(0) += 1;
        self.returning_count += 1;
    }

    fn prepare(&mut self, now: Now, timeout: u64, release: bool) -> StoredLimit {
        self.ready(now);
        let mut releases: Vec<(u64, u32)> = Vec::new();
        for ((_, stored), count) in &self.returning {
            match releases.last_mut() {
                Some((at, sum)) if at == stored => *sum += count,
                _ => releases.push((*stored, *count)),
            }
        }
        if self.out > 0 {
            releases.push((bucket(now.wall + timeout + self.window, self.window), self.out));
        }
        let per_heartbeat = u64::from(self.limit.requests) * HEARTBEAT * 12 / (self.window * 10);
        let wanted = (per_heartbeat + 2).min(u64::from(self.limit.requests)) as u32;
        let wanted = if release { 0 } else { wanted };
        self.preparing = Some((wanted, 0));
        let spent_until = if self.pace > now.mono { now.wall + (self.pace - now.mono) } else { 0 };
        StoredLimit { window_seconds: self.limit.window_seconds, releases, reserved: wanted, spent_until }
    }

    fn confirm(&mut self) {
        if let Some((wanted, taken)) = self.preparing.take() {
            self.reserved_all = wanted == self.limit.requests;
            self.reserved_left = wanted.saturating_sub(taken);
        }
    }
}

/// Rounds a release time up to the end of its bucket.
fn bucket(at: u64, window: u64) -> u64 {
    let size = (window / BUCKETS).max(1);
    at.div_ceil(size) * size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests: u32, window_seconds: u32, mode: LimitMode) -> RateLimit {
        RateLimit { requests, window_seconds, mode, burst: None, spread_seconds: None }
    }

    fn fresh(limits: &[RateLimit]) -> Permits {
        let how = Inheritance { margin: 0, ill_until: None, dead_since: None, canary: None };
        let mut permits = Permits::inherit(limits, &[], how, at(0));
        permits.prepare(at(0), 30 * SECOND, false);
        permits.confirm();
        permits
    }

    fn at(micros: u64) -> Now {
        Now { wall: 1_000_000 * SECOND + micros, mono: 5 * SECOND + micros }
    }

    /// Sends as fast as allowed for `seconds`, every answer after `latency`; gives the arrival times (here: the send times).
    fn pour(permits: &mut Permits, seconds: u64, latency: u64) -> Vec<u64> {
        let mut sent = Vec::new();
        let mut answers = std::collections::VecDeque::new();
        let (mut time, mut beat) = (0, 0);
        while time < seconds * SECOND {
            while answers.front().is_some_and(|a| *a <= time) {
                answers.pop_front();
                permits.give_back(at(time));
            }
            if time >= beat + HEARTBEAT {
                permits.prepare(at(time), 30 * SECOND, false);
                permits.confirm();
                beat = time;
            }
            match permits.ready(at(time)) {
                Ready::Now => {
                    permits.take(at(time));
                    sent.push(time);
                    answers.push_back(time + latency);
                }
                Ready::At(mono) => {
                    let mut next = mono - at(0).mono;
                    next = next.min(answers.front().copied().unwrap_or(u64::MAX)).min(beat + HEARTBEAT);
                    time = next.max(time + 1);
                }
                Ready::AfterResponse => time = *answers.front().unwrap(),
                Ready::AfterHeartbeat => {
                    permits.prepare(at(time), 30 * SECOND, false);
                    permits.confirm();
                    beat = time;
                }
            }
        }
        sent
    }

    fn most_in_a_window(sent: &[u64], window: u64) -> usize {
        let mut first = 0;
        (0..sent.len())
            .map(|i| {
                while sent[first] + window <= sent[i] {
                    first += 1;
                }
                i - first + 1
            })
            .max()
            .unwrap_or(0)
    }

    /// HT-36, HT-40: no window of any kind sees more than the limit.
    #[test]
    fn a_strict_limit_is_never_exceeded_in_any_window() {
        for (requests, window) in [(1, 1), (7, 1), (100, 1), (600, 60), (360, 3600)] {
            for latency in [0, 3_000, 250_000, 2 * SECOND] {
                let mut permits = fresh(&[limit(requests, window, LimitMode::Strict)]);
                let sent = pour(&mut permits, u64::from(window) * 5, latency);
                let most = most_in_a_window(&sent, u64::from(window) * SECOND);
                assert!(most <= requests as usize, "{requests} per {window} s, latency {latency}: {most}");
                let floor = (u64::from(requests) * u64::from(window) * 4 * SECOND) / (u64::from(window) * SECOND + latency + SECOND / 100);
                assert!(sent.len() as u64 * 100 >= floor * 95, "{requests} per {window} s, latency {latency}: only {}", sent.len());
            }
        }
    }

    /// GL-23, GL-24: 3600 an hour comes as about one request a second, not in a burst.
    #[test]
    fn an_hourly_limit_is_spread_evenly() {
        let mut permits = fresh(&[limit(3600, 3600, LimitMode::Strict)]);
        let sent = pour(&mut permits, 600, 20_000);
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= SECOND - 1), "closer than a second");
        assert!((590..=600).contains(&sent.len()), "{}", sent.len());
    }

    #[test]
    fn a_limit_is_spent_in_spreads_where_that_is_wished_and_still_holds() {
        for (requests, window, spread) in [(3600, 3600, 10), (600, 60, 10), (60, 60, 60)] {
            let spread = RateLimit { spread_seconds: Some(spread), ..limit(requests, window, LimitMode::Strict) };
            let at_once = spread.spread().unwrap() as usize;
            let mut permits = fresh(&[spread]);
            let sent = pour(&mut permits, u64::from(window) * 3, 200_000);
            assert!(most_in_a_window(&sent, u64::from(window) * SECOND) <= requests as usize);
            let waits = sent.windows(2).filter(|pair| pair[1] - pair[0] > SECOND / 2).count();
            assert!(waits <= sent.len() / at_once + 1, "{requests} per {window} s: {waits} waits for {} requests", sent.len());
            assert!(sent.len() * 100 >= requests as usize * 3 * 90, "{requests} per {window} s: only {}", sent.len());
        }
    }

    /// GL-25, GL-26
    #[test]
    fn slow_hourly_limits_keep_their_distance() {
        for (requests, distance) in [(360, 10), (60, 60)] {
            let mut permits = fresh(&[limit(requests, 3600, LimitMode::Strict)]);
            let sent = pour(&mut permits, 3600, 20_000);
            assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= distance * SECOND - 1));
            assert!(sent.len() as u64 >= 3600 / distance - 1);
        }
    }

    #[test]
    fn several_limits_hold_at_once() {
        let limits = [limit(10, 1, LimitMode::Strict), limit(100, 60, LimitMode::Strict)];
        let mut permits = fresh(&limits);
        let sent = pour(&mut permits, 200, 5_000);
        assert!(most_in_a_window(&sent, SECOND) <= 10);
        assert!(most_in_a_window(&sent, 60 * SECOND) <= 100);
    }

    #[test]
    fn a_paced_limit_reaches_ninety_eight_per_cent_whatever_the_latency() {
        let mut permits = fresh(&[limit(100, 1, LimitMode::Paced)]);
        let sent = pour(&mut permits, 20, 900_000);
        assert!(sent.len() >= 20 * 98, "{}", sent.len());
        assert!(most_in_a_window(&sent, SECOND) <= 103);
    }

    #[test]
    fn a_successor_counts_the_permits_that_a_dead_owner_had_reserved() {
        let limits = [limit(600, 60, LimitMode::Strict)];
        let mut permits = fresh(&limits);
        for _ in 0..50 {
            permits.take(at(0));
        }
        for _ in 0..50 {
            permits.give_back(at(100_000));
        }
        let stored = permits.prepare(at(200_000), 30 * SECOND, false);
        let how = Inheritance { margin: SECOND, ill_until: Some(at(30 * SECOND).wall), dead_since: None, canary: None };
        let later = at(31 * SECOND);
        let mut successor = Permits::inherit(&limits, &stored, how, later);
        successor.prepare(later, 30 * SECOND, false);
        successor.confirm();
        let mut free = 0;
        while successor.limits[0].out + successor.limits[0].returning_count < 600 {
            successor.take(later);
            free += 1;
        }
        assert_eq!(free, 600 - 50 - stored[0].reserved);
        assert_eq!(stored[0].reserved, 122);
    }

    #[test]
    fn a_margin_is_compared_but_never_stored() {
        let limits = [limit(10, 60, LimitMode::Strict)];
        let mut stored = vec![StoredLimit { window_seconds: 60, releases: vec![(at(50 * SECOND).wall, 3)], reserved: 0, spent_until: 0 }];
        let how = Inheritance { margin: SECOND, ill_until: None, dead_since: None, canary: None };
        for hop in 0..20 {
            let mut permits = Permits::inherit(&limits, &stored, how, at(hop * SECOND));
            stored = permits.prepare(at(hop * SECOND), 30 * SECOND, true);
        }
        assert_eq!(stored[0].releases, vec![(at(50 * SECOND).wall, 3)]);
    }

    #[test]
    fn spacing_that_is_handed_over_again_and_again_does_not_grow() {
        let limits = [limit(60, 60, LimitMode::Strict)];
        let how = Inheritance { margin: SECOND, ill_until: None, dead_since: None, canary: None };
        let mut permits = fresh(&limits);
        permits.take(at(0));
        permits.give_back(at(1000));
        let mut stored = permits.prepare(at(1000), 30 * SECOND, true);
        assert_eq!(stored[0].spent_until, at(SECOND).wall);
        for hop in 1..20 {
            let now = at(hop * 100_000);
            let mut permits = Permits::inherit(&limits, &stored, how, now);
            stored = permits.prepare(now, 30 * SECOND, false);
            permits.confirm();
            let ready = if hop < 10 { Ready::At(at(SECOND).mono) } else { Ready::Now };
            assert_eq!(permits.ready(now), ready, "hand-over {hop}");
        }
    }

    /// GL-26: at 60 an hour a run that follows another waits for its minute.
    #[test]
    fn even_spacing_goes_on_with_the_next_owner() {
        let limits = [limit(60, 3600, LimitMode::Strict)];
        let mut permits = fresh(&limits);
        permits.take(at(0));
        permits.give_back(at(SECOND));
        let stored = permits.prepare(at(2 * SECOND), 30 * SECOND, true);
        let how = Inheritance { margin: 0, ill_until: None, dead_since: None, canary: None };
        let mut successor = Permits::inherit(&limits, &stored, how, at(3 * SECOND));
        successor.prepare(at(3 * SECOND), 30 * SECOND, false);
        successor.confirm();
        assert_eq!(successor.ready(at(3 * SECOND)), Ready::At(at(60 * SECOND).mono));
    }
}
