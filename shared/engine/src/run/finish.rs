//! Finishing a run: what the log says becomes a delta of the snapshot and the run's counts. Every step can be repeated.

use super::document::{self, DeliveryCounts, InvalidRow, LISTED_INVALID_ROWS, RowCounts, Run, Status};
use super::outcome::{self, Outcome, ParcelOutcome};
use super::{progress, state, work};
use crate::keys::LaneName;
use crate::model::action::ActionName;
use crate::model::change::{DeltaRow, Entry, EntryState};
use crate::model::export::OnError;
use crate::model::name::Name;
use crate::plan::block::{self, PlannedRow};
use crate::plan::layout::{self, Directory};
use crate::port::{Expect, Objects, PortError, Store};
use crate::shape::Shape;
use std::fs::File;
use std::path::PathBuf;

/// So often a conditional write that was refused is tried again.
const TRIES: usize = 64;

/// Why a run is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// Its parcels are done, as the owner of its lane knows.
    Done,
    /// Its parcels are said to be done: where their marks do not say so, it stays as it is.
    Told,
    /// The destination was down for good.
    Dead,
    /// A person stopped it.
    Canceled,
}

/// Writes the rows of a delta to a new local file, given the names of their fields; `None` if there are none.
/// `rows` implements it; the iterator's errors end it.
pub trait WriteDelta {
    /// Writes all rows and gives the file.
    fn write(&self, rows: &mut dyn Iterator<Item = Result<DeltaRow, PortError>>, names: &[String]) -> Result<Option<PathBuf>, PortError>;
}

/// Finishes a run of an export, and gives it as it stands then: one that is not there yet, or no longer, stays as it is.
pub async fn finish<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    lane: &LaneName,
    (export, run_id): (&Name, &str),
    because: Because,
    deltas: &impl WriteDelta,
    wall: u64,
) -> Result<Run, PortError> {
    let now = wall / 1_000_000;
    let organization = &lane.organization;
    // Read first: where the run is put to work again from here on, it is not this end that it comes to.
    let claims = state::read(store, organization, export, now).await?.state.claims;
    let noted = work::read(store, organization, run_id, now).await?;
    let (mut run, version) =
        document::read(store, organization, run_id, now).await?.ok_or_else(|| PortError::Missing(format!("run {run_id}")))?;
    if run.status != Status::Delivering {
        return Ok(run);
    }
    let because = if run.cancel_asked { Because::Canceled } else { because };
    if because == Because::Told {
        let progress = progress::read(store, lane, run_id, now).await?;
        if progress.is_some_and(|(progress, _)| !progress.is_complete()) {
            return Ok(run);
        }
    }
    let found = run.clone();
    let shape = document::read_shape(store, organization, &run, now).await?;
    let path = objects.local(&run.object).await?;
    let mut file = File::open(&path).map_err(|e| PortError::Failed(format!("the plan of {run_id} cannot be opened: {e}")))?;
    let directory = layout::read_directory(&mut file).map_err(PortError::Failed)?;
    let mut outcomes = Vec::with_capacity(directory.parcels.len());
    for place in &directory.parcels {
        outcomes.push(outcome::of_parcel(store, organization, run_id, place, now).await?);
    }
    let mut rows = Rows::new(file, &directory, &outcomes, &shape, run_id);
    let delta = deltas.write(&mut rows, &directory.field_names)?;
    // A writer may stop at its pleasure; the count must not.
    rows.by_ref().try_for_each(|row| row.map(drop))?;
    let tally = rows.tally;
    run.finishes += 1;
    let name = format!("snapshots/{organization}/{}/{run_id}-{}.parquet", run.export, run.finishes);
    if let Some(file) = &delta {
        objects.adopt(&name, file).await?;
    }
    tally.apply(&mut run, &outcomes, because);
    run.finished_at = Some(wall);
    let settled = match (run.status, &run.source_version) {
        (Status::Succeeded, Some(source)) => Some((source.clone(), run.shape_version.clone())),
        _ => None,
    };
    let mapping = run.mapping_version.clone();
    let swapped = state::change(store, organization, &run.export, now, |state| {
        // Who comes too late has nothing to add: it was counted, and may have been merged since.
        if state.current.as_deref() == Some(run_id) {
            if state.claims != claims {
                return Err(());
            }
            let files = state.snapshot.get_or_insert_default();
            if delta.is_some() && !files.contains(&name) {
                files.push(name.clone());
            }
            state.current = None;
            state.last_planned = Some(run_id.to_string());
            state.mapping_version = Some(mapping.clone());
            state.settled = settled.clone();
        }
        Ok(())
    });
    if swapped.await?.is_err() {
        // It was claimed anew meanwhile, to be approved or delivered again: whoever looks next sees what it comes to.
        return Ok(found);
    }
    let (run, is_ours) = settle(store, organization, run, version, now).await?;
    // Rows that were only settled are in the snapshot; nobody looks back at them.
    if run.parcels == 0 {
        objects.delete(&run.object).await?;
    }
    if let (Some((_, noted)), true) = (noted, is_ours) {
        work::done_at(store, organization, run_id, noted, now).await?;
    }
    Ok(run)
}

