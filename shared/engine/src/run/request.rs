//! What people and schedules ask of runs: start, cancel, approve. Planning and delivering are done by others, who find what was asked
//! for in the documents.

use super::begin;
use super::claim::{self, Busy, unclaim};
use super::document::{self, Run, Status, Wish};
use super::retention;
use super::state::{self, State};
use super::work::{self, Work};
use crate::keys::{self, LaneName};
use crate::model::name::Name;
use crate::plan::layout::Directory;
use crate::port::{Expect, PortError, Store};

/// So often a conditional write that was refused is tried again.
const TRIES: usize = 64;

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This run has the export; two never overlap.
    Busy(String),
    /// There is no such run.
    Missing,
    /// The run stands at a status in which that cannot be done.
    Not(Status),
    /// The export has run, or another run of it was planned, since this plan was made.
    MovedOn,
}

impl From<Busy> for Refused {
    fn from(Busy(run): Busy) -> Self {
        Refused::Busy(run)
    }
}

/// Which run is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose.
    pub organization: &'a Name,
    /// The export.
    pub export: &'a Name,
    /// Its destination.
    pub destination: &'a Name,
    /// The run's id.
    pub run: &'a str,
    /// What it is to do.
    pub wish: Wish,
    /// Used if the export has none yet.
    pub hash_seed: u64,
}

/// A run that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its document.
    pub run: Run,
    /// The document's version.
    pub version: u64,
    /// The export's state.
    pub state: State,
}

/// Asks for a run of an export: it has the export from now on, and is to be planned. A plan alone does not need the export.
/// Asking again for the same run changes nothing.
pub async fn start<S: Store>(store: &S, ask: Ask<'_>, wall: u64) -> Result<Result<Asked, Refused>, PortError> {
    let now = wall / 1_000_000;
    let Ask { organization, export, destination, run, wish, hash_seed } = ask;
    let note = Work::new(organization, export, run, wall);
    retention::note(store, organization, now).await?;
    work::note(store, &note, now).await?;
    let seed = |state: &mut State| -> Result<(), Refused> {
        state.hash_seed.get_or_insert(hash_seed);
        Ok(())
    };
    let claimed = match wish.plan_only {
        true => state::change(store, organization, export, now, seed).await?,
        false => claim::claim(store, organization, export, run, now, seed).await?,
    };
    let state = match claimed {
        Ok(state) => state,
        Err(refused) => {
            work::done(store, organization, run, now).await?;
            return Ok(Err(refused));
        }
    };
    let asked = Run::asked(run, organization, export, destination, wish, wall);
    match document::write(store, organization, &asked, Expect::Absent, now).await {
        Ok(version) => Ok(Ok(Asked { run: asked, version, state })),
        Err(PortError::Conflict) => match document::read(store, organization, run, now).await? {
            Some((run, version)) => Ok(Ok(Asked { run, version, state })),
            None => Err(PortError::Conflict),
        },
        Err(error) => Err(error),
    }
}

/// A run that was asked for, whose document is at `version`, ends before anything of it was sent: its export is free again. `Conflict`: its
/// document was changed meanwhile, and it may go on.
pub async fn end<S: Store>(
    store: &S,
    organization: &Name,
    (run, version): (Run, u64),
    status: Status,
    reason: String,
    wall: u64,
) -> Result<Run, PortError> {
    let now = wall / 1_000_000;
    let ended = Run { status, reason: Some(reason), finished_at: Some(wall), ..run };
    document::write(store, organization, &ended, Expect::At(version), now).await?;
    unclaim(store, organization, &ended.export, &ended.id, now).await?;
    work::done(store, organization, &ended.id, now).await?;
    Ok(ended)
}

/// Takes back a run of which nothing was kept: it is as if nobody had asked for it, so that its id can be used again.
pub async fn take_back<S: Store>(store: &S, organization: &Name, run: &Run, now: u64) -> Result<(), PortError> {
    store.delete(&keys::run(organization, &run.id), Expect::Any, now).await?;
    unclaim(store, organization, &run.export, &run.id, now).await?;
    work::done(store, organization, &run.id, now).await
}

/// Asks for the end of a run. What was delivered counts. One that is held is over at once; of the others nothing more may start from
/// the moment that their pump knows.
pub async fn cancel<S: Store>(store: &S, organization: &Name, run: &str, wall: u64) -> Result<Result<Run, Refused>, PortError> {
    let now = wall / 1_000_000;
    for _ in 0..TRIES {
        let Some((found, version)) = document::read(store, organization, run, now).await? else { return Ok(Err(Refused::Missing)) };
        let wanted = match found.status {
            Status::Canceled => return Ok(Ok(found)),
            Status::Planning | Status::Delivering if found.cancel_asked => return Ok(Ok(found)),
            Status::Planning | Status::Delivering => Run { cancel_asked: true, ..found },
            Status::Held => Run { status: Status::Canceled, cancel_asked: true, finished_at: Some(wall), ..found },
            other => return Ok(Err(Refused::Not(other))),
        };
        match document::write(store, organization, &wanted, Expect::At(version), now).await {
            Ok(_) => return Ok(Ok(wanted)),
            Err(PortError::Conflict) => continue,
            Err(error) => return Err(error),
        }
    }
    Err(PortError::Failed(format!("{run} changes without end")))
}

/// Executes a kept plan: one that a guard holds, or one that was made to be looked at. `directory` says where its rows lie.
pub async fn approve<S: Store>(
    store: &S,
    lane: &LaneName,
    run: &str,
    directory: &Directory,
    wall: u64,
) -> Result<Result<Run, Refused>, PortError> {
    let now = wall / 1_000_000;
    let organization = &lane.organization;
    let Some((mut found, version)) = document::read(store, organization, run, now).await? else { return Ok(Err(Refused::Missing)) };
    if found.status != Status::Held {
        return Ok(Err(Refused::Not(found.status)));
    }
    let note = Work::new(organization, &found.export, run, wall);
    // Where it is refused the note stays, and is cleared away: others may be doing the same, whose note it has replaced.
    work::note(store, &note, now).await?;
    let claimed = claim::claim(store, organization, &found.export, run, now, |state| {
        let is_last = found.wish.plan_only || state.current.as_deref() == Some(run) || state.held.as_deref() == Some(run);
        if !is_last || state.snapshot.clone().unwrap_or_default() != found.snapshot {
            return Err(Refused::MovedOn);
        }
        if !found.wish.plan_only {
            state.held = None;
        }
        Ok(())
    });
    if let Err(refused) = claimed.await? {
        return Ok(Err(refused));
    }
    // Whoever finished it in between has taken the note with him.
    let noted = work::note(store, &note, now).await?;
    found.wish.plan_only = false;
    found.wish.approve = true;
    found.reason = None;
    found.finished_at = None;
    match begin::start(store, lane, &mut found, version, directory, wall).await {
        Ok(()) => Ok(Ok(found)),
        // Someone approved or canceled it meanwhile.
        Err(PortError::Conflict) => match document::read(store, organization, run, now).await? {
            Some((there, _)) if matches!(there.status, Status::Planning | Status::Delivering) => Ok(Ok(there)),
            // Someone else is just approving it.
            Some((there, _)) if there.status == Status::Held => Ok(Err(Refused::Busy(run.to_string()))),
            Some((there, _)) => {
                begin::withdraw(store, lane, run, wall, now).await?;
                unclaim(store, organization, &there.export, run, now).await?;
                work::done_at(store, organization, run, noted, now).await?;
                Ok(Err(Refused::Not(there.status)))
            }
            None => Ok(Err(Refused::Missing)),
        },
        Err(error) => Err(error),
    }
}
