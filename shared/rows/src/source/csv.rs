//! CSV: where records end, and what their cells are. RFC 4180, with line feeds alone as well. It must not read files.

use super::RowSink;
use crate::cell::Cell;
use crate::columns::Columns;
use memchr::{memchr, memchr2, memrchr};
use std::borrow::Cow;

/// How the cells of one file's records fall into slots.
#[derive(Debug)]
pub(crate) struct Shape {
    /// By position in the record.
    pub slots: Vec<Option<usize>>,
}

/// Where the last complete record of a buffer ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Behind the line feed before this offset; everything up to it is whole records.
    At(usize),
    /// There is no whole record; the quote at this offset is open, if any.
    Nowhere { open_quote: Option<usize> },
}

/// Finds the end of the last whole record. With `last`, what is behind the final line feed is a record, too.
pub(crate) fn cut(buffer: &[u8], last: bool) -> Cut {
    let mut end = None;
    let mut from = 0;
    let mut open_quote = None;
    while let Some(quote) = memchr(b'"', &buffer[from..]).map(|i| from + i) {
        // A quote that does not open a cell is an ordinary character.
        let opens = quote == 0 || matches!(buffer[quote - 1], b',' | b'\n');
        if let Some(feed) = memrchr(b'\n', &buffer[from..quote]) {
            end = Some(from + feed + 1);
        }
        if !opens {
            from = quote + 1;
            continue;
        }
        match closing_quote(buffer, quote + 1, last) {
            Some(close) => from = close + 1,
            None => {
                open_quote = Some(quote);
                break;
            }
        }
    }
    if open_quote.is_none() {
        if let Some(feed) = memrchr(b'\n', &buffer[from..]) {
            end = Some(from + feed + 1);
        }
        if last {
            return Cut::At(buffer.len());
        }
    } else if last {
        return Cut::Nowhere { open_quote };
    }
    end.map_or(Cut::Nowhere { open_quote }, Cut::At)
}

/// The quote that closes the cell whose content starts at `from`. At the very end of a buffer that goes on, a quote may be half of a pair.
fn closing_quote(buffer: &[u8], mut from: usize, last: bool) -> Option<usize> {
    loop {
        let quote = from + memchr(b'"', &buffer[from..])?;
        match buffer.get(quote + 1) {
            Some(b'"') => from = quote + 2,
            None if !last => return None,
            _ => return Some(quote),
        }
    }
}

/// Cells of one record, with whether something stands behind a closing quote.
struct Record<'a> {
    cells: Vec<Cow<'a, str>>,
    misquoted: bool,
}

/// Reads one record; its quotes are known to be closed.
fn record(text: &str) -> Record<'_> {
    let bytes = text.as_bytes();
    let mut cells = Vec::new();
    let mut misquoted = false;
    let mut at = 0;
    loop {
        let quoted = bytes.get(at) == Some(&b'"');
        let mut cell: Cow<'_, str> = Cow::Borrowed("");
        if quoted {
            let close = closing_quote(bytes, at + 1, true).unwrap_or(bytes.len());
            let content = &text[at + 1..close];
            cell =
                if memchr(b'"', content.as_bytes()).is_some() { Cow::Owned(content.replace("\"\"", "\"")) } else { Cow::Borrowed(content) };
            at = (close + 1).min(bytes.len());
        }
        let stop = memchr2(b',', b'\n', &bytes[at..]).map_or(bytes.len(), |i| at + i);
        let ends = bytes.get(stop) != Some(&b',');
        let mut rest = &text[at..stop];
        if ends {
            rest = rest.strip_suffix('\r').unwrap_or(rest);
        }
        if !quoted {
            cell = Cow::Borrowed(rest);
        } else if !rest.is_empty() {
            misquoted = true;
        }
        cells.push(cell);
        at = (stop + 1).min(bytes.len());
        if ends {
            return Record { cells, misquoted };
        }
    }
}

/// The column names of the first record of `text`.
pub(crate) fn header(text: &str) -> Vec<String> {
    record(text).cells.into_iter().map(Cow::into_owned).collect()
}

/// What a block's last record says about the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    /// The last line, counted from 0, has no line feed and too few cells.
    Torn {
        line: u32,
        cells: usize,
    },
}

