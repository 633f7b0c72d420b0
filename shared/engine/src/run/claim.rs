//! Who has an export: two of its runs never overlap. A claim counts while its run is under way; what a run that came to rest still has,
//! since it is just letting go or its process died before it did, the next run takes.

use super::document::{self, Status};
use super::state::{self, State};
use super::work::{self, Work};
use crate::model::name::Name;
use crate::port::{PortError, Store};

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

/// Takes away what is left of something that is over ([`work::Step::Over`]): its claim, and the note that it is under way.
pub async fn clear<S: Store>(store: &S, work: &Work, now: u64) -> Result<(), PortError> {
    if work.part.is_none() {
        unclaim(store, &work.organization, &work.export, &work.run, now).await?;
    }
    work::done(store, &work.organization, &work.name(), now).await
}
