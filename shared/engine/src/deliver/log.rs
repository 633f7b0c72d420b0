//! What is not recorded yet, and recording it: one write, and so one sync, for all that came in since the last one.
//!
//! Order matters: pages and segments first, then the bits of parcels that are done, then their backlog entries. Each step can be
//! repeated.

use crate::judge::Class;
use crate::keys::{self, LaneName};
use crate::lane::backlog::Parcel;
use crate::lane::pump::Slot;
use crate::port::{Document, Expect, Index, IndexEntry, Key, Objects, PortError, Store, Write};
use crate::record::page;
use crate::record::segment::{AttemptRecord, Segment, UnsentRow};
use crate::run::progress;
use std::collections::BTreeMap;
use std::rc::Rc;

/// An attempt is on disk this long after its end at the latest (semantics.md 9).
pub const RECORD_WITHIN: u64 = 50_000;
/// So many attempts are recorded at once.
pub const RECORD_AT: usize = 1000;

/// Attempts of one parcel and class.
#[derive(Debug, Default)]
struct Lot {
    run: String,
    parcel: u32,
    export: String,
    attempts: Vec<AttemptRecord>,
    unsent: Vec<UnsentRow>,
    page: Vec<u8>,
}

/// Which parcel something happened to.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Its place in the pump.
    pub slot: Slot,
    /// The parcel.
    pub parcel: &'a Parcel,
    /// Its run's export.
    pub export: &'a str,
}

/// What is not recorded yet.
#[derive(Debug)]
pub struct Log {
    lots: BTreeMap<(Slot, Class), Lot>,
    since: Option<u64>,
    count: usize,
    sequence: u64,
}

/// What one recording writes.
#[derive(Debug)]
pub struct Batch {
    segments: Vec<(Key, Segment, Vec<IndexEntry>)>,
    page: Option<(String, Vec<u8>)>,
    expires_at: u64,
    /// Parcels that are done once this is written.
    pub done: Vec<(Slot, Key, Rc<Parcel>)>,
}

/// Where the segments of a log belong.
#[derive(Clone, Copy, Debug)]
pub struct Book<'a> {
    /// The lane.
    pub lane: &'a LaneName,
    /// The lease's generation.
    pub generation: u64,
    /// How long attempts are kept, seconds.
    pub retention_seconds: u64,
}

impl Log {
    /// Empty.
    pub fn new() -> Log {
        Log { lots: BTreeMap::new(), since: None, count: 0, sequence: 0 }
    }

    /// Takes an attempt. `line` appends what went over the wire to the page.
    pub fn add(&mut self, origin: Origin, class: Class, record: AttemptRecord, mono: u64, line: impl FnOnce(&mut Vec<u8>)) {
        let lot = self.lot(origin, class);
        lot.attempts.push(record);
        line(&mut lot.page);
        self.count += 1;
        self.since.get_or_insert(mono);
    }

    /// Takes rows that were not sent.
    pub fn add_unsent(&mut self, origin: Origin, rows: Vec<UnsentRow>, mono: u64) {
        self.lot(origin, Class::RenderError).unsent.extend(rows);
        self.since.get_or_insert(mono);
    }

    fn lot(&mut self, Origin { slot, parcel, export }: Origin, class: Class) -> &mut Lot {
        self.lots.entry((slot, class)).or_insert_with(|| Lot {
            run: parcel.run.clone(),
            parcel: parcel.number,
            export: export.to_string(),
            ..Lot::default()
        })
    }

