//! The current rows: which files they lie in, and how each format is cut and parsed into cells. It must not know snapshots or changes.

pub(crate) mod arrow;
pub(crate) mod csv;
pub(crate) mod files;
pub(crate) mod ndjson;
pub(crate) mod nested;
pub(crate) mod parquet;
pub(crate) mod positioned;
pub(crate) mod text;

use crate::cell::Cell;
use crate::columns::Columns;

/// Takes the rows of a block as a parser finds them. Lines count from 0 within the block.
pub(crate) trait RowSink<'a> {
    /// A row; `cells` are by slot and may be fewer than there are slots. The sink may take them out.
    fn row(&mut self, line: u32, cells: &mut Vec<Cell<'a>>, columns: &Columns);

    /// A row that cannot be used; `key` where it could be read.
    fn invalid(&mut self, line: u32, key: Option<String>, reason: String, columns: &Columns);
}
