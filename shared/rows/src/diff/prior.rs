//! The snapshot's entries of rows that are still there: their whole row hashes, and their fields where those are needed.
//! It must not decide which are.

use super::table::Table;
use crate::cell::{decode_text, take};
use crate::error::SourceError;
use crate::snapshot::{Hashes, Merged, Reorder, SnapshotFile};
use crate::source::positioned::read_exact_at;
use engine::model::change::{Entry, EntryState};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A set of slots that numbers its members: a bit a slot, and the members before each word.
#[derive(Default)]
struct Numbered {
    words: Vec<u64>,
    before: Vec<u32>,
}

impl Numbered {
    fn of(slots: &[u32]) -> Numbered {
        let mut words = vec![0_u64; slots.last().map_or(0, |last| *last as usize / 64 + 1)];
        for slot in slots {
            words[*slot as usize / 64] |= 1 << (slot % 64);
        }
        let mut before = Vec::with_capacity(words.len());
        let mut count = 0;
        for word in &words {
            before.push(count);
            count += word.count_ones();
        }
        Numbered { words, before }
    }

    /// Which member the slot is, counted from 0.
    fn number(&self, slot: u32) -> Option<usize> {
        let word = *self.words.get(slot as usize / 64)?;
        let bit = 1_u64 << (slot % 64);
        (word & bit != 0).then(|| (self.before[slot as usize / 64] + (word & (bit - 1)).count_ones()) as usize)
    }
}

/// Entries by slot.
#[derive(Default)]
pub(crate) struct Prior {
    slots: Numbered,
    /// The upper halves of their row hashes.
    upper: Vec<u64>,
    /// Slots whose fields lie in `blob`, and where: from one offset to the next.
    full: Numbered,
    offsets: Vec<u64>,
    blob: Option<Blob>,
    reorders: Option<Arc<[Reorder]>>,
}

impl Prior {
    /// Reads what the snapshot holds of `slots` (ascending), and whole entries of `full` (ascending, among `slots`).
    pub fn read(
        files: &[SnapshotFile],
        table: &Table,
        slots: Vec<u32>,
        full: Vec<u32>,
        reorders: &Arc<[Reorder]>,
        options: &super::Options<'_>,
    ) -> Result<Prior, SourceError> {
        let upper = if table.mirrors(files) { by_row(&files[0], &slots, options.threads)? } else { by_key(files, table, &slots)? };
        let mut prior =
            Prior { slots: Numbered::of(&slots), upper, full: Numbered::of(&full), reorders: Some(reorders.clone()), ..Prior::default() };
        drop(slots);
        if full.is_empty() {
            return Ok(prior);
        }
        let mut blob = Blob::new(options.scratch, options.memory);
        let mut merged = Merged::new(files, &super::positions(files, table, &full))?;
        let mut record = Vec::new();
        for slot in &full {
            let entry = merged.next()?.ok_or_else(|| moved(files))?;
            if (entry.raw.key_hash >> 64) as u64 != table.slot(*slot).key {
                return Err(moved(files));
            }
            record.clear();
            for (text, of) in [(&entry.raw.fields, entry.fields_of), (&entry.raw.uncertain, entry.uncertain_of)] {
                record.extend_from_slice(&(of as u32).to_le_bytes());
                let text = text.as_deref().unwrap_or_default();
                record.extend_from_slice(&(text.len() as u32).to_le_bytes());
                record.extend_from_slice(text.as_bytes());
            }
            prior.offsets.push(blob.add(&record)?);
        }
        prior.offsets.push(blob.length);
        blob.flush()?;
        prior.blob = Some(blob);
        Ok(prior)
    }

    /// The entry of a slot.
    pub fn entry(&self, table: &Table, slot: u32, state: EntryState) -> Result<Entry, SourceError> {
        let upper = self.slots.number(slot).and_then(|at| self.upper.get(at)).copied().unwrap_or_default();
        let row_hash = u128::from(upper) << 64 | u128::from(table.slot(slot).row);
        let mut entry = Entry { state, row_hash, fields: None, uncertain: None };
        if let (Some(at), Some(blob), Some(reorders)) = (self.full.number(slot), &self.blob, &self.reorders) {
            let bytes = blob.read(self.offsets[at], self.offsets[at + 1])?;
            let mut input = bytes.as_slice();
            let mut next = || -> Option<(usize, &str)> {
                let of = u32::from_le_bytes(take(&mut input, 4)?.try_into().ok()?);
                Some((of as usize, decode_text(&mut input)?))
            };
            let mut fields = || match next() {
                None => Err(blob.corrupt()),
                Some((_, "")) => Ok(None),
                Some((of, json)) => reorders.get(of).ok_or_else(|| blob.corrupt())?.fields(json).map(Some),
            };
            entry.fields = fields()?;
            entry.uncertain = fields()?;
        }
        Ok(entry)
    }
}

