//! Random rows, states, orders and formats against a diff that a person can read in one go.

mod support;

use engine::model::change::{ChangeKind, DeltaRow, Entry, EntryState, Fields};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use support::{Bench, Wanted};

const STATES: [EntryState; 9] = [
    EntryState::Delivered,
    EntryState::UncertainAdd,
    EntryState::UncertainChange,
    EntryState::UncertainRemove,
    EntryState::GivenUpAdd,
    EntryState::GivenUpChange,
    EntryState::GivenUpRemove,
    EntryState::Skipped,
    EntryState::Gone,
];

/// One key's story: what the files of the snapshot say of it (base first), and the rows that the source has.
#[derive(Clone, Debug)]
struct Story {
    entries: Vec<Option<(EntryState, u8, bool, bool)>>,
    rows: Vec<u8>,
}

fn story(files: usize) -> impl Strategy<Value = Story> {
    let entry = prop_oneof![
        2 => Just(None),
        3 => (0..STATES.len(), 0..3u8, any::<bool>(), any::<bool>()).prop_map(|(s, v, f, u)| Some((STATES[s], v, f, u))),
    ];
    let rows = prop_oneof![3 => Just(vec![]), 6 => (0..3u8).prop_map(|v| vec![v]), 1 => prop::collection::vec(0..3u8, 2..4)];
    (prop::collection::vec(entry, files), rows).prop_map(|(entries, rows)| Story { entries, rows })
}

fn fields(key: usize, version: u8) -> Fields {
    vec![
        json!(format!("k{key}")),
        json!(format!("v,\"{version}\"\nß")),
        if version == 0 { Value::Null } else { json!(version.to_string()) },
    ]
}

fn has_delivered(state: EntryState) -> bool {
    !matches!(state, EntryState::UncertainAdd | EntryState::GivenUpAdd | EntryState::Gone)
}

/// The entry as a run would write it: a state that knows nothing delivered has no fields, and an acknowledged one always has.
fn entry(key: usize, of: (EntryState, u8, bool, bool), hash: &dyn Fn(&Fields) -> u128) -> Entry {
    let (state, version, with_fields, with_uncertain) = of;
    let own = matches!(state, EntryState::Delivered | EntryState::Skipped);
    let fields_there = has_delivered(state) && (own || with_fields);
    let uncertain_there = match state {
        EntryState::UncertainAdd | EntryState::UncertainChange => true,
        EntryState::GivenUpAdd => with_uncertain,
        _ => false,
    };
    Entry {
        state,
        row_hash: hash(&fields(key, version)),
        fields: fields_there.then(|| fields(key, if own { version } else { (version + 1) % 3 })),
        uncertain: uncertain_there.then(|| fields(key, version)),
    }
}

/// The newest entry counts; what it leaves out of the delivered fields, older ones give.
fn merge(entries: &[Entry]) -> Option<Entry> {
    let mut newest = entries.last()?.clone();
    let inherits = |e: &Entry| {
        matches!(e.state, EntryState::UncertainChange | EntryState::UncertainRemove | EntryState::GivenUpChange | EntryState::GivenUpRemove)
            && e.fields.is_none()
    };
    let mut older = entries.iter().rev();
    let mut at = older.next()?;
    while inherits(at) {
        let Some(next) = older.next() else { break };
        newest.fields = if has_delivered(next.state) { next.fields.clone() } else { None };
        at = next;
    }
    (newest.state != EntryState::Gone).then_some(newest)
}

