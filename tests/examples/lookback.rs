//! Measures looking back at a long history in an embedded store, in one process that goes on and in processes that just began.
//!
//! `cargo run --release -p tests --example lookback -- build DIR [ATTEMPTS]` makes the history, 10 million attempts unless told otherwise:
//! 50 exports to 10 destinations over 30 days, some runs of a million deliveries, most of a few hundred, one attempt in ten recorded
//! with a few others only. `… -- measure DIR [ROUNDS]` asks for pages of 50 with each filter, with pairs of filters, and behind cursors.

use backend_embedded::{DataDir, EmbeddedObjects, EmbeddedStore};
use engine::deliver::log::{self, Batch, Book, Log, Origin};
use engine::deliver::order::delivery_id;
use engine::judge::Class;
use engine::lookback::{DeliveryStatus, Filter, Lookback, RunFilter};
use engine::model::name::Name;
use engine::plan::block::PlannedRow;
use engine::port::PortError;
use engine::record::segment::AttemptRecord;
use engine::run::document::Status;
use std::collections::BTreeSet;
use std::error::Error;
use std::time::{Duration, Instant};
use tests::history::random::parcel_of;
use tests::history::{Plan, lane, put_run, row, run};

const EXPORTS: u64 = 50;
const DESTINATIONS: u64 = 10;
const CUSTOMERS: u64 = 2_000_000;
const DAY_MS: u64 = 24 * 3600 * 1000;
const START_MS: u64 = 1_790_000_000_000;
const DAYS: u64 = 30;
/// Recordings that are written at once.
const AT_ONCE: usize = 500;
const PAGE: usize = 50;

/// Numbers by splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn name(kind: &str, number: u64) -> Name {
    Name::new(&format!("{kind}-{number}")).expect("a name")
}

fn organization() -> Name {
    Name::new("acme").expect("a name")
}

fn run_id(start_ms: u64, export: u64) -> String {
    format!("run_{start_ms:013}{export:02}")
}

/// How large the runs of an export are, and how many attempts are recorded at once.
fn shape(export: u64, number: u64, chance: &mut Chance) -> (u64, u64) {
    match (export, number) {
        (0..3, 5) => (1_000_000, 1000),
        (0..10, _) if number % 12 == 3 => (20_000 + chance.below(40_000), 1000),
        (0..40, _) => (200 + chance.below(3000), 200 + chance.below(800)),
        _ => (20 + chance.below(600), 1 + chance.below(10)),
    }
}

async fn build(root: &str, wanted: u64) -> Result<(), Box<dyn Error>> {
    let dir = DataDir::open(root)?;
    let (store, objects) = (dir.store()?, dir.objects()?);
    let chance = &mut Chance(7);
    let begun = Instant::now();
    let mut total = 0;
    let rounds = DAYS * 5;
    for round in 0..rounds {
        for export in 0..EXPORTS {
            let start_ms = START_MS + round * (DAY_MS / 5) + export * 1000;
            let (deliveries, at_once) = shape(export, round, chance);
            let left = wanted.saturating_sub(total) / ((rounds - round) * EXPORTS - export);
            // The small runs are made larger or smaller so that all of them together come out right.
            let deliveries = if deliveries > 20_000 { deliveries } else { deliveries * left.clamp(1, 4000) / 700 + 1 };
            let is_last = round + 1 == rounds && export.is_multiple_of(15);
            total += one_run(&store, &objects, (export, start_ms), (deliveries, at_once), is_last, chance).await?;
        }
        if round % 10 == 9 {
            eprintln!("day {:>2}: {total} attempts, {} s", round / 5 + 1, begun.elapsed().as_secs());
        }
    }
    store.scrub().await?;
    println!("{total} attempts in {} s", begun.elapsed().as_secs());
    Ok(())
}

