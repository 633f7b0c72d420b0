//! The bell of a lane: how work that was added is never overlooked, whatever message was lost.
//!
//! Who adds work writes it, then rings: the count goes up and the due time down. Who leaves a lane notes the count, reads the
//! backlog strongly, then sets the bell to the next due time or takes it down, on condition that the count is unchanged; else it
//! looks again. The sweep reads the due index alone.

use super::SECOND;
use crate::keys::LaneName;
use crate::port::{Document, Expect, Index, IndexEntry, PortError, Store};
use serde::{Deserialize, Serialize};

/// The partition of the due index is split, so that no single one of a big table grows hot.
const DUE_PARTITIONS: u64 = 8;

/// So often a conditional write is tried before the store is called broken.
const TRIES: usize = 64;

/// The `bell` document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bell {
    /// How often it was rung.
    pub count: u64,
    /// Wall-clock time from which there is work; `None`: it is down.
    pub due: Option<u64>,
}

/// A bell as read: what it says, and the document's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it says.
    pub bell: Bell,
    version: Option<u64>,
}

/// Reads a lane's bell.
pub async fn hear<S: Store>(store: &S, lane: &LaneName, now: u64) -> Result<Heard, PortError> {
    match store.get(&lane.bell(), now).await? {
        None => Ok(Heard { bell: Bell::default(), version: None }),
        Some(stored) => {
            let bell = serde_json::from_slice(&stored.body)
                .map_err(|e| PortError::Failed(format!("the bell of {} cannot be read: {e}", lane.partition())))?;
            Ok(Heard { bell, version: Some(stored.version) })
        }
    }
}

/// Rings: there is work from `due` (wall clock, microseconds). Call after the work is in the backlog. Gives how often it was rung by then.
pub async fn ring<S: Store>(store: &S, lane: &LaneName, due: u64, now: u64) -> Result<u64, PortError> {
    for _ in 0..TRIES {
        let heard = hear(store, lane, now).await?;
        let due = heard.bell.due.map_or(due, |before| before.min(due));
        let bell = Bell { count: heard.bell.count + 1, due: Some(due) };
        match write(store, lane, &heard, &bell, now).await {
            Err(PortError::Conflict) => continue,
            Err(error) => return Err(error),
            Ok(()) => return Ok(bell.count),
        }
    }
    Err(PortError::Failed(format!("the bell of {} is rung without end", lane.partition())))
}

/// Leaves the bell at `next` (or takes it down), unless it was rung since it was `heard`; then the answer is false: look again.
pub async fn leave<S: Store>(store: &S, lane: &LaneName, heard: &Heard, next: Option<u64>, now: u64) -> Result<bool, PortError> {
    if heard.bell.due == next {
        // Nothing to change; but it may have been rung meanwhile.
        return Ok(hear(store, lane, now).await?.bell.count == heard.bell.count);
    }
    let bell = Bell { count: heard.bell.count, due: next };
    match write(store, lane, heard, &bell, now).await {
        Ok(()) => Ok(true),
        Err(PortError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn write<S: Store>(store: &S, lane: &LaneName, heard: &Heard, bell: &Bell, now: u64) -> Result<(), PortError> {
    let body = serde_json::to_vec(bell).expect("plain data always serializes");
    let index = bell.due.map(|due| IndexEntry {
        index: Index::First,
        partition: format!("due#{}", lane_hash(lane) % DUE_PARTITIONS),
        sort: format!("{:012}#{}", due / (60 * SECOND), lane.partition()),
        summary: lane.partition(),
    });
    let expect = heard.version.map_or(Expect::Absent, Expect::At);
    let document = Document { body, expires_at: None, index: index.into_iter().collect() };
    store.put(&lane.bell(), document, expect, now).await.map(drop)
}

fn lane_hash(lane: &LaneName) -> u64 {
    xxhash_rust::xxh3::xxh3_64(lane.partition().as_bytes())
}

/// The lanes that have work at `wall` (microseconds), at most `limit` of each part of the index.
pub async fn sweep<S: Store>(store: &S, wall: u64, limit: usize) -> Result<Vec<LaneName>, PortError> {
    let until = format!("{:012}$", wall / (60 * SECOND));
    let mut lanes = Vec::new();
    for part in 0..DUE_PARTITIONS {
        let partition = format!("due#{part}");
        let listed = store.list_index(Index::First, &partition, ""..&until, false, limit, wall / SECOND).await?;
        lanes.extend(listed.iter().filter_map(|entry| LaneName::parse(&entry.summary)));
    }
    Ok(lanes)
}
