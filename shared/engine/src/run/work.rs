//! What is under way: one small document for each run that was asked for and has not ended, so that whoever starts finds it again,
//! whatever died. It is written first and deleted last.

use super::document::{self, Status};
use super::progress;
use crate::keys::{self, LaneName};
use crate::lane::bell;
use crate::lane::lease::SKEW;
use crate::model::name::Name;
use crate::port::{Document, Expect, Key, PortError, Store, Stored};
use serde::{Deserialize, Serialize};

/// So often a conditional write that was refused is tried again.
const TRIES: usize = 64;
/// Read at once.
const PAGE: usize = 500;

/// A run that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Whose.
    pub organization: Name,
    /// Of which export.
    pub export: Name,
    /// The run.
    pub run: String,
    /// Which part of its plan, where that is made in parts and this is one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// When it was asked for, Unix microseconds.
    pub asked_at: u64,
    /// How often it was taken in hand since it last came a step further.
    #[serde(default)]
    pub tries: u32,
    /// Who plans or finishes it, where several processes could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// Who has a run in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// A name that no other process ever has.
    pub name: String,
    /// Wall-clock time on its clock, microseconds: it says so again before, or others may take the run.
    pub until: u64,
}

/// A part of a run's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// In which round of splitting.
    pub round: u32,
    /// Which of the round's parts, from 0.
    pub number: u32,
}

/// The name under which something is under way: a run's id, or that of a part of its plan.
pub fn name(run: &str, part: Option<Part>) -> String {
    match part {
        None => run.to_string(),
        Some(Part { round, number }) => format!("{run}.{round}.{number}"),
    }
}

impl Work {
    /// A run that was asked for at `wall` (Unix microseconds) and that nobody has in hand.
    pub fn new(organization: &Name, export: &Name, run: &str, wall: u64) -> Work {
        let (organization, export, run) = (organization.clone(), export.clone(), run.to_string());
        Work { organization, export, run, part: None, asked_at: wall, tries: 0, holder: None }
    }

    /// Whether the holder of this name has it in hand.
    fn is_of(&self, name: &str) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.name == name)
    }

    /// The name under which it is under way.
    pub fn name(&self) -> String {
        name(&self.run, self.part)
    }

    /// Where its note stands.
    pub(super) fn key(&self) -> Key {
        keys::work(&self.organization, &self.name())
    }

    /// Its note.
    pub(super) fn document(&self) -> Document {
        Document { body: serde_json::to_vec(self).expect("plain data always serializes"), ..Document::default() }
    }

    /// Whether someone has it in hand at `wall`, as far as a note tells.
    pub fn is_held(&self, wall: u64) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.until + SKEW >= wall)
    }
}

/// Takes a run, or a part of its plan, in hand for so many microseconds, or goes on holding it. Gives how often it was taken in hand since
/// it last came a step further, this time included; `None`: it is over, or someone else has it. Whoever holds a run keeps others from doing the same work; what it writes is guarded by the run's own document. `work` is the name under
/// which it is under way, `name` the holder's.
pub async fn hold<S: Store>(
    store: &S,
    organization: &Name,
    work: &str,
    name: &str,
    wall: u64,
    span: u64,
) -> Result<Option<u32>, PortError> {
    let held = change(store, organization, work, wall / 1_000_000, |work| {
        let is_ours = work.is_of(name);
        if work.is_held(wall) && !is_ours {
            return None;
        }
        let holder = Some(Holder { name: name.to_string(), until: wall + span });
        Some(Work { tries: work.tries + u32::from(!is_ours), holder, ..work })
    });
    Ok(held.await?.map(|work| work.tries))
}

/// Lets go of what was held, if its note is still there. `further`: it came a step further, or has to wait for others.
pub async fn let_go<S: Store>(store: &S, organization: &Name, work: &str, name: &str, further: bool, now: u64) -> Result<(), PortError> {
    let let_go = |work: Work| {
        let tries = if further { 0 } else { work.tries };
        work.is_of(name).then_some(Work { tries, holder: None, ..work })
    };
    change(store, organization, work, now, let_go).await.map(drop)
}

/// Changes a note, and gives it as it is then. `None`: there is none, or `change` says no.
async fn change<S: Store>(
    store: &S,
    organization: &Name,
    work: &str,
    now: u64,
    change: impl Fn(Work) -> Option<Work>,
) -> Result<Option<Work>, PortError> {
    let key = keys::work(organization, work);
    for _ in 0..TRIES {
        let Some(stored) = store.get(&key, now).await? else { return Ok(None) };
        let Some(changed) = change(parse(&stored)?) else { return Ok(None) };
        match store.put(&key, changed.document(), Expect::At(stored.version), now).await {
            Ok(_) => return Ok(Some(changed)),
            Err(PortError::Conflict) => continue,
            Err(error) => return Err(error),
        }
    }
    Err(PortError::Failed(format!("the note of {work} changes without end")))
}

