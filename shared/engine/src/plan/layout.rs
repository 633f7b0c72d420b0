//! How a plan's object is laid out, so that one parcel, one delivery or one key is found in it by a few ranged reads.
//!
//! A head of fixed length, blocks (rows of parcels, settled rows, lists of keys), a table of the parcels, a table of the lists of keys,
//! notes. It must not know what is in a block.

use super::block;
use super::rows_by_key::Chunk;
use crate::model::action::ActionName;
use crate::port::{Objects, PortError};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// The head's length.
pub const HEAD_BYTES: u64 = 64;
/// What the table says of a parcel.
pub const PLACE_BYTES: u64 = 24;
const MARK: [u8; 8] = *b"PLAN\x02\0\0\0";

/// Where a block lies and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The parcel's number; parcels are numbered in the order of sending.
    pub number: u32,
    /// The action of all its deliveries.
    pub action: ActionName,
    /// Where the block begins.
    pub offset: u64,
    /// Its length, bytes.
    pub length: u64,
    /// Its deliveries.
    pub deliveries: u32,
    /// The rows they carry.
    pub rows: u64,
}

/// What a plan's object says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    /// The names of the rows' fields.
    pub field_names: Vec<String>,
    /// The parcels, by number.
    pub parcels: Vec<Place>,
    /// Blocks of rows that are settled without being sent: offset and length.
    pub settled: Vec<(u64, u64)>,
}

/// The head: where the rest lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How many parcels there are.
    pub parcels: u32,
    /// How many of them add; they come first.
    pub adding: u32,
    /// How many of them update; they come next.
    pub updating: u32,
    /// How many lists of keys there are.
    pub chunks: u32,
    /// Where the table of parcels begins; the table of lists of keys follows, then the notes.
    pub table: u64,
    /// The length of the notes.
    pub notes: u64,
    /// The first list of keys; most plans have no other.
    pub first_chunk: Chunk,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) field_names: Vec<String>,
    pub(super) settled: Vec<(u64, u64)>,
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD_BYTES as usize] {
        let mut bytes = [0; HEAD_BYTES as usize];
        bytes[..8].copy_from_slice(&MARK);
        for (place, number) in [self.parcels, self.adding, self.updating, self.chunks].into_iter().enumerate() {
            bytes[8 + place * 4..12 + place * 4].copy_from_slice(&number.to_le_bytes());
        }
        bytes[24..32].copy_from_slice(&self.table.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.notes.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.first_chunk.to_bytes());
        bytes
    }

    /// Reads a head.
    pub fn parse(bytes: &[u8]) -> Result<Head, String> {
        if bytes.len() < HEAD_BYTES as usize || bytes[..8] != MARK {
            return Err("a plan does not begin as plans of this version do".to_string());
        }
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let head = Head {
            parcels: short(8),
            adding: short(12),
            updating: short(16),
            chunks: short(20),
            table: long(24),
            notes: long(32),
            first_chunk: Chunk { offset: long(40), rows: long(48) },
        };
        match u64::from(head.adding) + u64::from(head.updating) <= u64::from(head.parcels) {
            true => Ok(head),
            false => Err("a plan's head contradicts itself".to_string()),
        }
    }

    /// Where in the object the table has what it says of parcels `first..behind`.
    pub fn places(&self, first: u32, behind: u32) -> std::ops::Range<u64> {
        self.table + u64::from(first) * PLACE_BYTES..self.table + u64::from(behind) * PLACE_BYTES
    }

    /// Where in the object the table of lists of keys lies.
    pub fn chunk_table(&self) -> std::ops::Range<u64> {
        let start = self.table + u64::from(self.parcels) * PLACE_BYTES;
        start..start + u64::from(self.chunks) * Chunk::BYTES
    }

    /// The action of a parcel.
    pub fn action(&self, parcel: u32) -> ActionName {
        match parcel {
            _ if parcel < self.adding => ActionName::Add,
            _ if parcel < self.adding + self.updating => ActionName::Update,
            _ => ActionName::Remove,
        }
    }

    /// The number of the first parcel of an action.
    pub fn first_of(&self, action: ActionName) -> u32 {
        match action {
            ActionName::Add => 0,
            ActionName::Update => self.adding,
            ActionName::Remove => self.adding + self.updating,
        }
    }

    /// Reads what the table says of the parcels from `first` on.
    pub fn parse_places(&self, first: u32, table: &[u8]) -> Vec<Place> {
        let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let short = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        table
            .chunks_exact(PLACE_BYTES as usize)
            .zip(first..)
            .map(|(bytes, number)| Place {
                number,
                action: self.action(number),
                offset: long(&bytes[..8]),
                length: u64::from(short(&bytes[8..12])),
                deliveries: short(&bytes[12..16]),
                rows: long(&bytes[16..24]),
            })
            .collect()
    }
}

