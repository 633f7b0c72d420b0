//! What is counted, over calls that are made: the rules themselves are tested where they stand.

use super::Behind;
use backend_aws::meter::{Units, price};
use engine::port::{Document, Expect, Index, IndexEntry, Key, Message, Objects, Queue, Store, Write};
use tests::aws::Fault;

const NOW: u64 = 1_800_000_000;
const END: &str = "\u{10ffff}";

fn key(sort: &str) -> Key {
    Key::new("p", sort)
}

fn document(bytes: usize, summary: Option<&str>) -> Document {
    let entry =
        |summary: &str| IndexEntry { index: Index::First, partition: "i".to_owned(), sort: "1".to_owned(), summary: summary.to_owned() };
    Document { body: vec![b'x'; bytes], expires_at: None, index: summary.into_iter().map(entry).collect() }
}

#[tokio::test]
async fn each_call_is_counted_as_aws_bills_it() {
    let Some(behind) = Behind::new() else { return };
    let (aws, store) = (&behind.aws, behind.aws.store());
    let mut before = Units::default();
    let mut rose = |what: &str, writes: u64, half_reads: u64| {
        let units = aws.meter().charge().units;
        let found = (units.dynamodb_writes - before.dynamodb_writes, units.dynamodb_half_reads - before.dynamodb_half_reads);
        before = units;
        assert_eq!(found, (writes, half_reads), "{what}: writes and halves of reads");
    };
    let version = store.put(&key("a"), document(100, Some("one")), Expect::Absent, NOW).await.unwrap();
    rose("a new item with an entry", 2, 0);
    store.put(&key("a"), document(2000, Some("one")), Expect::Absent, NOW).await.unwrap_err();
    rose("a refused write of 2 KB", 2, 0);
    store.put(&key("a"), document(2000, Some("one")), Expect::At(version), NOW).await.unwrap();
    rose("2 KB, the entry unchanged", 2, 0);
    store.put(&key("a"), document(100, Some("two")), Expect::Any, NOW).await.unwrap();
    rose("2 KB become little, the summary changes", 3, 0);
    store.get(&key("a"), NOW).await.unwrap();
    rose("a strong read", 0, 2);
    store.get(&key("none"), NOW).await.unwrap();
    rose("a strong read of nothing", 0, 2);
    store.write((0..30).map(|n| Write::Put(key(&format!("z{n:02}")), document(1010, None), Expect::Any)).collect(), NOW).await.unwrap();
    rose("30 items above a kilobyte with their keys", 60, 0);
    assert_eq!(store.list("p", "z"..END, 100, NOW).await.unwrap().len(), 30);
    // 30 times pk 3, sk 5, b 1011 and v some 12.
    rose("30 items of a kilobyte, read strongly", 0, 16);
    store.list_index(Index::First, "i", ""..END, false, 10, NOW).await.unwrap();
    rose("an entry", 0, 1);
    store.delete(&key("a"), Expect::Any, NOW).await.unwrap();
    rose("a deletion with its entry", 2, 0);
    store.delete(&key("a"), Expect::Any, NOW).await.unwrap();
    rose("a deletion of nothing", 1, 0);
}

#[tokio::test]
async fn a_try_without_an_answer_is_counted_and_a_throttled_one_is_not() {
    let Some(behind) = Behind::new() else { return };
    let store = behind.aws.store();
    behind.proxy.rule("PutItem", 0, 1, Fault::LoseAnswer);
    behind.proxy.rule("PutItem", 0, 1, Fault::throttle());
    store.put(&key("a"), document(10, None), Expect::Any, NOW).await.unwrap();
    let charge = behind.aws.meter().charge();
    assert_eq!(charge.calls[&("DynamoDB".to_owned(), "PutItem".to_owned())], 3);
    assert_eq!(charge.units.dynamodb_writes, 2);
}

#[tokio::test]
async fn messages_and_objects_are_counted_by_requests() {
    let Some(behind) = Behind::new() else { return };
    let (queue, objects) = (behind.aws.queue(&behind.stack.queue), behind.aws.objects().unwrap());
    let of = |length: usize| Message { body: "x".repeat(length), delay_seconds: 0 };
    queue.send((0..20).map(|_| of(100)).collect()).await.unwrap();
    assert_eq!(behind.aws.meter().charge().units.sqs_requests, 2);
    queue.send(vec![of(65_536), of(1)]).await.unwrap();
    assert_eq!(behind.aws.meter().charge().units.sqs_requests, 4);
    objects.put("a/b", b"x".to_vec()).await.unwrap();
    objects.get("a/b", None).await.unwrap();
    objects.list("a/").await.unwrap();
    objects.delete("a/b").await.unwrap();
    let units = behind.aws.meter().charge().units;
    assert_eq!((units.s3_puts, units.s3_gets), (2, 1));
    assert!((price(&units) - (4.0 * 0.4e-6 + 2.0 * 5e-6 + 0.4e-6)).abs() < 1e-12);
}
