//! Rows looked up in the snapshot as they are parsed: what differs goes to the spool, what is new to the list of new keys.
//! It must not know files or formats.

use super::places::Listed;
use super::table::{GROUP, NOWHERE, Table, too_many};
use super::verdict;
use crate::cell::{Cell, key_hash};
use crate::columns::Columns;
use crate::error::SourceError;
use crate::share::Share;
use crate::source::RowSink;
use crate::spool::Spool;
use engine::model::change::{ChangeKind, EntryState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// New keys are sorted part by part to find those that stand twice.
const PARTS: usize = 64;
/// Bytes of records that a thread collects before they go to the spool.
const FLUSH: usize = 4 << 20;
/// New keys that a thread collects.
const FLUSH_KEYS: usize = 32 << 10;

/// A key that the snapshot does not have: 96 bits of its hash, and the row's ordinal.
pub(crate) type NewKey = (u64, u32, u32);

/// What all threads write to.
pub(crate) struct Found {
    pub spool: Spool,
    pub new_keys: Vec<Mutex<Vec<NewKey>>>,
    /// How many of them there are, and may be.
    count: AtomicUsize,
    most: usize,
    pub sums: Mutex<Sums>,
    pub listed: Mutex<Listed>,
}

/// Counts and lists that each thread keeps and hands in at its end.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub rows: u64,
    pub added: u64,
    pub changed: u64,
    pub invalid: u64,
    pub checksum: u128,
    pub keyless: bool,
    /// Slot and ordinal of rows whose key the source has more than once.
    pub twice: Vec<(u32, u32)>,
    /// Slots whose entries go with a change.
    pub before: Vec<u32>,
    /// Ordinals of invalid rows whose key can be read.
    pub invalid_keyed: Vec<u32>,
}

impl Sums {
    fn merge(&mut self, other: &mut Sums) {
        self.rows += other.rows;
        self.added += other.added;
        self.changed += other.changed;
        self.invalid += other.invalid;
        self.checksum = self.checksum.wrapping_add(other.checksum);
        self.keyless |= other.keyless;
        self.twice.append(&mut other.twice);
        self.before.append(&mut other.before);
        self.invalid_keyed.append(&mut other.invalid_keyed);
        *other = Sums::default();
    }
}

impl Found {
    /// What at most so many keys that are not in the snapshot lead to.
    pub fn new(spool: Spool, most: usize) -> Found {
        let new_keys = (0..PARTS).map(|_| Mutex::default()).collect();
        Found { spool, new_keys, count: AtomicUsize::new(0), most, sums: Mutex::default(), listed: Mutex::default() }
    }
}

/// What the lookup needs besides rows.
#[derive(Clone, Copy)]
pub(crate) struct Context<'w> {
    pub table: &'w Table,
    pub found: &'w Found,
    pub share: Share,
    pub seed: u64,
    pub resend_all: bool,
}

/// One thread's buffers, kept from block to block.
#[derive(Default)]
pub(crate) struct Scratch {
    canonical: Vec<u8>,
    key: String,
    out: Vec<u8>,
    new_keys: Vec<NewKey>,
    pub sums: Sums,
}

impl Scratch {
    fn flush_keys(&mut self, context: Context<'_>) -> Result<(), SourceError> {
        let Context { found, share, .. } = context;
        let part_of = |key: u64| (share.stretch(key) >> 58) as usize;
        if found.count.fetch_add(self.new_keys.len(), Ordering::Relaxed) + self.new_keys.len() > found.most {
            return Err(too_many(context.table.len() + found.most));
        }
        // Sorted by part, so that each part is locked once.
        self.new_keys.sort_unstable_by_key(|k| part_of(k.0));
        for same in self.new_keys.chunk_by(|a, b| part_of(a.0) == part_of(b.0)) {
            found.new_keys[part_of(same[0].0)].lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(same);
        }
        self.new_keys.clear();
        Ok(())
    }

    /// Hands in what is left.
    pub fn finish(&mut self, context: Context<'_>) -> Result<(), SourceError> {
        self.flush_keys(context)?;
        context.found.sums.lock().unwrap_or_else(PoisonError::into_inner).merge(&mut self.sums);
        Ok(())
    }
}

struct Pending {
    row_hash: u128,
    ordinal: u32,
    /// Where the row's cells start in the group's; they end where the next row's start.
    cells: u32,
    valid: bool,
}

/// The sink of one block.
pub(crate) struct Probe<'a, 'w> {
    context: Context<'w>,
    scratch: &'w mut Scratch,
    block: u32,
    /// The ordinal of the block's first line.
    base: u32,
    part: u32,
    keys: Vec<u128>,
    pending: Vec<Pending>,
    cells: Vec<Cell<'a>>,
    pub failed: Option<SourceError>,
}

impl<'a, 'w> Probe<'a, 'w> {
    pub fn new(context: Context<'w>, scratch: &'w mut Scratch, block: u32, base: u32, part: u32) -> Probe<'a, 'w> {
        Probe {
            context,
            scratch,
            block,
            base,
            part,
            keys: Vec::with_capacity(GROUP),
            pending: Vec::with_capacity(GROUP),
            cells: Vec::new(),
            failed: None,
        }
    }

