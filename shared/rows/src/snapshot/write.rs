//! Snapshot files written: deltas from a run's rows, new bases from a base and its deltas. It must not decide what a delta holds.

use super::merge::{Merged, names_of, reorders};
use super::read::{Positions, RawEntry, open_all};
use super::sort::Sorter;
use super::{COLUMNS, FIELDS_KEY, FORMAT, FORMAT_KEY};
use crate::error::{ErrorKind, SourceError};
use arrow_array::builder::{StringBuilder, UInt8Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use engine::model::change::{DeltaRow, EntryState};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::NamedTempFile;

/// Rows of a row group; several, so that threads can read a base side by side.
const GROUP_ROWS: usize = 256 << 10;
/// Bytes of a row group, which is held in memory until it is whole.
const GROUP_BYTES: usize = 32 << 20;
/// Rows of a page of keys or fields: reading one row in two hundred then unpacks about a quarter.
const PAGE_ROWS: usize = 64;
const UNCERTAIN_PAGE_BYTES: usize = 16 << 10;
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;

/// What a delta holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaSummary {
    /// Rows in the file.
    pub rows: u64,
}

/// What a new base holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactSummary {
    /// Rows in the file.
    pub rows: u64,
    /// Entries of the merged files, older ones of the same key and those that are gone included.
    pub read: u64,
}

/// Writes the rows of a delta (or of a first base) to `to`, sorted, whole or not at all, and on disk when this returns. Of rows with one
/// key hash the last one counts. `fields: None` in an uncertain or given-up change or removal means the fields of the older entry.
///
/// # Errors
/// No space or no access at `to` or `scratch`.
pub fn write_delta(
    rows: impl Iterator<Item = DeltaRow>,
    field_names: &[String],
    to: &Path,
    scratch: &Path,
) -> Result<DeltaSummary, SourceError> {
    let mut sorter = Sorter::new(scratch);
    for row in rows {
        sorter.push(&row)?;
    }
    let mut writer = SnapshotWriter::create(to, field_names)?;
    sorter.finish(|entry| writer.push(&entry))?;
    Ok(DeltaSummary { rows: writer.finish()? })
}

/// Merges a base and its deltas (oldest first) into a new base at `to`, streaming; what is gone is left out.
///
/// # Errors
/// A file that is missing, torn or no snapshot; no space or no access at `to`.
pub fn compact(files: &[PathBuf], to: &Path) -> Result<CompactSummary, SourceError> {
    let files = open_all(files)?;
    let names = names_of(&files);
    let reorders = reorders(&files, &names);
    let read = files.iter().map(|f| f.rows() as u64).sum();
    let mut writer = SnapshotWriter::create(to, &names)?;
    let mut merged = Merged::new(&files, &Positions::All)?;
    while let Some(mut entry) = merged.next()? {
        if entry.raw.state == EntryState::Gone {
            continue;
        }
        for (text, of) in [(&mut entry.raw.fields, entry.fields_of), (&mut entry.raw.uncertain, entry.uncertain_of)] {
            if let Some(json) = text
                && !reorders[of].is_identity()
            {
                *json = serde_json::Value::Array(reorders[of].fields(json)?).to_string();
            }
        }
        writer.push(&entry.raw)?;
    }
    Ok(CompactSummary { rows: writer.finish()?, read })
}

/// Remembers the system's error, which Parquet's own would turn into text.
struct Remembering {
    file: File,
    error: Arc<std::sync::Mutex<Option<io::Error>>>,
}

impl Remembering {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| {
            let copy = io::Error::new(e.kind(), e.to_string());
            *self.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(e);
            copy
        })
    }
}

impl Write for Remembering {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.note(result)
    }
}

struct SnapshotWriter {
    to: PathBuf,
    temporary: NamedTempFile,
    writer: ArrowWriter<Remembering>,
    error: Arc<std::sync::Mutex<Option<io::Error>>>,
    schema: Arc<Schema>,
    hashes: [UInt64Builder; 4],
    state: UInt8Builder,
    texts: [StringBuilder; 3],
    batch_rows: usize,
    batch_bytes: usize,
    rows: u64,
}

fn schema() -> Schema {
    let field = |i: usize| match i {
        0..=3 => Field::new(COLUMNS[i], DataType::UInt64, false),
        4 => Field::new(COLUMNS[i], DataType::UInt8, false),
        _ => Field::new(COLUMNS[i], DataType::Utf8, i != 5),
    };
    Schema::new((0..COLUMNS.len()).map(field).collect::<Vec<_>>())
}

