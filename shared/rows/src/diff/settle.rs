//! After the pass: keys that stand twice, rows that are gone, the entries that go with changes. It must not read the source.

use super::changes::{Changes, Parts};
use super::places::{LISTED, Places, Spot};
use super::prior::Prior;
use super::probe::{Found, NewKey, Sums};
use super::read::Read;
use super::table::Table;
use super::{Options, record, side_by_side, verdict};
use crate::error::SourceError;
use crate::request::{Diff, DiffRequest};
use crate::snapshot::{Merged, SnapshotFile, names_of, reorders};
use crate::spool::SpoolReader;
use engine::model::change::{ChangeKind, EntryState, FieldNames};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Everything the pass leaves.
pub(crate) struct Inputs<'r> {
    pub request: &'r DiffRequest,
    pub threads: usize,
    pub snapshot: Vec<SnapshotFile>,
    pub table: Table,
    pub found: Found,
    pub read: Read,
    pub source_version: Option<String>,
}

/// Draws the conclusions.
pub(crate) fn settle(inputs: Inputs<'_>) -> Result<Diff, SourceError> {
    let Inputs { request, threads, snapshot, table, found, read, source_version } = inputs;
    let Found { spool, new_keys, sums, listed, .. } = found;
    let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut listed = listed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut spool = spool.finish();

    let twice = Twice::of(&new_keys, &sums, threads)?;
    drop(new_keys);
    if !twice.ordinals.is_empty() {
        discount(&mut sums, &mut spool, &twice)?;
        let spots = twice.first_spots(&read.places);
        let keys = twice.keys(&spots, &mut spool, &snapshot, &table)?;
        for (spot, ordinal) in spots {
            if listed.takes(spot) && !listed.contains(spot) {
                let reason = twice.reason(ordinal, &read.places);
                listed.add(spot, keys.get(&ordinal).cloned(), reason);
            }
        }
    }

    let mut field_names: Vec<String> = read.order.iter().map(|i| read.columns.fields[*i].to.clone()).collect();
    if read.without_header && request.fields.is_empty() {
        // A member that no row has any more is still a field of the rows that are gone.
        let before = names_of(&snapshot).into_iter().filter(|name| !field_names.contains(name)).collect::<Vec<_>>();
        field_names.extend(before);
    }
    let field_names: FieldNames = field_names.into();
    let reorders = reorders(&snapshot, &field_names);
    let removed = if sums.keyless { Vec::new() } else { removals(&snapshot, &table, threads)? };
    sums.before.sort_unstable();
    sums.before.dedup();
    let slots = std::mem::take(&mut sums.before);
    let full = slots.iter().copied().filter(|slot| needs_fields(&table, *slot, request)).collect();
    let options = Options { threads, scratch: &request.scratch, memory: request.spool_memory };
    let prior = Prior::read(&snapshot, &table, slots, full, &reorders, &options)?;
    let mut positions = vec![0; read.order.len()];
    for (position, field) in read.order.iter().enumerate() {
        positions[*field] = position;
    }
    let (live, gone) = (table.live, removed.len() as u64);
    let changes = Changes::new(Parts {
        spool,
        twice: twice.ordinals,
        positions,
        width: field_names.len(),
        table: Arc::new(table),
        prior,
        removed: (snapshot, removed, reorders),
    })?;
    Ok(Diff {
        field_names,
        rows: sums.rows,
        unchanged: sums.rows - sums.invalid - sums.added - sums.changed,
        added: sums.added,
        changed: sums.changed,
        removed: gone,
        invalid_rows: sums.invalid,
        invalid: listed.into_rows(&read.places),
        removals_wait: sums.keyless,
        snapshot_rows: live,
        checksum: sums.checksum,
        source_version,
        changes,
    })
}

/// With `resend_all`, a delivered row comes as added, which needs nothing of what was delivered.
fn needs_fields(table: &Table, slot: u32, request: &DiffRequest) -> bool {
    let kind = if request.resend_all { ChangeKind::Added } else { ChangeKind::Changed };
    verdict::needs_fields(table.state(slot), kind, request.want_previous)
}

/// The slots that are to be removed, ascending.
fn removals(snapshot: &[SnapshotFile], table: &Table, threads: usize) -> Result<Vec<u32>, SourceError> {
    let mut slots = table.unseen(threads);
    slots.retain(|slot| verdict::absent(table.state(*slot), true));
    // Only the files say which given-up additions may have arrived.
    let doubtful: Vec<u32> = slots.iter().copied().filter(|s| table.state(*s) == EntryState::GivenUpAdd).collect();
    if doubtful.is_empty() {
        return Ok(slots);
    }
    let mut merged = Merged::new(snapshot, &super::positions(snapshot, table, &doubtful))?;
    let mut nothing = Vec::new();
    for slot in doubtful {
        if merged.next()?.is_none_or(|entry| entry.raw.uncertain.is_none()) {
            nothing.push(slot);
        }
    }
    slots.retain(|slot| nothing.binary_search(slot).is_err());
    Ok(slots)
}

