//! The rows of a query on PostgreSQL as NDJSON: one transaction that can only read, a server-side cursor, one thread that feeds the
//! reader. It must not write, hold more than a few blocks, or show the connection's password.

mod connect;
mod failure;
mod row;

pub use connect::names_socket;

use super::files::{Numbering, SourceFile, Stream};
use crate::error::{ErrorKind, SourceError};
use crate::request::PostgresSource;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::types::Type;
use ::postgres::{Client, IsolationLevel, Transaction};
use failure::Failure;
use row::RowWriter;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Rows that the cursor is asked for at once; they are taken off the wire one by one.
const FETCHED_ROWS: usize = 5_000;
/// Bytes of lines that go to the reader at once.
const BLOCK: usize = 256 << 10;
/// Blocks that are read ahead.
const AHEAD: usize = 4;
/// No statement takes longer, unless the database or the DSN says otherwise.
const STATEMENT_TIMEOUT: &str = "30min";

/// What holds for the transaction: the same row has the same text wherever the query runs, and a reader that takes its time is waited for.
const SETTINGS: &str = "\
    SET LOCAL TimeZone = 'UTC'; \
    SET LOCAL IntervalStyle = 'iso_8601'; \
    SET LOCAL bytea_output = 'hex'; \
    SET LOCAL extra_float_digits = 3; \
    SET LOCAL cursor_tuple_fraction = 1.0; \
    SET LOCAL idle_in_transaction_session_timeout = 0";

/// A block of whole lines; an empty one says that the rows came to their end.
type Block = Result<Vec<u8>, SourceError>;

/// Connects and has the query described; gives what stands for its rows, and its columns. It is executed when the first byte is read.
pub(crate) fn open(source: &PostgresSource) -> Result<(SourceFile, Vec<String>), SourceError> {
    let target = connect::target(&source.dsn)?;
    let place = target.place.clone();
    let query = source.query.clone();
    let (described, header) = sync_channel(1);
    let (begin, begun) = sync_channel(1);
    let (to, blocks) = sync_channel(AHEAD);
    // The client waits on a runtime of its own, which cannot be done on a thread that is some runtime's already.
    let started = std::thread::Builder::new().name("query-rows".to_owned()).spawn(move || {
        let ports = Ports { described: &described, begun: &begun, blocks: &to };
        if let Err(failure) = work(&target, &query, &ports) {
            let error = failure.told(&target.place, &query);
            // Whoever still listens gets it; a reader that is gone does not want to know.
            let _ = described.try_send(Err(error.clone()));
            let _ = to.send(Err(error));
        }
    });
    let broken = |message: String| SourceError::new(ErrorKind::Io, &place, message);
    started.map_err(|e| broken(format!("no thread could be started to read from it: {e}")))?;
    let header = header.recv().map_err(|_| broken("the reading broke off; run again".to_owned()))??;
    let reader = QueryReader { begin: Some(begin), blocks, block: Vec::new(), at: 0, ended: false, failed: None, place: place.clone() };
    Ok((SourceFile::of_stream(Stream::new(reader), place, Numbering::RowsOf(" of the query")), header))
}

/// What the thread and the reader have between them.
struct Ports<'p> {
    described: &'p SyncSender<Result<Vec<String>, SourceError>>,
    begun: &'p Receiver<()>,
    blocks: &'p SyncSender<Block>,
}

fn work(target: &connect::Target, query: &str, ports: &Ports<'_>) -> Result<(), Failure> {
    let mut client = target.connect()?;
    let mut transaction = read_only(&mut client)?;
    let query = query.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
    let (names, types) = describe(&mut transaction, query)?;
    let cursor = cursor(&mut transaction, query, &names, &types)?;
    if ports.described.send(Ok(names.clone())).is_err() || ports.begun.recv().is_err() {
        // Only the columns were asked for.
        return Ok(());
    }
    stream(&mut transaction, &cursor, &RowWriter::new(&names, &types), ports.blocks)
}

