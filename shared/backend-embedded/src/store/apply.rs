//! One write within a transaction: what it expects is checked, then the document and its index entries change together.
//!
//! It must not begin or end transactions, and must not write anything before all checks have passed: a write that is refused
//! leaves nothing behind in a transaction that others share.

use engine::port::{Document, Expect, Index, Key, PortError, Write};
use rusqlite::{Connection, OptionalExtension, params};

/// Most bytes of a body.
pub(super) const BODY_LIMIT: usize = 380_000;
/// Most bytes of a summary.
const SUMMARY_LIMIT: usize = 150;
/// Most bytes of a partition and of a sort key, and neither may be empty: DynamoDB's limits, held here too so that what runs on
/// one machine runs on a stack.
const PARTITION_LIMIT: usize = 2048;
const SORT_LIMIT: usize = 1024;

const FIND: &str = "SELECT version, expires_at, entries FROM doc WHERE partition = ?1 AND sort = ?2";
const PUT: &str = "INSERT INTO doc(partition, sort, version, expires_at, entries, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET version = ?3, expires_at = ?4, entries = ?5, body = ?6";
const DELETE: &str = "DELETE FROM doc WHERE partition = ?1 AND sort = ?2";
const PUT_ENTRY: &str =
    "INSERT INTO idx(which, partition, sort, doc_partition, doc_sort, expires_at, summary) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const DELETE_ENTRY: &str = "DELETE FROM idx WHERE which = ?1 AND partition = ?2 AND sort = ?3 AND doc_partition = ?4 AND doc_sort = ?5";
const FIND_EXPIRED: &str = "SELECT partition, sort, entries FROM doc WHERE expires_at IS NOT NULL AND expires_at < ?1 LIMIT ?2";

/// Refuses what the port does not allow, before it reaches the transaction.
pub(super) fn check(write: &Write) -> Result<(), PortError> {
    let (Write::Put(key, ..) | Write::Delete(key, _)) = write;
    check_key("document", &key.partition, &key.sort)?;
    let Write::Put(_, document, _) = write else { return Ok(()) };
    let name = format!("document {:?} of {:?}", key.sort, key.partition);
    if document.body.len() > BODY_LIMIT {
        return Err(PortError::Failed(format!("{name} has {} bytes: at most {BODY_LIMIT}", document.body.len())));
    }
    for (place, entry) in document.index.iter().enumerate() {
        check_key("index entry", &entry.partition, &entry.sort)?;
        if entry.summary.len() > SUMMARY_LIMIT {
            return Err(PortError::Failed(format!("{name} has a summary of {} bytes: at most {SUMMARY_LIMIT}", entry.summary.len())));
        }
        if document.index[..place].iter().any(|other| other.index == entry.index) {
            return Err(PortError::Failed(format!("{name} has two entries for one index: at most one for each")));
        }
    }
    Ok(())
}

fn check_key(what: &str, partition: &str, sort: &str) -> Result<(), PortError> {
    for (part, text, limit) in [("partition", partition, PARTITION_LIMIT), ("sort key", sort, SORT_LIMIT)] {
        if text.is_empty() || text.len() > limit {
            return Err(PortError::Failed(format!("the {part} of a {what} has {} bytes: 1 to {limit} are allowed", text.len())));
        }
    }
    Ok(())
}

/// What became of one write that reached the transaction.
pub(super) enum Applied {
    /// It was done; a put has this version, a deletion 0.
    Done(u64),
    /// Its expectation does not hold.
    Conflict,
}

/// Applies one checked write. `last_version` counts on with every put.
pub(super) fn apply(connection: &Connection, write: &Write, last_version: &mut u64, now: u64) -> rusqlite::Result<Applied> {
    let (Write::Put(key, _, expect) | Write::Delete(key, expect)) = write;
    let found = find(connection, key)?;
    let seen = found.as_ref().filter(|found| found.expires_at.is_none_or(|at| at >= saturate(now))).map(|found| found.version);
    let holds = match expect {
        Expect::Any => true,
        Expect::Absent => seen.is_none(),
        Expect::At(version) => seen == Some(*version),
    };
    if !holds {
        return Ok(Applied::Conflict);
    }
    if let Some(Found { entries: Some(entries), .. }) = &found {
        delete_entries(connection, key, entries)?;
    }
    match write {
        Write::Delete(..) => {
            if found.is_some() {
                connection.prepare_cached(DELETE)?.execute(params![key.partition, key.sort])?;
            }
            Ok(Applied::Done(0))
        }
        Write::Put(_, document, _) => {
            *last_version += 1;
            put(connection, key, document, *last_version)?;
            Ok(Applied::Done(*last_version))
        }
    }
}

