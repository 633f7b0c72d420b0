//! Reading a model's rows, snapshots, and the diff between the two.
//!
//! One streaming pass: the snapshot's hashes lie in a compact table, the source is cut into blocks that threads parse, hash and
//! look up side by side, and only rows that differ are kept, in memory and then in scratch files. A query's rows come as the lines
//! that a file would have. This crate must not know destinations, runs, stores or any network but the way to a model's database, and it
//! decides nothing about what is sent; unsafe code has no place in it.

mod cell;
mod columns;
mod diff;
mod error;
mod push;
mod request;
mod sample;
mod share;
mod snapshot;
mod source;
mod spool;

pub use diff::{Changes, diff};
pub use error::{ErrorKind, SourceError};
pub use push::{Folded, fold};
pub use request::{BroughtFiles, Diff, DiffRequest, FieldMapping, FileSource, Format, InvalidRow, PostgresSource, Sample, Source};
pub use sample::sample;
pub use share::Share;
pub use snapshot::{CompactSummary, DeltaSummary, compact, snapshot_rows, write_delta};
pub use source::files::source_version;
pub use source::postgres::names_socket;
