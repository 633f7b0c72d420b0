//! The changes of a diff, one after the other: added and changed from the spool, removed from the snapshot. It must not decide anything.

use super::prior::Prior;
use super::record;
use super::table::Table;
use crate::error::SourceError;
use crate::snapshot::{Merged, Positions, Reorder, SnapshotFile};
use crate::spool::SpoolReader;
use engine::model::change::{Change, ChangeKind, EntryState};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Removed rows that are read ahead, in as many batches of as many rows.
const AHEAD: usize = 4;
const BATCH: usize = 128;

type Batch = Result<Vec<Change>, SourceError>;

/// An iterator over the changes; memory stays bounded however many there are. Ends after the first error.
pub struct Changes {
    spool: SpoolReader,
    /// The next chunk of the spool.
    chunk: usize,
    bytes: Vec<u8>,
    at: usize,
    /// Ordinals of rows whose key stands more than once, ascending.
    twice: Vec<u32>,
    positions: Vec<usize>,
    width: usize,
    table: Arc<Table>,
    prior: Prior,
    removed: Option<Receiver<Batch>>,
    batch: std::vec::IntoIter<Change>,
    failed: bool,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("chunks", &self.spool.len()).finish_non_exhaustive()
    }
}

/// What [`Changes`] is made of.
pub(crate) struct Parts {
    pub spool: SpoolReader,
    pub twice: Vec<u32>,
    pub positions: Vec<usize>,
    pub width: usize,
    pub table: Arc<Table>,
    pub prior: Prior,
    /// The snapshot's files and the slots to remove.
    pub removed: (Vec<SnapshotFile>, Vec<u32>, Arc<[Reorder]>),
}

impl Changes {
    pub(crate) fn new(parts: Parts) -> Result<Changes, SourceError> {
        let Parts { spool, twice, positions, width, table, prior, removed: (files, slots, reorders) } = parts;
        let removed = if slots.is_empty() {
            None
        } else {
            let (sender, receiver) = sync_channel(AHEAD);
            let wanted = super::positions(&files, &table, &slots);
            drop(slots);
            // Read ahead, since the reader of the changes is busy with those before.
            std::thread::Builder::new()
                .name("removed-rows".to_owned())
                .spawn(move || read_removed(&files, &wanted, &reorders, &sender))
                .map_err(|e| {
                    SourceError::new(crate::ErrorKind::Io, "the snapshot", format!("no thread could be started to read it: {e}"))
                })?;
            Some(receiver)
        };
        let batch = Vec::new().into_iter();
        Ok(Changes { spool, chunk: 0, bytes: Vec::new(), at: 0, twice, positions, width, table, prior, removed, batch, failed: false })
    }

    fn spooled(&mut self) -> Result<Option<Change>, SourceError> {
        loop {
            while self.at < self.bytes.len() {
                let mut input = &self.bytes[self.at..];
                let Some((head, key, cells)) = record::next(&mut input) else { return Err(self.spool.corrupt()) };
                self.at = self.bytes.len() - input.len();
                if self.twice.binary_search(&head.ordinal).is_ok() {
                    continue;
                }
                let Some(fields) = record::fields(cells, &self.positions, self.width) else { return Err(self.spool.corrupt()) };
                let before = match head.before {
                    Some((slot, state)) => Some(self.prior.entry(&self.table, slot, state)?),
                    None => None,
                };
                let key = key.to_owned();
                return Ok(Some(Change { kind: head.kind, key, key_hash: head.key_hash, row_hash: head.row_hash, fields, before }));
            }
            if self.chunk == self.spool.len() {
                return Ok(None);
            }
            self.spool.read(self.chunk, &mut self.bytes, true)?;
            self.chunk += 1;
            self.at = 0;
        }
    }

    fn removed(&mut self) -> Result<Option<Change>, SourceError> {
        loop {
            if let Some(change) = self.batch.next() {
                return Ok(Some(change));
            }
            let Some(receiver) = &self.removed else { return Ok(None) };
            match receiver.recv() {
                Ok(batch) => self.batch = batch?.into_iter(),
                Err(_) => self.removed = None,
            }
        }
    }
}

impl Iterator for Changes {
    type Item = Result<Change, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = match self.spooled() {
            Ok(None) => self.removed(),
            other => other,
        };
        self.failed = next.is_err();
        next.transpose()
    }
}

fn read_removed(files: &[SnapshotFile], wanted: &Positions, reorders: &[Reorder], to: &SyncSender<Batch>) {
    let mut batch = Vec::new();
    let result = (|| -> Result<(), SourceError> {
        let mut merged = Merged::new(files, wanted)?;
        while let Some(entry) = merged.next()? {
            let before = entry.entry(reorders)?;
            // Of an addition that may have arrived, only what was sent is known.
            let sent_only = matches!(before.state, EntryState::UncertainAdd | EntryState::GivenUpAdd);
            let fields = if sent_only { before.uncertain.clone() } else { before.fields.clone() };
            batch.push(Change {
                kind: ChangeKind::Removed,
                key: entry.raw.key,
                key_hash: entry.raw.key_hash,
                row_hash: entry.raw.row_hash,
                fields: fields.unwrap_or_else(|| vec![serde_json::Value::Null; reorders.first().map_or(0, Reorder::width)]),
                before: Some(before),
            });
            if batch.len() == BATCH && to.send(Ok(std::mem::take(&mut batch))).is_err() {
                // Nobody wants the rest.
                return Ok(());
            }
        }
        Ok(())
    })();
    // A closed channel means that nobody wants to know.
    let _ = to.send(Ok(batch));
    if let Err(e) = result {
        let _ = to.send(Err(e));
    }
}