/// Deletes at most `limit` expired documents, and says how many.
pub(super) fn purge(connection: &Connection, now: u64, limit: usize) -> rusqlite::Result<usize> {
    let mut finding = connection.prepare_cached(FIND_EXPIRED)?;
    let rows = finding.query_map(params![saturate(now), limit as i64], |row| {
        Ok((Key { partition: row.get(0)?, sort: row.get(1)? }, row.get::<_, Option<Vec<u8>>>(2)?))
    })?;
    // Collected first: rows must not go away under the statement that reads them.
    let expired: Vec<_> = rows.collect::<Result<_, _>>()?;
    for (key, entries) in &expired {
        if let Some(entries) = entries {
            delete_entries(connection, key, entries)?;
        }
        connection.prepare_cached(DELETE)?.execute(params![key.partition, key.sort])?;
    }
    Ok(expired.len())
}

struct Found {
    version: u64,
    expires_at: Option<i64>,
    entries: Option<Vec<u8>>,
}

fn find(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Found>> {
    let mut finding = connection.prepare_cached(FIND)?;
    finding
        .query_row(params![key.partition, key.sort], |row| {
            Ok(Found { version: row.get::<_, i64>(0)?.cast_unsigned(), expires_at: row.get(1)?, entries: row.get(2)? })
        })
        .optional()
}

fn put(connection: &Connection, key: &Key, document: &Document, version: u64) -> rusqlite::Result<()> {
    let expires_at = document.expires_at.map(saturate);
    let entries = (!document.index.is_empty()).then(|| pack(document));
    let mut putting = connection.prepare_cached(PUT)?;
    putting.execute(params![key.partition, key.sort, version.cast_signed(), expires_at, entries, document.body])?;
    for entry in &document.index {
        let mut putting = connection.prepare_cached(PUT_ENTRY)?;
        let which = number(entry.index);
        putting.execute(params![which, entry.partition, entry.sort, key.partition, key.sort, expires_at, entry.summary])?;
    }
    Ok(())
}

fn delete_entries(connection: &Connection, key: &Key, entries: &[u8]) -> rusqlite::Result<()> {
    let mut deleting = connection.prepare_cached(DELETE_ENTRY)?;
    for (which, partition, sort) in unpack(entries)? {
        deleting.execute(params![which, partition, sort, key.partition, key.sort])?;
    }
    Ok(())
}

/// The index's number in the file.
pub(super) fn number(index: Index) -> u8 {
    match index {
        Index::First => 1,
        Index::Second => 2,
        Index::Third => 3,
    }
}

/// A time as the file has it. The last second that fits is 292 billion years away, so nothing is lost.
pub(super) fn saturate(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// A document's index keys: for each its index's number, the length of the partition and of the sort key (two bytes each,
/// little-endian; `check` keeps them below that), and the two texts.
fn pack(document: &Document) -> Vec<u8> {
    let mut packed = Vec::new();
    for entry in &document.index {
        packed.push(number(entry.index));
        for text in [&entry.partition, &entry.sort] {
            packed.extend_from_slice(&(text.len() as u16).to_le_bytes());
        }
        packed.extend_from_slice(entry.partition.as_bytes());
        packed.extend_from_slice(entry.sort.as_bytes());
    }
    packed
}

fn unpack(mut packed: &[u8]) -> rusqlite::Result<Vec<EntryKey<'_>>> {
    let mut entries = Vec::new();
    while !packed.is_empty() {
        entries.push(unpack_one(&mut packed).ok_or_else(|| {
            // What we packed unpacks; anything else was not written by us.
            let damaged = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            rusqlite::Error::SqliteFailure(damaged, Some("the list of a document's index entries cannot be read".to_owned()))
        })?);
    }
    Ok(entries)
}

/// An index's number, and a partition and a sort key in it.
type EntryKey<'a> = (u8, &'a str, &'a str);

fn unpack_one<'a>(packed: &mut &'a [u8]) -> Option<EntryKey<'a>> {
    let (&[which, a, b, c, d], rest) = packed.split_first_chunk::<5>()?;
    let (partition, rest) = rest.split_at_checked(u16::from_le_bytes([a, b]).into())?;
    let (sort, rest) = rest.split_at_checked(u16::from_le_bytes([c, d]).into())?;
    *packed = rest;
    Some((which, str::from_utf8(partition).ok()?, str::from_utf8(sort).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::port::IndexEntry;

    #[test]
    fn packed_index_keys_unpack_to_themselves_and_a_cut_list_is_an_error() {
        let entry = |index, partition: &str, sort: &str| IndexEntry {
            index,
            partition: partition.to_owned(),
            sort: sort.to_owned(),
            summary: "s".to_owned(),
        };
        let long = "ü".repeat(1024);
        let index = vec![entry(Index::First, "a", "b"), entry(Index::Third, &long, "c\0d")];
        let packed = pack(&Document { index, ..Document::default() });
        assert_eq!(unpack(&packed).unwrap(), vec![(1, "a", "b"), (3, long.as_str(), "c\0d")]);
        for cut in (1..packed.len()).filter(|cut| *cut != 7) {
            assert!(unpack(&packed[..cut]).is_err(), "cut at {cut}");
        }
    }
}
