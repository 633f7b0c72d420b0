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
    /// Objects in S3; only a stack reads them.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key of an object, or what the keys of several begin with; not empty.
        prefix: String,
        /// Unless given, the extension tells.
        format: Option<FileFormat>,
    },
    /// The rows of a query on Athena; only a stack asks for them.
    Athena {
        /// The database of the data catalog.
        database: String,
        /// One SELECT.
        query: String,
        /// The workgroup; `None`: `primary`.
        workgroup: Option<String>,
    },
    /// Rows that are handed in ([`crate::push`]).
    Push,
}

impl Source {
    /// The word that penstock.yaml uses.
    pub fn type_name(&self) -> &'static str {
        match self {
            Source::File { .. } | Source::S3 { .. } => "file",
            Source::Postgres { .. } => "postgres",
            Source::Athena { .. } => "athena",
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
