//! One line of what is pushed: is it a row, or a change, and can its key be read as a source will read it (semantics.md 1)? It must not
//! judge anything else of a row.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// What a line of changes says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// This is the row from now on.
    Upsert,
    /// There is no row of this key any more.
    Remove,
}

/// Reads a line of changes: `{"upsert": {…}}` or `{"remove": {key}}`.
pub(super) fn change(line: &[u8], primary_key: &[String]) -> Result<Word, Vec<String>> {
    let one = |message: String| vec![message];
    let members = members(line).map_err(one)?;
    let [(name, value)] = members.as_slice() else {
        return Err(one("must have one member, `upsert` or `remove`".to_string()));
    };
    match name.as_str() {
        "upsert" => row(value.get().as_bytes(), primary_key).map(|()| Word::Upsert),
        "remove" => {
            let key = self::members(value.get().as_bytes()).map_err(one)?;
            let others = key.iter().filter(|(name, _)| !primary_key.contains(name));
            let mut wrong: Vec<String> = others.map(|(name, _)| format!("`{name}` is no column of the key; write the key alone")).collect();
            wrong.extend(key_problems(&key, primary_key));
            if wrong.is_empty() { Ok(Word::Remove) } else { Err(wrong) }
        }
        _ => Err(one(format!("unknown member `{name}`; write `upsert` or `remove`"))),
    }
}

/// Checks a row: an object without a member that stands there twice, with a key.
pub(super) fn row(line: &[u8], primary_key: &[String]) -> Result<(), Vec<String>> {
    let members = members(line).map_err(|message| vec![message])?;
    let wrong = key_problems(&members, primary_key);
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn key_problems(members: &[(String, &RawValue)], primary_key: &[String]) -> Vec<String> {
    let problem = |column: &String| {
        let value = members.iter().find(|(name, _)| name == column).map(|(_, value)| value.get());
        let why = match value {
            None => "is missing",
            Some(json) => not_a_key(json)?,
        };
        Some(format!("the key column `{column}` {why}"))
    };
    primary_key.iter().filter_map(problem).collect()
}

/// Why a value cannot be (part of) a key.
fn not_a_key(json: &str) -> Option<&'static str> {
    match serde_json::from_str(json) {
        Ok(Value::Null) => Some("is null"),
        Ok(Value::String(text)) if text.is_empty() => Some("is empty"),
        Ok(Value::String(text)) if text.contains('\u{1f}') => Some("holds the control character U+001F; take it out"),
        Ok(Value::String(_)) => None,
        Ok(Value::Number(number)) if number.is_i64() || number.is_u64() => None,
        Ok(Value::Number(_)) => Some("is a number with a fraction, or beyond 64 bits, which cannot be a key; send it as text"),
        Ok(Value::Bool(_)) => Some("is true or false, which cannot be a key; send it as text"),
        Ok(Value::Array(_) | Value::Object(_)) => Some("is a list or an object, which cannot be a key; send it as text"),
        Err(_) => Some("cannot be read"),
    }
}

fn members(json: &[u8]) -> Result<Vec<(String, &RawValue)>, String> {
    let text = std::str::from_utf8(json).map_err(|_| "is not valid UTF-8".to_string())?;
    let Members(members) = serde_json::from_str(text).map_err(|error| match error.is_data() {
        true => "is not a JSON object".to_string(),
        false => format!("is not valid JSON: {}", error.to_string().replace(" at line 1 column", " at column")),
    })?;
    let mut seen = HashSet::with_capacity(members.len());
    match members.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        Some((twice, _)) => Err(format!("the member `{twice}` stands twice in the object")),
        None => Ok(members),
    }
}

/// An object's members as they stand, twice if they stand twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(columns: &[&str]) -> Vec<String> {
        columns.iter().map(|column| (*column).to_string()).collect()
    }

    #[test]
    fn changes_are_upserts_with_a_key_and_removals_of_a_key_alone() {
        let id = key(&["id"]);
        for line in [
            r#"{"upsert": {"id": 1, "a": [1.5, {"b": null}]}}"#,
            r#"{"upsert":{"id":"\u00e9"}}"#,
            r#" { "upsert" : {"a":1,"id":18446744073709551615} } "#,
        ] {
            assert_eq!(change(line.as_bytes(), &id), Ok(Word::Upsert), "{line}");
        }
        assert_eq!(change(br#"{"remove": {"id": -1}}"#, &id), Ok(Word::Remove));
        assert_eq!(change(br#"{"remove": {"shop": "a", "id": 1}}"#, &key(&["id", "shop"])), Ok(Word::Remove));
    }

    #[test]
    fn every_line_that_is_no_change_says_why() {
        let id = key(&["id"]);
        for (line, why) in [
            ("", "is not valid JSON"),
            ("{\"upsert\": {\"id\": 1}", "is not valid JSON: EOF while parsing an object at column 20"),
            ("[]", "is not a JSON object"),
            ("7", "is not a JSON object"),
            ("{}", "must have one member, `upsert` or `remove`"),
            (r#"{"upsert": {"id": 1}, "remove": {"id": 1}}"#, "must have one member"),
            (r#"{"upsert": {"id": 1}, "upsert": {"id": 2}}"#, "the member `upsert` stands twice"),
            (r#"{"insert": {"id": 1}}"#, "unknown member `insert`; write `upsert` or `remove`"),
            (r#"{"id": 1}"#, "unknown member `id`"),
            (r#"{"upsert": 1}"#, "is not a JSON object"),
            (r#"{"remove": null}"#, "is not a JSON object"),
            (r#"{"upsert": {"ID": 1}}"#, "the key column `id` is missing"),
            (r#"{"upsert": {"id": 1, "a": 1, "a": 2}}"#, "the member `a` stands twice"),
            (r#"{"upsert": {"id": null}}"#, "the key column `id` is null"),
            (r#"{"upsert": {"id": ""}}"#, "the key column `id` is empty"),
            (r#"{"upsert": {"id": 1.5}}"#, "is a number with a fraction"),
            (r#"{"upsert": {"id": 1.0}}"#, "is a number with a fraction"),
            (r#"{"upsert": {"id": 18446744073709551616}}"#, "beyond 64 bits"),
            (r#"{"upsert": {"id": true}}"#, "is true or false"),
            (r#"{"upsert": {"id": [1]}}"#, "is a list or an object"),
            (r#"{"upsert": {"id": "a\u001fb"}}"#, "U+001F"),
            (r#"{"remove": {}}"#, "the key column `id` is missing"),
            (r#"{"remove": {"id": 1, "a": 2}}"#, "`a` is no column of the key; write the key alone"),
        ] {
            let wrong = change(line.as_bytes(), &id).expect_err(line);
            assert!(wrong.len() == 1 && wrong[0].contains(why), "{line}: {wrong:?}");
        }
        assert_eq!(change(b"{\"upsert\": {\"id\": \"\xff\"}}", &id), Err(vec!["is not valid UTF-8".to_string()]));
        let both = change(br#"{"remove": {"x": 1}}"#, &key(&["id", "shop"])).unwrap_err();
        assert_eq!(both.len(), 3, "{both:?}");
    }

    #[test]
    fn a_row_is_an_object_with_a_key() {
        assert_eq!(row(br#"{"id": 1}"#, &key(&["id"])), Ok(()));
        assert!(row(br#"{"upsert": {"id": 1}}"#, &key(&["id"])).is_err());
    }
}
