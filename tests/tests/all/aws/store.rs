//! Faults of DynamoDB.

use super::Behind;
use engine::port::{Document, Expect, Index, IndexEntry, Key, PortError, Store, Write};
use serde_json::json;
use tests::aws::Fault;

const NOW: u64 = 1_800_000_000;
const END: &str = "\u{10ffff}";

fn key(sort: &str) -> Key {
    Key::new("p", sort)
}

fn body(text: &str) -> Document {
    Document { body: text.as_bytes().to_vec(), ..Document::default() }
}

async fn text<S: Store>(store: &S, sort: &str) -> Option<String> {
    store.get(&key(sort), NOW).await.unwrap().map(|stored| String::from_utf8(stored.body).unwrap())
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_not_taken_for_a_conflict() {
    let Some(behind) = Behind::new() else { return };
    let (store, proxy) = (behind.aws.store(), &behind.proxy);
    proxy.rule("PutItem", 0, 1, Fault::LoseAnswer);
    let first = store.put(&key("a"), body("first"), Expect::Absent, NOW).await.unwrap();
    assert_eq!(proxy.seen("PutItem").len(), 2, "the SDK tried again");
    assert_eq!(store.get(&key("a"), NOW).await.unwrap().unwrap().version, first);
    proxy.rule("PutItem", 0, 1, Fault::LoseAnswer);
    let second = store.put(&key("a"), body("second"), Expect::At(first), NOW).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(text(&store, "a").await.as_deref(), Some("second"));
    // And it stays a conflict where it is one.
    assert!(matches!(store.put(&key("a"), body("third"), Expect::At(first), NOW).await, Err(PortError::Conflict)));
}

#[tokio::test]
async fn a_put_whose_request_was_lost_is_done_by_the_next_try() {
    let Some(behind) = Behind::new() else { return };
    let store = behind.aws.store();
    behind.proxy.rule("PutItem", 0, 2, Fault::LoseRequest);
    store.put(&key("a"), body("x"), Expect::Absent, NOW).await.unwrap();
    assert_eq!(text(&store, "a").await.as_deref(), Some("x"));
}

#[tokio::test]
async fn a_refusal_after_a_try_without_an_answer_says_that_it_does_not_know() {
    let Some(behind) = Behind::new() else { return };
    let (store, proxy) = (behind.aws.store(), &behind.proxy);
    let version = store.put(&key("a"), body("theirs"), Expect::Absent, NOW).await.unwrap();
    proxy.rule("PutItem", 0, 1, Fault::LoseRequest);
    let error = store.put(&key("a"), body("ours"), Expect::Absent, NOW).await.unwrap_err();
    assert!(matches!(&error, PortError::Failed(why) if why.contains("not known")), "{error:?}");
    // Whether the deletion was ours or another's cannot be told either.
    proxy.rule("DeleteItem", 0, 1, Fault::LoseAnswer);
    let error = store.delete(&key("a"), Expect::At(version), NOW).await.unwrap_err();
    assert!(matches!(&error, PortError::Failed(why) if why.contains("not known")), "{error:?}");
    assert_eq!(text(&store, "a").await, None);
    // Throttling does tell: nothing was written by the first try.
    store.put(&key("a"), body("theirs"), Expect::Absent, NOW).await.unwrap();
    proxy.rule("PutItem", 0, 1, Fault::throttle());
    assert!(matches!(store.put(&key("a"), body("ours"), Expect::Absent, NOW).await, Err(PortError::Conflict)));
    proxy.rule("DeleteItem", 0, 1, Fault::LoseRequest);
    assert!(matches!(store.delete(&key("a"), Expect::At(version), NOW).await, Err(PortError::Conflict)), "what is there was not deleted");
}

#[tokio::test]
async fn throttling_without_end_is_an_error_that_says_what_to_do() {
    let Some(behind) = Behind::new() else { return };
    let (store, proxy) = (behind.aws.store(), &behind.proxy);
    proxy.rule("DynamoDB", 0, usize::MAX, Fault::throttle());
    let calls = [
        store.get(&key("a"), NOW).await.map(|_| ()),
        store.put(&key("a"), body("x"), Expect::Any, NOW).await.map(|_| ()),
        store.list("p", ""..END, 10, NOW).await.map(|_| ()),
    ];
    for call in calls {
        let error = call.unwrap_err().to_string();
        assert!(error.contains("ThrottlingException") && error.contains("quota") && error.contains(&behind.stack.names.table), "{error}");
    }
    assert_eq!(proxy.seen("GetItem").len(), 3, "the first try and two more");
    proxy.clear();
    proxy.rule("DynamoDB", 0, usize::MAX, Fault::Refuse(400, "AccessDeniedException"));
    let error = store.get(&key("a"), NOW).await.unwrap_err().to_string();
    assert!(error.contains("role"), "{error}");
}

#[tokio::test]
async fn writes_that_dynamodb_leaves_undone_are_given_to_it_again() {
    let Some(behind) = Behind::new() else { return };
    let (store, proxy) = (behind.aws.store(), &behind.proxy);
    let writes = |from: usize| (from..from + 25).map(|n| Write::Put(key(&format!("{n:02}")), body("x"), Expect::Any)).collect::<Vec<_>>();
    proxy.rule("BatchWriteItem", 0, 2, Fault::unprocessed(3));
    let answers = store.write(writes(0), NOW).await.unwrap();
    let sizes: Vec<usize> = proxy.seen("BatchWriteItem").iter().map(|seen| seen.body.len() / 100).collect();
    assert!(sizes.len() == 3 && sizes[1] < sizes[0] / 5, "25, then 3, then 3: {sizes:?}");
    let stored = store.list("p", ""..END, 100, NOW).await.unwrap();
    assert_eq!(stored.len(), 25);
    for (stored, answer) in stored.iter().zip(answers) {
        assert_eq!(answer.unwrap(), stored.version);
    }
    // Not without end.
    proxy.rule("BatchWriteItem", 0, usize::MAX, Fault::unprocessed(3));
    let answers = store.write(writes(50), NOW).await.unwrap();
    let left: Vec<usize> = (0..25).filter(|n| matches!(&answers[*n], Err(PortError::Failed(why)) if why.contains("throttled"))).collect();
    assert_eq!(left, [22, 23, 24]);
    assert!(answers[..22].iter().all(Result::is_ok));
    assert_eq!(store.list("p", "50"..END, 100, NOW).await.unwrap().len(), 22);
}

#[tokio::test]
async fn lost_answers_among_many_writes_lose_none() {
    let Some(behind) = Behind::new() else { return };
    let (store, proxy) = (behind.aws.store(), &behind.proxy);
    proxy.rule("BatchWriteItem", 1, 1, Fault::LoseAnswer);
    proxy.rule("PutItem", 3, 5, Fault::LoseAnswer);
    let expect = |n: usize| if n.is_multiple_of(3) { Expect::Absent } else { Expect::Any };
    let writes = (0..90).map(|n| Write::Put(key(&format!("{n:02}")), body(&n.to_string()), expect(n))).collect();
    let answers = store.write(writes, NOW).await.unwrap();
    let stored = store.list("p", ""..END, 100, NOW).await.unwrap();
    assert_eq!(stored.len(), 90);
    for (n, (stored, answer)) in stored.iter().zip(answers).enumerate() {
        assert_eq!((stored.body.as_slice(), stored.version), (n.to_string().as_bytes(), answer.unwrap()));
    }
    assert_eq!(proxy.seen("PutItem").len(), 35);
}

#[tokio::test]
async fn writes_of_one_key_take_place_in_the_order_asked() {
    let Some(behind) = Behind::new() else { return };
    let store = behind.aws.store();
    let mut writes: Vec<_> = (0..5).map(|n| Write::Put(key("a"), body(&n.to_string()), Expect::Any)).collect();
    writes.push(Write::Put(key("b"), body("b"), Expect::Absent));
    writes.push(Write::Put(key("b"), body("c"), Expect::Absent));
    writes.push(Write::Delete(key("b"), Expect::Any));
    let answers = store.write(writes, NOW).await.unwrap();
    assert!(matches!(answers[6], Err(PortError::Conflict)));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 7);
    assert_eq!((text(&store, "a").await.as_deref(), text(&store, "b").await), (Some("4"), None));
}

