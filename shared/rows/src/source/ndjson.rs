//! NDJSON: one object a line, its members as cells. It must not read files.

use super::RowSink;
use super::csv::Ending;
use super::nested::{BIG_INTEGER, Strict, holds_big_integer, may_be_big_integer};
use crate::cell::Cell;
use crate::columns::Columns;
use memchr::memchr;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// More different members than this are taken for data in the place of names.
const MAX_MEMBERS: usize = 2_000;

/// Where a member was first seen: block, line within it, member within the line.
pub(crate) type Position = (u32, u32, u32);

/// What all threads know of the members' names.
#[derive(Debug)]
pub(crate) struct Members {
    shared: Mutex<Shared>,
    /// Whether every member is a field, so that new names are new columns.
    union: bool,
}

#[derive(Debug)]
struct Shared {
    columns: Arc<Columns>,
    /// By slot.
    first: Vec<Option<Position>>,
    /// Some names that rows have but nobody asks for, to suggest them.
    others: Vec<String>,
}

impl Members {
    pub fn new(columns: Columns, union: bool) -> Members {
        let first = vec![None; columns.names.len()];
        Members { shared: Mutex::new(Shared { columns: Arc::new(columns), first, others: Vec::new() }), union }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every member is a field.
    pub fn union(&self) -> bool {
        self.union
    }

    /// The columns with `name` among them.
    fn with(&self, name: &str) -> Option<Arc<Columns>> {
        let mut shared = self.lock();
        if !shared.columns.names.iter().any(|n| n == name) {
            if shared.columns.names.len() >= MAX_MEMBERS {
                return None;
            }
            let mut columns = (*shared.columns).clone();
            columns.add(name);
            shared.columns = Arc::new(columns);
            shared.first.push(None);
        }
        Some(shared.columns.clone())
    }

    /// The columns, and by slot where each was seen first (`None`: in no row).
    pub fn settle(&self) -> (Arc<Columns>, Vec<Option<Position>>, Vec<String>) {
        let shared = self.lock();
        (shared.columns.clone(), shared.first.clone(), shared.others.clone())
    }
}

/// One thread's parser; what it learns of the members' order makes the next line cheaper.
pub(crate) struct Parser {
    members: Arc<Members>,
    columns: Arc<Columns>,
    slots: HashMap<String, Option<usize>>,
    /// The members of the last line in order.
    expected: Vec<(String, Option<usize>)>,
    /// By slot: first seen in this block.
    seen: Vec<Option<Position>>,
    /// By slot: the last line (counted over all blocks) that had it.
    met: Vec<u64>,
    lines: u64,
    too_many: bool,
}

impl Parser {
    pub fn new(members: Arc<Members>) -> Parser {
        let columns = members.lock().columns.clone();
        let mut parser = Parser {
            members,
            columns: Arc::new(Columns::default()),
            slots: HashMap::new(),
            expected: Vec::new(),
            seen: Vec::new(),
            met: Vec::new(),
            lines: 0,
            too_many: false,
        };
        parser.learn(columns);
        parser
    }

    /// The columns known so far.
    pub fn columns(&self) -> &Arc<Columns> {
        &self.columns
    }

    fn learn(&mut self, columns: Arc<Columns>) {
        for (slot, name) in columns.names.iter().enumerate().skip(self.columns.names.len()) {
            self.slots.insert(name.clone(), Some(slot));
        }
        self.seen.resize(columns.names.len(), None);
        self.met.resize(columns.names.len(), 0);
        self.columns = columns;
    }

    /// The slot of the member at `place` of its line.
    #[inline]
    fn slot(&mut self, name: &str, place: usize) -> Option<usize> {
        if let Some((expected, slot)) = self.expected.get(place)
            && expected == name
        {
            return *slot;
        }
        let slot = self.look_up(name);
        self.expected.truncate(place);
        self.expected.push((name.to_owned(), slot));
        slot
    }

    fn look_up(&mut self, name: &str) -> Option<usize> {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        if self.members.union {
            match self.members.with(name) {
                Some(columns) => self.learn(columns),
                None => self.too_many = true,
            }
            return self.slots.get(name).copied().flatten();
        }
        if self.slots.len() < MAX_MEMBERS {
            self.slots.insert(name.to_owned(), None);
            let mut shared = self.members.lock();
            if shared.others.len() < 100 && !shared.others.iter().any(|n| n == name) {
                shared.others.push(name.to_owned());
            }
        }
        None
    }

