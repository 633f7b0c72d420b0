//! Which delivery carries the row of a key: lists of 14 bytes a row, sorted by the key's hash, to be searched by ranged reads.
//!
//! A list holds at most a million rows, so that making one takes little memory; a plan has as many lists as it needs. The hash only
//! finds candidates: whoever asks must compare the keys.

use crate::model::action::ActionName;

/// Rows of a list.
const MOST_ROWS: usize = 1 << 20;
/// Eight bytes of hash, four of parcel, two of place in it, each so that the order of the bytes is the order of the numbers.
pub const ROW_BYTES: u64 = 14;

type Row = [u8; ROW_BYTES as usize];

/// Where a list lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Where it begins in the object.
    pub offset: u64,
    /// How many rows it holds.
    pub rows: u64,
}

impl Chunk {
    /// The length of what the table says of a list.
    pub const BYTES: u64 = 16;

    /// As the table has it.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.rows.to_le_bytes());
        bytes
    }

    /// Reads the table.
    pub fn parse_all(table: &[u8]) -> Vec<Chunk> {
        let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        table.chunks_exact(16).map(|bytes| Chunk { offset: long(&bytes[..8]), rows: long(&bytes[8..]) }).collect()
    }

    /// Where in the object the rows `first..behind` of the list lie.
    pub fn range(&self, first: u64, behind: u64) -> std::ops::Range<u64> {
        self.offset + first * ROW_BYTES..self.offset + behind * ROW_BYTES
    }
}

/// Where a row may be: the action, which of the action's parcels, the delivery's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The action.
    pub action: ActionName,
    /// Counted within the action.
    pub parcel: u32,
    /// The delivery's place in the parcel.
    pub index: u32,
}

/// Hash of a key, for looking it up only.
pub fn hash(key: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key.as_bytes())
}

/// Gathers the rows of a plan.
#[derive(Debug, Default)]
pub struct Gathered {
    rows: Vec<Row>,
}

impl Gathered {
    /// Takes a row; gives a finished list when one is full.
    pub fn push(&mut self, key: &str, found: Found) -> Option<Vec<u8>> {
        let mut row = [0; ROW_BYTES as usize];
        row[..8].copy_from_slice(&hash(key).to_be_bytes());
        // Parcels get their final numbers when all are known; until then the action's number tells them apart.
        row[8..12].copy_from_slice(&((found.action as u32) << 30 | found.parcel).to_be_bytes());
        row[12..].copy_from_slice(&(found.index as u16).to_be_bytes());
        self.rows.push(row);
        if self.rows.len() >= MOST_ROWS { self.take() } else { None }
    }

    /// The list of what was gathered since the last one.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.rows.is_empty() {
            return None;
        }
        self.rows.sort_unstable();
        let list = self.rows.as_flattened().to_vec();
        self.rows.clear();
        Some(list)
    }
}

/// Counts each action's parcels from another number on, in a whole list.
pub fn renumber(list: &mut [u8], first: [u32; ActionName::ALL.len()]) {
    for row in list.chunks_exact_mut(ROW_BYTES as usize) {
        let parcel = u32::from_be_bytes(row[8..12].try_into().expect("four bytes"));
        let first = first.get(parcel as usize >> 30).copied().unwrap_or_default();
        row[8..12].copy_from_slice(&(parcel + first).to_be_bytes());
    }
}

/// The hash of a row of a list.
pub fn hash_of(row: &[u8]) -> u64 {
    row.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The rows of a part of a list that have this hash.
pub fn candidates(part: &[u8], hash: u64) -> impl Iterator<Item = Found> {
    part.chunks_exact(ROW_BYTES as usize).filter(move |row| hash_of(row) == hash).filter_map(|row| {
        let parcel = u32::from_be_bytes(row[8..12].try_into().expect("four bytes"));
        let index = u16::from_be_bytes(row[12..14].try_into().expect("two bytes"));
        let action = ActionName::ALL.into_iter().find(|action| *action as u32 == parcel >> 30)?;
        Some(Found { action, parcel: parcel & ((1 << 30) - 1), index: u32::from(index) })
    })
}