    /// Looks up what is left and hands in the records; returns how many parts the block has so far.
    pub fn finish(mut self, columns: &Columns) -> Result<u32, SourceError> {
        self.look_up(columns);
        self.flush();
        match self.failed {
            Some(e) => Err(e),
            None => Ok(self.part),
        }
    }

    fn flush(&mut self) {
        if !self.scratch.out.is_empty() {
            if let Err(e) = self.context.found.spool.add((self.block, self.part), &self.scratch.out) {
                self.failed.get_or_insert(e);
            }
            self.scratch.out.clear();
            self.part += 1;
        }
    }

    fn look_up(&mut self, columns: &Columns) {
        let mut at = [NOWHERE; GROUP];
        self.context.table.find(&self.keys, &mut at);
        for (i, slot) in at.iter().enumerate().take(self.keys.len()) {
            self.settle(i, *slot, columns);
        }
        self.keys.clear();
        self.pending.clear();
        self.cells.clear();
        if self.scratch.out.len() >= FLUSH {
            self.flush();
        }
        if self.scratch.sums.twice.len() > self.context.found.most {
            self.failed.get_or_insert(too_many(self.context.table.len() + self.context.found.most));
        }
        if self.scratch.new_keys.len() >= FLUSH_KEYS
            && let Err(e) = self.scratch.flush_keys(self.context)
        {
            self.failed.get_or_insert(e);
        }
    }

    #[inline]
    fn settle(&mut self, i: usize, slot: u32, columns: &Columns) {
        let key = self.keys[i];
        let Pending { row_hash, ordinal, valid, .. } = self.pending[i];
        if slot == NOWHERE {
            self.scratch.new_keys.push(((key >> 64) as u64, (key >> 32) as u32, ordinal));
            if valid {
                self.scratch.sums.added += 1;
                self.keep(i, ChangeKind::Added, None, columns);
            }
            return;
        }
        let table = self.context.table;
        let before = table.see(slot, ordinal);
        if before != 0 {
            self.scratch.sums.twice.extend([(slot, before), (slot, ordinal)]);
        }
        if !valid {
            return;
        }
        let state = table.state(slot);
        let kind = if self.context.resend_all {
            Some(ChangeKind::Added)
        } else {
            verdict::present(state, table.slot(slot).row == row_hash as u64)
        };
        if let Some(kind) = kind {
            match kind {
                ChangeKind::Added => self.scratch.sums.added += 1,
                _ => self.scratch.sums.changed += 1,
            }
            self.scratch.sums.before.push(slot);
            self.keep(i, kind, Some((slot, state)), columns);
        }
    }

    /// Writes the record of a change.
    fn keep(&mut self, i: usize, kind: ChangeKind, before: Option<(u32, EntryState)>, columns: &Columns) {
        let pending = &self.pending[i];
        let end = self.pending.get(i + 1).map_or(self.cells.len(), |next| next.cells as usize);
        let cells = &self.cells[pending.cells as usize..end];
        if columns.key_text(cells, &mut self.scratch.key).is_err() {
            return;
        }
        super::record::encode(
            &super::record::Head { kind, ordinal: pending.ordinal, before, key_hash: self.keys[i], row_hash: pending.row_hash },
            &self.scratch.key,
            cells,
            columns,
            &mut self.scratch.out,
        );
    }

    fn push(&mut self, key: u128, row_hash: u128, line: u32, cells: usize, valid: bool) {
        self.keys.push(key);
        self.pending.push(Pending { row_hash, ordinal: self.base + line, cells: cells as u32, valid });
    }
}

impl<'a> RowSink<'a> for Probe<'a, '_> {
    #[inline]
    fn row(&mut self, line: u32, cells: &mut Vec<Cell<'a>>, columns: &Columns) {
        if let Err(reason) = columns.key_text(cells, &mut self.scratch.key) {
            self.invalid(line, None, reason, columns);
            return;
        }
        let key = key_hash(&self.scratch.key, self.context.seed);
        if !self.context.share.has(key) {
            return;
        }
        let row_hash = columns.row_hash(cells, self.context.seed, &mut self.scratch.canonical);
        let start = self.cells.len();
        self.cells.append(cells);
        self.push(key, row_hash, line, start, true);
        self.scratch.sums.rows += 1;
        self.scratch.sums.checksum = self.scratch.sums.checksum.wrapping_add(mix(key, row_hash));
        if self.keys.len() == GROUP {
            self.look_up(columns);
        }
    }

    fn invalid(&mut self, line: u32, key: Option<String>, reason: String, columns: &Columns) {
        let hash = key.as_deref().map(|text| key_hash(text, self.context.seed));
        self.scratch.sums.keyless |= hash.is_none();
        if !hash.map_or(self.context.share.is_first(), |hash| self.context.share.has(hash)) {
            return;
        }
        self.scratch.sums.rows += 1;
        self.scratch.sums.invalid += 1;
        if let Some(hash) = hash {
            self.scratch.sums.invalid_keyed.push(self.base + line);
            let start = self.cells.len();
            self.push(hash, 0, line, start, false);
            if self.keys.len() == GROUP {
                self.look_up(columns);
            }
        }
        let mut listed = self.context.found.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.add((self.block, line), key, reason);
    }
}

/// One number for a row; sums of it do not depend on order, and exchanging the fields of two rows changes them.
#[inline]
fn mix(key: u128, row: u128) -> u128 {
    (key ^ row.rotate_left(64)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).rotate_left(43).wrapping_add(key)
}