/// Hands the records of a block to the sink. `open_end`: the block's last line may lack its line feed because the file ends there.
pub(crate) fn parse<'a, S: RowSink<'a>>(block: &'a [u8], shape: &Shape, columns: &Columns, open_end: bool, sink: &mut S) -> Ending {
    let text = simdutf8::basic::from_utf8(block).ok();
    let quotes = memchr(b'"', block).is_some();
    let mut cells: Vec<Cell<'a>> = Vec::with_capacity(columns.names.len());
    let mut line = 0;
    let mut at = 0;
    while at < block.len() {
        let mut end = memchr(b'\n', &block[at..]).map_or(block.len(), |i| at + i);
        let quoted = quotes && memchr(b'"', &block[at..end]).is_some();
        if quoted {
            end = record_end(block, at);
        }
        let lines = if quoted { 1 + memchr::memchr_iter(b'\n', &block[at..end]).count() as u32 } else { 1 };
        let unfinished = open_end && end == block.len();
        let record_text = match text {
            Some(text) => Ok(&text[at..end]),
            None => simdutf8::basic::from_utf8(&block[at..end]),
        };
        at = end + 1;
        let this = line;
        line += lines;
        let Ok(record_text) = record_text else {
            sink.invalid(this, None, "is not valid UTF-8; write the file as UTF-8".to_owned(), columns);
            continue;
        };
        cells.clear();
        cells.resize_with(columns.names.len(), Cell::default);
        let found = if quoted {
            split_quoted(record_text, shape, &mut cells)
        } else {
            let record_text = record_text.strip_suffix('\r').unwrap_or(record_text);
            if record_text.is_empty() {
                continue;
            }
            Ok(split_plain(record_text, shape, &mut cells))
        };
        match found {
            Ok(n) if n == shape.slots.len() => sink.row(this, &mut cells, columns),
            Ok(n) if n < shape.slots.len() && unfinished => return Ending::Torn { line: this, cells: n },
            Ok(n) => sink.invalid(this, None, format!("has {n} cells where the header has {}", shape.slots.len()), columns),
            Err(()) => {
                sink.invalid(this, None, "has text behind a closing quote; double the quotes inside a quoted cell".to_owned(), columns)
            }
        }
    }
    Ending::Whole
}

/// The line feed (or the end of the block) that ends the record at `from`, which holds quotes.
fn record_end(block: &[u8], mut from: usize) -> usize {
    loop {
        if block.get(from) == Some(&b'"') {
            from = closing_quote(block, from + 1, true).map_or(block.len(), |close| close + 1);
        }
        match memchr2(b',', b'\n', &block[from.min(block.len())..]) {
            Some(i) if block[from + i] == b',' => from += i + 1,
            Some(i) => return from + i,
            None => return block.len(),
        }
    }
}

fn split_quoted<'a>(text: &'a str, shape: &Shape, cells: &mut [Cell<'a>]) -> Result<usize, ()> {
    let record = record(text);
    if record.misquoted {
        return Err(());
    }
    let n = record.cells.len();
    for (slot, cell) in shape.slots.iter().zip(record.cells) {
        if let (Some(slot), false) = (slot, cell.is_empty()) {
            cells[*slot] = match cell {
                Cow::Borrowed(s) => Cell::Text(s),
                Cow::Owned(s) => Cell::Owned(s),
            };
        }
    }
    Ok(n)
}

const COMMAS: u64 = u64::from_le_bytes([b','; 8]);
const LOW: u64 = u64::from_le_bytes([0x7f; 8]);

/// Splits a record without quotes; returns how many cells there are. Eight bytes at a time: cells are short, so that a search for
/// each comma would mostly be the overhead of starting it.
#[inline]
fn split_plain<'a>(text: &'a str, shape: &Shape, cells: &mut [Cell<'a>]) -> usize {
    let bytes = text.as_bytes();
    let mut n = 0;
    let mut start = 0;
    let mut put = |from: usize, to: usize| {
        if let Some(Some(slot)) = shape.slots.get(n)
            && from < to
        {
            cells[*slot] = Cell::Text(&text[from..to]);
        }
        n += 1;
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let x = u64::from_le_bytes(*word) ^ COMMAS;
        // The high bit of each byte that is zero in x, exactly.
        let mut hits = !(((x & LOW) + LOW) | x | LOW);
        while hits != 0 {
            let comma = i * 8 + hits.trailing_zeros() as usize / 8;
            put(start, comma);
            start = comma + 1;
            hits &= hits - 1;
        }
    }
    for (i, &b) in rest.iter().enumerate() {
        if b == b',' {
            let comma = words.len() * 8 + i;
            put(start, comma);
            start = comma + 1;
        }
    }
    put(start, bytes.len());
    n
}

