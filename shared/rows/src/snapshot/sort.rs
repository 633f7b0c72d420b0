//! Delta rows sorted by key hash in bounded memory: sorted runs in a scratch file, merged. It must not know Parquet.

use crate::cell::{decode_text, take};
use crate::error::SourceError;
use crate::snapshot::read::RawEntry;
use crate::snapshot::state_of;
use crate::source::positioned::read_at;
use engine::model::change::DeltaRow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of rows sorted in memory at a time.
const RUN: usize = 32 << 20;
/// Bytes read ahead of each run while merging.
const AHEAD: usize = 64 << 10;

/// Takes rows in any order; of rows with one key the last one counts.
pub(crate) struct Sorter {
    scratch: PathBuf,
    run: usize,
    bytes: Vec<u8>,
    /// Key hash and offset in `bytes`.
    index: Vec<(u128, u32)>,
    file: Option<BufWriter<File>>,
    /// Where the runs in the file end.
    ends: Vec<u64>,
}

impl Sorter {
    pub fn new(scratch: &Path) -> Sorter {
        Sorter::with_run(scratch, RUN)
    }

    fn with_run(scratch: &Path, run: usize) -> Sorter {
        Sorter { scratch: scratch.to_owned(), run, bytes: Vec::new(), index: Vec::new(), file: None, ends: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: &DeltaRow) -> Result<(), SourceError> {
        self.index.push((row.key_hash, self.bytes.len() as u32));
        encode(row, &mut self.bytes);
        if self.bytes.len() >= self.run {
            self.spill()?;
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.index.sort_unstable();
    }

    fn spill(&mut self) -> Result<(), SourceError> {
        self.sort();
        let fail = |e: std::io::Error| SourceError::io(&self.scratch, "hold scratch data", &e);
        if self.file.is_none() {
            self.file = Some(BufWriter::with_capacity(256 << 10, tempfile::tempfile_in(&self.scratch).map_err(fail)?));
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut written = self.ends.last().copied().unwrap_or_default();
        for (_, at) in &self.index {
            let record = record_at(&self.bytes, *at as usize);
            file.write_all(record).map_err(fail)?;
            written += record.len() as u64;
        }
        self.ends.push(written);
        self.index.clear();
        self.bytes.clear();
        Ok(())
    }

    /// Hands the rows to `take` in the order of their key hashes, each key once.
    pub fn finish(mut self, mut take: impl FnMut(RawEntry) -> Result<(), SourceError>) -> Result<(), SourceError> {
        if self.ends.is_empty() {
            self.sort();
            for (i, (key, at)) in self.index.iter().enumerate() {
                if self.index.get(i + 1).is_none_or(|next| next.0 != *key) {
                    take(self.decode(record_at(&self.bytes, *at as usize))?)?;
                }
            }
            return Ok(());
        }
        self.spill()?;
        self.bytes = Vec::new();
        self.index = Vec::new();
        let fail = |e: std::io::Error| SourceError::io(&self.scratch, "hold scratch data", &e);
        let Some(file) = self.file.take() else { return Ok(()) };
        let file = Arc::new(file.into_inner().map_err(|e| fail(e.into_error()))?);
        let mut runs: Vec<Run> = Vec::new();
        let mut heap = BinaryHeap::new();
        for (i, end) in self.ends.iter().enumerate() {
            let from = if i == 0 { 0 } else { self.ends[i - 1] };
            let mut run = Run { file: file.clone(), at: from, end: *end, buffer: Vec::new(), next: 0 };
            if let Some(key) = run.peek().map_err(fail)? {
                heap.push(Reverse((key, i)));
            }
            runs.push(run);
        }
        let mut last: Option<RawEntry> = None;
        while let Some(Reverse((_, i))) = heap.pop() {
            let record = self.decode(runs[i].record())?;
            if let Some(before) = last.replace(record)
                && last.as_ref().is_some_and(|l| l.key_hash != before.key_hash)
            {
                take(before)?;
            }
            runs[i].step();
            if let Some(key) = runs[i].peek().map_err(fail)? {
                heap.push(Reverse((key, i)));
            }
        }
        last.map_or(Ok(()), take)
    }

    fn decode(&self, record: &[u8]) -> Result<RawEntry, SourceError> {
        decode(record).ok_or_else(|| {
            SourceError::format(self.scratch.display().to_string(), "holds scratch data that was changed from outside; run again")
        })
    }
}

/// One sorted run of the scratch file.
struct Run {
    file: Arc<File>,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    next: usize,
}

impl Run {
    /// The key of the next record, which is then whole in the buffer.
    fn peek(&mut self) -> std::io::Result<Option<u128>> {
        loop {
            let there = &self.buffer[self.next..];
            if let Some(length) = there.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
                && there.len() >= length as usize
                && let Some(key) = there.get(4..20).and_then(|b| b.try_into().ok())
            {
                return Ok(Some(u128::from_le_bytes(key)));
            }
            let ahead = (AHEAD as u64).min(self.end - self.at) as usize;
            if ahead == 0 {
                return if there.is_empty() { Ok(None) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) };
            }
            self.buffer.drain(..self.next);
            self.next = 0;
            let from = self.buffer.len();
            self.buffer.resize(from + ahead, 0);
            let read = read_at(&self.file, &mut self.buffer[from..], self.at)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.truncate(from + read);
            self.at += read as u64;
        }
    }

    fn record(&self) -> &[u8] {
        record_at(&self.buffer, self.next)
    }

    fn step(&mut self) {
        self.next += self.record().len();
    }
}

fn record_at(bytes: &[u8], at: usize) -> &[u8] {
    let length = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    bytes.get(at..at + length).unwrap_or_default()
}

/// Length, key hash, row hash, state, then key, fields and uncertain fields, each behind its length.
fn encode(row: &DeltaRow, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&row.key_hash.to_le_bytes());
    out.extend_from_slice(&row.entry.row_hash.to_le_bytes());
    out.push(row.entry.state as u8);
    out.extend_from_slice(&(row.key.len() as u32).to_le_bytes());
    out.extend_from_slice(row.key.as_bytes());
    for fields in [&row.entry.fields, &row.entry.uncertain] {
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        // No fields are an empty text, which no JSON array is.
        if let Some(fields) = fields {
            write_json(fields, out);
        }
        let length = (out.len() - length_at - 4) as u32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn write_json(fields: &[serde_json::Value], out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, fields).is_err() {
        // Neither values nor memory can refuse; a list without fields is the harmless reading if they ever do.
        out.truncate(start);
        out.extend_from_slice(b"[]");
    }
}

fn decode(mut record: &[u8]) -> Option<RawEntry> {
    let input = &mut record;
    take(input, 4)?;
    let key_hash = u128::from_le_bytes(take(input, 16)?.try_into().ok()?);
    let row_hash = u128::from_le_bytes(take(input, 16)?.try_into().ok()?);
    let state = state_of(take(input, 1)?[0])?;
    let key = decode_text(input)?.to_owned();
    let mut fields = || decode_text(input).map(|s| (!s.is_empty()).then(|| s.to_owned()));
    Some(RawEntry { key_hash, row_hash, state, key, fields: fields()?, uncertain: fields()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::model::change::{Entry, EntryState};
    use serde_json::json;

    fn row(key: u128, mark: i64) -> DeltaRow {
        let entry = Entry { state: EntryState::Delivered, row_hash: key, fields: Some(vec![json!(mark), json!(null)]), uncertain: None };
        DeltaRow { key_hash: key, key: format!("k{key}"), entry }
    }

    #[test]
    fn rows_come_out_sorted_and_the_last_of_a_key_counts_in_memory_and_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        for run in [RUN, 2000, 1] {
            let mut sorter = Sorter::with_run(dir.path(), run);
            for i in 0..500u128 {
                sorter.push(&row(i * 7919 % 250, i as i64)).unwrap();
            }
            let mut out = Vec::new();
            sorter
                .finish(|e| {
                    out.push((e.key_hash, e.fields.unwrap()));
                    Ok(())
                })
                .unwrap();
            assert_eq!(out.len(), 250);
            assert!(out.is_sorted());
            for (key, fields) in out {
                let last = (250..500u128).find(|i| i * 7919 % 250 == key).unwrap();
                assert_eq!(fields, format!("[{last},null]"), "run of {run} bytes");
            }
        }
    }
}
