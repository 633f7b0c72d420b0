//! The cases of the store that are about index entries. Entries may lag on some backends, so each look waits for what it expects.

use engine::port::{Document, Expect, Index, IndexEntry, Key, PortError, Store};

use super::store::body;

const NOW: u64 = 1_800_000_000;
const END: &str = "\u{10ffff}";

/// Looks at a list before it is judged as it stands; a strong backend needs one.
const LOOKS: usize = 1000;

fn key(sort: &str) -> Key {
    Key::new("p", sort)
}

fn entry(index: Index, partition: &str, sort: &str, summary: &str) -> IndexEntry {
    IndexEntry { index, partition: partition.to_owned(), sort: sort.to_owned(), summary: summary.to_owned() }
}

fn with(entries: Vec<IndexEntry>) -> Document {
    Document { index: entries, ..body("x") }
}

/// What to list, at which time.
#[derive(Clone, Copy)]
struct Look<'a> {
    index: Index,
    partition: &'a str,
    start: &'a str,
    end: &'a str,
    newest_first: bool,
    limit: usize,
    now: u64,
}

const LOOK: Look = Look { index: Index::First, partition: "i", start: "", end: END, newest_first: false, limit: 100, now: NOW };

/// Document, sort key and summary of each entry listed must become these.
async fn assert_listed<S: Store>(store: &S, look: Look<'_>, expected: &[(&str, &str, &str)]) {
    let mut listed = Vec::new();
    for _ in 0..LOOKS {
        let range = look.start..look.end;
        let entries = store.list_index(look.index, look.partition, range, look.newest_first, look.limit, look.now).await.unwrap();
        assert!(entries.iter().all(|listed| listed.key.partition == "p"));
        listed = entries.into_iter().map(|listed| (listed.key.sort, listed.sort, listed.summary)).collect::<Vec<_>>();
        let seen: Vec<_> = listed.iter().map(|(key, sort, summary)| (key.as_str(), sort.as_str(), summary.as_str())).collect();
        if seen == expected {
            return;
        }
    }
    panic!("listed {listed:?} and not {expected:?}");
}

pub(super) async fn an_entry_comes_changes_and_goes_with_its_document<S: Store>(store: S) {
    store.put(&key("a"), with(vec![entry(Index::First, "i", "1", "one")]), Expect::Absent, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[("a", "1", "one")]).await;
    // Another summary at the same place, another place, another partition, none, and back.
    store.put(&key("a"), with(vec![entry(Index::First, "i", "1", "uno")]), Expect::Any, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[("a", "1", "uno")]).await;
    store.put(&key("a"), with(vec![entry(Index::First, "i", "2", "two")]), Expect::Any, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[("a", "2", "two")]).await;
    store.put(&key("a"), with(vec![entry(Index::First, "j", "2", "two")]), Expect::Any, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[]).await;
    assert_listed(&store, Look { partition: "j", ..LOOK }, &[("a", "2", "two")]).await;
    store.put(&key("a"), with(Vec::new()), Expect::Any, NOW).await.unwrap();
    assert_listed(&store, Look { partition: "j", ..LOOK }, &[]).await;
    store.put(&key("a"), with(vec![entry(Index::First, "i", "3", "")]), Expect::Any, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[("a", "3", "")]).await;
    store.delete(&key("a"), Expect::Any, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[]).await;
}

pub(super) async fn indexes_do_not_meet<S: Store>(store: S) {
    let all =
        vec![entry(Index::First, "i", "1", "first"), entry(Index::Second, "i", "1", "second"), entry(Index::Third, "i", "1", "third")];
    store.put(&key("a"), with(all), Expect::Absent, NOW).await.unwrap();
    for (index, summary) in [(Index::First, "first"), (Index::Second, "second"), (Index::Third, "third")] {
        assert_listed(&store, Look { index, ..LOOK }, &[("a", "1", summary)]).await;
    }
    store.put(&key("a"), with(vec![entry(Index::Second, "i", "1", "second")]), Expect::Any, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[]).await;
    assert_listed(&store, Look { index: Index::Second, ..LOOK }, &[("a", "1", "second")]).await;
    assert_listed(&store, Look { index: Index::Third, ..LOOK }, &[]).await;
}

pub(super) async fn entries_with_equal_keys_are_all_kept<S: Store>(store: S) {
    for sort in ["a", "b", "c"] {
        store.put(&key(sort), with(vec![entry(Index::First, "i", "same", sort)]), Expect::Absent, NOW).await.unwrap();
    }
    // Among equals no order is promised.
    let mut listed = Vec::new();
    for _ in 0..LOOKS {
        listed = store.list_index(Index::First, "i", "same".."same\0", false, 10, NOW).await.unwrap();
        if listed.len() == 3 {
            break;
        }
    }
    let mut documents: Vec<_> = listed.into_iter().map(|listed| (listed.key.sort, listed.summary)).collect();
    documents.sort();
    assert_eq!(documents, ["a", "b", "c"].map(|sort| (sort.to_owned(), sort.to_owned())));
    store.delete(&key("a"), Expect::Any, NOW).await.unwrap();
    store.delete(&key("c"), Expect::Any, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[("b", "same", "b")]).await;
}

