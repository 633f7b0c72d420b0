//! Several plans' objects as one: the parts that processes cut side by side. Blocks are copied as they are; where they lie, and which parcel
//! is which, is told anew. It must not look into a row.

use super::layout::{Directory, HEAD_BYTES, Head, Place, Told, tell, write_directory};
use super::rows_by_key::{Chunk, renumber};
use crate::model::action::ActionName;
use crate::port::{Objects, PortError};
use std::io::{self, Seek, Write};
use std::ops::Range;

/// So many bytes are copied at once.
const PIECE: u64 = 8 << 20;

/// How many parcels there are of each action.
type Counts = [u32; ActionName::ALL.len()];

/// Writes one plan, with the parcels of all of `parts` (names of objects) in the order of sending, to `out`, which is at its beginning. What
/// is in memory at a time are the tables, and one list of keys.
///
/// # Errors
/// An object cannot be read or is no plan; `out` cannot be written (`Full`: no space is left).
pub async fn join<O: Objects>(objects: &O, parts: &[String], out: &mut (impl Write + Seek)) -> Result<Directory, PortError> {
    let mut read = Vec::with_capacity(parts.len());
    for name in parts {
        read.push(Part::read(objects, name).await?);
    }
    let mut all = Counts::default();
    for part in &read {
        add(&mut all, part.counts());
    }
    let first = [0, all[0], all[0] + all[1]];
    let mut before = Counts::default();
    let mut joined = Directory::default();
    let mut chunks = Vec::new();
    let mut offset = HEAD_BYTES;
    out.write_all(&[0; HEAD_BYTES as usize]).map_err(unwritten)?;
    for part in read {
        let moved = |at: u64| at - HEAD_BYTES + offset;
        joined.parcels.extend(part.told.places.iter().map(|place| {
            let within = place.number - part.told.head.first_of(place.action) + before[place.action as usize];
            Place { number: first[place.action as usize] + within, offset: moved(place.offset), ..place.clone() }
        }));
        joined.settled.extend(part.told.notes.settled.iter().map(|(at, length)| (moved(*at), *length)));
        chunks.extend(part.told.chunks.iter().map(|chunk| Chunk { offset: moved(chunk.offset), ..*chunk }));
        part.copy(objects, before, out).await?;
        offset = moved(part.told.head.table);
        add(&mut before, part.counts());
        joined.field_names = part.told.notes.field_names;
    }
    joined.parcels.sort_unstable_by_key(|place| place.number);
    write_directory(out, offset, &joined, &chunks).map_err(unwritten)?;
    Ok(joined)
}

fn add(to: &mut Counts, counts: Counts) {
    to.iter_mut().zip(counts).for_each(|(to, count)| *to += count);
}

fn unwritten(error: io::Error) -> PortError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PortError::Full(format!("the joined plan cannot be written: {error}")),
        _ => PortError::Failed(format!("the joined plan cannot be written: {error}")),
    }
}

/// A part.
struct Part<'a> {
    name: &'a str,
    told: Told,
}

impl Part<'_> {
    async fn read<'a, O: Objects>(objects: &O, name: &'a str) -> Result<Part<'a>, PortError> {
        Ok(Part { name, told: tell(objects, name).await? })
    }

    fn counts(&self) -> Counts {
        let Head { parcels, adding, updating, .. } = self.told.head;
        [adding, updating, parcels - adding - updating]
    }

    /// Copies its blocks. In its lists of keys each action's parcels are counted from `before` on.
    async fn copy<O: Objects>(&self, objects: &O, before: Counts, out: &mut impl Write) -> Result<(), PortError> {
        let mut at = HEAD_BYTES;
        for chunk in &self.told.chunks {
            let list = chunk.range(0, chunk.rows);
            self.copy_range(objects, at..list.start, out).await?;
            at = list.end;
            let mut rows = objects.get(self.name, Some(list)).await?;
            renumber(&mut rows, before);
            out.write_all(&rows).map_err(unwritten)?;
        }
        self.copy_range(objects, at..self.told.head.table, out).await
    }

    async fn copy_range<O: Objects>(&self, objects: &O, range: Range<u64>, out: &mut impl Write) -> Result<(), PortError> {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + PIECE);
            out.write_all(&objects.get(self.name, Some(at..end)).await?).map_err(unwritten)?;
            at = end;
        }
        Ok(())
    }
}
