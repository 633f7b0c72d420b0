//! Faults of SQS, and its delays.

use super::Behind;
use engine::port::{Message, PortError, Queue};
use tests::aws::Fault;

fn messages(count: usize) -> Vec<Message> {
    (0..count).map(|n| Message { body: format!("{n:02}"), delay_seconds: 0 }).collect()
}

fn bodies(count: usize) -> Vec<String> {
    messages(count).into_iter().map(|message| message.body).collect()
}

#[tokio::test]
async fn messages_that_sqs_fails_are_sent_again_and_the_others_are_not() {
    let Some(behind) = Behind::new() else { return };
    let queue = behind.aws.queue(&behind.stack.queue);
    behind.proxy.rule("SendMessageBatch", 0, 2, Fault::failed_messages(2, false));
    queue.send(messages(13)).await.unwrap();
    let mut received = behind.stack.take_messages();
    received.sort();
    assert_eq!(received, bodies(13), "each once");
    assert_eq!(behind.proxy.seen("SendMessageBatch").len(), 4, "ten, two of them twice more, three");
}

#[tokio::test]
async fn messages_that_sqs_fails_without_end_are_an_error() {
    let Some(behind) = Behind::new() else { return };
    let queue = behind.aws.queue(&behind.stack.queue);
    behind.proxy.rule("SendMessageBatch", 0, usize::MAX, Fault::failed_messages(1, false));
    let error = queue.send(messages(3)).await.unwrap_err();
    assert!(matches!(&error, PortError::Failed(why) if why.contains("InternalError")), "{error:?}");
    assert_eq!(behind.proxy.seen("SendMessageBatch").len(), 5);
    // What is our own fault is not tried again.
    behind.proxy.clear();
    behind.proxy.rule("SendMessageBatch", 0, usize::MAX, Fault::failed_messages(1, true));
    queue.send(messages(3)).await.unwrap_err();
    assert_eq!(behind.proxy.seen("SendMessageBatch").len(), 6);
}

#[tokio::test]
async fn a_send_whose_answer_was_lost_may_double_messages_and_loses_none() {
    let Some(behind) = Behind::new() else { return };
    let queue = behind.aws.queue(&behind.stack.queue);
    behind.proxy.rule("SendMessageBatch", 0, 1, Fault::LoseAnswer);
    queue.send(messages(5)).await.unwrap();
    let mut received = behind.stack.take_messages();
    received.sort();
    received.dedup();
    assert_eq!(received, bodies(5));
}

#[tokio::test]
async fn a_delay_is_kept_and_one_that_is_too_long_counts_as_the_longest() {
    let Some(behind) = Behind::new() else { return };
    let queue = behind.aws.queue(&behind.stack.queue);
    let of = |delay_seconds| Message { body: "x".to_owned(), delay_seconds };
    queue.send(vec![of(0), of(60), of(900), of(901), of(u32::MAX)]).await.unwrap();
    assert_eq!(behind.stack.count_messages(), (1, 4));
    let sent: serde_json::Value = serde_json::from_slice(&behind.proxy.seen("SendMessageBatch")[0].body).unwrap();
    let mut delays: Vec<u64> = sent["Entries"].as_array().unwrap().iter().filter_map(|entry| entry["DelaySeconds"].as_u64()).collect();
    delays.sort_unstable();
    assert_eq!(delays, [0, 60, 900, 900, 900]);
}