/// Writes a run and gives its number of attempts.
async fn one_run(
    store: &EmbeddedStore,
    objects: &EmbeddedObjects,
    (export, start_ms): (u64, u64),
    (deliveries, at_once): (u64, u64),
    goes_on: bool,
    chance: &mut Chance,
) -> Result<u64, PortError> {
    let organization = organization();
    let of = (name("export", export), name("destination", export % DESTINATIONS));
    // Requests follow each other by a millisecond at most, so that no run reaches into the next one's time.
    let pause_us = (DAY_MS / 6 * 1000 / deliveries).min(1000);
    let end_ms = start_ms + deliveries * pause_us / 1000 + 120_000;
    let (status, end) = if goes_on { (Status::Delivering, None) } else { (Status::CompletedWithErrors, Some(end_ms * 1000)) };
    let mut document = run(&organization, &run_id(start_ms, export), &of.0, &of.1, status, (start_ms * 1000, end));
    let lane = lane(&organization, &document);
    let mut plan = Plan::new();
    let (mut attempts, mut open) = (0, BTreeSet::new());
    let (mut log, mut batches): (Log, Vec<Batch>) = (Log::new(50_000), Vec::new());
    let mut waiting = 0;
    for first in (0..deliveries).step_by(1000) {
        let count = (deliveries - first).min(1000);
        let rows: Vec<Vec<PlannedRow>> = (0..count).map(|_| vec![customer(chance)]).collect();
        let parcel = plan.add(&rows);
        for index in 0..count {
            let at_ms = start_ms + (first + index) * pause_us / 1000;
            let untried = goes_on && first + index > deliveries * 9 / 10;
            if untried {
                open.insert(parcel);
                continue;
            }
            for (class, record) in tried(index as u32, at_ms, chance) {
                let origin = Origin { slot: parcel, parcel: &parcel_of(&document, parcel), export: of.0.as_str() };
                log.add(origin, class, record, 0, |_| {});
                (attempts, waiting) = (attempts + 1, waiting + 1);
            }
            if waiting >= at_once {
                batches.push(log.take(Book { lane: &lane, generation: start_ms }, Vec::new()));
                waiting = 0;
            }
        }
        if batches.len() >= AT_ONCE {
            write(store, objects, &lane, &mut batches).await?;
        }
    }
    batches.push(log.take(Book { lane: &lane, generation: start_ms }, Vec::new()));
    write(store, objects, &lane, &mut batches).await?;
    put_run(store, objects, &organization, &mut document, plan, |parcel| !open.contains(&parcel)).await?;
    Ok(attempts)
}

async fn write(
    store: &EmbeddedStore,
    objects: &EmbeddedObjects,
    lane: &engine::keys::LaneName,
    batches: &mut Vec<Batch>,
) -> Result<(), PortError> {
    let writing = batches.iter().map(|batch| log::write(store, objects, lane, batch, 0));
    let written = futures_util::future::join_all(writing).await.into_iter().collect::<Result<Vec<_>, PortError>>();
    batches.clear();
    written.map(drop)
}

fn customer(chance: &mut Chance) -> PlannedRow {
    let id = chance.below(CUSTOMERS);
    let fields = vec![format!("customer-{id}@example.com").into(), format!("{:x}", chance.below(u64::MAX)).into(), id.into()];
    PlannedRow { fields, ..row(&id.to_string()) }
}

