//! The pump: who decides, for one lane, what is sent next and when. Pure: time and chance come in as arguments, rendering, sending
//! and recording happen outside, and each step says what happened.

use super::backlog::{Holds, Parcel};
use super::circuit::Circuit;
use super::lease::{self, Lease, Standing, Tokens};
use super::ordering::Ordering;
use super::permits::{HEARTBEAT, Permits, Ready};
use super::turns::Turns;
use crate::judge::{self, Class, Verdict};
use crate::model::retry::RetryPolicy;
use crate::port::{Key, Now};
use crate::record::segment::AttemptRecord;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// A parcel's place in the pump.
pub type Slot = u32;

/// A delivery that may go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The parcel.
    pub slot: Slot,
    /// The delivery's place in it.
    pub index: u32,
}

/// The right to send one request. Cannot be copied, and is used up by [`Pump::answered`].
#[derive(Debug)]
pub struct Grant {
    /// Which delivery.
    pub candidate: Candidate,
    /// The attempt's number, from 1.
    pub number: u32,
    /// When it started.
    pub started: Now,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Render this delivery, then [`Pump::start`] it at the same time.
    Send(Candidate),
    /// Bring the rows of this parcel, then [`Pump::loaded`].
    Load(Slot),
    /// Make this event's delivery ready: [`Pump::preparing`].
    Prepare(Candidate),
    /// Write the lane's document, then [`Pump::beaten`].
    Beat,
    /// Nothing before this monotonic time, unless an answer comes first.
    Until(u64),
    /// Nothing before an answer comes.
    Answer,
    /// Nothing is left: no delivery is owed and none is on its way.
    Empty,
    /// The lease ran out: send nothing, record nothing.
    Lost,
    /// The destination was down until a probe had used up its attempts; the rest stays as it is.
    Dead,
}

/// Whether an owner leaves with what it writes, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It stays.
    Not,
    /// It leaves, and the next owner goes on where it was.
    ToGoOn,
    /// It leaves, and the next owner begins anew.
    ToBegin,
}

/// What is in force now, not when the run began.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At most this many requests in flight.
    pub concurrency: u32,
    /// The longest a request may take, microseconds.
    pub timeout: u64,
    /// When a failed attempt is repeated.
    pub retry: RetryPolicy,
    /// Leave for good when the circuit's probe has used up its attempts (`penstock run`), rather than probe on.
    pub ends_when_dead: bool,
}

#[derive(Clone, Debug, Default)]
struct DeliveryState {
    attempts: u32,
    first_started: u64,
    /// Where it stands among the retries.
    retry_at: Option<u64>,
    done: bool,
}

#[derive(Debug)]
struct OpenParcel {
    key: Key,
    parcel: Rc<Parcel>,
    states: Vec<DeliveryState>,
    fresh: VecDeque<u32>,
    /// Deliveries that are not done.
    left: u32,
    in_flight: u32,
    loaded: bool,
    /// Its run was canceled: nothing of it is repeated.
    withdrawn: bool,
    /// An earlier event of its key is not done: what is owed of it waits.
    blocked: bool,
    /// What it waits for once it is not blocked: its next attempts.
    later: Vec<(u64, u32)>,
    /// It is being made ready.
    preparing: bool,
}

/// The state machine of one lane.
#[derive(Debug)]
pub struct Pump {
    /// The right to work the lane off.
    pub lease: Lease,
    permits: Permits,
    settings: Settings,
    parcels: BTreeMap<Slot, OpenParcel>,
    next_slot: Slot,
    /// Runs that have fresh deliveries.
    turns: Turns,
    /// Rules that have fresh deliveries.
    event_turns: Turns,
    /// Whether what was sent last was a run's, so that an event is next.
    events_next: bool,
    ordering: Ordering,
    retries: BTreeSet<(u64, Candidate)>,
    probe: Option<Candidate>,
    circuit: Circuit,
    in_flight: u32,
    quiet_until: u64,
    beat_at: u64,
    paused_until_wall: u64,
    stopping: bool,
    dead: bool,
}

