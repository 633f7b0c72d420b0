//! Whether a destination is paused: its deliveries are kept, and nothing is sent until a person lets it go on. The mark stands beside
//! the lane and not in the definition, so that a new definition does not lift it.

use crate::keys::{self, LaneName};
use crate::model::name::Name;
use crate::port::{Document, Expect, Index, IndexEntry, PortError, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// More lanes than any organization has.
const MOST_LISTED: usize = 10_000;

/// The `pause` document of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when, Unix microseconds.
    pub since: u64,
}

/// Since when a lane is paused, if it is.
pub async fn read<S: Store>(store: &S, lane: &LaneName, now: u64) -> Result<Option<Pause>, PortError> {
    let Some(stored) = store.get(&lane.pause(), now).await? else { return Ok(None) };
    let pause = serde_json::from_slice(&stored.body)
        .map_err(|e| PortError::Failed(format!("the pause of {} cannot be read: {e}", lane.partition())))?;
    Ok(Some(pause))
}

/// Pauses a lane; one that is paused already stays so since then.
pub async fn pause<S: Store>(store: &S, lane: &LaneName, wall: u64) -> Result<Pause, PortError> {
    let now = wall / super::SECOND;
    if let Some(pause) = read(store, lane, now).await? {
        return Ok(pause);
    }
    let pause = Pause { since: wall };
    let body = serde_json::to_vec(&pause).expect("plain data always serializes");
    let entry = IndexEntry {
        index: Index::First,
        partition: keys::paused(&lane.organization),
        sort: format!("{}#{}", lane.destination, lane.share),
        summary: String::new(),
    };
    store.put(&lane.pause(), Document { body, expires_at: None, index: vec![entry] }, Expect::Any, now).await?;
    Ok(pause)
}

/// The destinations that are paused: for lists, not for a decision.
pub async fn list<S: Store>(store: &S, organization: &Name, now: u64) -> Result<BTreeSet<Name>, PortError> {
    let listed = store.list_index(Index::First, &keys::paused(organization), "".."~", false, MOST_LISTED, now).await?;
    Ok(listed.iter().filter_map(|listed| LaneName::parse(&listed.key.partition)).map(|lane| lane.destination).collect())
}

/// Lets a lane go on. Ring its bell afterwards.
pub async fn resume<S: Store>(store: &S, lane: &LaneName, wall: u64) -> Result<(), PortError> {
    store.delete(&lane.pause(), Expect::Any, wall / super::SECOND).await
}