/// Writes what stands behind the blocks, which end at `offset`, and then the head at the beginning: the object is complete with it.
pub fn write_directory(out: &mut (impl Write + Seek), offset: u64, directory: &Directory, chunks: &[Chunk]) -> io::Result<()> {
    let of = |action: ActionName| directory.parcels.iter().filter(|place| place.action == action).count() as u32;
    let notes = Notes { field_names: directory.field_names.clone(), settled: directory.settled.clone() };
    let notes = block::compress(&serde_json::to_vec(&notes).expect("plain data always serializes"));
    for place in &directory.parcels {
        out.write_all(&place.offset.to_le_bytes())?;
        out.write_all(&(place.length as u32).to_le_bytes())?;
        out.write_all(&place.deliveries.to_le_bytes())?;
        out.write_all(&place.rows.to_le_bytes())?;
    }
    for chunk in chunks {
        out.write_all(&chunk.to_bytes())?;
    }
    out.write_all(&notes)?;
    let head = Head {
        parcels: directory.parcels.len() as u32,
        adding: of(ActionName::Add),
        updating: of(ActionName::Update),
        chunks: chunks.len() as u32,
        table: offset,
        notes: notes.len() as u64,
        first_chunk: chunks.first().copied().unwrap_or_default(),
    };
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&head.to_bytes())?;
    out.seek(SeekFrom::End(0)).map(drop)
}

/// A plan's object, as far as it tells of itself.
pub(super) struct Told {
    pub head: Head,
    pub places: Vec<Place>,
    pub chunks: Vec<Chunk>,
    pub notes: Notes,
}

/// Reads what a plan's object tells of itself, in two ranged reads.
pub(super) async fn tell<O: Objects>(objects: &O, name: &str) -> Result<Told, PortError> {
    let wrong = |what: String| PortError::Failed(format!("object {name}: {what}"));
    let head = Head::parse(&objects.get(name, Some(0..HEAD_BYTES)).await?).map_err(wrong)?;
    // The table of parcels, the table of lists and the notes stand one behind the other.
    let (places, chunks) = (head.places(0, head.parcels), head.chunk_table());
    let notes = chunks.end..chunks.end + head.notes;
    let bytes = objects.get(name, Some(head.table..notes.end)).await?;
    let of = |range: Range<u64>| &bytes[(range.start - head.table) as usize..(range.end - head.table) as usize];
    let notes = block::decompress(of(notes)).map_err(wrong)?;
    let notes = serde_json::from_slice(&notes).map_err(|e| wrong(format!("its notes do not parse: {e}")))?;
    Ok(Told { places: head.parse_places(0, of(places)), chunks: Chunk::parse_all(of(chunks)), notes, head })
}

/// The directory of a plan's object, wherever that lies.
///
/// # Errors
/// The object cannot be read, or is no plan.
pub async fn directory<O: Objects>(objects: &O, name: &str) -> Result<Directory, PortError> {
    let Told { places, notes, .. } = tell(objects, name).await?;
    Ok(Directory { field_names: notes.field_names, parcels: places, settled: notes.settled })
}

/// Reads the directory of a plan's object.
pub fn read_directory(file: &mut (impl Read + Seek)) -> Result<Directory, String> {
    let head = Head::parse(&block::read_block(file, 0, HEAD_BYTES)?)?;
    let table = head.places(0, head.parcels);
    let parcels = head.parse_places(0, &block::read_block(file, table.start, table.end - table.start)?);
    let notes = block::read_block(file, head.chunk_table().end, head.notes)?;
    let notes: Notes =
        serde_json::from_slice(&block::decompress(&notes)?).map_err(|e| format!("a plan's directory does not parse: {e}"))?;
    Ok(Directory { field_names: notes.field_names, parcels, settled: notes.settled })
}
