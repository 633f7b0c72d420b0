//! The pass over the source: threads take blocks in turn, parse them and look their rows up. It must not interpret what is found.

use super::places::{BlockPlace, Places};
use super::probe::{Context, Probe, Scratch};
use super::side_by_side;
use crate::columns::{Columns, Selection, no_column};
use crate::error::{ErrorKind, Fault, SourceError};
use crate::request::Format;
use crate::source::csv::{self, Ending};
use crate::source::files::SourceFile;
use crate::source::ndjson::{Members, Parser, Position};
use crate::source::parquet::ParquetInput;
use crate::source::text::{Block, Buffer, TextInput};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A source that is open, its columns checked as far as headers tell.
pub(crate) enum Input {
    Csv(Box<TextInput>, Arc<Columns>),
    Ndjson {
        input: Box<TextInput>,
        members: Arc<Members>,
        place: String,
        /// Whether only the rows tell which columns there are.
        without_header: bool,
    },
    Parquet(ParquetInput),
}

impl Input {
    /// `header` is what is known of the columns beside the files.
    pub fn open(files: &Arc<Vec<SourceFile>>, selection: Selection, header: Option<&[String]>) -> Result<Input, SourceError> {
        Ok(match files[0].format {
            Format::Parquet => Input::Parquet(ParquetInput::open(files, &selection)?),
            Format::Csv => {
                let input = TextInput::new(files.clone(), selection)?;
                let columns = input.columns().unwrap_or_default();
                Input::Csv(Box::new(input), columns)
            }
            Format::Ndjson => {
                let place =
                    if files.len() == 1 { files[0].shown.clone() } else { format!("{} and {} more", files[0].shown, files.len() - 1) };
                let members = match header {
                    Some(header) => Members::new(Columns::of_header(&selection, header, &place)?, false),
                    None => Members::new(Columns::without_header(&selection), selection.fields.is_empty()),
                };
                let input = Box::new(TextInput::new(files.clone(), selection)?);
                Input::Ndjson { input, members: Arc::new(members), place, without_header: header.is_none() }
            }
        })
    }
}

/// What the pass leaves besides [`super::probe::Found`].
pub(crate) struct Read {
    pub columns: Arc<Columns>,
    /// The fields in their final order, as numbers into `columns.fields`.
    pub order: Vec<usize>,
    /// Whether only the rows tell which columns there are (NDJSON).
    pub without_header: bool,
    pub places: Places,
}

/// What all threads share while they read.
struct Desk<'w> {
    context: Context<'w>,
    stop: AtomicBool,
    faults: Mutex<Vec<Fault>>,
    failed: Mutex<Option<SourceError>>,
    blocks: Mutex<Vec<BlockPlace>>,
    next_ordinal: AtomicU64,
    rows: AtomicU64,
    progress: &'w (dyn Fn(u64, u64) + Sync),
}

