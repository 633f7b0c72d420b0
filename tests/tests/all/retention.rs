//! What an organization no longer keeps really goes: out of the lists, out of the objects, and out of the bytes of the files.

use backend_embedded::{DataDir, EmbeddedObjects, EmbeddedStore};
use engine::keys;
use engine::lookback::{Filter, Lookback};
use engine::port::{Document, Expect, Objects, Store};
use engine::run::document::{Run, Status};
use engine::run::retention::{Swept, sweep};
use engine::run::state;
use memchr::memmem;
use std::collections::BTreeSet;
use std::path::Path;
use tests::history::random::{self, Past, name};
use tests::memory::{MemoryObjects, MemoryStore};

const RETENTION_SECONDS: u64 = 30 * 24 * 3600;

struct World {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    store: EmbeddedStore,
    objects: EmbeddedObjects,
    past: Past,
}

impl World {
    async fn new(seed: u64) -> World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let dir = DataDir::open(&path).unwrap();
        let (store, objects) = (dir.store().unwrap(), dir.objects().unwrap());
        let past = random::write(&store, &objects, seed, 24, 30).await;
        World { _folder: folder, path, store, objects, past }
    }

    /// The bytes of everything that a run sent and got, as they lie in the files.
    async fn bodies(&self, run: &Run) -> Vec<Vec<u8>> {
        let organization = &self.past.organization;
        let partition = keys::run_partition(organization, &run.id);
        let segments = self.store.list(&partition, keys::ALL_SEGMENTS.0..keys::ALL_SEGMENTS.1, usize::MAX, 0).await.unwrap();
        let mut bodies: Vec<Vec<u8>> = segments.into_iter().map(|stored| stored.body).collect();
        bodies.push(self.objects.get(&run.object, None).await.unwrap());
        for name in self.objects.list(&keys::pages(organization, &run.id)).await.unwrap() {
            bodies.push(self.objects.get(&name, None).await.unwrap());
        }
        bodies
    }
}

/// Pieces of bodies, some from the middle and some from the end of each.
fn marks(bodies: &[Vec<u8>]) -> Vec<&[u8]> {
    let pieces = |body: &'_ Vec<u8>| [body.len() / 3, body.len() / 2, body.len().saturating_sub(24)].map(|at| at..at + 24);
    let long = bodies.iter().filter(|body| body.len() > 200);
    long.flat_map(|body| pieces(body).into_iter().filter_map(|piece| body.get(piece))).collect()
}

/// All that lies in a folder, file after file.
fn bytes_of(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(bytes_of(&entry.path())),
            false => all.extend(std::fs::read(entry.path()).unwrap()),
        }
    }
    all
}

