//! Pushed rows: changes and snapshots take place whole or not at all, once, and a reader finds what was pushed.

use super::shelf::{Shelf, sha256, wait};
use engine::model::project::Problem;
use engine::port::PortError;
use engine::push::{self, Committed, FoldRows, MOST_PART_BYTES, Refused};
use futures_util::FutureExt;
use serde_json::json;
use std::path::PathBuf;

fn upserts(ids: impl Iterator<Item = u64>, value: &str) -> String {
    ids.map(|id| format!("{}\n", json!({"upsert": {"id": id, "v": value}}))).collect()
}

fn rows(ids: impl Iterator<Item = u64>, value: &str) -> String {
    ids.map(|id| format!("{}\n", json!({"id": id, "v": value}))).collect()
}

fn places(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.path.as_str()).collect()
}

fn wrong(refused: Result<Committed, Refused>) -> Vec<Problem> {
    match refused {
        Err(Refused::Wrong(problems)) => problems,
        other => panic!("not refused for its content: {other:?}"),
    }
}

#[test]
fn changes_become_rows_and_later_ones_have_the_last_word() {
    wait(async {
        let shelf = Shelf::new();
        assert_eq!(shelf.rows().await, None, "nothing was pushed");
        let accepted = shelf.push_well(&upserts(1..=3, "a")).await;
        assert_eq!((accepted.upserts, accepted.removals, accepted.version), (3, 0, 1));
        let accepted = shelf.push_well("{\"remove\": {\"id\": \"2\"}}\r\n\n{\"upsert\": {\"id\": 3, \"v\": \"b\"}}").await;
        assert_eq!((accepted.upserts, accepted.removals, accepted.version), (1, 1, 2));
        assert_eq!(shelf.rows().await.unwrap(), [json!({"id": 1, "v": "a"}), json!({"id": 3, "v": "b"})]);
        // A look changes nothing; a push that says nothing does neither.
        assert_eq!(shelf.push_well(" \n\n").await.version, 2);
        let folded = shelf.pushed().await;
        assert_eq!(shelf.rows().await.unwrap().len(), 2);
        assert_eq!(shelf.pushed().await, folded);
    });
}

#[test]
fn one_wrong_line_keeps_all_others_out_and_every_wrong_line_is_named() {
    wait(async {
        let shelf = Shelf::new();
        shelf.push_well(&upserts(1..=2, "a")).await;
        let (before, objects) = (shelf.pushed().await, shelf.object_names().await);
        let lines = [
            r#"{"upsert": {"id": 3}}"#,
            r#"{"upsert": {"id": 1.5}}"#,
            "",
            r#"{"upsert": {"id": 4}, "remove": {"id": 4}}"#,
            "nonsense",
            r#"{"remove": {}}"#,
            r#"{"delete": {"id": 1}}"#,
        ];
        let problems = shelf.push(&lines.join("\n"), "p").await.unwrap().unwrap_err();
        assert_eq!(places(&problems), ["line 2", "line 4", "line 5", "line 6", "line 7"]);
        let long = format!("{{\"upsert\": {{\"id\": 1, \"v\": \"{}\"}}}}", "x".repeat(push::MOST_LINE_BYTES));
        assert!(shelf.push(&long, "q").await.unwrap().unwrap_err()[0].message.contains("longer than 8 MiB"));
        let many = shelf.push(&"x\n".repeat(5_000), "r").await.unwrap().unwrap_err();
        assert!(many.len() == 1_001 && many[1_000].message.contains("4000 problems more"), "{:?}", many.last());
        assert_eq!((shelf.pushed().await, shelf.object_names().await), (before, objects));
        // What was refused leaves no trace of its name.
        assert_eq!(shelf.push(&upserts(3..=3, "a"), "p").await.unwrap().unwrap().version, 2);
    });
}

#[test]
fn the_same_push_twice_is_one_also_after_it_was_folded() {
    wait(async {
        let shelf = Shelf::new();
        let first = shelf.push(&upserts(1..=2, "a"), "key 1").await.unwrap().unwrap();
        shelf.push_well("{\"remove\": {\"id\": 1}}").await;
        assert_eq!(shelf.push(&upserts(1..=2, "a"), "key 1").await.unwrap().unwrap(), first);
        assert_eq!(shelf.rows().await.unwrap().len(), 1);
        assert_eq!(shelf.push(&upserts(1..=2, "a"), "key 1").await.unwrap().unwrap(), first);
        assert_eq!(shelf.rows().await.unwrap().len(), 1);
        // After a day it is another one.
        shelf.now.set(shelf.now.get() + 2 * 24 * 3600);
        shelf.push_well("{\"remove\": {\"id\": 7}}").await;
        assert_eq!(shelf.push(&upserts(1..=2, "a"), "key 1").await.unwrap().unwrap().version, 4);
    });
}

