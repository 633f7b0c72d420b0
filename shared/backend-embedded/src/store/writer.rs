//! Writing: one thread takes what waits, puts it into one transaction with one sync, and answers each on its own.
//!
//! While a group is synced the next one gathers, so the rate follows the number of callers and not the disk's latency. Nothing is
//! answered before its group is durable. It must not hold a group back to make it larger.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::port::{PortError, Write};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::apply::{self, Applied};
use super::file::{StoreFile, Trouble};

/// Most writes of a group, unless one call brings more.
const GROUP_WRITES: usize = 4096;
/// Most body bytes of a group, unless one call brings more.
const GROUP_BYTES: usize = 16 << 20;
/// Most documents that one transaction purges.
const PURGE: usize = 1000;
/// Pages (of 4 KiB) that only the write-ahead log has, after which a checkpoint copies them into the file: when idle, and in any
/// case. A full disk needs that much room again before writing goes on, for the log starts over only when all of it is copied.
const CHECKPOINT_IDLE: u64 = 256;
const CHECKPOINT: u64 = 1024;
/// How long nothing is written before it counts as idle.
const IDLE: Duration = Duration::from_millis(200);
/// Pages of the whole log after which it must start over, so readers are waited for.
const CHECKPOINT_RESTART: u64 = 65_536;

type Answers = Result<Vec<Result<u64, PortError>>, PortError>;

enum Job {
    Write { writes: Vec<Write>, now: u64, answer: oneshot::Sender<Answers> },
    Purge { now: u64, answer: oneshot::Sender<Result<(u64, bool), PortError>> },
    Scrub { answer: oneshot::Sender<Result<bool, PortError>> },
}

