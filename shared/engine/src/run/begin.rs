//! Beginning a run: the export is claimed, the plan becomes parcels, the lane's bell is rung.
//!
//! Parcels are worked on only once the run's document says `delivering`, so a plan that was cut short is never executed in part.

use super::document::{self, Run, Status};
use super::progress::Progress;
use super::state::{self, State};
use crate::keys::{self, LaneName};
use crate::lane::{backlog::Parcel, bell};
use crate::model::name::Name;
use crate::plan::block::Directory;
use crate::port::{Document, Expect, Objects, PortError, Store, Write};
use crate::shape::Shape;
use std::path::Path;

/// Parcels written at once.
const WRITES: usize = 500;

/// Claims an export for a run; `Err` names the run that has it. `hash_seed` is used if the export has none yet.
pub async fn claim<S: Store>(
    store: &S,
    organization: &Name,
    export: &Name,
    run: &str,
    hash_seed: u64,
    now: u64,
) -> Result<Result<State, String>, PortError> {
    state::change(store, organization, export, now, |state| match &state.current {
        Some(other) if other != run => Err(other.clone()),
        _ => {
            state.current = Some(run.to_string());
            state.hash_seed.get_or_insert(hash_seed);
            Ok(())
        }
    })
    .await
}

/// Gives an export back without having changed its snapshot.
pub async fn unclaim<S: Store>(store: &S, organization: &Name, export: &Name, run: &str, now: u64) -> Result<(), PortError> {
    let changed = state::change(store, organization, export, now, |state| {
        if state.current.as_deref() == Some(run) {
            state.current = None;
        }
        Ok::<(), ()>(())
    });
    changed.await.map(drop)
}

/// Puts a planned run to work: `file` holds its rows and goes into the object store.
#[allow(clippy::too_many_arguments, reason = "each is one thing that the caller has at hand")]
pub async fn begin<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    lane: &LaneName,
    run: &mut Run,
    shape: &Shape,
    directory: &Directory,
    file: &Path,
    wall: u64,
) -> Result<(), PortError> {
    let now = wall / 1_000_000;
    let organization = &lane.organization;
    document::pin(store, organization, &run.export, shape, now).await?;
    objects.adopt(&run.object, file).await?;
    run.status = Status::Planning;
    document::write(store, organization, run, Expect::Absent, now).await?;
    let progress = Document { body: Progress::new(directory.parcels.len() as u32).body(), ..Document::default() };
    store.put(&keys::progress(lane, &run.id), progress, Expect::Any, now).await?;
    for places in directory.parcels.chunks(WRITES) {
        let writes = places.iter().map(|place| parcel(run, place, wall).put(lane)).collect();
        for answer in store.write(writes, now).await? {
            answer?;
        }
    }
    run.status = Status::Delivering;
    document::write(store, organization, run, Expect::Any, now).await?;
    let id = run.id.clone();
    let planned = state::change(store, organization, &run.export, now, |state| {
        state.last_planned = Some(id.clone());
        Ok::<(), ()>(())
    });
    drop(planned.await?);
    bell::ring(store, lane, wall, now).await
}

fn parcel(run: &Run, place: &crate::plan::block::Place, wall: u64) -> Parcel {
    Parcel {
        run: run.id.clone(),
        number: place.number,
        action: place.action,
        object: run.object.clone(),
        offset: place.offset,
        length: place.length,
        deliveries: place.deliveries,
        rows: place.rows,
        due: wall,
        again: None,
    }
}

/// Takes a run's parcels out of the backlog: it was cut short while it was planned, or canceled.
pub async fn withdraw<S: Store>(store: &S, lane: &LaneName, run: &str, now: u64) -> Result<(), PortError> {
    let parcels = crate::lane::backlog::read(store, lane, now).await?;
    let writes: Vec<Write> =
        parcels.into_iter().filter(|(_, parcel)| parcel.run == run).map(|(key, _)| Write::Delete(key, Expect::Any)).collect();
    for chunk in writes.chunks(WRITES) {
        for answer in store.write(chunk.to_vec(), now).await? {
            answer?;
        }
    }
    Ok(())
}
