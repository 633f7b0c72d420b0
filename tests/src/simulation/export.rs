//! An export of the simulation: its model, its snapshot, and the diff between them as semantics.md has it. This is the second hand
//! that the engine's finishing is checked by, so it must not use the product's own diff.

use super::Simulation;
use super::chance::{Chance, fingerprint};
use super::host::EPOCH;
use super::ports::{HostObjects, HostStore};
use engine::model::change::{Change, ChangeKind, DeltaRow, Entry, EntryState};
use engine::model::name::Name;
use engine::plan::cut::{Cutter, Options};
use engine::run::begin::begin;
use engine::run::document::Wish;
use engine::run::request::{Ask, start};
use engine::shape::{Compiled, Shape};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::rc::Rc;

/// An export, with all that is known of it.
pub(super) struct Export {
    /// Its name.
    pub(super) name: Name,
    /// What shapes its requests.
    pub(super) shape: Shape,
    /// The rows that the receiver should come to have.
    pub(super) model: BTreeMap<String, String>,
    /// What finished runs said about them.
    pub(super) snapshot: BTreeMap<String, Entry>,
}

/// A run that is to be delivered.
pub(super) struct Planned {
    /// Its id.
    pub(super) run: String,
    /// Which export's.
    pub(super) export: usize,
    /// What it is to bring about.
    pub(super) changes: Vec<Change>,
}