    /// Whether nothing waits to be recorded.
    pub fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }

    /// The monotonic time by which it must be recorded.
    pub fn due(&self) -> Option<u64> {
        let since = self.since?;
        Some(if self.count >= RECORD_AT { since } else { since + RECORD_WITHIN })
    }

    /// Takes all that waits, as it will be written.
    pub fn take(&mut self, book: Book, wall: u64, done: Vec<(Slot, Key, Rc<Parcel>)>) -> Batch {
        self.sequence += 1;
        self.since = None;
        self.count = 0;
        let lots = std::mem::take(&mut self.lots);
        let plain: usize = lots.values().map(|lot| lot.page.len()).sum();
        // A short page lies in its segment: an object costs more than it is worth.
        let inline = plain <= page::INLINE_BYTES * 4 && lots.values().all(|lot| lot.page.len() <= page::INLINE_BYTES * 2);
        let partition = book.lane.partition().replace('#', "/");
        let name = format!("pages/{partition}/{:08x}{:08x}", book.generation, self.sequence);
        let mut all = Vec::with_capacity(if inline { 0 } else { plain });
        let mut segments = Vec::with_capacity(lots.len());
        for ((_, class), lot) in lots {
            let key = keys::segment(&book.lane.organization, &lot.run, lot.parcel, book.generation, self.sequence, class);
            let index = index_entries(book.lane, &lot, class, wall, self.sequence);
            let (page, inline_page) = match (lot.page.is_empty(), inline) {
                (true, _) => (None, Vec::new()),
                (false, true) => (None, page::compress(&lot.page)),
                (false, false) => {
                    all.extend(&lot.page);
                    (Some(name.clone()), Vec::new())
                }
            };
            segments.push((key, Segment { class, attempts: lot.attempts, unsent: lot.unsent, page, inline_page }, index));
        }
        let page = (!all.is_empty()).then(|| (name, page::compress(&all)));
        Batch { segments, page, expires_at: wall / 1_000_000 + book.retention_seconds, done }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log::new()
    }
}

/// The three lists an attempt is found in: by destination, by source, and by organization, each with its class.
fn index_entries(lane: &LaneName, lot: &Lot, class: Class, wall: u64, sequence: u64) -> Vec<IndexEntry> {
    let organization = &lane.organization;
    let sort = format!("{:014}#{}#{}#{sequence:08x}", wall / 1000, lot.run, lot.parcel);
    let summary = format!("{} {} {}", lot.run, lot.parcel, lot.attempts.len());
    let class = class.as_str();
    let entry = |index, partition| IndexEntry { index, partition, sort: sort.clone(), summary: summary.clone() };
    vec![
        entry(Index::First, format!("{organization}#destination#{}#{class}", lane.destination)),
        entry(Index::Second, format!("{organization}#export#{}#{class}", lot.export)),
        entry(Index::Third, format!("{organization}#all#{class}")),
    ]
}

/// Writes a batch, and names the runs of which nothing is left then. After an error the same batch is written again; what is there
/// already is known by its content.
pub async fn write<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    lane: &LaneName,
    batch: &Batch,
    wall: u64,
) -> Result<Vec<String>, PortError> {
    if let Some((name, bytes)) = &batch.page {
        objects.put(name, bytes.clone()).await?;
    }
    let now = wall / 1_000_000;
    let writes: Vec<Write> = batch
        .segments
        .iter()
        .map(|(key, segment, index)| {
            let document = Document { body: segment.encode(), expires_at: Some(batch.expires_at), index: index.clone() };
            Write::Put(key.clone(), document, Expect::Absent)
        })
        .collect();
    if !writes.is_empty() {
        let answers = store.write(writes, now).await?;
        for ((key, segment, _), answer) in batch.segments.iter().zip(answers) {
            match answer {
                Ok(_) => {}
                Err(PortError::Conflict) => {
                    let there = store.get(key, now).await?;
                    if there.is_none_or(|stored| stored.body != segment.encode()) {
                        return Err(PortError::Conflict);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
    let mut complete = Vec::new();
    if batch.done.is_empty() {
        return Ok(complete);
    }
    let mut runs: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (_, _, parcel) in &batch.done {
        runs.entry(&parcel.run).or_default().push(parcel.number);
    }
    for (run, parcels) in runs {
        if progress::mark(store, lane, run, &parcels, now).await? {
            complete.push(run.to_string());
        }
    }
    let deletes = batch.done.iter().map(|(_, key, _)| Write::Delete(key.clone(), Expect::Any)).collect();
    for answer in store.write(deletes, now).await? {
        answer?;
    }
    Ok(complete)
}
