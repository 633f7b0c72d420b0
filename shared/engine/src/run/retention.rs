//! Retention: runs that ended longer ago than an organization keeps them go, with all that they sent and got; so do events' errands.
//!
//! It must not touch a run that has not ended, nor what the state of an export names, nor snapshots: those say what the other side has.

use super::document::{self, Listing, Run, Status};
use super::state;
use crate::event::again;
use crate::keys;
use crate::model::name::Name;
use crate::port::{Document, Expect, Index, Key, Objects, PortError, Store, Write};
use std::collections::BTreeSet;

/// So many entries are read of a list at once.
const LISTED: usize = 200;
/// So many documents are deleted at once.
const WRITES: usize = 500;

/// What a sweep has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs, with everything that is theirs.
    pub runs: u64,
    /// Documents: runs, progress, segments, pinned shapes.
    pub documents: u64,
    /// Objects: plans, pages.
    pub objects: u64,
    /// Whether the limit ended it: more is to be deleted at once.
    pub more: bool,
}

/// Deletes what an organization no longer keeps: at most some `limit` documents and objects. `now` in Unix seconds.
///
/// It may be called at any time, beside running deliveries and after having been cut short: each step can be repeated, and a run's
/// document, which names the rest, goes last.
pub async fn sweep<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    retention_seconds: u64,
    now: u64,
    limit: u64,
) -> Result<Swept, PortError> {
    let swept = Swept::default();
    let mut sweep =
        Sweep { store, objects, organization, now, limit: limit.max(1), swept, exports: BTreeSet::new(), last_old: String::new() };
    let before = now.saturating_sub(retention_seconds).saturating_mul(1_000_000);
    for partition in [keys::runs(organization), keys::plans(organization)] {
        sweep.list(&partition, before).await?;
    }
    sweep.errands(before).await?;
    for export in std::mem::take(&mut sweep.exports) {
        sweep.shapes(&export).await?;
    }
    if sweep.swept.runs > 0 {
        sweep.orphans().await?;
    }
    Ok(sweep.swept)
}

/// Notes that an organization has something that may be to be deleted one day.
pub async fn note<S: Store>(store: &S, organization: &Name, now: u64) -> Result<(), PortError> {
    let key = Key::new(keys::ORGANIZATIONS, organization.as_str());
    match store.get(&key, now).await? {
        Some(_) => Ok(()),
        None => store.put(&key, Document::default(), Expect::Any, now).await.map(drop),
    }
}

/// The organizations that were noted.
pub async fn organizations<S: Store>(store: &S, now: u64) -> Result<Vec<Name>, PortError> {
    let stored = store.list(keys::ORGANIZATIONS, ""..keys::BEHIND_ALL, usize::MAX, now).await?;
    Ok(stored.into_iter().filter_map(|stored| Name::new(&stored.key.sort).ok()).collect())
}

struct Sweep<'a, S, O> {
    store: &'a S,
    objects: &'a O,
    organization: &'a Name,
    now: u64,
    limit: u64,
    swept: Swept,
    /// Exports of which a run has gone.
    exports: BTreeSet<Name>,
    /// The last run that was old enough: ids are in the order of time.
    last_old: String,
}

