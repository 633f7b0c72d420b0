//! A random history, small but with everything in it, and what lists of it must say, found by looking at all of it.

use super::{Plan, lane, put_run, record, row, run};
use crate::simulation::chance::Chance;
use engine::deliver::log::{Log, Origin};
use engine::deliver::order::delivery_id;
use engine::judge::Class;
use engine::lane::backlog::{Holds, Parcel};
use engine::lookback::{DeliveryStatus, Filter};
use engine::model::action::ActionName;
use engine::model::name::Name;
use engine::plan::block::PlannedRow;
use engine::port::{Objects, Store};
use engine::record::page::{self, Line, LoggedRequest};
use engine::record::segment::AttemptRecord;
use engine::run::document::{Run, Status};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A delivery and all there is to know of it.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Its id.
    pub id: String,
    /// Its run's place in [`Past::runs`].
    pub run: usize,
    /// Its parcel and its place in it.
    pub place: (u32, u32),
    /// The keys of its rows.
    pub keys: Vec<String>,
    /// Its attempts, from the first to the last.
    pub attempts: Vec<(Class, AttemptRecord)>,
    /// Where it stands.
    pub status: DeliveryStatus,
}

/// What was done.
#[derive(Debug)]
pub struct Past {
    /// The organization.
    pub organization: Name,
    /// All runs, in the order of their ids.
    pub runs: Vec<Run>,
    /// All deliveries.
    pub deliveries: Vec<Owed>,
    /// Destinations that are paused now.
    pub paused: BTreeSet<Name>,
}

/// The first run starts then, Unix milliseconds.
pub const START_MS: u64 = 1_800_000_000_000;

/// What becomes of a delivery.
#[derive(Clone, Copy)]
enum Fate {
    Accepted,
    AcceptedByHand,
    Refused,
    Unsendable,
    Unsupported,
    UsedUp,
    Interrupted,
    Untried,
}

/// Names that start with a letter.
pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// Makes a history of about so many runs and writes it.
pub async fn write<S: Store, O: Objects>(store: &S, objects: &O, seed: u64, runs: usize, most_deliveries: u64) -> Past {
    let chance = &mut Chance::new(seed);
    let mut past = Past { organization: name("acme"), runs: Vec::new(), deliveries: Vec::new(), paused: BTreeSet::from([name("paused")]) };
    let exports = [("news", "crm"), ("leads", "crm"), ("orders", "erp"), ("stock", "paused")];
    let mut start_ms = START_MS;
    for number in 0..runs {
        let (export, destination) = exports[chance.below(exports.len())];
        // An export may change its destination.
        let destination = if export == "leads" && number < runs / 2 { "erp" } else { destination };
        let is_newest =
            number + exports.len() * 2 > runs && !past.runs.iter().any(|run| !run.status.has_ended() && run.export == name(export));
        let status = match chance.below(8) {
            0 | 1 | 5 if is_newest => Status::Delivering,
            0 | 1 => Status::Canceled,
            2..=4 => Status::CompletedWithErrors,
            _ => Status::Succeeded,
        };
        let mut document =
            run(&past.organization, &format!("run_{number:06}"), &name(export), &name(destination), status, (start_ms * 1000, None));
        let end_ms = fill(store, objects, &mut past, &mut document, chance, (start_ms, most_deliveries)).await;
        past.runs.push(document);
        // Runs of different exports overlap, those of one do not; some follow at once.
        let newest_of_all = end_ms + chance.between(1, 4000);
        start_ms = if chance.happens(0.5) { start_ms + chance.between(1, 3000) } else { newest_of_all };
        let same = past.runs.iter().filter_map(|run| run.finished_at).max().unwrap_or(0) / 1000;
        start_ms = start_ms.max(same.saturating_sub(if chance.happens(0.3) { 5000 } else { 0 }));
    }
    past
}

