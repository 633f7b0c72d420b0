//! The rows of a plan: zstd blocks, one a parcel, and a directory at the end. Not Parquet, so that whoever delivers links no Arrow.

use crate::model::action::ActionName;
use crate::model::change::{DeltaRow, Entry, EntryState, Fields};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// No block is longer than this when unpacked.
const LONGEST_BLOCK: u64 = 64 << 20;

/// One row of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRow {
    /// The key's text.
    pub key: String,
    /// Keyed hash of the key.
    pub key_hash: u128,
    /// Keyed hash of the fields.
    pub row_hash: u128,
    /// The fields, in the order of the plan's field names.
    pub fields: Fields,
    /// The fields last delivered, of a changed row whose templates ask for them.
    pub previous: Option<Fields>,
}

#[derive(Serialize, Deserialize)]
struct RowForm(String, String, String, Fields, #[serde(default)] Option<Fields>);

#[derive(Serialize, Deserialize)]
struct SettledForm(String, String, String, u8, Option<Fields>);

/// Where a block lies and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// What stands at the end of a plan's object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    /// The names of the rows' fields.
    pub field_names: Vec<String>,
    /// The parcels, by number.
    pub parcels: Vec<Place>,
    /// Blocks of rows that are settled without being sent: offset and length.
    pub settled: Vec<(u64, u64)>,
}

/// Packs the deliveries of a parcel, each a line with its rows.
pub fn pack(deliveries: &[Vec<PlannedRow>]) -> Vec<u8> {
    let mut plain = Vec::new();
    for rows in deliveries {
        let forms: Vec<RowForm> =
            rows.iter().map(|r| RowForm(r.key.clone(), hex(r.key_hash), hex(r.row_hash), r.fields.clone(), r.previous.clone())).collect();
        serde_json::to_writer(&mut plain, &forms).expect("writing plain data to memory cannot fail");
        plain.push(b'\n');
    }
    compress(&plain)
}

/// Unpacks a parcel.
pub fn unpack(block: &[u8]) -> Result<Vec<Vec<PlannedRow>>, String> {
    let plain = decompress(block)?;
    let lines = plain.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let forms: Vec<RowForm> = serde_json::from_slice(line).map_err(|e| format!("a planned delivery does not parse: {e}"))?;
            forms
                .into_iter()
                .map(|RowForm(key, key_hash, row_hash, fields, previous)| {
                    Ok(PlannedRow { key, key_hash: unhex(&key_hash)?, row_hash: unhex(&row_hash)?, fields, previous })
                })
                .collect()
        })
        .collect()
}

/// Packs rows that are settled without being sent.
pub fn pack_settled(rows: &[DeltaRow]) -> Vec<u8> {
    let mut plain = Vec::new();
    for row in rows {
        let DeltaRow { key_hash, key, entry } = row;
        let form = SettledForm(key.clone(), hex(*key_hash), hex(entry.row_hash), entry.state as u8, entry.fields.clone());
        serde_json::to_writer(&mut plain, &form).expect("writing plain data to memory cannot fail");
        plain.push(b'\n');
    }
    compress(&plain)
}

/// Unpacks settled rows.
pub fn unpack_settled(block: &[u8]) -> Result<Vec<DeltaRow>, String> {
    let plain = decompress(block)?;
    let lines = plain.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let SettledForm(key, key_hash, row_hash, state, fields) =
                serde_json::from_slice(line).map_err(|e| format!("a settled row does not parse: {e}"))?;
            let state = if state == EntryState::Gone as u8 { EntryState::Gone } else { EntryState::Skipped };
            let entry = Entry { state, row_hash: unhex(&row_hash)?, fields, uncertain: None };
            Ok(DeltaRow { key_hash: unhex(&key_hash)?, key, entry })
        })
        .collect()
}

/// Writes the directory and its length; the object is complete with it.
pub fn write_directory(out: &mut impl Write, directory: &Directory) -> io::Result<()> {
    let packed = compress(&serde_json::to_vec(directory).expect("plain data always serializes"));
    out.write_all(&packed)?;
    out.write_all(&(packed.len() as u64).to_le_bytes())
}

/// Reads the directory of a plan's object.
pub fn read_directory(file: &mut (impl Read + Seek)) -> Result<Directory, String> {
    let wrong = |e: io::Error| format!("a plan's directory cannot be read: {e}");
    let end = file.seek(SeekFrom::End(-8)).map_err(wrong)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(wrong)?;
    let length = u64::from_le_bytes(length);
    let start = end.checked_sub(length).ok_or("a plan's directory is longer than the plan")?;
    let packed = read_block(file, start, length)?;
    serde_json::from_slice(&decompress(&packed)?).map_err(|e| format!("a plan's directory does not parse: {e}"))
}

/// Reads a block of a plan's object.
pub fn read_block(file: &mut (impl Read + Seek), offset: u64, length: u64) -> Result<Vec<u8>, String> {
    let mut block = vec![0; usize::try_from(length).map_err(|_| "a block is too long")?];
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_exact(&mut block))
        .map_err(|e| format!("a block of a plan cannot be read: {e}"))?;
    Ok(block)
}

fn compress(plain: &[u8]) -> Vec<u8> {
    let mut out = (plain.len() as u64).to_le_bytes().to_vec();
    out.extend(zstd::bulk::compress(plain, 1).expect("compressing to memory cannot fail"));
    out
}

fn decompress(block: &[u8]) -> Result<Vec<u8>, String> {
    let (length, packed) = block.split_at_checked(8).ok_or("a block of a plan ends early")?;
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    if length > LONGEST_BLOCK {
        return Err("a block of a plan claims to be longer than 64 MiB".to_string());
    }
    zstd::bulk::decompress(packed, length as usize).map_err(|e| format!("a block of a plan does not decompress: {e}"))
}

fn hex(value: u128) -> String {
    format!("{value:032x}")
}

fn unhex(text: &str) -> Result<u128, String> {
    u128::from_str_radix(text, 16).map_err(|_| format!("`{text}` is not a hash"))
}
