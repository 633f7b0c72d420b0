//! What must hold when a run has ended, and at the end of all.

use super::Simulation;
use super::events::CONTACT;
use super::export::{Planned, row_hash};
use engine::deliver::order::delivery_id;
use engine::judge::Class;
use engine::keys;
use engine::model::action::ActionName;
use engine::model::change::{DeltaRow, EntryState};
use engine::plan::{block, layout};
use engine::port::{Objects, Store};
use engine::record::segment::{AttemptRecord, Segment};
use engine::run::document::{DeliveryCounts, RowCounts, Run, Status};
use engine::run::{progress, state};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::rc::Rc;

/// An attempt as the log has it, and the generation of the lease that it was recorded under.
pub(super) struct Logged {
    generation: u64,
    pub(super) class: Class,
    pub(super) record: AttemptRecord,
}

/// A run's log, by delivery.
pub(super) struct Log {
    pub(super) by_delivery: BTreeMap<(u32, u32), Vec<Logged>>,
    attempts: u64,
}

pub(super) async fn read_log(simulation: &Simulation, run: &str) -> Log {
    let (first, behind) = keys::ALL_SEGMENTS;
    let partition = keys::run_partition(&simulation.lane.organization, run);
    let documents = simulation.documents.list(&partition, first..behind, usize::MAX, 0).await.expect("memory does not fail");
    let mut log = Log { by_delivery: BTreeMap::new(), attempts: 0 };
    for document in documents {
        let mut parts = document.key.sort.split('#').skip(1);
        let (parcel, place) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let parcel = parcel.parse().expect("a segment's key names its parcel");
        let generation = u64::from_str_radix(&place[..8], 16).expect("a segment's key names its generation");
        let segment = Segment::decode(&document.body).expect("a segment can be read");
        for record in segment.attempts {
            log.attempts += 1;
            log.by_delivery.entry((parcel, record.index)).or_default().push(Logged { generation, class: segment.class, record });
        }
    }
    log
}

/// What the rows of a run came to, by the log alone.
#[derive(Default)]
struct Tally {
    counts: RowCounts,
    succeeded: u64,
    failed: u64,
    /// What the snapshot should say of each row from now on, if anything new.
    remembered: BTreeMap<String, Option<EntryState>>,
}

/// Checks a run that was just finished: I2, I3 and I13.
pub(super) async fn check_run(simulation: &Rc<Simulation>, planned: &Planned, run: &Run, delta: &[DeltaRow]) {
    let (world, id) = (&simulation.world, &planned.run);
    let log = read_log(simulation, id).await;
    let plan = simulation.objects.get(&run.object, None).await.expect("memory does not fail");
    let done = progress::read(&simulation.documents, &simulation.lane, id, 0).await.expect("memory does not fail");
    if !done.is_some_and(|(progress, _)| progress.is_complete()) {
        world.violated(|| format!("I2: {id} was finished before its parcels were done"));
    }
    let tally = tally(simulation, id, &log, &plan);
    let counts = tally.counts;
    if tally.remembered.len() != planned.changes.len() {
        world.violated(|| format!("I2: {id} has {} rows of {} changes in its plan", tally.remembered.len(), planned.changes.len()));
    }
    if run.rows != counts || counts.delivered + counts.rejected + counts.pending != run.totals.rows() {
        world.violated(|| format!("I2: {id} counts {:?}, its log says {counts:?}, of {} rows", run.rows, run.totals.rows()));
    }
    let DeliveryCounts { succeeded, failed } = run.deliveries;
    if (succeeded, failed) != (tally.succeeded, tally.failed) || run.attempts != log.attempts {
        world.violated(|| format!("I2: {id} counts {:?} and {} attempts, its log says otherwise", run.deliveries, run.attempts));
    }
    let whole = counts.rejected + counts.pending == 0;
    if (run.status == Status::Succeeded) != whole || !matches!(run.status, Status::Succeeded | Status::CompletedWithErrors) {
        world.violated(|| format!("I2: {id} is {:?} with {counts:?}", run.status));
    }
    check_delta(simulation, planned, delta, &tally.remembered);
    check_log(simulation, id, &log);
    check_state(simulation, planned).await;
}

