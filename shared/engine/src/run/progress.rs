//! How far a run is on a lane: one bit a parcel.

use crate::keys::{self, LaneName};
use crate::port::{Document, Expect, PortError, Store};
use serde::{Deserialize, Serialize};

/// So often a conditional write that was refused is tried again.
const TRIES: usize = 64;

/// A run's progress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many parcels there are.
    pub parcels: u32,
    /// One bit each, the lowest first; done parcels are set.
    done: Vec<u64>,
}

impl Progress {
    /// None of so many parcels done.
    pub fn new(parcels: u32) -> Progress {
        Progress { parcels, done: vec![0; (parcels as usize).div_ceil(64)] }
    }

    /// All of so many parcels done, but for these.
    pub fn all_but(parcels: u32, open: impl IntoIterator<Item = u32>) -> Progress {
        let mut progress = Progress::new(parcels);
        (0..parcels).for_each(|parcel| progress.set(parcel, true));
        open.into_iter().for_each(|parcel| progress.set(parcel, false));
        progress
    }

    /// Whether a parcel is done.
    pub fn is_done(&self, parcel: u32) -> bool {
        self.done.get(parcel as usize / 64).is_some_and(|word| word & (1 << (parcel % 64)) != 0)
    }

    /// Whether all are.
    pub fn is_complete(&self) -> bool {
        (0..self.parcels).all(|parcel| self.is_done(parcel))
    }

    /// Sets or clears a parcel's bit.
    pub fn set(&mut self, parcel: u32, done: bool) {
        if let Some(word) = self.done.get_mut(parcel as usize / 64) {
            match done {
                true => *word |= 1 << (parcel % 64),
                false => *word &= !(1 << (parcel % 64)),
            }
        }
    }

    /// The document's body.
    pub fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data always serializes")
    }
}

/// Reads a run's progress on a lane; `None`: there is none.
pub async fn read<S: Store>(store: &S, lane: &LaneName, run: &str, now: u64) -> Result<Option<(Progress, u64)>, PortError> {
    let Some(stored) = store.get(&keys::progress(lane, run), now).await? else { return Ok(None) };
    Ok(Some((parse(&stored.body, run)?, stored.version)))
}

/// Reads the body of a run's progress.
pub fn parse(body: &[u8], run: &str) -> Result<Progress, PortError> {
    serde_json::from_slice(body).map_err(|e| PortError::Failed(format!("the progress of {run} cannot be read: {e}")))
}

/// Marks parcels as done, and says whether all are now. A run that is gone (canceled and cleared) needs no mark.
pub async fn mark<S: Store>(store: &S, lane: &LaneName, run: &str, parcels: &[u32], now: u64) -> Result<bool, PortError> {
    for _ in 0..TRIES {
        let Some((mut progress, version)) = read(store, lane, run, now).await? else { return Ok(false) };
        if parcels.iter().all(|parcel| progress.is_done(*parcel)) {
            return Ok(progress.is_complete());
        }
        parcels.iter().for_each(|parcel| progress.set(*parcel, true));
        let document = Document { body: progress.body(), ..Document::default() };
        match store.put(&keys::progress(lane, run), document, Expect::At(version), now).await {
            Ok(_) => return Ok(progress.is_complete()),
            Err(PortError::Conflict) => continue,
            Err(error) => return Err(error),
        }
    }
    Err(PortError::Failed(format!("the progress of {run} changes without end")))
}
