//! What one page reads, each thing once, and what that has cost so far: a page does a bounded piece of work.

use super::Lookback;
use super::source::Source;
use crate::event::errand::{self, Errand};
use crate::judge::Class;
use crate::keys;
use crate::plan::block::{FrameList, OpenFrame};
use crate::plan::layout::{HEAD_BYTES, Head, Place};
use crate::plan::rows_by_key::{self, Chunk, Found, ROW_BYTES};
use crate::port::{Index, Listed, Objects, PortError, Store};
use crate::record::segment::{AttemptRecord, Segment};
use crate::run::document::{self, Run};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A page ends once it has cost so many microseconds, roughly.
const WORTH: u64 = 9_000;
/// What reading costs, microseconds: a call, an index entry, a document of a list, unpacking it, a kilobyte of an object.
const CALL: u64 = 40;
const ENTRY: u64 = 1;
const DOCUMENT: u64 = 1;
const UNPACK: u64 = 4;
const KILOBYTE: u64 = 1;
/// Frames of plans are kept up to so many bytes in all.
const KEPT_BYTES: usize = 8 << 20;
/// So much is read of a block at first, for its list of frames.
const BLOCK_START: u64 = 1024;
/// So many parcels are read of a plan's table at once.
const PLACES: u32 = 128;
/// A list of keys is searched down to so many rows, which are read at once.
const ROWS_AT_ONCE: u64 = 2048;

/// A segment of a parcel's log; unpacked when it is needed.
#[derive(Debug)]
struct Logged {
    sort: String,
    /// The first and the last delivery that it has attempts of.
    of: (u32, u32),
    body: Vec<u8>,
    open: Option<(Class, Vec<AttemptRecord>)>,
}

/// An attempt with the segment it stands in.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub class: Class,
    pub record: AttemptRecord,
    pub segment: String,
}

/// Reads for one page.
pub(super) struct Reading<'a, S, O> {
    pub look: Lookback<'a, S, O>,
    spent: u64,
    runs: HashMap<String, Option<Arc<Run>>>,
    errands: HashMap<String, Option<Arc<Errand>>>,
    logs: HashMap<(String, u32), Vec<Logged>>,
    heads: HashMap<String, Option<Head>>,
    places: HashMap<(String, u32), Place>,
    lists: HashMap<(String, u32), FrameList>,
    frames: HashMap<(String, u32, u32), OpenFrame>,
    frame_bytes: usize,
}