/// Writes one more run, later than all, that is not in `past`; gives its start.
pub async fn write_another<S: Store, O: Objects>(store: &S, objects: &O, past: &Past, number: u64) -> u64 {
    let newest = past.deliveries.iter().flat_map(|owed| &owed.attempts).map(|(_, record)| record.started_ms).max().unwrap_or(START_MS);
    let start_ms = newest + number * 20_000;
    let times = (start_ms * 1000, None);
    let id = format!("run_{:06}", 900_000 + number);
    let mut document = run(&past.organization, &id, &name("news"), &name("crm"), Status::Succeeded, times);
    let mut scratch = Past { runs: Vec::new(), deliveries: Vec::new(), organization: past.organization.clone(), paused: BTreeSet::new() };
    fill(store, objects, &mut scratch, &mut document, &mut Chance::new(number), (start_ms, 9)).await;
    start_ms
}

async fn fill<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    past: &mut Past,
    document: &mut Run,
    chance: &mut Chance,
    (start_ms, most_deliveries): (u64, u64),
) -> u64 {
    let mut plan = Plan::new();
    let mut open = BTreeSet::new();
    let mut deliveries = Vec::new();
    for _ in 0..chance.between(1, 4) {
        let keys: Vec<Vec<String>> = (0..chance.between(1, most_deliveries))
            .map(|_| (0..chance.between(1, 3)).map(|_| format!("k{}", chance.below(60))).collect())
            .collect();
        let rows: Vec<_> = keys.iter().map(|keys| keys.iter().map(|key| with_text(key, chance)).collect()).collect();
        let parcel = plan.add(&rows);
        for (index, keys) in (0..).zip(keys) {
            let fate = fate(document.status, chance);
            let attempts = attempts(fate, start_ms, index, chance);
            if matches!(fate, Fate::Untried | Fate::Interrupted) {
                open.insert(parcel);
            }
            let status = status(fate, document, &attempts, past.paused.contains(&document.destination));
            let id = delivery_id(&document.id, parcel, index);
            deliveries.push(Owed { id, run: past.runs.len(), place: (parcel, index), keys, attempts, status });
        }
    }
    let ends = deliveries.iter().flat_map(|owed| &owed.attempts).map(|(_, record)| record.started_ms + record.duration_ms);
    let end_ms = ends.max().unwrap_or(start_ms) + 1;
    document.finished_at = document.status.has_ended().then_some(end_ms * 1000);
    put_run(store, objects, &past.organization, document, plan, |parcel| !open.contains(&parcel)).await.expect("a run is written");
    attempt_all(store, objects, past, document, &deliveries, chance).await;
    past.deliveries.extend(deliveries);
    end_ms
}

/// A row that no other has.
fn with_text(key: &str, chance: &mut Chance) -> PlannedRow {
    PlannedRow { fields: vec![text(4, chance).into()], ..row(key) }
}

/// Text that does not shrink to nothing.
fn text(words: usize, chance: &mut Chance) -> String {
    (0..words).map(|_| format!("{:016x}", chance.number())).collect()
}

fn fate(status: Status, chance: &mut Chance) -> Fate {
    match (status, chance.below(12)) {
        (Status::Succeeded, 0) => Fate::AcceptedByHand,
        (Status::Succeeded, _) => Fate::Accepted,
        (Status::Delivering | Status::Canceled, 0 | 1) => Fate::Untried,
        (Status::Delivering | Status::Canceled, 2 | 3) => Fate::Interrupted,
        (_, 4) => Fate::Refused,
        (_, 5) => Fate::Unsendable,
        (_, 6) => Fate::Unsupported,
        (_, 7) => Fate::UsedUp,
        (_, 8) => Fate::AcceptedByHand,
        _ => Fate::Accepted,
    }
}