#[tokio::test]
async fn a_list_goes_on_where_a_page_of_a_megabyte_ends() {
    let Some(behind) = Behind::new() else { return };
    let (store, proxy) = (behind.aws.store(), &behind.proxy);
    let entry = |n: usize| IndexEntry { index: Index::First, partition: "i".to_owned(), sort: format!("{n:02}"), summary: String::new() };
    let large = |n: usize| Document { body: vec![b'x'; 150_000], index: vec![entry(n)], expires_at: None };
    store.write((0..20).map(|n| Write::Put(key(&format!("{n:02}")), large(n), Expect::Any)).collect(), NOW).await.unwrap();
    assert_eq!(store.list("p", ""..END, 100, NOW).await.unwrap().len(), 20);
    let pages = proxy.seen("Query").len();
    assert!(pages >= 3, "{pages} pages for 3 MB");
    assert_eq!(store.list("p", "05"..END, 3, NOW).await.unwrap().len(), 3);
    assert_eq!(proxy.seen("Query").len(), pages + 1, "no more is read than is asked for");
    assert_eq!(store.list_index(Index::First, "i", ""..END, true, 100, NOW).await.unwrap().len(), 20);
}

#[tokio::test]
async fn an_item_that_another_wrote_is_named_and_not_taken_for_a_document() {
    let Some(behind) = Behind::new() else { return };
    behind.stack.put_item(&json!({ "pk": { "S": "p" }, "sk": { "S": "a" }, "b": { "S": "text" }, "v": { "N": "1" } }));
    let error = behind.aws.store().get(&key("a"), NOW).await.unwrap_err().to_string();
    assert!(error.contains("no b that Penstock wrote"), "{error}");
}

#[tokio::test]
async fn a_bound_longer_than_any_key_is_no_error() {
    let Some(behind) = Behind::new() else { return };
    let store = behind.aws.store();
    let longest = "a".repeat(1024);
    store.put(&key(&longest), body("x"), Expect::Absent, NOW).await.unwrap();
    store.put(&key("b"), body("x"), Expect::Absent, NOW).await.unwrap();
    let sorts = async |start: &str, end: &str| {
        let listed = store.list("p", start..end, 10, NOW).await.unwrap();
        listed.into_iter().map(|stored| stored.key.sort).collect::<Vec<_>>()
    };
    let behind_it = format!("{longest}\0");
    assert_eq!(sorts(&behind_it, END).await, ["b"]);
    assert_eq!(sorts("", &behind_it).await, std::slice::from_ref(&longest));
    assert_eq!(sorts("a", &behind_it).await, [longest]);
}
