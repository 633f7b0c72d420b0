//! A cursor over a document: a value, the path that leads to it and the list that problems go to. It must not know what any key means.

use super::keys::{Key, Section};
use super::nearest;
use crate::model::project::Problem;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashSet;

/// The problems found so far, each once, in the order they were found.
#[derive(Default)]
pub(super) struct Problems {
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    list: Vec<Problem>,
    /// Path and message of each.
    known: HashSet<(String, String)>,
}

impl Problems {
    /// Adds one. A destination's action is read again by each export that uses it, so the same problem may come twice.
    pub(super) fn add(&self, path: &str, message: impl Into<String>) {
        let message = message.into();
        let Found { list, known } = &mut *self.found.borrow_mut();
        if known.insert((path.to_string(), message.clone())) {
            list.push(Problem { path: path.to_string(), message });
        }
    }

    /// What was found.
    pub(super) fn into_list(self) -> Vec<Problem> {
        self.found.into_inner().list
    }
}

/// A path one key longer; a key that could be misread is put into brackets and quotes.
pub fn path_of_key(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && !key.contains(|c: char| matches!(c, '.' | '[' | ']' | '"') || c.is_whitespace() || c.is_control());
    match (plain, path.is_empty()) {
        (true, true) => key.to_string(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{}]", Value::from(key)),
    }
}

/// A path one list place longer, counted from 0.
pub fn path_of_item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Place<'a> {
    path: String,
    content: Content<'a>,
    problems: &'a Problems,
    key: Option<&'static Key>,
}

#[derive(Clone)]
enum Content<'a> {
    Plain(&'a Value),
    /// An object whose entries come from several places of the document.
    Merged(Vec<(&'a str, Place<'a>)>),
}

