//! Reading: a few threads, each with a connection of its own, so that reads go on while a group is written and synced.
//!
//! Each read is one statement, hence one consistent view that holds everything committed before it began. It must not write.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use engine::port::{Index, Key, Listed, PortError, Stored};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use super::apply::{number, saturate};
use super::file::StoreFile;

/// Threads, and connections, that read.
const READERS: usize = 2;

const GET: &str = "SELECT version, body FROM doc WHERE partition = ?1 AND sort = ?2 AND (expires_at IS NULL OR expires_at >= ?3)";
const LIST: &str = "SELECT sort, version, body FROM doc
    WHERE partition = ?1 AND sort >= ?2 AND sort < ?3 AND (expires_at IS NULL OR expires_at >= ?4) ORDER BY sort LIMIT ?5";
const LIST_OLDEST_FIRST: &str = "SELECT doc_partition, doc_sort, sort, summary FROM idx
    WHERE which = ?1 AND partition = ?2 AND sort >= ?3 AND sort < ?4 AND (expires_at IS NULL OR expires_at >= ?5)
    ORDER BY sort, doc_partition, doc_sort LIMIT ?6";
const LIST_NEWEST_FIRST: &str = "SELECT doc_partition, doc_sort, sort, summary FROM idx
    WHERE which = ?1 AND partition = ?2 AND sort >= ?3 AND sort < ?4 AND (expires_at IS NULL OR expires_at >= ?5)
    ORDER BY sort DESC, doc_partition DESC, doc_sort DESC LIMIT ?6";

type Job = Box<dyn FnOnce(&Reading) + Send>;

/// The reading threads.
#[derive(Debug)]
pub(super) struct Readers {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(file: &Arc<StoreFile>) -> Result<Readers, PortError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut readers = Readers { jobs: Some(jobs), threads: Vec::with_capacity(READERS) };
        for _ in 0..READERS {
            let reading = Reading { connection: file.connect()?, file: Arc::clone(file) };
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name("store-read".to_owned()).spawn(move || {
                loop {
                    // The lock is held while waiting: one thread waits for a job, the others for the lock.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    match job {
                        Ok(job) => job(&reading),
                        Err(mpsc::RecvError) => return,
                    }
                }
            });
            readers.threads.push(thread.map_err(|e| PortError::Failed(format!("cannot start a thread that reads the store: {e}")))?);
        }
        Ok(readers)
    }

    /// Runs one read on the next free thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reading) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let gone = || PortError::Failed("the threads that read the store have ended: start again".to_owned());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reading| {
            // Who no longer waits needs no answer.
            let _ = answer.send(read(reading));
        });
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// One reading connection.
pub(super) struct Reading {
    connection: Connection,
    file: Arc<StoreFile>,
}

impl Reading {
    pub(super) fn get(&self, key: Key, now: u64) -> Result<Option<Stored>, PortError> {
        let got = self.connection.prepare_cached(GET).and_then(|mut getting| {
            getting
                .query_row(params![key.partition, key.sort, saturate(now)], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))
                .optional()
        });
        Ok(self.or_port(got)?.map(|(version, body)| Stored { key, body, version }))
    }

    pub(super) fn list(&self, partition: &str, range: &Range<String>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        let listed = self.connection.prepare_cached(LIST).and_then(|mut listing| {
            let rows = listing.query_map(params![partition, range.start, range.end, saturate(now), saturate(limit as u64)], |row| {
                let key = Key::new(partition, row.get::<_, String>(0)?);
                Ok(Stored { key, version: row.get::<_, i64>(1)?.cast_unsigned(), body: row.get(2)? })
            })?;
            rows.collect()
        });
        self.or_port(listed)
    }

    pub(super) fn list_index(
        &self,
        index: Index,
        partition: &str,
        range: &Range<String>,
        newest_first: bool,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Listed>, PortError> {
        let statement = if newest_first { LIST_NEWEST_FIRST } else { LIST_OLDEST_FIRST };
        let listed = self.connection.prepare_cached(statement).and_then(|mut listing| {
            let which = number(index);
            let arguments = params![which, partition, range.start, range.end, saturate(now), saturate(limit as u64)];
            let rows = listing.query_map(arguments, |row| {
                let key = Key { partition: row.get(0)?, sort: row.get(1)? };
                Ok(Listed { key, sort: row.get(2)?, summary: row.get(3)? })
            })?;
            rows.collect()
        });
        self.or_port(listed)
    }

    fn or_port<T>(&self, result: rusqlite::Result<T>) -> Result<T, PortError> {
        result.map_err(|e| self.file.trouble("read", e).into_port(self.file.health()))
    }
}
