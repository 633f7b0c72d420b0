//! CSV and NDJSON files as blocks of whole records: opened in order, unpacked, cut. Threads take turns at it. It must not parse records.

use super::csv::{self, Cut, Shape};
use super::files::{Compression, SourceFile};
use crate::columns::{Columns, Selection};
use crate::error::{ErrorKind, Fault, SourceError};
use crate::request::Format;
use memchr::memrchr;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Small enough for a core's cache, large enough that taking turns costs nothing.
const BLOCK: usize = 512 << 10;

/// A row longer than this is taken for a file that is not what it seems.
pub(crate) const MAX_ROW: usize = 16 << 20;

/// A reusable buffer: `bytes` keeps its length, so that it is cleared once only.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl Buffer {
    fn grow(&mut self, capacity: usize) {
        if self.bytes.len() < capacity {
            self.bytes.resize(capacity, 0);
        }
    }

    /// The block's records.
    pub fn records(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

/// Which block a buffer holds.
pub(crate) struct Block {
    /// Counts all blocks of the source from 0.
    pub index: u32,
    pub file: u32,
    /// The file ends with this block, without a line feed.
    pub open_end: bool,
    /// How the file's cells fall into slots; CSV only.
    pub shape: Option<Arc<Shape>>,
}

struct Open {
    reader: Box<dyn Read + Send>,
    index: u32,
    /// The start of a record whose end has not been read yet.
    carry: Vec<u8>,
    ended: bool,
    shape: Option<Arc<Shape>>,
}

/// The blocks of a source's files.
pub(crate) struct TextInput {
    files: Arc<Vec<SourceFile>>,
    selection: Selection,
    /// Settled by the first header; NDJSON has none.
    columns: Option<Arc<Columns>>,
    /// The first file's header.
    pub header: Vec<String>,
    next_file: usize,
    next_block: u32,
    open: Option<Open>,
    /// Bytes read from disk so far, before unpacking.
    pub bytes_read: Arc<AtomicU64>,
    /// Lines that headers take, by file.
    pub header_lines: Vec<u64>,
}

/// Counts what is read from the disk, or from a stream.
struct Counting {
    file: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl TextInput {
    /// Opens the first file, so that its header is checked before anything else happens.
    pub fn new(files: Arc<Vec<SourceFile>>, selection: Selection) -> Result<TextInput, SourceError> {
        let header_lines = vec![0; files.len()];
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut input = TextInput {
            files,
            selection,
            columns: None,
            header: Vec::new(),
            next_file: 0,
            next_block: 0,
            open: None,
            bytes_read,
            header_lines,
        };
        input.open_next().map_err(|fault| input.resolve(fault))?;
        Ok(input)
    }

    /// The columns that CSV headers settled.
    pub fn columns(&self) -> Option<Arc<Columns>> {
        self.columns.clone()
    }

    fn resolve(&self, fault: Fault) -> SourceError {
        let file = &self.files[fault.file as usize];
        let place = fault.at.map_or(file.shown.clone(), |(_, line)| file.place(u64::from(line) + 1));
        SourceError::new(fault.kind, &place, fault.message)
    }

    /// Fills `buffer` with the next block of whole records; `None` at the end of the last file.
    pub fn next_block(&mut self, buffer: &mut Buffer) -> Result<Option<Block>, Fault> {
        loop {
            let Some(open) = &mut self.open else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            let file = &self.files[open.index as usize];
            let found = fill(open, buffer, file.format).map_err(|(kind, line, message)| Fault {
                kind,
                file: open.index,
                at: line.map(|line| (self.next_block, line)),
                message,
            })?;
            if !found {
                let index = open.index;
                self.open = None;
                file.check_unchanged().map_err(|e| Fault { kind: e.kind, file: index, at: None, message: e.message })?;
                continue;
            }
            let index = self.next_block;
            self.next_block += 1;
            let open_end = open.ended && open.carry.is_empty() && buffer.records().last() != Some(&b'\n');
            return Ok(Some(Block { index, file: open.index, open_end, shape: open.shape.clone() }));
        }
    }

    /// Opens the next file and reads its header, if it has one.
    fn open_next(&mut self) -> Result<bool, Fault> {
        let Some(file) = self.files.get(self.next_file).cloned() else { return Ok(false) };
        let index = self.next_file as u32;
        self.next_file += 1;
        let fault = |kind: ErrorKind, message: String| Fault { kind, file: index, at: None, message };
        let opened = file.open().map_err(|e| fault(e.kind, e.message))?;
        if file.compression != Compression::None && file.stamp.size == 0 {
            return Err(fault(ErrorKind::Torn, "is empty, which no packed file is; write it again".to_owned()));
        }
        let raw = Counting { file: opened, bytes: self.bytes_read.clone() };
        let reader: Box<dyn Read + Send> = match file.compression {
            Compression::None => Box::new(raw),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(128 << 10, raw))),
            Compression::Zstd => {
                Box::new(zstd::stream::read::Decoder::new(raw).map_err(|e| fault(ErrorKind::Io, format!("cannot be unpacked: {e}")))?)
            }
        };
        let mut open = Open { reader, index, carry: Vec::new(), ended: false, shape: None };
        if file.format == Format::Csv {
            // Nothing of this file has been cut into blocks yet, so its lines are counted from its start.
            let block = self.next_block;
            self.read_header(&mut open, &file).map_err(|(kind, line, message)| Fault {
                kind,
                file: index,
                at: line.map(|line| (block, line)),
                message,
            })?;
        } else {
            skip_mark(&mut open).map_err(|(kind, message)| fault(kind, message))?;
        }
        self.open = Some(open);
        Ok(true)
    }

    fn read_header(&mut self, open: &mut Open, file: &SourceFile) -> Result<(), Stop> {
        let mut buffer = Buffer::default();
        skip_mark(open).map_err(|(kind, message)| (kind, None, message))?;
        // The header is the first record of the first block; the rest of that block goes back.
        let found = fill(open, &mut buffer, Format::Csv)?;
        let block = buffer.records();
        let mut start = 0;
        while matches!(block.get(start), Some(b'\n' | b'\r')) {
            start += 1;
        }
        if !found || start == block.len() {
            return Err((ErrorKind::Format, None, "has no header line; write the columns' names into the first line".to_owned()));
        }
        let end = csv::first_record_end(&block[start..]) + start;
        let Ok(text) = simdutf8::basic::from_utf8(&block[start..end]) else {
            return Err((ErrorKind::Format, None, "has a header that is not valid UTF-8; write the file as UTF-8".to_owned()));
        };
        let header = csv::header(text.strip_suffix('\n').unwrap_or(text));
        let checked = match &self.columns {
            None => Columns::of_header(&self.selection, &header, &file.shown).map(|c| self.columns = Some(Arc::new(c))),
            Some(_) => Ok(()),
        };
        let slots = match (&self.columns, checked) {
            (Some(columns), Ok(())) => columns.of_file(&self.selection, &header, &file.shown),
            (_, Err(e)) => Err(e),
            (None, Ok(())) => Ok(Vec::new()),
        };
        open.shape = Some(Arc::new(Shape { slots: slots.map_err(|e| (e.kind, None, e.message))? }));
        if self.header.is_empty() {
            self.header = header;
        }
        self.header_lines[open.index as usize] = memchr::memchr_iter(b'\n', &block[..end]).count() as u64;
        let mut carry = block[end..].to_vec();
        carry.append(&mut open.carry);
        open.carry = carry;
        Ok(())
    }
}

