//! What a database's errors mean for a person: the place, the reason, and what to do. It must not show a password.

use crate::error::{ErrorKind, SourceError};
use ::postgres::Error;
use ::postgres::error::{DbError, ErrorPosition, SqlState};
use std::error::Error as _;

/// Where the work with a database failed.
pub(super) enum Failure {
    /// TLS cannot be set up.
    Tls(String),
    /// While it was connected to.
    Connecting(Error),
    /// The query is none that could be used: what is wrong.
    Refused(String),
    /// The database did not understand the query.
    Describing(Error),
    /// The query is sound by itself, and is no table.
    Wrapping(Error),
    /// After so many rows.
    Reading {
        /// What came.
        error: Error,
        /// Rows before.
        rows: u64,
    },
}

impl Failure {
    /// For a person.
    pub(super) fn told(&self, place: &str, query: &str) -> SourceError {
        match self {
            Failure::Tls(message) => SourceError::new(ErrorKind::Connect, place, message),
            Failure::Connecting(error) => SourceError::new(ErrorKind::Connect, place, connecting(error)),
            Failure::Refused(message) => SourceError::new(ErrorKind::Query, "the query", message),
            Failure::Describing(error) => described(error, place, query),
            Failure::Wrapping(error) => {
                let why = error.as_db_error().map_or_else(|| chain(error), server_said);
                let message = format!("must be one SELECT, or VALUES, TABLE or WITH … SELECT, without another `;`: {why}");
                SourceError::new(ErrorKind::Query, "the query", message)
            }
            Failure::Reading { error, rows } => reading(error, *rows, place),
        }
    }
}

fn connecting(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("does not let us in: {}", server_said(said));
    }
    let chain = chain(error);
    let hint = match chain.contains("certificate") {
        true => "; its certificate must be trusted by this machine (SSL_CERT_FILE names others), sslmode=disable does without TLS",
        false => "",
    };
    format!("cannot be connected to: {chain}{hint}")
}

fn described(error: &Error, place: &str, query: &str) -> SourceError {
    let Some(said) = error.as_db_error() else {
        return SourceError::new(ErrorKind::Connect, place, format!("the connection was lost: {}; run again", chain(error)));
    };
    let at = match said.position() {
        Some(ErrorPosition::Original(position)) => position_in(query, *position),
        _ => None,
    };
    let place = at.map_or_else(|| "the query".to_owned(), |(line, column)| format!("the query, line {line}, column {column}"));
    let several = said.code() == &SqlState::SYNTAX_ERROR && said.message().contains("multiple commands");
    let message = if several { "holds several statements; write one SELECT".to_owned() } else { server_said(said) };
    SourceError::new(ErrorKind::Query, place, message)
}

fn reading(error: &Error, rows: u64, place: &str) -> SourceError {
    let Some(said) = error.as_db_error() else { return lost(&chain(error), rows, place) };
    let (kind, what) = match said.code() {
        code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => (ErrorKind::Query, "may only read".to_owned()),
        code if *code == SqlState::QUERY_CANCELED => {
            (ErrorKind::Torn, format!("was canceled after {rows} rows (the dsn's options can set a longer statement_timeout)"))
        }
        // Class 57: the server goes away. Class 42: what the query names is not ours to read.
        code if code.code().starts_with("57") => return lost(&server_said(said), rows, place),
        code if code.code().starts_with("42") => (ErrorKind::Query, "is refused".to_owned()),
        _ => (ErrorKind::Torn, format!("failed after {rows} rows")),
    };
    SourceError::new(kind, place, format!("the query {what}: {}", server_said(said)))
}

fn lost(why: &str, rows: u64, place: &str) -> SourceError {
    let message = format!("the connection was lost after {rows} rows, and none of them is used: {why}; run again");
    SourceError::new(ErrorKind::Torn, place, message)
}

/// The server's message with what it adds, and its code.
fn server_said(said: &DbError) -> String {
    let mut text = said.message().to_owned();
    for more in [said.detail(), said.hint()].into_iter().flatten() {
        text += &format!("; {}", more.trim_end_matches('.'));
    }
    format!("{text} ({})", said.code().code())
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text += &format!(": {e}");
        cause = e.source();
    }
    text
}

/// Line and column, from 1, of a character that is counted from 1.
fn position_in(query: &str, position: u32) -> Option<(usize, usize)> {
    let before: String = query.chars().take((position as usize).checked_sub(1)?).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Some((line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_counted_in_characters_and_told_by_line() {
        assert_eq!(position_in("select x", 8), Some((1, 8)));
        assert_eq!(position_in("select 'é',\n  x from y", 15), Some((2, 3)));
        assert_eq!(position_in("select", 0), None);
    }
}