/// 94 % are accepted at once; what is not is tried up to four times.
fn tried(index: u32, at_ms: u64, chance: &mut Chance) -> Vec<(Class, AttemptRecord)> {
    const FAILS: [(Class, Option<u16>, bool); 11] = [
        (Class::ServerError, Some(503), true),
        (Class::ServerError, Some(500), true),
        (Class::ServerError, Some(502), true),
        (Class::TooManyRequestsError, Some(429), true),
        (Class::TooManyRequestsError, Some(429), true),
        (Class::TimeoutError, None, true),
        (Class::NetworkError, None, true),
        (Class::ClientError, Some(422), false),
        (Class::ClientError, Some(404), false),
        (Class::ResponseError, Some(200), false),
        (Class::RedirectionError, Some(302), false),
    ];
    const RARE: [Class; 4] = [Class::RenderError, Class::PolicyError, Class::AuthConfigError, Class::InternalError];
    let record = |number: u32, status, last, at_ms: u64, duration_ms| AttemptRecord {
        index,
        number,
        status,
        started_ms: at_ms,
        duration_ms,
        last,
        uncertain: false,
        by_hand: false,
        succeeded: None,
    };
    let mut all = Vec::new();
    for number in 1..=4u32 {
        let at_ms = at_ms + u64::from(number - 1) * 2100;
        let duration_ms = 20 + chance.below(60);
        match chance.below(10_000) {
            0..9400 => {
                all.push((Class::Success, record(number, Some(200), true, at_ms, duration_ms)));
                return all;
            }
            9400..9402 => {
                all.push((chance.pick(&RARE), record(number, None, true, at_ms, duration_ms)));
                return all;
            }
            _ => {
                let (class, status, retried) = chance.pick(&FAILS);
                let last = !retried || number == 4;
                all.push((class, record(number, status, last, at_ms, duration_ms)));
                if last {
                    return all;
                }
            }
        }
    }
    all
}

/// One of the filters, with a value that is likely to be there.
fn add(kind: &str, filter: &mut Filter, chance: &mut Chance) {
    let export = chance.below(EXPORTS);
    match kind {
        "run" => {
            let round = if chance.below(4) == 0 { 5 } else { chance.below(DAYS * 5) };
            let export = if round == 5 { chance.below(3) } else { export };
            filter.run = Some(run_id(START_MS + round * (DAY_MS / 5) + export * 1000, export));
        }
        "export" => filter.export = Some(name("export", export)),
        "destination" => filter.destination = Some(name("destination", export % DESTINATIONS)),
        "class" => filter.class = Some(chance.pick(&Class::ALL)),
        "status" => filter.status = Some(chance.pick(&DeliveryStatus::WORDS).1),
        "since" => filter.since_ms = Some(START_MS + chance.below(DAYS * DAY_MS)),
        "until" => filter.until_ms = Some(START_MS + chance.below(DAYS * DAY_MS)),
        "row" => {
            filter.row = Some(chance.below(CUSTOMERS).to_string());
            if filter.run.is_none() && filter.export.is_none() && filter.destination.is_none() {
                let scope = chance.pick(&["run", "export", "destination"]);
                add(scope, filter, chance);
            }
        }
        _ => {}
    }
}

const KINDS: [&str; 9] = ["none", "run", "export", "destination", "class", "status", "since", "until", "row"];

#[derive(Default)]
struct Measured {
    times: Vec<Duration>,
    items: usize,
    short: usize,
}