impl<S: Store, O: Objects> Sweep<'_, S, O> {
    fn is_full(&self) -> bool {
        self.swept.documents + self.swept.objects >= self.limit
    }

    /// Goes through a list of runs, the oldest first.
    async fn list(&mut self, partition: &str, before: u64) -> Result<(), PortError> {
        let end = keys::run_sort(before, "");
        let mut start = String::new();
        loop {
            let listed = self.store.list_index(Index::Third, partition, start.as_str()..&end, false, LISTED, self.now).await?;
            let is_last = listed.len() < LISTED;
            for entry in listed {
                if self.is_full() {
                    self.swept.more = true;
                    return Ok(());
                }
                start = format!("{}\0", entry.sort);
                self.run(&entry.key.sort, before).await?;
                self.last_old = self.last_old.clone().max(entry.key.sort);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Deletes a run that ended before `before` (Unix microseconds), or as much of it as the limit allows.
    async fn run(&mut self, id: &str, before: u64) -> Result<(), PortError> {
        let Some((run, version)) = document::read(self.store, self.organization, id, self.now).await? else { return Ok(()) };
        // A plan that is only kept is as old as it is; so is one that was cut short and that nobody takes up again.
        let ended_at = run.finished_at.unwrap_or(run.started_at);
        if run.status == Status::Delivering || ended_at >= before {
            return Ok(());
        }
        let state = state::read(self.store, self.organization, &run.export, self.now).await?.state;
        let is_named = [&state.current, &state.held].into_iter().any(|named| named.as_deref() == Some(id));
        if is_named || self.store.get(&keys::work(self.organization, id), self.now).await?.is_some() {
            return Ok(());
        }
        // From here on nobody finds anything in it. Who takes it up again meanwhile comes first.
        let emptied = Run { parcels: 0, ..run.clone() };
        let version = match document::write(self.store, self.organization, &emptied, Expect::At(version), self.now).await {
            Ok(version) => version,
            Err(PortError::Conflict) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.exports.insert(run.export.clone());
        if !self.pages(id).await? || !self.documents(id).await? {
            self.swept.more = true;
            return Ok(());
        }
        self.objects.delete(&run.object).await?;
        self.swept.objects += 1;
        match self.store.delete(&keys::run(self.organization, id), Expect::At(version), self.now).await {
            Ok(()) => {
                self.swept.documents += 1;
                self.swept.runs += 1;
                Ok(())
            }
            Err(PortError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes errands that are done and were taken before `before` (Unix microseconds), the oldest first.
    async fn errands(&mut self, before: u64) -> Result<(), PortError> {
        let partition = keys::errands(self.organization);
        let end = keys::run_sort(before, "");
        let mut start = String::new();
        loop {
            let listed = self.store.list_index(Index::Third, &partition, start.as_str()..&end, false, LISTED, self.now).await?;
            let is_last = listed.len() < LISTED;
            for entry in listed {
                if self.is_full() {
                    self.swept.more = true;
                    return Ok(());
                }
                start = format!("{}\0", entry.sort);
                let id = entry.key.sort.as_str();
                // What is still owed keeps everything.
                let is_done = again::attempts(self.store, self.organization, id, self.now).await?.iter().any(|(_, last)| *last);
                if !is_done {
                    continue;
                }
                if !self.pages(id).await? || !self.documents(id).await? {
                    self.swept.more = true;
                    return Ok(());
                }
                self.store.delete(&entry.key, Expect::Any, self.now).await?;
                self.swept.documents += 1;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Deletes what a run sent and got; false: not all of it yet.
    async fn pages(&mut self, run: &str) -> Result<bool, PortError> {
        for name in self.objects.list(&keys::pages(self.organization, run)).await? {
            if self.is_full() {
                return Ok(false);
            }
            self.objects.delete(&name).await?;
            self.swept.objects += 1;
        }
        Ok(true)
    }

    /// Deletes a run's segments and progress; false: not all of it yet.
    async fn documents(&mut self, run: &str) -> Result<bool, PortError> {
        let partition = keys::run_partition(self.organization, run);
        while !self.is_full() {
            let stored = self.store.list(&partition, ""..keys::BEHIND_ALL, WRITES, self.now).await?;
            let is_last = stored.len() < WRITES;
            let writes: Vec<Write> = stored.into_iter().map(|stored| Write::Delete(stored.key, Expect::Any)).collect();
            self.swept.documents += writes.len() as u64;
            for answer in self.store.write(writes, self.now).await? {
                answer?;
            }
            if is_last {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes plans that a process left which died before it could write the run's document.
    async fn orphans(&mut self) -> Result<(), PortError> {
        let prefix = keys::plan_objects(self.organization);
        for name in self.objects.list(&prefix).await? {
            let id = name[prefix.len()..].split(['/', '.']).next().unwrap_or_default();
            let is_old = id < self.last_old.as_str();
            if is_old && document::read(self.store, self.organization, id, self.now).await?.is_none() {
                self.objects.delete(&name).await?;
                self.swept.objects += 1;
            }
        }
        Ok(())
    }

    /// Deletes the pinned shapes of an export that none of its runs names any more. A run that begins pins its shape after it has
    /// claimed the export: so who finds the export unclaimed, and the shape unchanged since then, takes it from nobody.
    async fn shapes(&mut self, export: &Name) -> Result<(), PortError> {
        let Key { partition, sort } = keys::pinned(self.organization, export, "");
        let behind = format!("{sort}{}", keys::BEHIND_ALL);
        let pinned = self.store.list(&partition, sort.as_str()..&behind, usize::MAX, self.now).await?;
        if state::read(self.store, self.organization, export, self.now).await?.state.current.is_some() {
            return Ok(());
        }
        let runs = keys::runs_of_export(self.organization, export);
        let mut needed = BTreeSet::new();
        let mut start = String::new();
        loop {
            let listed = self.store.list_index(Index::First, &runs, start.as_str()..keys::BEHIND_ALL, false, LISTED, self.now).await?;
            let Some(last) = listed.last() else { break };
            start = format!("{}\0", last.sort);
            let is_last = listed.len() < LISTED;
            needed.extend(listed.iter().filter_map(|entry| Listing::parse(&entry.summary)).map(|listing| listing.shape_version));
            if is_last {
                break;
            }
        }
        for shape in pinned.into_iter().filter(|shape| !needed.contains(&shape.key.sort[sort.len()..])) {
            match self.store.delete(&shape.key, Expect::At(shape.version), self.now).await {
                Ok(()) => self.swept.documents += 1,
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
