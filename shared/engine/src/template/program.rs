//! The compiled form of a template: a flat list of operations with jumps, and what is known about it before it runs.
//!
//! It must not be built anywhere but in `compile`, which guarantees that jumps, frames and text ranges lie within bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::RESERVED;

/// A compiled template.
#[derive(Debug)]
pub(super) struct Program {
    pub source: Box<str>,
    pub ops: Vec<Op>,
    /// How many frames are alive at once, at most.
    pub frames: usize,
    pub usage: Usage,
}

/// One operation. Jump targets are indexes into `ops`.
#[derive(Debug)]
pub(super) enum Op {
    /// Literal text: a range of the source.
    Text(Range<usize>),
    /// Puts out a value.
    Emit { expression: Expression, how: How, at: usize },
    /// Goes on if the condition is truthy (falsy, if `negate`), else jumps.
    Test { expression: Expression, negate: bool, include_zero: Option<Expression>, otherwise: usize },
    /// Jumps.
    Jump { to: usize },
    /// Opens a frame on the first item, or jumps if there is none.
    Each { expression: Expression, otherwise: usize, at: usize },
    /// Moves the innermost frame to its next item and jumps to `body`; after the last, closes the frame and goes on.
    Next { body: usize },
    /// Opens a frame on the value, or jumps if it is empty.
    With { expression: Expression, otherwise: usize, at: usize },
    /// Closes the innermost frame.
    EndWith,
}

/// In which form a value is put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// `{{x}}`
    Plain,
    /// `{{{x}}}`
    Raw,
    /// `{{json x}}`
    Literal,
}

/// What yields a value.
#[derive(Debug)]
pub(super) enum Expression {
    Path(Path),
    Literal(Value),
    Call { helper: Helper, arguments: Vec<Expression> },
}

/// A path with its start resolved.
#[derive(Debug)]
pub(super) struct Path {
    pub base: Base,
    pub steps: Box<[Step]>,
}

/// Where a path starts. Numbers are frames, from the outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The top level itself.
    Root,
    /// The top level; the first step is a name looked up there.
    Named,
    User,
    Users,
    Previous,
    /// The frame's value.
    Frame(usize),
    /// The key within an object, the index within a list.
    Key(usize),
    Index(usize),
    First(usize),
    Last(usize),
}

/// One step of a path.
#[derive(Debug)]
pub(super) struct Step {
    pub name: Box<str>,
    /// The name as a list's index.
    pub index: Option<usize>,
    /// Whether the name is one of [`RESERVED`].
    pub reserved: bool,
    /// Where the field stood in the last row that was asked. Only a guess: the name there is compared before it is believed.
    hint: AtomicU32,
}

impl Step {
    pub fn new(name: &str) -> Step {
        Step { name: name.into(), index: list_index(name), reserved: RESERVED.contains(&name), hint: AtomicU32::new(0) }
    }

    pub fn hint(&self) -> usize {
        self.hint.load(Ordering::Relaxed) as usize
    }

    pub fn set_hint(&self, index: usize) {
        self.hint.store(u32::try_from(index).unwrap_or(0), Ordering::Relaxed);
    }
}

/// `0`, `17`, but neither `-1` nor `007`.
pub(super) fn list_index(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (name == "0" || !name.starts_with('0')) { name.parse().ok() } else { None }
}

/// The helpers that yield a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Helper {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    And,
    Or,
    Not,
    Len,
    Lookup,
    Json,
}

/// Name, helper, fewest and most arguments.
pub(super) const HELPERS: [(&str, Helper, usize, usize); 12] = [
    ("eq", Helper::Eq, 2, 2),
    ("ne", Helper::Ne, 2, 2),
    ("gt", Helper::Gt, 2, 2),
    ("gte", Helper::Gte, 2, 2),
    ("lt", Helper::Lt, 2, 2),
    ("lte", Helper::Lte, 2, 2),
    ("and", Helper::And, 2, 100),
    ("or", Helper::Or, 2, 100),
    ("not", Helper::Not, 1, 1),
    ("len", Helper::Len, 1, 1),
    ("lookup", Helper::Lookup, 2, 2),
    ("json", Helper::Json, 1, 1),
];

/// A field of a row that a template reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUse {
    /// Line of its first use, from 1.
    pub line: usize,
    /// Column of its first use, characters from 1.
    pub column: usize,
    /// Whether it is read by its bare name at the top level only, where it may as well be a root that the scope brings.
    pub top_level: bool,
}

/// What a template reads, as far as can be known without rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub(super) variables: BTreeSet<String>,
    pub(super) fields: BTreeMap<String, FieldUse>,
    pub(super) depends_on_row: bool,
}

impl Usage {
    /// The paths that are read from the top level, as `user.id` or `audience_name`; the top level as a whole is `this`.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(String::as_str)
    }

    /// Whether the root variable `name` is read (`user` and `row` count as one, as do `users` and `rows`).
    pub fn uses(&self, name: &str) -> bool {
        let canonical = |name: &str| -> String {
            match name {
                "row" => "user".to_owned(),
                "rows" => "users".to_owned(),
                other => other.to_owned(),
            }
        };
        let wanted = canonical(name);
        self.variables.iter().any(|path| canonical(path.split('.').next().unwrap_or(path)) == wanted)
    }

    /// Whether the output can differ between rows or deliveries: it reads `user`, `users`, `previous`, `delivery`, a name that is not
    /// reserved, or the top level as a whole.
    pub fn depends_on_row(&self) -> bool {
        self.depends_on_row
    }

    /// The fields of rows that are read by a name known now (not those that `lookup` computes).
    pub fn fields(&self) -> impl Iterator<Item = (&str, &FieldUse)> {
        self.fields.iter().map(|(name, field)| (name.as_str(), field))
    }

    /// Adds what another template of the same request reads.
    pub fn extend(&mut self, other: &Usage) {
        self.variables.extend(other.variables.iter().cloned());
        for (name, field) in &other.fields {
            let known = self.fields.entry(name.clone()).or_insert_with(|| field.clone());
            known.top_level &= field.top_level;
        }
        self.depends_on_row |= other.depends_on_row;
    }
}