fn verdict(entry: Option<&Entry>, row: Option<u128>) -> Option<ChangeKind> {
    use ChangeKind::*;
    use EntryState::*;
    let Some(entry) = entry else { return row.map(|_| Added) };
    match (entry.state, row) {
        (Delivered | Skipped | GivenUpChange, Some(hash)) if hash == entry.row_hash => None,
        (Delivered | Skipped | GivenUpChange | UncertainChange, Some(_)) => Some(Changed),
        (GivenUpAdd, Some(hash)) if hash == entry.row_hash => None,
        (GivenUpAdd | UncertainAdd | UncertainRemove | GivenUpRemove, Some(_)) => Some(Added),
        (GivenUpRemove, None) => None,
        (GivenUpAdd, None) => entry.uncertain.is_some().then_some(Removed),
        (_, None) => Some(Removed),
        (Gone, Some(_)) => Some(Added),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// GL-70, HT-02: whatever the snapshot says, in however many files, and in whatever format and order the rows come.
    #[test]
    fn the_diff_agrees_with_a_naive_one(
        stories in (0usize..4).prop_flat_map(|files| prop::collection::vec(story(files), 0..40)),
        format in prop::sample::select(vec!["csv", "ndjson", "parquet", "csv.gz", "ndjson.zst"]),
        order in any::<u64>(),
        spill in any::<bool>(),
        threads in 1usize..4,
        previous in any::<bool>(),
        compacted in any::<bool>(),
    ) {
        let bench = Bench::new();
        let names = ["id", "text", "number"].map(String::from);
        // Hashes are the crate's own business: a run over all rows that may appear tells them.
        let all: Vec<(usize, u8)> = (0..stories.len()).flat_map(|k| (0..3).map(move |v| (k, v))).collect();
        let hashes: HashMap<String, (u128, u128)> = (0..3u8).flat_map(|v| {
            let rows: Vec<Fields> = all.iter().filter(|(_, w)| *w == v).map(|(k, v)| fields(*k, *v)).collect();
            let path = bench.write("all", "csv", &names, &rows);
            bench.diff(&Wanted::of(&path)).1.into_iter().map(move |c| (Value::from(c.fields).to_string(), (c.key_hash, c.row_hash))).collect::<Vec<_>>()
        }).collect();
        let hash_of = |f: &Fields| hashes[&Value::from(f.clone()).to_string()];

        let count = stories.iter().map(|s| s.entries.len()).max().unwrap_or_default();
        let mut files = Vec::new();
        let mut known: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
        for file in 0..count {
            let mut rows = Vec::new();
            for (k, story) in stories.iter().enumerate() {
                if let Some(Some(of)) = story.entries.get(file) {
                    let entry = entry(k, *of, &|f| hash_of(f).1);
                    known.entry(k).or_default().push(entry.clone());
                    rows.push(DeltaRow { key_hash: hash_of(&fields(k, 0)).0, key: format!("k{k}"), entry });
                }
            }
            let path = bench.path(&format!("{file}.snapshot"));
            rows::write_delta(rows.into_iter(), &names, &path, bench.scratch()).unwrap();
            files.push(path);
        }
        if compacted && !files.is_empty() {
            // What a compaction leaves means the same.
            let path = bench.path("compacted.snapshot");
            rows::compact(&files, &path).unwrap();
            files = vec![path];
        }

        let mut rows: Vec<(usize, u8)> = stories.iter().enumerate().flat_map(|(k, s)| s.rows.iter().map(move |v| (k, *v))).collect();
        let len = rows.len().max(1) as u64;
        for i in 0..rows.len() {
            rows.swap(i, ((order.wrapping_mul(i as u64 * 2 + 1) >> 7) % len) as usize);
        }
        let path = bench.write("rows", format, &names, &rows.iter().map(|(k, v)| fields(*k, *v)).collect::<Vec<_>>());
        let mut wanted = Wanted::of(&path);
        wanted.snapshot = files;
        wanted.threads = threads;
        wanted.spool_memory = if spill { 0 } else { 1 << 20 };
        wanted.want_previous = previous;
        let (diff, changes) = bench.diff(&wanted);

        let mut expected: BTreeMap<String, (ChangeKind, Fields, Option<Entry>)> = BTreeMap::new();
        let (mut invalid, mut unchanged) = (0, 0);
        for (k, story) in stories.iter().enumerate() {
            if story.rows.len() > 1 {
                invalid += story.rows.len() as u64;
                continue;
            }
            let before = known.get(&k).and_then(|entries| merge(entries));
            let row = story.rows.first().map(|v| fields(k, *v));
            let Some(kind) = verdict(before.as_ref(), row.as_ref().map(|r| hash_of(r).1)) else {
                unchanged += u64::from(row.is_some());
                continue;
            };
            let sent_only = before.as_ref().is_some_and(|b| matches!(b.state, EntryState::UncertainAdd | EntryState::GivenUpAdd));
            let then = before.as_ref().and_then(|b| if sent_only { b.uncertain.clone() } else { b.fields.clone() });
            let fields = row.unwrap_or_else(|| then.unwrap_or_else(|| vec![Value::Null; 3]));
            expected.insert(format!("k{k}"), (kind, fields, before));
        }
        prop_assert_eq!(diff.rows, rows.len() as u64);
        prop_assert_eq!(diff.invalid_rows, invalid);
        prop_assert_eq!(diff.invalid.len() as u64, invalid);
        prop_assert_eq!(diff.unchanged, unchanged);
        prop_assert!(!diff.removals_wait);
        let of_kind = |kind| expected.values().filter(|e| e.0 == kind).count() as u64;
        prop_assert_eq!((diff.added, diff.changed, diff.removed), (of_kind(ChangeKind::Added), of_kind(ChangeKind::Changed), of_kind(ChangeKind::Removed)));
        let mut source_order = rows.iter().map(|(k, _)| format!("k{k}"));
        for change in &changes {
            let Some((kind, fields, before)) = expected.remove(&change.key) else {
                return Err(TestCaseError::fail(format!("{} should not change", change.key)));
            };
            prop_assert_eq!(change.kind, kind);
            prop_assert_eq!(&change.fields, &fields);
            prop_assert_eq!(change.key_hash, hash_of(&self::fields(change.key[1..].parse().unwrap(), 0)).0);
            prop_assert_eq!(change.before.is_some(), before.is_some());
            if let (Some(got), Some(want)) = (&change.before, &before) {
                prop_assert_eq!(got.state, want.state);
                prop_assert_eq!(got.row_hash, want.row_hash);
                let plain = matches!(want.state, EntryState::Delivered | EntryState::Skipped);
                if kind == ChangeKind::Removed || !plain || (previous && kind == ChangeKind::Changed) {
                    prop_assert_eq!(&got.fields, &want.fields);
                    prop_assert_eq!(&got.uncertain, &want.uncertain);
                } else {
                    prop_assert_eq!(&got.fields, &None);
                }
            }
            if kind == ChangeKind::Removed {
                prop_assert_eq!(change.row_hash, change.before.as_ref().unwrap().row_hash);
            } else {
                prop_assert_eq!(change.row_hash, hash_of(&change.fields).1);
                prop_assert!(source_order.any(|k| k == change.key), "{} is out of order", change.key);
            }
        }
        prop_assert!(expected.is_empty(), "{:?} are missing", expected.keys());
        let removed: Vec<u128> = changes.iter().filter(|c| c.kind == ChangeKind::Removed).map(|c| c.key_hash).collect();
        prop_assert!(removed.is_sorted());
    }
}