#[test]
fn many_small_pushes_are_joined_to_few_objects() {
    wait(async {
        let shelf = Shelf::new();
        for id in 1..=700 {
            shelf.push_well(&upserts(id..=id, "a")).await;
        }
        let pushed = shelf.pushed().await;
        assert!(pushed.changes.len() <= 12, "{} objects", pushed.changes.len());
        assert_eq!(pushed.changes.iter().map(|changes| changes.upserts).sum::<u64>(), 700);
        assert_eq!(shelf.object_names().await.len(), pushed.changes.len());
        assert_eq!(shelf.rows().await.unwrap().len(), 700);
    });
}

#[test]
fn pushes_at_the_same_time_all_take_place() {
    wait(async {
        let shelf = Shelf::new();
        let lines: Vec<String> = (0..20).map(|part| upserts(part * 10..part * 10 + 10, "a")).collect();
        let (folding, other) = (shelf.folding(), shelf.folding());
        let all = futures_util::future::join_all(lines.iter().map(|lines| shelf.push_well(lines)));
        let (versions, looked, again) = futures_util::join!(all, shelf.current(&folding), shelf.current(&other));
        assert!(looked.is_ok() && again.is_ok());
        let mut versions: Vec<u64> = versions.into_iter().map(|accepted| accepted.version).collect();
        versions.sort_unstable();
        assert_eq!(versions, (1..=20).collect::<Vec<_>>());
        assert_eq!(shelf.rows().await.unwrap().len(), 200);
    });
}

#[test]
fn an_upload_takes_the_place_of_everything_before_however_its_parts_are_cut() {
    wait(async {
        for part_bytes in [1, 7, 64, 100_000] {
            let shelf = Shelf::new();
            shelf.push_well(&upserts(1..=9, "old")).await;
            let text = rows(5..=12, "é\u{2028}\"");
            let committed = shelf.upload_well(&text, part_bytes).await;
            assert_eq!(committed, Committed { rows: 8, version: 2 });
            shelf.push_well("{\"remove\": {\"id\": 5}}").await;
            let found = shelf.rows().await.unwrap();
            assert_eq!(found.iter().map(|row| row["id"].as_u64().unwrap()).collect::<Vec<_>>(), (6..=12).collect::<Vec<_>>());
            assert_eq!(found[0]["v"], "é\u{2028}\"");
        }
    });
}

#[test]
fn a_snapshot_of_many_chunks_and_one_without_rows_are_read_as_they_are() {
    wait(async {
        let shelf = Shelf::new();
        let text = rows(1..=300, &"x".repeat(120_000));
        shelf.upload_well(&text, 30 << 20).await;
        assert_eq!(shelf.pushed().await.base.unwrap().chunks, 3);
        assert_eq!(shelf.rows().await.unwrap().len(), 300);
        let committed = shelf.upload_well("", 1).await;
        assert_eq!((committed.rows, shelf.rows().await), (0, Some(Vec::new())));
    });
}

#[test]
fn a_torn_upload_changes_nothing_and_says_what_is_wrong() {
    wait(async {
        let shelf = Shelf::new();
        shelf.push_well(&upserts(1..=3, "a")).await;
        let rows_before = shelf.rows().await;
        let before = (shelf.pushed().await, rows_before);
        let upload = shelf.begin().await;
        let text = rows(1..=6, "b");
        let (one, rest) = text.as_bytes().split_at(text.len() / 3);
        let (two, three) = rest.split_at(text.len() / 3);
        shelf.put(&upload, 1, one).await.unwrap().unwrap();
        shelf.put(&upload, 3, three).await.unwrap().unwrap();
        let missing = wrong(shelf.commit(&upload, 6, &sha256(&text)).await.unwrap());
        assert!(missing[0].path == "parts" && missing[0].message.starts_with("part 2 is missing"), "{missing:?}");
        shelf.put(&upload, 2, &two[1..]).await.unwrap().unwrap();
        let torn = wrong(shelf.commit(&upload, 6, &sha256(&text)).await.unwrap());
        assert!(places(&torn).contains(&"sha256"), "{torn:?}");
        shelf.put(&upload, 2, two).await.unwrap().unwrap();
        assert_eq!(places(&wrong(shelf.commit(&upload, 7, &sha256(&text)).await.unwrap())), ["rows"]);
        assert_eq!(places(&wrong(shelf.commit(&upload, 6, "00").await.unwrap())), ["sha256"]);
        let names = shelf.object_names().await;
        assert_eq!((shelf.pushed().await, shelf.rows().await), before.clone());
        assert!(names.iter().filter(|name| name.starts_with("uploads/")).count() == 3, "{names:?}");
        // What was missing is put, and the same upload goes through.
        let done = shelf.commit(&upload, 6, &sha256(&text).to_uppercase()).await.unwrap().unwrap();
        assert_eq!((done.rows, shelf.rows().await.unwrap().len()), (6, 6));
        assert!(shelf.object_names().await.iter().all(|name| name.starts_with("pushed/")));
    });
}