/// The writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(file: Arc<StoreFile>) -> Result<Writer, PortError> {
        let (jobs, queue) = mpsc::channel();
        let writing = Writing { connection: file.connect()?, file, log_pages: 0, checkpoint_at: CHECKPOINT };
        let thread = std::thread::Builder::new().name("store-write".to_owned()).spawn(move || writing.run(&queue));
        let thread = thread.map_err(|e| PortError::Failed(format!("cannot start the thread that writes the store: {e}")))?;
        Ok(Writer { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) async fn write(&self, writes: Vec<Write>, now: u64) -> Answers {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Write { writes, now, answer })?;
        answered.await.map_err(|_| gone())?
    }

    /// Purges one group; says how many documents went and whether there may be more.
    pub(super) async fn purge(&self, now: u64) -> Result<(u64, bool), PortError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Purge { now, answer })?;
        answered.await.map_err(|_| gone())?
    }

    /// Empties the write-ahead log; says whether readers let it.
    pub(super) async fn scrub(&self) -> Result<bool, PortError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Scrub { answer })?;
        answered.await.map_err(|_| gone())?
    }

    fn send(&self, job: Job) -> Result<(), PortError> {
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

fn gone() -> PortError {
    PortError::Failed("the thread that writes the store has ended: start again".to_owned())
}

/// One caller's writes on their way through a transaction.
struct Pending {
    writes: Vec<Write>,
    now: u64,
    answer: oneshot::Sender<Answers>,
    /// An answer for each write that was applied or refused; empty until the group is tried.
    answers: Vec<Result<u64, PortError>>,
}

struct Writing {
    connection: Connection,
    file: Arc<StoreFile>,
    /// Pages that only the write-ahead log has.
    log_pages: u64,
    /// How many of them make a checkpoint due: `CHECKPOINT`, or more if the last one found no room.
    checkpoint_at: u64,
}

impl Writing {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        let mut waiting = None;
        loop {
            let Some(job) = waiting.take().or_else(|| self.next(queue)) else { break };
            match job {
                Job::Purge { now, answer } => {
                    // Who no longer waits needs no answer.
                    let _ = answer.send(self.purge(now));
                }
                Job::Scrub { answer } => {
                    let _ = answer.send(self.scrub());
                }
                Job::Write { writes, now, answer } => {
                    let mut group = vec![Pending { writes, now, answer, answers: Vec::new() }];
                    waiting = gather(&mut group, queue);
                    self.commit(group);
                }
            }
            if self.log_pages >= self.checkpoint_at {
                self.checkpoint();
            }
        }
    }

    /// The next job; a while without one goes into a checkpoint that is due soon.
    fn next(&mut self, queue: &mpsc::Receiver<Job>) -> Option<Job> {
        if self.log_pages >= CHECKPOINT_IDLE && self.checkpoint_at == CHECKPOINT {
            match queue.recv_timeout(IDLE) {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => self.checkpoint(),
            }
        }
        queue.recv().ok()
    }

    /// Writes a group and answers. If there is no room for all of it, each caller's writes are tried by themselves: a short
    /// record must not fail because a long one beside it does.
    fn commit(&mut self, mut group: Vec<Pending>) {
        match self.try_commit(&mut group) {
            Ok(()) => {
                for pending in group {
                    let _ = pending.answer.send(Ok(pending.answers));
                }
            }
            Err(PortError::Full(_)) if group.len() > 1 => {
                for pending in group {
                    self.commit(vec![pending]);
                }
            }
            Err(e) => {
                for pending in group {
                    let _ = pending.answer.send(Err(same(&e)));
                }
            }
        }
    }

    fn try_commit(&mut self, group: &mut [Pending]) -> Result<(), PortError> {
        self.transaction(|connection| {
            let before: i64 = connection.prepare_cached("SELECT last_version FROM counter")?.query_row([], |row| row.get(0))?;
            let mut last_version = before.cast_unsigned();
            for pending in group {
                pending.answers.clear();
                for write in &pending.writes {
                    pending.answers.push(match apply::check(write) {
                        Err(refused) => Err(refused),
                        Ok(()) => match apply::apply(connection, write, &mut last_version, pending.now)? {
                            Applied::Done(version) => Ok(version),
                            Applied::Conflict => Err(PortError::Conflict),
                        },
                    });
                }
            }
            if last_version != before.cast_unsigned() {
                connection.prepare_cached("UPDATE counter SET last_version = ?1")?.execute([last_version.cast_signed()])?;
            }
            Ok(())
        })
    }

    fn purge(&mut self, now: u64) -> Result<(u64, bool), PortError> {
        let purged = self.transaction(|connection| apply::purge(connection, now, PURGE))?;
        Ok((purged as u64, purged == PURGE))
    }

    fn scrub(&mut self) -> Result<bool, PortError> {
        self.file.health().check()?;
        let busy = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")
            .and_then(|mut truncate| truncate.query_row([], |row| row.get::<_, i64>(0)));
        let busy = busy.map_err(|e| self.file.trouble("checkpoint", e).into_port(self.file.health()))?;
        self.log_pages = self.count_log_pages();
        Ok(busy == 0)
    }

    /// Runs `work` in one transaction. On an error nothing of it stays.
    fn transaction<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, PortError> {
        self.file.health().check()?;
        self.file.check_identity()?;
        let done = self.within_turn(work);
        if done.is_err() && !self.connection.is_autocommit() {
            // If even this fails the transaction is still open and the next BEGIN says so; nothing of it can become durable.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let result = done.map_err(|e| self.file.trouble("write", e));
        self.log_pages = match &result {
            // The room that the log has may be enough, if it can start over.
            Err(Trouble::Full(_)) if self.checkpoint_at == CHECKPOINT => CHECKPOINT,
            _ => self.count_log_pages(),
        };
        result.map_err(|trouble| trouble.into_port(self.file.health()))
    }

    fn within_turn<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let turn = self.file.take_turn();
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        drop(turn);
        let result = work(&self.connection)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(result)
    }

    /// Copies the log into the file. What goes wrong here loses nothing, since the log stays until it was copied and synced, but
    /// a failed sync says that the disk is not to be trusted.
    fn checkpoint(&mut self) {
        let mut copied = self.run_checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
        if matches!(copied, Ok((log, _)) if log >= CHECKPOINT_RESTART) {
            copied = self.run_checkpoint("PRAGMA wal_checkpoint(RESTART)");
        }
        self.log_pages = self.count_log_pages();
        self.checkpoint_at = match copied {
            // What little room there is belongs to the next records: copying gains nothing while it cannot be completed.
            Err(Trouble::Full(_)) => self.log_pages + CHECKPOINT,
            Err(grave @ Trouble::Grave(_)) => {
                // Kept for the next write, whose caller is told.
                let _ = grave.into_port(self.file.health());
                CHECKPOINT
            }
            Ok(_) | Err(Trouble::Failed(_)) => CHECKPOINT,
        };
    }

    /// Pages that only the log has; 0 if it cannot be known now.
    fn count_log_pages(&self) -> u64 {
        self.run_checkpoint("PRAGMA wal_checkpoint(NOOP)").map_or(0, |(log, copied)| log.saturating_sub(copied))
    }

    /// Pages in the log, and pages of it that are in the file.
    fn run_checkpoint(&self, statement: &str) -> Result<(u64, u64), Trouble> {
        let count = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(|pages| u64::try_from(pages).unwrap_or(0));
        let run = self.connection.prepare_cached(statement);
        let run = run.and_then(|mut checkpoint| checkpoint.query_row([], |row| Ok((count(row, 1)?, count(row, 2)?))));
        run.map_err(|e| self.file.trouble("checkpoint", e))
    }
}

/// Adds what waits to the group, up to its limits; answers with a job that is not for it.
fn gather(group: &mut Vec<Pending>, queue: &mpsc::Receiver<Job>) -> Option<Job> {
    let size = |writes: &[Write]| writes.iter().map(body_length).sum::<usize>();
    let mut count = group.iter().map(|pending| pending.writes.len()).sum::<usize>();
    let mut bytes = group.iter().map(|pending| size(&pending.writes)).sum::<usize>();
    while count < GROUP_WRITES && bytes < GROUP_BYTES {
        match queue.try_recv() {
            Ok(Job::Write { writes, now, answer }) => {
                count += writes.len();
                bytes += size(&writes);
                group.push(Pending { writes, now, answer, answers: Vec::new() });
            }
            Ok(other) => return Some(other),
            Err(_) => break,
        }
    }
    None
}

fn body_length(write: &Write) -> usize {
    match write {
        Write::Put(_, document, _) => document.body.len(),
        Write::Delete(..) => 0,
    }
}

/// The same error once more, for the next of a group.
fn same(error: &PortError) -> PortError {
    match error {
        PortError::Conflict => PortError::Conflict,
        PortError::Missing(what) => PortError::Missing(what.clone()),
        PortError::Full(what) => PortError::Full(what.clone()),
        PortError::Failed(what) => PortError::Failed(what.clone()),
    }
}
