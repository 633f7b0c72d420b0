//! What the calls of an [`AwsStore`](crate::AwsStore) and an [`AwsObjects`](crate::AwsObjects) would be billed, for a table and a bucket that
//! are kept elsewhere: measured runs of a million requests need no stand-in for AWS. It must not decide whether a write takes place.
//!
//! That it counts as the clients do is held by a test that runs the same work both ways.

use std::collections::BTreeMap;

use engine::port::{Document, Expect, Index, Key, Write};
use http::{Method, Uri};

use super::rules::{Shape, shape, units_read};
use super::{Meter, Units};
use crate::objects::parts_of;
use crate::store::{BATCH, PAGE, item};

/// A version as long as nearly all are.
const VERSION: u64 = u64::MAX >> 1;
/// A page of a query ends with the item that fills it, bytes.
const PAGE_BYTES: u64 = 1 << 20;

/// Counts for a table that is kept elsewhere.
#[derive(Clone, Debug)]
pub struct Ledger {
    meter: Meter,
}

impl Ledger {
    /// Of an empty table.
    pub fn new() -> Ledger {
        Ledger { meter: Meter::remembering() }
    }

    /// The counts.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// A read of one document.
    pub fn get(&self, key: &Key) {
        let size = self.shape(key).map_or(0, |shape| shape.size);
        self.read("GetItem", size, true);
    }

    /// A list of a partition that found these, and whether it was to give no more than `limit`. Gives how many calls that takes.
    pub fn list(&self, found: &[Key], limit: usize) -> usize {
        let sizes = found.iter().map(|key| self.shape(key).map_or(0, |shape| shape.size));
        self.pages(sizes, limit, true)
    }

    /// The same of an index.
    pub fn list_index(&self, index: Index, found: &[Key], limit: usize) -> usize {
        let place = match index {
            Index::First => 0,
            Index::Second => 1,
            Index::Third => 2,
        };
        let sizes = found.iter().map(|key| self.shape(key).and_then(|shape| shape.entries[place].clone()).map_or(0, |entry| entry.size));
        self.pages(sizes, limit, false)
    }

    /// A put or a deletion by itself, and whether its expectation held.
    pub fn write(&self, write: &Write, held: bool) {
        let operation = if matches!(write, Write::Put(..)) { "PutItem" } else { "DeleteItem" };
        let (key, new) = asked(write);
        let dynamodb_writes = match held {
            true => self.meter.written(&key, new.as_ref()),
            false => {
                let there = self.meter.before(&key).flatten().map_or(0, |shape| shape.size);
                super::refused(there, new.as_ref().map_or(0, |shape| shape.size))
            }
        };
        self.meter.add("DynamoDB", operation, Units { dynamodb_writes, ..Units::default() });
    }

    /// Many writes, each with whether its expectation held. Gives how many calls that takes.
    pub fn write_many(&self, writes: &[(Write, bool)]) -> usize {
        let is_free = |write: &Write| matches!(write, Write::Put(.., Expect::Any) | Write::Delete(_, Expect::Any));
        let (free, bound): (Vec<_>, Vec<_>) = writes.iter().partition(|(write, _)| is_free(write));
        // A batch has no two writes of one key: the second is of a later round.
        let mut rounds: Vec<Vec<&Write>> = Vec::new();
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (write, _) in &free {
            let round = seen.entry(asked(write).0).or_default();
            if rounds.len() == *round {
                rounds.push(Vec::new());
            }
            rounds[*round].push(write);
            *round += 1;
        }
        let batches: Vec<&[&Write]> = rounds.iter().flat_map(|round| round.chunks(BATCH)).collect();
        for batch in &batches {
            let units = batch.iter().map(|write| asked(write)).map(|(key, new)| self.meter.written(&key, new.as_ref())).sum();
            self.meter.add("DynamoDB", "BatchWriteItem", Units { dynamodb_writes: units, ..Units::default() });
        }
        bound.iter().for_each(|(write, held)| self.write(write, *held));
        batches.len() + bound.len()
    }

    /// An object of so many bytes, from memory or from a file. Gives how many requests that takes.
    pub fn put_object(&self, bytes: u64, from_file: bool) -> usize {
        match parts_of(bytes).filter(|_| from_file) {
            None => self.s3(&Method::PUT, 1),
            Some(parts) => self.s3(&Method::POST, 1) + self.s3(&Method::PUT, parts as usize) + self.s3(&Method::POST, 1),
        }
    }

    /// An object that is read, or a range of it.
    pub fn get_object(&self) {
        self.s3(&Method::GET, 1);
    }

    /// An object that is deleted.
    pub fn delete_object(&self) {
        self.s3(&Method::DELETE, 1);
    }

    fn s3(&self, method: &Method, requests: usize) -> usize {
        (0..requests).for_each(|_| self.meter.s3(method, &Uri::from_static("/"), Some(200)));
        requests
    }

    fn shape(&self, key: &Key) -> Option<Shape> {
        self.meter.before(&(key.partition.clone(), key.sort.clone())).flatten()
    }

    fn read(&self, operation: &str, bytes: u64, strong: bool) {
        self.meter.add("DynamoDB", operation, Units { dynamodb_half_reads: units_read(bytes, strong), ..Units::default() });
    }

    fn pages(&self, sizes: impl Iterator<Item = u64>, limit: usize, strong: bool) -> usize {
        let (mut calls, mut bytes, mut items) = (0, 0, 0);
        for size in sizes {
            if items == limit.min(PAGE) || bytes >= PAGE_BYTES {
                self.read("Query", bytes, strong);
                (calls, bytes, items) = (calls + 1, 0, 0);
            }
            bytes += size;
            items += 1;
        }
        self.read("Query", bytes, strong);
        calls + 1
    }
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger::new()
    }
}

/// The key of a write, and the shape of the item that [`AwsStore`](crate::AwsStore) would write.
fn asked(write: &Write) -> ((String, String), Option<Shape>) {
    let of = |key: &Key| (key.partition.clone(), key.sort.clone());
    match write {
        Write::Put(key, document, _) => (of(key), Some(shape_of(key, document))),
        Write::Delete(key, _) => (of(key), None),
    }
}

fn shape_of(key: &Key, document: &Document) -> Shape {
    shape(&item::item_of(key, document.clone(), VERSION))
}