#[test]
fn an_upload_with_wrong_lines_names_them_and_changes_nothing() {
    wait(async {
        let shelf = Shelf::new();
        let text = "{\"id\": 1}\nnonsense\n\n{\"v\": 1}\n{\"id\": null}\n[1]\n{\"id\": 2}";
        let upload = shelf.begin().await;
        shelf.put(&upload, 1, text.as_bytes()).await.unwrap().unwrap();
        let problems = wrong(shelf.commit(&upload, 6, &sha256(text)).await.unwrap());
        assert_eq!(places(&problems), ["line 2", "line 4", "line 5", "line 6"]);
        assert!(shelf.pushed().await.is_nothing() && shelf.rows().await.is_none());
        let long = format!("{{\"id\": 1}}\n{{\"id\": 2, \"v\": \"{}\"}}\n{{\"id\": 3}}\n", "x".repeat(9 << 20));
        let upload = shelf.begin().await;
        for (index, part) in long.as_bytes().chunks(3 << 20).enumerate() {
            shelf.put(&upload, index as u32 + 1, part).await.unwrap().unwrap();
        }
        let problems = wrong(shelf.commit(&upload, 3, &sha256(&long)).await.unwrap());
        assert!(problems[0].path == "line 2" && problems[0].message.contains("longer than 8 MiB"), "{problems:?}");
    });
}

#[test]
fn a_commit_again_gives_the_same_answer_and_other_values_are_refused() {
    wait(async {
        let shelf = Shelf::new();
        let upload = shelf.begin().await;
        let text = rows(1..=2, "a");
        shelf.put(&upload, 1, text.as_bytes()).await.unwrap().unwrap();
        let done = shelf.commit(&upload, 2, &sha256(&text)).await.unwrap().unwrap();
        shelf.push_well("{\"remove\": {\"id\": 1}}").await;
        assert_eq!(shelf.commit(&upload, 2, &sha256(&text)).await.unwrap().unwrap(), done);
        assert_eq!(shelf.rows().await.unwrap().len(), 1, "a commit again is no commit anew");
        assert_eq!(shelf.commit(&upload, 3, &sha256(&text)).await.unwrap(), Err(Refused::Committed));
        assert_eq!(shelf.put(&upload, 2, b"x").await.unwrap(), Err(Refused::Committed));
        assert_eq!(shelf.abort(&upload).await.unwrap(), Err(Refused::Committed));
    });
}

#[test]
fn uploads_expire_and_can_be_aborted() {
    wait(async {
        let shelf = Shelf::new();
        for unknown in ["upload_x", "../etc", "a/b", ""] {
            assert_eq!(shelf.put(unknown, 1, b"x").await.unwrap(), Err(Refused::Unknown));
            assert_eq!(shelf.commit(unknown, 0, "").await.unwrap(), Err(Refused::Unknown));
        }
        let (aborted, expired) = (shelf.begin().await, shelf.begin().await);
        for number in [0, 10_001] {
            assert!(matches!(shelf.put(&expired, number, b"x").await.unwrap(), Err(Refused::Wrong(_))));
        }
        assert!(matches!(shelf.put(&expired, 1, &vec![b' '; MOST_PART_BYTES + 1]).await.unwrap(), Err(Refused::Wrong(_))));
        shelf.put(&aborted, 1, b"{}").await.unwrap().unwrap();
        shelf.put(&expired, 10_000, b"{}").await.unwrap().unwrap();
        shelf.abort(&aborted).await.unwrap().unwrap();
        shelf.abort(&aborted).await.unwrap().unwrap();
        assert_eq!(shelf.object_names().await.len(), 1);
        assert_eq!(shelf.commit(&aborted, 0, "").await.unwrap(), Err(Refused::Unknown));
        shelf.now.set(shelf.now.get() + 24 * 3600 + 1);
        assert_eq!(shelf.put(&expired, 1, b"x").await.unwrap(), Err(Refused::Unknown));
        shelf.begin().await;
        assert_eq!(shelf.object_names().await, Vec::<String>::new(), "the next upload clears what expired");
    });
}

/// Folds, after something else was pushed the first few times.
struct Meanwhile<'s> {
    shelf: &'s Shelf,
    pushes: &'s dyn Fn(u64),
    times: std::cell::Cell<u64>,
}

