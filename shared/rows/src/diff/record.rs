//! A change as it lies in the spool. It must not know where the spool keeps it.

use crate::cell::{Cell, decode, decode_text, take};
use crate::columns::Columns;
use crate::snapshot::state_of;
use engine::model::change::{ChangeKind, EntryState, Fields};
use serde_json::Value;

/// A record's fixed part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Head {
    pub kind: ChangeKind,
    pub ordinal: u32,
    /// The slot and state of the snapshot's entry.
    pub before: Option<(u32, EntryState)>,
    pub key_hash: u128,
    pub row_hash: u128,
}

const NO_ENTRY: u8 = u8::MAX;

/// Appends a record. Null cells are left out.
pub(crate) fn encode(head: &Head, key: &str, cells: &[Cell<'_>], columns: &Columns, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(head.kind as u8);
    let (slot, state) = head.before.map_or((0, NO_ENTRY), |(slot, state)| (slot, state as u8));
    out.push(state);
    out.extend_from_slice(&head.ordinal.to_le_bytes());
    out.extend_from_slice(&slot.to_le_bytes());
    out.extend_from_slice(&head.key_hash.to_le_bytes());
    out.extend_from_slice(&head.row_hash.to_le_bytes());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    for (i, field) in columns.fields.iter().enumerate() {
        match cells.get(field.slot) {
            None | Some(Cell::Null) => {}
            Some(cell) => {
                out.extend_from_slice(&(i as u16).to_le_bytes());
                cell.encode(out);
            }
        }
    }
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Takes the next record off `input`.
pub(crate) fn next<'a>(input: &mut &'a [u8]) -> Option<(Head, &'a str, &'a [u8])> {
    let length = u32::from_le_bytes(input.get(..4)?.try_into().ok()?) as usize;
    let mut record = take(input, length)?.get(4..)?;
    let record = &mut record;
    let kind = match take(record, 1)?[0] {
        0 => ChangeKind::Added,
        1 => ChangeKind::Changed,
        _ => return None,
    };
    let state = take(record, 1)?[0];
    let mut number = || Some(u32::from_le_bytes(take(record, 4)?.try_into().ok()?));
    let (ordinal, slot) = (number()?, number()?);
    let before = if state == NO_ENTRY { None } else { Some((slot, state_of(state)?)) };
    let mut hash = || Some(u128::from_le_bytes(take(record, 16)?.try_into().ok()?));
    let (key_hash, row_hash) = (hash()?, hash()?);
    let key = decode_text(record)?;
    Some((Head { kind, ordinal, before, key_hash, row_hash }, key, record))
}

/// Reads the fields of a record: `positions` says where each numbered field goes, `width` how many there are.
pub(crate) fn fields(mut cells: &[u8], positions: &[usize], width: usize) -> Option<Fields> {
    let mut fields = vec![Value::Null; width];
    let input = &mut cells;
    while !input.is_empty() {
        let number = u16::from_le_bytes(take(input, 2)?.try_into().ok()?);
        *fields.get_mut(*positions.get(usize::from(number))?)? = decode(input)?;
    }
    Some(fields)
}
