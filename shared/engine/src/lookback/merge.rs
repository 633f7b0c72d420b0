//! Attempts of several index partitions merged into one list, the newest first.
//!
//! A partition lists segments by their newest attempt, and a segment's attempts started within `SPAN_MS` of each other. So the next
//! attempt of the list is in an opened segment as soon as no segment that is not opened begins as late.

use super::cursor::{LATEST_MS, Position};
use super::reading::Reading;
use super::source::Source;
use crate::deliver::log::{SPAN_MS, oldest_start};
use crate::keys;
use crate::port::{Index, Listed, Objects, PortError, Store};
use futures_util::future::join_all;
use std::collections::{BinaryHeap, VecDeque};

/// So many entries are read first of each partition, then twice as many each time up to the most.
const FIRST_READ: usize = 8;
const MOST_READ: usize = 512;
/// After so many segments in a row that are not asked for, the page ends.
const MOST_SKIPPED: usize = 4000;

/// An index entry of a segment.
#[derive(Clone, Debug)]
struct Entry {
    newest_ms: u64,
    oldest_ms: u64,
    run: String,
    parcel: u32,
    sort: String,
    segment: String,
}

/// One partition of an index, read piece by piece.
struct Stream {
    partition: String,
    end: String,
    limit: usize,
    read: VecDeque<Entry>,
    ended: bool,
}

/// An attempt that the merge has come to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reached {
    /// Its place in the list.
    pub position: Position,
    /// The segment it stands in, which tells apart attempts of one place.
    pub segment: String,
}

/// What the merge comes to next.
#[derive(Debug)]
pub(super) enum Step {
    /// An attempt.
    Attempt(Reached),
    /// Nothing so far, and the list goes on from here: enough was read for one page.
    Pause(Position),
    /// The end.
    End,
}

/// The merge.
pub(super) struct Merge {
    index: Index,
    streams: Vec<Stream>,
    start: String,
    from: Position,
    only_run: Option<String>,
    /// The next attempt of each opened segment, with the segment's place in `open`.
    next: BinaryHeap<(Reached, usize)>,
    /// What is left of the opened segments, the greatest last.
    open: Vec<Vec<Reached>>,
    skipped: usize,
}

impl Merge {
    /// The attempts behind `from` that started at `since_ms` or later.
    pub fn new(index: Index, partitions: Vec<String>, from: Position, since_ms: u64, only_run: Option<String>) -> Merge {
        // A segment that begins with the span after the one of `from` holds nothing that is asked for.
        let end = format!("{:014}", (from.0.min(LATEST_MS) / SPAN_MS + 1) * SPAN_MS);
        let stream = |partition| Stream { partition, end: end.clone(), limit: FIRST_READ, read: VecDeque::new(), ended: false };
        Merge {
            index,
            streams: partitions.into_iter().map(stream).collect(),
            start: format!("{since_ms:014}"),
            from,
            only_run,
            next: BinaryHeap::new(),
            open: Vec::new(),
            skipped: 0,
        }
    }

    /// Goes on. `wants` says whether the attempts of a run or errand are asked for at all.
    pub async fn step<S: Store, O: Objects>(
        &mut self,
        reading: &mut Reading<'_, S, O>,
        wants: &impl Fn(&Source) -> bool,
    ) -> Result<Step, PortError> {
        loop {
            let front = self.front(reading).await?;
            let reached_ms = self.next.peek().map(|(reached, _)| reached.position.0);
            let opens = front.filter(|stream| {
                let newest_ms = self.streams[*stream].read.front().map(|entry| entry.newest_ms);
                reached_ms.is_none_or(|reached_ms| newest_ms >= Some(reached_ms))
            });
            match opens {
                Some(stream) => {
                    let Some(entry) = self.streams[stream].read.pop_front() else { continue };
                    let enough = self.skipped >= MOST_SKIPPED || (self.skipped > 0 && reading.is_spent());
                    let position = Position::at_or_before(entry.newest_ms);
                    if enough && reached_ms.is_none() && position < self.from {
                        return Ok(Step::Pause(position));
                    }
                    self.take(entry, reading, wants).await?;
                }
                None => match self.next.pop() {
                    None => return Ok(Step::End),
                    Some((reached, place)) => {
                        self.skipped = 0;
                        if let Some(following) = self.open[place].pop() {
                            self.next.push((following, place));
                        }
                        return Ok(Step::Attempt(reached));
                    }
                },
            }
        }
    }

    /// Opens a segment, unless nothing in it is asked for.
    async fn take<S: Store, O: Objects>(
        &mut self,
        entry: Entry,
        reading: &mut Reading<'_, S, O>,
        wants: &impl Fn(&Source) -> bool,
    ) -> Result<(), PortError> {
        let Entry { oldest_ms, run, parcel, segment, .. } = entry;
        // Those were given on a page before: they must not use up this one.
        if oldest_ms > self.from.0 {
            return Ok(());
        }
        self.skipped += 1;
        if self.only_run.as_ref().is_some_and(|only| *only != run) {
            return Ok(());
        }
        if !reading.source(&run).await?.is_some_and(|source| wants(&source)) {
            return Ok(());
        }
        let attempts = reading.segment(&run, parcel, &segment).await?;
        let mut left: Vec<Reached> = attempts
            .iter()
            .map(|record| Position(record.started_ms, run.clone(), parcel, record.index, record.number))
            .filter(|position| *position < self.from)
            .map(|position| Reached { position, segment: segment.clone() })
            .collect();
        left.sort_unstable();
        if let Some(first) = left.pop() {
            self.next.push((first, self.open.len()));
            self.open.push(left);
        }
        Ok(())
    }

    /// The stream whose next segment is the greatest of all; `None`: no stream has one.
    async fn front<S: Store, O: Objects>(&mut self, reading: &mut Reading<'_, S, O>) -> Result<Option<usize>, PortError> {
        // Those that have nothing at hand are read side by side.
        let is_empty = |stream: &&mut Stream| stream.read.is_empty() && !stream.ended;
        loop {
            let look = reading.look;
            let (index, start) = (self.index, self.start.as_str());
            let empty: Vec<&mut Stream> = self.streams.iter_mut().filter(is_empty).collect();
            if empty.is_empty() {
                break;
            }
            let listing = empty
                .iter()
                .map(|stream| look.store.list_index(index, &stream.partition, start..stream.end.as_str(), true, stream.limit, look.now));
            let listed = join_all(listing).await;
            for (stream, listed) in empty.into_iter().zip(listed) {
                let listed = listed?;
                reading.pays_for(listed.len());
                stream.take(listed);
            }
        }
        let fronts = self.streams.iter().enumerate().filter_map(|(place, stream)| Some((&stream.read.front()?.sort, place)));
        Ok(fronts.max().map(|(_, place)| place))
    }
}

impl Stream {
    fn take(&mut self, listed: Vec<Listed>) {
        self.ended = listed.len() < self.limit;
        self.limit = (self.limit * 2).min(MOST_READ);
        if let Some(last) = listed.last() {
            self.end.clone_from(&last.sort);
        }
        let entries = listed.into_iter().filter_map(|listed| {
            let (newest_ms, run, parcel) = keys::parse_attempts_sort(&listed.sort)?;
            let oldest_ms = oldest_start(&listed.summary).unwrap_or(0);
            Some(Entry { newest_ms, oldest_ms, run: run.to_string(), parcel, segment: listed.key.sort, sort: listed.sort })
        });
        self.read = entries.collect();
    }
}
