//! The lease of a lane and the document it lies in: who works the lane off, until when, and what a successor must know.
//!
//! Pure: whoever holds the store writes what these functions return, on condition that the document is unchanged.

use super::SECOND;
use super::permits::{Canary, Inheritance, Permits, StoredLimit};
use crate::model::limit::RateLimit;
use crate::port::Now;
use serde::{Deserialize, Serialize};

/// A lease holds this long after its last renewal.
pub const LEASE: u64 = 30 * SECOND;
/// An owner stops sending this long before its lease ends.
pub const GUARD: u64 = 2 * SECOND;
/// Clocks of different owners differ by at most this much.
pub const SKEW: u64 = SECOND;

/// The `tokens` document of a lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Who holds the lease; `None`: it was released.
    pub owner: Option<String>,
    /// Wall-clock time at which the lease ends, on the owner's clock.
    pub until: u64,
    /// Counts the owners; names what each writes, so that no two ever write the same document.
    pub generation: u64,
    /// The longest that a request of the owner may take, microseconds.
    pub timeout: u64,
    /// The limits' permits.
    pub limits: Vec<StoredLimit>,
    /// How the destination stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// Wall-clock time: what was due by then may have been sent without a record, by an owner that ended ill.
    #[serde(default)]
    pub unsure_until: u64,
}

/// What a destination asked for or showed, which an owner leaves to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Wall-clock time before which nothing is sent (Retry-After).
    pub paused_until: u64,
    /// Its circuit is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Down>,
}

/// An open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Wall-clock time from which one probe may go.
    pub probe_at: u64,
    /// What is waited for it, microseconds.
    pub delay: u64,
}

/// What an owner may know about the owner before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// It may still live, on another machine with another clock.
    Unknown,
    /// The operating system's lock on the data directory proves that it is dead, and its clock is ours.
    Dead,
}

/// The right to work a lane off. Whoever records, reserves or sends must show it.
#[derive(Debug)]
pub struct Lease {
    owner: String,
    generation: u64,
    until: Now,
    unsure_until: u64,
    canary: Option<Canary>,
}

/// What taking a lease comes to.
#[derive(Debug)]
pub enum Taken {
    /// The lease is ours once the document is written.
    Ours {
        /// How to read the stored permits.
        how: Inheritance,
        /// Wall-clock time before which nothing may be sent, since the predecessor's requests may still be open.
        quiet_until: u64,
    },
    /// Someone else's until this wall-clock time at least.
    Held {
        /// Who holds it.
        owner: String,
        /// On our clock, with the margin.
        until: u64,
    },
}

/// Whether the lease of `tokens` can be taken at `now`.
pub fn take(tokens: &Tokens, predecessor: Predecessor, now: Now, canary: Option<Canary>) -> Taken {
    let (margin, dead) = match predecessor {
        Predecessor::Unknown => (SKEW, false),
        Predecessor::Dead => (0, true),
    };
    let Some(owner) = &tokens.owner else {
        let how = Inheritance { margin, ill_until: None, dead_since: dead.then_some(now.wall), canary };
        return Taken::Ours { how, quiet_until: 0 };
    };
    if dead {
        // Nothing of a dead process can be sent any more; what it sent is on its way at the latest now.
        let how = Inheritance { margin, ill_until: Some(now.wall), dead_since: Some(now.wall), canary };
        return Taken::Ours { how, quiet_until: 0 };
    }
    if now.wall <= tokens.until + SKEW {
        return Taken::Held { owner: owner.clone(), until: tokens.until + SKEW };
    }
    let last_end = tokens.until + tokens.timeout;
    let how = Inheritance { margin, ill_until: Some(last_end), dead_since: None, canary };
    Taken::Ours { how, quiet_until: last_end + margin }
}

impl Lease {
    /// A lease that has just been written at `now` (the time before the write, so that a slow write shortens it).
    pub fn new(owner: &str, generation: u64, now: Now, canary: Option<Canary>) -> Lease {
        Lease { owner: owner.to_string(), generation, until: end(now), unsure_until: 0, canary }
    }

    /// The lease after a predecessor that left `tokens`: from one that ended ill it takes over what was sent and not recorded.
    pub fn after(self, tokens: &Tokens, how: Inheritance, now: Now) -> Lease {
        let unsure_until = if how.ill_until.is_some() { now.wall + SKEW } else { tokens.unsure_until };
        Lease { unsure_until, ..self }
    }