    /// Hands the rows of block `index` to the sink. The error is for the whole file.
    pub fn parse<'a, S: RowSink<'a>>(&mut self, block: &'a [u8], index: u32, open_end: bool, sink: &mut S) -> Result<Ending, String> {
        let text = simdutf8::basic::from_utf8(block).ok();
        let mut cells = Vec::new();
        let mut line = 0;
        let mut at = 0;
        self.seen.iter_mut().for_each(|s| *s = None);
        while at < block.len() {
            let end = memchr(b'\n', &block[at..]).map_or(block.len(), |i| at + i);
            let unfinished = open_end && end == block.len();
            let bytes = &block[at..end];
            let json = match text {
                Some(text) => Ok(&text[at..end]),
                None => simdutf8::basic::from_utf8(bytes),
            };
            at = end + 1;
            let this = line;
            line += 1;
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            match json {
                Err(_) if unfinished => return Ok(Ending::Torn { line: this, cells: 0 }),
                Err(_) => sink.invalid(this, None, "is not valid UTF-8; write the file as UTF-8".to_owned(), &self.columns),
                Ok(json) => {
                    if !self.row(json, (index, this), &mut cells, sink) && unfinished {
                        return Ok(Ending::Torn { line: this, cells: 0 });
                    }
                }
            }
            if self.too_many {
                return Err(format!("has more than {MAX_MEMBERS} different members; list the fields of the export"));
            }
        }
        let mut shared = self.members.lock();
        for (slot, seen) in self.seen.iter().enumerate() {
            if let Some(seen) = seen {
                let first = &mut shared.first[slot];
                *first = Some(first.map_or(*seen, |f| f.min(*seen)));
            }
        }
        Ok(Ending::Whole)
    }

    /// False if the line is not JSON at all; the sink hears of whatever is wrong, unless it is that.
    fn row<'a, S: RowSink<'a>>(&mut self, json: &'a str, place: (u32, u32), cells: &mut Vec<Cell<'a>>, sink: &mut S) -> bool {
        self.lines += 1;
        cells.clear();
        cells.resize_with(self.columns.names.len(), Cell::default);
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let mut fault = false;
        let read =
            RowSeed { parser: self, cells, place, fault: &mut fault }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        if read.is_ok() && !fault {
            sink.row(place.1, cells, &self.columns);
            return true;
        }
        // The slow way: it finds out what is wrong, and reads the key all the same.
        match self.careful_row(json, place, cells) {
            Careful::Fine => sink.row(place.1, cells, &self.columns),
            Careful::Invalid(key, reason) => sink.invalid(place.1, key, reason, &self.columns),
            Careful::Broken(reason) => {
                sink.invalid(place.1, None, reason, &self.columns);
                return false;
            }
        }
        true
    }

    fn careful_row<'a>(&mut self, json: &'a str, place: (u32, u32), cells: &mut Vec<Cell<'a>>) -> Careful {
        self.lines += 1;
        let raw: RawMembers<'_> = match serde_json::from_str(json) {
            Ok(raw) => raw,
            Err(_) if serde_json::from_str::<IgnoredAny>(json).is_ok() && !json.trim_start().starts_with('{') => {
                return Careful::Invalid(None, "is not a JSON object; write one object a line".to_owned());
            }
            Err(e) => return Careful::Broken(format!("is not valid JSON: {}", at_column(&e))),
        };
        cells.clear();
        let mut reason: Option<String> = None;
        let mut faulty = Vec::new();
        for (i, (name, raw)) in raw.0.into_iter().enumerate() {
            let Some(slot) = self.slot(&name, i) else { continue };
            cells.resize_with(cells.len().max(self.columns.names.len()), Cell::default);
            let fault = match careful_cell(raw.get()) {
                _ if self.meet(slot, (place.0, place.1, i as u32)) => "stands twice in the object".to_owned(),
                Ok(cell) => {
                    cells[slot] = cell;
                    continue;
                }
                Err(fault) => fault,
            };
            faulty.push(slot);
            reason.get_or_insert(format!("the member \"{name}\" {fault}"));
        }
        cells.resize_with(cells.len().max(self.columns.names.len()), Cell::default);
        let Some(reason) = reason else { return Careful::Fine };
        let mut key = String::new();
        let readable = !self.columns.key.iter().any(|slot| faulty.contains(slot)) && self.columns.key_text(cells, &mut key).is_ok();
        Careful::Invalid(readable.then_some(key), reason)
    }

    /// Notes that the current line has the member; true if it had it already.
    #[inline]
    fn meet(&mut self, slot: usize, position: Position) -> bool {
        let twice = self.met[slot] == self.lines;
        self.met[slot] = self.lines;
        self.seen[slot].get_or_insert(position);
        twice
    }
}

