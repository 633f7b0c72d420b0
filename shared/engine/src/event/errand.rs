//! Errands: one `deliver` step of a rule that is owed for one event. It must not know how it is sent.

use super::Event;
use crate::keys::{self, LaneName};
use crate::lane::backlog::{Holds, Parcel};
use crate::model::action::ActionName;
use crate::model::name::Name;
use crate::port::{Document, Expect, Index, IndexEntry, Key, PortError, Store, Stored, Write};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What every errand's id begins with.
pub const PREFIX: &str = "evt_";
/// Its length without that.
pub const ID_LENGTH: usize = 52;

/// A delivery that is owed for an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Errand {
    /// `evt_…`: see [`Identity::id`].
    pub id: String,
    /// For what.
    pub event: Event,
    /// Which rule owes it.
    pub rule: Name,
    /// What of it was pinned.
    pub version: String,
    /// Which of its steps.
    pub step: u32,
    /// Where to.
    pub destination: Name,
    /// Which action.
    pub action: ActionName,
    /// Whether errands of the same key wait for each other.
    pub ordered: bool,
    /// The key's text, where it has one.
    pub key: Option<String>,
    /// When the event was taken, Unix microseconds.
    pub created_at: u64,
}

/// What makes an errand's id.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The event.
    pub event: &'a str,
    /// The rule.
    pub rule: &'a Name,
    /// What of it was pinned.
    pub version: &'a str,
    /// Which of its steps.
    pub step: u32,
    /// Where to.
    pub destination: &'a Name,
    /// The key; without one the event stands for itself.
    pub key: Option<&'a str>,
    /// When it happened, Unix microseconds, but not later than it was taken.
    pub happened_at: u64,
    /// When it was taken, Unix microseconds, another one for each event of a call.
    pub taken_at: u64,
}

impl Identity<'_> {
    /// The id: a hash of destination and key, the time of the event, the time of its taking, a hash of event, rule version and step. So
    /// one range of ids holds the errands of a key to a destination in the order in which they are sent.
    pub fn id(&self) -> String {
        let Identity { event, rule, version, step, destination, key, happened_at, taken_at } = *self;
        let key = hash(&[destination.as_str(), if key.is_some() { "key" } else { "event" }, key.unwrap_or(event)]);
        let own = hash(&[event, rule.as_str(), version, &step.to_string()]);
        let mut id = PREFIX.to_string();
        write!(id, "{key}{:014x}{:014x}{own}", happened_at & TIME, taken_at & TIME).expect("writing to a text cannot fail");
        id
    }
}

/// The bits that a time may take.
const TIME: u64 = (1 << 56) - 1;

/// Twelve hexadecimal digits.
fn hash(parts: &[&str]) -> String {
    let text = serde_json::to_vec(parts).expect("plain data always serializes");
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&text))[4..].to_string()
}

/// Whether an id is an errand's, not a run's.
pub fn is_errand(id: &str) -> bool {
    id.starts_with(PREFIX)
}

impl Errand {
    /// Its document.
    pub fn key_of(organization: &Name, id: &str) -> Key {
        Key::new(keys::errands(organization), id)
    }

    /// The write that puts it there, unless it is there.
    pub fn put(&self, organization: &Name) -> Write {
        let body = serde_json::to_vec(self).expect("plain data always serializes");
        let sort = keys::run_sort(self.created_at, &self.id);
        let summary = format!("{} {}", self.rule, self.destination);
        let entry = |index, partition| IndexEntry { index, partition, sort: sort.clone(), summary: summary.clone() };
        let index = vec![
            entry(Index::Second, keys::errands_of_event(organization, &self.event.id)),
            entry(Index::Third, keys::errands(organization)),
        ];
        Write::Put(Errand::key_of(organization, &self.id), Document { body, expires_at: None, index }, Expect::Absent)
    }

    /// The lane it goes through.
    pub fn lane(&self, organization: &Name) -> LaneName {
        LaneName { organization: organization.clone(), destination: self.destination.clone(), share: 0 }
    }

    /// Its backlog entry: due when its event happened, so that the backlog has them in that order.
    pub fn parcel(&self) -> Parcel {
        let key = self.ordered.then(|| self.id[..PREFIX.len() + 12].to_string());
        let happened_at = u64::from_str_radix(&self.id[PREFIX.len() + 12..][..14], 16).unwrap_or(self.created_at);
        Parcel {
            run: self.id.clone(),
            number: 0,
            action: self.action,
            deliveries: 1,
            rows: 1,
            due: happened_at,
            again: None,
            holds: Holds::Event { rule: self.rule.clone(), key },
        }
    }
}

/// The errands behind this one in the range of its key: those of newer events, the newest last.
pub async fn newer<S: Store>(store: &S, organization: &Name, id: &str, limit: usize, now: u64) -> Result<Vec<Errand>, PortError> {
    let behind = format!("{}{}", &id[..PREFIX.len() + 12], keys::BEHIND_ALL);
    let after = format!("{id}\0");
    store.list(&keys::errands(organization), after.as_str()..&behind, limit, now).await?.iter().map(parse).collect()
}

/// Reads an errand; `None`: there is none, or not any more.
pub async fn read<S: Store>(store: &S, organization: &Name, id: &str, now: u64) -> Result<Option<Errand>, PortError> {
    store.get(&Errand::key_of(organization, id), now).await?.as_ref().map(parse).transpose()
}

fn parse(stored: &Stored) -> Result<Errand, PortError> {
    serde_json::from_slice(&stored.body).map_err(|e| PortError::Failed(format!("the document of {} cannot be read: {e}", stored.key.sort)))
}