/// The error for a snapshot whose files are not those that the table was read from.
fn moved(files: &[SnapshotFile]) -> SourceError {
    let path = files.first().map(|f| f.path.display().to_string()).unwrap_or_default();
    SourceError::format(path, "was changed while it was read; run again")
}

/// Slots are rows of the one file: their row groups are read side by side.
fn by_row(file: &SnapshotFile, slots: &[u32], threads: usize) -> Result<Vec<u64>, SourceError> {
    let mut jobs = Vec::new();
    let mut first = 0;
    for (group, rows) in file.groups.iter().enumerate() {
        let range = slots.partition_point(|s| (*s as usize) < first)..slots.partition_point(|s| (*s as usize) < first + rows);
        if !range.is_empty() {
            jobs.push((group, first, &slots[range]));
        }
        first += rows;
    }
    let count = jobs.len();
    let jobs = Mutex::new(jobs.into_iter().enumerate());
    let parts = Mutex::new(vec![Vec::new(); count]);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<(), SourceError> {
        while let Some((i, (group, first, wanted))) = next() {
            let mut upper = Vec::with_capacity(wanted.len());
            let mut column = file.row_hi(group)?;
            let mut chunk = Vec::new();
            let mut start = first;
            for slot in wanted {
                while *slot as usize >= start + chunk.len() {
                    start += chunk.len();
                    if !column.next(&mut chunk)? {
                        return Err(moved(std::slice::from_ref(file)));
                    }
                }
                upper.push(chunk[*slot as usize - start] as u64);
            }
            parts.lock().unwrap_or_else(PoisonError::into_inner)[i] = upper;
        }
        Ok(())
    };
    super::side_by_side(threads.min(count), &work)?;
    Ok(parts.into_inner().unwrap_or_else(PoisonError::into_inner).concat())
}

/// Slots are merged rows: the merge runs once more.
fn by_key(files: &[SnapshotFile], table: &Table, slots: &[u32]) -> Result<Vec<u64>, SourceError> {
    let mut upper = Vec::with_capacity(slots.len());
    if slots.is_empty() {
        return Ok(upper);
    }
    let mut wanted = slots.iter();
    let mut next = wanted.next();
    for row in Hashes::new(files)? {
        let Some(slot) = next.map(|s| table.slot(*s)) else { break };
        let row = row?;
        if (row.key >> 64) as u64 == slot.key && (row.key >> 32) as u32 == slot.key_low {
            upper.push((row.row >> 64) as u64);
            next = wanted.next();
        }
    }
    if upper.len() != slots.len() {
        return Err(moved(files));
    }
    Ok(upper)
}

/// Bytes at offsets: in memory up to a budget, then in a scratch file.
struct Blob {
    bytes: Vec<u8>,
    length: u64,
    budget: usize,
    file: Option<BufWriter<File>>,
    scratch: PathBuf,
}

impl Blob {
    fn new(scratch: &Path, budget: usize) -> Blob {
        Blob { bytes: Vec::new(), length: 0, budget, file: None, scratch: scratch.to_owned() }
    }

    /// Adds bytes; returns their offset.
    fn add(&mut self, bytes: &[u8]) -> Result<u64, SourceError> {
        let offset = self.length;
        self.length += bytes.len() as u64;
        let fail = |e: std::io::Error| SourceError::io(&self.scratch, "hold scratch data", &e);
        if self.file.is_none() && self.bytes.len() + bytes.len() <= self.budget {
            self.bytes.extend_from_slice(bytes);
            return Ok(offset);
        }
        if self.file.is_none() {
            let mut file = BufWriter::with_capacity(256 << 10, tempfile::tempfile_in(&self.scratch).map_err(fail)?);
            file.write_all(&self.bytes).map_err(fail)?;
            self.bytes = Vec::new();
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes).map_err(fail)?;
        }
        Ok(offset)
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        match &mut self.file {
            Some(file) => file.flush().map_err(|e| SourceError::io(&self.scratch, "hold scratch data", &e)),
            None => Ok(()),
        }
    }

    fn read(&self, from: u64, to: u64) -> Result<Vec<u8>, SourceError> {
        match &self.file {
            None => self.bytes.get(from as usize..to as usize).map(<[u8]>::to_vec).ok_or_else(|| self.corrupt()),
            Some(file) => {
                let mut bytes = vec![0; (to - from) as usize];
                read_exact_at(file.get_ref(), &mut bytes, from)
                    .map_err(|e| SourceError::io(&self.scratch, "give scratch data back", &e))?;
                Ok(bytes)
            }
        }
    }

    fn corrupt(&self) -> SourceError {
        SourceError::format(self.scratch.display().to_string(), "holds scratch data that was changed from outside; run again")
    }
}
