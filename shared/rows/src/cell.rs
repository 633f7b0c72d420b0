//! One value of a row on its way from a source: its canonical bytes for hashing, its text as a key, its form in the spool.
//! It must not know formats, columns or snapshots.

use serde_json::{Number, Value};
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// A value, borrowed from the block it was read from where that is possible.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Cell<'a> {
    #[default]
    Null,
    Text(&'a str),
    Owned(String),
    Integer(i64),
    /// Only above `i64::MAX`.
    Unsigned(u64),
    /// Always finite.
    Float(f64),
    Bool(bool),
    /// An array or object.
    Json(Box<Value>),
}

const TEXT: u8 = 1;
const INTEGER: u8 = 2;
const FLOAT: u8 = 3;
const FALSE: u8 = 4;
const TRUE: u8 = 5;
const ARRAY: u8 = 6;
const OBJECT: u8 = 7;
const NULL: u8 = 8;

const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// Separates the columns of a composite key; no key text may hold it.
pub(crate) const KEY_SEPARATOR: char = '\u{1f}';

impl<'a> Cell<'a> {
    /// The cell of a JSON value.
    pub fn of(value: Value) -> Cell<'a> {
        match value {
            Value::Null => Cell::Null,
            Value::Bool(b) => Cell::Bool(b),
            Value::String(s) => Cell::Owned(s),
            Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Cell::Integer(i),
                (None, Some(u)) => Cell::Unsigned(u),
                (None, None) => Cell::Float(n.as_f64().unwrap_or_default()),
            },
            nested => Cell::Json(Box::new(nested)),
        }
    }

    /// The value as templates see it.
    pub fn to_value(&self) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Text(s) => Value::String((*s).to_owned()),
            Cell::Owned(s) => Value::String(s.clone()),
            Cell::Integer(i) => Value::from(*i),
            Cell::Unsigned(u) => Value::from(*u),
            Cell::Float(f) => Number::from_f64(*f).map_or(Value::Null, Value::Number),
            Cell::Bool(b) => Value::Bool(*b),
            Cell::Json(v) => (**v).clone(),
        }
    }

    /// Appends the canonical form under a field's tag. Nulls leave nothing, so that an absent member and a null one are the same.
    #[inline]
    pub fn hash_into(&self, tag: u64, out: &mut Vec<u8>) {
        match self {
            Cell::Null => {}
            Cell::Text(s) => text(tag, s, out),
            Cell::Owned(s) => text(tag, s, out),
            Cell::Integer(i) => integer(tag, i128::from(*i), out),
            Cell::Unsigned(u) => integer(tag, i128::from(*u), out),
            Cell::Float(f) => float(tag, *f, out),
            Cell::Bool(b) => head(tag, if *b { TRUE } else { FALSE }, 0, out),
            Cell::Json(v) => value(tag, v, out),
        }
    }

    /// The text by which keys compare, or why this cannot be (part of) a key.
    #[inline]
    pub fn key_text(&self) -> Result<Cow<'_, str>, &'static str> {
        let text = match self {
            Cell::Null => return Err("is empty"),
            Cell::Text(s) => Cow::Borrowed(*s),
            Cell::Owned(s) => Cow::Borrowed(s.as_str()),
            Cell::Integer(i) => return Ok(Cow::Owned(i.to_string())),
            Cell::Unsigned(u) => return Ok(Cow::Owned(u.to_string())),
            // Beyond 2^53 the text of a float is not the number that was meant.
            Cell::Float(f) if f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0 => return Ok(Cow::Owned((*f as i64).to_string())),
            Cell::Float(_) => return Err("is a number with a fraction, which cannot be a key; send it as text"),
            Cell::Bool(_) => return Err("is true or false, which cannot be a key; send it as text"),
            Cell::Json(_) => return Err("is a list or an object, which cannot be a key; send it as text"),
        };
        if text.is_empty() {
            return Err("is empty");
        }
        if memchr::memchr(KEY_SEPARATOR as u8, text.as_bytes()).is_some() {
            return Err("holds the control character U+001F, which separates the columns of a key");
        }
        Ok(text)
    }

    /// Appends the spool's form; [`decode`] reads it back.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = |tag: u8, s: &[u8]| {
            out.push(tag);
            // Blocks are at most some 17 MiB, so a length always fits.
            out.extend_from_slice(&(s.len() as u32).to_le_bytes());
            out.extend_from_slice(s);
        };
        match self {
            Cell::Null => out.push(0),
            Cell::Text(s) => bytes(1, s.as_bytes()),
            Cell::Owned(s) => bytes(1, s.as_bytes()),
            Cell::Integer(i) => {
                out.push(2);
                out.extend_from_slice(&i.to_le_bytes());
            }
            Cell::Unsigned(u) => {
                out.push(3);
                out.extend_from_slice(&u.to_le_bytes());
            }
            Cell::Float(f) => {
                out.push(4);
                out.extend_from_slice(&f.to_le_bytes());
            }
            Cell::Bool(false) => out.push(5),
            Cell::Bool(true) => out.push(6),
            Cell::Json(v) => bytes(7, v.to_string().as_bytes()),
        }
    }
}

