//! What was called and what AWS will charge for it: counted by AWS's published rules from the sizes of what was sent and answered, so that the
//! same work gives the same count everywhere. It must not change, delay or repeat a call.
//!
//! Counted where calls are made: each try by itself, since each try that AWS works off is billed, the conditional ones that it refuses
//! included. Not what AWS throttles or fails, which it does not bill. A try without an answer counts as worked off.
//!
//! AWS bills a write by the larger of the old and the new item, and a change of an index entry as two writes. What was there before is
//! not read for that: a [`Meter::remembering`] knows what it has seen written; any other one takes the old item for like the new one, each
//! entry that is written for a changed summary, and a deletion for one without entries.

mod intercept;
mod ledger;
mod price;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Uri};

pub(crate) use self::intercept::Count;
pub use self::ledger::Ledger;
pub use self::price::{PRICES, Price, price};
pub use self::rules::{Shape, requests_of, shape, units_read, units_written};

/// Counts for all clients that it was given to. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    charge: Charge,
    /// Items as last written, by table key; only if it remembers.
    items: Option<HashMap<(String, String), Shape>>,
}

/// What was called, and what of it is billed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Tries, by service and operation, whatever came of them.
    pub calls: BTreeMap<(String, String), u64>,
    /// Billed units.
    pub units: Units,
}

/// Billed units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Requests of SQS, a further one for each begun 64 KiB.
    pub sqs_requests: u64,
    /// Write request units of DynamoDB, index entries included.
    pub dynamodb_writes: u64,
    /// Halves of read request units of DynamoDB: an eventual read of 4 KiB is one, a strong one two.
    pub dynamodb_half_reads: u64,
    /// PUT, POST and LIST requests of S3.
    pub s3_puts: u64,
    /// GET and HEAD requests of S3.
    pub s3_gets: u64,
    /// Requests of KMS.
    pub kms_requests: u64,
    /// Calls of functions. Nothing here counts them: the function's host adds them.
    pub function_calls: u64,
    /// Milliseconds of functions times their memory in MB; added by the function's host, as above.
    pub function_mb_milliseconds: u64,
    /// Calls of the HTTP API; added by the function's host, as above.
    pub api_requests: u64,
}

impl std::ops::AddAssign for Units {
    fn add_assign(&mut self, more: Units) {
        self.sqs_requests += more.sqs_requests;
        self.dynamodb_writes += more.dynamodb_writes;
        self.dynamodb_half_reads += more.dynamodb_half_reads;
        self.s3_puts += more.s3_puts;
        self.s3_gets += more.s3_gets;
        self.kms_requests += more.kms_requests;
        self.function_calls += more.function_calls;
        self.function_mb_milliseconds += more.function_mb_milliseconds;
        self.api_requests += more.api_requests;
    }
}

impl Meter {
    /// One that keeps the size of each item it has seen written, to bill changes exactly: for measured runs, not for functions, since it
    /// grows with the table.
    pub fn remembering() -> Meter {
        let counts = Counts { charge: Charge::default(), items: Some(HashMap::new()) };
        Meter { counts: Arc::new(Mutex::new(counts)) }
    }

    /// The counts until now.
    pub fn charge(&self) -> Charge {
        self.counts().charge.clone()
    }

    /// Adds what is billed elsewhere, such as receiving and deleting of messages by Lambda's pollers.
    pub fn add(&self, service: &str, operation: &str, units: Units) {
        let mut counts = self.counts();
        *counts.charge.calls.entry((service.to_owned(), operation.to_owned())).or_default() += 1;
        counts.charge.units += units;
    }

    /// A try of an S3 request, with the status of its answer. DELETE is free; 5xx is not billed
    /// (<https://aws.amazon.com/s3/pricing/>, <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ErrorCodeBilling.html>).
    pub(crate) fn s3(&self, method: &Method, uri: &Uri, status: Option<u16>) {
        let query = uri.query().unwrap_or_default();
        let is_list = *method == Method::GET && query.contains("list-type=");
        let operation = match (method.as_str(), is_list) {
            ("GET", true) => "List",
            ("GET", false) => "Get",
            ("HEAD", _) => "Head",
            ("PUT", _) => "Put",
            ("POST", _) => "Post",
            _ => "Delete",
        };
        let mut units = Units::default();
        if status.is_none_or(|status| status < 500) {
            match operation {
                "List" | "Put" | "Post" => units.s3_puts = 1,
                "Get" | "Head" => units.s3_gets = 1,
                _ => {}
            }
        }
        self.add("S3", operation, units);
    }

    /// A write that took place, `None`: a deletion. Gives its units.
    fn written(&self, key: &(String, String), new: Option<&Shape>) -> u64 {
        let after = new.cloned().unwrap_or_default();
        let before = match self.before(key) {
            Some(before) => before.unwrap_or_default(),
            None => unknown_before(&after),
        };
        self.remember(key, new);
        units_written(&before, &after)
    }

    /// What an item was when it was last written, if that is remembered.
    fn before(&self, key: &(String, String)) -> Option<Option<Shape>> {
        self.counts().items.as_ref().map(|items| items.get(key).cloned())
    }

    fn remember(&self, key: &(String, String), now: Option<&Shape>) {
        if let Some(items) = &mut self.counts().items {
            match now {
                Some(shape) => items.insert(key.clone(), shape.clone()),
                None => items.remove(key),
            };
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts are sums: each is whole at any time.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As large as what is written, with the same places in the indexes and other summaries.
fn unknown_before(after: &Shape) -> Shape {
    let mut before = after.clone();
    for entry in before.entries.iter_mut().flatten() {
        // No expiry of ours is written so.
        entry.projected.1 = "?".to_owned();
    }
    before
}

/// A refused write is billed by the larger of what was there and what was to be, bytes.
fn refused(there: u64, new: u64) -> u64 {
    let without_entries = |size| Shape { size, ..Shape::default() };
    units_written(&without_entries(there), &without_entries(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_requests_are_billed_by_their_kind() {
        let meter = Meter::default();
        let calls = [
            (Method::PUT, "/b/a", Some(200)),
            (Method::POST, "/b/a?uploads", Some(200)),
            (Method::PUT, "/b/a?partNumber=1&uploadId=x", Some(200)),
            (Method::GET, "/b/a", Some(206)),
            (Method::GET, "/b/a", Some(304)),
            (Method::GET, "/b/a", Some(404)),
            (Method::HEAD, "/b/a", None),
            (Method::GET, "/b?list-type=2&prefix=a", Some(200)),
            (Method::DELETE, "/b/a", Some(204)),
            (Method::PUT, "/b/a", Some(503)),
        ];
        for (method, uri, status) in calls {
            meter.s3(&method, &uri.parse().unwrap(), status);
        }
        let charge = meter.charge();
        assert_eq!(charge.units, Units { s3_puts: 4, s3_gets: 4, ..Units::default() });
        assert_eq!(charge.calls.values().sum::<u64>(), 10);
        assert_eq!(charge.calls[&("S3".to_owned(), "Put".to_owned())], 3);
    }
}
