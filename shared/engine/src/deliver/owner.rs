//! Owning a lane: the lease taken, renewed and released by conditional writes of the lane's one document.

use crate::keys::LaneName;
use crate::lane::lease::{self, Lease, Predecessor, Standing, Taken, Tokens};
use crate::lane::permits::{Canary, Permits};
use crate::model::limit::RateLimit;
use crate::port::{Clock, Document, Expect, PortError, Store};

/// So often a conditional write that was refused is tried again.
const TRIES: usize = 16;

/// A lane that is ours.
#[derive(Debug)]
pub struct Owned {
    /// The right.
    pub lease: Lease,
    /// Its permits, reserved.
    pub permits: Permits,
    /// The document's version.
    pub version: u64,
    /// Monotonic time before which nothing may be sent.
    pub quiet_until: u64,
    /// How the destination stands.
    pub standing: Standing,
}

/// What taking a lane comes to.
#[derive(Debug)]
pub enum Ownership {
    /// Ours.
    Ours(Box<Owned>),
    /// Someone else's until this wall-clock time at least.
    Held {
        /// Who holds it.
        owner: String,
        /// Microseconds.
        until: u64,
    },
}

/// Who takes a lane, and how.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The lane.
    pub lane: &'a LaneName,
    /// A name that no other owner ever has.
    pub owner: &'a str,
    /// What is known of the owner before.
    pub predecessor: Predecessor,
    /// The limits in force.
    pub limits: &'a [RateLimit],
    /// The longest a request may take, microseconds.
    pub timeout: u64,
    /// Planted bugs; `None` outside of the simulation.
    pub canary: Option<Canary>,
}

/// Takes a lane, if it is free.
pub async fn take<S: Store, C: Clock>(store: &S, clock: &C, claim: Claim<'_>) -> Result<Ownership, PortError> {
    for _ in 0..TRIES {
        let now = clock.now();
        let read = read(store, claim.lane, now.wall).await?;
        let (tokens, expect) = match read {
            Some((tokens, version)) => (tokens, Expect::At(version)),
            None => (Tokens::default(), Expect::Absent),
        };
        // A write of ours whose answer was lost has made us the owner already.
        let ours = tokens.owner.as_deref() == Some(claim.owner);
        let now = clock.now();
        let (how, quiet_until) = match lease::take(&tokens, claim.predecessor, now, claim.canary) {
            Taken::Ours { how, quiet_until } => (how, quiet_until),
            Taken::Held { .. } if ours => match lease::take(&tokens, Predecessor::Dead, now, claim.canary) {
                Taken::Ours { how, quiet_until } => (how, quiet_until),
                Taken::Held { owner, until } => return Ok(Ownership::Held { owner, until }),
            },
            Taken::Held { owner, until } => return Ok(Ownership::Held { owner, until }),
        };
        let mut permits = lease::inherit(claim.limits, &tokens, how, now);
        let lease = Lease::new(claim.owner, tokens.generation + 1, now, claim.canary).after(&tokens, how, now);
        let document = lease::write(&lease, &mut permits, now, claim.timeout, tokens.standing, false);
        match put(store, claim.lane, &document, expect, now.wall).await {
            Ok(version) => {
                permits.confirm();
                let quiet_until = now.mono + quiet_until.saturating_sub(now.wall);
                return Ok(Ownership::Ours(Box::new(Owned { lease, permits, version, quiet_until, standing: tokens.standing })));
            }
            Err(PortError::Conflict) => continue,
            Err(error) => return Err(error),
        }
    }
    Err(PortError::Failed(format!("the lease of {} changes without end", claim.lane.partition())))
}

/// Reads a lane's document and its version.
pub async fn read<S: Store>(store: &S, lane: &LaneName, wall: u64) -> Result<Option<(Tokens, u64)>, PortError> {
    let Some(stored) = store.get(&lane.tokens(), wall / 1_000_000).await? else { return Ok(None) };
    let tokens = serde_json::from_slice(&stored.body)
        .map_err(|e| PortError::Failed(format!("the lane document of {} cannot be read: {e}", lane.partition())))?;
    Ok(Some((tokens, stored.version)))
}

/// Writes a lane's document and gives its new version.
pub async fn put<S: Store>(store: &S, lane: &LaneName, tokens: &Tokens, expect: Expect, wall: u64) -> Result<u64, PortError> {
    let body = serde_json::to_vec(tokens).expect("plain data always serializes");
    store.put(&lane.tokens(), Document { body, ..Document::default() }, expect, wall / 1_000_000).await
}

/// What a heartbeat came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The document is written; its version.
    Written(u64),
    /// Someone else owns the lane.
    Lost,
    /// The store failed; whether it is written is not known. Try again.
    Unknown,
}

/// Writes the document of a lane that is ours at `version`. A write whose answer was lost is recognized by its generation.
pub async fn beat<S: Store>(store: &S, lane: &LaneName, tokens: &Tokens, version: u64, wall: u64, canary: Option<Canary>) -> Beat {
    match put(store, lane, tokens, Expect::At(version), wall).await {
        Ok(version) => Beat::Written(version),
        Err(PortError::Conflict) => match read(store, lane, wall).await {
            Ok(Some((there, version))) if there == *tokens => Beat::Written(version),
            // An earlier write of ours, whose answer was lost, stands there: this one goes over it.
            Ok(Some((there, version))) if there.generation == tokens.generation => {
                match put(store, lane, tokens, Expect::At(version), wall).await {
                    Ok(version) => Beat::Written(version),
                    Err(PortError::Conflict) => Beat::Lost,
                    Err(_) => Beat::Unknown,
                }
            }
            Ok(_) if canary == Some(Canary::NoFence) => Beat::Written(version),
            Ok(_) => Beat::Lost,
            Err(_) => Beat::Unknown,
        },
        Err(_) => Beat::Unknown,
    }
}
