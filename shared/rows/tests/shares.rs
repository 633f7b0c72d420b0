//! A model in parts: each share of the keys is compared on its own, and together they are what one diff finds.

mod support;

use engine::model::change::{Change, EntryState};
use rows::{Diff, ErrorKind, Share};
use serde_json::{Value, json};
use std::path::PathBuf;
use support::{Bench, Wanted, delivered};

/// Rows and the snapshot before them: added, changed, removed, unchanged ones, keys that stand twice, rows that are not valid.
fn rows_and_snapshot(bench: &Bench) -> Wanted {
    let names = ["id", "text"].map(String::from);
    let row = |key: usize, text: &str| vec![json!(format!("k{key}")), json!(text)];
    let before: Vec<Vec<Value>> = (0..2000).map(|key| row(key, "before")).collect();
    let base = bench.deliver(&Wanted::of(&bench.write("base", "ndjson", &names, &before)), "base.snapshot");
    let mut now: Vec<Vec<Value>> = (100..2500).map(|key| row(key, if key % 3 == 0 { "after" } else { "before" })).collect();
    now.push(row(777, "twice"));
    now.push(row(2400, "twice"));
    let path = bench.write("rows", "ndjson", &names, &now);
    // Its key can be read, its text cannot.
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"id\":\"k150\",\"text\":1e999}\n");
    std::fs::write(&path, text).unwrap();
    Wanted::of(&path).against(&[base])
}

fn sorted(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|change| change.key_hash);
    changes
}

fn counts(diff: &Diff) -> [u64; 7] {
    [diff.rows, diff.unchanged, diff.added, diff.changed, diff.removed, diff.invalid_rows, diff.snapshot_rows]
}

fn compare(bench: &Bench, wanted: &Wanted, of: u32) {
    let (whole, changes) = bench.diff(wanted);
    let mut sums = [0; 7];
    let mut checksum = 0_u128;
    let mut invalid: Vec<_> = Vec::new();
    let mut together = Vec::new();
    for part in 0..of {
        let (diff, changes) = bench.diff(&Wanted { share: Share { part, of }, ..wanted.clone() });
        assert_eq!(diff.removals_wait, whole.removals_wait);
        assert_eq!(diff.field_names, whole.field_names);
        assert!(!changes.is_empty(), "part {part} of {of} has its share");
        sums.iter_mut().zip(counts(&diff)).for_each(|(sum, count)| *sum += count);
        checksum = checksum.wrapping_add(diff.checksum);
        invalid.extend(diff.invalid);
        together.extend(changes);
    }
    assert_eq!((sums, checksum), (counts(&whole), whole.checksum));
    let place = |row: &rows::InvalidRow| (row.place.clone(), row.key.clone(), row.reason.clone());
    let mut invalid: Vec<_> = invalid.iter().map(place).collect();
    let mut expected: Vec<_> = whole.invalid.iter().map(place).collect();
    invalid.sort();
    expected.sort();
    assert_eq!(invalid, expected);
    assert_eq!(sorted(together), sorted(changes));
}

#[test]
fn the_shares_of_a_model_make_the_whole() {
    let bench = Bench::new();
    let wanted = rows_and_snapshot(&bench);
    for of in [2, 3, 16] {
        compare(&bench, &wanted, of);
    }
}

#[test]
fn shares_see_through_deltas() {
    let bench = Bench::new();
    let wanted = rows_and_snapshot(&bench);
    let (diff, changes) = bench.diff(&wanted);
    let some = changes.into_iter().step_by(2).map(|change| {
        let gone = change.kind == engine::model::change::ChangeKind::Removed;
        delivered(change, if gone { EntryState::Gone } else { EntryState::Delivered })
    });
    let delta: PathBuf = bench.path("delta.snapshot");
    rows::write_delta(some, &diff.field_names, &delta, bench.scratch()).unwrap();
    let files = [wanted.snapshot[0].clone(), delta];
    compare(&bench, &wanted.against(&files), 4);
}

/// While some row's key cannot be read nothing is removed, whichever share would have that row.
#[test]
fn a_row_without_a_key_keeps_removals_back_in_every_share() {
    let bench = Bench::new();
    let wanted = rows_and_snapshot(&bench);
    let mut text = std::fs::read_to_string(&wanted.path).unwrap();
    text.push_str("{\"text\":\"nobody\"}\n");
    std::fs::write(&wanted.path, text).unwrap();
    let (whole, _) = bench.diff(&wanted);
    assert!(whole.removals_wait && whole.removed == 0);
    compare(&bench, &wanted, 3);
}

#[test]
fn more_keys_than_may_be_held_are_refused() {
    let bench = Bench::new();
    let wanted = rows_and_snapshot(&bench);
    let refused = |wanted: Wanted| bench.try_diff(&wanted).unwrap_err();
    // 2,000 keys of the snapshot and 500 new ones, one of them twice.
    for most in [0, 1_999, 2_000, 2_499] {
        let error = refused(Wanted { most_keys: most, ..wanted.clone() });
        assert_eq!(error.kind, ErrorKind::TooMany, "{most}: {error}");
        assert!(error.to_string().contains(&format!("more than {most} keys")), "{error}");
    }
    let fits = |most_keys: usize, share: Share| bench.try_diff(&Wanted { most_keys, share, ..wanted.clone() }).is_ok();
    assert!(fits(2_501, Share::WHOLE));
    assert!((0..4).all(|part| fits(700, Share { part, of: 4 })), "a quarter fits where the whole does not");
}