enum Careful {
    Fine,
    Invalid(Option<String>, String),
    Broken(String),
}

fn at_column(e: &serde_json::Error) -> String {
    let text = e.to_string();
    // The line is always 1 here; the place in the file is named elsewhere.
    text.replace(" at line 1 column", " at column")
}

fn careful_cell<'a>(json: &'a str) -> Result<Cell<'a>, String> {
    let unquoted = json.strip_prefix('"').and_then(|s| s.strip_suffix('"'));
    if let Some(text) = unquoted
        && memchr(b'\\', text.as_bytes()).is_none()
    {
        return Ok(Cell::Text(text));
    }
    if unquoted.is_none() && holds_big_integer(json) {
        return Err(BIG_INTEGER.to_owned());
    }
    let value = Strict
        .deserialize(&mut serde_json::Deserializer::from_str(json))
        .map_err(|e| if e.is_data() { at_column(&e) } else { format!("cannot be read: {}", at_column(&e)) })?;
    Ok(Cell::of(value))
}

/// All members with their values' texts, names twice if they stand twice.
struct RawMembers<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    all.push(member);
                }
                Ok(RawMembers(all))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Reads one object's members into cells. Sets `fault` where the careful way must look again.
struct RowSeed<'p, 'a> {
    parser: &'p mut Parser,
    cells: &'p mut Vec<Cell<'a>>,
    place: (u32, u32),
    fault: &'p mut bool,
}

impl<'a> DeserializeSeed<'a> for RowSeed<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for RowSeed<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut place = 0;
        while let Some(slot) = map.next_key_seed(NameSeed { parser: self.parser, place })? {
            let Some(slot) = slot else {
                map.next_value::<IgnoredAny>()?;
                place += 1;
                continue;
            };
            if slot >= self.cells.len() {
                self.cells.resize_with(self.parser.columns.names.len(), Cell::default);
            }
            if self.parser.meet(slot, (self.place.0, self.place.1, place as u32)) {
                *self.fault = true;
            }
            self.cells[slot] = map.next_value_seed(CellSeed { fault: self.fault })?;
            place += 1;
        }
        self.parser.expected.truncate(place);
        Ok(())
    }
}

struct NameSeed<'p> {
    parser: &'p mut Parser,
    place: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    #[inline]
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.parser.slot(name, self.place))
    }
}

struct CellSeed<'p> {
    fault: &'p mut bool,
}

impl<'a> DeserializeSeed<'a> for CellSeed<'_> {
    type Value = Cell<'a>;

    #[inline]
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Cell<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for CellSeed<'_> {
    type Value = Cell<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Cell<'a>, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Cell<'a>, E> {
        Ok(Cell::Bool(b))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Cell<'a>, E> {
        Ok(Cell::Integer(i))
    }

    fn visit_u64<E>(self, u: u64) -> Result<Cell<'a>, E> {
        Ok(i64::try_from(u).map_or(Cell::Unsigned(u), Cell::Integer))
    }

    fn visit_f64<E>(self, f: f64) -> Result<Cell<'a>, E> {
        *self.fault |= may_be_big_integer(f);
        Ok(Cell::Float(f))
    }

    #[inline]
    fn visit_borrowed_str<E>(self, s: &'a str) -> Result<Cell<'a>, E> {
        Ok(Cell::Text(s))
    }

    fn visit_str<E>(self, s: &str) -> Result<Cell<'a>, E> {
        Ok(Cell::Owned(s.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Cell<'a>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict)? {
            *self.fault |= big_inside(&item);
            items.push(item);
        }
        Ok(Cell::Json(Box::new(items.into())))
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<Cell<'a>, A::Error> {
        let object = Strict.visit_map(map)?;
        *self.fault |= big_inside(&object);
        Ok(Cell::Json(Box::new(object)))
    }
}

fn big_inside(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(n) => n.is_f64() && n.as_f64().is_some_and(may_be_big_integer),
        serde_json::Value::Array(items) => items.iter().any(big_inside),
        serde_json::Value::Object(members) => members.values().any(big_inside),
        _ => false,
    }
}
