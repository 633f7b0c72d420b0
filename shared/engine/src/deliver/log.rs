//! What is not recorded yet, and recording it: one write, and so one sync, for all that came in since the last one.
//!
//! Order matters: pages and segments first, then the bits of parcels that are done, then their backlog entries. Each step can be
//! repeated.

use crate::judge::Class;
use crate::keys::{self, LaneName, Recording};
use crate::lane::backlog::Parcel;
use crate::lane::pump::Slot;
use crate::model::name::Name;
use crate::port::{Document, Expect, Index, IndexEntry, Key, Objects, PortError, Store, Write};
use crate::record::page;
use crate::record::segment::{AttemptRecord, Segment, UnsentRow};
use crate::run::progress;
use std::collections::BTreeMap;
use std::rc::Rc;

/// So many attempts are recorded at once.
pub const RECORD_AT: usize = 1000;

/// Attempts that started within the same so many milliseconds may share a segment: so whoever looks for a time knows which segments
/// may hold it.
pub const SPAN_MS: u64 = 2_000;

/// What the attempts of a segment have in common: parcel, class, whether a further one follows, and when they started.
type Common = (Slot, Class, bool, u64);

/// Attempts of one segment.
#[derive(Debug, Default)]
struct Lot {
    run: String,
    parcel: u32,
    export: String,
    rule: Option<Name>,
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
    /// Its run's export; empty where it is an event's.
    pub export: &'a str,
}

/// What is not recorded yet.
#[derive(Debug)]
pub struct Log {
    lots: BTreeMap<Common, Lot>,
    since: Option<u64>,
    count: usize,
    sequence: u64,
    within: u64,
}

/// What one recording writes.
#[derive(Debug)]
pub struct Batch {
    segments: Vec<(Key, Segment, Vec<IndexEntry>)>,
    pages: Vec<(String, Vec<u8>)>,
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
}

impl Log {
    /// Empty. What comes in must be recorded `within` so many microseconds.
    pub fn new(within: u64) -> Log {
        Log { lots: BTreeMap::new(), since: None, count: 0, sequence: 0, within }
    }

    /// Takes an attempt. `line` appends what went over the wire to the page.
    pub fn add(&mut self, origin: Origin, class: Class, record: AttemptRecord, mono: u64, line: impl FnOnce(&mut Vec<u8>)) {
        let lot = self.lot(origin, (origin.slot, class, record.last, record.started_ms / SPAN_MS));
        lot.attempts.push(record);
        line(&mut lot.page);
        self.count += 1;
        self.since.get_or_insert(mono);
    }

    /// Takes rows that were not sent.
    pub fn add_unsent(&mut self, origin: Origin, rows: Vec<UnsentRow>, mono: u64) {
        self.lot(origin, (origin.slot, Class::RenderError, true, 0)).unsent.extend(rows);
        self.since.get_or_insert(mono);
    }

    fn lot(&mut self, Origin { parcel, export, .. }: Origin, common: Common) -> &mut Lot {
        self.lots.entry(common).or_insert_with(|| Lot {
            run: parcel.run.clone(),
            parcel: parcel.number,
            export: export.to_string(),
            rule: parcel.rule().cloned(),
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
        Some(if self.count >= RECORD_AT { since } else { since + self.within })
    }

    /// Takes all that waits, as it will be written.
    pub fn take(&mut self, book: Book, done: Vec<(Slot, Key, Rc<Parcel>)>) -> Batch {
        self.sequence += 1;
        self.since = None;
        self.count = 0;
        let lots = std::mem::take(&mut self.lots);
        let mut pages: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for lot in lots.values() {
            pages.entry(lot.run.clone()).or_default().extend(&lot.page);
        }
        // A short page lies in its segment: an object costs more than it is worth.
        pages.retain(|run, page| {
            let longest = lots.values().filter(|lot| lot.run == *run).map(|lot| lot.page.len()).max();
            page.len() > page::INLINE_BYTES * 4 || longest.is_some_and(|longest| longest > page::INLINE_BYTES * 2)
        });
        let mut segments = Vec::with_capacity(lots.len());
        for (part, ((_, class, last, _), lot)) in lots.into_iter().enumerate() {
            let recording = Recording { generation: book.generation, sequence: self.sequence, part };
            let indexes = || lot.attempts.iter().map(|attempt| attempt.index);
            let key = keys::segment(&book.lane.organization, &lot.run, lot.parcel, recording, indexes().min().zip(indexes().max()));
            let index = index_entries(book.lane, &lot, class, last, recording);
            let (page, inline_page) = match pages.contains_key(&lot.run) {
                _ if lot.page.is_empty() => (None, Vec::new()),
                true => (Some(page_name(book, &lot.run, self.sequence)), Vec::new()),
                false => (None, page::compress(&lot.page)),
            };
            segments.push((key, Segment { class, attempts: lot.attempts, unsent: lot.unsent, page, inline_page }, index));
        }
        let pages = pages.into_iter().map(|(run, page)| (page_name(book, &run, self.sequence), page::compress(&page))).collect();
        Batch { segments, pages, done }
    }
}

/// Each run's pages are its own, so that they go when it goes.
fn page_name(Book { lane, generation }: Book, run: &str, sequence: u64) -> String {
    format!("{}{:x}-{generation:08x}{sequence:08x}", keys::pages(&lane.organization, run), lane.share)
}

/// The three lists an attempt is found in: its destination's, its export's or rule's, and the organization's. Rows that were not sent are no
/// attempt.
fn index_entries(lane: &LaneName, lot: &Lot, class: Class, last: bool, recording: Recording) -> Vec<IndexEntry> {
    let starts = || lot.attempts.iter().map(|attempt| attempt.started_ms);
    let Some((oldest, newest)) = starts().min().zip(starts().max()) else { return Vec::new() };
    let organization = &lane.organization;
    let sort = keys::attempts_sort(newest, &lot.run, lot.parcel, recording);
    let summary = format!("{oldest} {}", lot.attempts.len());
    let entry = |index, partition| IndexEntry { index, partition, sort: sort.clone(), summary: summary.clone() };
    let of = match &lot.rule {
        Some(rule) => keys::attempts_of_rule(organization, rule, class, last),
        None => keys::attempts_of_export(organization, &lot.export, class, last),
    };
    vec![
        entry(Index::First, keys::attempts_of_destination(organization, &lane.destination, class, last)),
        entry(Index::Second, of),
        entry(Index::Third, keys::attempts(organization, class, last)),
    ]
}

/// The oldest start of a segment's attempts, Unix milliseconds, that the summary of its index entries tells.
pub fn oldest_start(summary: &str) -> Option<u64> {
    summary.split(' ').next()?.parse().ok()
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
    for (name, bytes) in &batch.pages {
        objects.put(name, bytes.clone()).await?;
    }
    let now = wall / 1_000_000;
    let writes: Vec<Write> = batch
        .segments
        .iter()
        .map(|(key, segment, index)| {
            let document = Document { body: segment.encode(), expires_at: None, index: index.clone() };
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
    for (_, _, parcel) in batch.done.iter().filter(|(_, _, parcel)| parcel.rule().is_none()) {
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