fn parse(stored: &Stored) -> Result<Work, PortError> {
    serde_json::from_slice(&stored.body).map_err(|e| PortError::Failed(format!("the note of {} cannot be read: {e}", stored.key.sort)))
}

/// A note without a run, or of one that is over, is left by a process that was killed; with a younger one the run may be just being written,
/// or just being delivered again, microseconds.
const ABANDONED_AFTER: u64 = 60_000_000;

/// What a run that is under way needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be planned, or taken back where nothing but its note was written.
    Plan,
    /// This part of it is to be planned.
    Part(Part),
    /// To be delivered.
    Deliver(LaneName),
    /// The same, but its lane does not know: whoever put it to work died before the bell was rung.
    Ring(LaneName),
    /// Canceled: to be finished once nothing of it is on its way.
    Halt(LaneName),
    /// Nothing is left to send: to be finished.
    Finish(LaneName),
    /// Its document is just being written, or it has come to rest and may be beginning again.
    Wait,
    /// It is over; what is left of it can go ([`super::claim::clear`]).
    Over,
}

/// What a run that is under way needs next at `wall` (microseconds), as its documents say.
pub async fn step<S: Store>(store: &S, work: &Work, wall: u64) -> Result<Step, PortError> {
    let now = wall / 1_000_000;
    let Some((run, _)) = document::read(store, &work.organization, &work.run, now).await? else {
        return Ok(match work.part {
            Some(_) => Step::Over,
            None if wall > work.asked_at + ABANDONED_AFTER => Step::Plan,
            None => Step::Wait,
        });
    };
    let lane = LaneName::first(&work.organization, &run.destination);
    if let Some(part) = work.part {
        let wanted = run.status == Status::Planning && run.split.is_some_and(|split| split.round == part.round);
        return Ok(if wanted { Step::Part(part) } else { Step::Over });
    }
    Ok(match run.status {
        Status::Planning => Step::Plan,
        Status::Delivering => {
            let progress = progress::read(store, &lane, &run.id, now).await?;
            match (progress.is_some_and(|(progress, _)| progress.is_complete()), run.cancel_asked) {
                (true, _) => Step::Finish(lane),
                (false, true) => Step::Halt(lane),
                (false, false) => match bell::hear(store, &lane, now).await?.bell.due {
                    Some(_) => Step::Deliver(lane),
                    None => Step::Ring(lane),
                },
            }
        }
        _ if wall > work.asked_at + ABANDONED_AFTER => Step::Over,
        _ => Step::Wait,
    })
}

/// Notes that a run is under way. Gives the note's version.
pub async fn note<S: Store>(store: &S, work: &Work, now: u64) -> Result<u64, PortError> {
    store.put(&work.key(), work.document(), Expect::Any, now).await
}

/// Reads a note, and its version.
pub async fn read<S: Store>(store: &S, organization: &Name, work: &str, now: u64) -> Result<Option<(Work, u64)>, PortError> {
    let Some(stored) = store.get(&keys::work(organization, work), now).await? else { return Ok(None) };
    Ok(Some((parse(&stored)?, stored.version)))
}

/// A run, or a part of its plan, has ended: what was under way under this name is no longer.
pub async fn done<S: Store>(store: &S, organization: &Name, work: &str, now: u64) -> Result<(), PortError> {
    store.delete(&keys::work(organization, work), Expect::Any, now).await
}

/// The same where the note is at this version. One that was written since stays: the run may be beginning again.
pub async fn done_at<S: Store>(store: &S, organization: &Name, work: &str, version: u64, now: u64) -> Result<(), PortError> {
    match store.delete(&keys::work(organization, work), Expect::At(version), now).await {
        Err(PortError::Conflict) => Ok(()),
        other => other,
    }
}

/// Everything that is under way.
pub async fn list<S: Store>(store: &S, now: u64) -> Result<Vec<Work>, PortError> {
    let mut all = Vec::new();
    let mut from = String::new();
    loop {
        let page = store.list(keys::WORK, from.as_str().."~", PAGE, now).await?;
        let last = page.last().map(|stored| stored.key.sort.clone());
        let full = page.len() == PAGE;
        for stored in page {
            all.push(parse(&stored)?);
        }
        match last {
            Some(last) if full => from = format!("{last}\0"),
            _ => return Ok(all),
        }
    }
}
