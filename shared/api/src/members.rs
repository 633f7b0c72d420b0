//! Reads the members of a JSON body into values, and collects every problem on the way. It must not know what a member means.

use crate::problem::Problem;
use engine::configure::{path_of_item, path_of_key, suggestion};
use engine::model::project::Problem as Found;
use serde_json::{Map, Value};

/// The members of an object, by name.
pub(crate) struct Members {
    path: String,
    members: Map<String, Value>,
    known: &'static [&'static str],
    found: Vec<Found>,
}

impl Members {
    /// Of a body. No body is an object without members.
    pub(crate) fn of(body: Option<Value>, known: &'static [&'static str]) -> Result<Members, Problem> {
        match body {
            None => Ok(Members::new(String::new(), Map::new(), known)),
            Some(Value::Object(members)) => Ok(Members::new(String::new(), members, known)),
            Some(other) => {
                let message = format!("expected an object; found {}", what(&other));
                Err(Problem::invalid(vec![Found { path: String::new(), message }]))
            }
        }
    }

    fn new(path: String, members: Map<String, Value>, known: &'static [&'static str]) -> Members {
        let unknown = members.keys().filter(|name| !known.contains(&name.as_str()));
        let found = unknown
            .map(|name| {
                let message = format!("unknown member `{name}`; {}", suggestion(name, known));
                Found { path: path_of_key(&path, name), message }
            })
            .collect();
        Members { path, members, known, found }
    }

    /// Reports a problem with a member.
    pub(crate) fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.found.push(Found { path: path_of_key(&self.path, name), message: message.into() });
    }

    /// Takes a member out; null counts as not given.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        debug_assert!(self.known.contains(&name), "`{name}` is missing in the list of known members");
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// True or false.
    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            other => self.expected(name, "true or false", &other),
        }
    }

    /// A whole number within inclusive bounds.
    pub(crate) fn number(&mut self, name: &str, low: u64, high: u64) -> Option<u64> {
        let value = self.take(name)?;
        match value.as_u64() {
            Some(number) if (low..=high).contains(&number) => Some(number),
            _ => self.expected(name, &format!("a whole number from {low} to {high}"), &value),
        }
    }

    /// A text of at most so many characters, with something in it.
    pub(crate) fn text(&mut self, name: &str, longest: usize) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if (1..=longest).contains(&text.chars().count()) => Some(text),
            Value::String(_) => {
                self.wrong(name, format!("must have 1 to {longest} characters"));
                None
            }
            other => self.expected(name, "a text", &other),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let list = self.list(name)?;
        let mut texts = Vec::new();
        for (index, item) in list.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => {
                    let message = format!("expected a text; found {}", what(&other));
                    self.found.push(Found { path: path_of_item(&path_of_key(&self.path, name), index), message });
                }
            }
        }
        Some(texts)
    }

    /// A list.
    pub(crate) fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(list) => Some(list),
            other => self.expected(name, "a list", &other),
        }
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(members) => Some(members),
            other => self.expected(name, "an object", &other),
        }
    }

    /// Reports a member that must be there and is not. Call it where reading gave nothing and reported nothing.
    pub(crate) fn required<T>(&mut self, name: &str, value: Option<T>, example: &str) -> Option<T> {
        let path = path_of_key(&self.path, name);
        if value.is_none() && !self.found.iter().any(|found| found.path.starts_with(&path)) {
            self.wrong(name, format!("`{name}` is missing; write one, as in `{{\"{name}\": {example}}}`"));
        }
        value
    }

    /// Reports that one of several members must be there.
    pub(crate) fn missing_one(&mut self, message: impl Into<String>) {
        self.found.push(Found { path: self.path.clone(), message: message.into() });
    }

    /// The end of reading: every problem, if there is any.
    pub(crate) fn done(self) -> Result<(), Problem> {
        if self.found.is_empty() { Ok(()) } else { Err(Problem::invalid(self.found)) }
    }

    fn expected<T>(&mut self, name: &str, expected: &str, found: &Value) -> Option<T> {
        self.wrong(name, format!("expected {expected}; found {}", what(found)));
        None
    }
}

fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
