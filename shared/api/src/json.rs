//! JSON as it is taken: like any JSON, but a member that stands there twice is refused, since of two values nobody can tell which is
//! meant. It must not know what a member means.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads a text of JSON.
///
/// # Errors
/// Where and why it is none, or where a member stands for the second time.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Unambiguous>(bytes).map(|read| read.0)
}

struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unambiguous, D::Error> {
        deserializer.deserialize_any(Reader).map(Unambiguous)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unambiguous(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                let name: String = name.chars().take(60).collect();
                return Err(A::Error::custom(format!("the member `{name}` stands there twice; keep one")));
            }
            let Unambiguous(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_read_as_it_stands() {
        for value in
            [json!(null), json!(true), json!(-7), json!(18_446_744_073_709_551_615_u64), json!(0.1), json!("a\"ü"), json!([1, [2], {}])]
        {
            assert_eq!(read(value.to_string().as_bytes()).unwrap(), value);
        }
        let value = json!({"z": 1, "a": {"b": [null, {"c": "d"}]}});
        assert_eq!(read(value.to_string().as_bytes()).unwrap().to_string(), value.to_string(), "in the order it came");
    }

    #[test]
    fn a_member_that_stands_there_twice_is_refused_with_its_place() {
        let error = read(b"{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2}}").unwrap_err();
        assert!(error.to_string().contains("`c` stands there twice"), "{error}");
        assert_eq!(error.line(), 2);
        for wrong in ["", "{", "[1,]", "{\"a\":1} x", "nul", "\"\u{1}\""] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert!(read(deep.as_bytes()).is_err());
    }
}
