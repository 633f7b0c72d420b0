//! Pushed rows: a base and the changes that came after it become a new base. Memory holds the changes' key hashes and places, never the
//! rows. It must not know where the files are kept, and it judges no row: that was done when it was pushed, and the diff does it again.

use crate::cell::{Cell, key_hash};
use crate::columns::{Columns, Selection};
use crate::error::{ErrorKind, SourceError};
use crate::source::positioned::read_exact_at;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What a fold wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Rows of the new base.
    pub rows: u64,
}

/// Writes the rows of `base`, as `changes` leave them, to `to`; all of these are NDJSON, zstd-compressed, and `base` is one list of rows in
/// several files. A change is `{"upsert": {…}}` or `{"remove": {key}}`; the latest word on a key counts. Rows of the base keep their
/// order, new ones follow in the order of their latest word. Scratch data lies beside `to` and vanishes with the process.
///
/// # Errors
/// A file cannot be read to its end or is not what it should be, or there is no room for the new base.
pub fn fold(base: &[PathBuf], changes: &[PathBuf], primary_key: &[String], to: &Path) -> Result<Folded, SourceError> {
    let mut keys = KeyReader::new(primary_key);
    let mut latest = Latest::read(changes, &mut keys, to.parent().unwrap_or(Path::new(".")))?;
    let fail = |e: std::io::Error| SourceError::io(to, "be written", &e);
    let out = BufWriter::with_capacity(1 << 20, File::create(to).map_err(fail)?);
    let mut out = zstd::stream::write::Encoder::new(out, 3).map_err(fail)?;
    let mut rows = 0;
    let mut row = Vec::new();
    for path in base {
        each_line(path, |line, _| {
            let kept = match latest.is_empty() {
                true => None,
                // A row without a key is the diff's to report.
                false => keys.hash(line).ok().and_then(|key| latest.take(key)),
            };
            let kept = match kept {
                None => line,
                Some(Word::Removed) => return Ok(()),
                Some(Word::Row(place)) => {
                    latest.read_row(place, &mut row)?;
                    &row
                }
            };
            rows += 1;
            out.write_all(kept).and_then(|()| out.write_all(b"\n")).map_err(fail)
        })?;
    }
    for place in latest.take_new() {
        latest.read_row(place, &mut row)?;
        rows += 1;
        out.write_all(&row).and_then(|()| out.write_all(b"\n")).map_err(fail)?;
    }
    out.finish().and_then(|mut out| out.flush()).map_err(fail)?;
    Ok(Folded { rows })
}

/// Calls `take` with each line that is not blank, without its line feed, and its number from 1.
fn each_line(path: &Path, mut take: impl FnMut(&[u8], u64) -> Result<(), SourceError>) -> Result<(), SourceError> {
    let fail = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => SourceError::io(path, "be read", &e),
        _ => SourceError::new(ErrorKind::Torn, path.display().to_string(), format!("cannot be read to its end: {e}")),
    };
    let file = File::open(path).map_err(fail)?;
    let mut lines = BufReader::with_capacity(256 << 10, zstd::stream::read::Decoder::new(file).map_err(fail)?);
    let mut line = Vec::new();
    let mut number = 0;
    while lines.read_until(b'\n', &mut line).map_err(fail)? > 0 {
        number += 1;
        let text = line.trim_ascii_end();
        if !text.is_empty() {
            take(text, number)?;
        }
        line.clear();
    }
    Ok(())
}

/// Where a row stands in the scratch file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    offset: u64,
    length: u32,
}

/// The latest word on a key.
#[derive(Clone, Copy, Debug)]
enum Word {
    Removed,
    Row(Place),
}

/// The latest words of all changes. Those that rows of the base took are marked: of a key that the base has twice, one row is left.
struct Latest {
    words: HashMap<u128, (Word, bool)>,
    /// The changes' rows, unpacked so that each can be read by itself.
    scratch: File,
    folder: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeLine<'a> {
    #[serde(borrow)]
    upsert: Option<&'a RawValue>,
    #[serde(borrow)]
    remove: Option<&'a RawValue>,
}