/// Writes what a run came to, once: someone else may have finished it meanwhile, with the same result, and a person may have asked for
/// its end when it had come to it already. False: it was someone else, and the run may even have been put to work again since.
async fn settle<S: Store>(store: &S, organization: &Name, run: Run, mut version: u64, now: u64) -> Result<(Run, bool), PortError> {
    for _ in 0..TRIES {
        match document::write(store, organization, &run, Expect::At(version), now).await {
            Ok(_) => return Ok((run, true)),
            Err(PortError::Conflict) => match document::read(store, organization, &run.id, now).await? {
                Some((there, _)) if there.has_ended() || there.finishes >= run.finishes => return Ok((there, false)),
                Some((_, newer)) => version = newer,
                None => return Ok((run, false)),
            },
            Err(error) => return Err(error),
        }
    }
    Err(PortError::Failed(format!("{} changes without end", run.id)))
}

/// What became of the rows, counted while the delta is written.
#[derive(Default)]
struct Tally {
    rows: RowCounts,
    unsent: Vec<InvalidRow>,
}

impl Tally {
    fn apply(self, run: &mut Run, outcomes: &[ParcelOutcome], because: Because) {
        run.rows = self.rows;
        run.rows.invalid += run.invalid_rows;
        run.rows.pending += run.totals.left;
        // A redelivery counts anew; what was listed when the rows were read stays.
        run.invalid.retain(|row| !row.place.starts_with("dlv_"));
        let room = LISTED_INVALID_ROWS.saturating_sub(run.invalid.len());
        run.invalid.extend(self.unsent.into_iter().take(room));
        run.attempts = outcomes.iter().map(|parcel| parcel.attempts).sum();
        run.deliveries = DeliveryCounts::default();
        for outcome in outcomes.iter().flat_map(|parcel| &parcel.deliveries) {
            match outcome {
                Outcome::Untried => {}
                Outcome::Delivered(_) => run.deliveries.succeeded += 1,
                _ => run.deliveries.failed += 1,
            }
        }
        let RowCounts { delivered, rejected, invalid, pending, given_up } = run.rows;
        run.status = match because {
            Because::Canceled => Status::Canceled,
            _ if rejected + invalid + pending + given_up == 0 => Status::Succeeded,
            Because::Dead if delivered == 0 => Status::Failed,
            _ => Status::CompletedWithErrors,
        };
        run.reason = match because {
            Because::Dead => Some("the destination did not answer until the attempts of the last probe were used up".to_string()),
            Because::Canceled => Some("stopped by a person".to_string()),
            Because::Done | Because::Told => None,
        };
    }
}

/// The rows of a run's delta, read from its plan block by block.
struct Rows<'a> {
    file: File,
    directory: &'a Directory,
    outcomes: &'a [ParcelOutcome],
    shape: &'a Shape,
    run: &'a str,
    parcel: usize,
    settled: usize,
    ready: std::vec::IntoIter<DeltaRow>,
    tally: Tally,
}

