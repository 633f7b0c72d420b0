//! The state of an export: which run has it, and the list of files that make its snapshot.

use crate::keys;
use crate::model::name::Name;
use crate::port::{Document, Expect, PortError, Store};
use serde::{Deserialize, Serialize};

/// So often a conditional write that was refused is tried again.
const TRIES: usize = 64;

/// The `state` document of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The key of the hashes of its snapshot; set when the export first runs, kept for good.
    pub hash_seed: Option<u64>,
    /// The run that has the export. Two runs of one export never overlap.
    pub current: Option<String>,
    /// How often it was given to a run: who has read the state sees whether that was done since.
    #[serde(default)]
    pub claims: u64,
    /// The snapshot's objects: a base, then deltas from oldest to newest. Empty and `None`: the export never ran.
    pub snapshot: Option<Vec<String>>,
    /// The fields and key that the snapshot's hashes are of.
    pub mapping_version: Option<String>,
    /// The last run that was planned.
    pub last_planned: Option<String>,
    /// What the last run read and sent, where it delivered all: the same again needs no run.
    pub settled: Option<(String, String)>,
    /// The run that a guard holds; the next one that is planned takes its place.
    #[serde(default)]
    pub held: Option<String>,
    /// In how many parts its last plan was made, where one process could not hold all keys: the next one begins with as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
}

/// A state as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// What it says.
    pub state: State,
    version: Option<u64>,
}

/// Reads the state of an export; one that never ran has the default one.
pub async fn read<S: Store>(store: &S, organization: &Name, export: &Name, now: u64) -> Result<Read, PortError> {
    match store.get(&keys::export_state(organization, export), now).await? {
        None => Ok(Read { state: State::default(), version: None }),
        Some(stored) => {
            let state = serde_json::from_slice(&stored.body)
                .map_err(|e| PortError::Failed(format!("the state of export {export} cannot be read: {e}")))?;
            Ok(Read { state, version: Some(stored.version) })
        }
    }
}

/// Changes the state of an export; `change` may be called several times, and refuses with `Err`.
pub async fn change<S: Store, E>(
    store: &S,
    organization: &Name,
    export: &Name,
    now: u64,
    mut change: impl FnMut(&mut State) -> Result<(), E>,
) -> Result<Result<State, E>, PortError> {
    for _ in 0..TRIES {
        let Read { mut state, version } = read(store, organization, export, now).await?;
        let before = state.clone();
        if let Err(refused) = change(&mut state) {
            return Ok(Err(refused));
        }
        if state == before {
            return Ok(Ok(state));
        }
        let body = serde_json::to_vec(&state).expect("plain data always serializes");
        let expect = version.map_or(Expect::Absent, Expect::At);
        match store.put(&keys::export_state(organization, export), Document { body, ..Document::default() }, expect, now).await {
            Ok(_) => return Ok(Ok(state)),
            Err(PortError::Conflict) => continue,
            Err(error) => return Err(error),
        }
    }
    Err(PortError::Failed(format!("the state of export {export} changes without end")))
}
