//! Order among events: of those with one key only the first is owed now, and the others wait until it is done. It must not know of time.

use super::pump::Slot;
use std::collections::{BTreeMap, VecDeque};

/// The parcels of each key, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Ordering {
    lines: BTreeMap<String, VecDeque<Slot>>,
}

impl Ordering {
    /// A parcel lines up. True: it is the first, and owed now.
    pub fn line_up(&mut self, key: &str, slot: Slot) -> bool {
        let line = self.lines.entry(key.to_string()).or_default();
        line.push_back(slot);
        line.len() == 1
    }

    /// A parcel is done: which one is owed next.
    pub fn done(&mut self, key: &str, slot: Slot) -> Option<Slot> {
        let line = self.lines.get_mut(key)?;
        if line.front() != Some(&slot) {
            return None;
        }
        line.pop_front();
        let next = line.front().copied();
        if next.is_none() {
            self.lines.remove(key);
        }
        next
    }
}