/// Runs go with their rows, requests and responses, bit by bit, and no byte of them is left in any file. What has not ended,
/// what a state names, and what is young enough stays whole.
#[tokio::test]
async fn what_is_no_longer_kept_is_in_no_file_and_the_rest_is_as_it_was() {
    let world = World::new(4).await;
    let World { store, objects, past, .. } = &world;
    let organization = &past.organization;
    let mut ends: Vec<u64> = past.runs.iter().filter_map(|run| run.finished_at).collect();
    ends.sort_unstable();
    let last_gone = ends[ends.len() * 2 / 3];
    let now = last_gone / 1_000_000 + RETENTION_SECONDS + 1;
    let before = (now - RETENTION_SECONDS) * 1_000_000;
    let named = past.runs.iter().find(|run| run.finished_at.is_some_and(|end| end < before)).unwrap();
    let is_gone = |run: &Run| run.finished_at.is_some_and(|end| end < before) && run.id != named.id;

    let claimed = state::change(store, organization, &named.export, 0, |state| {
        state.current = Some(named.id.clone());
        state.snapshot = Some(vec!["snapshots/acme/news/base.parquet".to_string()]);
        Ok::<(), ()>(())
    });
    claimed.await.unwrap().unwrap();
    objects.put("snapshots/acme/news/base.parquet", b"base".to_vec()).await.unwrap();
    let orphan = format!("{}run_000000x", keys::plan_objects(organization));
    objects.put(&orphan, b"rows of a run that never began".to_vec()).await.unwrap();
    let other = past.runs.iter().find(|run| is_gone(run) && run.export != named.export).unwrap().export.clone();
    for shape in ["v1", "v0"] {
        let document = Document { body: b"shape".to_vec(), ..Document::default() };
        store.put(&keys::pinned(organization, &other, shape), document, Expect::Any, 0).await.unwrap();
    }
    assert!(store.scrub().await.unwrap());
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for run in &past.runs {
        let bodies = world.bodies(run).await;
        if is_gone(run) { gone.extend(bodies) } else { kept.extend(bodies) }
    }
    let whole = kept.concat();
    let (mut gone, kept) = (marks(&gone), marks(&kept));
    // What compressing makes of the same words is the same everywhere.
    gone.retain(|mark| memmem::find(&whole, mark).is_none());
    let files = bytes_of(&world.path);
    assert!(gone.len() > 100 && kept.len() > 100, "{} {}", gone.len(), kept.len());
    assert!(gone.iter().chain(&kept).all(|mark| memmem::find(&files, mark).is_some()), "the marks are in the files");

    let (mut calls, mut runs) = (0, 0);
    loop {
        let swept = sweep(store, objects, organization, RETENTION_SECONDS, now, 40).await.unwrap();
        (calls, runs) = (calls + 1, runs + swept.runs);
        if !swept.more {
            break;
        }
    }
    let expected = past.runs.iter().filter(|run| is_gone(run)).count() as u64;
    assert!(calls > 3 && runs == expected, "{calls} calls, {runs} of {expected}");
    assert_eq!(sweep(store, objects, organization, RETENTION_SECONDS, now, 40).await.unwrap(), Swept::default());
    assert!(store.scrub().await.unwrap());

    let files = bytes_of(&world.path);
    let found = gone.iter().filter(|mark| memmem::find(&files, mark).is_some()).count();
    assert_eq!(found, 0, "of {} pieces of what is gone", gone.len());
    assert!(kept.iter().all(|mark| memmem::find(&files, mark).is_some()), "what is kept is whole");
    assert!(matches!(objects.get(&orphan, None).await, Err(engine::port::PortError::Missing(_))));
    assert_eq!(objects.get("snapshots/acme/news/base.parquet", None).await.unwrap(), b"base");
    for (shape, stays) in [("v1", true), ("v0", false)] {
        assert_eq!(store.get(&keys::pinned(organization, &other, shape), 0).await.unwrap().is_some(), stays, "{shape}");
    }
    assert!(past.runs.iter().any(|run| run.status == Status::Delivering));

    let look = Lookback { store, objects, organization, paused: &past.paused, now };
    let mut listed = BTreeSet::new();
    let mut after = None;
    loop {
        let page = look.deliveries(&Filter::default(), after.as_deref(), 100).await.unwrap();
        listed.extend(page.items.into_iter().map(|delivery| delivery.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let tried = past.deliveries.iter().filter(|owed| !is_gone(&past.runs[owed.run]) && !owed.attempts.is_empty());
    assert_eq!(listed, tried.map(|owed| owed.id.clone()).collect());
    for owed in &past.deliveries {
        let delivery = look.delivery(&owed.id).await.unwrap();
        assert_eq!(delivery.is_some(), !is_gone(&past.runs[owed.run]), "{}", owed.id);
        if let Some(delivery) = delivery {
            assert_eq!(delivery.request.is_some(), !owed.attempts.is_empty());
        }
    }
}

/// Whoever is cut short leaves a run that nobody finds anything in, and the next sweep goes on with it.
#[tokio::test]
async fn a_run_that_is_half_gone_shows_nothing_and_goes_with_the_next_sweep() {
    let (store, objects) = (MemoryStore::new(), MemoryObjects::new());
    let past = random::write(&store, &objects, 9, 12, 30).await;
    let organization = &past.organization;
    let now = past.runs.iter().filter_map(|run| run.finished_at).max().unwrap() / 1_000_000 + RETENTION_SECONDS + 1;
    let look = Lookback { store: &store, objects: &objects, organization, paused: &past.paused, now };
    let first = past.runs.iter().find(|run| run.finished_at.is_some()).unwrap();
    let of_first = Filter { run: Some(first.id.clone()), ..Filter::default() };
    assert!(!look.deliveries(&of_first, None, 10).await.unwrap().items.is_empty());
    let swept = sweep(&store, &objects, organization, RETENTION_SECONDS, now, 1).await.unwrap();
    assert!(swept.more && swept.runs == 0, "{swept:?}");
    assert!(look.deliveries(&of_first, None, 10).await.unwrap().items.is_empty());
    for owed in past.deliveries.iter().filter(|owed| past.runs[owed.run].id == first.id) {
        assert!(look.delivery(&owed.id).await.unwrap().is_none());
    }
    while sweep(&store, &objects, organization, RETENTION_SECONDS, now, 7).await.unwrap().more {}
    let left: BTreeSet<String> = store.all().into_iter().map(|(key, _)| key.partition).collect();
    for run in &past.runs {
        let ended = run.status.has_ended();
        assert_eq!(left.contains(&keys::run_partition(organization, &run.id)), !ended, "{}", run.id);
        assert_eq!(objects.get(&run.object, None).await.is_ok(), !ended);
        assert_eq!(look.run(&run.id).await.unwrap().is_none(), ended);
    }
    assert_eq!(name("acme"), *organization);
}