fn tally(simulation: &Simulation, id: &str, log: &Log, plan: &[u8]) -> Tally {
    let world = &simulation.world;
    let directory = layout::read_directory(&mut Cursor::new(plan)).expect("a plan has a directory");
    let accepted = simulation.receiver.accepted.borrow();
    let mut tally = Tally::default();
    for place in &directory.parcels {
        let bytes = &plan[place.offset as usize..(place.offset + place.length) as usize];
        for (index, rows) in block::unpack(bytes).expect("a parcel unpacks").into_iter().enumerate() {
            let logged = log.by_delivery.get(&(place.number, index as u32)).map(Vec::as_slice).unwrap_or_default();
            let delivery = delivery_id(id, place.number, index as u32);
            let end = terminal_state(simulation, &delivery, logged, place.action);
            match end {
                Terminal::Delivered => tally.succeeded += 1,
                _ => tally.failed += 1,
            }
            for row in rows {
                match end {
                    Terminal::Delivered => tally.counts.delivered += 1,
                    Terminal::Rejected(_) => tally.counts.rejected += 1,
                    Terminal::Failed(_) | Terminal::Nothing => tally.counts.pending += 1,
                }
                let was_accepted = accepted.get(&delivery).is_some_and(|keys| keys.contains(&row.key));
                if end == Terminal::Delivered && !was_accepted {
                    world.violated(|| format!("I3: {} of {delivery} counts as delivered, but was never accepted", row.key));
                }
                if tally.remembered.insert(row.key, end.remembered(place.action)).is_some() {
                    world.violated(|| format!("I2: a row of {delivery} was planned twice"));
                }
            }
        }
    }
    tally
}

/// Where a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    Delivered,
    /// Whether it may have taken effect all the same.
    Rejected(bool),
    Failed(bool),
    Nothing,
}

impl Terminal {
    fn remembered(self, action: ActionName) -> Option<EntryState> {
        match (self, action) {
            (Terminal::Delivered, ActionName::Remove) => Some(EntryState::Gone),
            (Terminal::Delivered, _) => Some(EntryState::Delivered),
            (Terminal::Rejected(true) | Terminal::Failed(true), ActionName::Add) => Some(EntryState::UncertainAdd),
            (Terminal::Rejected(true) | Terminal::Failed(true), ActionName::Update) => Some(EntryState::UncertainChange),
            (Terminal::Rejected(true) | Terminal::Failed(true), ActionName::Remove) => Some(EntryState::UncertainRemove),
            _ => None,
        }
    }
}

/// I2: the state a delivery ended in, and that it is one: delivered, or refused for good, or tried as often as it may be.
fn terminal_state(simulation: &Simulation, delivery: &str, logged: &[Logged], action: ActionName) -> Terminal {
    let world = &simulation.world;
    let uncertain = logged.iter().any(|attempt| attempt.record.uncertain);
    let most = simulation.destination.retry.max_attempts.unwrap_or(u32::MAX);
    if let Some(attempt) = logged.iter().find(|attempt| attempt.record.number > most) {
        world.violated(|| format!("I2: {delivery} had attempt {} of {most}", attempt.record.number));
    }
    if logged.iter().any(|attempt| attempt.class == Class::Success) {
        return Terminal::Delivered;
    }
    let Some(last) = logged.iter().max_by_key(|attempt| (attempt.record.number, attempt.record.last)) else {
        world.violated(|| format!("I2: {delivery} ({}) was never tried, and its run has ended", action.as_str()));
        return Terminal::Nothing;
    };
    if !last.record.last {
        world.violated(|| format!("I2: {delivery} waits for attempt {}, and its run has ended", last.record.number + 1));
    }
    match last.class {
        Class::ClientError => Terminal::Rejected(uncertain),
        _ => {
            if last.record.number < most {
                world.violated(|| format!("I2: {delivery} failed with attempt {} of {most}", last.record.number));
            }
            Terminal::Failed(uncertain)
        }
    }
}

fn check_delta(simulation: &Simulation, planned: &Planned, delta: &[DeltaRow], expected: &BTreeMap<String, Option<EntryState>>) {
    let (world, id) = (&simulation.world, &planned.run);
    let found: BTreeMap<&str, &DeltaRow> = delta.iter().map(|row| (row.key.as_str(), row)).collect();
    if found.len() != delta.len() {
        world.violated(|| format!("I2: the delta of {id} has a key twice"));
    }
    for change in &planned.changes {
        let (found, expected) = (found.get(change.key.as_str()), expected.get(&change.key).copied().flatten());
        if found.map(|row| row.entry.state) != expected {
            world.violated(|| format!("I2: {id} leaves {} as {found:?} in the snapshot, and not as {expected:?}", change.key));
        }
        let value = change.fields.get(1).and_then(|value| value.as_str()).unwrap_or_default();
        if found.is_some_and(|row| row.entry.state == EntryState::Delivered && row.entry.row_hash != row_hash(value)) {
            world.violated(|| format!("I17: {id} leaves {} with another hash than what was delivered", change.key));
        }
    }
}

