//! Folding pushed changes into a base: whatever was pushed, the latest word on each key counts.

mod support;

use proptest::prelude::*;
use rows::{ErrorKind, Folded, fold};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use support::{Bench, Wanted, pack};

fn put(bench: &Bench, name: &str, lines: &[Value]) -> PathBuf {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    bench.put(name, pack(text.as_bytes(), "ndjson.zst"))
}

fn lines(bench: &Bench, name: &str) -> Vec<Value> {
    let text = zstd::stream::decode_all(std::fs::File::open(bench.path(name)).unwrap()).unwrap();
    String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn key(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn rows_of_the_base_keep_their_order_and_new_ones_follow() {
    let bench = Bench::new();
    let base = [
        put(&bench, "1.zst", &[json!({"id": 1, "v": "a"}), json!({"id": "2", "v": "b"})]),
        put(&bench, "2.zst", &[json!({"id": 3, "v": "c"}), json!({"id": 4, "v": "d"})]),
    ];
    let changes = [
        put(
            &bench,
            "c1.zst",
            &[json!({"upsert": {"id": 9, "v": "new"}}), json!({"remove": {"id": "1"}}), json!({"upsert": {"id": 2, "v": "B"}})],
        ),
        put(
            &bench,
            "c2.zst",
            &[json!({"upsert": {"v": "newer", "id": "8"}}), json!({"upsert": {"id": 4, "v": "x"}}), json!({"remove": {"id": 4}})],
        ),
    ];
    let folded = fold(&base, &changes, &key(&["id"]), &bench.path("new.zst")).unwrap();
    assert_eq!(folded, Folded { rows: 4 });
    let new = lines(&bench, "new.zst");
    assert_eq!(
        new,
        [json!({"id": 2, "v": "B"}), json!({"id": 3, "v": "c"}), json!({"id": 9, "v": "new"}), json!({"v": "newer", "id": "8"})]
    );
}

#[test]
fn a_base_without_changes_is_joined_and_no_base_is_an_empty_one() {
    let bench = Bench::new();
    let base = [put(&bench, "1.zst", &[json!({"id": 1})]), put(&bench, "2.zst", &[]), put(&bench, "3.zst", &[json!({"id": 2})])];
    assert_eq!(fold(&base, &[], &key(&["id"]), &bench.path("new.zst")).unwrap().rows, 2);
    assert_eq!(lines(&bench, "new.zst"), [json!({"id": 1}), json!({"id": 2})]);
    assert_eq!(fold(&[], &[], &key(&["id"]), &bench.path("none.zst")).unwrap().rows, 0);
    let changes = [put(&bench, "c.zst", &[json!({"upsert": {"id": 5}}), json!({"remove": {"id": 6}})])];
    assert_eq!(fold(&[], &changes, &key(&["id"]), &bench.path("one.zst")).unwrap().rows, 1);
    assert_eq!(lines(&bench, "one.zst"), [json!({"id": 5})]);
}

#[test]
fn of_a_key_that_the_base_has_twice_a_change_leaves_one_row() {
    let bench = Bench::new();
    let base = [put(&bench, "1.zst", &[json!({"id": 1, "v": 1}), json!({"id": 2}), json!({"id": "1", "v": 2}), json!({"id": null})])];
    let changes = [put(&bench, "c.zst", &[json!({"upsert": {"id": 1, "v": 3}})])];
    fold(&base, &changes, &key(&["id"]), &bench.path("new.zst")).unwrap();
    assert_eq!(lines(&bench, "new.zst"), [json!({"id": 1, "v": 3}), json!({"id": 2}), json!({"id": null})]);
}

#[test]
fn what_is_cut_off_or_no_change_stops_the_fold() {
    let bench = Bench::new();
    let to = bench.path("new.zst");
    let whole = std::fs::read(put(&bench, "w.zst", &[json!({"id": 1, "v": "some text that takes room"})])).unwrap();
    let cut = bench.put("cut.zst", &whole[..whole.len() - 4]);
    assert_eq!(fold(std::slice::from_ref(&cut), &[], &key(&["id"]), &to).unwrap_err().kind, ErrorKind::Torn);
    assert_eq!(fold(&[], &[cut], &key(&["id"]), &to).unwrap_err().kind, ErrorKind::Torn);
    assert_eq!(fold(&[bench.path("none.zst")], &[], &key(&["id"]), &to).unwrap_err().kind, ErrorKind::Missing);
    for wrong in [json!({}), json!({"upsert": {"id": 1}, "remove": {"id": 1}}), json!({"insert": {"id": 1}}), json!({"upsert": {"v": 1}})] {
        let changes = [put(&bench, "wrong.zst", &[json!({"upsert": {"id": 7}}), wrong])];
        let error = fold(&[], &changes, &key(&["id"]), &to).unwrap_err();
        assert!(error.kind == ErrorKind::Format && error.place.ends_with("wrong.zst line 2"), "{error}");
    }
}

#[test]
fn the_diff_reads_what_a_fold_wrote_and_names_its_rows() {
    let bench = Bench::new();
    let changes = [put(&bench, "c.zst", &[json!({"upsert": {"id": 1}}), json!({"upsert": {"id": 2, "v": [1]}})])];
    let base = [put(&bench, "b.zst", &[json!({"id": 3}), json!({"id": "3"})])];
    let to = bench.path("new");
    fold(&base, &changes, &key(&["id"]), &to).unwrap();
    let mut request = bench.request(&Wanted::of(&to));
    request.source = rows::Source::Pushed(to.clone());
    let diff = rows::diff(&request, &|_, _| {}).unwrap();
    assert_eq!((diff.rows, diff.added, diff.invalid_rows), (4, 2, 2));
    assert_eq!(diff.invalid[0].place, "row 1 of the pushed rows");
    assert!(diff.invalid[0].reason.contains("row 2 of the pushed rows"), "{}", diff.invalid[0].reason);
    assert_eq!(diff.source_version, rows::source_version(&request.source).unwrap());
}

#[derive(Clone, Debug)]
enum Push {
    Snapshot(Vec<(u8, u8)>),
    Changes(Vec<(u8, Option<u8>)>),
    Fold,
}

fn push() -> impl Strategy<Value = Push> {
    let distinct = prop::collection::btree_map(0u8..12, any::<u8>(), 0..12).prop_map(|rows| Push::Snapshot(rows.into_iter().collect()));
    let changes = prop::collection::vec((0u8..12, prop::option::of(any::<u8>())), 0..10).prop_map(Push::Changes);
    prop_oneof![1 => distinct, 4 => changes, 2 => Just(Push::Fold)]
}

/// A number or its text: one key.
fn id(key: u8, value: u8) -> Value {
    if value.is_multiple_of(2) { json!(key) } else { json!(key.to_string()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_pushes_folded_at_any_time_equals_a_map(pushes in prop::collection::vec(push(), 0..12)) {
        let bench = Bench::new();
        let mut expected: BTreeMap<u8, u8> = BTreeMap::new();
        let (mut base, mut changes) = (Vec::new(), Vec::new());
        for (at, push) in pushes.into_iter().chain([Push::Fold]).enumerate() {
            match push {
                Push::Snapshot(rows) => {
                    let (one, other) = rows.split_at(rows.len() / 2);
                    let file = |part: &[(u8, u8)], name: &str| {
                        put(&bench, &format!("{at}-{name}"), &part.iter().map(|(k, v)| json!({"id": id(*k, *v), "v": v})).collect::<Vec<_>>())
                    };
                    base = vec![file(one, "one"), file(other, "other")];
                    changes.clear();
                    expected = rows.into_iter().collect();
                }
                Push::Changes(list) => {
                    let line = |(k, v): &(u8, Option<u8>)| match v {
                        Some(v) => json!({"upsert": {"v": v, "id": id(*k, *v)}}),
                        None => json!({"remove": {"id": k}}),
                    };
                    changes.push(put(&bench, &format!("{at}-c"), &list.iter().map(line).collect::<Vec<_>>()));
                    for (k, v) in list {
                        match v {
                            Some(v) => { expected.insert(k, v); }
                            None => { expected.remove(&k); }
                        }
                    }
                }
                Push::Fold => {
                    let name = format!("{at}-base");
                    let folded = fold(&base, &changes, &key(&["id"]), &bench.path(&name)).unwrap();
                    let rows = lines(&bench, &name);
                    prop_assert_eq!(folded.rows, rows.len() as u64);
                    let number = |id: &Value| id.as_str().map_or_else(|| id.as_u64().unwrap() as u8, |text| text.parse().unwrap());
                    let found: BTreeMap<u8, u8> = rows.iter().map(|row| (number(&row["id"]), row["v"].as_u64().unwrap() as u8)).collect();
                    prop_assert_eq!(rows.len(), found.len());
                    prop_assert_eq!(&found, &expected);
                    base = vec![bench.path(&name)];
                    changes.clear();
                }
            }
        }
    }
}
