//! Snapshot files: Parquet, sorted by key hash, a base and deltas over it. It must not know sources or what a change leads to.
//!
//! The hash columns are plain and uncompressed, so that reading them is hardly more than copying; keys and fields lie in small
//! compressed pages, so that reading a few rows does not unpack all. Field names and the format's version stand in the file's metadata.

mod merge;
mod read;
mod sort;
mod write;

pub(crate) use merge::{Hashes, Merged, Reorder, names_of, reorders};
pub(crate) use read::{HashRow, Positions, SnapshotFile, open_all};
pub use write::{CompactSummary, DeltaSummary, compact, write_delta};

use crate::error::SourceError;
use engine::model::change::EntryState;
use std::path::PathBuf;

const FORMAT_KEY: &str = "penstock.snapshot.format";
const FORMAT: &str = "1";
const FIELDS_KEY: &str = "penstock.snapshot.fields";

/// The columns, in the order of the file.
const COLUMNS: [&str; 8] = ["key_hi", "key_lo", "row_hi", "row_lo", "state", "key", "fields", "uncertain"];
const KEY_HI: usize = 0;
const KEY_LO: usize = 1;
const ROW_HI: usize = 2;
const ROW_LO: usize = 3;
const STATE: usize = 4;
const KEY: usize = 5;
const FIELDS: usize = 6;
const UNCERTAIN: usize = 7;

/// The state a number in a snapshot stands for.
pub(crate) fn state_of(number: u8) -> Option<EntryState> {
    use EntryState::*;
    [Delivered, UncertainAdd, UncertainChange, UncertainRemove, GivenUpAdd, GivenUpChange, GivenUpRemove, Skipped, Gone]
        .into_iter()
        .find(|state| *state as u8 == number)
}

/// Whether the destination has the row, as far as is known.
pub(crate) fn is_live(state: EntryState) -> bool {
    !matches!(state, EntryState::GivenUpAdd | EntryState::GivenUpRemove | EntryState::Gone)
}

/// Whether an entry of this state without fields takes those of the older entry: what was delivered before it.
fn inherits(state: EntryState) -> bool {
    use EntryState::*;
    matches!(state, UncertainChange | UncertainRemove | GivenUpChange | GivenUpRemove)
}

/// How many rows the destination has, as far as the snapshot knows: what a guard's percentage refers to. `files` from the base to
/// the newest delta.
///
/// # Errors
/// A file that is missing, torn or no snapshot.
pub fn snapshot_rows(files: &[PathBuf]) -> Result<u64, SourceError> {
    let mut live = 0;
    for row in Hashes::new(&open_all(files)?)? {
        live += u64::from(is_live(row?.state));
    }
    Ok(live)
}
