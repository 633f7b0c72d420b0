//! What is sent, and what was counted when it was.

use super::functions::{House, PLAN_MEMORY, ask};
use super::latency;
use super::ports::{Far, Ports};
use crate::simulation::chance::mix;
use crate::simulation::world::{SECOND, World};
use backend_aws::meter::{Charge, Meter, price};
use backend_aws::{AwsObjects, AwsStore};
use engine::configure;
use engine::lane::bell;
use engine::model::change::{Change, ChangeKind};
use engine::model::name::Name;
use engine::port::Clock;
use engine::run::work;
use engine::schedule;
use serde_json::{Value, json};
use std::rc::Rc;

/// What the destinations do.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    /// They answer after so many microseconds.
    pub after: u64,
    /// Of a hundred requests so many are answered 422.
    pub rejected_percent: u64,
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Rows of each run.
    pub rows: u64,
    /// Rows of a request; 1: a request a row.
    pub batch: u64,
    /// Bytes of a row's field `v`.
    pub row_bytes: usize,
    /// `rate_limit` as in a project file.
    pub limits: Value,
    /// What the destinations do.
    pub answers: Answers,
    /// So many destinations, each with an export and a run of its own at the same time.
    pub destinations: u64,
    /// Runs of an export, one after the other, and seconds from one to the next.
    pub runs: u64,
    /// See above.
    pub pause_seconds: u64,
}

impl Workload {
    /// Requests for a row each, of 500 bytes, answered after 200 ms.
    pub fn single(rows: u64) -> Workload {
        Workload {
            rows,
            batch: 1,
            row_bytes: 470,
            limits: json!("unlimited"),
            answers: Answers { after: 200_000, rejected_percent: 0 },
            destinations: 1,
            runs: 1,
            pause_seconds: 0,
        }
    }

    /// Requests for a hundred rows each, of 120 bytes, answered after 400 ms.
    pub fn batched(rows: u64) -> Workload {
        Workload { batch: 100, row_bytes: 90, answers: Answers { after: 400_000, rejected_percent: 0 }, ..Workload::single(rows) }
    }
}

/// A run that is asked for.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Of which export.
    pub export: Name,
    /// Rows.
    pub rows: u64,
    /// Bytes of each.
    pub row_bytes: usize,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Calls and units.
    pub charge: Charge,
    /// Requests that were sent.
    pub requests: u64,
    /// What was estimated of it when it was planned, USD.
    pub estimated_usd: f64,
    /// The same, write units of DynamoDB.
    pub estimated_writes: f64,
    /// Virtual seconds that it took.
    pub seconds: f64,
}

impl Measured {
    /// USD.
    pub fn usd(&self) -> f64 {
        price(&self.charge.units)
    }

    /// How often an operation of a service was called.
    pub fn calls(&self, service: &str, operation: &str) -> u64 {
        self.charge.calls.get(&(service.to_string(), operation.to_string())).copied().unwrap_or_default()
    }
}

fn project(workload: &Workload) -> Value {
    let fields = r#"{"id":"{{id}}","v":"{{v}}"}"#;
    let (batch, body) = match workload.batch {
        1 => (json!({"mode": "individual"}), fields.to_string()),
        size => {
            let rows = format!("{{\"rows\":[{{{{#each rows}}}}{fields}{{{{#unless @last}}}},{{{{/unless}}}}{{{{/each}}}}]}}");
            (json!({"mode": "batched", "size": size}), rows)
        }
    };
    let add = json!({"enabled": true, "method": "POST", "url": "/people", "batch": batch, "body": body});
    let destination = json!({
        "base_url": "https://api.example.com", "rate_limit": workload.limits, "concurrency": 100, "actions": {"add": add},
    });
    let numbers = 0..workload.destinations;
    let destinations: serde_json::Map<String, Value> =
        numbers.clone().map(|number| (format!("api{number}"), destination.clone())).collect();
    let export = |number| json!({"model": "people", "destination": format!("api{number}")});
    let exports: serde_json::Map<String, Value> = numbers.map(|number| (format!("people{number}"), export(number))).collect();
    json!({
        "destinations": destinations,
        "models": {"people": {"primary_key": ["id"], "source": {"type": "file", "path": "rows.csv"}}},
        "exports": exports,
    })
}

