//! Redelivery: a person asks for another attempt of deliveries of a run that has ended (semantics.md 15).

use super::claim::{self, Busy};
use super::document::{self, Run, Status};
use super::progress;
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
    /// The run has not ended.
    Unfinished,
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
    if matches!(run.status, Status::Planning | Status::Delivering | Status::Held) {
        return Ok(Err(Refused::Unfinished));
    }
    let id = run.id.clone();
    let note = Work::new(organization, &run.export, &id, wall);
    work::note(store, &note, now).await?;
    let claimed = claim::claim(store, organization, &run.export, &id, now, |state| match &state.last_planned {
        Some(last) if *last != id => Err(Refused::LaterRun(last.clone())),
        _ => {
            state.last_planned = Some(id.clone());
            Ok(())
        }
    });
    if let Err(refused) = claimed.await? {
        work::done(store, organization, &run.id, now).await?;
        return Ok(Err(refused));
    }
    let mut parcels: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (parcel, index) in wanted {
        parcels.entry(*parcel).or_default().push(*index);
    }
    if let Some((mut bits, version)) = progress::read(store, lane, &run.id, now).await? {
        parcels.keys().for_each(|parcel| bits.set(*parcel, false));
        let document = Document { body: bits.body(), ..Document::default() };
        store.put(&keys::progress(lane, &run.id), document, Expect::At(version), now).await?;
    }
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
    let reopened = Run { status: Status::Delivering, finished_at: None, cancel_asked: false, ..run.clone() };
    document::write(store, organization, &reopened, Expect::Any, now).await?;
    bell::ring(store, lane, wall, now).await?;
    Ok(Ok(()))
}
