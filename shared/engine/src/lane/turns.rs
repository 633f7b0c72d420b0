//! Turns: who has parcels with fresh deliveries, served round robin, one delivery at a time. It must not know what a parcel holds.

use super::pump::Slot;
use std::collections::VecDeque;

/// Runs or rules in turn, each with its parcels in order.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: VecDeque<(String, VecDeque<Slot>)>,
}

impl Turns {
    /// A parcel of someone has fresh deliveries.
    pub fn add(&mut self, who: &str, slot: Slot) {
        match self.queue.iter_mut().find(|(of, _)| of == who) {
            Some((_, slots)) => slots.push_back(slot),
            None => self.queue.push_back((who.to_string(), VecDeque::from([slot]))),
        }
    }

    /// A parcel of someone may go at once when their turn comes.
    pub fn add_first(&mut self, who: &str, slot: Slot) {
        match self.queue.iter_mut().find(|(of, _)| of == who) {
            Some((_, slots)) => slots.push_front(slot),
            None => self.queue.push_front((who.to_string(), VecDeque::from([slot]))),
        }
    }

    /// The parcel whose turn it is. Parcels without a fresh delivery are taken out.
    pub fn front(&mut self, is_fresh: impl Fn(Slot) -> bool) -> Option<Slot> {
        while let Some((_, slots)) = self.queue.front_mut() {
            while let Some(slot) = slots.front().copied() {
                if is_fresh(slot) {
                    return Some(slot);
                }
                slots.pop_front();
            }
            self.queue.pop_front();
        }
        None
    }

    /// Whose turn it was goes to the back.
    pub fn pass(&mut self) {
        if self.queue.len() > 1 {
            self.queue.rotate_left(1);
        }
    }

    /// Takes someone out.
    pub fn drop(&mut self, who: &str) {
        self.queue.retain(|(of, _)| of != who);
    }

    /// Whether someone has parcels.
    pub fn has(&self, who: &str) -> bool {
        self.queue.iter().any(|(of, slots)| of == who && !slots.is_empty())
    }

    /// How many parcels there are.
    pub fn len(&self) -> usize {
        self.queue.iter().map(|(_, slots)| slots.len()).sum()
    }
}
