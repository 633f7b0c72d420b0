//! Beginning a run: the export is claimed, the plan becomes parcels, the lane's bell is rung.
//!
//! Parcels are worked on only once the run's document says `delivering`, so a plan that was cut short is never executed in part.

use super::document::{self, Run, Status};
use super::progress::{self, Progress};
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
    let kept = document::write(store, organization, run, Expect::At(version), now).await;
    if matches!(kept, Err(PortError::Conflict)) {
        objects.delete(&run.object).await?;
    }
    kept
}

/// A guard holds this run from now on, whose document will say so; one that was held before it will never be executed. `claims` is the
/// state's when planning began. `Conflict`: it has the export no more, or has been approved since.
pub async fn hold<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    run: &Run,
    claims: u64,
    now: u64,
) -> Result<(), PortError> {
    supersede(store, objects, organization, run, now).await?;
    let held = state::change(store, organization, &run.export, now, |state| {
        if state.current.as_deref() != Some(&run.id) || state.claims != claims {
            return Err(PortError::Conflict);
        }
        state.held = Some(run.id.clone());
        Ok(())
    });
    held.await?.map(drop)
}

/// Cancels the run of an export that was held before: a later one is planned. `Conflict`: that has the export no more.
async fn supersede<S: Store, O: Objects>(store: &S, objects: &O, organization: &Name, by: &Run, now: u64) -> Result<(), PortError> {
    let state = state::read(store, organization, &by.export, now).await?.state;
    if state.current.as_deref() != Some(&by.id) {
        return Err(PortError::Conflict);
    }
    let Some(before) = state.held.filter(|held| *held != by.id) else { return Ok(()) };
    if let Some((held, version)) = document::read(store, organization, &before, now).await?.filter(|(run, _)| run.status == Status::Held) {
        let reason = Some("a later run of the export was planned; nothing of this one was sent".to_string());
        let object = held.object.clone();
        let over = Run { status: Status::Canceled, reason, parcels: 0, ..held };
        match document::write(store, organization, &over, Expect::At(version), now).await {
            Ok(_) => objects.delete(&object).await?,
            Err(PortError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    let freed = state::change(store, organization, &by.export, now, |state| {
        if state.held.as_ref() == Some(&before) {
            state.held = None;
        }
        Ok::<(), ()>(())
    });
    freed.await.map(drop)
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
    begin_progress(store, lane, &run.id, version, directory.parcels.len() as u32, now).await?;
    run.begun_at = Some(wall);
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
        // Whoever stood still since then comes late.
        if state.current.as_deref() == Some(&id) {
            state.last_planned = Some(id.clone());
            state.parts = parts;
        }
        Ok::<(), ()>(())
    });
    drop(planned.await?);
    bell::ring(store, lane, wall, now).await.map(drop)
}

/// Begins the progress of a run whose document is at `version`. `Conflict`: someone else is putting it to work, or has.
async fn begin_progress<S: Store>(store: &S, lane: &LaneName, run: &str, version: u64, parcels: u32, now: u64) -> Result<(), PortError> {
    let (key, document) = (keys::progress(lane, run), Document { body: Progress::new(parcels).body(), ..Document::default() });
    match store.put(&key, document.clone(), Expect::Absent, now).await {
        Err(PortError::Conflict) => {}
        other => return other.map(drop),
    }
    // What a dead process left is begun anew; what belongs to a run that was put to work meanwhile stays.
    let there = progress::read(store, lane, run, now).await?;
    let is_ours = document::read(store, &lane.organization, run, now).await?.is_some_and(|(_, found)| found == version);
    let (Some((_, there)), true) = (there, is_ours) else { return Err(PortError::Conflict) };
    store.put(&key, document, Expect::At(there), now).await.map(drop)
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
    supersede(store, objects, &lane.organization, run, now).await?;
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

/// Takes a run's parcels that are due at `until` (Unix microseconds) or before out of the backlog: it was cut short, or canceled.
pub async fn withdraw<S: Store>(store: &S, lane: &LaneName, run: &str, until: u64, now: u64) -> Result<(), PortError> {
    let parcels = crate::lane::backlog::read(store, lane, now).await?;
    let gone = parcels.into_iter().filter(|(_, parcel)| parcel.run == run && parcel.due <= until);
    let writes: Vec<Write> = gone.map(|(key, _)| Write::Delete(key, Expect::Any)).collect();
    for chunk in writes.chunks(WRITES) {
        for answer in store.write(chunk.to_vec(), now).await? {
            answer?;
        }
    }
    Ok(())
}