impl<'a, S: Store, O: Objects> Reading<'a, S, O> {
    pub fn new(look: Lookback<'a, S, O>) -> Reading<'a, S, O> {
        Reading {
            look,
            spent: 0,
            runs: HashMap::new(),
            errands: HashMap::new(),
            logs: HashMap::new(),
            heads: HashMap::new(),
            places: HashMap::new(),
            lists: HashMap::new(),
            frames: HashMap::new(),
            frame_bytes: 0,
        }
    }

    /// Whether enough was read for one page.
    pub fn is_spent(&self) -> bool {
        self.spent >= WORTH
    }

    /// An index range, the greatest first.
    pub async fn index(&mut self, index: Index, partition: &str, range: Range<&str>, limit: usize) -> Result<Vec<Listed>, PortError> {
        let listed = self.look.store.list_index(index, partition, range, true, limit, self.look.now).await?;
        self.pays_for(listed.len());
        Ok(listed)
    }

    /// Counts an index range of so many entries.
    pub fn pays_for(&mut self, entries: usize) {
        self.spent += CALL + ENTRY * entries as u64;
    }

    /// A run; `None`: there is none.
    pub async fn run(&mut self, id: &str) -> Result<Option<Arc<Run>>, PortError> {
        if let Some(run) = self.runs.get(id) {
            return Ok(run.clone());
        }
        self.spent += CALL;
        let run = document::read(self.look.store, self.look.organization, id, self.look.now).await?.map(|(run, _)| Arc::new(run));
        self.runs.insert(id.to_string(), run.clone());
        Ok(run)
    }

    /// An errand; `None`: there is none.
    pub async fn errand(&mut self, id: &str) -> Result<Option<Arc<Errand>>, PortError> {
        if let Some(errand) = self.errands.get(id) {
            return Ok(errand.clone());
        }
        self.spent += CALL;
        let errand = errand::read(self.look.store, self.look.organization, id, self.look.now).await?.map(Arc::new);
        self.errands.insert(id.to_string(), errand.clone());
        Ok(errand)
    }

    /// What owed the deliveries of a run or errand.
    pub async fn source(&mut self, id: &str) -> Result<Option<Source>, PortError> {
        match errand::is_errand(id) {
            true => Ok(self.errand(id).await?.map(Source::Errand)),
            false => Ok(self.run(id).await?.map(Source::Run)),
        }
    }

    async fn log(&mut self, run: &str, parcel: u32) -> Result<&mut Vec<Logged>, PortError> {
        let key = (run.to_string(), parcel);
        if !self.logs.contains_key(&key) {
            let (first, behind) = keys::segments_of(parcel);
            let partition = keys::run_partition(self.look.organization, run);
            // A parcel has a thousand deliveries at most, and each of them a bounded number of attempts.
            let stored = self.look.store.list(&partition, &first..&behind, usize::MAX, self.look.now).await?;
            self.spent += CALL + DOCUMENT * stored.len() as u64;
            let logged = stored.into_iter().map(|stored| {
                let of = keys::deliveries_of_segment(&stored.key.sort).unwrap_or((0, u32::MAX));
                Logged { sort: stored.key.sort, of, body: stored.body, open: None }
            });
            self.logs.insert(key.clone(), logged.collect());
        }
        Ok(self.logs.entry(key).or_default())
    }

    /// The attempts of one segment.
    pub async fn segment(&mut self, run: &str, parcel: u32, sort: &str) -> Result<Vec<AttemptRecord>, PortError> {
        let mut cost = 0;
        let log = self.log(run, parcel).await?;
        let attempts = match log.iter_mut().find(|logged| logged.sort == sort) {
            Some(logged) => logged.open(&mut cost)?.1.clone(),
            // Its run was swept away meanwhile.
            None => Vec::new(),
        };
        self.spent += cost;
        Ok(attempts)
    }

    /// All attempts of a delivery, from the first to the last.
    pub async fn attempts(&mut self, run: &str, parcel: u32, index: u32) -> Result<Vec<Tried>, PortError> {
        let mut cost = 0;
        let mut tried = Vec::new();
        for logged in self.log(run, parcel).await? {
            if !(logged.of.0..=logged.of.1).contains(&index) {
                continue;
            }
            let segment = logged.sort.clone();
            let (class, attempts) = logged.open(&mut cost)?;
            cost += 1 + attempts.len() as u64 / 512;
            for record in attempts.iter().filter(|record| record.index == index) {
                tried.push(Tried { class: *class, record: record.clone(), segment: segment.clone() });
            }
        }
        tried.sort_by_key(|tried| (tried.record.number, tried.record.started_ms));
        self.spent += cost;
        Ok(tried)
    }

    /// Which deliveries of a parcel were tried, of so many.
    pub async fn tried(&mut self, run: &str, parcel: u32, deliveries: u32) -> Result<Vec<bool>, PortError> {
        let mut cost = 0;
        let mut tried = vec![false; deliveries as usize];
        for logged in self.log(run, parcel).await? {
            for record in &logged.open(&mut cost)?.1 {
                if let Some(tried) = tried.get_mut(record.index as usize) {
                    *tried = true;
                }
            }
        }
        self.spent += cost;
        Ok(tried)
    }

    /// A part of a plan's object; `None`: the plan is not there, or not there any more.
    async fn object(&mut self, run: &Run, range: Range<u64>) -> Result<Option<Vec<u8>>, PortError> {
        self.spent += CALL + KILOBYTE * ((range.end - range.start) >> 10);
        match self.look.objects.get(&run.object, Some(range)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(PortError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn head(&mut self, run: &Run) -> Result<Option<Head>, PortError> {
        if let Some(head) = self.heads.get(&run.id) {
            return Ok(*head);
        }
        let head = match run.parcels {
            0 => None,
            _ => self.object(run, 0..HEAD_BYTES).await?.map(|bytes| Head::parse(&bytes)).transpose().map_err(PortError::Failed)?,
        };
        self.heads.insert(run.id.clone(), head);
        Ok(head)
    }

    /// Where a parcel's rows lie; `None`: there is no such parcel, or no plan any more.
    pub async fn place(&mut self, run: &Run, parcel: u32) -> Result<Option<Place>, PortError> {
        let key = (run.id.clone(), parcel);
        if let Some(place) = self.places.get(&key) {
            return Ok(Some(place.clone()));
        }
        let Some(head) = self.head(run).await? else { return Ok(None) };
        if parcel >= head.parcels {
            return Ok(None);
        }
        let first = parcel - parcel % PLACES;
        let behind = head.parcels.min(first + PLACES);
        let Some(table) = self.object(run, head.places(first, behind)).await? else { return Ok(None) };
        for place in head.parse_places(first, &table) {
            self.places.insert((run.id.clone(), place.number), place);
        }
        Ok(self.places.get(&key).cloned())
    }

    /// The keys of the rows of a delivery; `None`: there is no such delivery, or no plan any more.
    pub async fn row_keys(&mut self, run: &Run, parcel: u32, index: u32) -> Result<Option<Vec<String>>, PortError> {
        let Some(place) = self.place(run, parcel).await? else { return Ok(None) };
        let key = (run.id.clone(), parcel);
        if !self.lists.contains_key(&key) {
            let Some(mut start) = self.object(run, place.offset..place.offset + BLOCK_START.min(place.length)).await? else {
                return Ok(None);
            };
            let length = FrameList::length(&start).map_err(PortError::Failed)?.min(place.length);
            if length > start.len() as u64 {
                let Some(longer) = self.object(run, place.offset..place.offset + length).await? else { return Ok(None) };
                start = longer;
            }
            self.lists.insert(key.clone(), FrameList::parse(&start).map_err(PortError::Failed)?);
        }
        let Some(frame) = self.lists[&key].frame_of(index) else { return Ok(None) };
        let key = (run.id.clone(), parcel, frame.first);
        if !self.frames.contains_key(&key) {
            let start = place.offset + frame.start;
            let Some(packed) = self.object(run, start..start + frame.length).await? else { return Ok(None) };
            let open = frame.open(&packed).map_err(PortError::Failed)?;
            self.spent += open.size() as u64 >> 10;
            if self.frame_bytes + open.size() > KEPT_BYTES {
                self.frames.clear();
                self.frame_bytes = 0;
            }
            self.frame_bytes += open.size();
            self.frames.insert(key.clone(), open);
        }
        let keys = self.frames[&key].keys(index).map_err(PortError::Failed)?;
        self.spent += keys.len() as u64 / 4;
        Ok(Some(keys))
    }

    /// The deliveries of a run that carry the row of a key, in the order of sending.
    pub async fn deliveries_of_row(&mut self, run: &Run, row: &str) -> Result<Vec<(u32, u32)>, PortError> {
        let Some(head) = self.head(run).await? else { return Ok(Vec::new()) };
        let chunks = match head.chunks {
            0 => Vec::new(),
            1 => vec![head.first_chunk],
            _ => self.object(run, head.chunk_table()).await?.map(|table| Chunk::parse_all(&table)).unwrap_or_default(),
        };
        let hash = rows_by_key::hash(row);
        let mut found: Vec<(u32, u32)> = Vec::new();
        for chunk in chunks {
            for Found { action, parcel, index } in self.search(run, chunk, hash).await? {
                found.push((head.first_of(action) + parcel, index));
            }
        }
        found.sort_unstable();
        found.dedup();
        let mut confirmed = Vec::with_capacity(found.len());
        for (parcel, index) in found {
            if self.row_keys(run, parcel, index).await?.is_some_and(|keys| keys.iter().any(|key| key == row)) {
                confirmed.push((parcel, index));
            }
        }
        Ok(confirmed)
    }

    /// The rows of a sorted list that have this hash: its bounds are narrowed by single rows, then the rest is read.
    async fn search(&mut self, run: &Run, chunk: Chunk, hash: u64) -> Result<Vec<Found>, PortError> {
        let (mut first, mut behind) = (0, chunk.rows);
        while behind - first > ROWS_AT_ONCE {
            let middle = first + (behind - first) / 2;
            let Some(row) = self.object(run, chunk.range(middle, middle + 1)).await? else { return Ok(Vec::new()) };
            match rows_by_key::hash_of(&row) {
                // Equal hashes may lie on both sides of the middle; they are few.
                found if found < hash => first = middle,
                found if found > hash => behind = middle,
                _ => (first, behind) = (middle.saturating_sub(ROWS_AT_ONCE / 2), (middle + ROWS_AT_ONCE / 2).min(chunk.rows)),
            }
        }
        let Some(rows) = self.object(run, chunk.range(first, behind)).await? else { return Ok(Vec::new()) };
        debug_assert_eq!(rows.len() as u64, (behind - first) * ROW_BYTES);
        Ok(rows_by_key::candidates(&rows, hash).collect())
    }

    /// The parcels of a run that are not marked as done; `None`: nothing is known of its progress.
    pub async fn unfinished(&mut self, run: &Run) -> Result<Vec<u32>, PortError> {
        let partition = keys::run_partition(self.look.organization, &run.id);
        let stored = self.look.store.list(&partition, keys::ALL_PROGRESS.0..keys::ALL_PROGRESS.1, 64, self.look.now).await?;
        self.spent += CALL;
        let mut progress = Vec::with_capacity(stored.len());
        for document in stored {
            progress.push(crate::run::progress::parse(&document.body, &run.id)?);
        }
        Ok((0..run.parcels).filter(|parcel| !progress.iter().any(|progress| progress.is_done(*parcel))).collect())
    }
}

impl Logged {
    fn open(&mut self, cost: &mut u64) -> Result<&(Class, Vec<AttemptRecord>), PortError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let segment = Segment::decode(&self.body).map_err(PortError::Failed)?;
                *cost += UNPACK + segment.attempts.len() as u64 / 16;
                (segment.class, segment.attempts)
            }
        };
        Ok(self.open.insert(open))
    }
}
