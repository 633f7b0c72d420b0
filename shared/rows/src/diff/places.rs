//! Where rows stand: from a row's ordinal back to its file and line, with nothing held per row. It must not know what is wrong with a row.

use crate::request::InvalidRow;
use crate::source::files::SourceFile;
use std::collections::BTreeMap;

/// The first so many invalid rows are listed.
pub(crate) const LISTED: usize = 1000;

/// A row's block and its line within it.
pub(crate) type Spot = (u32, u32);

/// One block of a source that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockPlace {
    pub index: u32,
    pub file: u32,
    /// The first line's number in the file (from 0) where that is known; else it follows from the blocks before.
    pub first: Option<u64>,
    pub lines: u32,
    /// The ordinal of line 0, minus nothing: ordinals start at 1, so that 0 can mean none.
    pub base: u32,
}

/// All blocks of a source.
pub(crate) struct Places {
    /// By index.
    blocks: Vec<BlockPlace>,
    /// Positions in `blocks`, by base.
    by_base: Vec<u32>,
    /// The first line's number of each block, from 0, headers included.
    first: Vec<u64>,
    /// What stands around the number of a row.
    names: Vec<(String, &'static str)>,
}

impl Places {
    pub fn new(mut blocks: Vec<BlockPlace>, files: &[SourceFile], header_lines: &[u64]) -> Places {
        blocks.sort_unstable_by_key(|b| b.index);
        let mut first = Vec::with_capacity(blocks.len());
        let mut next = header_lines.to_vec();
        next.resize(files.len(), 0);
        for block in &blocks {
            let start = block.first.unwrap_or(next[block.file as usize]);
            first.push(start);
            next[block.file as usize] = start + u64::from(block.lines);
        }
        let mut by_base: Vec<u32> = (0..blocks.len() as u32).collect();
        by_base.sort_unstable_by_key(|i| blocks[*i as usize].base);
        Places { blocks, by_base, first, names: files.iter().map(SourceFile::around_number).collect() }
    }

    /// Where the row with this ordinal stands.
    pub fn spot(&self, ordinal: u32) -> Spot {
        let after = self.by_base.partition_point(|i| self.blocks[*i as usize].base <= ordinal);
        let Some(at) = after.checked_sub(1) else { return (0, 0) };
        let block = &self.blocks[self.by_base[at] as usize];
        (block.index, ordinal - block.base)
    }

    /// The line's number in its file, from 1.
    pub fn line(&self, spot: Spot) -> u64 {
        match self.blocks.binary_search_by_key(&spot.0, |b| b.index) {
            Ok(at) => self.first[at] + u64::from(spot.1) + 1,
            Err(_) => u64::from(spot.1) + 1,
        }
    }

    /// `rows/newsletter.csv line 17`.
    pub fn place(&self, file: u32, spot: Spot) -> String {
        let (before, behind) = &self.names[file as usize];
        format!("{before}{}{behind}", self.line(spot))
    }

    /// As [`Places::place`], by spot alone.
    pub fn place_of(&self, spot: Spot) -> String {
        let file = self.blocks.binary_search_by_key(&spot.0, |b| b.index).map_or(0, |at| self.blocks[at].file);
        self.place(file, spot)
    }
}

/// The first invalid rows in the order of the source.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    rows: BTreeMap<Spot, (Option<String>, String)>,
}

impl Listed {
    /// Whether a row at this spot would be listed.
    pub fn takes(&self, spot: Spot) -> bool {
        self.rows.len() < LISTED || self.rows.last_key_value().is_some_and(|(last, _)| spot < *last)
    }

    /// Lists a row, unless it is or there are enough before it.
    pub fn add(&mut self, spot: Spot, key: Option<String>, reason: String) {
        if !self.takes(spot) {
            return;
        }
        self.rows.entry(spot).or_insert((key, reason));
        if self.rows.len() > LISTED {
            self.rows.pop_last();
        }
    }

    pub fn contains(&self, spot: Spot) -> bool {
        self.rows.contains_key(&spot)
    }

    pub fn into_rows(self, places: &Places) -> Vec<InvalidRow> {
        self.rows.into_iter().map(|(spot, (key, reason))| InvalidRow { place: places.place_of(spot), key, reason }).collect()
    }
}
