//! Documents in one SQLite file: one thread writes, in groups with one sync each, and a few read.
//!
//! The futures only hand work to those threads and wait for the answer, so they run under any executor and hold none up. A write
//! whose future is dropped may still take place. It must not keep documents in memory: other processes write the same file.

mod apply;
mod file;
mod reader;
mod writer;

use std::ops::Range;
use std::sync::Arc;

use engine::port::{Document, Expect, Index, Key, Listed, PortError, Store, Stored, Write};

use self::file::StoreFile;
use self::reader::Readers;
use self::writer::Writer;
use crate::DataDir;

/// The documents of a data directory. Clones share the threads and the connections; they end with the last clone.
#[derive(Clone, Debug)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // In this order: the readers' connections close first, so that the writer's is the one that tidies up.
    readers: Readers,
    writer: Writer,
}

impl EmbeddedStore {
    pub(crate) fn open(dir: &DataDir) -> Result<EmbeddedStore, PortError> {
        let file = Arc::new(StoreFile::open(dir)?);
        let writer = Writer::start(Arc::clone(&file))?;
        let readers = Readers::start(&file)?;
        Ok(EmbeddedStore { inner: Arc::new(Inner { readers, writer }) })
    }

    /// Deletes every document that has expired at `now` (Unix seconds), with its index entries, and says how many. Readers
    /// do not see them in any case; this gives their space back to the file. A group at a time, so that writers get their turns.
    ///
    /// # Errors
    /// As for a write.
    pub async fn purge_expired(&self, now: u64) -> Result<u64, PortError> {
        let mut purged = 0;
        loop {
            let (some, more) = self.inner.writer.purge(now).await?;
            purged += some;
            if !more {
                return Ok(purged);
            }
        }
    }

    /// Takes what was deleted out of the write-ahead log too: from then on no file of the store holds it. False: another reader or
    /// writer was in the way for too long, so ask again later.
    ///
    /// # Errors
    /// As for a write.
    pub async fn scrub(&self) -> Result<bool, PortError> {
        self.inner.writer.scrub().await
    }

    async fn write_one(&self, write: Write, now: u64) -> Result<u64, PortError> {
        let mut answers = self.inner.writer.write(vec![write], now).await?;
        answers.pop().unwrap_or_else(|| Err(PortError::Failed("the store gave no answer to a write".to_owned())))
    }
}

impl Store for EmbeddedStore {
    async fn get(&self, key: &Key, now: u64) -> Result<Option<Stored>, PortError> {
        let key = key.clone();
        self.inner.readers.read(move |reading| reading.get(key, now)).await
    }

    async fn put(&self, key: &Key, document: Document, expect: Expect, now: u64) -> Result<u64, PortError> {
        self.write_one(Write::Put(key.clone(), document, expect), now).await
    }

    async fn delete(&self, key: &Key, expect: Expect, now: u64) -> Result<(), PortError> {
        self.write_one(Write::Delete(key.clone(), expect), now).await.map(|_| ())
    }

    async fn write(&self, writes: Vec<Write>, now: u64) -> Result<Vec<Result<u64, PortError>>, PortError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.writer.write(writes, now).await
    }

    async fn list(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        let (partition, range) = (partition.to_owned(), range.start.to_owned()..range.end.to_owned());
        self.inner.readers.read(move |reading| reading.list(&partition, &range, limit, now)).await
    }

    async fn list_index(
        &self,
        index: Index,
        partition: &str,
        range: Range<&str>,
        newest_first: bool,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Listed>, PortError> {
        let (partition, range) = (partition.to_owned(), range.start.to_owned()..range.end.to_owned());
        self.inner.readers.read(move |reading| reading.list_index(index, &partition, &range, newest_first, limit, now)).await
    }
}

/// A connection as every thread of a store has one.
#[cfg(test)]
pub(crate) fn connection_for_tests(dir: &DataDir) -> rusqlite::Connection {
    StoreFile::open(dir).and_then(|file| file.connect()).unwrap()
}
