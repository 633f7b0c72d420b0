//! Beginning a run: the export is claimed, the plan becomes parcels, the lane's bell is rung.
//!
//! Parcels are worked on only once the run's document says `delivering`, so a plan that was cut short is never executed in part.

use super::document::{self, Run, Status};
use super::progress::Progress;
use super::state;
use crate::keys::{self, LaneName};
use crate::lane::backlog::{Holds, Parcel};
use crate::lane::bell;
use crate::model::name::Name;
use crate::plan::layout::Directory;
use crate::port::{Document, Expect, Objects, PortError, Store, Write};
use crate::shape::Shape;
use std::path::Path;

/// Parcels written at once.
const WRITES: usize = 500;

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

/// Keeps a planned run: `file` holds its rows and goes into the object store, what shapes its requests is pinned, and its document
/// (at `version` until now) says how it stands. Gives the new version; `Conflict`: it was changed meanwhile, a person cancels it.
#[allow(clippy::too_many_arguments, reason = "each is one thing that the caller has at hand")]
pub async fn keep<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    run: &Run,
    version: u64,
    shape: &Shape,
    file: &Path,
    now: u64,
) -> Result<u64, PortError> {
    document::pin(store, organization, &run.export, shape, now).await?;
    objects.adopt(&run.object, file).await?;
    let version = document::write(store, organization, run, Expect::At(version), now).await?;
    if run.status == Status::Held && !run.wish.plan_only {
        hold(store, objects, organization, run, now).await?;
    }
    Ok(version)
}

/// A guard holds this run now; one that was held before it will never be executed.
async fn hold<S: Store, O: Objects>(store: &S, objects: &O, organization: &Name, run: &Run, now: u64) -> Result<(), PortError> {
    let mut before = None;
    let held = state::change(store, organization, &run.export, now, |state| {
        before = state.held.replace(run.id.clone());
        Ok::<(), ()>(())
    });
    drop(held.await?);
    supersede(store, objects, organization, before.filter(|before| *before != run.id), now).await
}

/// A run that was held is out of date: a later one was planned.
async fn supersede<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    before: Option<String>,
    now: u64,
) -> Result<(), PortError> {
    let Some(before) = before else { return Ok(()) };
    let Some((held, version)) = document::read(store, organization, &before, now).await? else { return Ok(()) };
    if held.status != Status::Held {
        return Ok(());
    }
    let reason = Some("a later run of the export was planned; nothing of this one was sent".to_string());
    let object = held.object.clone();
    let over = Run { status: Status::Canceled, reason, parcels: 0, ..held };
    match document::write(store, organization, &over, Expect::At(version), now).await {
        Ok(_) => objects.delete(&object).await,
        Err(PortError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Puts a kept run to work: its parcels go into the backlog, then its document (at `version` until now) says `delivering`, then the
/// bell is rung. `Conflict`: the document was changed meanwhile.
pub async fn start<S: Store>(
    store: &S,
    lane: &LaneName,
    run: &mut Run,
    version: u64,
    directory: &Directory,
    wall: u64,
) -> Result<(), PortError> {
    let now = wall / 1_000_000;
    let organization = &lane.organization;
    let progress = Document { body: Progress::new(directory.parcels.len() as u32).body(), ..Document::default() };
    store.put(&keys::progress(lane, &run.id), progress, Expect::Any, now).await?;
    for places in directory.parcels.chunks(WRITES) {
        let writes = places.iter().map(|place| parcel(run, place, wall).put(lane)).collect();
        for answer in store.write(writes, now).await? {
            answer?;
        }
    }
    run.status = Status::Delivering;
    document::write(store, organization, run, Expect::At(version), now).await?;
    let (id, parts) = (run.id.clone(), run.split.as_ref().and_then(|split| split.next));
    let planned = state::change(store, organization, &run.export, now, |state| {
        state.last_planned = Some(id.clone());
        state.parts = parts;
        Ok::<(), ()>(())
    });
    drop(planned.await?);
    bell::ring(store, lane, wall, now).await.map(drop)
}

/// Keeps a planned run and puts it to work at once.
#[allow(clippy::too_many_arguments, reason = "each is one thing that the caller has at hand")]
pub async fn begin<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    lane: &LaneName,
    run: &mut Run,
    version: u64,
    shape: &Shape,
    directory: &Directory,
    file: &Path,
    wall: u64,
) -> Result<(), PortError> {
    let now = wall / 1_000_000;
    run.status = Status::Planning;
    let version = keep(store, objects, &lane.organization, run, version, shape, file, now).await?;
    let mut before = None;
    let freed = state::change(store, &lane.organization, &run.export, now, |state| {
        before = state.held.take();
        Ok::<(), ()>(())
    });
    drop(freed.await?);
    supersede(store, objects, &lane.organization, before, now).await?;
    start(store, lane, run, version, directory, wall).await
}

fn parcel(run: &Run, place: &crate::plan::layout::Place, wall: u64) -> Parcel {
    Parcel {
        run: run.id.clone(),
        number: place.number,
        action: place.action,
        deliveries: place.deliveries,
        rows: place.rows,
        due: wall,
        again: None,
        holds: Holds::Rows { object: run.object.clone(), offset: place.offset, length: place.length },
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