impl<'a> Rows<'a> {
    fn new(file: File, directory: &'a Directory, outcomes: &'a [ParcelOutcome], shape: &'a Shape, run: &'a str) -> Rows<'a> {
        Rows { file, directory, outcomes, shape, run, parcel: 0, settled: 0, ready: Vec::new().into_iter(), tally: Tally::default() }
    }

    /// The next block's rows; `None`: there is no further block.
    fn block(&mut self) -> Result<Option<Vec<DeltaRow>>, String> {
        if let Some(place) = self.directory.parcels.get(self.parcel) {
            let outcome = &self.outcomes[self.parcel];
            self.parcel += 1;
            let block = block::read_block(&mut self.file, place.offset, place.length)?;
            let mut out = Vec::new();
            for (index, rows) in block::unpack(&block)?.into_iter().enumerate() {
                self.delivery(place.action, place.number, index as u32, rows, outcome, &mut out);
            }
            return Ok(Some(out));
        }
        let Some((offset, length)) = self.directory.settled.get(self.settled) else { return Ok(None) };
        self.settled += 1;
        block::unpack_settled(&block::read_block(&mut self.file, *offset, *length)?).map(Some)
    }

    fn delivery(
        &mut self,
        action: ActionName,
        parcel: u32,
        index: u32,
        rows: Vec<PlannedRow>,
        outcome: &ParcelOutcome,
        out: &mut Vec<DeltaRow>,
    ) {
        let of_delivery = outcome.deliveries.get(index as usize).copied().unwrap_or_default();
        let mut accepted = match of_delivery {
            Outcome::Delivered(count) => count.map_or(u64::MAX, u64::from),
            _ => 0,
        };
        for (place, row) in rows.into_iter().enumerate() {
            if let Some(reason) = outcome.unsent.get(&(index, place as u32)) {
                self.tally.rows.invalid += 1;
                if self.tally.unsent.len() < LISTED_INVALID_ROWS {
                    let place = crate::deliver::order::delivery_id(self.run, parcel, index);
                    self.tally.unsent.push(InvalidRow { place, key: Some(row.key.clone()), reason: reason.clone() });
                }
                continue;
            }
            let counts = &mut self.tally.rows;
            let gives_up = self.shape.on_error == OnError::GiveUp && !matches!(of_delivery, Outcome::Untried);
            match of_delivery {
                Outcome::Delivered(_) if accepted > 0 => {
                    accepted -= 1;
                    counts.delivered += 1;
                }
                // `on_partial: accept`: counted as told, and the snapshot takes all.
                Outcome::Delivered(_) => counts.rejected += 1,
                _ if gives_up => counts.given_up += 1,
                Outcome::Rejected { .. } => counts.rejected += 1,
                Outcome::Unsendable => counts.invalid += 1,
                Outcome::Untried | Outcome::Failed { .. } => counts.pending += 1,
            }
            out.extend(remember(action, row, of_delivery, gives_up));
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<DeltaRow, PortError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.next() {
                return Some(Ok(row));
            }
            match self.block() {
                Ok(Some(rows)) => self.ready = rows.into_iter(),
                Ok(None) => return None,
                Err(error) => return Some(Err(PortError::Failed(error))),
            }
        }
    }
}

/// What the snapshot remembers of a row; `None`: what it remembered before (semantics.md 2).
fn remember(action: ActionName, row: PlannedRow, outcome: Outcome, gives_up: bool) -> Option<DeltaRow> {
    let uncertain = matches!(outcome, Outcome::Rejected { uncertain: true } | Outcome::Failed { uncertain: true });
    let (state, fields, unknown) = match (outcome, action) {
        (Outcome::Delivered(_), ActionName::Remove) => (EntryState::Gone, None, None),
        (Outcome::Delivered(_), _) => (EntryState::Delivered, Some(row.fields), None),
        (_, ActionName::Add) if gives_up => (EntryState::GivenUpAdd, None, uncertain.then_some(row.fields)),
        (_, ActionName::Update) if gives_up => (EntryState::GivenUpChange, None, uncertain.then_some(row.fields)),
        (_, ActionName::Remove) if gives_up => (EntryState::GivenUpRemove, Some(row.fields), None),
        (_, ActionName::Add) if uncertain => (EntryState::UncertainAdd, None, Some(row.fields)),
        (_, ActionName::Update) if uncertain => (EntryState::UncertainChange, None, Some(row.fields)),
        (_, ActionName::Remove) if uncertain => (EntryState::UncertainRemove, Some(row.fields), None),
        _ => return None,
    };
    let entry = Entry { state, row_hash: row.row_hash, fields, uncertain: unknown };
    Some(DeltaRow { key_hash: row.key_hash, key: row.key, entry })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> PlannedRow {
        PlannedRow { key: "7".into(), key_hash: 7, row_hash: 70, fields: vec![serde_json::json!("x")], previous: None }
    }

    #[test]
    fn a_certain_failure_leaves_the_snapshot_as_it_was_and_an_uncertain_one_is_remembered() {
        use ActionName::{Add, Remove, Update};
        use EntryState::*;
        let certain = Outcome::Failed { uncertain: false };
        let uncertain = Outcome::Failed { uncertain: true };
        let table = [
            (Add, Outcome::Delivered(None), false, Some(Delivered)),
            (Update, Outcome::Delivered(Some(1)), false, Some(Delivered)),
            (Remove, Outcome::Delivered(None), false, Some(Gone)),
            (Add, certain, false, None),
            (Update, Outcome::Rejected { uncertain: false }, false, None),
            (Remove, Outcome::Untried, false, None),
            (Add, uncertain, false, Some(UncertainAdd)),
            (Update, uncertain, false, Some(UncertainChange)),
            (Remove, Outcome::Rejected { uncertain: true }, false, Some(UncertainRemove)),
            (Add, certain, true, Some(GivenUpAdd)),
            (Update, uncertain, true, Some(GivenUpChange)),
            (Remove, certain, true, Some(GivenUpRemove)),
        ];
        for (action, outcome, gives_up, state) in table {
            let remembered = remember(action, row(), outcome, gives_up).map(|row| row.entry.state);
            assert_eq!(remembered, state, "{action:?} {outcome:?} gives up: {gives_up}");
        }
        assert!(remember(Add, row(), certain, true).unwrap().entry.uncertain.is_none());
        assert!(remember(Add, row(), uncertain, true).unwrap().entry.uncertain.is_some());
    }
}
