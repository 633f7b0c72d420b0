//! The cases of the store that are about documents.

use engine::port::{Document, Expect, Key, PortError, Store, Write};
use futures_util::future::join_all;

/// After the last Unix second that any case lets expire.
const NOW: u64 = 1_800_000_000;
/// Greater than every sort key used here.
const END: &str = "\u{10ffff}";

pub(super) fn body(text: &str) -> Document {
    Document { body: text.as_bytes().to_vec(), ..Document::default() }
}

fn key(sort: &str) -> Key {
    Key::new("p", sort)
}

fn assert_conflict<T: std::fmt::Debug>(result: Result<T, PortError>) {
    assert!(matches!(result, Err(PortError::Conflict)), "a conflict was due, and this came: {result:?}");
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, PortError>) {
    assert!(matches!(result, Err(PortError::Failed(_))), "a refusal was due, and this came: {result:?}");
}

async fn text_of<S: Store>(store: &S, key: &Key) -> Option<String> {
    let found = store.get(key, NOW).await.unwrap();
    found.map(|stored| String::from_utf8(stored.body).unwrap())
}

async fn sorts<S: Store>(store: &S, partition: &str, start: &str, end: &str, limit: usize) -> Vec<String> {
    let listed = store.list(partition, start..end, limit, NOW).await.unwrap();
    listed.into_iter().map(|stored| stored.key.sort).collect()
}

pub(super) async fn what_was_never_put_is_absent<S: Store>(store: S) {
    assert_eq!(store.get(&key("a"), NOW).await.unwrap(), None);
    assert_conflict(store.put(&key("a"), body("x"), Expect::At(1), NOW).await);
    assert_conflict(store.put(&key("a"), body("x"), Expect::At(0), NOW).await);
    assert_eq!(store.get(&key("a"), NOW).await.unwrap(), None);
}

pub(super) async fn a_put_document_is_read_back_at_its_version<S: Store>(store: S) {
    let version = store.put(&key("a"), body("x"), Expect::Absent, NOW).await.unwrap();
    let stored = store.get(&key("a"), NOW).await.unwrap().unwrap();
    assert_eq!((stored.key, stored.body, stored.version), (key("a"), b"x".to_vec(), version));
    let listed = store.list("p", ""..END, 10, NOW).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].key, listed[0].body.as_slice(), listed[0].version), (&key("a"), b"x".as_slice(), version));
}

pub(super) async fn absent_is_expected_once<S: Store>(store: S) {
    store.put(&key("a"), body("first"), Expect::Absent, NOW).await.unwrap();
    assert_conflict(store.put(&key("a"), body("second"), Expect::Absent, NOW).await);
    assert_eq!(text_of(&store, &key("a")).await.as_deref(), Some("first"));
}

pub(super) async fn a_version_is_expected_until_the_next_write<S: Store>(store: S) {
    let first = store.put(&key("a"), body("first"), Expect::Absent, NOW).await.unwrap();
    let second = store.put(&key("a"), body("second"), Expect::At(first), NOW).await.unwrap();
    assert_ne!(first, second);
    assert_conflict(store.put(&key("a"), body("third"), Expect::At(first), NOW).await);
    assert_conflict(store.delete(&key("a"), Expect::At(first), NOW).await);
    assert_eq!(text_of(&store, &key("a")).await.as_deref(), Some("second"));
    store.put(&key("a"), body("third"), Expect::At(second), NOW).await.unwrap();
}

pub(super) async fn anything_is_expected_always<S: Store>(store: S) {
    let first = store.put(&key("a"), body("first"), Expect::Any, NOW).await.unwrap();
    let second = store.put(&key("a"), body("first"), Expect::Any, NOW).await.unwrap();
    assert_ne!(first, second, "the version changes with every write, an equal one too");
    store.delete(&key("a"), Expect::Any, NOW).await.unwrap();
    store.delete(&key("a"), Expect::Any, NOW).await.unwrap();
    assert_eq!(store.get(&key("a"), NOW).await.unwrap(), None);
}