impl Pump {
    /// A pump that holds the lease and has written it at `now`. Nothing is sent before `quiet_until` (monotonic).
    pub fn new(lease: Lease, permits: Permits, settings: Settings, quiet_until: u64, standing: Standing, now: Now) -> Pump {
        let paused = now.mono + standing.paused_until.saturating_sub(now.wall);
        // Who ends when the destination is down was started by a person, who wants to know how it is now.
        let circuit = if settings.ends_when_dead { Circuit::new() } else { Circuit::inherited(standing.down, now) };
        Pump {
            lease,
            permits,
            settings,
            parcels: BTreeMap::new(),
            next_slot: 0,
            turns: Turns::default(),
            event_turns: Turns::default(),
            events_next: true,
            ordering: Ordering::default(),
            retries: BTreeSet::new(),
            probe: None,
            circuit,
            in_flight: 0,
            quiet_until: quiet_until.max(paused),
            beat_at: now.mono + HEARTBEAT,
            paused_until_wall: standing.paused_until,
            stopping: false,
            dead: false,
        }
    }

    /// Adds a parcel with what the log says of it. Gives its slot.
    pub fn add(&mut self, key: Key, parcel: Parcel, history: &[(Class, AttemptRecord)], now: Now) -> Slot {
        let slot = self.next_slot;
        self.next_slot += 1;
        let mut states = vec![DeliveryState::default(); parcel.deliveries as usize];
        if let Some(again) = &parcel.again {
            states.iter_mut().for_each(|state| state.done = true);
            again.indexes.iter().filter_map(|i| states.get_mut(*i as usize).map(|s| s.done = false)).count();
        }
        let mut latest = vec![None::<(u32, u64, bool)>; states.len()];
        for (_, record) in history {
            let Some(state) = states.get_mut(record.index as usize) else { continue };
            let started = record.started_ms * 1000;
            state.attempts = state.attempts.max(record.number);
            let counts = parcel.again.as_ref().is_none_or(|again| record.by_hand && record.started_ms >= again.asked_ms);
            if counts {
                state.first_started = if state.first_started == 0 { started } else { state.first_started.min(started) };
                state.done |= record.last;
                let end = started + record.duration_ms * 1000;
                let newest = &mut latest[record.index as usize];
                if newest.is_none_or(|(number, ..)| number < record.number) {
                    *newest = Some((record.number, end, record.last));
                }
            }
        }
        let mut open = OpenParcel {
            key,
            parcel: Rc::new(parcel),
            states,
            fresh: VecDeque::new(),
            left: 0,
            in_flight: 0,
            loaded: false,
            withdrawn: false,
            blocked: false,
            later: Vec::new(),
            preparing: false,
        };
        for (index, _) in open.states.iter().enumerate().filter(|(_, state)| !state.done) {
            open.left += 1;
            match latest[index] {
                // The exact time is gone with its owner: the delay's upper bound is what it may have been.
                Some((number, end, _)) => {
                    let due = (end + judge::backoff(&self.settings.retry, number, 1.0)).saturating_sub(now.wall) + now.mono;
                    open.later.push((due, index as u32));
                }
                None => open.fresh.push_back(index as u32),
            }
        }
        if let Some(key) = open.parcel.key_of_events().filter(|_| open.left > 0) {
            open.blocked = !self.ordering.line_up(key, slot);
        }
        let blocked = open.blocked;
        self.parcels.insert(slot, open);
        if !blocked {
            self.take_up(slot);
        }
        slot
    }

    /// What is owed of a parcel gets its turn.
    fn take_up(&mut self, slot: Slot) {
        let Some(open) = self.parcels.get_mut(&slot) else { return };
        open.blocked = false;
        if !open.fresh.is_empty() {
            match &open.parcel.holds {
                Holds::Rows { .. } => self.turns.add(&open.parcel.run, slot),
                Holds::Event { rule, .. } => self.event_turns.add(rule.as_str(), slot),
            }
        }
        for (due, index) in std::mem::take(&mut open.later) {
            self.retry(due, Candidate { slot, index });
        }
    }

    /// A parcel of which every delivery is done blocks its key no longer.
    fn unblock(&mut self, slot: Slot) {
        let Some(open) = self.parcels.get(&slot).filter(|open| open.left == 0) else { return };
        let parcel = Rc::clone(&open.parcel);
        if let Some(next) = parcel.key_of_events().and_then(|key| self.ordering.done(key, slot)) {
            self.take_up(next);
        }
    }

