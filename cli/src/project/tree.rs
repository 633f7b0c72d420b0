//! A document as a tree whose every node knows where it stands, whether it was written as YAML or as JSON. It must not know what a
//! project is.

use engine::configure::{path_of_item, path_of_key};
use serde_json::{Number, Value};

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The first character.
    pub const START: Position = Position { line: 1, column: 1 };
}

/// Something wrong with the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub at: Position,
    /// What, and what to do.
    pub message: String,
}

impl Flaw {
    /// A flaw at a place.
    pub fn new(at: Position, message: impl Into<String>) -> Flaw {
        Flaw { at, message: message.into() }
    }
}

/// How deep lists and objects may nest; the walks over the tree recurse.
pub const MAX_DEPTH: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its first character.
    pub at: Position,
    /// The value.
    pub kind: Kind,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// An object: key, where the key stands, value.
    Map(Vec<(String, Position, Node)>),
}

impl Node {
    /// The value alone.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Node::to_value).collect(),
            Kind::Map(entries) => Value::Object(entries.iter().map(|(key, _, node)| (key.clone(), node.to_value())).collect()),
        }
    }

    /// Where a problem's path leads: the key, the list item, or what of the way to it is there.
    pub fn position_of(&self, path: &str) -> Position {
        self.walk(path).0
    }

    /// Whether something stands at a path.
    pub fn has(&self, path: &str) -> bool {
        self.walk(path).1
    }

    /// How far a path leads, and whether that is its end.
    fn walk(&self, path: &str) -> (Position, bool) {
        let (mut node, mut at, mut here) = (self, Position::START, String::new());
        // A path is as deep as the document at most.
        while here != path {
            let step = match &node.kind {
                Kind::Map(entries) => entries
                    .iter()
                    .map(|(key, at, child)| (path_of_key(&here, key), *at, child))
                    .find(|(child_path, _, _)| leads_to(child_path, path)),
                Kind::List(items) => items
                    .iter()
                    .enumerate()
                    .map(|(index, child)| (path_of_item(&here, index), child.at, child))
                    .find(|(child_path, _, _)| leads_to(child_path, path)),
                _ => None,
            };
            let Some((child_path, position, child)) = step else { return (at, false) };
            (node, at, here) = (child, position, child_path);
        }
        (at, true)
    }

    /// How many nodes there are.
    pub fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::List(items) => items.iter().map(Node::count).sum(),
            Kind::Map(entries) => entries.iter().map(|(_, _, node)| node.count()).sum(),
            _ => 0,
        }
    }
}

/// Whether `path` is `prefix` or goes on below it.
fn leads_to(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
