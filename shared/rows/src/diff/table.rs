//! The snapshot's hashes in memory: 24 bytes a row, sorted by key hash, with an index over the hash's upper bits. It must not know sources.

use crate::error::{ErrorKind, SourceError};
use crate::share::Share;
use crate::snapshot::{HashRow, Hashes, SnapshotFile, is_live};
use engine::model::change::EntryState;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many hashes are looked up together, so that their memory accesses overlap.
pub(crate) const GROUP: usize = 32;

/// Not in the table.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// On average, rows a bucket of the index.
const BUCKET: usize = 4;

/// A row of the snapshot. 96 bits of the key's hash tell keys apart (one false meeting in 10^15 for ten million rows), 64 bits of the
/// row's hash tell a change.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub key: u64,
    pub row: u64,
    pub key_low: u32,
    /// The ordinal of the source row that has this key; 0: none yet.
    seen: AtomicU32,
}

impl Slot {
    fn of(row: &HashRow) -> Slot {
        Slot { key: (row.key >> 64) as u64, row: row.row as u64, key_low: (row.key >> 32) as u32, seen: AtomicU32::new(0) }
    }
}

/// The merged snapshot.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    /// Where each bucket starts, and one more for the end.
    buckets: Vec<u32>,
    /// By slot; empty if all rows are delivered.
    states: Vec<u8>,
    share: Share,
    /// Rows that the destination has, as far as is known.
    pub live: u64,
}

/// The error for more keys than may be held.
pub(crate) fn too_many(most: usize) -> SourceError {
    SourceError::new(ErrorKind::TooMany, "the model", format!("has more than {most} keys, which is what this process may hold"))
}

impl Table {
    /// Reads the hash columns of a snapshot's files, base first: at most so many keys, those of a share only.
    pub fn load(files: &[SnapshotFile], threads: usize, share: Share, most: usize) -> Result<Table, SourceError> {
        let mut table = match files {
            [] => Table::default(),
            [base] if share == Share::WHOLE && base.rows() <= most => Table::load_one(base, threads)?,
            _ => Table::load_merged(files, share, most)?,
        };
        table.share = share;
        table.index();
        Ok(table)
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    fn check_rows(file: &SnapshotFile, rows: usize) -> Result<(), SourceError> {
        if rows >= NOWHERE as usize {
            return Err(SourceError::format(file.path.display().to_string(), "is part of a snapshot of more than 4,294,967,294 rows"));
        }
        Ok(())
    }

    fn load_merged(files: &[SnapshotFile], share: Share, most: usize) -> Result<Table, SourceError> {
        let mut table = Table::default();
        // A base is most of a snapshot; deltas mostly change what is there.
        table.slots.reserve_exact((files.first().map_or(0, SnapshotFile::rows) / share.of as usize).min(most));
        for row in Hashes::new(files)? {
            let row = row?;
            if row.state == EntryState::Gone || !share.has(row.key) {
                continue;
            }
            if table.slots.len() == most {
                return Err(too_many(most));
            }
            if row.state != EntryState::Delivered && table.states.is_empty() {
                table.states = vec![EntryState::Delivered as u8; table.slots.len()];
            }
            if row.state != EntryState::Delivered || !table.states.is_empty() {
                table.states.push(row.state as u8);
            }
            table.live += u64::from(is_live(row.state));
            table.slots.push(Slot::of(&row));
        }
        Table::check_rows(&files[0], table.slots.len())?;
        Ok(table)
    }

    /// One file needs no merging, so that its row groups can be read side by side, straight into place.
    fn load_one(file: &SnapshotFile, threads: usize) -> Result<Table, SourceError> {
        let rows = file.rows();
        Table::check_rows(file, rows)?;
        let mut slots: Vec<Slot> = Vec::with_capacity(rows);
        slots.resize_with(rows, Slot::default);
        let mut jobs = Vec::new();
        let mut rest = slots.as_mut_slice();
        for (group, n) in file.groups.iter().enumerate() {
            let (part, tail) = rest.split_at_mut(*n);
            jobs.push((group, part));
            rest = tail;
        }
        let groups = jobs.len();
        let jobs = Mutex::new(jobs.into_iter());
        let done = Mutex::new(vec![GroupSummary::default(); groups]);
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> Result<(), SourceError> {
            while let Some((group, part)) = next() {
                let summary = load_group(file, group, part)?;
                done.lock().unwrap_or_else(PoisonError::into_inner)[group] = summary;
            }
            Ok(())
        };
        super::side_by_side(threads.min(groups), &work)?;
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let edges = done.iter().filter_map(|g| g.edges);
        if !edges.is_sorted_by(|a, b| a.1 < b.0) {
            return Err(file.corrupt("is not sorted by key hash"));
        }
        let mut states = Vec::new();
        if done.iter().any(|g| !g.states.is_empty()) {
            for (summary, n) in done.iter().zip(&file.groups) {
                if summary.states.is_empty() {
                    states.resize(states.len() + n, EntryState::Delivered as u8);
                } else {
                    states.extend_from_slice(&summary.states);
                }
            }
        }
        let live = done.iter().map(|g| g.live).sum();
        let mut table = Table { slots, states, live, ..Table::default() };
        table.drop_gone();
        Ok(table)
    }

    /// A delta that stands alone may say that keys are gone which nothing else knows.
    fn drop_gone(&mut self) {
        if !self.states.contains(&(EntryState::Gone as u8)) {
            return;
        }
        let states = std::mem::take(&mut self.states);
        let mut at = 0;
        self.slots.retain(|_| {
            at += 1;
            states[at - 1] != EntryState::Gone as u8
        });
        self.states = states.into_iter().filter(|s| *s != EntryState::Gone as u8).collect();
    }

    fn index(&mut self) {
        let buckets = (self.slots.len() / BUCKET).max(1);
        self.buckets = Vec::with_capacity(buckets + 1);
        for (i, slot) in self.slots.iter().enumerate() {
            let bucket = bucket_of(self.share.stretch(slot.key), buckets);
            while self.buckets.len() <= bucket {
                self.buckets.push(i as u32);
            }
        }
        self.buckets.resize(buckets + 1, self.slots.len() as u32);
    }

    pub fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    /// Whether file rows and slots are counted alike: true for a snapshot of one file of which nothing is gone.
    pub fn mirrors(&self, files: &[SnapshotFile]) -> bool {
        matches!(files, [one] if one.rows() == self.slots.len())
    }

    pub fn state(&self, index: u32) -> EntryState {
        match self.states.get(index as usize) {
            Some(number) => crate::snapshot::state_of(*number).unwrap_or(EntryState::Delivered),
            None => EntryState::Delivered,
        }
    }

    /// Finds up to [`GROUP`] keys; [`NOWHERE`] for those that are not there. Each pass touches the next level of memory for all keys
    /// before any of them is waited for.
    #[inline]
    pub fn find(&self, keys: &[u128], found: &mut [u32; GROUP]) {
        if self.slots.is_empty() {
            found.fill(NOWHERE);
            return;
        }
        let buckets = self.buckets.len() - 1;
        let mut ranges = [(0u32, 0u32); GROUP];
        for (range, key) in ranges.iter_mut().zip(keys) {
            let bucket = bucket_of(self.share.stretch((key >> 64) as u64), buckets);
            *range = (self.buckets[bucket], self.buckets[bucket + 1]);
        }
        let mut touched = 0;
        for range in &ranges[..keys.len()] {
            // Loads that nothing waits for: otherwise the comparisons below would wait for memory one after the other.
            touched ^= self.slots.get(range.0 as usize).map_or(0, |s| s.key);
            touched ^= self.slots.get(range.1 as usize).map_or(0, |s| s.key);
        }
        std::hint::black_box(touched);
        for ((range, key), found) in ranges.iter().zip(keys).zip(found.iter_mut()) {
            let (hi, low) = ((key >> 64) as u64, (key >> 32) as u32);
            *found = NOWHERE;
            for i in range.0..range.1 {
                let slot = &self.slots[i as usize];
                if slot.key == hi && slot.key_low == low {
                    *found = i;
                }
            }
        }
    }

    /// Notes that the source has the row; returns the ordinal that had it before, or 0.
    #[inline]
    pub fn see(&self, index: u32, ordinal: u32) -> u32 {
        self.slots[index as usize].seen.swap(ordinal, Ordering::Relaxed)
    }

    /// The slots that no source row has, ascending.
    pub fn unseen(&self, threads: usize) -> Vec<u32> {
        const PART: usize = 1 << 20;
        let parts = self.slots.len().div_ceil(PART);
        let found = Mutex::new(vec![Vec::new(); parts]);
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), SourceError> {
            loop {
                let part = next.fetch_add(1, Ordering::Relaxed);
                let Some(slots) = self.slots.chunks(PART).nth(part) else { return Ok(()) };
                let first = part * PART;
                let unseen = slots.iter().enumerate().filter(|(_, s)| s.seen.load(Ordering::Relaxed) == 0);
                let list: Vec<u32> = unseen.map(|(i, _)| (first + i) as u32).collect();
                found.lock().unwrap_or_else(PoisonError::into_inner)[part] = list;
            }
        };
        // Looking at memory cannot fail.
        let _ = super::side_by_side(threads.min(parts), &work);
        found.into_inner().unwrap_or_else(PoisonError::into_inner).concat()
    }
}

