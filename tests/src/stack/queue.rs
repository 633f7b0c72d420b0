//! A queue and its event source mapping: messages are received in batches, handed to the function, and deleted unless the function says
//! that they failed; what failed too often goes to the dead-letter queue. What may go wrong on the way can be set. It must not read bodies.

use super::function::Function;
use crate::aws::ask;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A message is received so often before it goes to the dead-letter queue, as in the template.
const MOST_RECEIVES: u64 = 5;
/// So many calls of a function go on at once.
const MOST_CALLS: usize = 5;

/// What happens to messages on their way.
#[derive(Clone, Debug, Default)]
pub struct Mishaps {
    /// All are lost but those of the minute's look, which name no parcel and no run.
    pub lost: bool,
    /// Each comes twice.
    pub doubled: bool,
    /// Each comes so much later.
    pub late: Duration,
}

/// A batch as it was handed to the function, and how many messages of it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The messages' bodies.
    pub bodies: Vec<String>,
    /// How many are to come again.
    pub failed: usize,
}

/// An event source mapping.
pub struct Mapping {
    moto: SocketAddr,
    /// The queue's URL.
    pub url: String,
    /// The dead-letter queue's URL.
    pub dead: String,
    function: Arc<Function>,
    batch: usize,
    mishaps: Mutex<Mishaps>,
    calls: AtomicU64,
    batches: Mutex<Vec<Batch>>,
}

impl Mapping {
    pub(super) fn new(moto: SocketAddr, url: &str, function: Arc<Function>, batch: usize, dead: String, mishaps: Mishaps) -> Mapping {
        let (calls, batches) = (AtomicU64::new(0), Mutex::default());
        Mapping { moto, url: url.to_owned(), dead, function, batch, mishaps: Mutex::new(mishaps), calls, batches }
    }

    /// Changes what goes wrong from now on.
    pub fn set(&self, mishaps: Mishaps) {
        *self.mishaps.lock().unwrap_or_else(PoisonError::into_inner) = mishaps;
    }

    /// The batches until now.
    pub fn batches(&self) -> Vec<Batch> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a message past the product.
    pub fn send(&self, body: &str) {
        ask(self.moto, "sqs", "AmazonSQS.SendMessage", &json!({"QueueUrl": self.url, "MessageBody": body}));
    }

    /// The bodies of the dead letters, which stay there.
    pub fn dead_letters(&self) -> Vec<String> {
        let asked = json!({"QueueUrl": self.dead, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0, "VisibilityTimeout": 0});
        let received = ask(self.moto, "sqs", "AmazonSQS.ReceiveMessage", &asked);
        let messages = received["Messages"].as_array().cloned().unwrap_or_default();
        messages.iter().filter_map(|message| message["Body"].as_str().map(str::to_owned)).collect()
    }

    pub(super) fn start(self: &Arc<Self>, leave: &Arc<AtomicBool>) -> JoinHandle<()> {
        let (mapping, leave) = (Arc::clone(self), Arc::clone(leave));
        std::thread::spawn(move || {
            while !leave.load(Ordering::Relaxed) {
                if mapping.calls.load(Ordering::Relaxed) >= MOST_CALLS as u64 || !mapping.receive() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            // Calls that go on end with the functions.
            let end = Instant::now() + Duration::from_secs(10);
            while mapping.calls.load(Ordering::Relaxed) > 0 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    }

    /// Receives a batch and has it worked on. False: there was none.
    fn receive(self: &Arc<Self>) -> bool {
        let asked = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": self.batch, "WaitTimeSeconds": 0, "AttributeNames": ["All"],
        });
        let received = ask(self.moto, "sqs", "AmazonSQS.ReceiveMessage", &asked);
        let messages = received["Messages"].as_array().cloned().unwrap_or_default();
        let (dead, messages): (Vec<Value>, Vec<Value>) = messages.into_iter().partition(|message| {
            let count = message["Attributes"]["ApproximateReceiveCount"].as_str().and_then(|count| count.parse().ok());
            count.unwrap_or(0) > MOST_RECEIVES
        });
        for message in &dead {
            ask(self.moto, "sqs", "AmazonSQS.SendMessage", &json!({"QueueUrl": self.dead, "MessageBody": message["Body"]}));
            self.delete(message);
        }
        if messages.is_empty() {
            return !dead.is_empty();
        }
        let mishaps = self.mishaps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let messages = match mishaps.lost {
            false => messages,
            true => {
                let names =
                    |message: &Value| message["Body"].as_str().is_some_and(|body| body.contains("\"parcel\"") || body.contains("\"run\""));
                let (lost, left): (Vec<Value>, Vec<Value>) = messages.into_iter().partition(names);
                lost.iter().for_each(|message| self.delete(message));
                left
            }
        };
        if messages.is_empty() {
            return true;
        }
        for _ in 0..if mishaps.doubled { 2 } else { 1 } {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let (mapping, messages, late) = (Arc::clone(self), messages.clone(), mishaps.late);
            std::thread::spawn(move || {
                mapping.wait(late);
                mapping.work(&messages);
                mapping.calls.fetch_sub(1, Ordering::Relaxed);
            });
        }
        true
    }

    /// A message comes late, unless all is over before.
    fn wait(&self, late: Duration) {
        let end = Instant::now() + late;
        while Instant::now() < end && !self.function.is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn work(&self, messages: &[Value]) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let records: Vec<Value> = messages
            .iter()
            .map(|message| {
                json!({
                    "messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
                    "attributes": message["Attributes"], "messageAttributes": {}, "md5OfBody": message["MD5OfBody"],
                    "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:test", "awsRegion": "us-east-1",
                })
            })
            .collect();
        let answer = self.function.invoke(&json!({"Records": records}));
        let failed: Vec<String> = match &answer {
            Ok(answer) => answer["batchItemFailures"].as_array().into_iter().flatten().map(|item| text(&item["itemIdentifier"])).collect(),
            // Nothing of a call that ended without an answer is deleted.
            Err(_) => messages.iter().map(|message| text(&message["MessageId"])).collect(),
        };
        for message in messages.iter().filter(|message| !failed.contains(&text(&message["MessageId"]))) {
            self.delete(message);
        }
        let bodies = messages.iter().map(|message| text(&message["Body"])).collect();
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(Batch { bodies, failed: failed.len() });
    }

    fn delete(&self, message: &Value) {
        let receipt = json!({"QueueUrl": self.url, "ReceiptHandle": message["ReceiptHandle"]});
        ask(self.moto, "sqs", "AmazonSQS.DeleteMessage", &receipt);
    }
}

/// Makes a queue and gives its URL.
pub(super) fn make(moto: SocketAddr, name: &str, visibility_seconds: u64) -> String {
    let attributes = json!({"VisibilityTimeout": visibility_seconds.to_string()});
    let made = ask(moto, "sqs", "AmazonSQS.CreateQueue", &json!({"QueueName": name, "Attributes": attributes}));
    made["QueueUrl"].as_str().expect("a queue has a URL").to_owned()
}