/// Reads the whole source.
pub(crate) fn read(
    files: &[SourceFile],
    input: Input,
    context: Context<'_>,
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Read, SourceError> {
    let desk = Desk {
        context,
        stop: AtomicBool::new(false),
        faults: Mutex::default(),
        failed: Mutex::default(),
        blocks: Mutex::default(),
        next_ordinal: AtomicU64::new(1),
        rows: AtomicU64::new(0),
        progress,
    };
    let without_header = matches!(input, Input::Ndjson { without_header: true, .. });
    let (columns, order, header_lines) = match input {
        Input::Csv(input, columns) => {
            let input = Mutex::new(*input);
            side_by_side(threads, &|| {
                text_worker(&desk, &input, None);
                Ok(())
            })?;
            (columns, None, into_inner(input).header_lines)
        }
        Input::Ndjson { input, members, place, .. } => {
            let input = Mutex::new(*input);
            side_by_side(threads, &|| {
                text_worker(&desk, &input, Some(&members));
                Ok(())
            })?;
            let order = if desk.stop.load(Ordering::Relaxed) { Some(Vec::new()) } else { Some(settle_members(&desk, &members, &place)?) };
            (members.settle().0, order, Vec::new())
        }
        Input::Parquet(input) => {
            let next = AtomicUsize::new(0);
            side_by_side(threads.min(input.slices.len().max(1)), &|| {
                parquet_worker(&desk, &input, &next);
                Ok(())
            })?;
            if !desk.stop.load(Ordering::Relaxed) {
                files.iter().try_for_each(SourceFile::check_unchanged)?;
            }
            (input.columns, None, Vec::new())
        }
    };
    let places = Places::new(into_inner(desk.blocks), files, &header_lines);
    if let Some(e) = into_inner(desk.failed) {
        return Err(e);
    }
    // Blocks before a fault were all parsed, so the first fault is the same for any number of threads.
    let first = into_inner(desk.faults).into_iter().min_by_key(|f| (f.file, f.at.unwrap_or((u32::MAX, 0))));
    if let Some(fault) = first {
        let place = fault.at.map_or_else(|| files[fault.file as usize].shown.clone(), |spot| places.place(fault.file, spot));
        return Err(SourceError::new(fault.kind, place, fault.message));
    }
    let order = order.unwrap_or_else(|| (0..columns.fields.len()).collect());
    Ok(Read { columns, order, without_header, places })
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Desk<'_> {
    fn fault(&self, fault: Fault) {
        self.stop.store(true, Ordering::Relaxed);
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    fn fail(&self, e: SourceError) {
        self.stop.store(true, Ordering::Relaxed);
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
    }

    /// Gives a block its ordinals; returns the first.
    fn admit(&self, index: u32, file: u32, first: Option<u64>, lines: u32) -> Option<u32> {
        let base = self.next_ordinal.fetch_add(u64::from(lines.max(1)), Ordering::Relaxed);
        let Some(base) = u32::try_from(base).ok().filter(|b| b.checked_add(lines).is_some()) else {
            let message = "brings the source above 4,294,967,294 lines; split the model".to_owned();
            self.fault(Fault { kind: ErrorKind::Format, file, at: None, message });
            return None;
        };
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).push(BlockPlace { index, file, first, lines, base });
        Some(base)
    }

    fn report(&self, bytes: u64, rows: u64) {
        let rows = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        (self.progress)(bytes, rows);
    }
}

fn text_worker(desk: &Desk<'_>, input: &Mutex<TextInput>, members: Option<&Arc<Members>>) {
    let mut scratch = Scratch::default();
    let mut buffer = Buffer::default();
    let mut parser = members.map(|members| Parser::new(members.clone()));
    let mut columns = Arc::new(Columns::default());
    while !desk.stop.load(Ordering::Relaxed) {
        let (next, bytes) = {
            let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(settled) = input.columns() {
                columns = settled;
            }
            (input.next_block(&mut buffer), input.bytes_read.load(Ordering::Relaxed))
        };
        let block = match next {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(fault) => {
                desk.fault(fault);
                break;
            }
        };
        let records = buffer.records();
        let lines = memchr::memchr_iter(b'\n', records).count() as u32 + u32::from(block.open_end);
        let Some(base) = desk.admit(block.index, block.file, None, lines) else { break };
        let before = scratch.sums.rows;
        let mut probe = Probe::new(desk.context, &mut scratch, block.index, base, 0);
        let ending = match (&mut parser, &block.shape) {
            (Some(parser), _) => parser.parse(records, block.index, block.open_end, &mut probe),
            (None, Some(shape)) => Ok(csv::parse(records, shape, &columns, block.open_end, &mut probe)),
            (None, None) => Ok(Ending::Whole),
        };
        let all = parser.as_ref().map_or(&columns, Parser::columns).clone();
        if let Err(e) = probe.finish(&all) {
            desk.fail(e);
            break;
        }
        if let Some(fault) = ending_fault(&block, ending) {
            desk.fault(fault);
            break;
        }
        desk.report(bytes, scratch.sums.rows - before);
    }
    if let Err(e) = scratch.finish(desk.context) {
        desk.fail(e);
    }
}

fn ending_fault(block: &Block, ending: Result<Ending, String>) -> Option<Fault> {
    let torn = "is the last line and has no line feed";
    let (kind, at, message) = match ending {
        Ok(Ending::Whole) => return None,
        Ok(Ending::Torn { line, cells: 0 }) => {
            (ErrorKind::Torn, Some(line), format!("{torn}, and it is not valid JSON; write the file again"))
        }
        Ok(Ending::Torn { line, cells }) => (ErrorKind::Torn, Some(line), format!("{torn}, and only {cells} cells; write the file again")),
        Err(message) => (ErrorKind::Format, None, message),
    };
    Some(Fault { kind, file: block.file, at: at.map(|line| (block.index, line)), message })
}

fn parquet_worker(desk: &Desk<'_>, input: &ParquetInput, next: &AtomicUsize) {
    let mut scratch = Scratch::default();
    while !desk.stop.load(Ordering::Relaxed) {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(slice) = input.slices.get(index) else { break };
        let Some(base) = desk.admit(index as u32, slice.file, Some(slice.first), slice.rows as u32) else { break };
        let mut part = 0;
        // The decoder trusts its input in places where a damaged file deserves an error, not the end of the process.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            input.read(slice, |batch, shape, first| {
                let before = scratch.sums.rows;
                let mut probe = Probe::new(desk.context, &mut scratch, index as u32, base, part);
                shape.rows(batch, first, &input.columns, &mut probe);
                match probe.finish(&input.columns) {
                    Ok(parts) => part = parts,
                    Err(e) => desk.fail(e),
                }
                desk.report(input.bytes_read(slice, first + batch.num_rows() as u32), scratch.sums.rows - before);
                !desk.stop.load(Ordering::Relaxed) || desk.failed.lock().is_ok_and(|f| f.is_none())
            })
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => desk.fault(fault),
            Err(_) => {
                let message = format!("cannot be decoded near row {}; write it again", slice.first + 1);
                desk.fault(Fault { kind: ErrorKind::Torn, file: slice.file, at: None, message });
            }
        }
    }
    if let Err(e) = scratch.finish(desk.context) {
        desk.fail(e);
    }
}

/// Puts the members in the order of their first appearance; an error if one that is asked for never appears.
fn settle_members(desk: &Desk<'_>, members: &Members, place: &str) -> Result<Vec<usize>, SourceError> {
    let (columns, first, others) = members.settle();
    let rows = desk.rows.load(Ordering::Relaxed);
    if rows > 0
        && let Some(missing) = first.iter().position(Option::is_none)
    {
        let mut there: Vec<String> = columns.names.iter().zip(&first).filter(|(_, f)| f.is_some()).map(|(n, _)| n.clone()).collect();
        there.extend(others);
        there.sort();
        return Err(no_column(&columns.names[missing], &there, place));
    }
    let mut order: Vec<usize> = (0..columns.fields.len()).collect();
    if members.union() {
        let appeared = |field: &usize| -> Option<Position> { first[columns.fields[*field].slot] };
        order.sort_by_key(|field| appeared(field).unwrap_or((u32::MAX, 0, 0)));
    }
    Ok(order)
}
