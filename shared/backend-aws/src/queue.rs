//! Messages to other functions, through one SQS queue. It must not receive: that is Lambda's part. Nor may it hold anything back: what `send`
//! does not say it could not send has been sent.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchRequestEntry};
use engine::port::{Message, PortError, Queue};

use crate::failure::failed;

/// Most messages of a call (SQS's quota).
const BATCH: usize = 10;
/// Most bytes of the messages of a call: SQS takes 1 MiB since August 2025
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>), and 256 KiB in some places still, but the
/// port allows messages below that: so a call is cut at 256 KiB, which costs nothing, as SQS bills by 64 KiB.
const BATCH_BYTES: usize = 256 * 1024;
/// Most bytes of a message, by the port.
const MESSAGE_BYTES: usize = 200_000;
/// Longest delay (SQS's quota).
const LONGEST_DELAY_SECONDS: u32 = 900;
/// How often what SQS failed is given to it.
const ROUNDS: u32 = 5;
/// Before the second time; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// A queue. Clones share the connections.
#[derive(Clone, Debug)]
pub struct AwsQueue {
    client: Client,
    url: String,
}

impl AwsQueue {
    pub(crate) fn new(client: Client, url: String) -> AwsQueue {
        AwsQueue { client, url }
    }

    fn call(&self) -> String {
        format!("SQS SendMessageBatch on {}", self.url)
    }

    /// One call's worth, until SQS has taken all of it.
    async fn send_batch(&self, batch: Vec<Message>) -> Result<(), PortError> {
        let build = |error| PortError::Failed(format!("a message could not be built: {error}"));
        let mut left = HashMap::with_capacity(batch.len());
        for (number, message) in batch.into_iter().enumerate() {
            let delay = message.delay_seconds.min(LONGEST_DELAY_SECONDS) as i32;
            let entry = SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(message.body).delay_seconds(delay);
            left.insert(number.to_string(), entry.build().map_err(build)?);
        }
        let mut wait = FIRST_WAIT;
        for round in 1..=ROUNDS {
            let call = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(left.values().cloned().collect()));
            let answer = call.send().await.map_err(|error| failed(&self.call(), &error))?;
            let Some(worst) = answer.failed.iter().max_by_key(|failure| failure.sender_fault) else { return Ok(()) };
            // What is our fault will not get better.
            if worst.sender_fault || round == ROUNDS {
                return Err(self.refused(answer.failed.len(), worst));
            }
            left.retain(|id, _| answer.failed.iter().any(|failure| failure.id == *id));
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err(PortError::Failed(format!("{} did not come to an end", self.call())))
    }

    fn refused(&self, count: usize, failure: &BatchResultErrorEntry) -> PortError {
        let why = failure.message.as_deref().unwrap_or("without a word");
        PortError::Failed(format!("{} did not take {count} of the messages: {} ({why})", self.call(), failure.code))
    }
}

impl Queue for AwsQueue {
    async fn send(&self, messages: Vec<Message>) -> Result<(), PortError> {
        for message in &messages {
            check(message)?;
        }
        for batch in batches(messages) {
            self.send_batch(batch).await?;
        }
        Ok(())
    }
}

/// Refuses what no call could take, before anything is sent.
fn check(message: &Message) -> Result<(), PortError> {
    let length = message.body.len();
    if length == 0 || length > MESSAGE_BYTES {
        return Err(PortError::Failed(format!("a message has {length} bytes: 1 to {MESSAGE_BYTES} are allowed")));
    }
    // As XML 1.0 has it, which is what SQS takes.
    let allowed = |letter: char| matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    match message.body.chars().find(|letter| !allowed(*letter)) {
        Some(letter) => Err(PortError::Failed(format!("a message holds {letter:?}: SQS takes no control characters"))),
        None => Ok(()),
    }
}

/// Cuts messages into calls, in the order given.
fn batches(messages: Vec<Message>) -> Vec<Vec<Message>> {
    let mut batches: Vec<Vec<Message>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        bytes += message.body.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes <= BATCH_BYTES => batch.push(message),
            _ => {
                bytes = message.body.len();
                batches.push(vec![message]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(length: usize) -> Message {
        Message { body: "x".repeat(length), delay_seconds: 0 }
    }

    #[test]
    fn messages_are_cut_by_ten_and_by_bytes_and_none_is_lost() {
        let sizes = |messages: Vec<Message>| batches(messages).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![]), Vec::<usize>::new());
        assert_eq!(sizes((0..10).map(|_| of(1)).collect()), [10]);
        assert_eq!(sizes((0..21).map(|_| of(1)).collect()), [10, 10, 1]);
        assert_eq!(sizes((0..3).map(|_| of(200_000)).collect()), [1, 1, 1]);
        assert_eq!(sizes(vec![of(131_072), of(131_072), of(1)]), [2, 1]);
    }

    #[test]
    fn what_sqs_does_not_take_is_refused_with_its_reason() {
        assert!(check(&of(200_000)).is_ok());
        for (message, why) in [(of(0), "0 bytes"), (of(200_001), "200001 bytes")] {
            assert!(check(&message).unwrap_err().to_string().contains(why));
        }
        for odd in ['\0', '\u{b}', '\u{ffff}', '\u{fffe}'] {
            assert!(check(&Message { body: odd.to_string(), delay_seconds: 0 }).is_err(), "{odd:?}");
        }
    }
}
