//! Several snapshot files as one: the newest entry of a key counts, older ones lend it the fields that it leaves out. It must not write.

use super::inherits;
use super::read::{Entries, GroupHashes, HashChunk, HashRow, Positions, RawEntry, SnapshotFile, join};
use crate::error::SourceError;
use engine::model::change::{Entry, EntryState, Fields};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// The hash rows of one file.
struct FileHashes {
    file: SnapshotFile,
    group: usize,
    reader: Option<GroupHashes>,
    chunk: HashChunk,
    next: usize,
    last: Option<u128>,
}

impl FileHashes {
    fn next(&mut self) -> Result<Option<HashRow>, SourceError> {
        loop {
            let i = self.next;
            if let (Some(reader), Some(hi)) = (&self.reader, self.chunk.key_hi.get(i)) {
                self.next += 1;
                let row = HashRow {
                    key: join(*hi, self.chunk.key_lo[i]),
                    row: join(self.chunk.row_hi[i], self.chunk.row_lo[i]),
                    state: reader.state(self.chunk.state[i])?,
                };
                if self.last.is_some_and(|last| last >= row.key) {
                    return Err(self.file.corrupt("is not sorted by key hash"));
                }
                self.last = Some(row.key);
                return Ok(Some(row));
            }
            self.next = 0;
            let more = match &mut self.reader {
                Some(reader) => reader.next(&mut self.chunk)?,
                None => false,
            };
            if !more {
                if self.group == self.file.groups.len() {
                    return Ok(None);
                }
                self.reader = Some(self.file.group(self.group, true)?);
                self.chunk = HashChunk::default();
                self.group += 1;
            }
        }
    }
}

/// The merged hash rows of a snapshot in the order of their keys, those that are gone included.
pub(crate) struct Hashes {
    files: Vec<FileHashes>,
    /// Next key, then the newest file first.
    heap: BinaryHeap<Reverse<(u128, Reverse<usize>)>>,
    heads: Vec<Option<HashRow>>,
    failed: bool,
}

impl Hashes {
    /// `files` from the base to the newest delta.
    pub fn new(files: &[SnapshotFile]) -> Result<Hashes, SourceError> {
        let mut hashes = Hashes { files: Vec::new(), heap: BinaryHeap::new(), heads: Vec::new(), failed: false };
        for (i, file) in files.iter().enumerate() {
            hashes.files.push(FileHashes { file: file.clone(), group: 0, reader: None, chunk: HashChunk::default(), next: 0, last: None });
            hashes.heads.push(None);
            hashes.advance(i)?;
        }
        Ok(hashes)
    }

    fn advance(&mut self, file: usize) -> Result<(), SourceError> {
        self.heads[file] = self.files[file].next()?;
        if let Some(head) = self.heads[file] {
            self.heap.push(Reverse((head.key, Reverse(file))));
        }
        Ok(())
    }

    fn merge(&mut self) -> Result<Option<HashRow>, SourceError> {
        let mut newest: Option<HashRow> = None;
        while let Some(Reverse((key, Reverse(file)))) = self.heap.peek().copied() {
            if newest.is_some_and(|row| row.key != key) {
                break;
            }
            self.heap.pop();
            newest = newest.or(self.heads[file]);
            self.advance(file)?;
        }
        Ok(newest)
    }
}

impl Iterator for Hashes {
    type Item = Result<HashRow, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.merge().transpose();
        self.failed = matches!(row, Some(Err(_)));
        row
    }
}

/// A merged entry; its fields are JSON arrays, each in the order of the field names of the file it comes from.
#[derive(Clone, Debug)]
pub(crate) struct MergedEntry {
    pub raw: RawEntry,
    /// The file of `raw.fields`.
    pub fields_of: usize,
    /// The file of `raw.uncertain`.
    pub uncertain_of: usize,
}

/// The merged entries of a snapshot in the order of their keys, those that are gone included.
pub(crate) struct Merged {
    files: Vec<(SnapshotFile, Entries)>,
    heads: Vec<Option<RawEntry>>,
    heap: BinaryHeap<Reverse<(u128, Reverse<usize>)>>,
}

