//! What a diff says about one row, and what a snapshot remembers of it.

use serde_json::Value;
use std::sync::Arc;

/// What happened to a row since the destination last acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// The destination does not have the row.
    Added,
    /// The destination has it with other fields.
    Changed,
    /// The destination has it, the model no longer does.
    Removed,
}

/// The names of a row's fields, in the export's order; shared by all rows of a plan.
pub type FieldNames = Arc<[String]>;

/// A row's field values, in the order of its [`FieldNames`].
pub type Fields = Vec<Value>;

/// One change, as `rows` reports it to the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The key's text, the columns of a composite key joined by U+001F.
    pub key: String,
    /// Keyed 128-bit hash of the key's text.
    pub key_hash: u128,
    /// Keyed 128-bit hash of the exported fields; of a removed row, the one in the snapshot.
    pub row_hash: u128,
    /// The row's fields; of a removed row, those last delivered (or, of an uncertain addition, those last sent).
    pub fields: Fields,
    /// What the snapshot holds of this key, if anything; `finish` needs it when the change fails.
    pub before: Option<Entry>,
}

/// How far a snapshot's row is known to have reached the destination (semantics.md, 2 and 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryState {
    /// Acknowledged.
    Delivered = 0,
    /// An addition that may or may not have arrived. No delivered fields are known.
    UncertainAdd = 1,
    /// A change that may or may not have arrived; `fields` are those delivered before.
    UncertainChange = 2,
    /// A removal that may or may not have arrived.
    UncertainRemove = 3,
    /// An addition that was given up; sent again only when the row's hash differs.
    GivenUpAdd = 4,
    /// A change that was given up; `row_hash` is the one given up, `fields` those delivered before.
    GivenUpChange = 5,
    /// A removal that was given up.
    GivenUpRemove = 6,
    /// Taken as it is without being sent (an action that is off, `first_run: skip`, `--adopt`).
    Skipped = 7,
    /// Only in deltas: the key is gone.
    Gone = 8,
}

/// One row of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// How far the row is known to have reached the destination.
    pub state: EntryState,
    /// Hash of the fields in question.
    pub row_hash: u128,
    /// The fields last delivered, where any were.
    pub fields: Option<Fields>,
    /// The fields of an attempt whose outcome is not known.
    pub uncertain: Option<Fields>,
}

/// A row of a delta about to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaRow {
    /// Keyed hash of the key.
    pub key_hash: u128,
    /// The key's text.
    pub key: String,
    /// What the snapshot remembers from now on.
    pub entry: Entry,
}
