//! Who has an export: two of its runs never overlap. A claim counts while its run is under way; what a run that came to rest still has,
//! since it is just letting go or its process died before it did, the next run takes. What died while it approved a run or had one
//! delivered again is cleared away after a minute.

use super::begin;
use super::document::{self, Run, Status};
use super::state::{self, State};
use super::work::{self, Work};
use crate::keys::LaneName;
use crate::model::name::Name;
use crate::port::{Expect, PortError, Store};

/// This run, which is under way, has the export.
pub(super) struct Busy(pub(super) String);

/// Gives an export to a run, unless another that is under way has it. `change` does what else is to change in its state, or refuses.
pub(super) async fn claim<S: Store, E: From<Busy>>(
    store: &S,
    organization: &Name,
    export: &Name,
    run: &str,
    now: u64,
    mut change: impl FnMut(&mut State) -> Result<(), E>,
) -> Result<Result<State, E>, PortError> {
    let mut resting: Option<(String, Status)> = None;
    loop {
        let mut busy = None;
        let claimed = state::change(store, organization, export, now, |state| {
            let is_left = |other: &str| resting.as_ref().is_some_and(|(id, status)| id == other && is_left(state, id, *status));
            busy = state.current.clone().filter(|current| current != run && !is_left(current));
            if let Some(other) = &busy {
                return Err(Busy(other.clone()).into());
            }
            change(state)?;
            state.current = Some(run.to_string());
            state.claims += 1;
            Ok(())
        });
        let claimed = claimed.await?;
        let Some(other) = busy.filter(|other| resting.as_ref().is_none_or(|(id, _)| id != other)) else { return Ok(claimed) };
        match document::read(store, organization, &other, now).await? {
            Some((found, _)) => resting = Some((other, found.status)),
            // It is just being asked for.
            None => return Ok(claimed),
        }
    }
}

/// Whether nothing is under way of the run that has an export, whose document was found at this status. Approving takes a held run out
/// of the state, and only the run that was planned last is ever delivered again: so neither can have begun since then.
fn is_left(state: &State, run: &str, status: Status) -> bool {
    match status {
        Status::Planning | Status::Delivering => false,
        Status::Held => state.held.as_deref() == Some(run),
        _ => state.last_planned.as_deref() != Some(run),
    }
}

/// Gives an export back without having changed its snapshot.
pub async fn unclaim<S: Store>(store: &S, organization: &Name, export: &Name, run: &str, now: u64) -> Result<(), PortError> {
    unclaim_if(store, organization, export, run, now, |_| true).await
}

/// Gives back the export of a run that a guard holds, unless it has been approved meanwhile.
pub async fn unclaim_held<S: Store>(store: &S, organization: &Name, export: &Name, run: &str, now: u64) -> Result<(), PortError> {
    unclaim_if(store, organization, export, run, now, |state| state.held.as_deref() == Some(run)).await
}

async fn unclaim_if<S: Store>(
    store: &S,
    organization: &Name,
    export: &Name,
    run: &str,
    now: u64,
    wanted: impl Fn(&State) -> bool,
) -> Result<(), PortError> {
    let changed = state::change(store, organization, export, now, |state| {
        if state.current.as_deref() == Some(run) && wanted(state) {
            state.current = None;
        }
        Ok::<(), ()>(())
    });
    changed.await.map(drop)
}

/// The run that has an export, if it is under way.
pub async fn holder<S: Store>(store: &S, organization: &Name, export: &Name, now: u64) -> Result<Option<String>, PortError> {
    let state = state::read(store, organization, export, now).await?.state;
    let Some(run) = &state.current else { return Ok(None) };
    let found = document::read(store, organization, run, now).await?;
    let is_left = found.is_some_and(|(found, _)| is_left(&state, run, found.status));
    Ok(state.current.filter(|_| !is_left))
}

/// Lets go of what a process that is dead claimed for a run whose document is `found`, unless it was claimed since `before` was read; then
/// the answer is false. A plan that was being approved is held again.
pub async fn let_go<S: Store>(
    store: &S,
    organization: &Name,
    (export, run): (&Name, &str),
    found: Option<&Run>,
    before: &State,
    now: u64,
) -> Result<bool, PortError> {
    let is_held = found.is_some_and(|found| found.status == Status::Held && !found.wish.plan_only);
    let changed = state::change(store, organization, export, now, |state| {
        if state != before {
            return Err(());
        }
        if state.current.as_deref() == Some(run) {
            state.current = None;
            if is_held {
                state.held.get_or_insert_with(|| run.to_string());
            }
        }
        Ok(())
    });
    Ok(changed.await?.is_ok())
}

/// Takes away what is left of something that is over ([`work::Step::Over`]): its claim, parcels that it did not come to deliver, and the
/// note that it is under way. Whatever has begun again meanwhile stays.
pub async fn clear<S: Store>(store: &S, work: &Work, now: u64) -> Result<(), PortError> {
    let organization = &work.organization;
    if work.part.is_some() {
        return work::done(store, organization, &work.name(), now).await;
    }
    let state = state::read(store, organization, &work.export, now).await?.state;
    let Some((note, version)) = work::read(store, organization, &work.run, now).await? else { return Ok(()) };
    let found = document::read(store, organization, &work.run, now).await?;
    let is_under_way = found.as_ref().is_some_and(|(run, _)| matches!(run.status, Status::Planning | Status::Delivering));
    if note.asked_at != work.asked_at || is_under_way {
        return Ok(());
    }
    // Whoever stood still for so long writes in vain from here on.
    if let Some((run, version)) = &found {
        match document::write(store, organization, run, Expect::At(*version), now).await {
            Ok(_) => {}
            Err(PortError::Conflict) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let found = found.map(|(run, _)| run);
    if !let_go(store, organization, (&work.export, &work.run), found.as_ref(), &state, now).await? {
        return Ok(());
    }
    if let Some(run) = &found {
        begin::withdraw(store, &LaneName::first(organization, &run.destination), &run.id, note.asked_at, now).await?;
    }
    work::done_at(store, organization, &work.run, version, now).await
}