/// The rows of a run, all of them new. Their content hardly compresses, as that of real rows does not.
pub(super) fn changes(run: &Run) -> impl Iterator<Item = Change> + use<> {
    let (rows, row_bytes) = (run.rows, run.row_bytes);
    let salt = run.id.bytes().fold(0, |salt, byte| mix(salt ^ u64::from(byte)));
    (0..rows).map(move |number| {
        let key = format!("{number:09}");
        let mut value = String::with_capacity(row_bytes + 16);
        let mut word = salt ^ number;
        while value.len() < row_bytes {
            word = mix(word.wrapping_add(1));
            value.push_str(&format!("{word:016x}"));
        }
        value.truncate(row_bytes);
        let hash = u128::from(mix(number)) << 64 | u128::from(mix(word));
        Change {
            kind: ChangeKind::Added,
            key_hash: hash,
            row_hash: hash,
            fields: vec![json!(key.as_str()), json!(value)],
            before: None,
            key,
        }
    })
}

/// Does the work in memory, and counts.
pub fn measure(workload: &Workload) -> Measured {
    work_through(workload, Far::memory())
}

/// Does the work on a stand-in for AWS, and has the clients' meter count.
pub fn measure_on(workload: &Workload, runtime: tokio::runtime::Runtime, parts: (AwsStore, AwsObjects, Meter)) -> Measured {
    let (documents, objects, meter) = parts;
    work_through(workload, Far::Aws { runtime: Box::new(runtime), documents, objects, meter })
}

fn work_through(workload: &Workload, far: Far) -> Measured {
    let world = World::new(1, false);
    let billed = Ports { world: Rc::clone(&world), far: Rc::new(far) };
    let project = configure::parse(&project(workload)).unwrap_or_else(|problems| panic!("the project is wrong: {problems:?}"));
    let house = Rc::new(House::new(billed, project, workload.answers));
    world.run({
        let (house, workload) = (Rc::clone(&house), workload.clone());
        async move {
            for round in 0..workload.runs {
                let begins = house.billed.world.now();
                for export in house.project.exports.keys().cloned().collect::<Vec<_>>() {
                    let id = format!("run_{round:013}{:0>13}", export.as_str());
                    ask(&house, Run { id, export, rows: workload.rows, row_bytes: workload.row_bytes }).await;
                }
                while house.finished.get() < (round + 1) * workload.destinations {
                    house.billed.world.sleep(SECOND / 10).await;
                }
                // What was under way beside the last of it comes to its end, too.
                let next = begins + workload.pause_seconds * SECOND;
                house.billed.world.sleep(next.saturating_sub(house.billed.world.now()).max(5 * SECOND)).await;
            }
        }
    });
    assert_eq!(world.violations(), Vec::<String>::new());
    let rows = workload.rows * workload.runs * workload.destinations;
    assert_eq!(house.sent.get(), rows.div_ceil(workload.batch), "each is sent once");
    Measured {
        charge: house.billed.far.meter().charge(),
        requests: house.sent.get(),
        estimated_usd: house.estimate.get(),
        estimated_writes: house.estimated_writes.get(),
        seconds: world.now() as f64 / SECOND as f64,
    }
}

/// One look around of `functions/plan/src/look.rs` where there is nothing to do.
pub fn idle_minute() -> Measured {
    let world = World::new(1, false);
    let billed = Ports { world: Rc::clone(&world), far: Rc::new(Far::memory()) };
    let project = configure::parse(&project(&Workload::single(1))).unwrap_or_else(|problems| panic!("the project is wrong: {problems:?}"));
    let house = Rc::new(House::new(billed, project, Answers { after: 0, rejected_percent: 0 }));
    world.run({
        let house = Rc::clone(&house);
        async move {
            let billed = &house.billed;
            let wall = billed.now().wall;
            assert!(schedule::due(billed, wall, 200).await.expect("nothing fails").is_empty());
            assert!(work::list(billed, wall / 1_000_000).await.expect("nothing fails").is_empty());
            assert!(bell::sweep(billed, wall, 200).await.expect("nothing fails").is_empty());
            house.called("plan", billed.world.now(), PLAN_MEMORY);
        }
    });
    let seconds = (world.now() + latency::CALL) as f64 / SECOND as f64;
    Measured { charge: house.billed.far.meter().charge(), requests: 0, estimated_usd: 0.0, estimated_writes: 0.0, seconds }
}
