//! Local copies of objects, for readers that need a file: a bounded number of bytes, the longest unused going first. It must not say that a
//! copy is fresh (S3 does, by its tag), nor take a copy away that somebody may be about to open.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::port::PortError;
use tokio::io::AsyncWriteExt;

use super::file_error;

/// Tells the files of this process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The folder and what lies in it.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    /// Bytes.
    limit: u64,
    copies: Mutex<Copies>,
}

#[derive(Debug, Default)]
struct Copies {
    all: Vec<Copy>,
    uses: u64,
}

#[derive(Debug)]
struct Copy {
    name: String,
    kept: Kept,
    length: u64,
    /// At which use of the folder it was last asked for.
    used: u64,
    /// Whether it was handed out since the last release.
    is_held: bool,
}

/// A copy, and the tag of the object that it is a copy of.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The object's entity tag.
    pub(super) tag: String,
    /// The file.
    pub(super) path: PathBuf,
}

/// A file that is being filled; it goes if it is not finished.
pub(super) struct Fresh {
    path: PathBuf,
    file: tokio::fs::File,
    expected: u64,
    written: u64,
    is_done: bool,
}

impl Scratch {
    /// A folder, made if it is not there.
    pub(super) fn open(folder: PathBuf, limit: u64) -> Result<Scratch, PortError> {
        std::fs::create_dir_all(&folder).map_err(|error| file_error("make", &folder, &error))?;
        Ok(Scratch { folder, limit, copies: Mutex::default() })
    }

    /// The newest copy of an object, held from now on.
    pub(super) fn kept(&self, name: &str) -> Option<Kept> {
        let mut copies = self.copies();
        copies.uses += 1;
        let used = copies.uses;
        let copy = copies.all.iter_mut().rev().find(|copy| copy.name == name && copy.kept.path.exists())?;
        (copy.used, copy.is_held) = (used, true);
        Some(copy.kept.clone())
    }

    /// Nobody reads any of the copies any more: they stay for as long as there is room.
    pub(super) fn release(&self) {
        self.copies().all.iter_mut().for_each(|copy| copy.is_held = false);
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        // Each change is whole before the next call that could panic.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file to be filled, with room made for it.
    pub(super) async fn begin(&self, name: &str, length: u64) -> Result<Fresh, PortError> {
        for path in self.make_room(name, length)? {
            // What stays costs room until the process ends, and nothing else.
            let _ = tokio::fs::remove_file(path).await;
        }
        let path = self.folder.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = tokio::fs::File::create(&path).await.map_err(|error| file_error("write", &path, &error))?;
        Ok(Fresh { path, file, expected: length, written: 0, is_done: false })
    }

    /// Keeps what was filled.
    pub(super) async fn finish(&self, name: &str, mut fresh: Fresh, tag: Option<String>) -> Result<PathBuf, PortError> {
        fresh.file.flush().await.map_err(|error| file_error("write", &fresh.path, &error))?;
        if fresh.written != fresh.expected {
            return Err(PortError::Failed(format!("S3 gave {} of {} bytes of object {name}", fresh.written, fresh.expected)));
        }
        fresh.is_done = true;
        let path = fresh.path.clone();
        // Without a tag nobody can tell whether it is fresh, so it is known to the caller alone.
        let Some(tag) = tag else { return Ok(path) };
        let mut copies = self.copies();
        copies.uses += 1;
        let kept = Kept { tag, path: path.clone() };
        let copy = Copy { name: name.to_owned(), kept, length: fresh.written, used: copies.uses, is_held: true };
        copies.all.push(copy);
        Ok(path)
    }

    /// Forgets copies until `length` more bytes fit, and gives their files.
    fn make_room(&self, name: &str, length: u64) -> Result<Vec<PathBuf>, PortError> {
        let mut copies = self.copies();
        let mut held: u64 = copies.all.iter().map(|copy| copy.length).sum();
        let mut gone = Vec::new();
        while held.saturating_add(length) > self.limit {
            let free = copies.all.iter().enumerate().filter(|(_, copy)| !copy.is_held);
            let Some(oldest) = free.min_by_key(|(_, copy)| copy.used).map(|(at, _)| at) else {
                let (folder, limit) = (self.folder.display(), self.limit);
                return Err(PortError::Full(format!(
                    "{folder} holds {held} bytes of copies that are in use, and object {name} has {length}, of {limit}: give it more room"
                )));
            };
            let copy = copies.all.remove(oldest);
            held -= copy.length;
            gone.push(copy.kept.path);
        }
        Ok(gone)
    }
}

impl Fresh {
    /// Adds bytes at the end.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).await.map_err(|error| file_error("write", &self.path, &error))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.is_done {
            // What stays costs room until the process ends, and nothing else.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