fn attempts(fate: Fate, start_ms: u64, index: u32, chance: &mut Chance) -> Vec<(Class, AttemptRecord)> {
    const RETRYABLE: [(Class, Option<u16>); 5] = [
        (Class::TooManyRequestsError, Some(429)),
        (Class::ServerError, Some(503)),
        (Class::TimeoutError, None),
        (Class::NetworkError, None),
        (Class::ClientError, Some(408)),
    ];
    let mut at = start_ms + chance.about(800);
    let mut tried: Vec<(Class, AttemptRecord)> = Vec::new();
    let mut add = |class, status, last, by_hand, chance: &mut Chance| {
        let duration_ms = chance.about(60);
        let number = tried.len() as u32 + 1;
        let record = AttemptRecord { index, number, status, started_ms: at, duration_ms, last, uncertain: false, by_hand, succeeded: None };
        tried.push((class, record));
        at += duration_ms + 1 + chance.about(3000);
    };
    let fails = match fate {
        Fate::Accepted | Fate::Refused if chance.happens(0.6) => 0,
        Fate::Untried | Fate::Unsendable | Fate::Unsupported => 0,
        _ => chance.between(1, 3),
    };
    for _ in 0..fails {
        let (class, status) = *chance.pick(&RETRYABLE);
        add(class, status, false, false, chance);
    }
    match fate {
        Fate::Accepted => add(Class::Success, Some(200), true, false, chance),
        Fate::AcceptedByHand => {
            add(Class::ServerError, Some(500), true, false, chance);
            add(Class::Success, Some(200), true, true, chance);
        }
        Fate::Refused => add(Class::ClientError, Some(422), true, false, chance),
        Fate::Unsendable => add(Class::RenderError, None, true, false, chance),
        Fate::Unsupported => add(Class::PolicyError, None, true, false, chance),
        Fate::UsedUp => {
            let (class, status) = *chance.pick(&RETRYABLE);
            add(class, status, true, false, chance);
        }
        Fate::Interrupted | Fate::Untried => {}
    }
    tried
}

fn status(fate: Fate, run: &Run, attempts: &[(Class, AttemptRecord)], paused: bool) -> DeliveryStatus {
    match fate {
        Fate::Accepted | Fate::AcceptedByHand => DeliveryStatus::Succeeded,
        Fate::Refused | Fate::Unsendable | Fate::Unsupported => DeliveryStatus::Failed,
        Fate::UsedUp => DeliveryStatus::Exhausted,
        Fate::Interrupted | Fate::Untried if run.status != Status::Delivering => DeliveryStatus::Canceled,
        Fate::Interrupted | Fate::Untried if paused => DeliveryStatus::Held,
        Fate::Interrupted | Fate::Untried if attempts.is_empty() => DeliveryStatus::Pending,
        Fate::Interrupted | Fate::Untried => DeliveryStatus::Retrying,
    }
}

/// Records all attempts of a run in the order of their ends, some at once and some alone.
async fn attempt_all<S: Store, O: Objects>(store: &S, objects: &O, past: &Past, document: &Run, deliveries: &[Owed], chance: &mut Chance) {
    let lane = lane(&past.organization, document);
    let mut all: Vec<(&Owed, &(Class, AttemptRecord))> =
        deliveries.iter().flat_map(|owed| owed.attempts.iter().map(move |attempt| (owed, attempt))).collect();
    all.sort_by_key(|(_, (_, record))| record.started_ms + record.duration_ms);
    let at_once = [1, 3, 40][chance.below(3)];
    let mut log = Log::new(50_000);
    for (place, (owed, (class, record))) in all.into_iter().enumerate() {
        let (parcel, index) = owed.place;
        let origin = Origin { slot: parcel, parcel: &parcel_of(document, parcel), export: document.export.as_str() };
        let body = Some(text(75, chance));
        log.add(origin, *class, record.clone(), 0, |page| {
            let (method, url) = ("POST".to_string(), "https://api.example.com/".to_string());
            let request = Cow::Owned(LoggedRequest { method, url, headers: Vec::new(), body });
            page::append(page, &Line { parcel, index, number: record.number, request, response: None, error: None });
        });
        if place % at_once == 0 {
            record_log(store, objects, &lane, &mut log, document).await;
        }
    }
    record_log(store, objects, &lane, &mut log, document).await;
}

async fn record_log<S: Store, O: Objects>(store: &S, objects: &O, lane: &engine::keys::LaneName, log: &mut Log, run: &Run) {
    record(store, objects, lane, log, run.started_at % 1000 + 1).await.expect("attempts are recorded");
}

