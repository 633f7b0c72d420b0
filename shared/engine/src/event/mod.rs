//! Events: taken once, matched with rules, and owed as errands. It must not send anything: that is `deliver`'s, which runs an errand's
//! steps through what stands here.
//!
//! The way of an event: `line` reads it, `take` claims its id, matches rules and writes an errand and a parcel for each delivery;
//! `shape` is what was pinned then; `fetch` runs the requests of an errand; `scope` is what its templates see;
//! `again` puts one back when a person asks for it.

pub mod again;
pub mod errand;
pub mod fetch;
pub mod line;
pub mod sample;
mod scope;
pub mod shape;
pub mod take;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Tells it from all others of the organization for a day; 1 to 128 characters.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened, as it was written (RFC 3339).
    pub time: String,
    /// What is known of it.
    pub data: Value,
}

impl Event {
    /// Whom it is about: `data.contact`, or `data` where there is none.
    pub fn contact(&self) -> &Value {
        self.data.get("contact").filter(|contact| contact.is_object()).unwrap_or(&self.data)
    }

    /// As conditions and templates see it.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("plain data always serializes")
    }
}

/// A URL with the variables of a rule, written in single brackets (VX-05), made into one with tags, and their names. What stands in
/// double brackets stays as it is.
pub fn single_brackets(url: &str) -> (String, Vec<String>) {
    let (mut out, mut names): (String, Vec<String>) = (String::with_capacity(url.len()), Vec::new());
    let mut rest = url;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = match rest.strip_prefix("{{") {
            Some(_) => rest.find("}}").map_or(rest.len(), |end| end + 2 + rest[end + 2..].bytes().take_while(|byte| *byte == b'}').count()),
            None => {
                let name = rest[1..].split('}').next().unwrap_or_default();
                let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                let closed = rest[1 + name.len()..].starts_with('}');
                if closed && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.bytes().all(word) {
                    out.push_str(&format!("{{{{variables.{name}}}}}"));
                    if !names.iter().any(|known| known == name) {
                        names.push(name.to_string());
                    }
                    rest = &rest[name.len() + 2..];
                    continue;
                }
                1
            }
        };
        out.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    out.push_str(rest);
    (out, names)
}
