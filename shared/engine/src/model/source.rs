//! Where a model's rows come from.

use super::credential::Secret;
use super::name::Name;

/// A named set of rows with a primary key.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name in documents.
    pub id: Name,
    /// Its label; what `{{audience_name}}` shows.
    pub name: String,
    /// Columns that together tell rows apart; at least one.
    pub primary_key: Vec<String>,
    /// The rows.
    pub source: Source,
}

/// Where rows lie.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file, a folder or a glob.
    File {
        /// As written; relative to the project file's folder.
        path: String,
        /// Unless given, the extension tells.
        format: Option<FileFormat>,
    },
    /// The rows of a query on PostgreSQL.
    Postgres {
        /// The server, the database, the user and the password.
        dsn: Secret,
        /// One SELECT.
        query: String,
    },
    /// Rows that are handed in ([`crate::push`]).
    Push,
}

impl Source {
    /// The word that penstock.yaml uses.
    pub fn type_name(&self) -> &'static str {
        match self {
            Source::File { .. } => "file",
            Source::Postgres { .. } => "postgres",
            Source::Push => "push",
        }
    }
}

/// The formats of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}