    fn retry(&mut self, due: u64, candidate: Candidate) {
        self.retries.insert((due, candidate));
        if let Some(open) = self.parcels.get_mut(&candidate.slot) {
            open.states[candidate.index as usize].retry_at = Some(due);
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Now) -> Next {
        if !self.lease.allows_sending(now) {
            return Next::Lost;
        }
        if self.dead || self.stopping {
            return match (self.in_flight, self.dead) {
                (0, true) => Next::Dead,
                (0, false) => Next::Empty,
                _ => self.beat_or(Next::Answer, now),
            };
        }
        if now.mono >= self.beat_at {
            return Next::Beat;
        }
        let next = self.opportunity(now);
        self.beat_or(next, now)
    }

    /// When something can be sent at the earliest, if nothing is on its way and it is time alone that is waited for.
    pub fn rests_until(&mut self, now: Now) -> Option<u64> {
        if self.in_flight > 0 || self.dead || self.stopping || !self.lease.allows_sending(now) {
            return None;
        }
        match self.opportunity(now) {
            Next::Until(at) => Some(at),
            _ => None,
        }
    }

    /// What is next, heartbeats aside.
    fn opportunity(&mut self, now: Now) -> Next {
        if self.in_flight >= self.settings.concurrency {
            return Next::Answer;
        }
        let Some(candidate) = self.candidate(now) else {
            return match (self.retries.first(), self.in_flight) {
                (Some((due, _)), _) if *due > now.mono => Next::Until(*due),
                (None, 0) => Next::Empty,
                _ => Next::Answer,
            };
        };
        if now.mono < self.quiet_until {
            return Next::Until(self.quiet_until);
        }
        match self.circuit.closed_until(now.mono) {
            None => {}
            Some(u64::MAX) => return Next::Answer,
            Some(at) => return Next::Until(at),
        }
        match self.permits.ready(now) {
            Ready::Now if self.parcels[&candidate.slot].loaded => Next::Send(candidate),
            Ready::Now if self.parcels[&candidate.slot].parcel.rule().is_some() => Next::Prepare(candidate),
            Ready::Now => Next::Load(candidate.slot),
            Ready::At(at) => Next::Until(at),
            Ready::AfterResponse => Next::Answer,
            Ready::AfterHeartbeat => Next::Beat,
        }
    }

    /// Waiting must end in time for the heartbeat.
    fn beat_or(&self, next: Next, now: Now) -> Next {
        match next {
            _ if now.mono >= self.beat_at => Next::Beat,
            Next::Until(at) => Next::Until(at.min(self.beat_at)),
            Next::Answer => Next::Until(self.beat_at),
            other => other,
        }
    }

    /// Which delivery would go: the probe while the circuit is open, else a retry that is due, else the next fresh one of the run or
    /// rule whose turn it is.
    fn candidate(&mut self, now: Now) -> Option<Candidate> {
        if let (true, Some(probe)) = (self.circuit.is_open(), self.probe) {
            return self.parcels.get(&probe.slot).is_some_and(|open| !open.preparing).then_some(probe);
        }
        if let Some((due, candidate)) = self.retries.first()
            && *due <= now.mono
        {
            return Some(*candidate);
        }
        let parcels = &self.parcels;
        let is_fresh = |slot| parcels.get(&slot).is_some_and(|open| !open.fresh.is_empty());
        let (run, event) = (self.turns.front(is_fresh), self.event_turns.front(is_fresh));
        // Events get at least half (semantics.md 14).
        let slot = if self.events_next { event.or(run) } else { run.or(event) }?;
        let index = *self.parcels.get(&slot)?.fresh.front()?;
        Some(Candidate { slot, index })
    }

    /// The rows of a parcel are at hand.
    pub fn loaded(&mut self, slot: Slot) {
        if let Some(open) = self.parcels.get_mut(&slot) {
            open.loaded = true;
        }
    }

    /// Takes the permits for a candidate and gives the right to send it.
    pub fn start(&mut self, candidate: Candidate, now: Now) -> Grant {
        self.permits.take(now);
        self.circuit.sent();
        self.in_flight += 1;
        self.forget(candidate);
        let open = self.parcels.get_mut(&candidate.slot).expect("a candidate's parcel is open");
        open.in_flight += 1;
        let state = &mut open.states[candidate.index as usize];
        state.attempts += 1;
        if state.first_started == 0 {
            state.first_started = now.wall;
        }
        Grant { candidate, number: state.attempts, started: now }
    }

    /// Takes a candidate off the lists; the run whose turn it was goes to the back.
    fn forget(&mut self, candidate: Candidate) {
        if let Some(open) = self.parcels.get_mut(&candidate.slot) {
            if let Some(due) = open.states[candidate.index as usize].retry_at.take() {
                self.retries.remove(&(due, candidate));
            }
            if open.fresh.front() == Some(&candidate.index) {
                open.fresh.pop_front();
                let is_event = open.parcel.rule().is_some();
                if is_event {
                    self.event_turns.pass()
                } else {
                    self.turns.pass()
                }
                self.events_next = !is_event;
            }
        }
    }

    /// An event's delivery is made ready, which may take time: it waits, beside what is sent, until [`Pump::prepared`] or
    /// [`Pump::fetch_failed`].
    pub fn preparing(&mut self, candidate: Candidate) {
        // Its turn is not used up: nothing is sent.
        let events_next = self.events_next;
        self.forget(candidate);
        self.events_next = events_next;
        self.in_flight += 1;
        if let Some(open) = self.parcels.get_mut(&candidate.slot) {
            open.in_flight += 1;
            open.preparing = true;
        }
    }

    fn end_preparing(&mut self, candidate: Candidate) {
        self.in_flight -= 1;
        if let Some(open) = self.parcels.get_mut(&candidate.slot) {
            open.in_flight -= 1;
            open.preparing = false;
        }
    }

    /// It is ready: it is sent when its turn comes.
    pub fn prepared(&mut self, candidate: Candidate) {
        self.end_preparing(candidate);
        if let Some(open) = self.parcels.get_mut(&candidate.slot) {
            open.loaded = true;
            open.fresh.push_front(candidate.index);
            if let Some(rule) = open.parcel.rule() {
                self.event_turns.add_first(rule.as_str(), candidate.slot);
            }
        }
    }

    /// A fetch failed before it could be sent: an attempt that took no permit and says nothing of the destination.
    pub fn fetch_failed(&mut self, candidate: Candidate, verdict: &Verdict, started: Now, now: Now, chance: f64) -> AttemptRecord {
        self.end_preparing(candidate);
        let open = self.parcels.get_mut(&candidate.slot).expect("a parcel stays open while it is made ready");
        open.in_flight += 1;
        let state = &mut open.states[candidate.index as usize];
        state.attempts += 1;
        if state.first_started == 0 {
            state.first_started = started.wall;
        }
        let grant = Grant { candidate, number: state.attempts, started };
        let record = self.settle(grant, verdict, 1, now, chance);
        AttemptRecord { uncertain: false, ..record }
    }

    /// It cannot be made ready, now or later: it is done, without a permit.
    pub fn lost(&mut self, candidate: Candidate, now: Now) -> AttemptRecord {
        self.end_preparing(candidate);
        self.unsendable(candidate, now)
    }

    /// A candidate that cannot be sent because it does not render: it is done, without a permit.
    pub fn unsendable(&mut self, candidate: Candidate, now: Now) -> AttemptRecord {
        self.forget(candidate);
        if self.probe == Some(candidate) {
            self.probe = None;
        }
        let open = self.parcels.get_mut(&candidate.slot).expect("a candidate's parcel is open");
        open.left -= 1;
        let state = &mut open.states[candidate.index as usize];
        state.attempts += 1;
        state.done = true;
        let record = AttemptRecord {
            index: candidate.index,
            number: state.attempts,
            status: None,
            started_ms: now.wall / 1000,
            duration_ms: 0,
            last: true,
            uncertain: false,
            by_hand: open.parcel.again.is_some(),
            succeeded: None,
        };
        self.unblock(candidate.slot);
        record
    }

    /// An exchange has ended. `rows` is what the request carried, `chance` a number in 0..1 for the jitter.
    pub fn answered(&mut self, grant: Grant, verdict: &Verdict, rows: u64, now: Now, chance: f64) -> AttemptRecord {
        let candidate = grant.candidate;
        self.in_flight -= 1;
        match verdict.status.is_none() && !verdict.uncertain {
            true => self.permits.cancel(),
            false => self.permits.give_back(now),
        }
        if let Some(seconds) = verdict.retry_after_seconds {
            let wait = (seconds * 1e6) as u64;
            self.quiet_until = self.quiet_until.max(now.mono + wait);
            self.paused_until_wall = self.paused_until_wall.max(now.wall + wait);
        }
        let opened = match verdict.destination_down {
            true => self.circuit.failed(now.mono),
            false => {
                self.circuit.answered();
                self.probe = None;
                false
            }
        };
        if opened && self.probe.is_none() {
            self.probe = Some(candidate);
        }
        self.settle(grant, verdict, rows, now, chance)
    }

    /// An attempt has ended: its delivery is done, or is tried again later.
    fn settle(&mut self, grant: Grant, verdict: &Verdict, rows: u64, now: Now, chance: f64) -> AttemptRecord {
        let Grant { candidate, number, started } = grant;
        let last = !self.may_retry(candidate, verdict, number, now);
        let parcel_due = self.parcels[&candidate.slot].parcel.due;
        // An attempt that died with its owner may have taken effect: then a refusal of the next one ("exists already") proves nothing.
        let uncertain = verdict.uncertain || (verdict.class != Class::Success && self.lease.is_unsure_of(parcel_due));
        let open = self.parcels.get_mut(&candidate.slot).expect("a parcel stays open while a delivery is on its way");
        open.in_flight -= 1;
        if last {
            open.states[candidate.index as usize].done = true;
            open.left -= 1;
            if self.probe == Some(candidate) {
                self.dead = self.settings.ends_when_dead && self.circuit.is_open();
                self.probe = None;
            }
        } else {
            let own = judge::backoff(&self.settings.retry, number, chance);
            let asked = verdict.retry_after_seconds.map_or(0, |s| (s * 1e6) as u64 + (chance * 1e6) as u64);
            self.retry(now.mono + own.max(asked), candidate);
        }
        self.unblock(candidate.slot);
        AttemptRecord {
            index: candidate.index,
            number,
            status: verdict.status,
            started_ms: started.wall / 1000,
            duration_ms: now.mono.saturating_sub(started.mono).div_ceil(1000),
            last,
            uncertain,
            by_hand: self.parcels[&candidate.slot].parcel.again.is_some(),
            succeeded: (verdict.class == Class::Success && verdict.succeeded < rows).then_some(verdict.succeeded as u32),
        }
    }

    fn may_retry(&self, candidate: Candidate, verdict: &Verdict, number: u32, now: Now) -> bool {
        let open = &self.parcels[&candidate.slot];
        if open.withdrawn {
            return false;
        }
        let state = &open.states[candidate.index as usize];
        let retry = &self.settings.retry;
        let in_time = now.wall.saturating_sub(state.first_started) < retry.give_up_after_seconds * 1_000_000;
        verdict.retryable && retry.max_attempts.is_none_or(|most| number < most) && in_time
    }

    /// The lane's document was written at `begun` (the time before the write).
    pub fn beaten(&mut self, begun: Now) {
        self.lease.renewed(begun);
        self.beat_at = begun.mono + HEARTBEAT;
    }

    /// The permits, for the lane's document.
    pub fn permits(&mut self) -> &mut Permits {
        &mut self.permits
    }

    /// The lane's document as the owner writes it at `now`.
    pub fn document(&mut self, now: Now, leaving: Leaving) -> Tokens {
        // Who was told to stop was told so because something has changed: then the next request may find the destination at work.
        let down = if leaving == Leaving::ToBegin { None } else { self.circuit.left(now) };
        let standing = Standing { paused_until: self.paused_until_wall, down };
        lease::write(&self.lease, &mut self.permits, now, self.settings.timeout, standing, leaving != Leaving::Not)
    }

    /// Takes back a run: nothing more of it starts, and what is on its way is not repeated. Gives the parcels that are done by that.
    pub fn withdraw(&mut self, run: &str) -> Vec<Slot> {
        self.turns.drop(run);
        let parcels = &mut self.parcels;
        let mut done = Vec::new();
        for (slot, open) in parcels.iter_mut().filter(|(_, open)| open.parcel.run == run) {
            open.fresh.clear();
            for (index, state) in open.states.iter_mut().enumerate() {
                if let Some(due) = state.retry_at.take() {
                    self.retries.remove(&(due, Candidate { slot: *slot, index: index as u32 }));
                }
            }
            open.withdrawn = true;
            open.left = open.in_flight;
            if open.left == 0 {
                done.push(*slot);
            }
        }
        if self.probe.is_some_and(|probe| self.parcels.get(&probe.slot).is_none_or(|open| open.withdrawn)) {
            self.probe = None;
        }
        done
    }

    /// Whether deliveries of a run that were never tried are open.
    pub fn has_turn(&self, run: &str) -> bool {
        self.turns.has(run)
    }

    /// Whether anything of a run is open.
    pub fn has_run(&self, run: &str) -> bool {
        self.parcels.values().any(|open| open.parcel.run == run)
    }

    /// How many parcels of runs have deliveries that were never tried.
    pub fn fresh_parcels(&self) -> usize {
        self.turns.len()
    }

    /// How many events could be sent, if all permits were free.
    pub fn fresh_events(&self) -> usize {
        self.event_turns.len()
    }

    /// How many parcels are open.
    pub fn open_parcels(&self) -> usize {
        self.parcels.len()
    }

    /// Until when Retry-After holds the lane, wall clock.
    pub fn paused_until(&self) -> u64 {
        self.paused_until_wall
    }

    /// Starts nothing more; what is on its way is waited for.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Deliveries of open parcels that are not done.
    pub fn owed(&self) -> u64 {
        self.parcels.values().map(|open| u64::from(open.left)).sum()
    }

    /// Requests on their way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The longest a request may take, microseconds.
    pub fn timeout(&self) -> u64 {
        self.settings.timeout
    }

    /// Why nothing is sent at `now`, for a person, where it is the destination's doing.
    pub fn waits_for(&self, now: Now) -> Option<Waiting> {
        if let Circuit::Open { probe_at, .. } = self.circuit {
            return Some(Waiting::Down(probe_at.saturating_sub(now.mono)));
        }
        let asked = self.paused_until_wall.saturating_sub(now.wall);
        (asked > 0).then_some(Waiting::RetryAfter(asked))
    }

    /// A parcel.
    pub fn parcel(&self, slot: Slot) -> &Rc<Parcel> {
        &self.parcels[&slot].parcel
    }

    /// Whether a parcel's rows can be dropped: nothing fresh is left in it and nothing on its way. They are asked for again when a
    /// retry is due.
    pub fn unload_idle(&mut self, slot: Slot) -> bool {
        match self.parcels.get_mut(&slot) {
            Some(open) if open.fresh.is_empty() && open.in_flight == 0 => {
                open.loaded = false;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Whether every delivery of a parcel is done.
    pub fn is_done(&self, slot: Slot) -> bool {
        self.parcels.get(&slot).is_none_or(|open| open.left == 0)
    }

    /// Takes a parcel that is done and recorded out of the pump.
    pub fn remove(&mut self, slot: Slot) -> Option<(Key, Rc<Parcel>)> {
        self.parcels.remove(&slot).map(|open| (open.key, open.parcel))
    }

    /// The backlog entries that are open.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.parcels.values().map(|open| open.key.clone()).collect()
    }

    /// How long the next attempt of any delivery is away, if none is due and none on its way.
    pub fn next_retry(&self) -> Option<u64> {
        self.retries.first().map(|(due, _)| *due)
    }
}

/// What a lane waits for, with microseconds left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The destination is down; a probe goes then.
    Down(u64),
    /// The destination asked for it.
    RetryAfter(u64),
}

mod outside;
#[cfg(test)]
mod tests;
