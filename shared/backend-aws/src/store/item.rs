//! Documents as items of the table and back, and what the port does not allow. It must not call anything.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use engine::port::{Document, Index, Key, Listed, PortError, Stored, Write};

/// Most bytes of a body.
const BODY_LIMIT: usize = 380_000;
/// Most bytes of a summary.
const SUMMARY_LIMIT: usize = 150;
/// Most bytes of a partition key (DynamoDB's quota).
const PARTITION_LIMIT: usize = 2048;
/// Most bytes of a sort key (DynamoDB's quota).
pub(super) const SORT_LIMIT: usize = 1024;

/// The names of an index and of its attributes.
pub(crate) struct Names {
    /// The index itself.
    pub(crate) index: &'static str,
    /// Partition key, sort key and summary.
    pub(crate) attributes: [&'static str; 3],
}

const FIRST: Names = Names { index: "first", attributes: ["i1p", "i1s", "i1m"] };
const SECOND: Names = Names { index: "second", attributes: ["i2p", "i2s", "i2m"] };
const THIRD: Names = Names { index: "third", attributes: ["i3p", "i3s", "i3m"] };

/// All of them.
pub(crate) const INDEXES: [&Names; 3] = [&FIRST, &SECOND, &THIRD];

/// The names of one.
pub(super) fn names(index: Index) -> &'static Names {
    match index {
        Index::First => &FIRST,
        Index::Second => &SECOND,
        Index::Third => &THIRD,
    }
}

/// An item as the SDK has it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Refuses what the port does not allow, before anything is sent.
pub(super) fn check(write: &Write) -> Result<(), PortError> {
    match write {
        Write::Put(key, document, _) => check_document(key, document),
        Write::Delete(key, _) => check_key("document", &key.partition, &key.sort),
    }
}

/// The same for one document.
pub(super) fn check_document(key: &Key, document: &Document) -> Result<(), PortError> {
    check_key("document", &key.partition, &key.sort)?;
    let name = || format!("document {:?} of {:?}", key.sort, key.partition);
    if document.body.len() > BODY_LIMIT {
        return Err(PortError::Failed(format!("{} has {} bytes: at most {BODY_LIMIT}", name(), document.body.len())));
    }
    for (place, entry) in document.index.iter().enumerate() {
        check_key("index entry", &entry.partition, &entry.sort)?;
        if entry.summary.len() > SUMMARY_LIMIT {
            let length = entry.summary.len();
            return Err(PortError::Failed(format!("{} has a summary of {length} bytes: at most {SUMMARY_LIMIT}", name())));
        }
        if document.index[..place].iter().any(|other| other.index == entry.index) {
            return Err(PortError::Failed(format!("{} has two entries for one index: at most one for each", name())));
        }
    }
    Ok(())
}

/// Refuses keys that DynamoDB does not take.
pub(super) fn check_key(what: &str, partition: &str, sort: &str) -> Result<(), PortError> {
    for (part, text, limit) in [("partition", partition, PARTITION_LIMIT), ("sort key", sort, SORT_LIMIT)] {
        if text.is_empty() || text.len() > limit {
            return Err(PortError::Failed(format!("the {part} of a {what} has {} bytes: 1 to {limit} are allowed", text.len())));
        }
    }
    Ok(())
}

/// The key attributes of a document.
pub(super) fn key_of(key: &Key) -> Item {
    HashMap::from([("pk".to_owned(), text(&key.partition)), ("sk".to_owned(), text(&key.sort))])
}

/// A document at a version.
pub(crate) fn item_of(key: &Key, document: Document, version: u64) -> Item {
    let mut item = key_of(key);
    item.insert("b".to_owned(), AttributeValue::B(Blob::new(document.body)));
    item.insert("v".to_owned(), number(version));
    if let Some(at) = document.expires_at {
        item.insert("x".to_owned(), number(at));
    }
    for entry in document.index {
        let [partition, sort, summary] = names(entry.index).attributes;
        item.insert(partition.to_owned(), AttributeValue::S(entry.partition));
        item.insert(sort.to_owned(), AttributeValue::S(entry.sort));
        item.insert(summary.to_owned(), AttributeValue::S(entry.summary));
    }
    item
}

/// The document that an item holds; `None` if nobody sees it any more at `now`.
pub(super) fn stored(mut item: Item, now: u64) -> Result<Option<Stored>, PortError> {
    if is_expired(&item, now)? {
        return Ok(None);
    }
    let version = version_of(&item).ok_or_else(|| damaged("v"))?;
    let Some(AttributeValue::B(body)) = item.remove("b") else { return Err(damaged("b")) };
    let key = Key { partition: take(&mut item, "pk")?, sort: take(&mut item, "sk")? };
    Ok(Some(Stored { key, body: body.into_inner(), version }))
}

/// The entry that an item of an index holds; `None` if nobody sees it any more at `now`.
pub(super) fn listed(mut item: Item, names: &Names, now: u64) -> Result<Option<Listed>, PortError> {
    if is_expired(&item, now)? {
        return Ok(None);
    }
    let [_, sort, summary] = names.attributes;
    let key = Key { partition: take(&mut item, "pk")?, sort: take(&mut item, "sk")? };
    Ok(Some(Listed { key, sort: take(&mut item, sort)?, summary: take(&mut item, summary)? }))
}

/// The version of an item.
pub(super) fn version_of(item: &Item) -> Option<u64> {
    item.get("v").and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok())
}

fn is_expired(item: &Item, now: u64) -> Result<bool, PortError> {
    let Some(at) = item.get("x") else { return Ok(false) };
    let at: u64 = at.as_n().ok().and_then(|digits| digits.parse().ok()).ok_or_else(|| damaged("x"))?;
    Ok(at < now)
}

fn take(item: &mut Item, name: &'static str) -> Result<String, PortError> {
    match item.remove(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(damaged(name)),
    }
}

/// What we wrote reads; anything else was not written by us.
fn damaged(attribute: &str) -> PortError {
    PortError::Failed(format!("an item of the table has no {attribute} that Penstock wrote: nothing else may write there"))
}

/// A text as an attribute.
pub(super) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// A number as an attribute.
pub(super) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