impl Merged {
    /// The entries at `positions` of all files, from the base to the newest delta.
    pub fn new(files: &[SnapshotFile], positions: &Positions) -> Result<Merged, SourceError> {
        let mut merged = Merged { files: Vec::new(), heads: vec![None; files.len()], heap: BinaryHeap::new() };
        for file in files {
            merged.files.push((file.clone(), file.entries(positions.clone())?));
        }
        for i in 0..files.len() {
            merged.advance(i)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, file: usize) -> Result<(), SourceError> {
        let (of, entries) = &mut self.files[file];
        let before = self.heads[file].take().map(|e| e.key_hash);
        let next = entries.next()?;
        if let Some(next) = &next {
            if before.is_some_and(|b| b >= next.key_hash) {
                return Err(of.corrupt("is not sorted by key hash"));
            }
            self.heap.push(Reverse((next.key_hash, Reverse(file))));
        }
        self.heads[file] = next;
        Ok(())
    }

    /// The next entry.
    pub fn next(&mut self) -> Result<Option<MergedEntry>, SourceError> {
        let mut merged: Option<MergedEntry> = None;
        let mut wants_fields = false;
        while let Some(Reverse((key, Reverse(file)))) = self.heap.peek().copied() {
            if merged.as_ref().is_some_and(|m| m.raw.key_hash != key) {
                break;
            }
            self.heap.pop();
            if let Some(head) = self.heads[file].clone() {
                match &mut merged {
                    None => {
                        wants_fields = inherits(head.state) && head.fields.is_none();
                        merged = Some(MergedEntry { raw: head, fields_of: file, uncertain_of: file });
                    }
                    Some(m) if wants_fields => {
                        wants_fields = inherits(head.state) && head.fields.is_none();
                        if !matches!(head.state, EntryState::Gone | EntryState::UncertainAdd | EntryState::GivenUpAdd) {
                            m.raw.fields = head.fields;
                            m.fields_of = file;
                        }
                    }
                    Some(_) => {}
                }
            }
            self.advance(file)?;
        }
        Ok(merged)
    }
}

/// The field names of all files: the newest file's in their order, then what only older ones have.
pub(crate) fn names_of(files: &[SnapshotFile]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for file in files.iter().rev() {
        for name in file.fields.iter() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// Turns the fields of a file's rows into the order of other names; what the file does not have is null.
#[derive(Clone)]
pub(crate) struct Reorder {
    file: SnapshotFile,
    /// By wanted name: the position in the file; `None` in front if nothing has to move.
    from: Option<Vec<Option<usize>>>,
    width: usize,
}

impl Reorder {
    pub fn new(file: &SnapshotFile, to: &[String]) -> Reorder {
        let same = *file.fields == *to;
        let from = to.iter().map(|name| file.fields.iter().position(|f| f == name)).collect();
        Reorder { file: file.clone(), from: (!same).then_some(from), width: to.len() }
    }

    /// How many fields there are in the wanted order.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether the JSON text can stay as it is.
    pub fn is_identity(&self) -> bool {
        self.from.is_none()
    }

    pub fn fields(&self, json: &str) -> Result<Fields, SourceError> {
        let mut values: Vec<Value> =
            serde_json::from_str(json).map_err(|e| self.file.corrupt(&format!("holds fields that are not a JSON array ({e})")))?;
        Ok(match &self.from {
            None => {
                values.resize(self.width, Value::Null);
                values
            }
            Some(from) => from.iter().map(|p| p.and_then(|p| values.get_mut(p)).map_or(Value::Null, Value::take)).collect(),
        })
    }
}

/// For each file of a snapshot: how its fields come into the order of `to`.
pub(crate) fn reorders(files: &[SnapshotFile], to: &[String]) -> Arc<[Reorder]> {
    files.iter().map(|f| Reorder::new(f, to)).collect()
}

impl MergedEntry {
    /// The entry as the engine knows it.
    pub fn entry(&self, reorders: &[Reorder]) -> Result<Entry, SourceError> {
        let read = |json: &Option<String>, of: usize| json.as_ref().map(|json| reorders[of].fields(json)).transpose();
        Ok(Entry {
            state: self.raw.state,
            row_hash: self.raw.row_hash,
            fields: read(&self.raw.fields, self.fields_of)?,
            uncertain: read(&self.raw.uncertain, self.uncertain_of)?,
        })
    }
}
