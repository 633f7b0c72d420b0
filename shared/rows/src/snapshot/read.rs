//! One snapshot file: its hash columns as a stream, and whole entries at chosen rows. It must not merge files.

use super::{COLUMNS, FIELDS, FIELDS_KEY, FORMAT, FORMAT_KEY, KEY, KEY_HI, KEY_LO, ROW_HI, ROW_LO, STATE, UNCERTAIN, state_of};
use crate::error::{ErrorKind, SourceError};
use crate::source::positioned::PositionedFile;
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, StringArray};
use engine::model::change::EntryState;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many rows of hashes are read at a time.
const CHUNK: usize = 8192;

/// An open snapshot file whose footer is checked.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    pub path: PathBuf,
    pub fields: Arc<[String]>,
    /// Rows of each row group.
    pub groups: Vec<usize>,
    reader: PositionedFile,
    hashes: Arc<SerializedFileReader<PositionedFile>>,
}

/// Opens the files of a snapshot, base first.
pub(crate) fn open_all(files: &[PathBuf]) -> Result<Vec<SnapshotFile>, SourceError> {
    files.iter().map(|path| SnapshotFile::open(path)).collect()
}

/// The hashes and the state of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashRow {
    pub key: u128,
    pub row: u128,
    pub state: EntryState,
}

/// Columns of consecutive rows, as they are read.
#[derive(Default)]
pub(crate) struct HashChunk {
    pub key_hi: Vec<i64>,
    pub key_lo: Vec<i64>,
    pub row_hi: Vec<i64>,
    pub row_lo: Vec<i64>,
    pub state: Vec<i32>,
}

impl SnapshotFile {
    pub fn open(path: &Path) -> Result<SnapshotFile, SourceError> {
        let reader = PositionedFile::open(path).map_err(|e| SourceError::io(path, "be read", &e))?;
        let hashes = SerializedFileReader::new(reader.clone()).map_err(|e| broken(path, &e))?;
        let metadata = hashes.metadata();
        let value = |key: &str| {
            let all = metadata.file_metadata().key_value_metadata()?;
            all.iter().find(|kv| kv.key == key)?.value.clone()
        };
        let columns: Vec<&str> = metadata.file_metadata().schema_descr().columns().iter().map(|c| c.name()).collect();
        let fields = value(FIELDS_KEY).and_then(|json| serde_json::from_str::<Vec<String>>(&json).ok());
        let fields = match (value(FORMAT_KEY).as_deref(), fields) {
            (Some(FORMAT), Some(fields)) if columns == COLUMNS => fields,
            (Some(format), _) if format != FORMAT => {
                let message =
                    format!("is a snapshot of format {format}, this program reads format {FORMAT}; use the version that wrote it");
                return Err(SourceError::format(path.display().to_string(), message));
            }
            _ => return Err(SourceError::format(path.display().to_string(), "is not a snapshot; name files that a run wrote")),
        };
        let groups = metadata.row_groups().iter().map(|g| g.num_rows().max(0) as usize).collect();
        Ok(SnapshotFile { path: path.to_owned(), fields: fields.into(), groups, reader, hashes: Arc::new(hashes) })
    }

    /// Rows in the file.
    pub fn rows(&self) -> usize {
        self.groups.iter().sum()
    }

    pub fn broken(&self, e: &ParquetError) -> SourceError {
        broken(&self.path, e)
    }

    pub fn corrupt(&self, what: &str) -> SourceError {
        SourceError::new(
            ErrorKind::Torn,
            self.path.display().to_string(),
            format!("{what}; restore the snapshot or start over with --full"),
        )
    }

