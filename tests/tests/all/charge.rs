//! What a stack's work costs, metered, and docs/cost.md beside it: see `tests::charge`. `PENSTOCK_WRITE_DOCS=1` writes the page's tables.

use engine::plan::estimate::{PRICES, Prices};
use serde_json::json;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use tests::aws::Stack;
use tests::aws::moto;
use tests::charge::page::{self, EVENTBRIDGE_USD, HEAD, NAIVE_BATCHED_USD, NAIVE_SINGLE_USD};
use tests::charge::{Answers, Measured, Workload, idle_minute, measure, measure_on};

/// Holds a part of docs/cost.md against what was measured. Tests in other processes hold other parts of it.
fn hold(part: &str, measured: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder").join("docs/cost.md");
    let writes = std::env::var_os("PENSTOCK_WRITE_DOCS").is_some_and(|write| write == "1");
    let mut file = File::options().read(true).write(writes).open(&path).expect("docs/cost.md is there");
    if writes {
        file.lock().expect("the page can be locked");
    }
    let mut page = String::new();
    file.read_to_string(&mut page).expect("the page is text");
    let (begin, end) = (format!("<!-- {part}: made by a test -->\n"), format!("<!-- end of {part} -->"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("docs/cost.md has no {begin}"));
    let (there, behind) = rest.split_once(&end).unwrap_or_else(|| panic!("docs/cost.md has no {end}"));
    let measured = format!("\n{measured}\n");
    if writes {
        let page = format!("{before}{begin}{measured}{end}{behind}");
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(page.as_bytes())).expect("the page can be written");
    } else {
        assert_eq!(there, measured, "left is docs/cost.md, right what was measured; PENSTOCK_WRITE_DOCS=1 writes it");
    }
}

fn usd(measured: &Measured, by: u64) -> f64 {
    measured.usd() * by as f64
}

/// What `penstock plan` says is about what it comes to.
fn estimated_within_a_factor_of_two(name: &str, measured: &Measured) {
    let writes = measured.charge.units.dynamodb_writes as f64;
    for (what, estimated, measured) in [("USD", measured.estimated_usd, measured.usd()), ("writes", measured.estimated_writes, writes)] {
        let factor = estimated / measured;
        eprintln!("{name}: {what} estimated {estimated:.6}, measured {measured:.6}: {factor:.2} times");
        assert!((0.5..=2.0).contains(&factor), "{name}: {what} estimated {estimated:.6}, measured {measured:.6}: {factor:.2} times");
    }
}

/// The engine has prices of its own, since it knows no backend.
#[test]
fn the_estimate_has_the_prices_that_the_meter_has() {
    let Prices { write, read, put, get, message, call, gb_second } = PRICES;
    let [of_sqs, of_writes, of_reads, of_puts, of_gets, _, of_calls, of_seconds, _] = backend_aws::meter::PRICES.map(|price| price.usd);
    assert_eq!([message, write, read, put, get, call, gb_second], [of_sqs, of_writes, of_reads, of_puts, of_gets, of_calls, of_seconds]);
}

#[test]
fn a_million_single_requests_cost_at_most_four_cents() {
    let measured = measure(&Workload::single(100_000));
    let cost = usd(&measured, 10);
    let compared = format!(
        "A million single requests: **${cost:.4}**. EventBridge with API destinations: ${EVENTBRIDGE_USD:.2}, {:.0} times as much. The design that \
         comes first to mind: ${NAIVE_SINGLE_USD:.2}, {:.0} times as much.\n",
        EVENTBRIDGE_USD / cost,
        NAIVE_SINGLE_USD / cost
    );
    assert!(cost <= 0.04, "${cost}");
    estimated_within_a_factor_of_two("single", &measured);
    hold("a million single requests", &format!("{compared}\n{}", page::table(&page::scaled(&measured.charge, 10))));
}

#[test]
fn a_million_rows_in_batches_of_a_hundred_cost_at_most_a_quarter_of_a_cent() {
    let measured = measure(&Workload::batched(1_000_000));
    let cost = usd(&measured, 1);
    let compared = format!(
        "A million rows in 10,000 requests: **${cost:.5}**. EventBridge with API destinations, an event a batch: ${:.4}, {:.0} times as much; an \
         event a row: ${EVENTBRIDGE_USD:.2}, {:.0} times as much. The design that comes first to mind: ${NAIVE_BATCHED_USD:.3}, {:.0} times as \
         much.\n",
        EVENTBRIDGE_USD / 100.0,
        EVENTBRIDGE_USD / 100.0 / cost,
        EVENTBRIDGE_USD / cost,
        NAIVE_BATCHED_USD / cost
    );
    assert!(cost <= 0.0026, "${cost}");
    estimated_within_a_factor_of_two("batched", &measured);
    hold("a million rows in batches", &format!("{compared}\n{}", page::table(&measured.charge)));
}

fn scenarios() -> Vec<(&'static str, Workload, u64)> {
    let single = Workload::single;
    let rejected = |rows, rejected_percent| Workload { answers: Answers { after: 200_000, rejected_percent }, ..single(rows) };
    vec![
        ("1 % rejected with 422, a million", rejected(20_000, 1), 50),
        ("100 % rejected with 422, a million", rejected(20_000, 100), 50),
        ("3,600 an hour, for an hour", Workload { limits: json!([{"requests": 3600, "per": "hour"}]), ..single(3600) }, 1),
        ("10 a second, for an hour", Workload { limits: json!([{"requests": 10, "per": "second"}]), ..single(6000) }, 6),
        ("one row every five minutes, for a day", Workload { runs: 12, pause_seconds: 300, ..single(1) }, 24),
        ("10,000 destinations, ten requests each", Workload { destinations: 20, ..single(10) }, 500),
    ]
}

#[test]
fn the_scenarios_of_the_cost_page_are_measured() {
    let mut table = HEAD.to_string();
    for (name, workload, by) in scenarios() {
        let measured = measure(&workload);
        estimated_within_a_factor_of_two(name, &measured);
        table.push_str(&page::line(name, &page::scaled(&measured.charge, by), measured.requests * by));
    }
    let (looks, polls) = page::idle_month(&idle_minute());
    table.push_str(&page::line("a month in which nothing happens: the minute's look", &looks, 0));
    table.push_str(&page::line("the same: Lambda's pollers on the two queues", &polls, 0));
    hold("scenarios", &table);
}

/// What the ledger says rests on this: the same work on real clients, whose calls are counted as they are made.
#[test]
fn the_ledger_counts_what_the_clients_are_counted_for() {
    let Some(moto) = moto() else { return };
    let limited = json!([{"requests": 3600, "per": "hour", "burst": 20}]);
    let rejected = Answers { after: 200_000, rejected_percent: 30 };
    for workload in
        [Workload { answers: rejected, ..Workload::single(2000) }, Workload { limits: limited, runs: 2, ..Workload::single(40) }]
    {
        let stack = Stack::new(moto);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let parts = {
            let _within = runtime.enter();
            let aws = stack.aws();
            (aws.store(), aws.objects().expect("the bucket's name is one"), aws.meter().clone())
        };
        assert_eq!(measure_on(&workload, runtime, parts), measure(&workload));
    }
}
