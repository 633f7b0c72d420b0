//! Whether a destination is paused: its deliveries are kept, and nothing is sent until a person lets it go on. The mark stands beside
//! the lane and not in the definition, so that a new definition does not lift it.

use crate::keys::LaneName;
use crate::port::{Document, Expect, PortError, Store};
use serde::{Deserialize, Serialize};

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
    store.put(&lane.pause(), Document { body, ..Document::default() }, Expect::Any, now).await?;
    Ok(pause)
}

/// Lets a lane go on. Ring its bell afterwards.
pub async fn resume<S: Store>(store: &S, lane: &LaneName, wall: u64) -> Result<(), PortError> {
    store.delete(&lane.pause(), Expect::Any, wall / super::SECOND).await
}
