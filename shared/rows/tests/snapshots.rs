//! Snapshots written, merged, compacted, and what the flags of a diff make of them.

mod support;

use engine::model::change::{Change, ChangeKind, DeltaRow, Entry, EntryState};
use serde_json::json;
use support::{Bench, Wanted, delivered};

fn kinds(changes: &[Change]) -> Vec<(String, ChangeKind)> {
    let mut all: Vec<_> = changes.iter().map(|c| (c.key.clone(), c.kind)).collect();
    all.sort();
    all
}

/// HT-02: added, changed and removed rows against the last run.
#[test]
fn added_changed_and_removed_rows_are_told_apart() {
    let bench = Bench::new();
    let snapshot = bench.deliver(&Wanted::of(&bench.put("a.csv", "id,v\nstays,1\nchanges,1\ngoes,1\n")), "s");
    let mut wanted = Wanted::of(&bench.put("b.csv", "id,v\ncomes,1\nchanges,2\nstays,1\n")).against(&[snapshot]);
    wanted.want_previous = true;
    let (diff, changes) = bench.diff(&wanted);
    assert_eq!(
        kinds(&changes),
        [("changes".into(), ChangeKind::Changed), ("comes".into(), ChangeKind::Added), ("goes".into(), ChangeKind::Removed)]
    );
    assert_eq!((diff.unchanged, diff.snapshot_rows), (1, 3));
    assert_eq!(changes[1].before.as_ref().unwrap().fields, Some(vec![json!("changes"), json!("1")]));
    assert_eq!(changes[2].fields, [json!("goes"), json!("1")]);
}

/// semantics 5: all present rows again, and still what is gone.
#[test]
fn a_full_run_sends_all_present_rows_as_added_and_still_removes() {
    let bench = Bench::new();
    let snapshot = bench.deliver(&Wanted::of(&bench.put("a.csv", "id,v\nstays,1\ngoes,1\n")), "s");
    let mut wanted = Wanted::of(&bench.put("b.csv", "id,v\nstays,1\ncomes,1\n")).against(&[snapshot]);
    wanted.resend_all = true;
    let (diff, changes) = bench.diff(&wanted);
    assert_eq!(
        kinds(&changes),
        [("comes".into(), ChangeKind::Added), ("goes".into(), ChangeKind::Removed), ("stays".into(), ChangeKind::Added)]
    );
    assert_eq!((diff.added, diff.removed, diff.unchanged), (2, 1, 0));
    assert_eq!(changes[0].before.as_ref().unwrap().row_hash, changes[0].row_hash);
}

#[test]
fn fields_of_older_snapshots_are_found_by_their_names() {
    let bench = Bench::new();
    let snapshot = bench.deliver(&Wanted::of(&bench.put("a.csv", "id,a,b\ngoes,1,2\n")), "s");
    let (_, changes) = bench.diff(&Wanted::of(&bench.put("b.csv", "b,new,id\n")).against(&[snapshot]));
    assert_eq!(changes[0].fields, [json!("2"), json!(null), json!("goes")]);
}

#[test]
fn deltas_lie_over_the_base_and_a_compaction_means_the_same() {
    let bench = Bench::new();
    let wanted = Wanted::of(&bench.put("a.csv", "id,v\na,1\nb,1\nc,1\nd,1\n"));
    let base = bench.deliver(&wanted, "base");
    let (diff, changes) = bench.diff(&Wanted::of(&bench.put("b.csv", "id,v\na,2\nb,1\nd,1\ne,1\n")).against(std::slice::from_ref(&base)));
    let gone = |c: &Change| Entry { state: EntryState::Gone, row_hash: c.row_hash, fields: None, uncertain: None };
    let rows = changes.into_iter().map(|c| match c.kind {
        ChangeKind::Removed => DeltaRow { key_hash: c.key_hash, key: c.key.clone(), entry: gone(&c) },
        _ => delivered(c, EntryState::Delivered),
    });
    let delta = bench.path("delta");
    assert_eq!(rows::write_delta(rows, &diff.field_names, &delta, bench.scratch()).unwrap().rows, 3);
    let files = [base, delta];
    assert_eq!(rows::snapshot_rows(&files).unwrap(), 4);
    let compacted = bench.path("compacted");
    let summary = rows::compact(&files, &compacted).unwrap();
    assert_eq!((summary.rows, summary.read), (4, 7));
    for files in [files.to_vec(), vec![compacted]] {
        let (diff, changes) = bench.diff(&Wanted::of(&bench.path("b.csv")).against(&files));
        assert_eq!((diff.unchanged, changes.len(), diff.snapshot_rows), (4, 0, 4));
    }
}

#[test]
fn an_uncertain_change_without_fields_has_those_delivered_before() {
    let bench = Bench::new();
    let base = bench.deliver(&Wanted::of(&bench.put("a.csv", "id,v\na,1\n")), "base");
    let (diff, changes) = bench.diff(&Wanted::of(&bench.put("b.csv", "id,v\na,2\n")).against(std::slice::from_ref(&base)));
    let change = changes.into_iter().next().unwrap();
    let entry = Entry { state: EntryState::UncertainChange, row_hash: change.row_hash, fields: None, uncertain: Some(change.fields) };
    let delta = bench.path("delta");
    let row = DeltaRow { key_hash: change.key_hash, key: change.key, entry };
    rows::write_delta(std::iter::once(row), &diff.field_names, &delta, bench.scratch()).unwrap();
    let compacted = bench.path("compacted");
    rows::compact(&[base.clone(), delta.clone()], &compacted).unwrap();
    for files in [vec![base, delta], vec![compacted]] {
        // The row is back to what was delivered, and is sent all the same.
        let (_, changes) = bench.diff(&Wanted::of(&bench.path("a.csv")).against(&files));
        let before = changes[0].before.clone().unwrap();
        assert_eq!(changes[0].kind, ChangeKind::Changed);
        assert_eq!(before.fields, Some(vec![json!("a"), json!("1")]));
        assert_eq!(before.uncertain, Some(vec![json!("a"), json!("2")]));
        let (_, changes) = bench.diff(&Wanted::of(&bench.put("none.csv", "id,v\n")).against(&files));
        assert_eq!((changes[0].kind, &changes[0].fields[1]), (ChangeKind::Removed, &json!("1")));
    }
}

