//! Values while a template runs: views of rows and trees, never copies; how they are looked up, compared and written.
//!
//! It must not decide what a value may do in the output: that is the sinks' part.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::program::{Step, list_index};
use super::scope::{Row, Scope};

/// A value, borrowed from the scope or the template.
#[derive(Clone, Copy, Debug)]
pub(super) enum View<'a> {
    Missing,
    Json(&'a Value),
    /// A row, as an object.
    Row(&'a Row<'a>),
    /// The rows, as an array.
    Rows(&'a [Row<'a>]),
    /// The top level.
    Root(&'a Scope<'a>),
    Text(&'a str),
    Count(usize),
    Bool(bool),
}

impl<'a> View<'a> {
    pub fn of(value: Option<&'a Value>) -> View<'a> {
        value.map_or(View::Missing, View::Json)
    }

    /// The top level stands for its row where it has one.
    fn settled(self) -> View<'a> {
        match self {
            View::Root(scope) => scope.row().map_or(View::Missing, View::Row),
            other => other,
        }
    }

    pub fn is_missing(self) -> bool {
        matches!(self.settled(), View::Missing)
    }

    pub fn is_null(self) -> bool {
        matches!(self, View::Json(Value::Null))
    }

    pub fn as_text(self) -> Option<&'a str> {
        match self {
            View::Text(text) => Some(text),
            View::Json(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn as_bool(self) -> Option<bool> {
        match self {
            View::Bool(value) => Some(value),
            View::Json(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    fn as_number(self) -> Option<Number> {
        match self {
            View::Count(count) => Some(Number::from(count)),
            View::Json(Value::Number(number)) => Some(number.clone()),
            _ => None,
        }
    }

    /// As Handlebars has it: false, null, missing, `""`, 0 and empty lists are falsy; objects are truthy.
    pub fn is_truthy(self, include_zero: bool) -> bool {
        match self.settled() {
            View::Missing | View::Json(Value::Null) => false,
            View::Json(Value::Array(items)) => !items.is_empty(),
            View::Rows(rows) => !rows.is_empty(),
            View::Json(Value::Object(_)) | View::Row(_) | View::Root(_) => true,
            other => {
                if let Some(text) = other.as_text() {
                    !text.is_empty()
                } else if let Some(value) = other.as_bool() {
                    value
                } else {
                    include_zero || other.as_number().and_then(|number| number.as_f64()) != Some(0.0)
                }
            }
        }
    }

    /// Nothing to open a `#with` on.
    pub fn is_empty(self) -> bool {
        !self.is_truthy(true)
    }

    /// One step of a path.
    #[inline]
    pub fn step(self, step: &Step) -> View<'a> {
        match self {
            View::Row(row) => field(row, step),
            View::Json(Value::Object(object)) => View::of(object.get(&*step.name)),
            View::Json(Value::Array(items)) => match step.index {
                Some(index) => View::of(items.get(index)),
                None => length_of(&step.name, items.len()),
            },
            View::Rows(rows) => match step.index {
                Some(index) => rows.get(index).map_or(View::Missing, View::Row),
                None => length_of(&step.name, rows.len()),
            },
            View::Root(scope) => named(scope, step),
            _ => View::Missing,
        }
    }

    /// `lookup`: a step whose name is a value.
    pub fn lookup(self, key: View<'a>) -> View<'a> {
        let digits;
        let name = match (key.as_text(), key.as_number()) {
            (Some(text), _) => text,
            (None, Some(number)) => {
                digits = number.to_string();
                &digits
            }
            _ => return View::Missing,
        };
        match self {
            View::Row(row) => View::of(row.get(name)),
            View::Json(Value::Object(object)) => View::of(object.get(name)),
            View::Json(Value::Array(items)) => View::of(list_index(name).and_then(|index| items.get(index))),
            View::Rows(rows) => list_index(name).and_then(|index| rows.get(index)).map_or(View::Missing, View::Row),
            View::Root(scope) => match name {
                "user" | "row" => scope.row().map_or(View::Missing, View::Row),
                "users" | "rows" => View::Rows(scope.rows),
                "previous" => scope.previous.as_ref().map_or(View::Json(&Value::Null), View::Row),
                _ => named(scope, &Step::new(name)),
            },
            _ => View::Missing,
        }
    }

    /// `len`: items of a list, fields of an object, characters of a text.
    pub fn length(self) -> usize {
        match self.settled() {
            View::Json(Value::Array(items)) => items.len(),
            View::Json(Value::Object(object)) => object.len(),
            View::Rows(rows) => rows.len(),
            View::Row(row) => row.names.len(),
            other => other.as_text().map_or(0, |text| text.chars().count()),
        }
    }

    /// What reading the whole of a text costs, in operations.
    pub fn weight(self) -> u64 {
        self.as_text().map_or(0, |text| text.len() as u64 / 64)
    }

    /// Equal as JSON values; numbers by their size, whatever their spelling. Compared lists and objects cost `fuel` an item.
    pub fn equals(self, other: View<'a>, fuel: &mut u64) -> bool {
        *fuel = fuel.saturating_sub(1 + self.weight().min(other.weight()));
        if *fuel == 0 {
            return false;
        }
        if let (Some(one), Some(two)) = (self.as_number(), other.as_number()) {
            return compare_numbers(&one, &two) == Some(Ordering::Equal);
        }
        if let (Some(one), Some(two)) = (self.as_text(), other.as_text()) {
            return one == two;
        }
        if let (Some(one), Some(two)) = (self.as_bool(), other.as_bool()) {
            return one == two;
        }
        match (self.settled(), other.settled()) {
            (View::Missing | View::Json(Value::Null), View::Missing | View::Json(Value::Null)) => true,
            (View::Json(Value::Array(one)), View::Json(Value::Array(two))) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| View::Json(one).equals(View::Json(two), fuel))
            }
            (View::Json(Value::Object(one)), View::Json(Value::Object(two))) => {
                let same = |(name, value): (&String, &'a Value)| {
                    two.get(name).is_some_and(|other| View::Json(value).equals(View::Json(other), fuel))
                };
                one.len() == two.len() && one.iter().all(same)
            }
            (View::Row(one), View::Row(two)) => {
                let same = |(name, value): (&String, &'a Value)| {
                    two.get(name).is_some_and(|other| View::Json(value).equals(View::Json(other), fuel))
                };
                one.names.len() == two.names.len() && one.names.iter().zip(one.values).all(same)
            }
            _ => false,
        }
    }

    /// The order of two numbers, of two texts, or of a number and a text that spells one; anything else has none.
    pub fn order(self, other: View<'a>) -> Option<Ordering> {
        match (self.as_text(), other.as_text()) {
            (Some(one), Some(two)) => Some(one.cmp(two)),
            (one, two) => {
                let number = |view: View<'a>, text: Option<&str>| match text {
                    Some(text) => serde_json::from_str(text.trim()).ok(),
                    None => view.as_number(),
                };
                compare_numbers(&number(self, one)?, &number(other, two)?)
            }
        }
    }

    /// Writes the value's text: text as it is, null and missing as nothing, lists and objects as JSON.
    pub fn write_text(self, out: &mut Vec<u8>) {
        match self {
            View::Missing | View::Json(Value::Null) => {}
            _ => match self.as_text() {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => self.write_literal(out),
            },
        }
    }

    /// Writes the value as a JSON literal; missing is null.
    pub fn write_literal(self, out: &mut Vec<u8>) {
        match self.settled() {
            View::Missing | View::Root(_) => out.extend_from_slice(b"null"),
            View::Json(value) => write_json(value, out),
            View::Text(text) => write_json_text(text, out),
            View::Count(count) => write_json_number(&Number::from(count), out),
            View::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            View::Row(row) => write_row(row, out),
            View::Rows(rows) => {
                out.push(b'[');
                for (index, row) in rows.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_row(row, out);
                }
                out.push(b']');
            }
        }
    }
}

/// A field of a row, looked for first where it stood in the last one.
#[inline]
pub(super) fn field<'a>(row: &'a Row<'a>, step: &Step) -> View<'a> {
    let hint = step.hint();
    if row.names.get(hint).is_some_and(|name| **name == *step.name) {
        return View::of(row.values.get(hint));
    }
    match row.names.iter().position(|name| **name == *step.name) {
        Some(index) => {
            step.set_hint(index);
            View::of(row.values.get(index))
        }
        None => View::Missing,
    }
}

/// A name at the top level that is none of the rows' own.
pub(super) fn named<'a>(scope: &'a Scope<'a>, step: &Step) -> View<'a> {
    match (scope.root(&step.name), scope.row()) {
        (Some(value), _) => View::Json(value),
        (None, Some(row)) if !step.reserved => field(row, step),
        _ => View::Missing,
    }
}

fn length_of<'a>(name: &str, length: usize) -> View<'a> {
    if name == "length" { View::Count(length) } else { View::Missing }
}

fn compare_numbers(one: &Number, two: &Number) -> Option<Ordering> {
    let whole = |number: &Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (whole(one), whole(two)) {
        (Some(one), Some(two)) => Some(one.cmp(&two)),
        _ => one.as_f64()?.partial_cmp(&two.as_f64()?),
    }
}

fn write_row(row: &Row<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in row.names.iter().zip(row.values).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json_text(name, out);
        out.push(b':');
        write_json(value, out);
    }
    out.push(b'}');
}

