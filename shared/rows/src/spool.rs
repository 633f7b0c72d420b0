//! Records kept in the order of their source: in memory up to a budget, then packed in a scratch file. It must not know what they say.

use crate::error::SourceError;
use crate::source::positioned::read_exact_at;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    /// Packed bytes of the scratch file.
    File {
        offset: u64,
        length: usize,
    },
}

#[derive(Debug)]
struct Chunk {
    order: (u32, u32),
    /// Bytes before packing.
    length: usize,
    place: Place,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: Vec<Chunk>,
    /// Bytes in memory.
    held: usize,
    file: Option<File>,
    written: u64,
}

/// Chunks of records, added by several threads in any order.
#[derive(Debug)]
pub(crate) struct Spool {
    inner: Mutex<Inner>,
    spilling: AtomicBool,
    budget: usize,
    scratch: PathBuf,
}

impl Spool {
    pub fn new(scratch: &Path, budget: usize) -> Spool {
        Spool { inner: Mutex::default(), spilling: AtomicBool::new(false), budget, scratch: scratch.to_owned() }
    }

    /// Adds a chunk; `order` is where it belongs among the others.
    pub fn add(&self, order: (u32, u32), bytes: &[u8]) -> Result<(), SourceError> {
        let length = bytes.len();
        if self.spilling.load(Ordering::Relaxed) {
            // Packed outside the lock, so that the threads do not wait for each other.
            let packed = self.pack(bytes)?;
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let place = self.write(&mut inner, &packed)?;
            inner.chunks.push(Chunk { order, length, place });
            return Ok(());
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.chunks.push(Chunk { order, length, place: Place::Memory(bytes.to_vec()) });
        inner.held += length;
        if inner.held > self.budget {
            self.spilling.store(true, Ordering::Relaxed);
            for i in 0..inner.chunks.len() {
                let packed = match &inner.chunks[i].place {
                    Place::Memory(bytes) => self.pack(bytes)?,
                    Place::File { .. } => continue,
                };
                inner.chunks[i].place = self.write(&mut inner, &packed)?;
            }
            inner.held = 0;
        }
        Ok(())
    }

    fn pack(&self, bytes: &[u8]) -> Result<Vec<u8>, SourceError> {
        zstd::bulk::compress(bytes, 1).map_err(|e| SourceError::io(&self.scratch, "hold scratch data", &e))
    }

    fn write(&self, inner: &mut Inner, packed: &[u8]) -> Result<Place, SourceError> {
        let fail = |e: std::io::Error| SourceError::io(&self.scratch, "hold scratch data", &e);
        if inner.file.is_none() {
            // Without a name: it vanishes with the process, however that ends.
            inner.file = Some(tempfile::tempfile_in(&self.scratch).map_err(fail)?);
        }
        if let Some(file) = &mut inner.file {
            file.write_all(packed).map_err(fail)?;
        }
        let offset = inner.written;
        inner.written += packed.len() as u64;
        Ok(Place::File { offset, length: packed.len() })
    }

    /// Ends adding; the chunks stand in their order.
    pub fn finish(self) -> SpoolReader {
        let mut inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        inner.chunks.sort_unstable_by_key(|c| c.order);
        SpoolReader { chunks: inner.chunks, file: inner.file, scratch: self.scratch }
    }
}

/// A finished spool.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    chunks: Vec<Chunk>,
    file: Option<File>,
    scratch: PathBuf,
}

impl SpoolReader {
    /// How many chunks there are.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// The bytes of a chunk, into `buffer`. With `last`, the chunk's memory is given up.
    pub fn read(&mut self, index: usize, buffer: &mut Vec<u8>, last: bool) -> Result<(), SourceError> {
        let fail = |e: std::io::Error| SourceError::io(&self.scratch, "give scratch data back", &e);
        let chunk = &mut self.chunks[index];
        buffer.clear();
        match &mut chunk.place {
            Place::Memory(bytes) if last => *buffer = std::mem::take(bytes),
            Place::Memory(bytes) => buffer.extend_from_slice(bytes),
            Place::File { offset, length } => {
                let mut packed = vec![0; *length];
                if let Some(file) = &self.file {
                    read_exact_at(file, &mut packed, *offset).map_err(fail)?;
                }
                *buffer = zstd::bulk::decompress(&packed, chunk.length).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// The error for records that do not read as they were written.
    pub fn corrupt(&self) -> SourceError {
        SourceError::format(self.scratch.display().to_string(), "holds scratch data that was changed from outside; run again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_in_order_from_memory_and_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        for budget in [0, 2500, 1 << 20] {
            let spool = Spool::new(dir.path(), budget);
            for i in [3u32, 1, 0, 2] {
                spool.add((i, 0), &vec![i as u8; 1000]).unwrap();
            }
            let mut reader = spool.finish();
            let mut buffer = Vec::new();
            for i in 0..reader.len() {
                reader.read(i, &mut buffer, true).unwrap();
                assert_eq!(buffer, vec![i as u8; 1000]);
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "scratch files have no names");
    }

    #[test]
    fn a_scratch_directory_that_is_not_there_is_named() {
        let spool = Spool::new(Path::new("/nowhere/at/all"), 0);
        assert!(spool.add((0, 0), b"x").unwrap_err().to_string().starts_with("/nowhere/at/all: "));
    }
}
