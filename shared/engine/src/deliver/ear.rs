//! The ear of a loop whose callers are other processes: it hears the lane's bell once a second, and makes commands of what it finds
//! changed. Whoever needs to know that the loop has heard (a cancel that was acknowledged must hold) rings and waits for the answer.
//!
//! It must not send anything; on one machine, where callers share a process with the loop, nobody needs it.

use super::command::Command;
use super::owner;
use crate::catalog;
use crate::keys::LaneName;
use crate::lane::lease::SKEW;
use crate::lane::{SECOND, backlog, bell, pause};
use crate::port::{Clock, Document, Expect, PortError, Store};
use crate::run::document;
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// So often the bell is heard.
const EVERY: u64 = SECOND;
/// So often whoever rang looks for the answer.
const LOOKS_EVERY: u64 = SECOND / 5;

/// What the loop knew when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The bell's count, heard before anything else was read.
    pub count: u64,
    /// How often the organization's definitions had changed.
    pub changes: u64,
}

/// The `heard` document of a lane: the last count that its loop has acted upon.
#[derive(Serialize, Deserialize)]
struct Answer {
    count: u64,
}

/// What has changed on a lane since it was `known`, as commands: stop where definitions or a pause have changed, take back what was
/// canceled, look where there is new work. After [`Command::Stop`] whoever called the loop owes the [`answer`].
pub fn listen<'a, S: Store, C: Clock>(store: &'a S, clock: &'a C, lane: &'a LaneName, known: Known) -> impl Stream<Item = Command> + 'a {
    let ear = Ear { store, clock, lane, known, commands: VecDeque::new(), owes: None };
    stream::unfold(ear, |mut ear| async move {
        loop {
            if let Some(command) = ear.commands.pop_front() {
                return Some((command, ear));
            }
            // The commands before have been acted upon: the loop takes one after the other.
            if let Some(count) = ear.owes
                && answer(ear.store, ear.lane, count, ear.clock.now().wall).await.is_ok()
            {
                ear.owes = None;
            }
            ear.clock.sleep_until(ear.clock.now().mono + EVERY).await;
            // What cannot be read now is heard a second later.
            let _ = ear.hear().await;
        }
    })
}

struct Ear<'a, S, C> {
    store: &'a S,
    clock: &'a C,
    lane: &'a LaneName,
    known: Known,
    commands: VecDeque<Command>,
    owes: Option<u64>,
}

impl<S: Store, C: Clock> Ear<'_, S, C> {
    async fn hear(&mut self) -> Result<(), PortError> {
        let now = self.clock.now().wall / SECOND;
        let count = bell::hear(self.store, self.lane, now).await?.bell.count;
        if count == self.known.count {
            return Ok(());
        }
        let organization = &self.lane.organization;
        let changed = catalog::changes(self.store, organization, now).await? != self.known.changes;
        if changed || pause::read(self.store, self.lane, now).await?.is_some() {
            self.commands.push_back(Command::Stop);
        } else {
            let parcels = backlog::read(self.store, self.lane, now).await?;
            let runs: BTreeSet<String> = parcels.into_iter().map(|(_, parcel)| parcel.run).collect();
            for run in runs {
                let canceled = document::read(self.store, organization, &run, now).await?.is_some_and(|(run, _)| run.cancel_asked);
                if canceled {
                    self.commands.push_back(Command::Withdraw { run, halted: Box::new(|| {}) });
                }
            }
            self.commands.push_back(Command::Look);
        }
        self.known.count = count;
        self.owes = Some(count);
        Ok(())
    }
}

/// Says that the loop of a lane has acted upon what the bell was rung for so often.
pub async fn answer<S: Store>(store: &S, lane: &LaneName, count: u64, wall: u64) -> Result<(), PortError> {
    let body = serde_json::to_vec(&Answer { count }).expect("plain data always serializes");
    store.put(&lane.heard(), Document { body, ..Document::default() }, Expect::Any, wall / SECOND).await.map(drop)
}

/// Rings a lane's bell and waits until its loop has acted upon what changed before this call, or nobody works on the lane: then whoever
/// takes it next reads what changed. False: `patience` (microseconds) was over first.
pub async fn tell<S: Store, C: Clock>(store: &S, clock: &C, lane: &LaneName, patience: u64) -> Result<bool, PortError> {
    let began = clock.now();
    if is_free(store, lane, began.wall).await? {
        return Ok(true);
    }
    let count = bell::ring(store, lane, began.wall, began.wall / SECOND).await?;
    loop {
        let now = clock.now();
        if is_free(store, lane, now.wall).await? {
            return Ok(true);
        }
        if let Some(stored) = store.get(&lane.heard(), now.wall / SECOND).await? {
            let answer: Answer = serde_json::from_slice(&stored.body)
                .map_err(|e| PortError::Failed(format!("what {} has heard cannot be read: {e}", lane.partition())))?;
            if answer.count >= count {
                return Ok(true);
            }
        }
        if now.mono >= began.mono + patience {
            return Ok(false);
        }
        clock.sleep_until(now.mono + LOOKS_EVERY).await;
    }
}

/// Whether nobody holds a lane's lease, so that nothing of it can start before someone has taken it and read all anew.
pub async fn is_free<S: Store>(store: &S, lane: &LaneName, wall: u64) -> Result<bool, PortError> {
    let tokens = owner::read(store, lane, wall).await?;
    Ok(tokens.is_none_or(|(tokens, _)| tokens.owner.is_none() || tokens.until + SKEW < wall))
}