/// The project document of a workload.
pub(super) fn project(limits: &Value, concurrency: u32, timeout_seconds: u64, max_attempts: u32, batch: usize, exports: usize) -> Value {
    let row = |fields: &str| match batch {
        1 => format!("{{\"rows\":[{fields}]}}"),
        _ => format!("{{\"rows\":[{{{{#each rows}}}}{fields}{{{{#unless @last}}}},{{{{/unless}}}}{{{{/each}}}}]}}"),
    };
    let batching = match batch {
        1 => json!({"mode": "individual"}),
        size => json!({"mode": "batched", "size": size}),
    };
    let action = |method: &str, url: &str, fields: &str| json!({"enabled": true, "method": method, "url": url, "batch": batching, "body": row(fields)});
    let both = r#"{"id":"{{id}}","v":"{{v}}"}"#;
    let exports: serde_json::Map<String, Value> =
        (0..exports).map(|number| (format!("e{number}"), json!({"model": "people", "destination": "api"}))).collect();
    json!({
        "destinations": {"api": {
            "base_url": "https://api.example.com",
            "rate_limit": limits,
            "concurrency": concurrency,
            "timeout_seconds": timeout_seconds,
            "retry": {"max_attempts": max_attempts, "first_delay_seconds": 0.5, "max_delay_seconds": 20},
            "actions": {
                "add": action("POST", "/add", both),
                "update": action("PUT", "/update", both),
                "remove": action("POST", "/remove", r#"{"id":"{{id}}"}"#),
            },
        }},
        "models": {"people": {"primary_key": ["id"], "source": {"type": "file", "path": "rows.csv"}}},
        "exports": exports,
        "rules": {"r": {"on": "contact.subscribed", "steps": [{"deliver": {"destination": "api", "action": "add"}}]}},
    })
}

impl Export {
    pub(super) fn new(name: &Name, shape: Shape) -> Export {
        Export { name: name.clone(), shape, model: BTreeMap::new(), snapshot: BTreeMap::new() }
    }

    /// The rows of the first round.
    pub(super) fn fill(&mut self, rows: usize, chance: &mut Chance) {
        self.model = (0..rows).map(|number| (format!("{}-{number:05}", self.name), format!("v{}", chance.below(1000)))).collect();
    }

    /// Time has gone by: rows have come, changed, changed back and gone.
    pub(super) fn change(&mut self, rows: usize, chance: &mut Chance) {
        for number in 0..rows + 2 {
            let key = format!("{}-{number:05}", self.name);
            match chance.below(6) {
                0 => drop(self.model.remove(&key)),
                1 | 2 => drop(self.model.insert(key, format!("v{}", chance.below(1000)))),
                _ => {}
            }
        }
    }

    /// What the receiver has to be told (semantics.md 2).
    pub(super) fn diff(&self) -> Vec<Change> {
        let keys: BTreeSet<&String> = self.model.keys().chain(self.snapshot.keys()).collect();
        keys.into_iter().filter_map(|key| self.change_of(key)).collect()
    }

    fn change_of(&self, key: &str) -> Option<Change> {
        let (row, before) = (self.model.get(key), self.snapshot.get(key).cloned());
        let state = before.as_ref().map(|entry| entry.state);
        let hash = row.map(|value| row_hash(value));
        let kind = match (row, state) {
            (None, None) => return None,
            (Some(_), None | Some(EntryState::UncertainAdd | EntryState::UncertainRemove)) => ChangeKind::Added,
            (Some(_), Some(EntryState::Delivered)) if before.as_ref().map(|entry| entry.row_hash) == hash => return None,
            (Some(_), Some(EntryState::Delivered | EntryState::UncertainChange)) => ChangeKind::Changed,
            (None, Some(_)) => ChangeKind::Removed,
            (Some(_), Some(other)) => unreachable!("no export of the simulation comes to {other:?}"),
        };
        let fields = match row {
            Some(value) => vec![json!(key), json!(value)],
            None => before.as_ref().and_then(|entry| entry.fields.clone().or(entry.uncertain.clone())).unwrap_or_default(),
        };
        let row_hash = hash.or(before.as_ref().map(|entry| entry.row_hash)).unwrap_or_default();
        Some(Change { kind, key: key.to_string(), key_hash: key_hash(key), row_hash, fields, before })
    }

    /// Takes what a finished run says into the snapshot.
    pub(super) fn remember(&mut self, rows: Vec<DeltaRow>) {
        for row in rows {
            match row.entry.state {
                EntryState::Gone => drop(self.snapshot.remove(&row.key)),
                _ => drop(self.snapshot.insert(row.key, row.entry)),
            }
        }
    }
}

fn key_hash(key: &str) -> u128 {
    u128::from(fingerprint(key.as_bytes()))
}

/// The hash of a row's fields, as this export has it.
pub(super) fn row_hash(value: &str) -> u128 {
    u128::from(fingerprint(value.as_bytes())) << 1 | 1
}

/// Cuts a run's changes and puts it to work, from afar: while the hosts are at work on what came before.
pub(super) async fn put_to_work(simulation: &Rc<Simulation>, planned: &Planned) {
    let world = &simulation.world;
    let shape = simulation.exports.borrow()[planned.export].shape.clone();
    let export = simulation.exports.borrow()[planned.export].name.clone();
    let wall = EPOCH + world.now();
    let names = vec!["id".to_string(), "v".to_string()];
    let compiled = Compiled::new(shape.clone()).expect("the templates of the simulation compile");
    let rates = simulation.destination.rate_limits.iter().map(|limit| f64::from(limit.requests) / f64::from(limit.window_seconds));
    let store = HostStore::new(simulation, None, world.fork());
    let ask = Ask {
        organization: &simulation.lane.organization,
        export: &export,
        destination: &simulation.destination.id,
        run: &planned.run,
        wish: Wish::default(),
        hash_seed: 7,
    };
    let (mut run, version) = match start(&store, ask, wall).await {
        Ok(Ok(asked)) => (asked.run, asked.version),
        refused => return world.violated(|| format!("{} cannot have its export: {refused:?}", planned.run)),
    };
    run.shape_version = shape.version();
    run.mapping_version = shape.mapping_version();
    run.field_names.clone_from(&names);
    let started_at = run.started_at_text();
    let options = Options { run: &planned.run, started_at: &started_at, rate: rates.reduce(f64::min), parts: 1, settle_all: false };
    let mut cutter = Cutter::new(&compiled, &names, options, Cursor::new(Vec::new()));
    planned.changes.iter().for_each(|change| cutter.push(change.clone()).expect("writing to memory cannot fail"));
    let (bytes, directory, totals) = cutter.finish().expect("writing to memory cannot fail");
    run.parcels = directory.parcels.len() as u32;
    run.totals = totals;
    let file = simulation.folder.path().join(&planned.run);
    std::fs::write(&file, bytes.into_inner()).expect("a plan fits into the temporary folder");
    let objects = HostObjects::new(simulation, None, world.fork());
    let begun = begin(&store, &objects, &simulation.lane, &mut run, version, &shape, &directory, &file, wall).await;
    begun.unwrap_or_else(|error| panic!("{} cannot begin: {error}", planned.run));
    world.note("run begins", run.totals.rows(), run.totals.deliveries);
}
