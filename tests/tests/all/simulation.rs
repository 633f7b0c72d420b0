//! The simulation of delivery, from many seeds: whatever fails in whatever order, nothing is lost, no limit is exceeded, and what
//! is said to be delivered is.
//!
//! `PENSTOCK_SEEDS=5000` looks at more seeds, `PENSTOCK_SEED=66` at one, step by step.

use engine::lane::permits::Canary;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tests::simulation::{CrashAt, FAULTS, Faults, Outcome, Workload, run};

const SEEDS: u64 = 300;
const SECOND: u64 = 1_000_000;
/// Seeds that found something once: one a line, the rest of the line says what.
const REGRESS: &str = include_str!("../../seeds/regress.txt");

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: give a whole number")))
}

/// Does something for each number on two threads, and gives the results in order.
fn for_each<T: Send>(numbers: impl Iterator<Item = u64>, act: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let numbers: Vec<u64> = numbers.collect();
    let next = AtomicU64::new(0);
    let results = Mutex::new(Vec::with_capacity(numbers.len()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let result = act(*number);
                    results.lock().unwrap().push((*number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(number, _)| *number);
    results
}

fn assert_sound(what: &str, outcome: &Outcome) {
    assert!(outcome.violations.is_empty(), "{what}:\n  {}", outcome.violations.join("\n  "));
}

fn assert_seed_sound(seed: u64, outcome: &Outcome) {
    let replay = "cargo test -p tests --test all simulation::whatever_fails -- --nocapture";
    assert_sound(&format!("seed {seed} (replay it with PENSTOCK_SEED={seed} {replay}, and add it to tests/seeds/regress.txt)"), outcome);
}

/// I1 to I5, I7, I13, I15. HT-36, HT-40: no window of any limit ever sees more than it may. "Sometimes": every fault strikes.
#[test]
fn whatever_fails_all_is_delivered_once_and_within_the_limits() {
    if let Some(seed) = number_from_environment("PENSTOCK_SEED") {
        let workload = Workload::drawn(seed);
        eprintln!("{workload:#?}");
        return assert_seed_sound(seed, &run(&workload, seed, true));
    }
    let seeds = number_from_environment("PENSTOCK_SEEDS").unwrap_or(SEEDS);
    let outcomes = for_each(0..seeds, |seed| {
        let outcome = run(&Workload::drawn(seed), seed, false);
        assert_seed_sound(seed, &outcome);
        outcome
    });
    let mut fired: BTreeMap<&str, u64> = BTreeMap::new();
    for (fault, count) in outcomes.iter().flat_map(|(_, outcome)| &outcome.fired) {
        *fired.entry(fault).or_default() += count;
    }
    for fault in FAULTS {
        let count = fired.get(fault).copied().unwrap_or_default();
        assert!(count >= seeds / 100, "“{fault}” struck only {count} times in {seeds} seeds: {fired:?}");
    }
    let crowded = outcomes.iter().filter(|(_, outcome)| outcome.most_open > 1).count() as u64;
    assert!(crowded >= seeds / 4, "only {crowded} of {seeds} seeds had requests side by side");
}

/// faults.md H1, H4, I6: events beside runs, handed in by processes that die and hand them in again. Each is owed once, comes to its end, and
/// those of a contact arrive in their order; the limits hold over both.
#[test]
fn whatever_fails_events_are_taken_once_and_end_in_their_order() {
    let seeds = number_from_environment("PENSTOCK_SEEDS").unwrap_or(SEEDS) / 10;
    for_each(0..seeds, |seed| {
        let workload = Workload { events: 1 + (seed % 7) as usize * 3, ..Workload::drawn(seed) };
        let outcome = run(&workload, seed, false);
        assert_sound(&format!("seed {seed} with events"), &outcome);
    });
}

#[test]
fn seeds_that_found_something_once_stay_sound() {
    let lines: Vec<&str> = REGRESS.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect();
    assert!(!lines.is_empty(), "tests/seeds/regress.txt holds no seed");
    for line in lines {
        let (seed, found) =
            line.split_once(' ').unwrap_or_else(|| panic!("tests/seeds/regress.txt: “{line}” is not a seed and what it found"));
        let seed = seed.parse().unwrap_or_else(|_| panic!("tests/seeds/regress.txt: “{seed}” is not a seed"));
        let outcome = run(&Workload::drawn(seed), seed, false);
        assert_sound(&format!("seed {seed} of tests/seeds/regress.txt ({found})"), &outcome);
    }
}

/// I20
#[test]
fn the_same_seed_is_the_same_history_step_by_step() {
    let histories = |_: u64| (0..20).map(|seed| run(&Workload::drawn(seed), seed, false)).collect::<Vec<Outcome>>();
    let both = for_each(0..2, histories);
    assert_eq!(both[0].1, both[1].1);
    let mut traces: Vec<(u64, u64)> = both[0].1.iter().map(|outcome| outcome.trace).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 20, "another seed is another history");
}

/// A crash between any two calls of the ports: what the call asked for done, or not.
///
/// The receiver refuses what it has done before ("exists already"). Found by a seed: a host died between an answer and its record,
/// its successor's attempt was refused, and the refusal was taken for certain: the row, which was there, was forgotten.
#[test]
fn a_host_may_die_at_any_call_and_a_refused_repeat_is_not_taken_for_certain() {
    let mut workload = Workload::small();
    workload.faults.receiver.refuses_repeats = true;
    let clean = run(&workload, 1, false);
    assert_sound("without a crash", &clean);
    assert!(clean.calls >= 100, "only {} calls", clean.calls);
    let outcomes = for_each(0..clean.calls * 2, |number| {
        let (call, done) = (number / 2 + 1, number.is_multiple_of(2));
        let outcome = run(&Workload { crash_at: Some(CrashAt::Call { call, done }), ..workload.clone() }, 1, false);
        assert_sound(&format!("a crash at call {call} (done: {done})"), &outcome);
        assert_eq!(outcome.fired.get("death at a call"), Some(&1), "call {call}");
        outcome.fired.contains_key("refused repeat")
    });
    assert!(outcomes.iter().any(|(_, repeated)| *repeated), "nothing was sent a second time");
}

/// A crash at any point at which a host waits.
#[test]
fn a_host_may_die_wherever_it_waits() {
    let workload = Workload { concurrency: 5, ..Workload::small() };
    let clean = run(&workload, 2, false);
    assert_sound("without a crash", &clean);
    for_each(1..clean.polls + 1, |poll| {
        let outcome = run(&Workload { crash_at: Some(CrashAt::Poll(poll)), ..workload.clone() }, 2, false);
        assert_sound(&format!("a crash at poll {poll}"), &outcome);
        assert_eq!(outcome.fired.get("death"), Some(&1), "poll {poll}");
    });
}

/// The bell: a host notes its count, finds nothing left, and takes it down only if it was not rung meanwhile.
#[test]
fn work_that_is_added_while_a_host_leaves_is_never_overlooked() {
    let outcomes = for_each(0..20, |seed| {
        let outcome = run(&Workload::ringing(), seed, false);
        assert_sound(&format!("seed {seed}"), &outcome);
        outcome.sessions
    });
    assert!(outcomes.iter().all(|(_, sessions)| *sessions >= 80), "the lane is left between the runs: {outcomes:?}");
}

/// I5: what a dead host has sent is open until its deadline, and its successor waits for that.
#[test]
fn requests_of_a_dead_host_count_until_their_deadline() {
    for_each(0..10, |seed| {
        let outcome = run(&Workload::orphaning(), seed, false);
        assert_sound(&format!("seed {seed}"), &outcome);
        assert!(outcome.fired.contains_key("death"), "seed {seed}: nobody died");
    });
}

/// Looks for a planted bug: no seed may find anything without it, and some seed must find it.
fn assert_found(canary: Canary, workload: &Workload, seeds: u64, found: impl Fn(&Outcome, &Outcome) -> bool + Sync) {
    let outcomes = for_each(0..seeds, |seed| {
        let clean = run(workload, seed, false);
        assert_sound(&format!("seed {seed} without {canary:?}"), &clean);
        let planted = run(&Workload { canary: Some(canary), ..workload.clone() }, seed, false);
        found(&clean, &planted)
    });
    assert!(outcomes.iter().any(|(_, found)| *found), "{canary:?} was not found in {seeds} seeds: the simulation proves nothing about it");
}

fn exceeds_a_limit(_: &Outcome, planted: &Outcome) -> bool {
    planted.violations.iter().any(|violation| violation.contains("I4"))
}

#[test]
fn a_missing_margin_for_clocks_is_found() {
    assert_found(Canary::NoSkewMargin, &Workload::pressed(20, "second", 300), 6, exceeds_a_limit);
}

#[test]
fn a_missing_fence_is_found() {
    let mut workload = Workload { life: None, ..Workload::pressed(20, "second", 200) };
    workload.faults.freezes_every = Some(20 * SECOND);
    assert_found(Canary::NoFence, &workload, 6, exceeds_a_limit);
}

#[test]
fn a_forgotten_reservation_is_found() {
    let mut workload = Workload { life: None, ..Workload::pressed(600, "minute", 300) };
    workload.faults.dies_every = Some(20 * SECOND);
    assert_found(Canary::ForgetsReservation, &workload, 4, exceeds_a_limit);
}

/// Stored, the margin grows with every hand-over, until next to nothing is sent.
#[test]
fn a_stored_margin_is_found_by_what_it_costs() {
    let workload = Workload { life: Some((SECOND, 2 * SECOND)), ..Workload::pressed(60, "minute", 480) };
    let starves = |clean: &Outcome, planted: &Outcome| planted.arrivals * 10 < clean.arrivals * 8;
    assert_found(Canary::StoresMargin, &workload, 3, starves);
}

/// Found by the test above: even spacing was handed on with the margin for clocks, stored again with what was left of it, and cost
/// a second at every hand-over.
#[test]
fn hand_overs_cost_next_to_nothing_of_the_limit() {
    for (life, least) in [((SECOND, 2 * SECOND), 80), ((8 * SECOND, 12 * SECOND), 95)] {
        for (requests, burst) in [(60, 60), (60, 1), (600, 600)] {
            let limits = serde_json::json!([{"requests": requests, "per": "minute", "burst": burst}]);
            let workload = Workload { life: Some(life), limits, ..Workload::pressed(requests, "minute", 480) };
            for_each(0..2, |seed| {
                let outcome = run(&workload, seed, false);
                assert_sound(&format!("seed {seed}"), &outcome);
                let reached = outcome.arrivals * 100 / u64::from(requests * 8);
                let limits = &workload.limits;
                assert!(reached >= least, "{reached} % of {limits} with leases of {life:?} microseconds (seed {seed}), not {least} %");
            });
        }
    }
}

/// GL-23 to GL-26, HT-36: the limits that people set, pressed for hours, with hosts that die and freeze.
#[test]
fn no_limit_is_exceeded_for_hours() {
    let mixed = Faults { dies_every: Some(600 * SECOND), freezes_every: Some(600 * SECOND), ..Workload::pressed(1, "hour", 1).faults };
    let several = serde_json::json!([
        {"requests": 100, "per": "second"},
        {"requests": 600, "per": "minute", "burst": 600},
        {"requests": 3600, "per": "hour", "burst": 3600},
    ]);
    let workloads = [
        Workload { faults: mixed.clone(), ..Workload::pressed(100, "second", 60) },
        Workload { faults: mixed.clone(), life: None, ..Workload::pressed(600, "minute", 600) },
        Workload { faults: mixed.clone(), life: None, ..Workload::pressed(360, "hour", 2 * 3600) },
        Workload { faults: mixed, life: None, limits: several, ..Workload::pressed(3600, "hour", 3600) },
    ];
    for_each(0..workloads.len() as u64 * 2, |number| {
        let workload = &workloads[number as usize / 2];
        let outcome = run(workload, number, false);
        assert_sound(&format!("{} (seed {number})", workload.limits), &outcome);
        assert!(outcome.arrivals >= 100, "only {} requests arrived: {}", outcome.arrivals, workload.limits);
    });
}