/// Monotonous in the key, so that a sorted table has its buckets in a row.
#[inline]
fn bucket_of(key: u64, buckets: usize) -> usize {
    ((u128::from(key) * buckets as u128) >> 64) as usize
}

#[derive(Clone, Default)]
struct GroupSummary {
    /// First and last key hash.
    edges: Option<(u128, u128)>,
    live: u64,
    /// Empty if all are delivered.
    states: Vec<u8>,
}

fn load_group(file: &SnapshotFile, group: usize, part: &mut [Slot]) -> Result<GroupSummary, SourceError> {
    let mut hashes = file.group(group, false)?;
    let mut chunk = Default::default();
    let mut summary = GroupSummary::default();
    let mut at = 0;
    let mut sorted = true;
    let mut last: Option<u128> = None;
    while hashes.next(&mut chunk)? {
        let n = chunk.key_hi.len();
        let columns = chunk.key_hi.iter().zip(&chunk.key_lo).zip(&chunk.row_lo);
        for (slot, ((hi, lo), row)) in part[at..at + n].iter_mut().zip(columns) {
            let key = u128::from(*hi as u64) << 64 | u128::from(*lo as u64);
            sorted &= last.is_none_or(|l| l < key);
            last = Some(key);
            summary.edges = Some((summary.edges.map_or(key, |e| e.0), key));
            slot.key = *hi as u64;
            slot.key_low = (*lo as u64 >> 32) as u32;
            slot.row = *row as u64;
        }
        if chunk.state.iter().any(|s| *s != EntryState::Delivered as i32) || !summary.states.is_empty() {
            summary.states.resize(at, EntryState::Delivered as u8);
            for number in &chunk.state {
                let state = hashes.state(*number)?;
                summary.states.push(state as u8);
                summary.live += u64::from(is_live(state));
            }
        } else {
            summary.live += n as u64;
        }
        at += n;
    }
    if !sorted {
        return Err(file.corrupt("is not sorted by key hash"));
    }
    Ok(summary)
}