fn properties(field_names: &[String]) -> WriterProperties {
    let names = serde_json::Value::from(field_names.to_vec()).to_string();
    let mut builder = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_write_batch_size(PAGE_ROWS)
        .set_dictionary_enabled(false)
        .set_compression(Compression::UNCOMPRESSED)
        .set_key_value_metadata(Some(vec![
            KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_owned()),
            KeyValue::new(FIELDS_KEY.to_owned(), names),
        ]));
    for (i, name) in COLUMNS.iter().enumerate() {
        let column = ColumnPath::from(*name);
        builder = match i {
            // All states of a page are mostly one: run lengths of a dictionary take next to nothing.
            4 => builder.set_column_dictionary_enabled(column, true),
            5 => builder.set_column_data_page_row_count_limit(column, PAGE_ROWS),
            6 => {
                builder.set_column_data_page_row_count_limit(column.clone(), PAGE_ROWS).set_column_compression(column, Compression::LZ4_RAW)
            }
            // Mostly all null, which the statistics tell; then it is not even opened.
            7 => builder
                .set_column_data_page_size_limit(column.clone(), UNCERTAIN_PAGE_BYTES)
                .set_column_statistics_enabled(column.clone(), EnabledStatistics::Chunk)
                .set_column_compression(column, Compression::LZ4_RAW),
            _ => builder,
        };
    }
    builder.build()
}

impl SnapshotWriter {
    fn create(to: &Path, field_names: &[String]) -> Result<SnapshotWriter, SourceError> {
        let fail = |e: io::Error| SourceError::io(to, "be written", &e);
        let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new().prefix(".snapshot-").tempfile_in(folder).map_err(fail)?;
        let error = Arc::new(std::sync::Mutex::new(None));
        let file = Remembering { file: temporary.as_file().try_clone().map_err(fail)?, error: error.clone() };
        let schema = Arc::new(schema());
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties(field_names)))
            .map_err(|e| SourceError::new(ErrorKind::Io, to.display().to_string(), format!("cannot be written: {e}")))?;
        Ok(SnapshotWriter {
            to: to.to_owned(),
            temporary,
            writer,
            error,
            schema,
            hashes: Default::default(),
            state: UInt8Builder::new(),
            texts: Default::default(),
            batch_rows: 0,
            batch_bytes: 0,
            rows: 0,
        })
    }

    fn fail(&self, e: &ParquetError) -> SourceError {
        match self.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_ref() {
            Some(io) => SourceError::io(&self.to, "be written", io),
            None => SourceError::new(ErrorKind::Io, self.to.display().to_string(), format!("cannot be written: {e}")),
        }
    }

    /// Adds an entry; key hashes must ascend.
    fn push(&mut self, entry: &RawEntry) -> Result<(), SourceError> {
        let hashes = [entry.key_hash >> 64, entry.key_hash, entry.row_hash >> 64, entry.row_hash];
        for (builder, hash) in self.hashes.iter_mut().zip(hashes) {
            builder.append_value(hash as u64);
        }
        self.state.append_value(entry.state as u8);
        self.texts[0].append_value(&entry.key);
        self.texts[1].append_option(entry.fields.as_deref());
        self.texts[2].append_option(entry.uncertain.as_deref());
        let texts = [Some(&entry.key), entry.fields.as_ref(), entry.uncertain.as_ref()];
        self.batch_rows += 1;
        self.batch_bytes += texts.into_iter().flatten().map(String::len).sum::<usize>();
        self.rows += 1;
        if self.batch_rows >= BATCH_ROWS || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(COLUMNS.len());
        columns.extend(self.hashes.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.push(Arc::new(self.state.finish()));
        columns.extend(self.texts.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        self.batch_rows = 0;
        self.batch_bytes = 0;
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|e| SourceError::format(self.to.display().to_string(), format!("cannot be written: {e}")))?;
        self.writer.write(&batch).map_err(|e| self.fail(&e))
    }

    /// Makes the file whole, durable and visible; returns its rows.
    fn finish(mut self) -> Result<u64, SourceError> {
        self.flush()?;
        if let Err(e) = self.writer.finish() {
            return Err(self.fail(&e));
        }
        let fail = |e: io::Error| SourceError::io(&self.to, "be written", &e);
        self.temporary.as_file().sync_all().map_err(fail)?;
        self.temporary.persist(&self.to).map_err(|e| fail(e.error))?;
        sync_folder(&self.to).map_err(fail)?;
        Ok(self.rows)
    }
}

/// Makes the rename durable; systems that cannot open folders do not need it.
fn sync_folder(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}