/// Reads the first bytes and drops a byte-order mark.
fn skip_mark(open: &mut Open) -> Result<(), (ErrorKind, String)> {
    let mut start = [0; 3];
    let mut n = 0;
    while n < 3 {
        match open.reader.read(&mut start[n..]) {
            Ok(0) => break,
            Ok(read) => n += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(&e)),
        }
    }
    if start[..n] != [0xef, 0xbb, 0xbf] {
        open.carry.extend_from_slice(&start[..n]);
    }
    Ok(())
}

fn unreadable(e: &io::Error) -> (ErrorKind, String) {
    // A stream says itself what went wrong.
    if let Some(e) = e.get_ref().and_then(|e| e.downcast_ref::<SourceError>()) {
        return (e.kind, e.message.clone());
    }
    match e.kind() {
        io::ErrorKind::UnexpectedEof => (ErrorKind::Torn, "ends in the middle of its packed data; write it again".to_owned()),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            (ErrorKind::Torn, format!("cannot be unpacked: {e}; write it again"))
        }
        _ => (ErrorKind::Io, format!("cannot be read: {e}")),
    }
}

type Stop = (ErrorKind, Option<u32>, String);

/// Reads until there is at least one whole record, and cuts behind the last one. False at the end of the file.
fn fill(open: &mut Open, buffer: &mut Buffer, format: Format) -> Result<bool, Stop> {
    buffer.grow(BLOCK.max(open.carry.len()));
    buffer.bytes[..open.carry.len()].copy_from_slice(&open.carry);
    let mut filled = open.carry.len();
    open.carry.clear();
    let mut goal = BLOCK;
    loop {
        buffer.grow(goal);
        while filled < goal && !open.ended {
            match open.reader.read(&mut buffer.bytes[filled..goal]) {
                Ok(0) => open.ended = true,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let (kind, message) = unreadable(&e);
                    return Err((kind, None, message));
                }
            }
        }
        if filled == 0 {
            buffer.filled = 0;
            return Ok(false);
        }
        let read = &buffer.bytes[..filled];
        let end = match format {
            Format::Csv => csv::cut(read, open.ended),
            _ if open.ended => Cut::At(filled),
            _ => memrchr(b'\n', read).map_or(Cut::Nowhere { open_quote: None }, |feed| Cut::At(feed + 1)),
        };
        let line_of = |offset: usize| memchr::memchr_iter(b'\n', &read[..offset]).count() as u32;
        match end {
            Cut::At(end) => {
                open.carry.extend_from_slice(&read[end..]);
                buffer.filled = end;
                return Ok(true);
            }
            Cut::Nowhere { open_quote: Some(quote) } if open.ended => {
                return Err((ErrorKind::Torn, Some(line_of(quote)), "has a quote that is never closed".to_owned()));
            }
            Cut::Nowhere { open_quote } if filled >= MAX_ROW => {
                let line = Some(open_quote.map_or(0, line_of));
                return Err((ErrorKind::Format, line, format!("is longer than {} MiB; is a quote or a line feed missing?", MAX_ROW >> 20)));
            }
            Cut::Nowhere { .. } => goal = (filled * 2).max(BLOCK),
        }
    }
}