impl Measured {
    fn print(&mut self, what: &str) {
        self.times.sort();
        let at = |share: f64| self.times[((self.times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        let n = self.times.len();
        println!(
            "| {what} | {n} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} % |",
            at(0.5),
            at(0.99),
            at(1.0),
            self.items as f64 / n as f64,
            self.short as f64 * 100.0 / n as f64
        );
    }
}

async fn measure(root: &str, rounds: usize) -> Result<(), Box<dyn Error>> {
    let dir = DataDir::open(root)?;
    let (store, objects) = (dir.store()?, dir.objects()?);
    let (organization, paused) = (organization(), BTreeSet::new());
    let look = Lookback { store: &store, objects: &objects, organization: &organization, paused: &paused, now: START_MS / 1000 };
    let chance = &mut Chance(99);
    println!("| filter | pages | p50 ms | p99 ms | longest ms | deliveries a page | short pages |\n|---|---|---|---|---|---|---|");
    let mut pairs = Measured::default();
    for kind in KINDS.into_iter().chain(["two"]) {
        let mut measured = Measured::default();
        for _ in 0..rounds {
            let mut filter = Filter::default();
            match kind {
                "two" => {
                    let (first, second) = (chance.pick(&KINDS[1..]), chance.pick(&KINDS[1..]));
                    add(first, &mut filter, chance);
                    add(second, &mut filter, chance);
                }
                kind => add(kind, &mut filter, chance),
            }
            let mut after = None;
            // The first page, and two behind cursors.
            for _ in 0..3 {
                let begun = Instant::now();
                let page = look.deliveries(&filter, after.as_deref(), PAGE).await?;
                let time = begun.elapsed();
                if time > Duration::from_millis(40) {
                    eprintln!("{time:?}: {} of {filter:?}", page.items.len());
                }
                measured.times.push(time);
                measured.items += page.items.len();
                measured.short += usize::from(page.items.len() < PAGE && page.next.is_some());
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        match kind {
            "two" => pairs = measured,
            kind => measured.print(kind),
        }
    }
    pairs.print("two of them");
    let mut one = Measured::default();
    let mut runs = Measured::default();
    for _ in 0..rounds {
        let round = chance.below(DAYS * 5);
        let export = chance.below(EXPORTS);
        let id = delivery_id(&run_id(START_MS + round * (DAY_MS / 5) + export * 1000, export), 0, 3);
        let begun = Instant::now();
        let found = look.delivery(&id).await?;
        one.times.push(begun.elapsed());
        one.items += usize::from(found.is_some());
        let filter = RunFilter { export: Some(name("export", export)).filter(|_| chance.below(2) == 0), ..RunFilter::default() };
        let begun = Instant::now();
        let page = look.runs(&filter, None, PAGE).await?;
        runs.times.push(begun.elapsed());
        runs.items += page.items.len();
    }
    one.print("one delivery");
    runs.print("runs");
    Ok(())
}

/// One page by a process that just began: prints microseconds and the number of deliveries.
async fn once(root: &str, kind: &str, seed: u64) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let dir = DataDir::open(root)?;
    let (store, objects) = (dir.store()?, dir.objects()?);
    let (organization, paused) = (organization(), BTreeSet::new());
    let look = Lookback { store: &store, objects: &objects, organization: &organization, paused: &paused, now: START_MS / 1000 };
    let mut filter = Filter::default();
    add(kind, &mut filter, &mut Chance(seed));
    let opened = begun.elapsed();
    let begun = Instant::now();
    let page = look.deliveries(&filter, None, PAGE).await?;
    println!("{} {} {}", opened.as_micros(), begun.elapsed().as_micros(), page.items.len());
    Ok(())
}

/// Every filter, each page by a process of its own.
fn cold(root: &str, rounds: usize) -> Result<(), Box<dyn Error>> {
    println!("| filter | pages | p50 ms | p99 ms | longest ms | deliveries a page | short pages |\n|---|---|---|---|---|---|---|");
    for kind in KINDS {
        let mut measured = Measured::default();
        for seed in 0..rounds {
            let mut command = std::process::Command::new(std::env::current_exe()?);
            let output = command.args(["once", root, kind, &seed.to_string()]).output()?;
            let text = String::from_utf8(output.stdout)?;
            let numbers: Vec<u64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            let [_, micros, items] = numbers[..] else { return Err(String::from_utf8_lossy(&output.stderr).into()) };
            measured.times.push(Duration::from_micros(micros));
            measured.items += items as usize;
        }
        measured.print(kind);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: Option<&&str>, default: u64| text.map_or(Ok(default), |text| text.parse());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments[..] {
        ["build", root, ref more @ ..] => runtime.block_on(build(root, number(more.first(), 10_000_000)?)),
        ["measure", root, ref more @ ..] => runtime.block_on(measure(root, number(more.first(), 300)? as usize)),
        ["cold", root, ref more @ ..] => cold(root, number(more.first(), 100)? as usize),
        ["once", root, kind, seed] => runtime.block_on(once(root, kind, seed.parse()?)),
        _ => Err("use: lookback build DIR [ATTEMPTS] | measure DIR [ROUNDS] | cold DIR [ROUNDS]".into()),
    }
}