impl FoldRows for Meanwhile<'_> {
    fn fold(&self, base: &[PathBuf], changes: &[PathBuf], primary_key: &[String]) -> Result<(PathBuf, u64), PortError> {
        self.times.set(self.times.get() + 1);
        (self.pushes)(self.times.get());
        self.shelf.folding().fold(base, changes, primary_key)
    }
}

/// Drives a future that waits for nothing: calls of the memory store are done when they are first polled.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

#[test]
fn pushes_while_rows_are_folded_wait_for_the_next_fold() {
    let shelf = Shelf::new();
    let push = |lines: String, name: String| {
        let (store, objects, now) = (&shelf.store.0, &shelf.objects.0, shelf.now.get());
        at_once(push::changes(store, objects, &shelf.organization, &shelf.model, lines.as_bytes(), &name, now)).unwrap().unwrap();
    };
    push(upserts(1..=3, "a"), "first".to_string());
    let more = |time: u64| (0..50).for_each(|at| push(upserts(100 * time + at..=100 * time + at, "b"), format!("{time} {at}")));
    let meanwhile = Meanwhile { shelf: &shelf, pushes: &more, times: Default::default() };
    let current = wait(shelf.current(&meanwhile)).unwrap().unwrap();
    assert_eq!((meanwhile.times.get(), current.rows), (1, 3), "a stream of pushes does not hold it up");
    assert_eq!(wait(shelf.rows()).unwrap().len(), 53);
}

#[test]
fn a_snapshot_while_rows_are_folded_is_what_the_reader_gets() {
    let shelf = Shelf::new();
    wait(shelf.push_well(&upserts(1..=3, "a")));
    let text = rows(7..=8, "b");
    let upload = wait(shelf.begin());
    wait(shelf.put(&upload, 1, text.as_bytes())).unwrap().unwrap();
    let commit = |time: u64| {
        if time == 1 {
            let (store, objects, now) = (&shelf.store.0, &shelf.objects.0, shelf.now.get());
            let sum = sha256(&text);
            let committed = push::commit(store, objects, &shelf.organization, &shelf.model, &upload, 2, &sum, "fresh", now);
            assert_eq!(at_once(committed).unwrap().unwrap().rows, 2);
        }
    };
    let meanwhile = Meanwhile { shelf: &shelf, pushes: &commit, times: Default::default() };
    let current = wait(shelf.current(&meanwhile)).unwrap().unwrap();
    assert_eq!(current.rows, 2);
    assert_eq!(wait(shelf.rows()).unwrap(), [json!({"id": 7, "v": "b"}), json!({"id": 8, "v": "b"})]);
}

#[test]
fn what_a_push_left_when_it_was_cut_short_is_cleared_after_a_day() {
    wait(async {
        let shelf = Shelf::new();
        shelf.upload_well(&rows(1..=2, "a"), 10).await;
        shelf.push_well(&upserts(2..=3, "a")).await;
        let object = shelf.current(&shelf.folding()).await.unwrap().unwrap().object;
        shelf.push_well(&upserts(4..=4, "a")).await;
        let kept = shelf.object_names().await;
        assert_eq!(kept.len(), 3, "the base, the one before, which somebody may still read, and a change: {kept:?}");
        // The state is read, the change that this one is joined with is read, and the object of both is put.
        shelf.trouble.after(2, true);
        shelf.push(&upserts(5..=5, "a"), "x").await.unwrap_err();
        let names = shelf.object_names().await;
        assert!(names.len() > kept.len(), "{names:?}");
        shelf.sweep().await;
        assert_eq!(shelf.object_names().await, names, "it may be on its way to be named");
        shelf.now.set(shelf.now.get() + 25 * 3600);
        shelf.sweep().await;
        assert_eq!(shelf.object_names().await, kept);
        shelf.push_well(&upserts(6..=6, "a")).await;
        let names = shelf.object_names().await;
        assert!(names.len() == 2 && names.contains(&object), "the former base is gone with the next write: {names:?}");
        assert_eq!(shelf.rows().await.unwrap().len(), 5);
    });
}

#[test]
fn a_model_that_is_no_longer_there_leaves_nothing() {
    wait(async {
        let shelf = Shelf::new();
        shelf.upload_well(&rows(1..=2, "a"), 10).await;
        shelf.push_well(&upserts(2..=3, "a")).await;
        let upload = shelf.begin().await;
        shelf.put(&upload, 1, b"{}").await.unwrap().unwrap();
        let id = &shelf.model.id;
        push::forget(&shelf.store, &shelf.objects, &shelf.organization, id, shelf.now.get()).await.unwrap();
        assert!(shelf.store.0.is_empty() && shelf.object_names().await.is_empty());
    });
}
