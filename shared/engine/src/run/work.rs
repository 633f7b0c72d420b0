//! What is under way: one small document for each run that was asked for and has not ended, so that whoever starts finds it again,
//! whatever died. It is written first and deleted last.

use super::document::{self, Status};
use super::progress;
use crate::keys::{self, LaneName};
use crate::model::name::Name;
use crate::port::{Document, Expect, PortError, Store};
use serde::{Deserialize, Serialize};

/// Read at once.
const PAGE: usize = 500;

/// A run that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Whose.
    pub organization: Name,
    /// Of which export.
    pub export: Name,
    /// The run.
    pub run: String,
    /// When it was asked for, Unix microseconds.
    pub asked_at: u64,
}

/// A note without a run is left by a process that was killed; a younger one may be just being written, microseconds.
const ABANDONED_AFTER: u64 = 60_000_000;

/// What a run that is under way needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be planned, or taken back where nothing but its note was written.
    Plan,
    /// To be delivered.
    Deliver(LaneName),
    /// Canceled: to be finished once nothing of it is on its way.
    Halt(LaneName),
    /// Nothing is left to send: to be finished.
    Finish(LaneName),
    /// Its document is just being written.
    Wait,
    /// It is over; its note can go.
    Over,
}

/// What a run that is under way needs next at `wall` (microseconds), as its documents say.
pub async fn step<S: Store>(store: &S, work: &Work, wall: u64) -> Result<Step, PortError> {
    let now = wall / 1_000_000;
    let Some((run, _)) = document::read(store, &work.organization, &work.run, now).await? else {
        return Ok(if wall > work.asked_at + ABANDONED_AFTER { Step::Plan } else { Step::Wait });
    };
    let lane = LaneName::first(&work.organization, &run.destination);
    Ok(match run.status {
        Status::Planning => Step::Plan,
        Status::Delivering => {
            let progress = progress::read(store, &lane, &run.id, now).await?;
            match (progress.is_some_and(|(progress, _)| progress.is_complete()), run.cancel_asked) {
                (true, _) => Step::Finish(lane),
                (false, true) => Step::Halt(lane),
                (false, false) => Step::Deliver(lane),
            }
        }
        _ => Step::Over,
    })
}

/// Notes that a run is under way.
pub async fn note<S: Store>(store: &S, work: &Work, now: u64) -> Result<(), PortError> {
    let body = serde_json::to_vec(work).expect("plain data always serializes");
    let key = keys::work(&work.organization, &work.run);
    store.put(&key, Document { body, ..Document::default() }, Expect::Any, now).await.map(drop)
}

/// A run has ended.
pub async fn done<S: Store>(store: &S, organization: &Name, run: &str, now: u64) -> Result<(), PortError> {
    store.delete(&keys::work(organization, run), Expect::Any, now).await
}

/// Everything that is under way.
pub async fn list<S: Store>(store: &S, now: u64) -> Result<Vec<Work>, PortError> {
    let mut all = Vec::new();
    let mut from = String::new();
    loop {
        let page = store.list(keys::WORK, from.as_str().."~", PAGE, now).await?;
        let last = page.last().map(|stored| stored.key.sort.clone());
        let full = page.len() == PAGE;
        for stored in page {
            let work = serde_json::from_slice(&stored.body)
                .map_err(|e| PortError::Failed(format!("the note of {} cannot be read: {e}", stored.key.sort)))?;
            all.push(work);
        }
        match last {
            Some(last) if full => from = format!("{last}\0"),
            _ => return Ok(all),
        }
    }
}