fn read_only(client: &mut Client) -> Result<Transaction<'_>, Failure> {
    let begun = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start();
    let mut transaction = begun.map_err(Failure::Connecting)?;
    transaction.batch_execute(SETTINGS).map_err(Failure::Connecting)?;
    let timeout = format!(
        "SELECT set_config('statement_timeout', '{STATEMENT_TIMEOUT}', true) WHERE current_setting('statement_timeout') IN ('0', '0ms')"
    );
    transaction.batch_execute(&timeout).map_err(Failure::Connecting)?;
    Ok(transaction)
}

/// The names and types of the query's columns; it is one statement without placeholders that gives rows.
fn describe(transaction: &mut Transaction<'_>, query: &str) -> Result<(Vec<String>, Vec<Type>), Failure> {
    if query.trim().is_empty() {
        return Err(Failure::Refused("is empty; write one SELECT".to_owned()));
    }
    let statement = transaction.prepare(query).map_err(Failure::Describing)?;
    if !statement.params().is_empty() {
        return Err(Failure::Refused("holds a placeholder such as $1; write the value in its place".to_owned()));
    }
    let columns = statement.columns().iter();
    let (names, types): (Vec<String>, Vec<Type>) = columns.map(|column| (column.name().to_owned(), column.type_().clone())).unzip();
    if names.is_empty() {
        return Err(Failure::Refused("gives no columns; write one SELECT".to_owned()));
    }
    Ok((names, types))
}

/// The statement that declares the cursor. The query is a table in it, which nothing but one SELECT can be.
fn cursor(transaction: &mut Transaction<'_>, query: &str, names: &[String], types: &[Type]) -> Result<String, Failure> {
    let aliases: Vec<String> = (0..names.len()).map(|number| format!("c{number}")).collect();
    let values: Vec<String> = aliases.iter().zip(types).map(|(alias, of)| row::expression(alias, of)).collect();
    // The query may end with a comment, hence the line feeds.
    let select = format!("SELECT {} FROM (\n{query}\n) AS query({})", values.join(", "), aliases.join(", "));
    transaction.prepare(&select).map_err(Failure::Wrapping)?;
    Ok(format!("DECLARE penstock_rows NO SCROLL CURSOR FOR {select}"))
}

fn stream(transaction: &mut Transaction<'_>, cursor: &str, writer: &RowWriter, to: &SyncSender<Block>) -> Result<(), Failure> {
    let mut rows = 0;
    let lost = |rows: u64| move |error| Failure::Reading { error, rows };
    transaction.batch_execute(cursor).map_err(lost(rows))?;
    let fetch = transaction.prepare(&format!("FETCH {FETCHED_ROWS} FROM penstock_rows")).map_err(lost(rows))?;
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        let before = rows;
        let mut fetched = transaction.query_raw(&fetch, std::iter::empty::<&str>()).map_err(lost(rows))?;
        while let Some(row) = fetched.next().map_err(lost(rows))? {
            writer.append(&row, &mut block).map_err(lost(rows))?;
            rows += 1;
            if block.len() >= BLOCK && to.send(Ok(std::mem::replace(&mut block, Vec::with_capacity(BLOCK)))).is_err() {
                // Nobody wants the rest.
                return Ok(());
            }
        }
        if rows == before {
            break;
        }
    }
    for last in [block, Vec::new()] {
        if to.send(Ok(last)).is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads the lines that the thread sends.
struct QueryReader {
    /// Tells the thread to go on, once.
    begin: Option<SyncSender<()>>,
    blocks: Receiver<Block>,
    block: Vec<u8>,
    at: usize,
    ended: bool,
    /// Told again to whoever asks again: several threads take turns, and all of them should say the same.
    failed: Option<SourceError>,
    place: String,
}

impl Read for QueryReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(begin) = self.begin.take() {
            // If the thread is gone, what it sent last says why.
            let _ = begin.send(());
        }
        while self.at == self.block.len() {
            if self.ended {
                return Ok(0);
            }
            if let Some(error) = &self.failed {
                return Err(io::Error::other(error.clone()));
            }
            let broken = || SourceError::new(ErrorKind::Torn, &self.place, "the reading broke off; run again");
            match self.blocks.recv().unwrap_or_else(|_| Err(broken())) {
                Ok(block) => self.block = block,
                Err(error) => {
                    self.failed = Some(error);
                    continue;
                }
            }
            self.at = 0;
            self.ended = self.block.is_empty();
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