pub(super) async fn a_delete_expects_what_it_says<S: Store>(store: S) {
    assert_conflict(store.delete(&key("a"), Expect::At(7), NOW).await);
    store.delete(&key("a"), Expect::Absent, NOW).await.unwrap();
    let version = store.put(&key("a"), body("x"), Expect::Absent, NOW).await.unwrap();
    assert_conflict(store.delete(&key("a"), Expect::Absent, NOW).await);
    assert_conflict(store.delete(&key("a"), Expect::At(version + 1), NOW).await);
    assert_eq!(text_of(&store, &key("a")).await.as_deref(), Some("x"));
    store.delete(&key("a"), Expect::At(version), NOW).await.unwrap();
    assert_eq!(store.get(&key("a"), NOW).await.unwrap(), None);
    assert_conflict(store.delete(&key("a"), Expect::At(version), NOW).await);
}

pub(super) async fn a_version_never_comes_back<S: Store>(store: S) {
    let mut seen = std::collections::HashSet::new();
    for round in 0..10 {
        let version = store.put(&key("a"), body("x"), Expect::Absent, NOW).await.unwrap();
        assert!(seen.insert(version), "version {version} came back in round {round}");
        let version = store.put(&key("a"), body("x"), Expect::At(version), NOW).await.unwrap();
        assert!(seen.insert(version), "version {version} came back in round {round}");
        store.delete(&key("a"), Expect::Any, NOW).await.unwrap();
        // Someone who read the document before it was deleted must not succeed after it was made anew.
        for old in &seen {
            assert_conflict(store.put(&key("a"), body("stale"), Expect::At(*old), NOW).await);
        }
    }
}

pub(super) async fn a_refused_write_changes_nothing<S: Store>(store: S) {
    let version = store.put(&key("a"), body("x"), Expect::Absent, NOW).await.unwrap();
    assert_conflict(store.put(&key("a"), body("y"), Expect::Absent, NOW).await);
    assert_conflict(store.delete(&key("a"), Expect::At(version + 1), NOW).await);
    assert_conflict(store.put(&key("b"), body("y"), Expect::At(version), NOW).await);
    let stored = store.get(&key("a"), NOW).await.unwrap().unwrap();
    assert_eq!((stored.body.as_slice(), stored.version), (b"x".as_slice(), version));
    assert_eq!(sorts(&store, "p", "", END, 10).await, ["a"]);
}

pub(super) async fn keys_of_other_partitions_do_not_meet<S: Store>(store: S) {
    // The same letters, cut at another place.
    for (partition, sort) in [("a", "bc"), ("ab", "c"), ("a#b", "c"), ("a", "b#c")] {
        store.put(&Key::new(partition, sort), body(&format!("{partition}/{sort}")), Expect::Absent, NOW).await.unwrap();
    }
    assert_eq!(sorts(&store, "a", "", END, 10).await, ["b#c", "bc"]);
    assert_eq!(sorts(&store, "ab", "", END, 10).await, ["c"]);
    store.delete(&Key::new("a", "bc"), Expect::Any, NOW).await.unwrap();
    assert_eq!(text_of(&store, &Key::new("ab", "c")).await.as_deref(), Some("ab/c"));
    assert_eq!(text_of(&store, &Key::new("a#b", "c")).await.as_deref(), Some("a#b/c"));
}

pub(super) async fn a_list_is_in_the_order_of_bytes<S: Store>(store: S) {
    // Upper case before lower, digits as text, two-byte letters after one-byte ones, and U+FF5E before U+1F600 (by UTF-16 units
    // it would be the other way round).
    let ordered = ["!", "#", "10", "2", "A", "Z", "_", "a", "a!", "aa", "b", "é", "～", "😀"];
    let mut shuffled = ordered;
    shuffled.reverse();
    shuffled.swap(2, 9);
    for sort in shuffled {
        store.put(&key(sort), body(sort), Expect::Absent, NOW).await.unwrap();
    }
    assert_eq!(sorts(&store, "p", "", END, 100).await, ordered);
}

pub(super) async fn a_list_begins_with_its_start_and_ends_before_its_end<S: Store>(store: S) {
    for sort in ["a", "b", "b1", "c", "d"] {
        store.put(&key(sort), body(sort), Expect::Absent, NOW).await.unwrap();
    }
    assert_eq!(sorts(&store, "p", "b", "d", 10).await, ["b", "b1", "c"]);
    assert_eq!(sorts(&store, "p", "b0", "c", 10).await, ["b1"]);
    assert_eq!(sorts(&store, "p", "", "a", 10).await, Vec::<String>::new());
    assert_eq!(sorts(&store, "p", "b", "b", 10).await, Vec::<String>::new());
    assert_eq!(sorts(&store, "p", "d", "b", 10).await, Vec::<String>::new(), "a range that ends before it starts is empty");
    assert_eq!(sorts(&store, "p", "d", END, 10).await, ["d"]);
}