/// The export is free again, and its snapshot has the delta once.
async fn check_state(simulation: &Simulation, planned: &Planned) {
    let (world, id) = (&simulation.world, &planned.run);
    let export = simulation.exports.borrow()[planned.export].name.clone();
    let state = state::read(&simulation.documents, &simulation.lane.organization, &export, 0).await.expect("memory does not fail").state;
    if let Some(run) = state.current {
        world.violated(|| format!("I2: {id} has ended, and {run} has its export"));
    }
    let files = state.snapshot.unwrap_or_default();
    if files.iter().filter(|file| file.contains(&format!("/{id}-"))).count() != 1 {
        world.violated(|| format!("I2: {id} should be once in {files:?}"));
    }
    for file in files {
        if simulation.objects.get(&file, None).await.is_err() {
            world.violated(|| format!("I2: the snapshot names {file}, which is not there"));
        }
    }
}

/// I13: what the log says of a session is what came back to it: all of it where it ended well, some of it otherwise.
pub(super) fn check_log(simulation: &Simulation, id: &str, log: &Log) {
    let world = &simulation.world;
    let mut by_generation: HashMap<u64, Vec<(String, Option<u16>)>> = HashMap::new();
    let mut numbers: BTreeSet<(u64, u32, u32, u32)> = BTreeSet::new();
    for ((parcel, index), logged) in &log.by_delivery {
        for attempt in logged {
            let returned = (delivery_id(id, *parcel, *index), attempt.record.status);
            by_generation.entry(attempt.generation).or_default().push(returned);
            if !numbers.insert((attempt.generation, *parcel, *index, attempt.record.number)) {
                world.violated(|| {
                    format!("I13: attempt {} of {} was recorded twice", attempt.record.number, delivery_id(id, *parcel, *index))
                });
            }
        }
    }
    let of_run = delivery_id(id, 0, 0);
    let of_run = of_run.trim_end_matches("0_0");
    for session in simulation.sessions.borrow().iter() {
        let Some(generation) = session.generation.get() else { continue };
        let logged = by_generation.remove(&generation).unwrap_or_default();
        let returned: Vec<(String, Option<u16>)> =
            session.returned.borrow().iter().filter(|(delivery, _)| delivery.starts_with(of_run)).cloned().collect();
        let (logged, returned) = (counted(logged), counted(returned));
        if logged.iter().any(|(what, count)| returned.get(what).copied().unwrap_or_default() < *count) {
            world.violated(|| format!("I13: session {} recorded attempts of {id} that never came back to it", session.number));
        }
        if session.ended_well.get() && logged != returned {
            world.violated(|| format!("I13: session {} ended well, and attempts of {id} are not recorded", session.number));
        }
    }
    if let Some(generation) = by_generation.keys().next() {
        world.violated(|| format!("I13: generation {generation} recorded attempts of {id}, and no session had it"));
    }
}

fn counted(of: Vec<(String, Option<u16>)>) -> BTreeMap<(String, Option<u16>), usize> {
    of.into_iter().fold(BTreeMap::new(), |mut counts, what| {
        *counts.entry(what).or_default() += 1;
        counts
    })
}

/// I1: the receiver has the rows of the models, no others.
pub(super) fn check_receiver(simulation: &Simulation) {
    let model: BTreeMap<String, String> = simulation.exports.borrow().iter().flat_map(|export| export.model.clone()).collect();
    let mut rows = simulation.receiver.rows.borrow().clone();
    // Those of contacts come from events.
    rows.retain(|key, _| !key.starts_with(CONTACT));
    if rows == model {
        return;
    }
    let wrong = rows.iter().find(|(key, value)| model.get(*key) != Some(value));
    let missing = model.keys().find(|key| !rows.contains_key(*key));
    simulation.world.violated(|| {
        format!("I1: the receiver has {} rows, the models {}; wrong: {wrong:?}, missing: {missing:?}", rows.len(), model.len())
    });
}

/// At the end nothing is left in the store that would be worked on again.
pub(super) async fn check_nothing_left(simulation: &Simulation) {
    let left = simulation.documents.list(&simulation.lane.partition(), "due#".."due$", 10, 0).await.expect("memory does not fail");
    if let Some(left) = left.first() {
        simulation.world.violated(|| format!("I15: {} is left in the backlog", left.key.sort));
    }
}
