//! AWS's rules of what is billed, on sizes alone. It must not know a client.
//!
//! Sizes and units of DynamoDB: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>, on demand:
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>, writes to indexes:
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes>.
//! Requests of SQS: <https://aws.amazon.com/sqs/pricing/>.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::store::item::INDEXES;

/// What of an item decides on its price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the item.
    pub size: u64,
    /// For each index the entry's bytes, its keys, and what is projected beside them; `None` where it has none.
    pub entries: [Option<Entry>; 3],
}

/// An index entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes.
    pub size: u64,
    /// Partition and sort key: changed, the entry is deleted and written.
    pub place: (String, String),
    /// Summary and expiry: changed, the entry is written; unchanged, nothing is.
    pub projected: (String, String),
}

/// The shape of an item.
pub fn shape(item: &HashMap<String, AttributeValue>) -> Shape {
    let text = |name: &str| match item.get(name) {
        Some(AttributeValue::S(text) | AttributeValue::N(text)) => text.clone(),
        _ => String::new(),
    };
    let entries = INDEXES.map(|names| {
        let [partition, sort, summary] = names.attributes;
        item.get(partition)?;
        let held = ["pk", "sk", "x", partition, sort, summary];
        let size = held.iter().filter_map(|name| item.get(*name).map(|value| attribute(name, value))).sum();
        Some(Entry { size, place: (text(partition), text(sort)), projected: (text(summary), text("x")) })
    });
    Shape { size: size(item), entries }
}

/// Bytes of an item: the names and the values of its attributes.
pub(super) fn size(item: &HashMap<String, AttributeValue>) -> u64 {
    item.iter().map(|(name, value)| attribute(name, value)).sum()
}

/// A text counts its UTF-8 bytes, binary its bytes, a number a byte for two digits and one more. We write nothing else.
fn attribute(name: &str, value: &AttributeValue) -> u64 {
    let value = match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::N(digits) => significant(digits).div_ceil(2) + 1,
        _ => 1,
    };
    (name.len() + value) as u64
}

/// Leading and trailing zeros are not stored.
fn significant(digits: &str) -> usize {
    digits.trim_matches('0').len()
}

/// Write request units: 1 for each begun KB of the larger of old and new item, and the same for each index entry that is made, changed
/// or deleted; an entry that moves is deleted and made.
pub fn units_written(old: &Shape, new: &Shape) -> u64 {
    let entries = old.entries.iter().zip(&new.entries).map(|pair| match pair {
        (None, None) => 0,
        (Some(only), None) | (None, Some(only)) => kilobytes(only.size),
        (Some(old), Some(new)) if old.place != new.place => kilobytes(old.size) + kilobytes(new.size),
        (Some(old), Some(new)) if old.projected != new.projected => kilobytes(old.size.max(new.size)),
        (Some(_), Some(_)) => 0,
    });
    kilobytes(old.size.max(new.size)) + entries.sum::<u64>()
}

/// Half read request units of one answer: 1 for each begun 4 KB read eventually, 2 if strongly; at least that where nothing was found.
pub fn units_read(bytes: u64, strong: bool) -> u64 {
    bytes.div_ceil(4096).max(1) * if strong { 2 } else { 1 }
}

/// Requests of SQS for so many bytes of messages: 1 for each begun 64 KiB, at least 1.
pub fn requests_of(bytes: u64) -> u64 {
    bytes.div_ceil(64 * 1024).max(1)
}

fn kilobytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::primitives::Blob;

    fn item(body: usize, index: &[(&str, &str)]) -> HashMap<String, AttributeValue> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let mut item = HashMap::from([
            ("pk".to_owned(), text("part")),
            ("sk".to_owned(), text("sort")),
            ("b".to_owned(), AttributeValue::B(Blob::new(vec![0; body]))),
            ("v".to_owned(), AttributeValue::N("1234".to_owned())),
        ]);
        item.extend(index.iter().map(|(name, value)| ((*name).to_owned(), text(value))));
        item
    }

    #[test]
    fn an_items_size_is_that_of_its_names_and_values() {
        // pk 2 + 4, sk 2 + 4, b 1 + 100, v 1 + 3.
        assert_eq!(size(&item(100, &[])), 117);
        for (digits, bytes) in [("0", 1), ("1", 2), ("12", 2), ("123", 3), ("1800000000", 2), ("9223372036854775807", 11)] {
            assert_eq!(attribute("", &AttributeValue::N(digits.to_owned())), bytes, "{digits}");
        }
        assert_eq!(attribute("é", &AttributeValue::S("é".to_owned())), 4);
    }

    #[test]
    fn a_write_is_billed_by_the_larger_of_old_and_new() {
        let of = |body| shape(&item(body, &[]));
        let table = [(0, 0, 1), (0, 1007, 1), (0, 1008, 2), (5000, 0, 5), (0, 5000, 5), (380_000, 0, 372)];
        for (old, new, units) in table {
            assert_eq!(units_written(&of(old), &of(new)), units, "{old} to {new}");
        }
        assert_eq!(units_written(&Shape::default(), &of(0)), 1);
        assert_eq!(units_written(&Shape::default(), &Shape::default()), 1, "deleting what is not there");
    }

    #[test]
    fn an_index_entry_is_billed_where_it_comes_goes_changes_or_moves() {
        let none = shape(&item(0, &[]));
        let first = shape(&item(0, &[("i1p", "a"), ("i1s", "1"), ("i1m", "one")]));
        let changed = shape(&item(0, &[("i1p", "a"), ("i1s", "1"), ("i1m", "two")]));
        let moved = shape(&item(0, &[("i1p", "a"), ("i1s", "2"), ("i1m", "one")]));
        let two = shape(&item(9000, &[("i1p", "a"), ("i1s", "1"), ("i1m", "one"), ("i3p", "a"), ("i3s", "1"), ("i3m", "")]));
        // pk 6, sk 6, i1p 4, i1s 4, i1m 6: neither body nor version lie in an index.
        assert_eq!(first.entries[0].as_ref().map(|entry| entry.size), Some(26));
        let table =
            [(&none, &first, 2), (&first, &none, 2), (&first, &first, 1), (&first, &changed, 2), (&first, &moved, 3), (&none, &two, 11)];
        for (old, new, units) in table {
            assert_eq!(units_written(old, new), units, "{old:?} to {new:?}");
        }
    }

    #[test]
    fn reads_are_billed_by_four_kilobytes_and_requests_of_sqs_by_sixty_four() {
        for (bytes, strong, halves) in [(0, true, 2), (1, true, 2), (4096, true, 2), (4097, true, 4), (4097, false, 2), (0, false, 1)] {
            assert_eq!(units_read(bytes, strong), halves, "{bytes} {strong}");
        }
        for (bytes, requests) in [(0, 1), (65_536, 1), (65_537, 2), (262_144, 4)] {
            assert_eq!(requests_of(bytes), requests, "{bytes}");
        }
    }
}