/// Where the first record ends, its line feed included; its quotes are known to be closed.
pub(crate) fn first_record_end(block: &[u8]) -> usize {
    (record_end(block, 0) + 1).min(block.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Selection;
    use proptest::prelude::*;

    type Found = Result<Vec<Option<String>>, String>;

    /// Every record as its line, and its cells or what is wrong with it.
    #[derive(Default)]
    struct Collect(Vec<(u32, Found)>);

    impl<'a> RowSink<'a> for Collect {
        fn row(&mut self, line: u32, cells: &mut Vec<Cell<'a>>, _: &Columns) {
            let text = |c: &Cell<'a>| c.key_text().ok().map(Cow::into_owned);
            self.0.push((line, Ok(cells.iter().map(text).collect())));
        }

        fn invalid(&mut self, line: u32, _: Option<String>, reason: String, _: &Columns) {
            self.0.push((line, Err(reason)));
        }
    }

    fn names(width: usize) -> Vec<String> {
        (0..width).map(|i| format!("c{i}")).collect()
    }

    fn read(block: &[u8], width: usize, open_end: bool) -> (Collect, Ending) {
        let selection = Selection { key: vec!["c0".to_owned()], fields: Vec::new(), ignore: Vec::new() };
        let columns = Columns::of_header(&selection, &names(width), "test").unwrap();
        let shape = Shape { slots: columns.of_file(&selection, &names(width), "test").unwrap() };
        let mut found = Collect::default();
        let ending = parse(block, &shape, &columns, open_end, &mut found);
        (found, ending)
    }

    fn good(block: &str, width: usize) -> Vec<Vec<Option<String>>> {
        read(block.as_bytes(), width, true).0.0.into_iter().filter_map(|(_, r)| r.ok()).collect()
    }

    fn texts(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|c| (!c.is_empty()).then(|| (*c).to_owned())).collect()
    }

    #[test]
    fn cells_may_be_quoted_empty_or_hold_line_feeds() {
        let rows = good("a,b,c\n\"x,\"\"y\"\"\",,\"\"\r\n\"1\n2\",é,last", 3);
        assert_eq!(rows, [texts(&["a", "b", "c"]), texts(&["x,\"y\"", "", ""]), texts(&["1\n2", "é", "last"])]);
        assert_eq!(good("5\" pipe,b\n", 2), [texts(&["5\" pipe", "b"])]);
        assert_eq!(good("\n\r\na,b\n\n", 2), [texts(&["a", "b"])], "blank lines are no rows");
    }

    #[test]
    fn lines_are_physical_ones_and_bad_records_do_not_move_their_neighbours() {
        let (found, ending) = read(b"\"a\nb\",1\nx,2,3\n\"c\"d,4\n\xff,5\ny,6\n", 2, false);
        let lines: Vec<(u32, bool)> = found.0.iter().map(|(line, r)| (*line, r.is_ok())).collect();
        assert_eq!(lines, [(0, true), (2, false), (3, false), (4, false), (5, true)]);
        assert_eq!(found.0[1].1, Err("has 3 cells where the header has 2".to_owned()));
        assert_eq!(ending, Ending::Whole);
    }

    #[test]
    fn a_last_line_with_too_few_cells_is_torn_only_without_its_line_feed() {
        assert_eq!(read(b"a,b\nc", 2, true).1, Ending::Torn { line: 1, cells: 1 });
        assert_eq!(read(b"a,b\nc\n", 2, false).1, Ending::Whole);
        assert_eq!(read(b"a,b\nc,d", 2, true).1, Ending::Whole);
    }

    #[test]
    fn an_open_quote_at_the_end_is_found() {
        assert_eq!(cut(b"a\n\"b\n", true), Cut::Nowhere { open_quote: Some(2) });
        assert_eq!(cut(b"a\n\"b\n", false), Cut::At(2));
        assert_eq!(cut(b"\"b\n", false), Cut::Nowhere { open_quote: Some(0) });
        assert_eq!(cut(b"a\n\"b\"", false), Cut::At(2), "the quote may be half of a pair");
        assert_eq!(cut(b"a\n\"b\"", true), Cut::At(5));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Against the csv crate, on any bytes that it takes for the same dialect.
        #[test]
        fn records_are_those_that_the_csv_crate_finds(
            text in "([abé,\"\n ]|,\"|\"\n|\"\"|\r\n|abcdefghij|,,){0,60}",
            width in 1usize..5,
        ) {
            // A carriage return alone ends a record there.
            prop_assume!(!text.replace("\r\n", "\n").contains('\r'));
            let whole = matches!(cut(text.as_bytes(), true), Cut::At(_));
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
            let (ours, ending) = read(text.as_bytes(), width, true);
            if whole {
                let torn = usize::from(ending != Ending::Whole);
                prop_assert_eq!(ours.0.len() + torn, theirs.len());
                for ((line, ours), theirs) in ours.0.iter().zip(&theirs) {
                    let start = theirs.position().unwrap();
                    match ours {
                        Ok(cells) => {
                            let theirs: Vec<_> = theirs.iter().map(|c| (!c.is_empty()).then(|| c.to_owned())).collect();
                            prop_assert_eq!(cells, &theirs);
                        }
                        Err(reason) => prop_assert!(theirs.len() != width || reason.contains("closing quote")),
                    }
                    // Theirs counts from the first line, and from where the record before ended.
                    prop_assert!(u64::from(*line) + 1 >= start.line());
                }
            }
            // However a buffer ends, what is cut off it reads the same as in one piece.
            for end in 0..text.len() {
                if let Cut::At(at) = cut(&text.as_bytes()[..end], false) {
                    let (mut first, _) = read(&text.as_bytes()[..at], width, false);
                    let lines = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() as u32;
                    let (rest, _) = read(&text.as_bytes()[at..], width, true);
                    first.0.extend(rest.0.into_iter().map(|(line, r)| (line + lines, r)));
                    if whole {
                        prop_assert_eq!(&first.0, &ours.0);
                    }
                }
            }
        }
    }
}