#[test]
fn a_given_up_addition_is_removed_only_if_it_may_have_arrived() {
    let bench = Bench::new();
    let (diff, changes) = bench.diff(&Wanted::of(&bench.put("a.csv", "id,v\nsurely not,1\nperhaps,1\n")));
    let rows = changes.into_iter().map(|c| {
        let uncertain = (c.key == "perhaps").then(|| c.fields.clone());
        DeltaRow {
            key_hash: c.key_hash,
            key: c.key,
            entry: Entry { state: EntryState::GivenUpAdd, row_hash: c.row_hash, fields: None, uncertain },
        }
    });
    let snapshot = bench.path("s");
    rows::write_delta(rows, &diff.field_names, &snapshot, bench.scratch()).unwrap();
    let files = [snapshot];
    assert_eq!(rows::snapshot_rows(&files).unwrap(), 0);
    let (diff, _) = bench.diff(&Wanted::of(&bench.path("a.csv")).against(&files));
    assert_eq!((diff.unchanged, diff.added), (2, 0));
    let (diff, changes) = bench.diff(&Wanted::of(&bench.put("none.csv", "id,v\n")).against(&files));
    assert_eq!((diff.removed, changes.len()), (1, 1));
    assert_eq!((changes[0].key.as_str(), &changes[0].fields[1]), ("perhaps", &json!("1")));
}

#[test]
fn a_large_snapshot_of_several_row_groups_is_read_from_all_of_them() {
    let bench = Bench::new();
    let rows = 600_000;
    let text = |from: u32, changed: u32| -> String {
        (from..from + rows).map(|i| if i % 100 == changed { format!("{i},new\n") } else { format!("{i},old\n") }).collect()
    };
    let snapshot = bench.deliver(&Wanted::of(&bench.put("a.csv", format!("id,v\n{}", text(0, 1000)))), "s");
    let path = bench.put("b.csv", format!("id,v\n{}", text(6000, 7)));
    for (threads, previous, memory) in [(1, false, 1 << 20), (3, true, 1000)] {
        let mut wanted = Wanted::of(&path).against(std::slice::from_ref(&snapshot));
        (wanted.threads, wanted.want_previous, wanted.spool_memory) = (threads, previous, memory);
        let (diff, changes) = bench.diff(&wanted);
        assert_eq!((diff.added, diff.changed, diff.removed), (6000, 5940, 6000));
        assert_eq!(changes.len(), 17_940);
        for change in changes {
            let number: u32 = change.key.parse().unwrap();
            match change.kind {
                ChangeKind::Added => assert!(number >= rows && change.before.is_none()),
                ChangeKind::Changed => {
                    assert!(number % 100 == 7 && (6000..rows).contains(&number));
                    let old = previous.then(|| vec![json!(change.key), json!("old")]);
                    assert_eq!(change.before.unwrap().fields, old);
                }
                ChangeKind::Removed => assert!(number < 6000 && change.fields == [json!(change.key), json!("old")]),
            }
        }
    }
}

#[test]
fn many_deltas_with_few_rows_are_one_snapshot() {
    let bench = Bench::new();
    let text: String = (0..5000).map(|i| format!("{i},0\n")).collect();
    let mut files = vec![bench.deliver(&Wanted::of(&bench.put("a.csv", format!("id,v\n{text}"))), "base")];
    for round in 1..=31 {
        let text: String = (0..5000).map(|i| format!("{i},{}\n", if i % 31 < round { 1 } else { 0 })).collect();
        let (diff, changes) = bench.diff(&Wanted::of(&bench.put("b.csv", format!("id,v\n{text}"))).against(&files));
        assert!(changes.iter().all(|c| c.kind == ChangeKind::Changed) && (161..=162).contains(&changes.len()), "{}", changes.len());
        let delta = bench.path(&format!("{round}"));
        let rows = changes.into_iter().map(|c| delivered(c, EntryState::Delivered));
        rows::write_delta(rows, &diff.field_names, &delta, bench.scratch()).unwrap();
        files.push(delta);
    }
    assert_eq!(bench.diff(&Wanted::of(&bench.path("b.csv")).against(&files)).0.unchanged, 5000);
    assert_eq!(rows::snapshot_rows(&files).unwrap(), 5000);
}

#[test]
fn what_a_failed_write_leaves_is_nothing() {
    let bench = Bench::new();
    let to = bench.path("no/such/folder/s");
    let e = rows::write_delta(std::iter::empty(), &[], &to, bench.scratch()).unwrap_err();
    assert!(e.place.ends_with("folder/s"), "{e}");
    rows::write_delta(std::iter::empty(), &["id".to_owned()], &bench.path("empty"), bench.scratch()).unwrap();
    assert_eq!(rows::snapshot_rows(&[bench.path("empty")]).unwrap(), 0);
    let names: Vec<_> = std::fs::read_dir(bench.scratch()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["empty"], "no temporary file is left");
}
