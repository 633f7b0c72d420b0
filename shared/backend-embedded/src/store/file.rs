//! The SQLite file: its tables, how connections are opened, and what its errors mean for the port.
//!
//! It must not read or write documents.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::port::PortError;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::DataDir;
use crate::data_dir::{file_error, lock_file, sync_folder};
use crate::health::Health;

/// How long a connection waits for another process that writes, or recovers the file after a crash.
const BUSY: Duration = Duration::from_secs(30);

/// How long a writer waits for its turn before it goes without; turns are only for fairness.
const TURN: Duration = Duration::from_secs(2);

/// The tables' version, in `user_version`. `body` last: what stands before it is read without its overflow pages.
///
/// `entries` of a document says which rows of `idx` are its own, packed as `apply` does, so that replacing a document needs
/// no second index on `idx`.
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE doc(
        partition TEXT NOT NULL, sort TEXT NOT NULL, version INTEGER NOT NULL, expires_at INTEGER, entries BLOB, body BLOB NOT NULL,
        PRIMARY KEY(partition, sort)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX doc_expiry ON doc(expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE idx(
        which INTEGER NOT NULL, partition TEXT NOT NULL, sort TEXT NOT NULL, doc_partition TEXT NOT NULL, doc_sort TEXT NOT NULL,
        expires_at INTEGER, summary TEXT NOT NULL,
        PRIMARY KEY(which, partition, sort, doc_partition, doc_sort)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE counter(last_version INTEGER NOT NULL) STRICT;
    INSERT INTO counter VALUES (0);
    PRAGMA user_version = 1;
";

/// The file and what every connection to it shares.
#[derive(Debug)]
pub(super) struct StoreFile {
    path: PathBuf,
    /// Which file it was when it was opened: one that was deleted or replaced would take writes that nobody reads again.
    identity: Option<(u64, u64)>,
    turn: File,
    /// Holds the directory open.
    dir: DataDir,
}

impl StoreFile {
    /// Opens the file, making it if absent.
    pub(super) fn open(dir: &DataDir) -> Result<StoreFile, PortError> {
        let path = dir.path().join("store.db");
        let turn_path = dir.path().join("store.turn");
        let turn = lock_file(&turn_path)?;
        let mut file = StoreFile { path, identity: None, turn, dir: dir.clone() };
        // Only one at a time may lay the file out: while it turns to WAL mode SQLite answers others with an error.
        file.turn.lock().map_err(|e| file_error("lock", &turn_path, &e))?;
        let laid_out = file.lay_out();
        file.turn.unlock().map_err(|e| file_error("unlock", &turn_path, &e))?;
        laid_out?;
        file.identity = identity(&file.path);
        Ok(file)
    }

    fn lay_out(&self) -> Result<(), PortError> {
        let connection = self.connect()?;
        let trouble = |e| self.trouble("open", e).into_port(self.health());
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(trouble)?;
        match version {
            SCHEMA_VERSION => return Ok(()),
            0 => {}
            newer => {
                return Err(PortError::Failed(format!(
                    "{} has tables of version {newer}, and this penstock knows {SCHEMA_VERSION}: use the penstock that wrote it",
                    self.path.display()
                )));
            }
        }
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(trouble)?;
        if mode != "wal" {
            return Err(PortError::Failed(format!(
                "{} lies on a file system where SQLite cannot use a write-ahead log (it offers {mode:?}): choose a local disk",
                self.path.display()
            )));
        }
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;")).map_err(trouble)?;
        sync_folder(self.dir.path()).map_err(|e| file_error("sync", self.dir.path(), &e))
    }

    /// A connection, as all of them are set up. Each belongs to one thread.
    pub(super) fn connect(&self) -> Result<Connection, PortError> {
        let trouble = |e| self.trouble("open", e).into_port(self.health());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(trouble)?;
        connection.busy_timeout(BUSY).map_err(trouble)?;
        connection.set_prepared_statement_cache_capacity(32);
        // `secure_delete`: what was deleted is overwritten, so that nobody finds it in the file.
        // `trusted_schema` off: a file made by someone else cannot run functions of ours.
        let settings = "
            PRAGMA synchronous = FULL; PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;
            PRAGMA secure_delete = ON;
            PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;
        ";
        connection.execute_batch(settings).map_err(trouble)?;
        Ok(connection)
    }

    /// Waits for the turn to begin a transaction. While a process waits for the one that writes, it holds the turn, so that the
    /// one that writes cannot begin again before it. A stopped process may sit on the turn: then it goes without.
    pub(super) fn take_turn(&self) -> Turn<'_> {
        let start = Instant::now();
        loop {
            match self.turn.try_lock() {
                Ok(()) => return Turn { file: Some(&self.turn) },
                Err(TryLockError::WouldBlock) if start.elapsed() < TURN => std::thread::sleep(Duration::from_micros(500)),
                Err(_) => return Turn { file: None },
            }
        }
    }

    /// `Failed`, for good, if the file is not the one that was opened.
    pub(super) fn check_identity(&self) -> Result<(), PortError> {
        if self.identity.is_some() && identity(&self.path) != self.identity {
            let message = format!("{} was moved, deleted or replaced while it was open", self.path.display());
            return Err(self.health().stop(message));
        }
        Ok(())
    }

    pub(super) fn health(&self) -> &Arc<Health> {
        self.dir.health()
    }

    /// What an error of SQLite means. `verb` says what was tried: open, read, write.
    pub(super) fn trouble(&self, verb: &'static str, error: rusqlite::Error) -> Trouble {
        let path = self.path.display();
        let Some(code) = error.sqlite_error().copied() else {
            return Trouble::Failed(format!("cannot {verb} {path}: {error}"));
        };
        // The index of the write-ahead log is a file too, and says "no space" in its own way.
        if code.code == ErrorCode::DiskFull || code.extended_code == ffi::SQLITE_IOERR_SHMSIZE {
            return Trouble::Full(format!("cannot {verb} {path}: free some space, or choose another data directory"));
        }
        let why = format!("{error} (SQLite code {})", code.extended_code);
        match code.code {
            ErrorCode::SystemIoFailure => Trouble::Grave(format!("cannot {verb} {path}: {why}")),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Trouble::Grave(format!("cannot {verb} {path}: the file is damaged, {why}: restore it from a backup"))
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Trouble::Failed(format!("cannot {verb} {path}: another process has kept it locked for {} s; end it", BUSY.as_secs()))
            }
            _ => Trouble::Failed(format!("cannot {verb} {path}: {why}")),
        }
    }
}

/// The right to begin a transaction; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    file: Option<&'a File>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file {
            // If it fails the lock stays ours until the process ends, and others go without after a while.
            let _ = file.unlock();
        }
    }
}

/// An error of SQLite, sorted by what must follow.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// No space; nothing was written.
    Full(String),
    /// A failed sync or a damaged file: nothing more may be written.
    Grave(String),
    /// Anything else.
    Failed(String),
}

impl Trouble {
    /// The same for the port; a grave one stops later writes.
    pub(super) fn into_port(self, health: &Health) -> PortError {
        match self {
            Trouble::Full(message) => PortError::Full(message),
            Trouble::Grave(message) => health.stop(message),
            Trouble::Failed(message) => PortError::Failed(message),
        }
    }
}

/// Device and number of the file; absent where the system has no such thing, and where the file is gone.
fn identity(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_turn_and_one_that_is_kept_is_not_waited_for_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        let (first, second) = (StoreFile::open(&dir).unwrap(), StoreFile::open(&dir).unwrap());
        let turn = first.take_turn();
        assert!(turn.file.is_some());
        // As if the first process was stopped: the second goes on without, for the database's own lock keeps them apart.
        assert!(second.take_turn().file.is_none());
        drop(turn);
        assert!(second.take_turn().file.is_some());
    }
}