/// A parcel as the log meets it.
pub fn parcel_of(run: &Run, number: u32) -> Parcel {
    Parcel {
        run: run.id.clone(),
        number,
        action: ActionName::Add,
        deliveries: 0,
        rows: 0,
        due: 0,
        again: None,
        holds: Holds::Rows { object: run.object.clone(), offset: 0, length: 0 },
    }
}

impl Past {
    /// The ids that a filter lets through, in the order of the list.
    pub fn expected(&self, filter: &Filter) -> Vec<String> {
        let mut found: Vec<(Vec<std::cmp::Reverse<Rank>>, String)> = Vec::new();
        for owed in &self.deliveries {
            let run = &self.runs[owed.run];
            let of_run = filter.run.as_ref().is_none_or(|id| *id == run.id)
                && filter.export.as_ref().is_none_or(|export| *export == run.export)
                && filter.destination.as_ref().is_none_or(|destination| *destination == run.destination)
                && filter.status.is_none_or(|status| status == owed.status)
                && filter.row.as_ref().is_none_or(|row| owed.keys.contains(row));
            let fitting = |(class, record): &&(Class, AttemptRecord)| {
                filter.class.is_none_or(|wanted| wanted == *class)
                    && filter.since_ms.is_none_or(|since| record.started_ms >= since)
                    && filter.until_ms.is_none_or(|until| record.started_ms < until)
            };
            let newest = owed.attempts.iter().filter(fitting).map(|(_, record)| (record.started_ms, record.number)).max();
            let untimed = filter.class.is_none() && filter.since_ms.is_none() && filter.until_ms.is_none();
            let waits = matches!(filter.status, Some(DeliveryStatus::Pending | DeliveryStatus::Retrying | DeliveryStatus::Held));
            let run_by_run = filter.run.is_none() && (waits || filter.row.is_some());
            let wants_untried = untimed && owed.attempts.is_empty() && (filter.run.is_some() || run_by_run);
            if !of_run || !(newest.is_some() || wants_untried) {
                continue;
            }
            let place = Rank::Place(std::cmp::Reverse(owed.place));
            let within = match newest {
                _ if filter.row.is_some() => place,
                None => place,
                Some((at, number)) => Rank::Attempt(at, run.id.clone(), owed.place, number),
            };
            let mut rank = Vec::new();
            if run_by_run {
                rank.push(std::cmp::Reverse(Rank::Run(run.started_at, run.id.clone())));
            }
            rank.push(std::cmp::Reverse(within));
            found.push((rank, owed.id.clone()));
        }
        found.sort();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Any filter, mostly one that something fits.
    pub fn any_filter(&self, chance: u64) -> Filter {
        let chance = &mut Chance::new(chance);
        let run = &self.runs[chance.below(self.runs.len())];
        let time = |chance: &mut Chance| START_MS + chance.between(0, (run.started_at / 1000 - START_MS) * 2 + 2000);
        let mut filter = Filter {
            rule: None,
            event: None,
            run: chance.happens(0.25).then(|| run.id.clone()),
            export: chance.happens(0.25).then(|| run.export.clone()),
            destination: chance.happens(0.25).then(|| run.destination.clone()),
            class: chance.happens(0.3).then(|| Class::ALL[chance.below(12)]),
            status: chance.happens(0.4).then(|| DeliveryStatus::WORDS[chance.below(8)].1),
            since_ms: chance.happens(0.25).then(|| time(chance)),
            until_ms: chance.happens(0.25).then(|| time(chance)),
            row: None,
        };
        if filter.run.is_some() || filter.export.is_some() || filter.destination.is_some() {
            filter.row = chance.happens(0.3).then(|| format!("k{}", chance.below(61)));
        }
        filter
    }
}

/// What lists are sorted by: of one run, what was tried comes before what was not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Place(std::cmp::Reverse<(u32, u32)>),
    Attempt(u64, String, (u32, u32), u32),
    Run(u64, String),
}
