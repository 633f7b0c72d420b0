//! The rows of a plan: zstd blocks, one a parcel. Not Parquet, so that whoever delivers links no Arrow. Where the blocks lie is
//! `layout`'s.

use crate::model::change::{DeltaRow, Entry, EntryState, Fields};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

/// A frame is ended once it is this long unpacked.
const FRAME_BYTES: usize = 64 << 10;
/// What the list says of a frame: its deliveries, its length unpacked and packed, four bytes each.
const LISTED_BYTES: usize = 12;

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

/// Packs the deliveries of a parcel, each a line with its rows. Frames of whole lines are compressed one by one, behind a list
/// of them, so that one delivery is read without the others.
pub fn pack(deliveries: &[Vec<PlannedRow>]) -> Vec<u8> {
    let mut list = Vec::new();
    let mut frames = Vec::new();
    let mut plain = Vec::with_capacity(FRAME_BYTES * 2);
    let mut lines = 0u32;
    for (place, rows) in deliveries.iter().enumerate() {
        let forms: Vec<RowForm> =
            rows.iter().map(|r| RowForm(r.key.clone(), hex(r.key_hash), hex(r.row_hash), r.fields.clone(), r.previous.clone())).collect();
        serde_json::to_writer(&mut plain, &forms).expect("writing plain data to memory cannot fail");
        plain.push(b'\n');
        lines += 1;
        if plain.len() >= FRAME_BYTES || place + 1 == deliveries.len() {
            let packed = zstd::bulk::compress(&plain, 1).expect("compressing to memory cannot fail");
            for number in [lines, plain.len() as u32, packed.len() as u32] {
                list.extend(number.to_le_bytes());
            }
            frames.extend(packed);
            plain.clear();
            lines = 0;
        }
    }
    let mut block = ((list.len() / LISTED_BYTES) as u32).to_le_bytes().to_vec();
    block.extend(list);
    block.extend(frames);
    block
}

/// Unpacks a parcel.
pub fn unpack(block: &[u8]) -> Result<Vec<Vec<PlannedRow>>, String> {
    let list = FrameList::parse(block)?;
    let mut deliveries = Vec::new();
    for frame in &list.frames {
        let packed = block.get(frame.start as usize..(frame.start + frame.length) as usize).ok_or("a block of a plan ends early")?;
        for line in plain_frame(packed, frame.plain)?.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let forms: Vec<RowForm> = serde_json::from_slice(line).map_err(|e| format!("a planned delivery does not parse: {e}"))?;
            let rows: Result<_, String> = forms
                .into_iter()
                .map(|RowForm(key, key_hash, row_hash, fields, previous)| {
                    Ok(PlannedRow { key, key_hash: unhex(&key_hash)?, row_hash: unhex(&row_hash)?, fields, previous })
                })
                .collect();
            deliveries.push(rows?);
        }
    }
    Ok(deliveries)
}

/// A frame of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The first of its deliveries.
    pub first: u32,
    /// How many it holds.
    pub deliveries: u32,
    /// Where in the block it begins.
    pub start: u64,
    /// Its length, bytes.
    pub length: u64,
    /// Its length unpacked.
    plain: u64,
}

/// The frames of a block, as its beginning lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameList {
    frames: Vec<Frame>,
}

impl FrameList {
    /// So many of a block's first bytes hold its list.
    pub fn length(start: &[u8]) -> Result<u64, String> {
        let count = start.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).ok_or("a block of a plan ends early")?;
        Ok(4 + u64::from(count) * LISTED_BYTES as u64)
    }

    /// Reads the list at the beginning of a block; more may follow.
    pub fn parse(start: &[u8]) -> Result<FrameList, String> {
        let length = FrameList::length(start)?;
        let list = start.get(4..length as usize).ok_or("a block of a plan ends early")?;
        let (mut first, mut at) = (0u32, length);
        let mut frames = Vec::with_capacity(list.len() / LISTED_BYTES);
        for listed in list.chunks_exact(LISTED_BYTES) {
            let number = |place: usize| u32::from_le_bytes(listed[place..place + 4].try_into().expect("four bytes"));
            let frame = Frame { first, deliveries: number(0), start: at, length: u64::from(number(8)), plain: u64::from(number(4)) };
            first = first.checked_add(frame.deliveries).ok_or("a block of a plan claims too many deliveries")?;
            at += frame.length;
            frames.push(frame);
        }
        Ok(FrameList { frames })
    }

    /// The frame that holds a delivery.
    pub fn frame_of(&self, index: u32) -> Option<Frame> {
        let behind = self.frames.partition_point(|frame| frame.first <= index);
        self.frames.get(behind.checked_sub(1)?).copied().filter(|frame| index - frame.first < frame.deliveries)
    }
}