pub(super) async fn a_list_stops_at_its_limit<S: Store>(store: S) {
    for n in 0..50 {
        store.put(&key(&format!("{n:02}")), body("x"), Expect::Absent, NOW).await.unwrap();
    }
    assert_eq!(sorts(&store, "p", "", END, 3).await, ["00", "01", "02"]);
    assert_eq!(sorts(&store, "p", "", END, 0).await, Vec::<String>::new());
    assert_eq!(sorts(&store, "p", "", END, usize::MAX).await.len(), 50);
    // Page by page, each from behind the last one of the page before.
    let (mut start, mut seen) = (String::new(), Vec::new());
    loop {
        let page = sorts(&store, "p", &start, END, 7).await;
        let Some(last) = page.last() else { break };
        start = format!("{last}\0");
        seen.extend(page);
    }
    assert_eq!(seen, (0..50).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    // The limit counts what is seen: documents that expired before it do not use it up.
    for n in 0..10 {
        let expired = Document { expires_at: Some(NOW - 1), ..body("x") };
        store.put(&key(&format!("{n:02}")), expired, Expect::Any, NOW).await.unwrap();
    }
    assert_eq!(sorts(&store, "p", "", END, 3).await, ["10", "11", "12"]);
}

pub(super) async fn an_empty_partition_lists_nothing<S: Store>(store: S) {
    store.put(&key("a"), body("x"), Expect::Absent, NOW).await.unwrap();
    assert_eq!(sorts(&store, "q", "", END, 10).await, Vec::<String>::new());
    assert_eq!(sorts(&store, "", "", END, 10).await, Vec::<String>::new());
}

pub(super) async fn odd_keys_stay_what_they_are<S: Store>(store: S) {
    // Quotes, wildcards, separators, a NUL, combining letters beside composed ones, case, spaces at the ends, right to left.
    let odd = [
        "'; DROP TABLE doc; --",
        "%",
        "_",
        "a\0b",
        "a",
        "a ",
        " a",
        "A",
        "é",
        "e\u{301}",
        "שלום",
        "\u{feff}",
        "a/b\\c",
        "\n",
        "1",
        "01",
        "1.0",
    ];
    for text in odd {
        store.put(&Key::new(text, text), body(text), Expect::Absent, NOW).await.unwrap();
    }
    for text in odd {
        assert_eq!(text_of(&store, &Key::new(text, text)).await.as_deref(), Some(text));
        assert_eq!(sorts(&store, text, "", END, 10).await, [text]);
    }
    let (partition, sort) = ("ü".repeat(1024), "😀".repeat(256));
    let longest = Key::new(partition, sort);
    store.put(&longest, body("long"), Expect::Absent, NOW).await.unwrap();
    assert_eq!(text_of(&store, &longest).await.as_deref(), Some("long"));
}

pub(super) async fn a_body_may_be_large_and_hold_any_bytes<S: Store>(store: S) {
    let large: Vec<u8> = (0..380_000_usize).map(|n| (n * 7 % 256) as u8).collect();
    store.put(&key("large"), Document { body: large.clone(), ..Document::default() }, Expect::Absent, NOW).await.unwrap();
    store.put(&key("none"), Document::default(), Expect::Absent, NOW).await.unwrap();
    assert_eq!(store.get(&key("large"), NOW).await.unwrap().unwrap().body, large);
    assert_eq!(store.get(&key("none"), NOW).await.unwrap().unwrap().body, b"");
    let listed = store.list("p", ""..END, 10, NOW).await.unwrap();
    assert!(listed[0].body == large && listed[1].body.is_empty());
    store.put(&key("large"), body("small"), Expect::Any, NOW).await.unwrap();
    assert_eq!(text_of(&store, &key("large")).await.as_deref(), Some("small"));
}

pub(super) async fn too_large_a_body_is_refused<S: Store>(store: S) {
    let document = Document { body: vec![0; 380_001], ..Document::default() };
    assert_refused(store.put(&key("a"), document, Expect::Any, NOW).await);
    assert_eq!(store.get(&key("a"), NOW).await.unwrap(), None);
}

pub(super) async fn keys_that_no_backend_takes_are_refused<S: Store>(store: S) {
    let keys = [Key::new("", "a"), Key::new("p", ""), Key::new("p".repeat(2049), "a"), Key::new("p", "a".repeat(1025))];
    for odd in keys {
        assert_refused(store.put(&odd, body("x"), Expect::Any, NOW).await);
    }
    assert_eq!(sorts(&store, "p", "", END, 10).await, Vec::<String>::new());
}

pub(super) async fn an_expired_document_is_not_seen<S: Store>(store: S) {
    let document = Document { expires_at: Some(NOW), ..body("x") };
    store.put(&key("a"), document, Expect::Absent, NOW).await.unwrap();
    for (at, seen) in [(NOW - 1, true), (NOW, true), (NOW + 1, false), (u64::MAX, false)] {
        assert_eq!(store.get(&key("a"), at).await.unwrap().is_some(), seen, "get at {at}");
        assert_eq!(store.list("p", ""..END, 10, at).await.unwrap().len(), usize::from(seen), "list at {at}");
    }
    let document = Document { expires_at: Some(u64::MAX), ..body("x") };
    store.put(&key("b"), document, Expect::Absent, NOW).await.unwrap();
    assert!(store.get(&key("b"), NOW).await.unwrap().is_some());
}

pub(super) async fn an_expired_document_counts_as_absent<S: Store>(store: S) {
    let document = Document { expires_at: Some(NOW), ..body("old") };
    let old = store.put(&key("a"), document.clone(), Expect::Absent, NOW).await.unwrap();
    assert_conflict(store.put(&key("a"), body("new"), Expect::Absent, NOW).await);
    let later = NOW + 1;
    assert_conflict(store.put(&key("a"), body("new"), Expect::At(old), later).await);
    assert_conflict(store.delete(&key("a"), Expect::At(old), later).await);
    let new = store.put(&key("a"), body("new"), Expect::Absent, later).await.unwrap();
    assert_ne!(new, old);
    assert_eq!(store.get(&key("a"), later).await.unwrap().unwrap().body, b"new");
    // Its own time does not bring the old expiry back.
    assert_conflict(store.put(&key("a"), body("newer"), Expect::Absent, later + 10).await);
    store.put(&key("b"), document, Expect::Absent, NOW).await.unwrap();
    store.delete(&key("b"), Expect::Absent, later).await.unwrap();
    store.delete(&key("b"), Expect::Any, later).await.unwrap();
}

pub(super) async fn an_expiry_can_be_moved_and_taken_away<S: Store>(store: S) {
    let at = |expires_at| Document { expires_at, ..body("x") };
    let first = store.put(&key("a"), at(Some(NOW)), Expect::Absent, NOW).await.unwrap();
    let second = store.put(&key("a"), at(Some(NOW + 100)), Expect::At(first), NOW).await.unwrap();
    assert!(store.get(&key("a"), NOW + 50).await.unwrap().is_some());
    store.put(&key("a"), at(None), Expect::At(second), NOW + 50).await.unwrap();
    assert!(store.get(&key("a"), NOW + 1_000_000).await.unwrap().is_some());
}

pub(super) async fn many_writes_are_answered_in_order_each_by_itself<S: Store>(store: S) {
    let here = store.put(&key("here"), body("old"), Expect::Absent, NOW).await.unwrap();
    let gone = store.put(&key("gone"), body("old"), Expect::Absent, NOW).await.unwrap();
    let mut writes = vec![
        Write::Put(key("new"), body("1"), Expect::Absent),
        Write::Put(key("here"), body("2"), Expect::Absent),
        Write::Put(key("here-not"), body("3"), Expect::At(here)),
        Write::Delete(key("gone"), Expect::At(gone)),
        Write::Delete(key("never"), Expect::At(1)),
        Write::Delete(key("never-either"), Expect::Any),
        Write::Put(key("too-large"), Document { body: vec![0; 380_001], ..Document::default() }, Expect::Any),
    ];
    // More than any backend takes in one call.
    writes.extend((0..300).map(|n| Write::Put(key(&format!("z{n:03}")), body("z"), Expect::Absent)));
    let answers = store.write(writes, NOW).await.unwrap();
    assert_eq!(answers.len(), 307);
    let shapes: Vec<_> = answers[..7]
        .iter()
        .map(|answer| match answer {
            Ok(_) => "done",
            Err(PortError::Conflict) => "conflict",
            Err(_) => "refused",
        })
        .collect();
    assert_eq!(shapes, ["done", "conflict", "conflict", "done", "conflict", "done", "refused"]);
    let new = store.get(&key("new"), NOW).await.unwrap().unwrap();
    assert_eq!((new.body.as_slice(), Some(new.version)), (b"1".as_slice(), answers[0].as_ref().ok().copied()));
    assert_eq!(text_of(&store, &key("here")).await.as_deref(), Some("old"));
    assert_eq!(store.get(&key("gone"), NOW).await.unwrap(), None);
    let last = store.list("p", "z"..END, 1000, NOW).await.unwrap();
    assert_eq!(last.len(), 300);
    for (stored, answer) in last.iter().zip(&answers[7..]) {
        assert_eq!(Some(stored.version), answer.as_ref().ok().copied(), "the answers stand in the order asked");
    }
}

pub(super) async fn many_writes_of_none_are_none<S: Store>(store: S) {
    assert!(store.write(Vec::new(), NOW).await.unwrap().is_empty());
}

pub(super) async fn what_was_written_is_read_at_once<S: Store + Clone>(store: S) {
    let reader = store.clone();
    let mut version = None;
    for n in 0..100 {
        let expect = version.map_or(Expect::Absent, Expect::At);
        version = Some(store.put(&key("a"), body(&n.to_string()), expect, NOW).await.unwrap());
        let stored = reader.get(&key("a"), NOW).await.unwrap().unwrap();
        assert_eq!((String::from_utf8(stored.body).unwrap(), Some(stored.version)), (n.to_string(), version));
    }
    reader.delete(&key("a"), Expect::Any, NOW).await.unwrap();
    assert_eq!(store.list("p", ""..END, 10, NOW).await.unwrap(), []);
}

pub(super) async fn a_race_to_count_loses_nothing<S: Store + Clone>(store: S) {
    const RACERS: usize = 8;
    const EACH: usize = 20;
    store.put(&key("count"), body("0"), Expect::Absent, NOW).await.unwrap();
    let racers = (0..RACERS).map(|_| {
        let store = store.clone();
        async move {
            let mut versions = Vec::new();
            for _ in 0..EACH {
                // Each round someone succeeds, so nobody needs more rounds than there are successes.
                let mut rounds = 0..=RACERS * EACH;
                loop {
                    assert!(rounds.next().is_some(), "a round in which nobody succeeded");
                    let stored = store.get(&key("count"), NOW).await.unwrap().unwrap();
                    let count: usize = String::from_utf8(stored.body).unwrap().parse().unwrap();
                    match store.put(&key("count"), body(&(count + 1).to_string()), Expect::At(stored.version), NOW).await {
                        Ok(version) => break versions.push(version),
                        Err(PortError::Conflict) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            }
            versions
        }
    });
    let mut versions = join_all(racers).await.concat();
    assert_eq!(text_of(&store, &key("count")).await, Some((RACERS * EACH).to_string()));
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), RACERS * EACH, "no version was given twice");
}

pub(super) async fn a_race_to_create_has_one_winner<S: Store + Clone>(store: S) {
    for round in 0..10 {
        let place = key(&format!("round-{round}"));
        let racers = (0..8).map(|racer| {
            let (store, place) = (store.clone(), place.clone());
            async move { store.put(&place, body(&racer.to_string()), Expect::Absent, NOW).await }
        });
        let answers = join_all(racers).await;
        let winners: Vec<usize> = (0..8).filter(|racer| answers[*racer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(PortError::Conflict))), "{answers:?}");
        assert_eq!(text_of(&store, &place).await, Some(winners[0].to_string()));
    }
}

pub(super) async fn a_race_of_batches_has_one_winner_for_each_key<S: Store + Clone>(store: S) {
    let racers = (0..6).map(|racer: usize| {
        let store = store.clone();
        async move {
            // Each in another order, so that no two meet at the same place.
            let order = (0..40).map(|n| (n * 7 + racer * 11) % 40);
            let writes: Vec<_> =
                order.clone().map(|n| Write::Put(key(&format!("{n:02}")), body(&racer.to_string()), Expect::Absent)).collect();
            let answers = store.write(writes, NOW).await.unwrap();
            order.zip(answers).filter(|(_, answer)| answer.is_ok()).map(|(n, _)| (n, racer)).collect::<Vec<_>>()
        }
    });
    let mut won = join_all(racers).await.concat();
    won.sort_unstable();
    assert_eq!(won.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    for (n, racer) in won {
        assert_eq!(text_of(&store, &key(&format!("{n:02}"))).await, Some(racer.to_string()));
    }
}
