//! Parquet files as slices of rows that threads take in turn. It must not know how cells are hashed.

use super::RowSink;
use super::arrow::{View, check_type};
use super::files::SourceFile;
use super::positioned::PositionedFile;
use crate::cell::Cell;
use crate::columns::{Columns, Selection};
use crate::error::{ErrorKind, Fault, SourceError};
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::errors::ParquetError;
use parquet::file::reader::Length;
use std::sync::Arc;

/// Large row groups are cut so that all threads have work; small enough to keep a file of one row group busy on a few cores.
const SLICE: usize = 128 << 10;
const BATCH: usize = 4096;

struct Opened {
    reader: PositionedFile,
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    /// By position among the projected columns.
    slots: Vec<usize>,
}

/// Rows of one row group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub file: u32,
    group: usize,
    /// Within the row group.
    from: usize,
    pub rows: usize,
    /// The first row's number in the file, from 0.
    pub first: u64,
}

/// A source's Parquet files, all footers read and checked.
pub(crate) struct ParquetInput {
    files: Vec<Opened>,
    pub columns: Arc<Columns>,
    pub header: Vec<String>,
    pub slices: Vec<Slice>,
}

impl ParquetInput {
    pub fn open(files: &[SourceFile], selection: &Selection) -> Result<ParquetInput, SourceError> {
        let mut columns: Option<Arc<Columns>> = None;
        let mut header = Vec::new();
        let mut opened = Vec::new();
        let mut slices = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let reader = PositionedFile::open(&file.path).map_err(|e| SourceError::io(&file.path, "be read", &e))?;
            let metadata = load(&reader).map_err(|e| broken(&file.shown, &e))?;
            let names: Vec<String> = metadata.schema().fields().iter().map(|f| f.name().clone()).collect();
            let columns = match &columns {
                Some(columns) => columns.clone(),
                None => columns.insert(Arc::new(Columns::of_header(selection, &names, &file.shown)?)).clone(),
            };
            let slots = columns.of_file(selection, &names, &file.shown)?;
            for (field, slot) in metadata.schema().fields().iter().zip(&slots) {
                if slot.is_some() {
                    check_type(field.data_type())
                        .map_err(|e| SourceError::new(ErrorKind::Column, &file.shown, format!("the column \"{}\" {e}", field.name())))?;
                }
            }
            let roots = slots.iter().enumerate().filter(|(_, slot)| slot.is_some()).map(|(i, _)| i);
            let projection = ProjectionMask::roots(metadata.parquet_schema(), roots);
            cut(index as u32, &metadata, &mut slices);
            opened.push(Opened { reader, metadata, projection, slots: slots.into_iter().flatten().collect() });
            if index == 0 {
                header = names;
            }
        }
        Ok(ParquetInput { files: opened, columns: columns.unwrap_or_default(), header, slices })
    }

    /// About how many bytes of all files are read when so many rows of a slice are.
    pub fn bytes_read(&self, slice: &Slice, rows: u32) -> u64 {
        let before: u64 = self.files[..slice.file as usize].iter().map(|f| f.reader.len()).sum();
        let file = &self.files[slice.file as usize];
        let all = file.metadata.metadata().file_metadata().num_rows().max(1) as f64;
        before + (file.reader.len() as f64 * ((slice.first + u64::from(rows)) as f64 / all).min(1.0)) as u64
    }

    /// Hands a slice's rows to `take` batch by batch: the batch, and the first row's number within the slice.
    pub fn read(&self, slice: &Slice, mut take: impl FnMut(&RecordBatch, &Batches<'_>, u32) -> bool) -> Result<(), Fault> {
        let file = &self.files[slice.file as usize];
        let fault = |row: usize, message: String| Fault {
            kind: ErrorKind::Torn,
            file: slice.file,
            at: None,
            message: format!("cannot be decoded near row {}: {message}", slice.first + row as u64 + 1),
        };
        let total = file.metadata.metadata().row_group(slice.group).num_rows() as usize;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.reader.clone(), file.metadata.clone())
            .with_row_groups(vec![slice.group])
            .with_projection(file.projection.clone())
            .with_batch_size(BATCH);
        if slice.rows < total {
            let range = std::iter::once(slice.from..slice.from + slice.rows);
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(range, total));
        }
        let reader = builder.build().map_err(|e| fault(0, e.to_string()))?;
        let view = Batches { slots: &file.slots };
        let mut done = 0;
        for batch in reader {
            let batch = batch.map_err(|e| fault(done, e.to_string()))?;
            if !take(&batch, &view, done as u32) {
                return Ok(());
            }
            done += batch.num_rows();
        }
        if done != slice.rows {
            return Err(fault(done, format!("{} rows are announced, {done} are there", slice.rows)));
        }
        Ok(())
    }
}

/// How a batch's columns fall into slots.
pub(crate) struct Batches<'a> {
    slots: &'a [usize],
}

impl Batches<'_> {
    /// Hands the rows of a batch to the sink.
    pub fn rows<'b, S: RowSink<'b>>(&self, batch: &'b RecordBatch, first: u32, columns: &Columns, sink: &mut S) {
        let views: Vec<View<'b>> = batch.columns().iter().map(|c| View::of(c.as_ref())).collect();
        let mut cells: Vec<Cell<'b>> = Vec::new();
        let mut key = String::new();
        for row in 0..batch.num_rows() {
            cells.clear();
            cells.resize_with(columns.names.len(), Cell::default);
            let mut reason: Option<(usize, String)> = None;
            for (view, &slot) in views.iter().zip(self.slots) {
                match view.cell(row) {
                    Ok(cell) => cells[slot] = cell,
                    Err(fault) => {
                        reason.get_or_insert((slot, fault));
                    }
                }
            }
            let line = first + row as u32;
            match reason {
                None => sink.row(line, &mut cells, columns),
                Some((slot, fault)) => {
                    let readable = !columns.key.contains(&slot) && columns.key_text(&cells, &mut key).is_ok();
                    sink.invalid(line, readable.then(|| key.clone()), format!("the column \"{}\" {fault}", columns.names[slot]), columns);
                }
            }
        }
    }
}

/// Reads the footer. Texts are asked for as views, which share the pages' bytes instead of copying each value.
fn load(reader: &PositionedFile) -> Result<ArrowReaderMetadata, ParquetError> {
    let metadata = ArrowReaderMetadata::load(reader, ArrowReaderOptions::new())?;
    let as_view = |f: &Arc<Field>| match f.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => Arc::new(f.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => f.clone(),
    };
    let fields: Vec<Arc<Field>> = metadata.schema().fields().iter().map(as_view).collect();
    let schema = Schema::new_with_metadata(fields, metadata.schema().metadata().clone());
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), ArrowReaderOptions::new().with_schema(Arc::new(schema)))
}

fn broken(shown: &str, e: &ParquetError) -> SourceError {
    SourceError::new(ErrorKind::Torn, shown, format!("is not a whole Parquet file: {e}; write it again"))
}

fn cut(file: u32, metadata: &ArrowReaderMetadata, slices: &mut Vec<Slice>) {
    let mut first = 0;
    for (group, meta) in metadata.metadata().row_groups().iter().enumerate() {
        let total = meta.num_rows().max(0) as usize;
        let parts = total.div_ceil(SLICE).max(1);
        let each = total.div_ceil(parts);
        let mut from = 0;
        while from < total {
            let rows = each.min(total - from);
            slices.push(Slice { file, group, from, rows, first });
            from += rows;
            first += rows as u64;
        }
    }
}