    /// Whether work that was due at this wall-clock time may have been sent without a record: then no failure of it is certain.
    pub fn is_unsure_of(&self, due: u64) -> bool {
        due <= self.unsure_until
    }

    /// Which owner of the lane this is, counted from the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The owner's name.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The lease was renewed by a write begun at `now`.
    pub fn renewed(&mut self, now: Now) {
        self.until = end(now);
    }

    /// Whether a request may start: both clocks must be inside the lease, less the guard. A process that was frozen sees the wall
    /// clock ahead, one whose wall clock was set back sees the monotonic one ahead.
    pub fn allows_sending(&self, now: Now) -> bool {
        self.canary == Some(Canary::NoFence) || (now.wall + GUARD < self.until.wall && now.mono + GUARD < self.until.mono)
    }

    /// Whether attempts may still be recorded: until the lease ends no successor has read the log.
    pub fn allows_recording(&self, now: Now) -> bool {
        self.canary == Some(Canary::NoFence) || (now.wall < self.until.wall && now.mono < self.until.mono)
    }
}

fn end(now: Now) -> Now {
    Now { wall: now.wall + LEASE, mono: now.mono + LEASE }
}

/// The document as the owner of a lease writes it: renewed, with permits reserved until the next heartbeat, or released.
pub fn write(lease: &Lease, permits: &mut Permits, now: Now, timeout: u64, standing: Standing, release: bool) -> Tokens {
    Tokens {
        owner: (!release).then(|| lease.owner.clone()),
        until: now.wall + LEASE,
        generation: lease.generation,
        timeout,
        limits: permits.prepare(now, timeout, release),
        standing,
        unsure_until: lease.unsure_until,
    }
}

/// The permits that `tokens` leaves to a new owner. Limits of the same window inherit; a limit of a window that is new to the lane
/// starts whole.
pub fn inherit(limits: &[RateLimit], tokens: &Tokens, how: Inheritance, now: Now) -> Permits {
    Permits::inherit(limits, &tokens.limits, how, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { wall: (1_000_000 + seconds) * SECOND, mono: seconds * SECOND }
    }

    fn owned() -> Tokens {
        Tokens { owner: Some("a".into()), until: at(30).wall, generation: 1, timeout: 5 * SECOND, ..Tokens::default() }
    }

    #[test]
    fn a_lease_is_held_until_its_end_and_the_margin() {
        assert!(matches!(take(&owned(), Predecessor::Unknown, at(31), None), Taken::Held { .. }));
        let Taken::Ours { how, quiet_until } = take(&owned(), Predecessor::Unknown, at(32), None) else { panic!("still held") };
        assert_eq!(how.ill_until, Some(at(35).wall));
        assert_eq!(quiet_until, at(36).wall);
    }

    #[test]
    fn a_dead_owners_lease_is_taken_at_once_but_its_reservation_counts() {
        let Taken::Ours { how, quiet_until } = take(&owned(), Predecessor::Dead, at(3), None) else { panic!("held by the dead") };
        assert_eq!(how.ill_until, Some(at(3).wall));
        assert_eq!(quiet_until, 0);
    }

    #[test]
    fn what_was_due_when_an_owner_ended_ill_stays_unsure_over_all_later_owners() {
        let mut permits = inherit(&[], &owned(), Inheritance { margin: SKEW, ill_until: None, dead_since: None, canary: None }, at(0));
        let mut tokens = owned();
        for (seconds, release) in [(40, true), (50, true), (60, false)] {
            let Taken::Ours { how, .. } = take(&tokens, Predecessor::Unknown, at(seconds), None) else { panic!("still held") };
            let lease = Lease::new("b", tokens.generation + 1, at(seconds), None).after(&tokens, how, at(seconds));
            assert!(lease.is_unsure_of(at(39).wall), "taken over at {seconds} s");
            assert!(!lease.is_unsure_of(at(42).wall), "taken over at {seconds} s");
            tokens = write(&lease, &mut permits, at(seconds), 5 * SECOND, Standing::default(), release);
        }
    }

    #[test]
    fn a_frozen_owner_may_not_send_when_it_wakes() {
        let lease = Lease::new("a", 1, at(0), None);
        assert!(lease.allows_sending(at(27)));
        assert!(!lease.allows_sending(at(28)));
        let wall_set_back = Now { wall: at(1).wall, mono: at(29).mono };
        assert!(!lease.allows_sending(wall_set_back));
        let wall_ahead = Now { wall: at(29).wall, mono: at(1).mono };
        assert!(!lease.allows_sending(wall_ahead));
    }
}
