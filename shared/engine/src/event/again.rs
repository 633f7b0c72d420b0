//! Redelivery: a person asks for another attempt of an event's delivery (semantics.md 15). It must not send anything.

use super::errand::{self, Errand};
use crate::judge::Class;
use crate::keys::{self, LaneName};
use crate::lane::backlog::{Again, Parcel};
use crate::lane::bell;
use crate::model::name::Name;
use crate::port::{PortError, Store};
use crate::record::segment::Segment;

/// Newer events of a key are looked through so many at a time.
const AT_ONCE: usize = 100;

/// Why a delivery cannot be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This newer event of the same key was delivered to the same destination.
    Newer(String),
    /// It has not ended.
    Unfinished,
}

/// Puts an errand back into the backlog, under the same id and key, and gives its lane. `None`: there is no such errand.
pub async fn again<S: Store>(store: &S, organization: &Name, id: &str, wall: u64) -> Result<Result<Option<LaneName>, Refused>, PortError> {
    let now = wall / 1_000_000;
    let Some(errand) = errand::read(store, organization, id, now).await? else { return Ok(Ok(None)) };
    let attempts = attempts(store, organization, id, now).await?;
    if !attempts.iter().any(|(_, last)| *last) {
        return Ok(Err(Refused::Unfinished));
    }
    if let Some(newer) = delivered_after(store, organization, &errand, now).await? {
        return Ok(Err(Refused::Newer(newer)));
    }
    let lane = errand.lane(organization);
    let parcel = Parcel { due: wall, again: Some(Again { indexes: vec![0], asked_ms: wall / 1000 }), ..errand.parcel() };
    for answer in store.write(vec![parcel.put(&lane)], now).await? {
        answer?;
    }
    bell::ring(store, &lane, wall, now).await?;
    Ok(Ok(Some(lane)))
}

/// The newer event of the same key and destination that was delivered, if one was.
async fn delivered_after<S: Store>(store: &S, organization: &Name, errand: &Errand, now: u64) -> Result<Option<String>, PortError> {
    if !errand.ordered {
        return Ok(None);
    }
    let mut after = errand.id.clone();
    loop {
        let newer = errand::newer(store, organization, &after, AT_ONCE, now).await?;
        for other in &newer {
            // What was owed for the same event by another step or rule is not newer.
            let is_other = other.event.id != errand.event.id;
            if is_other && attempts(store, organization, &other.id, now).await?.iter().any(|(class, _)| *class == Class::Success) {
                return Ok(Some(other.event.id.clone()));
            }
        }
        match newer.last() {
            Some(last) if newer.len() == AT_ONCE => after = last.id.clone(),
            _ => return Ok(None),
        }
    }
}

/// Class and last-try flag of an errand's attempts.
pub async fn attempts<S: Store>(store: &S, organization: &Name, id: &str, now: u64) -> Result<Vec<(Class, bool)>, PortError> {
    let (first, behind) = keys::segments_of(0);
    let stored = store.list(&keys::run_partition(organization, id), &first..&behind, usize::MAX, now).await?;
    let mut attempts = Vec::new();
    for document in stored {
        let segment = Segment::decode(&document.body).map_err(PortError::Failed)?;
        attempts.extend(segment.attempts.iter().map(|record| (segment.class, record.last)));
    }
    Ok(attempts)
}
