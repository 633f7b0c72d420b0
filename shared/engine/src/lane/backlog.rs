//! The backlog of a lane: one document for each parcel that is not done, in the order of their due times.

use crate::keys::LaneName;
use crate::model::action::ActionName;
use crate::model::name::Name;
use crate::port::{Document, Expect, Key, PortError, Store, Stored, Write};
use serde::{Deserialize, Serialize};

/// A slice of a plan, at most 1,000 deliveries of one action; or what a rule owes for an event, one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// The run it belongs to; of an event's, its errand.
    pub run: String,
    /// Its number within the run, from 0, in the order of sending.
    pub number: u32,
    /// The action of all its deliveries.
    pub action: ActionName,
    /// How many deliveries it holds.
    pub deliveries: u32,
    /// How many rows they carry.
    pub rows: u64,
    /// Wall-clock time from which it may be worked on, microseconds.
    pub due: u64,
    /// Where a person asked for some of its deliveries again: which ones, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// What it holds, or where that lies.
    #[serde(flatten)]
    pub holds: Holds,
}

/// What a parcel holds, or where that lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Holds {
    /// In a plan: rows.
    Rows {
        /// The object that holds them.
        object: String,
        /// Where in the object the parcel's block begins.
        offset: u64,
        /// The block's length, bytes.
        length: u64,
    },
    /// In an errand: an event.
    Event {
        /// The rule that owes it.
        rule: Name,
        /// What must be sent in order has the same key.
        key: Option<String>,
    },
}

/// A person's wish to have deliveries sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// Their places in the parcel.
    pub indexes: Vec<u32>,
    /// Unix milliseconds of the wish: attempts by hand that started earlier belong to an earlier wish.
    pub asked_ms: u64,
}

impl Parcel {
    /// The rule that owes it, if it is an event's.
    pub fn rule(&self) -> Option<&Name> {
        match &self.holds {
            Holds::Event { rule, .. } => Some(rule),
            Holds::Rows { .. } => None,
        }
    }

    /// What must be sent in order has the same key; rows have none.
    pub fn key_of_events(&self) -> Option<&str> {
        match &self.holds {
            Holds::Event { key, .. } => key.as_deref(),
            Holds::Rows { .. } => None,
        }
    }

    /// Its place in the backlog of a lane.
    pub fn key(&self, lane: &LaneName) -> Key {
        Key::new(lane.partition(), format!("due#{:016x}#{}#{:08}", self.due, self.run, self.number))
    }

    /// The write that puts it into the backlog.
    pub fn put(&self, lane: &LaneName) -> Write {
        let body = serde_json::to_vec(self).expect("plain data always serializes");
        Write::Put(self.key(lane), Document { body, ..Document::default() }, Expect::Any)
    }
}

/// All parcels of a lane's backlog, in the order of their due times.
pub async fn read<S: Store>(store: &S, lane: &LaneName, now: u64) -> Result<Vec<(Key, Parcel)>, PortError> {
    const PAGE: usize = 1000;
    let mut parcels = Vec::new();
    let mut from = "due#".to_string();
    loop {
        let page = store.list(&lane.partition(), from.as_str().."due$", PAGE, now).await?;
        let last = page.last().map(|stored| stored.key.sort.clone());
        let full = page.len() == PAGE;
        for stored in page {
            parcels.push(parse(stored)?);
        }
        match last {
            Some(last) if full => from = format!("{last}\0"),
            _ => return Ok(parcels),
        }
    }
}

fn parse(stored: Stored) -> Result<(Key, Parcel), PortError> {
    let parcel = serde_json::from_slice(&stored.body)
        .map_err(|e| PortError::Failed(format!("backlog entry {} of {} cannot be read: {e}", stored.key.sort, stored.key.partition)))?;
    Ok((stored.key, parcel))
}