    /// The hash columns of a row group from its start. `rows`: whether row hashes are wanted whole, or only their lower half.
    pub fn group(&self, group: usize, rows: bool) -> Result<GroupHashes, SourceError> {
        let reader = self.hashes.get_row_group(group).map_err(|e| self.broken(&e))?;
        let long = |column: usize| match reader.get_column_reader(column) {
            Ok(ColumnReader::Int64ColumnReader(r)) => Ok(r),
            Ok(_) => Err(self.corrupt("has a hash column of another type")),
            Err(e) => Err(self.broken(&e)),
        };
        let state = match reader.get_column_reader(STATE) {
            Ok(ColumnReader::Int32ColumnReader(r)) => r,
            Ok(_) => return Err(self.corrupt("has a state column of another type")),
            Err(e) => return Err(self.broken(&e)),
        };
        Ok(GroupHashes {
            key_hi: long(KEY_HI)?,
            key_lo: long(KEY_LO)?,
            row_hi: if rows { Some(long(ROW_HI)?) } else { None },
            row_lo: long(ROW_LO)?,
            state,
            left: self.groups[group],
            file: self.clone(),
        })
    }

    /// The upper halves of a row group's row hashes.
    pub fn row_hi(&self, group: usize) -> Result<LongColumn, SourceError> {
        let reader = self.hashes.get_row_group(group).map_err(|e| self.broken(&e))?;
        match reader.get_column_reader(ROW_HI) {
            Ok(ColumnReader::Int64ColumnReader(reader)) => Ok(LongColumn { reader, file: self.clone() }),
            Ok(_) => Err(self.corrupt("has a hash column of another type")),
            Err(e) => Err(self.broken(&e)),
        }
    }

    /// Chosen entries, in the order of the file.
    pub fn entries(&self, positions: Positions) -> Result<Entries, SourceError> {
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&self.reader, options).map_err(|e| self.broken(&e))?;
        Ok(Entries { file: self.clone(), metadata, positions, group: 0, first: 0, open: None })
    }
}

fn broken(path: &Path, e: &ParquetError) -> SourceError {
    SourceError::new(
        ErrorKind::Torn,
        path.display().to_string(),
        format!("is not a whole snapshot: {e}; restore it or start over with --full"),
    )
}

/// One column of hashes, chunk by chunk.
pub(crate) struct LongColumn {
    reader: ColumnReaderImpl<Int64Type>,
    file: SnapshotFile,
}

impl LongColumn {
    /// Reads the next chunk; false at the end of the row group.
    pub fn next(&mut self, chunk: &mut Vec<i64>) -> Result<bool, SourceError> {
        chunk.clear();
        self.reader.read_records(CHUNK, None, None, chunk).map_err(|e| self.file.broken(&e))?;
        Ok(!chunk.is_empty())
    }
}

/// The hash columns of one row group, chunk by chunk.
pub(crate) struct GroupHashes {
    key_hi: ColumnReaderImpl<Int64Type>,
    key_lo: ColumnReaderImpl<Int64Type>,
    row_hi: Option<ColumnReaderImpl<Int64Type>>,
    row_lo: ColumnReaderImpl<Int64Type>,
    state: ColumnReaderImpl<Int32Type>,
    left: usize,
    file: SnapshotFile,
}

impl GroupHashes {
    /// Reads the next chunk; false at the end of the row group.
    pub fn next(&mut self, chunk: &mut HashChunk) -> Result<bool, SourceError> {
        let n = CHUNK.min(self.left);
        self.left -= n;
        fn long(reader: &mut ColumnReaderImpl<Int64Type>, n: usize, out: &mut Vec<i64>) -> Result<bool, ParquetError> {
            out.clear();
            Ok(reader.read_records(n, None, None, out)?.0 == n && out.len() == n)
        }
        let mut read = || -> Result<bool, ParquetError> {
            let mut whole = long(&mut self.key_hi, n, &mut chunk.key_hi)?;
            whole &= long(&mut self.key_lo, n, &mut chunk.key_lo)?;
            if let Some(row_hi) = &mut self.row_hi {
                whole &= long(row_hi, n, &mut chunk.row_hi)?;
            }
            whole &= long(&mut self.row_lo, n, &mut chunk.row_lo)?;
            chunk.state.clear();
            whole &= self.state.read_records(n, None, None, &mut chunk.state)?.0 == n && chunk.state.len() == n;
            Ok(whole)
        };
        match read() {
            Ok(true) => Ok(n > 0),
            Ok(false) => Err(self.file.corrupt("has columns of different lengths")),
            Err(e) => Err(self.file.broken(&e)),
        }
    }

