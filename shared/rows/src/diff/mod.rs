//! The diff: one pass over the source beside the snapshot's hashes. It decides what a row's presence or absence means, and nothing about
//! what is done with it.

mod changes;
mod places;
mod prior;
mod probe;
mod read;
mod record;
mod settle;
mod table;
mod verdict;

pub use changes::Changes;

use crate::columns::Selection;
use crate::error::SourceError;
use crate::request::{Diff, DiffRequest};
use crate::snapshot::{Positions, SnapshotFile, open_all};
use crate::source::{files, open};
use crate::spool::Spool;
use probe::{Context, Found};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use table::Table;

/// Compares the rows of a source with what was last delivered.
///
/// `progress` is told now and then, from any thread, how many bytes of the source (before unpacking) and how many rows are read.
///
/// # Errors
/// The source or the snapshot cannot be read whole, a column is missing, or the scratch directory is full. Nothing is left behind.
pub fn diff(request: &DiffRequest, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Diff, SourceError> {
    let selection = Selection { key: request.primary_key.clone(), fields: request.fields.clone(), ignore: request.ignore.clone() };
    selection.check(&request.source.shown())?;
    let opened = open(&request.source)?;
    let files = Arc::new(opened.files);
    // Headers first: a missing column should not wait for the snapshot.
    let input = read::Input::open(&files, selection, opened.header.as_deref())?;
    let snapshot = open_all(&request.snapshot)?;
    let threads = request.threads.max(1);
    let table = Table::load(&snapshot, threads, request.share, request.most_keys)?;
    let found = Found::new(Spool::new(&request.scratch, request.spool_memory), request.most_keys - table.len());
    let context = Context { table: &table, found: &found, share: request.share, seed: request.hash_seed, resend_all: request.resend_all };
    let read = read::read(&files, input, context, threads, progress)?;
    let source_version = files::version_of(&files);
    settle::settle(settle::Inputs { request, threads, snapshot, table, found, read, source_version })
}

/// Runs `work` on so many threads (on this one alone if that is one); the first error counts.
pub(crate) fn side_by_side(threads: usize, work: &(dyn Fn() -> Result<(), SourceError> + Sync)) -> Result<(), SourceError> {
    if threads <= 1 {
        return work();
    }
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| note(&failed, work()));
        }
        note(&failed, work());
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn note(failed: &Mutex<Option<SourceError>>, result: Result<(), SourceError>) {
    if let Err(e) = result {
        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
    }
}

/// What reading the snapshot's entries may use.
pub(crate) struct Options<'r> {
    pub threads: usize,
    pub scratch: &'r Path,
    pub memory: usize,
}

/// How the entries of these slots are found in the files.
pub(crate) fn positions(files: &[SnapshotFile], table: &Table, slots: &[u32]) -> Positions {
    if table.mirrors(files) {
        return Positions::Rows(Arc::new(slots.to_vec()));
    }
    let keys = slots.iter().map(|s| table.slot(*s)).map(|slot| (slot.key, slot.key_low));
    Positions::Keys(Arc::new(keys.collect()))
}
