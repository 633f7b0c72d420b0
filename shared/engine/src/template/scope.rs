//! What a template can see: rows as they lie in a plan, and a few named trees. Nothing is copied to build it.
//!
//! It must hold nothing that a template may not read: no secrets, no environment, no other organization's data.

use serde_json::Value;

/// Names that always mean what contract.md says, even where a row has a field of that name (it is still reachable as `user.<name>`).
pub const RESERVED: [&str; 12] = [
    "user",
    "row",
    "users",
    "rows",
    "previous",
    "audience_name",
    "audience_id",
    "audience",
    "organization_name",
    "run",
    "export",
    "delivery",
];

/// One row: names and values side by side, in the export's order.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The fields' names; shared by all rows of a batch.
    pub names: &'a [String],
    /// The fields' values, one for each name.
    pub values: &'a [Value],
}

impl<'a> Row<'a> {
    /// A row of these names and values.
    pub fn new(names: &'a [String], values: &'a [Value]) -> Row<'a> {
        Row { names, values }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        let index = self.names.iter().position(|each| each == name)?;
        self.values.get(index)
    }
}

/// What one rendering sees.
///
/// - `users` and `rows` are `rows`.
/// - `user` and `row` are the first of `rows`, if `individual`; else they are missing. For the URL and headers of a batch, which are
///   rendered row by row to group them, make a scope of that one row with `individual` set.
/// - `previous` is `previous`, or null.
/// - Any other top-level name is looked up in `roots` and, if `individual` and not one of [`RESERVED`], in the row's fields.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The rows of the request.
    pub rows: &'a [Row<'a>],
    /// Whether the request carries one row, whose fields also stand at the top level.
    pub individual: bool,
    /// The row as last delivered, where it changed.
    pub previous: Option<Row<'a>>,
    /// Named trees: `run`, `export`, `audience` and so on. The first of a name wins.
    pub roots: &'a [(&'a str, &'a Value)],
}

impl<'a> Scope<'a> {
    /// The row that `user` means.
    pub(super) fn row(&self) -> Option<&Row<'a>> {
        if self.individual { self.rows.first() } else { None }
    }

    /// A named tree.
    pub(super) fn root(&self, name: &str) -> Option<&'a Value> {
        self.roots.iter().find(|(each, _)| *each == name).map(|(_, value)| *value)
    }
}
