//! Many writes: unconditional ones 25 a call, conditional ones as calls of their own, side by side. It must not put two writes of one key into
//! the same round: `BatchWriteItem` refuses that, and side by side their order would be left to chance.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{DeleteRequest, PutRequest, WriteRequest};
use engine::port::{Document, Expect, Key, PortError, Write};
use futures_util::stream::{self, StreamExt};

use super::item::{self, Item};
use super::{AwsStore, new_version};
use crate::failure::failed;

/// Most writes of a `BatchWriteItem` (DynamoDB's quota; 25 items of ours are below its 16 MB).
pub(crate) const BATCH: usize = 25;
/// Calls under way at once. A connection each, so not many.
const AT_ONCE: usize = 16;
/// How often what DynamoDB left undone is given to it again.
const ROUNDS: u32 = 8;
/// Before the first time; each further wait is twice as long, up to the limit.
const FIRST_WAIT: Duration = Duration::from_millis(25);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A write at its place in what was asked.
type Placed = (usize, Write);
/// What became of the write at a place.
type Answer = (usize, Result<u64, PortError>);

impl AwsStore {
    pub(super) async fn write_now(&self, writes: Vec<Write>, now: u64) -> Result<Vec<Result<u64, PortError>>, PortError> {
        let mut answers: Vec<Option<Result<u64, PortError>>> = writes.iter().map(|_| None).collect();
        for round in rounds(writes, &mut answers) {
            for (place, answer) in self.write_round(round, now).await {
                answers[place] = Some(answer);
            }
        }
        let unanswered = || Err(PortError::Failed("a write was left without an answer".to_owned()));
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect())
    }

    /// Writes of distinct keys.
    async fn write_round(&self, writes: Vec<Placed>, now: u64) -> Vec<Answer> {
        let (free, bound): (Vec<_>, Vec<_>) = writes.into_iter().partition(|(_, write)| expects(write) == Expect::Any);
        let mut calls = Vec::new();
        let mut free = free.into_iter().peekable();
        while free.peek().is_some() {
            let batch: Vec<_> = free.by_ref().take(BATCH).collect();
            calls.push(Call::Batch(batch));
        }
        calls.extend(bound.into_iter().map(Call::Single));
        let answers = stream::iter(calls).map(|call| self.call_once(call, now)).buffer_unordered(AT_ONCE);
        answers.collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    async fn call_once(&self, call: Call, now: u64) -> Vec<Answer> {
        match call {
            Call::Single((place, Write::Put(key, document, expect))) => vec![(place, self.put_now(&key, document, expect, now).await)],
            Call::Single((place, Write::Delete(key, expect))) => vec![(place, self.delete_now(&key, expect, now).await.map(|()| 0))],
            Call::Batch(batch) => self.batch(batch).await,
        }
    }

    /// At most 25 unconditional writes.
    async fn batch(&self, batch: Vec<Placed>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut places = HashMap::with_capacity(batch.len());
        let mut requests = Vec::with_capacity(batch.len());
        for (place, write) in batch {
            match request(write) {
                Ok((key, version, request)) => {
                    places.insert((key.partition, key.sort), answers.len());
                    answers.push((place, Ok(version)));
                    requests.push(request);
                }
                Err(error) => answers.push((place, Err(error))),
            }
        }
        // Those that DynamoDB did not come to, and why.
        if let Err((left, why)) = self.batch_until_done(requests).await {
            for key in left.iter().filter_map(key_of_request) {
                if let Some(answer) = places.get(&key) {
                    answers[*answer].1 = Err(PortError::Failed(why.clone()));
                }
            }
        }
        answers
    }

    async fn batch_until_done(&self, mut left: Vec<WriteRequest>) -> Result<(), (Vec<WriteRequest>, String)> {
        let mut wait = FIRST_WAIT;
        for round in 0..ROUNDS {
            if left.is_empty() {
                return Ok(());
            }
            if round > 0 {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            let call = self.client.batch_write_item().request_items(&*self.table, left.clone());
            match call.send().await {
                Ok(answer) => {
                    let undone = answer.unprocessed_items.unwrap_or_default();
                    left = undone.into_values().flatten().collect();
                }
                Err(error) => return Err((left, failed(&self.call("BatchWriteItem"), &error).to_string())),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let why =
            format!("{} left {} of the writes undone, {ROUNDS} times: it is being throttled", self.call("BatchWriteItem"), left.len());
        Err((left, why))
    }
}

enum Call {
    Batch(Vec<Placed>),
    Single(Placed),
}

/// Cuts writes into rounds of distinct keys, in which a key's writes stand in the order asked. What the port does not allow is answered.
fn rounds(writes: Vec<Write>, answers: &mut [Option<Result<u64, PortError>>]) -> Vec<Vec<Placed>> {
    let mut rounds: Vec<Vec<Placed>> = Vec::new();
    let mut seen: HashMap<Key, usize> = HashMap::new();
    for (place, write) in writes.into_iter().enumerate() {
        if let Err(error) = item::check(&write) {
            answers[place] = Some(Err(error));
            continue;
        }
        let (Write::Put(key, ..) | Write::Delete(key, _)) = &write;
        let before = seen.entry(key.clone()).or_default();
        let round = *before;
        *before += 1;
        if rounds.len() == round {
            rounds.push(Vec::new());
        }
        rounds[round].push((place, write));
    }
    rounds
}

fn expects(write: &Write) -> Expect {
    let (Write::Put(.., expect) | Write::Delete(_, expect)) = write;
    *expect
}

/// A write as part of a batch, with its key and the version that it gives (0 for a deletion).
fn request(write: Write) -> Result<(Key, u64, WriteRequest), PortError> {
    let build = |error| PortError::Failed(format!("a write could not be built: {error}"));
    match write {
        Write::Put(key, document, _) => put_request(key, document, build),
        Write::Delete(key, _) => {
            let request = DeleteRequest::builder().set_key(Some(item::key_of(&key))).build().map_err(build)?;
            Ok((key, 0, WriteRequest::builder().delete_request(request).build()))
        }
    }
}

fn put_request(
    key: Key,
    document: Document,
    build: impl Fn(aws_sdk_dynamodb::error::BuildError) -> PortError,
) -> Result<(Key, u64, WriteRequest), PortError> {
    let version = new_version()?;
    let request = PutRequest::builder().set_item(Some(item::item_of(&key, document, version))).build().map_err(build)?;
    Ok((key, version, WriteRequest::builder().put_request(request).build()))
}

fn key_of_request(request: &WriteRequest) -> Option<(String, String)> {
    let item: &Item = match (&request.put_request, &request.delete_request) {
        (Some(put), _) => &put.item,
        (None, Some(delete)) => &delete.key,
        (None, None) => return None,
    };
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    Some((text("pk")?, text("sk")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_one_key_stand_in_rounds_of_their_own_in_the_order_asked() {
        let put = |sort: &str, body: &str| {
            let document = Document { body: body.as_bytes().to_vec(), ..Document::default() };
            Write::Put(Key::new("p", sort), document, Expect::Any)
        };
        let writes = vec![put("a", "1"), put("b", "1"), put("a", "2"), Write::Delete(Key::new("p", ""), Expect::Any), put("a", "3")];
        let mut answers: Vec<_> = writes.iter().map(|_| None).collect();
        let rounds = rounds(writes, &mut answers);
        let places: Vec<Vec<usize>> = rounds.iter().map(|round| round.iter().map(|(place, _)| *place).collect()).collect();
        assert_eq!(places, [vec![0, 1], vec![2], vec![4]]);
        assert!(matches!(answers[3], Some(Err(PortError::Failed(_)))));
    }
}
