//! Names of definitions: what documents, files and URLs call them.

use serde::{Deserialize, Serialize};

/// A name of 1 to 64 characters out of `a-z`, `0-9`, `_` and `-`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks `text`; the error is a sentence fragment that says what is allowed.
    pub fn new(text: &str) -> Result<Name, String> {
        let ok = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
            && !text.starts_with(['_', '-']);
        if ok {
            Ok(Name(text.to_string()))
        } else {
            Err(format!("`{text}` is not a name: use 1 to 64 of a-z, 0-9, _ and -, starting with a letter or digit"))
        }
    }

    /// The name of an event type: one in which single dots may stand between the letters, as in `contact.subscribed`.
    pub fn dotted(text: &str) -> Result<Name, String> {
        let whole = text.len() <= 64 && text.split('.').all(|part| Name::new(part).is_ok());
        if whole {
            Ok(Name(text.to_string()))
        } else {
            Err(format!("`{text}` is not an event type: use 1 to 64 of a-z, 0-9, _ and -, with dots between words, as in `order.placed`"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(text: String) -> Result<Name, String> {
        Name::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
