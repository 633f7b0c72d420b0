//! The first rows of a source, for showing what a template makes of them and for checking columns. It must not read further than it has to.

use crate::cell::Cell;
use crate::columns::{Columns, Selection, no_column};
use crate::error::{Fault, SourceError};
use crate::request::{FieldMapping, Format, Sample, Source};
use crate::source::csv::{self, Ending};
use crate::source::ndjson::{Members, Parser};
use crate::source::parquet::ParquetInput;
use crate::source::text::{Buffer, TextInput};
use crate::source::{RowSink, files, open};
use engine::model::change::Fields;
use std::sync::Arc;

/// Reads the first `limit` valid rows. Duplicate keys are not looked for. Where a query is the source and `limit` is 0, the query is
/// described and not executed.
///
/// # Errors
/// As for [`crate::diff`], as far as the source is read: a missing file or column, a header that cannot be read. For NDJSON, a mapped
/// member that no sampled row has is an error only if there are no further rows.
pub fn sample(source: &Source, primary_key: &[String], fields: &[FieldMapping], limit: usize) -> Result<Sample, SourceError> {
    let selection = Selection { key: primary_key.to_vec(), fields: fields.to_vec(), ignore: Vec::new() };
    selection.check(&source.shown())?;
    let opened = open(source)?;
    let files = Arc::new(opened.files);
    let mut taken = Taken { limit, rows: Vec::new(), key: String::new() };
    let shown = |fault: Fault| SourceError::new(fault.kind, &files[fault.file as usize].shown, fault.message);
    match files[0].format {
        Format::Parquet => {
            let input = ParquetInput::open(&files, &selection)?;
            for slice in &input.slices {
                let read = input.read(slice, |batch, shape, first| {
                    shape.rows(batch, first, &input.columns, &mut taken);
                    taken.rows.len() < limit
                });
                read.map_err(shown)?;
                if taken.rows.len() >= limit {
                    break;
                }
            }
            Ok(taken.finish(&input.columns, input.header.clone(), None))
        }
        Format::Csv => {
            let mut input = TextInput::new(files.clone(), selection)?;
            let columns = input.columns().unwrap_or_default();
            let mut buffer = Buffer::default();
            while taken.rows.len() < limit
                && let Some(block) = input.next_block(&mut buffer).map_err(shown)?
            {
                if let Some(shape) = &block.shape {
                    csv::parse(buffer.records(), shape, &columns, block.open_end, &mut taken);
                }
            }
            Ok(taken.finish(&columns, input.header.clone(), None))
        }
        Format::Ndjson => sample_ndjson(files, selection, opened.header, taken),
    }
}

fn sample_ndjson(
    files: Arc<Vec<files::SourceFile>>,
    selection: Selection,
    header: Option<Vec<String>>,
    mut taken: Taken,
) -> Result<Sample, SourceError> {
    let union = selection.fields.is_empty() && header.is_none();
    let columns = match &header {
        Some(header) => Columns::of_header(&selection, header, &files[0].shown)?,
        None => Columns::without_header(&selection),
    };
    if let (Some(header), 0) = (&header, taken.limit) {
        return Ok(taken.finish(&columns, header.clone(), None));
    }
    let members = Arc::new(Members::new(columns, union));
    let mut input = TextInput::new(files.clone(), selection)?;
    let mut parser = Parser::new(members.clone());
    let mut buffer = Buffer::default();
    let mut ended = false;
    while taken.rows.len() < taken.limit {
        let fault = |f: Fault| SourceError::new(f.kind, &files[f.file as usize].shown, f.message);
        let Some(block) = input.next_block(&mut buffer).map_err(fault)? else {
            ended = true;
            break;
        };
        let place = &files[block.file as usize].shown;
        match parser.parse(buffer.records(), block.index, block.open_end, &mut taken) {
            Ok(Ending::Whole | Ending::Torn { .. }) => {}
            Err(message) => return Err(SourceError::format(place, message)),
        }
    }
    let (columns, first, others) = members.settle();
    if let Some(header) = header {
        return Ok(taken.finish(&columns, header, None));
    }
    let mut seen: Vec<_> = columns.names.iter().zip(&first).filter_map(|(name, f)| Some(((*f)?, name.clone()))).collect();
    seen.sort();
    let mut there: Vec<String> = seen.into_iter().map(|(_, name)| name).collect();
    there.extend(others);
    if let Some(missing) = first.iter().position(Option::is_none)
        && ended
        && !taken.rows.is_empty()
    {
        return Err(no_column(&columns.names[missing], &there, &files[0].shown));
    }
    let mut order: Vec<usize> = (0..columns.fields.len()).collect();
    if union {
        order.sort_by_key(|field| first[columns.fields[*field].slot].unwrap_or((u32::MAX, 0, 0)));
    }
    Ok(taken.finish(&columns, there, Some(order)))
}

/// Keeps the first valid rows.
struct Taken {
    limit: usize,
    /// Key, and the fields as they are numbered in the columns.
    rows: Vec<(String, Fields)>,
    key: String,
}

impl Taken {
    fn finish(self, columns: &Columns, header: Vec<String>, order: Option<Vec<usize>>) -> Sample {
        let order = order.unwrap_or_else(|| (0..columns.fields.len()).collect());
        let arrange = |fields: Fields| order.iter().map(|i| fields.get(*i).cloned().unwrap_or_default()).collect();
        Sample {
            field_names: order.iter().map(|i| columns.fields[*i].to.clone()).collect(),
            columns: header,
            rows: self.rows.into_iter().map(|(key, fields)| (key, arrange(fields))).collect(),
        }
    }
}

impl<'a> RowSink<'a> for Taken {
    fn row(&mut self, _: u32, cells: &mut Vec<Cell<'a>>, columns: &Columns) {
        if self.rows.len() < self.limit && columns.key_text(cells, &mut self.key).is_ok() {
            let value = |slot: usize| cells.get(slot).map(Cell::to_value).unwrap_or_default();
            self.rows.push((self.key.clone(), columns.fields.iter().map(|f| value(f.slot)).collect()));
        }
    }

    fn invalid(&mut self, _: u32, _: Option<String>, _: String, _: &Columns) {}
}
