//! What a caller asks for and gets: plain data. It must not read anything.

use crate::diff::Changes;
use crate::share::Share;
use engine::model::change::{FieldNames, Fields};
use engine::model::credential::Secret;
use std::path::PathBuf;

/// How the rows of a file are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Comma-separated values with a header line, RFC 4180.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}

/// Where rows come from: `type: file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// A file, a folder (its files, not those of sub-folders), or a glob pattern.
    pub path: PathBuf,
    /// The format; without one the extension tells: .csv .ndjson .jsonl .parquet, the first three also with .gz or .zst.
    pub format: Option<Format>,
}

/// Files that were brought here from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroughtFiles {
    /// Each file, and what people know it as: `s3://bucket/rows/part-0.csv`. At least one.
    pub files: Vec<(PathBuf, String)>,
    /// The format; without one the extensions tell.
    pub format: Option<Format>,
}

/// Where rows come from: `type: postgres`. Each read is one transaction that can only read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSource {
    /// The server, the database, the user and the password: a URL, or `key=value` pairs.
    pub dsn: Secret,
    /// One SELECT.
    pub query: String,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files.
    File(FileSource),
    /// Copies of files that lie elsewhere.
    Brought(BroughtFiles),
    /// The rows of a query.
    Postgres(PostgresSource),
    /// A file that [`crate::fold`] wrote.
    Pushed(PathBuf),
}

impl Source {
    /// The place that errors name.
    pub(crate) fn shown(&self) -> String {
        match self {
            Source::File(source) => source.path.display().to_string(),
            Source::Brought(source) => source.files.first().map_or_else(String::new, |(_, name)| name.clone()),
            Source::Postgres(_) => "the query".to_owned(),
            Source::Pushed(_) => "the pushed rows".to_owned(),
        }
    }
}

/// A field of the export and the source column it is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMapping {
    /// The source column.
    pub from: String,
    /// The field's name.
    pub to: String,
}

/// What to compare with what.
#[derive(Clone, Debug)]
pub struct DiffRequest {
    /// The current rows.
    pub source: Source,
    /// Source columns that make the key, at least one.
    pub primary_key: Vec<String>,
    /// The fields of the export; empty: all columns under their own names, in the order of the source.
    pub fields: Vec<FieldMapping>,
    /// Source columns whose change alone is no change.
    pub ignore: Vec<String>,
    /// Seeds the key and row hashes; must stay the same for all snapshots of an export.
    pub hash_seed: u64,
    /// Snapshot files: the base first, then deltas from the oldest to the newest. Empty: nothing was ever delivered.
    pub snapshot: Vec<PathBuf>,
    /// Whether changed rows carry their last delivered fields in `before`.
    pub want_previous: bool,
    /// `--full`: all present rows come as added, removals as ever.
    pub resend_all: bool,
    /// Only these keys: rows and entries of others are read and left aside.
    pub share: Share,
    /// More keys than this, those of the snapshot and new ones together, are refused (`TooMany`), and so are as many rows whose key stands
    /// twice. A key takes some 25 bytes, twice that while lists grow.
    pub most_keys: usize,
    /// A directory for scratch files; they vanish with the process.
    pub scratch: PathBuf,
    /// How many threads parse, at least 1.
    pub threads: usize,
    /// Bytes of changes that are held in memory before they go to scratch files.
    pub spool_memory: usize,
}

/// A row that is never sent, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRow {
    /// `rows/newsletter.csv line 17`, `part-0.parquet row 5`, `row 5 of the query`.
    pub place: String,
    /// The key's text, where it could be read.
    pub key: Option<String>,
    /// A lowercase fragment: what is wrong with the row.
    pub reason: String,
}

/// What a diff found. `rows = unchanged + added + changed + invalid_rows`.
#[derive(Debug)]
pub struct Diff {
    /// The names of all fields of all changes.
    pub field_names: FieldNames,
    /// Rows in the source, invalid ones included; of a share, those of its keys. Rows whose key cannot be read belong to the first.
    pub rows: u64,
    /// Rows the destination has as they are (or that were given up as they are).
    pub unchanged: u64,
    /// Changes to come of kind added.
    pub added: u64,
    /// Changes to come of kind changed.
    pub changed: u64,
    /// Changes to come of kind removed.
    pub removed: u64,
    /// Rows that cannot be used.
    pub invalid_rows: u64,
    /// The first 1,000 of them, in the order of the source.
    pub invalid: Vec<InvalidRow>,
    /// Whether removals were left out because some invalid row's key could not be read.
    pub removals_wait: bool,
    /// Rows of the snapshot that the destination has, as far as is known: what the guard's percentage refers to.
    pub snapshot_rows: u64,
    /// Sum over all rows whose key can be read of a mix of key hash and row hash; independent of their order.
    pub checksum: u128,
    /// Identity of the source files as read (see [`crate::source_version`]); `None` if they have none.
    pub source_version: Option<String>,
    /// The changes: added and changed in the order of the source, then removed in the order of their key hashes.
    pub changes: Changes,
}

/// The first rows of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The fields' names; for NDJSON without mapped fields, the union over the sampled rows.
    pub field_names: FieldNames,
    /// The source's columns; for NDJSON those of the rows looked at.
    pub columns: Vec<String>,
    /// Key text and fields of the first valid rows.
    pub rows: Vec<(String, Fields)>,
}