    /// The state that a number stands for.
    pub fn state(&self, number: i32) -> Result<EntryState, SourceError> {
        u8::try_from(number).ok().and_then(state_of).ok_or_else(|| self.file.corrupt("holds an unknown state"))
    }
}

/// The key hash whose halves lie in two columns.
pub(crate) fn join(hi: i64, lo: i64) -> u128 {
    u128::from(hi as u64) << 64 | u128::from(lo as u64)
}

/// Which entries of a file are wanted.
#[derive(Clone)]
pub(crate) enum Positions {
    All,
    /// Row numbers within the file, ascending.
    Rows(Arc<Vec<u32>>),
    /// The upper 96 bits of key hashes, ascending; those that the file does not hold are left out.
    Keys(Arc<Vec<(u64, u32)>>),
}

/// An entry as it lies in a file; fields are JSON arrays in the order of the file's field names.
#[derive(Clone, Debug)]
pub(crate) struct RawEntry {
    pub key_hash: u128,
    pub row_hash: u128,
    pub state: EntryState,
    pub key: String,
    pub fields: Option<String>,
    pub uncertain: Option<String>,
}

/// Entries of one file, in the order of their key hashes. Texts come from Arrow's reader, which skips the pages that nobody wants; hashes
/// come from their columns as a whole, since hardly a page of those would be skipped.
pub(crate) struct Entries {
    file: SnapshotFile,
    metadata: ArrowReaderMetadata,
    positions: Positions,
    /// The next row group and the number of its first row.
    group: usize,
    first: usize,
    open: Option<OpenGroup>,
}

/// The row group that is being read.
struct OpenGroup {
    texts: ParquetRecordBatchReader,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    next: usize,
    hashes: GroupHashes,
    chunk: HashChunk,
    /// The row of the group that the chunk starts with.
    start: usize,
    /// The chosen rows of the group; without them, all.
    rows: Option<Vec<u32>>,
    /// How many entries there are to read, and how many were.
    wanted: usize,
    read: usize,
}

