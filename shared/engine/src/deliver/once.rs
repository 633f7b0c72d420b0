//! One request outside of any run: a test of a destination. It goes through the lane and takes a permit like every other.

use super::Ports;
use super::attach::Attachments;
use super::owner::{self, Claim, Ownership};
use crate::lane::lease;
use crate::lane::permits::Ready;
use crate::port::{Clock, Exchange, Objects, PortError, Store, Transport};
use crate::shape::Rendered;

/// What became of it.
#[derive(Debug)]
pub enum Once {
    /// The exchange and its duration, microseconds.
    Done(Exchange, u64),
    /// Someone else works on the lane.
    Held(String),
}

/// Takes the lane, waits for a permit, sends, gives the lane back.
pub async fn once<S: Store, O: Objects, T: Transport, C: Clock>(
    ports: Ports<'_, S, O, T, C>,
    claim: Claim<'_>,
    attachments: &Attachments,
    rendered: &Rendered,
) -> Result<Once, PortError> {
    let mut owned = match owner::take(ports.store, ports.clock, claim).await? {
        Ownership::Ours(owned) => *owned,
        Ownership::Held { owner, .. } => return Ok(Once::Held(owner)),
    };
    let paused = |wall: u64, mono: u64, until: u64| mono + until.saturating_sub(wall);
    loop {
        let now = ports.clock.now();
        let quiet = owned.quiet_until.max(paused(now.wall, now.mono, owned.standing.paused_until));
        let wait = match owned.permits.ready(now) {
            _ if quiet > now.mono => quiet,
            Ready::Now => break,
            Ready::At(at) => at,
            // Nothing of ours is on its way and nothing was taken, so neither can be waited for.
            Ready::AfterResponse | Ready::AfterHeartbeat => now.mono + 1_000_000,
        };
        let begun = ports.clock.now();
        let tokens = lease::write(&owned.lease, &mut owned.permits, begun, claim.timeout, owned.standing, false);
        match owner::beat(ports.store, claim.lane, &tokens, owned.version, begun.wall, None).await {
            owner::Beat::Written(version) => {
                owned.version = version;
                owned.permits.confirm();
                owned.lease.renewed(begun);
            }
            owner::Beat::Lost => return Ok(Once::Held("another process".to_string())),
            owner::Beat::Unknown => {}
        }
        // The lease must be renewed while a slow limit is waited for.
        ports.clock.sleep_until(wait.min(now.mono + crate::lane::permits::HEARTBEAT)).await;
    }
    let started = ports.clock.now();
    owned.permits.take(started);
    let exchange = match attachments.attach(rendered.clone()) {
        Ok(outgoing) => ports.transport.send(outgoing).await,
        Err(refused) => refused,
    };
    let ended = ports.clock.now();
    owned.permits.give_back(ended);
    let tokens = lease::write(&owned.lease, &mut owned.permits, ended, claim.timeout, owned.standing, true);
    owner::beat(ports.store, claim.lane, &tokens, owned.version, ended.wall, None).await;
    Ok(Once::Done(exchange, ended.mono - started.mono))
}