/// Takes rows whose key stands twice out of the counts.
fn discount(sums: &mut Sums, spool: &mut SpoolReader, twice: &Twice) -> Result<(), SourceError> {
    let mut bytes = Vec::new();
    for chunk in 0..spool.len() {
        spool.read(chunk, &mut bytes, false)?;
        let mut input = bytes.as_slice();
        while !input.is_empty() {
            let Some((head, _, _)) = record::next(&mut input) else { return Err(spool.corrupt()) };
            if twice.ordinals.binary_search(&head.ordinal).is_ok() {
                match head.kind {
                    ChangeKind::Added => sums.added -= 1,
                    _ => sums.changed -= 1,
                }
            }
        }
    }
    let counted = sums.invalid_keyed.iter().filter(|o| twice.ordinals.binary_search(o).is_ok()).count();
    sums.invalid += (twice.ordinals.len() - counted) as u64;
    Ok(())
}

/// Rows whose key the source has more than once.
struct Twice {
    /// Ascending, each once.
    ordinals: Vec<u32>,
    /// Ordinal and the number of its key: a slot of the table, or above all slots.
    groups: Vec<(u32, u64)>,
    /// The same by key.
    by_key: Vec<(u64, u32)>,
}

const NEW: u64 = 1 << 32;

impl Twice {
    fn of(new_keys: &[Mutex<Vec<NewKey>>], sums: &Sums, threads: usize) -> Result<Twice, SourceError> {
        let found: Mutex<Vec<(u64, u32)>> = Mutex::new(sums.twice.iter().map(|(slot, ordinal)| (u64::from(*slot), *ordinal)).collect());
        let parts = Mutex::new(new_keys.iter().enumerate());
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        let busy = new_keys.iter().any(|p| p.lock().is_ok_and(|p| p.len() > 1000));
        side_by_side(if busy { threads } else { 1 }, &|| {
            while let Some((part, keys)) = next() {
                let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
                keys.sort_unstable();
                for (at, same) in keys.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).enumerate() {
                    if same.len() > 1 {
                        let group = NEW * (part as u64 + 1) + at as u64;
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.extend(same.iter().map(|k| (group, k.2)));
                    }
                }
                // The memory is free for what comes next.
                *keys = Vec::new();
            }
            Ok(())
        })?;
        let mut by_key = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        by_key.sort_unstable();
        by_key.dedup();
        let mut groups: Vec<(u32, u64)> = by_key.iter().map(|(group, ordinal)| (*ordinal, *group)).collect();
        groups.sort_unstable();
        let ordinals = groups.iter().map(|(ordinal, _)| *ordinal).collect();
        Ok(Twice { ordinals, groups, by_key })
    }

    fn group(&self, ordinal: u32) -> Option<u64> {
        self.groups.binary_search_by_key(&ordinal, |g| g.0).ok().map(|at| self.groups[at].1)
    }

    /// The rows that may be listed: the first ones in the order of the source.
    fn first_spots(&self, places: &Places) -> Vec<(Spot, u32)> {
        let mut spots: Vec<(Spot, u32)> = self.ordinals.iter().map(|o| (places.spot(*o), *o)).collect();
        spots.sort_unstable();
        spots.truncate(LISTED);
        spots
    }

    /// The key texts of these rows. New keys lie in the spool, known ones in the snapshot.
    fn keys(
        &self,
        spots: &[(Spot, u32)],
        spool: &mut SpoolReader,
        snapshot: &[SnapshotFile],
        table: &Table,
    ) -> Result<HashMap<u32, String>, SourceError> {
        let mut by_group: HashMap<u64, Option<String>> = spots.iter().filter_map(|(_, o)| Some((self.group(*o)?, None))).collect();
        let mut slots: Vec<u32> = by_group.keys().filter(|g| **g < NEW).map(|g| *g as u32).collect();
        slots.sort_unstable();
        if !slots.is_empty() {
            let mut merged = Merged::new(snapshot, &super::positions(snapshot, table, &slots))?;
            for slot in slots {
                if let Some(entry) = merged.next()? {
                    by_group.insert(u64::from(slot), Some(entry.raw.key));
                }
            }
        }
        let mut bytes = Vec::new();
        for chunk in 0..spool.len() {
            if by_group.values().all(Option::is_some) {
                break;
            }
            spool.read(chunk, &mut bytes, false)?;
            let mut input = bytes.as_slice();
            while let Some((head, key, _)) = record::next(&mut input) {
                if let Some(text) = self.group(head.ordinal).and_then(|g| by_group.get_mut(&g)) {
                    text.get_or_insert_with(|| key.to_owned());
                }
            }
        }
        let key = |ordinal: u32| by_group.get(&self.group(ordinal)?)?.clone();
        Ok(spots.iter().filter_map(|(_, o)| Some((*o, key(*o)?))).collect())
    }

    /// Why the row is invalid, with the other rows of its key.
    fn reason(&self, ordinal: u32, places: &Places) -> String {
        let group = self.group(ordinal).unwrap_or_default();
        let from = self.by_key.partition_point(|k| k.0 < group);
        let to = self.by_key.partition_point(|k| k.0 <= group);
        let others = self.by_key[from..to].iter().map(|k| k.1).filter(|o| *o != ordinal);
        let mut spots: Vec<Spot> = others.take(10_000).map(|o| places.spot(o)).collect();
        spots.sort_unstable();
        let mut shown: Vec<String> = spots.iter().take(3).map(|s| places.place_of(*s)).collect();
        if to - from - 1 > shown.len() {
            shown.push(format!("{} more", to - from - 1 - shown.len()));
        }
        format!("its key stands {} times in the source; also: {}", to - from, shown.join(", "))
    }
}