impl Entries {
    /// The next entry.
    pub fn next(&mut self) -> Result<Option<RawEntry>, SourceError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(entry) = open.next(&self.file)? {
                    return Ok(Some(entry));
                }
                self.open = None;
            }
            if !self.open_group()? {
                return Ok(None);
            }
        }
    }

    /// Opens the next row group that holds wanted rows.
    fn open_group(&mut self) -> Result<bool, SourceError> {
        while self.group < self.file.groups.len() {
            let (group, first, total) = (self.group, self.first, self.file.groups[self.group]);
            self.group += 1;
            self.first += total;
            let rows: Option<Vec<u32>> = match &self.positions {
                Positions::All => None,
                Positions::Rows(rows) => {
                    let from = rows.partition_point(|r| (*r as usize) < first);
                    let to = rows.partition_point(|r| (*r as usize) < first + total);
                    Some(rows[from..to].iter().map(|r| r - first as u32).collect())
                }
                Positions::Keys(keys) => Some(self.locate(group, keys)?),
            };
            if total == 0 || rows.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let texts = self.texts(group, total, rows.as_deref()).map_err(|e| self.file.broken(&e))?;
            let hashes = self.file.group(group, true)?;
            let wanted = rows.as_ref().map_or(total, Vec::len);
            self.open =
                Some(OpenGroup { texts, batch: None, next: 0, hashes, chunk: HashChunk::default(), start: 0, rows, wanted, read: 0 });
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads the texts of a row group's chosen rows; the column of uncertain fields only where there are any.
    fn texts(&self, group: usize, total: usize, rows: Option<&[u32]>) -> Result<ParquetRecordBatchReader, ParquetError> {
        let nulls = self.metadata.metadata().row_group(group).column(UNCERTAIN).statistics().and_then(|s| s.null_count_opt());
        let columns = if nulls == Some(total as u64) { &[KEY, FIELDS][..] } else { &[KEY, FIELDS, UNCERTAIN] };
        let projection = ProjectionMask::leaves(self.metadata.parquet_schema(), columns.iter().copied());
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.reader.clone(), self.metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(projection)
            .with_batch_size(256);
        if let Some(rows) = rows {
            let ranges = rows.iter().map(|r| *r as usize..*r as usize + 1);
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(ranges, total));
        }
        builder.build()
    }

    /// Where the wanted keys stand in a row group.
    fn locate(&self, group: usize, keys: &[(u64, u32)]) -> Result<Vec<u32>, SourceError> {
        let mut hashes = self.file.group(group, false)?;
        let mut chunk = HashChunk::default();
        let mut found = Vec::new();
        let mut row = 0;
        let mut at = None;
        while hashes.next(&mut chunk)? {
            for (hi, lo) in chunk.key_hi.iter().zip(&chunk.key_lo) {
                let key = (*hi as u64, (*lo as u64 >> 32) as u32);
                let mut next = at.unwrap_or_else(|| keys.partition_point(|k| *k < key));
                while keys.get(next).is_some_and(|k| *k < key) {
                    next += 1;
                }
                at = Some(next);
                if keys.get(next) == Some(&key) {
                    found.push(row);
                }
                row += 1;
            }
        }
        Ok(found)
    }
}

impl OpenGroup {
    fn next(&mut self, file: &SnapshotFile) -> Result<Option<RawEntry>, SourceError> {
        while self.batch.as_ref().is_none_or(|b| self.next == b.num_rows()) {
            self.next = 0;
            self.batch = match self.texts.next() {
                Some(Ok(batch)) => Some(batch),
                Some(Err(e)) => return Err(file.corrupt(&format!("cannot be decoded ({e})"))),
                None if self.read != self.wanted => return Err(file.corrupt("has columns of different lengths")),
                None => return Ok(None),
            };
        }
        let row = match &self.rows {
            Some(rows) => rows.get(self.read).copied().map_or(usize::MAX, |r| r as usize),
            None => self.read,
        };
        while row >= self.start + self.chunk.key_hi.len() {
            self.start += self.chunk.key_hi.len();
            if !self.hashes.next(&mut self.chunk)? {
                return Err(file.corrupt("has columns of different lengths"));
            }
        }
        let at = row - self.start;
        let texts = self.batch.as_ref().and_then(|batch| texts(batch, self.next));
        let Some((key, fields, uncertain)) = texts else { return Err(file.corrupt("has a text column of another type")) };
        self.next += 1;
        self.read += 1;
        Ok(Some(RawEntry {
            key_hash: join(self.chunk.key_hi[at], self.chunk.key_lo[at]),
            row_hash: join(self.chunk.row_hi[at], self.chunk.row_lo[at]),
            state: self.hashes.state(self.chunk.state[at])?,
            key,
            fields,
            uncertain,
        }))
    }
}

/// Key, fields and uncertain fields of a batch's row.
fn texts(batch: &RecordBatch, row: usize) -> Option<(String, Option<String>, Option<String>)> {
    let text = |column: usize| -> Option<Option<String>> {
        if column == batch.num_columns() {
            return Some(None);
        }
        let array: &StringArray = batch.column(column).as_string_opt::<i32>()?;
        Some(array.is_valid(row).then(|| array.value(row).to_owned()))
    };
    Some((text(0)??, text(1)?, text(2)?))
}