fn write_json(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => write_json_text(text, out),
        // A `Vec` takes every write and a `Value` has no key that is not text, so this can't fail.
        other => drop(serde_json::to_writer(out, other)),
    }
}

fn write_json_number(number: &Number, out: &mut Vec<u8>) {
    drop(serde_json::to_writer(out, number));
}

fn write_json_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape_json(text.as_bytes(), out);
    out.push(b'"');
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Which bytes can't stand in a JSON string as they are.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// The offset of the first byte that can't stand in a JSON string as it is. Eight bytes at a time: the three tests are exact up to and
/// including the first byte that meets one, since a borrow only reaches later bytes.
#[inline]
fn first_escaped(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let flags = |word: u64| {
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        control | zero_byte(word ^ (ONES * 0x22)) | zero_byte(word ^ (ONES * 0x5c))
    };
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = flags(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(index * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    // What is left of a longer text is tested with some bytes that are known to be plain.
    match text.last_chunk::<8>() {
        _ if rest.is_empty() => None,
        Some(word) => match flags(u64::from_le_bytes(*word)) {
            0 => None,
            found => Some(text.len() - 8 + (found.trailing_zeros() / 8) as usize),
        },
        None => rest.iter().position(|byte| ESCAPED[usize::from(*byte)]),
    }
}

/// Writes text (UTF-8) as the inside of a JSON string.
#[inline]
pub(super) fn escape_json(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(plain) = first_escaped(text) {
        out.extend_from_slice(&text[..plain]);
        let byte = text[plain];
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => 0,
        };
        if short == 0 {
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
        text = &text[plain + 1..];
    }
    out.extend_from_slice(text);
}