impl Latest {
    fn read(changes: &[PathBuf], keys: &mut KeyReader, folder: &Path) -> Result<Latest, SourceError> {
        let fail = |e: std::io::Error| SourceError::io(folder, "hold scratch data", &e);
        let mut words = HashMap::new();
        let mut out = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(folder).map_err(fail)?);
        let mut offset = 0;
        for path in changes {
            each_line(path, |line, number| {
                let wrong = |message: String| SourceError::format(format!("{} line {number}", path.display()), message);
                let change: ChangeLine<'_> = serde_json::from_slice(line).map_err(|e| wrong(format!("is no change: {e}")))?;
                let (row, is_upsert) = match (change.upsert, change.remove) {
                    (Some(row), None) => (row.get().as_bytes(), true),
                    (None, Some(key)) => (key.get().as_bytes(), false),
                    _ => return Err(wrong("is no change: it must be an upsert or a remove".to_owned())),
                };
                let key = keys.hash(row).map_err(wrong)?;
                let word = match is_upsert {
                    true => {
                        let length = u32::try_from(row.len()).map_err(|_| wrong("is too long".to_owned()))?;
                        out.write_all(row).map_err(fail)?;
                        let place = Place { offset, length };
                        offset += u64::from(length);
                        Word::Row(place)
                    }
                    false => Word::Removed,
                };
                words.insert(key, (word, false));
                Ok(())
            })?;
        }
        let scratch = out.into_inner().map_err(|e| fail(e.into_error()))?;
        Ok(Latest { words, scratch, folder: folder.to_owned() })
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The word on a row of the base.
    fn take(&mut self, key: u128) -> Option<Word> {
        let (word, taken) = self.words.get_mut(&key)?;
        Some(if std::mem::replace(taken, true) { Word::Removed } else { *word })
    }

    fn read_row(&self, place: Place, row: &mut Vec<u8>) -> Result<(), SourceError> {
        row.resize(place.length as usize, 0);
        read_exact_at(&self.scratch, row, place.offset).map_err(|e| SourceError::io(&self.folder, "give scratch data back", &e))
    }

    /// The rows that the base did not have.
    fn take_new(&mut self) -> Vec<Place> {
        let new = std::mem::take(&mut self.words).into_values();
        let mut places: Vec<Place> = new
            .filter_map(|(word, taken)| match word {
                Word::Row(place) if !taken => Some(place),
                _ => None,
            })
            .collect();
        places.sort_unstable();
        places
    }
}

/// Reads the key of a row that is one JSON object, as the diff reads it.
struct KeyReader {
    columns: Columns,
    text: String,
}

impl KeyReader {
    fn new(primary_key: &[String]) -> KeyReader {
        let selection = Selection { key: primary_key.to_vec(), fields: Vec::new(), ignore: Vec::new() };
        KeyReader { columns: Columns::without_header(&selection), text: String::new() }
    }

    fn hash(&mut self, row: &[u8]) -> Result<u128, String> {
        let mut cells = vec![Cell::Null; self.columns.names.len()];
        let mut deserializer = serde_json::Deserializer::from_slice(row);
        let read = KeySeed { names: &self.columns.names, cells: &mut cells }.deserialize(&mut deserializer);
        read.and_then(|()| deserializer.end()).map_err(|e| format!("is not a row: {e}"))?;
        self.columns.key_text(&cells, &mut self.text)?;
        Ok(key_hash(&self.text, 0))
    }
}

struct KeySeed<'k, 'a> {
    names: &'k [String],
    cells: &'k mut [Cell<'a>],
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.names.iter().position(|n| *n == name) {
                Some(slot) => self.cells[slot] = Cell::of(map.next_value::<Value>()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
