//! Redelivery: a person asks for another attempt of deliveries of a run that has ended (semantics.md 15).

use super::begin;
use super::claim::{self, Busy};
use super::document::{self, Run, Status};
use super::progress::Progress;
use super::state;
use super::work::{self, Work};
use crate::keys::{self, LaneName};
use crate::lane::backlog::{Again, Holds, Parcel};
use crate::lane::bell;
use crate::plan::layout::Directory;
use crate::port::{Document, Expect, PortError, Store};
use std::collections::BTreeMap;

/// Why deliveries cannot be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A later run of the export was planned: its rows may have moved on. Run the export.
    LaterRun(String),
    /// The run has not ended, or others of its deliveries are just being put back.
    Unfinished,
    /// Nothing of the run was ever sent.
    Unsent,
    /// Its deliveries are no longer kept.
    Gone,
}

impl From<Busy> for Refused {
    fn from(Busy(run): Busy) -> Self {
        Refused::LaterRun(run)
    }
}

/// Puts deliveries of a run (parcel, place) back into the backlog, under the same ids and keys.
pub async fn again<S: Store>(
    store: &S,
    lane: &LaneName,
    run: &Run,
    directory: &Directory,
    wanted: &[(u32, u32)],
    wall: u64,
) -> Result<Result<(), Refused>, PortError> {
    let now = wall / 1_000_000;
    let organization = &lane.organization;
    if !run.has_ended() {
        return Ok(Err(Refused::Unfinished));
    }
    if run.finishes == 0 {
        return Ok(Err(Refused::Unsent));
    }
    // Of many that are asked for most are refused here, before anything is noted.
    let state = state::read(store, organization, &run.export, now).await?.state;
    if let Some(last) = state.last_planned.filter(|last| *last != run.id) {
        return Ok(Err(Refused::LaterRun(last)));
    }
    // Where it is refused the note stays, and is cleared away: others may be doing the same, whose note it has replaced.
    let note = Work::new(organization, &run.export, &run.id, wall);
    work::note(store, &note, now).await?;
    let claimed = claim::claim(store, organization, &run.export, &run.id, now, |state| match (&state.last_planned, &state.current) {
        (Some(last), _) if *last != run.id => Err(Refused::LaterRun(last.clone())),
        // Some other of its deliveries are just being put back.
        (_, Some(_)) => Err(Refused::Unfinished),
        _ => {
            state.last_planned = Some(run.id.clone());
            Ok(())
        }
    });
    if let Err(refused) = claimed.await? {
        return Ok(Err(refused));
    }
    // Whoever finished it in between has taken the note with him.
    let noted = work::note(store, &note, now).await?;
    let put_back = match document::read(store, organization, &run.id, now).await? {
        Some((there, version)) if there.has_ended() && there.parcels > 0 => {
            put_back(store, lane, there, version, directory, wanted, wall).await?
        }
        _ => false,
    };
    if put_back {
        bell::ring(store, lane, wall, now).await?;
        return Ok(Ok(()));
    }
    begin::withdraw(store, lane, &run.id, wall, now).await?;
    claim::unclaim(store, organization, &run.export, &run.id, now).await?;
    work::done_at(store, organization, &run.id, noted, now).await?;
    Ok(Err(Refused::Gone))
}

/// Puts the parcels into the backlog, and has the run say that it is delivered again; false: it was changed meanwhile.
async fn put_back<S: Store>(
    store: &S,
    lane: &LaneName,
    run: Run,
    version: u64,
    directory: &Directory,
    wanted: &[(u32, u32)],
    wall: u64,
) -> Result<bool, PortError> {
    let now = wall / 1_000_000;
    let mut parcels: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (parcel, index) in wanted {
        parcels.entry(*parcel).or_default().push(*index);
    }
    // The run had ended: nothing else of it is owed, whatever it had come to.
    let bits = Progress::all_but(directory.parcels.len() as u32, parcels.keys().copied());
    let document = Document { body: bits.body(), ..Document::default() };
    store.put(&keys::progress(lane, &run.id), document, Expect::Any, now).await?;
    let writes = parcels.into_iter().filter_map(|(number, indexes)| {
        let place = directory.parcels.get(number as usize)?;
        let parcel = Parcel {
            run: run.id.clone(),
            number,
            action: place.action,
            deliveries: place.deliveries,
            rows: place.rows,
            due: wall,
            again: Some(Again { indexes, asked_ms: wall / 1000 }),
            holds: Holds::Rows { object: run.object.clone(), offset: place.offset, length: place.length },
        };
        Some(parcel.put(lane))
    });
    for answer in store.write(writes.collect(), now).await? {
        answer?;
    }
    let reopened = Run { status: Status::Delivering, finished_at: None, cancel_asked: false, ..run };
    match document::write(store, &lane.organization, &reopened, Expect::At(version), now).await {
        Ok(_) => Ok(true),
        Err(PortError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}
