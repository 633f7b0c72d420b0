//! The current rows: which files they lie in or which query gives them, and how each format is cut and parsed into cells. It must not
//! know snapshots or changes.

pub(crate) mod arrow;
pub(crate) mod csv;
pub(crate) mod files;
pub(crate) mod ndjson;
pub(crate) mod nested;
pub(crate) mod parquet;
pub(crate) mod positioned;
pub(crate) mod postgres;
pub(crate) mod text;

use crate::cell::Cell;
use crate::columns::Columns;
use crate::error::SourceError;
use crate::request::Source;
use files::SourceFile;

/// A source that is there to be read.
pub(crate) struct Opened {
    /// At least one; all of one format.
    pub files: Vec<SourceFile>,
    /// The columns, where they are known without a look into the files.
    pub header: Option<Vec<String>>,
}

/// Lists a source's files, or has its query described.
pub(crate) fn open(source: &Source) -> Result<Opened, SourceError> {
    match source {
        Source::File(source) => Ok(Opened { files: files::list(source)?, header: None }),
        Source::Brought(source) => Ok(Opened { files: files::brought(source)?, header: None }),
        Source::Pushed(path) => Ok(Opened { files: files::pushed(path)?, header: None }),
        Source::Postgres(source) => {
            let (file, header) = postgres::open(source)?;
            Ok(Opened { files: vec![file], header: Some(header) })
        }
    }
}

/// Takes the rows of a block as a parser finds them. Lines count from 0 within the block.
pub(crate) trait RowSink<'a> {
    /// A row; `cells` are by slot and may be fewer than there are slots. The sink may take them out.
    fn row(&mut self, line: u32, cells: &mut Vec<Cell<'a>>, columns: &Columns);

    /// A row that cannot be used; `key` where it could be read.
    fn invalid(&mut self, line: u32, key: Option<String>, reason: String, columns: &Columns);
}