/// Reads back what [`Cell::encode`] wrote; `None` if these are not such bytes.
pub(crate) fn decode(input: &mut &[u8]) -> Option<Value> {
    let tag = take(input, 1)?[0];
    Some(match tag {
        0 => Value::Null,
        1 => Value::String(decode_text(input)?.to_owned()),
        2 => Value::from(i64::from_le_bytes(take(input, 8)?.try_into().ok()?)),
        3 => Value::from(u64::from_le_bytes(take(input, 8)?.try_into().ok()?)),
        4 => Value::Number(Number::from_f64(f64::from_le_bytes(take(input, 8)?.try_into().ok()?))?),
        5 => Value::Bool(false),
        6 => Value::Bool(true),
        7 => serde_json::from_str(decode_text(input)?).ok()?,
        _ => return None,
    })
}

/// The next `n` bytes of `input`.
#[inline]
pub(crate) fn take<'a>(input: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = input.split_at_checked(n)?;
    *input = tail;
    Some(head)
}

/// A text that stands behind its 32-bit length.
pub(crate) fn decode_text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    let length = u32::from_le_bytes(take(input, 4)?.try_into().ok()?);
    simdutf8::basic::from_utf8(take(input, length as usize)?).ok()
}

/// The hash of a key's text.
#[inline]
pub(crate) fn key_hash(text: &str, seed: u64) -> u128 {
    xxh3_128_with_seed(text.as_bytes(), seed)
}

/// The tag under which a field's value is hashed.
pub(crate) fn field_tag(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

#[inline]
fn head(tag: u64, kind: u8, length: usize, out: &mut Vec<u8>) {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&tag.to_le_bytes());
    bytes[8..].copy_from_slice(&((length as u64) << 8 | u64::from(kind)).to_le_bytes());
    out.extend_from_slice(&bytes);
}

#[inline]
fn text(tag: u64, s: &str, out: &mut Vec<u8>) {
    head(tag, TEXT, s.len(), out);
    out.extend_from_slice(s.as_bytes());
}

#[inline]
fn integer(tag: u64, i: i128, out: &mut Vec<u8>) {
    head(tag, INTEGER, 16, out);
    out.extend_from_slice(&i.to_le_bytes());
}

/// 1.0, 1e0 and 1 are one number, and so are -0.0 and 0.
fn float(tag: u64, f: f64, out: &mut Vec<u8>) {
    if f.fract() == 0.0 && f.abs() < TWO_TO_64 {
        integer(tag, f as i128, out);
    } else {
        head(tag, FLOAT, 8, out);
        out.extend_from_slice(&f.to_bits().to_le_bytes());
    }
}

fn value(tag: u64, v: &Value, out: &mut Vec<u8>) {
    match v {
        Value::Null => head(tag, NULL, 0, out),
        Value::Bool(b) => head(tag, if *b { TRUE } else { FALSE }, 0, out),
        Value::String(s) => text(tag, s, out),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => integer(tag, i128::from(i), out),
            (None, Some(u)) => integer(tag, i128::from(u), out),
            (None, None) => float(tag, n.as_f64().unwrap_or_default(), out),
        },
        Value::Array(items) => {
            head(tag, ARRAY, items.len(), out);
            items.iter().for_each(|item| value(0, item, out));
        }
        Value::Object(members) => {
            head(tag, OBJECT, members.len(), out);
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            for (name, member) in sorted {
                text(0, name, out);
                value(0, member, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn canonical(v: Value) -> Vec<u8> {
        let mut out = Vec::new();
        Cell::of(v).hash_into(7, &mut out);
        out
    }

    #[test]
    fn numbers_hash_by_value_not_by_spelling() {
        let spelled = |s: &str| canonical(serde_json::from_str(s).unwrap());
        assert_eq!(spelled("1"), spelled("1.0"));
        assert_eq!(spelled("1"), spelled("1e0"));
        assert_eq!(spelled("0"), spelled("-0.0"));
        assert_eq!(spelled("[1, {\"a\": 2}]"), spelled("[1.0, {\"a\": 2e0}]"));
        assert_eq!(spelled("18446744073709551615"), canonical(json!(u64::MAX)));
        assert_ne!(spelled("9007199254740993"), spelled("9007199254740992.0"));
        assert_ne!(spelled("0.1"), spelled("0.2"));
    }

    #[test]
    fn values_of_different_types_hash_differently() {
        let all =
            [json!(null), json!(""), json!("1"), json!(1), json!(true), json!([1]), json!({"1": 1}), json!([null]), json!([]), json!({})];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(canonical(a.clone()), canonical(b.clone()), "{a} and {b}");
            }
        }
    }

    #[test]
    fn the_order_of_members_does_not_count_and_neighbours_cannot_run_into_each_other() {
        assert_eq!(canonical(json!({"a": 1, "b": [2]})), canonical(json!({"b": [2], "a": 1})));
        assert_ne!(canonical(json!(["ab", "c"])), canonical(json!(["a", "bc"])));
        assert_ne!(canonical(json!([["a"], "b"])), canonical(json!([["a", "b"]])));
    }

    #[test]
    fn every_kind_of_cell_survives_the_spool() {
        for v in [
            json!(null),
            json!("é\n"),
            json!(-5),
            json!(u64::MAX),
            json!(0.1),
            json!(1.0),
            json!(true),
            json!(false),
            json!({"a": [1, null]}),
        ] {
            let mut bytes = Vec::new();
            Cell::of(v.clone()).encode(&mut bytes);
            let mut rest = bytes.as_slice();
            assert_eq!(decode(&mut rest), Some(v));
            assert!(rest.is_empty());
            assert_eq!(decode(&mut &bytes[..bytes.len() - 1]), None);
        }
    }
}