impl<'a> Place<'a> {
    /// The whole document.
    pub(super) fn top(value: &'a Value, problems: &'a Problems) -> Place<'a> {
        Place { path: String::new(), content: Content::Plain(value), problems, key: None }
    }

    /// An object put together from entries that keep their own paths; it stands for `self`.
    pub(super) fn merged(&self, entries: Vec<(&'a str, Place<'a>)>) -> Place<'a> {
        Place { content: Content::Merged(entries), ..self.clone() }
    }

    /// The path from the top.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The list that problems go to.
    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Reports a problem here.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.problems.add(&self.path, message);
    }

    /// Whether null was written.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.content, Content::Plain(Value::Null))
    }

    /// Whether an object stands here.
    pub(super) fn is_object(&self) -> bool {
        matches!(self.content, Content::Plain(Value::Object(_)) | Content::Merged(_))
    }

    /// Whether a list stands here.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.content, Content::Plain(Value::Array(_)))
    }

    /// Whether nothing is asked for: null, an empty list or an empty object.
    fn is_nothing(&self) -> bool {
        match &self.content {
            Content::Plain(Value::Null) => true,
            Content::Plain(Value::Array(list)) => list.is_empty(),
            Content::Plain(Value::Object(map)) => map.is_empty(),
            Content::Plain(_) => false,
            Content::Merged(entries) => entries.is_empty(),
        }
    }

    /// Whatever stands here, unless it is put together from several places.
    pub(super) fn value(&self) -> Option<&'a Value> {
        match self.content {
            Content::Plain(value) => Some(value),
            Content::Merged(_) => None,
        }
    }

    /// The text that stands here, if it is one; reports nothing.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match self.content {
            Content::Plain(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The whole number that stands here, if it is one; reports nothing.
    pub(super) fn as_integer(&self) -> Option<u64> {
        match self.content {
            Content::Plain(value) => value.as_u64(),
            Content::Merged(_) => None,
        }
    }

    /// Reports that something of another type belongs here, with the key's example.
    pub(super) fn expected<T>(&self, what: &str) -> Option<T> {
        let found = match &self.content {
            Content::Plain(Value::Null) => "nothing",
            Content::Plain(Value::Bool(_)) => "true or false",
            Content::Plain(Value::Number(_)) => "a number",
            Content::Plain(Value::String(_)) => "a text",
            Content::Plain(Value::Array(_)) => "a list",
            Content::Plain(Value::Object(_)) | Content::Merged(_) => "an object",
        };
        match self.key {
            Some(key) => self.problem(format!("expected {what}, as in `{}: {}`; found {found}", key.name, key.example)),
            None => self.problem(format!("expected {what}; found {found}")),
        }
        None
    }

    /// A text, possibly empty.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.as_text().or_else(|| self.expected("a text"))
    }

    /// A text with something in it.
    pub(super) fn filled_text(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.problem("is empty; write something or leave the key away");
            return None;
        }
        Some(text)
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.content {
            Content::Plain(Value::Bool(value)) => Some(*value),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number within inclusive bounds.
    pub(super) fn integer(&self, low: u64, high: u64) -> Option<u64> {
        let Some(number) = self.as_integer() else {
            return self.expected(&format!("a whole number from {low} to {high}"));
        };
        if !(low..=high).contains(&number) {
            self.problem(format!("{number} is out of bounds; write a whole number from {low} to {high}"));
            return None;
        }
        Some(number)
    }

    /// A number within inclusive bounds.
    pub(super) fn number(&self, low: f64, high: f64) -> Option<f64> {
        let number = match self.content {
            Content::Plain(Value::Number(number)) => number.as_f64(),
            _ => None,
        };
        let Some(number) = number else {
            return self.expected(&format!("a number from {low} to {high}"));
        };
        if !(low..=high).contains(&number) {
            self.problem(format!("{number} is out of bounds; write a number from {low} to {high}"));
            return None;
        }
        Some(number)
    }

    /// One of some words; `later` are words that the documents know and this version does not.
    pub(super) fn choice<T: Copy>(&self, options: &[(&'static str, T)], later: &[&str]) -> Option<T> {
        let words: Vec<&str> = options.iter().map(|(word, _)| *word).collect();
        let Some(text) = self.as_text() else {
            return self.expected(&format!("one of {}", words.join(", ")));
        };
        if let Some((_, value)) = options.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if later.contains(&text) {
            self.problem(format!("`{text}` is not available in this version; use {}", nearest::either(&words)));
        } else {
            self.problem(format!("`{text}` is not known here; {}", nearest::suggestion(text, &words)));
        }
        None
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Option<Vec<Place<'a>>> {
        let Content::Plain(Value::Array(items)) = self.content else {
            return self.expected("a list");
        };
        let item = |(index, value)| Place {
            path: path_of_item(&self.path, index),
            content: Content::Plain(value),
            problems: self.problems,
            key: self.key,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The entries of an object whose keys are free.
    pub(super) fn map(&self) -> Option<Vec<(&'a str, Place<'a>)>> {
        match &self.content {
            Content::Plain(Value::Object(map)) => {
                let entry = |(name, value): (&'a String, &'a Value)| {
                    let path = path_of_key(&self.path, name);
                    (name.as_str(), Place { path, content: Content::Plain(value), problems: self.problems, key: self.key })
                };
                Some(map.iter().map(entry).collect())
            }
            Content::Merged(entries) => Some(entries.clone()),
            Content::Plain(_) => self.expected("an object"),
        }
    }

    /// An object whose keys are those of a section. Unknown keys, and keys that this version does not know yet, are reported.
    pub(super) fn object(&self, section: &'static Section) -> Option<Object<'a>> {
        let mut entries = self.map()?;
        for (name, place) in &mut entries {
            match section.key(name) {
                None => {
                    let known: Vec<&str> = section.keys.iter().filter(|key| !key.later).map(|key| key.name).collect();
                    place.problem(format!("unknown key `{name}`; {}", nearest::suggestion(name, &known)));
                }
                Some(key) => {
                    place.key = Some(key);
                    if key.later && !place.is_nothing() {
                        place.problem(format!("`{name}` is not available in this version; take it out"));
                    }
                }
            }
        }
        Some(Object { place: self.clone(), section, entries })
    }
}

/// An object with known keys.
pub(super) struct Object<'a> {
    place: Place<'a>,
    section: &'static Section,
    entries: Vec<(&'a str, Place<'a>)>,
}

impl<'a> Object<'a> {
    /// Where the object stands.
    pub(super) fn place(&self) -> &Place<'a> {
        &self.place
    }

    /// What is written under a key, null included.
    pub(super) fn written(&self, name: &str) -> Option<Place<'a>> {
        debug_assert!(self.section.key(name).is_some(), "{name} is missing in the table of {}", self.section.place);
        self.entries.iter().find(|(key, _)| *key == name).map(|(_, place)| place.clone())
    }

    /// What is written under a key, unless it is null.
    pub(super) fn given(&self, name: &str) -> Option<Place<'a>> {
        self.written(name).filter(|place| !place.is_null())
    }

    /// What is written under a key that must be there.
    pub(super) fn required(&self, name: &str) -> Option<Place<'a>> {
        let given = self.given(name);
        if given.is_none()
            && let Some(key) = self.section.key(name)
        {
            let path = path_of_key(self.place.path(), name);
            self.place.problems.add(&path, format!("`{name}` is missing; write one, as in `{name}: {}`", key.example));
        }
        given
    }
}