impl Frame {
    /// Unpacks it, given its bytes.
    pub fn open(&self, packed: &[u8]) -> Result<OpenFrame, String> {
        let plain = plain_frame(packed, self.plain)?;
        let mut start = 0;
        let ends = plain.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(end, _)| end);
        let lines = ends.map(|end| std::mem::replace(&mut start, end + 1)..end).collect();
        Ok(OpenFrame { first: self.first, plain, lines })
    }
}

/// A frame unpacked.
#[derive(Clone, Debug)]
pub struct OpenFrame {
    first: u32,
    plain: Vec<u8>,
    lines: Vec<Range<usize>>,
}

impl OpenFrame {
    /// The keys of the rows of one of its deliveries.
    pub fn keys(&self, index: u32) -> Result<Vec<String>, String> {
        #[derive(Deserialize)]
        struct KeyForm(String, IgnoredAny, IgnoredAny, IgnoredAny, #[serde(default)] IgnoredAny);
        let place = index.checked_sub(self.first).ok_or("a planned delivery stands in another frame")?;
        let line = self.lines.get(place as usize).ok_or("a frame of a plan ends early")?;
        let forms: Vec<KeyForm> =
            serde_json::from_slice(&self.plain[line.clone()]).map_err(|e| format!("a planned delivery does not parse: {e}"))?;
        Ok(forms.into_iter().map(|KeyForm(key, ..)| key).collect())
    }

    /// The memory it takes, bytes.
    pub fn size(&self) -> usize {
        self.plain.len() + self.lines.len() * size_of::<Range<usize>>()
    }
}

fn plain_frame(packed: &[u8], plain: u64) -> Result<Vec<u8>, String> {
    if plain > LONGEST_BLOCK {
        return Err("a block of a plan claims to be longer than 64 MiB".to_string());
    }
    zstd::bulk::decompress(packed, plain as usize).map_err(|e| format!("a block of a plan does not decompress: {e}"))
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

/// Reads a block of a plan's object.
pub fn read_block(file: &mut (impl Read + Seek), offset: u64, length: u64) -> Result<Vec<u8>, String> {
    let mut block = vec![0; usize::try_from(length).map_err(|_| "a block is too long")?];
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_exact(&mut block))
        .map_err(|e| format!("a block of a plan cannot be read: {e}"))?;
    Ok(block)
}

pub(super) fn compress(plain: &[u8]) -> Vec<u8> {
    let mut out = (plain.len() as u64).to_le_bytes().to_vec();
    out.extend(zstd::bulk::compress(plain, 1).expect("compressing to memory cannot fail"));
    out
}

pub(super) fn decompress(block: &[u8]) -> Result<Vec<u8>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(key: String, bytes: usize) -> PlannedRow {
        PlannedRow { key, key_hash: 1, row_hash: 2, fields: vec![json!("x".repeat(bytes))], previous: Some(vec![json!(null)]) }
    }

    /// What is long takes several frames, and each delivery is found in its own.
    #[test]
    fn a_deliverys_keys_are_read_from_one_frame() {
        let deliveries: Vec<Vec<PlannedRow>> = (0..300).map(|d| (0..d % 3 + 1).map(|r| row(format!("{d}-{r}"), 500)).collect()).collect();
        let block = pack(&deliveries);
        assert_eq!(unpack(&block).unwrap(), deliveries);
        let length = FrameList::length(&block).unwrap() as usize;
        let list = FrameList::parse(&block[..length]).unwrap();
        assert!(list.frames.len() > 2, "{}", list.frames.len());
        for (index, rows) in deliveries.iter().enumerate() {
            let frame = list.frame_of(index as u32).unwrap();
            let open = frame.open(&block[frame.start as usize..(frame.start + frame.length) as usize]).unwrap();
            let wanted: Vec<String> = rows.iter().map(|row| row.key.clone()).collect();
            assert_eq!(open.keys(index as u32).unwrap(), wanted);
        }
        assert_eq!(list.frame_of(300), None);
        assert_eq!(unpack(&pack(&[])).unwrap(), Vec::<Vec<PlannedRow>>::new());
    }

    #[test]
    fn a_block_that_is_cut_short_is_an_error_and_never_a_panic() {
        let block = pack(&[vec![row("a".into(), 10)], vec![row("b".into(), 10)]]);
        for cut in 0..block.len() {
            assert!(unpack(&block[..cut]).is_err(), "cut at {cut}");
        }
    }
}