pub(super) async fn entries_are_listed_from_either_end<S: Store>(store: S) {
    for n in ["3", "1", "2", "10"] {
        store.put(&key(&format!("k{n}")), with(vec![entry(Index::First, "i", n, n)]), Expect::Absent, NOW).await.unwrap();
    }
    let ordered = [("k1", "1", "1"), ("k10", "10", "10"), ("k2", "2", "2"), ("k3", "3", "3")];
    assert_listed(&store, LOOK, &ordered).await;
    assert_listed(&store, Look { limit: 2, ..LOOK }, &ordered[..2]).await;
    assert_listed(&store, Look { limit: 0, ..LOOK }, &[]).await;
    let reversed: Vec<_> = ordered.into_iter().rev().collect();
    assert_listed(&store, Look { newest_first: true, ..LOOK }, &reversed).await;
    assert_listed(&store, Look { newest_first: true, limit: 2, ..LOOK }, &reversed[..2]).await;
}

pub(super) async fn an_entry_range_is_half_open_in_both_directions<S: Store>(store: S) {
    for n in ["a", "b", "c", "d"] {
        store.put(&key(n), with(vec![entry(Index::First, "i", n, "")]), Expect::Absent, NOW).await.unwrap();
    }
    let look = Look { start: "b", end: "d", ..LOOK };
    assert_listed(&store, look, &[("b", "b", ""), ("c", "c", "")]).await;
    assert_listed(&store, Look { newest_first: true, ..look }, &[("c", "c", ""), ("b", "b", "")]).await;
    assert_listed(&store, Look { start: "b", end: "b", ..LOOK }, &[]).await;
    assert_listed(&store, Look { start: "d", end: "b", ..LOOK }, &[]).await;
    assert_listed(&store, Look { partition: "other", ..LOOK }, &[]).await;
}

pub(super) async fn an_expired_document_has_no_entries<S: Store>(store: S) {
    let document = Document { expires_at: Some(NOW), ..with(vec![entry(Index::First, "i", "1", "old")]) };
    store.put(&key("a"), document, Expect::Absent, NOW).await.unwrap();
    store.put(&key("b"), with(vec![entry(Index::First, "i", "2", "stays")]), Expect::Absent, NOW).await.unwrap();
    assert_listed(&store, LOOK, &[("a", "1", "old"), ("b", "2", "stays")]).await;
    let later = Look { now: NOW + 1, ..LOOK };
    assert_listed(&store, later, &[("b", "2", "stays")]).await;
    assert_listed(&store, Look { limit: 1, ..later }, &[("b", "2", "stays")]).await;
    // Made anew elsewhere, it must not leave the entry of the expired one behind.
    store.put(&key("a"), with(vec![entry(Index::First, "i", "3", "new")]), Expect::Absent, NOW + 1).await.unwrap();
    assert_listed(&store, LOOK, &[("b", "2", "stays"), ("a", "3", "new")]).await;
}

pub(super) async fn a_refused_put_leaves_the_entries_alone<S: Store>(store: S) {
    let version = store.put(&key("a"), with(vec![entry(Index::First, "i", "1", "one")]), Expect::Absent, NOW).await.unwrap();
    let other = with(vec![entry(Index::First, "i", "2", "two")]);
    assert!(matches!(store.put(&key("a"), other.clone(), Expect::Absent, NOW).await, Err(PortError::Conflict)));
    assert!(matches!(store.put(&key("a"), other, Expect::At(version + 1), NOW).await, Err(PortError::Conflict)));
    assert!(matches!(store.delete(&key("a"), Expect::At(version + 1), NOW).await, Err(PortError::Conflict)));
    assert_listed(&store, LOOK, &[("a", "1", "one")]).await;
}

pub(super) async fn a_long_summary_is_kept_and_too_long_a_one_refused<S: Store>(store: S) {
    let longest = "é".repeat(75);
    store.put(&key("a"), with(vec![entry(Index::First, "i", "1", &longest)]), Expect::Absent, NOW).await.unwrap();
    let too_long = with(vec![entry(Index::First, "i", "1", &format!("{longest}!"))]);
    assert!(matches!(store.put(&key("a"), too_long, Expect::Any, NOW).await, Err(PortError::Failed(_))));
    assert_listed(&store, LOOK, &[("a", "1", &longest)]).await;
}

pub(super) async fn two_entries_for_one_index_are_refused<S: Store>(store: S) {
    let document = with(vec![entry(Index::Second, "i", "1", ""), entry(Index::Second, "i", "2", "")]);
    assert!(matches!(store.put(&key("a"), document, Expect::Any, NOW).await, Err(PortError::Failed(_))));
    assert_eq!(store.get(&key("a"), NOW).await.unwrap(), None);
}
