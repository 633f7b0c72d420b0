//! A stack on a stand-in for AWS: `moto` in a process of its own, tables and buckets with names of their own, and a proxy for what goes wrong
//! on the way. It must not know what the product does with them.
//!
//! moto is a Python program: `pip install 'moto[server]==5.2.5'` puts `moto_server` on the path, or `PENSTOCK_MOTO` names it. It checks no
//! signatures, does not honour `ClientRequestToken`, and deletes nothing that has expired.

mod dynoxide;
mod moto;
mod proxy;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use backend_aws::meter::Meter;
use backend_aws::{Aws, Environment, Names};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use engine::port::Objects;
use serde_json::{Value, json};

use crate::client::{Answer, call};

pub use dynoxide::Dynoxide;
pub use moto::{Moto, moto};
pub use proxy::{Fault, Proxy, Seen};

/// Tells the stacks of this process apart. moto belongs to the process alone.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Room for copies of objects, bytes: enough for any test that is not about it.
const SCRATCH_BYTES: u64 = 64 << 20;

/// A table, a bucket, a KMS key and a queue that nobody else uses, all empty.
#[derive(Debug)]
pub struct Stack {
    moto: SocketAddr,
    /// What they are called.
    pub names: Names,
    /// The queue's URL.
    pub queue: String,
    _folder: tempfile::TempDir,
}

impl Stack {
    /// Makes them.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn new(moto: &Moto) -> Stack {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (table, bucket, queue) = (format!("penstock-{number}"), format!("penstock-{number}"), format!("penstock-{number}"));
        let address = moto.address();
        ask(address, "dynamodb", "DynamoDB_20120810.CreateTable", &table_description(&table));
        signed(address, "s3", "PUT", &format!("/{bucket}"), &[], Vec::new()).expect(200);
        let key = ask(address, "kms", "TrentService.CreateKey", &json!({}));
        let key = key["KeyMetadata"]["KeyId"].as_str().expect("a key has an id").to_owned();
        let made = ask(address, "sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": queue }));
        let queue = made["QueueUrl"].as_str().expect("a queue has a URL").to_owned();
        let folder = tempfile::tempdir().expect("a folder for copies");
        let names = Names { table, bucket, key, scratch: folder.path().join("copies"), scratch_bytes: SCRATCH_BYTES };
        Stack { moto: address, names, queue, _folder: folder }
    }

    /// The way to it, with a meter that remembers.
    pub fn aws(&self) -> Aws {
        self.aws_by(self.moto)
    }

    /// The way to it through this address, a [`Proxy`]'s say.
    pub fn aws_by(&self, address: SocketAddr) -> Aws {
        Aws::new(environment(address), self.names.clone(), Meter::remembering())
    }

    /// Bodies of the messages that can be received now, after which they are gone.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn take_messages(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let received = ask(
                self.moto,
                "sqs",
                "AmazonSQS.ReceiveMessage",
                &json!({ "QueueUrl": self.queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0 }),
            );
            let Some(messages) = received["Messages"].as_array().filter(|messages| !messages.is_empty()) else { return bodies };
            for message in messages {
                bodies.push(message["Body"].as_str().expect("a message has a body").to_owned());
                let receipt = json!({ "QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"] });
                ask(self.moto, "sqs", "AmazonSQS.DeleteMessage", &receipt);
            }
        }
    }

    /// How many messages can be received now, and how many later.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn count_messages(&self) -> (u64, u64) {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"];
        let asked = json!({ "QueueUrl": self.queue, "AttributeNames": names });
        let found = ask(self.moto, "sqs", "AmazonSQS.GetQueueAttributes", &asked);
        let count = |name: &str| found["Attributes"][name].as_str().and_then(|digits| digits.parse().ok()).expect("a count");
        (count(names[0]), count(names[1]))
    }

    /// Everything that is kept, with where: the attributes of the table's items, and the objects.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn kept(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        let mut asked = json!({ "TableName": self.names.table, "ConsistentRead": true });
        loop {
            let scanned = ask(self.moto, "dynamodb", "DynamoDB_20120810.Scan", &asked);
            for item in scanned["Items"].as_array().into_iter().flatten() {
                let place = format!("item {} {}", item["pk"]["S"], item["sk"]["S"]);
                for (name, value) in item.as_object().into_iter().flatten() {
                    let bytes = match value["B"].as_str() {
                        Some(encoded) => BASE64.decode(encoded).expect("moto says bytes in base64"),
                        None => value.to_string().into_bytes(),
                    };
                    all.push((format!("{place} {name}"), bytes));
                }
            }
            asked["ExclusiveStartKey"] = scanned["LastEvaluatedKey"].clone();
            if asked["ExclusiveStartKey"].is_null() {
                break;
            }
        }
        let objects = self.aws().objects().expect("a bucket");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for name in objects.list("").await.expect("moto lists") {
                let bytes = objects.get(&name, None).await.expect("it is there");
                all.push((format!("object {name}"), bytes));
            }
        });
        all
    }

    /// Writes an item of the table as it stands, past the product.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn put_item(&self, item: &Value) {
        ask(self.moto, "dynamodb", "DynamoDB_20120810.PutItem", &json!({ "TableName": self.names.table, "Item": item }));
    }
}

/// Stacks of one test, kept until it ends.
#[derive(Debug)]
pub struct Stacks {
    moto: &'static Moto,
    made: Mutex<Vec<Stack>>,
}

impl Stacks {
    /// None yet; `None` if moto is not here (see [`moto`]).
    pub fn new() -> Option<Stacks> {
        moto().map(|moto| Stacks { moto, made: Mutex::default() })
    }

    /// The way to a new one.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn aws(&self) -> Aws {
        let stack = Stack::new(self.moto);
        let aws = stack.aws();
        self.made.lock().expect("no test panicked here").push(stack);
        aws
    }
}

/// What the environment of a function would say.
pub fn environment(address: SocketAddr) -> Environment {
    let values = [
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
    ];
    Environment::of(|name| values.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone())).expect("all is given")
}

/// As in the stack's template: what the backend needs and nothing else.
fn table_description(table: &str) -> Value {
    let index = |(name, short): (&str, &str)| {
        json!({
            "IndexName": name,
            "KeySchema": [
                { "AttributeName": format!("{short}p"), "KeyType": "HASH" },
                { "AttributeName": format!("{short}s"), "KeyType": "RANGE" },
            ],
            "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": [format!("{short}m"), "x"] },
        })
    };
    let attributes = ["pk", "sk", "i1p", "i1s", "i2p", "i2s", "i3p", "i3s"];
    let attributes = attributes.map(|name| json!({ "AttributeName": name, "AttributeType": "S" }));
    let indexes = [("first", "i1"), ("second", "i2"), ("third", "i3")].map(index);
    json!({
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" }],
        "AttributeDefinitions": attributes,
        "GlobalSecondaryIndexes": indexes,
    })
}

pub(crate) fn ask(address: SocketAddr, service: &str, target: &str, body: &Value) -> Value {
    let version = if service == "dynamodb" { "application/x-amz-json-1.0" } else { "application/x-amz-json-1.1" };
    let version = if service == "sqs" { "application/x-amz-json-1.0" } else { version };
    let headers = [("x-amz-target", target), ("content-type", version)];
    signed(address, service, "POST", "/", &headers, body.to_string().into_bytes()).expect(200).json()
}

/// One request, which moto takes for signed. It is waited for, on a thread of its own since the caller may be within a runtime.
fn signed(address: SocketAddr, service: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let signature = [("authorization", authorization.as_str()), ("x-amz-date", "20260101T000000Z")];
    let headers: Vec<_> = headers.iter().copied().chain(signature).collect();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| call(address, method, path, &headers, body));
        answer.join().expect("the call does not panic").expect("moto answers")
    })
}

/// The program that runs moto, and the Python that runs it.
fn programs() -> (PathBuf, Option<PathBuf>) {
    let named = std::env::var_os("PENSTOCK_MOTO").map(PathBuf::from);
    let on_path = || {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join("moto_server")).find(|file| file.is_file())
    };
    let program = named.or_else(on_path).unwrap_or_else(|| PathBuf::from("moto_server"));
    // The script's first line says which Python has moto. What starts otherwise is a shim and says nothing.
    let text = std::fs::read_to_string(&program).unwrap_or_default();
    let python = text.lines().next().and_then(|line| line.strip_prefix("#!")).map(|path| PathBuf::from(path.trim()));
    let python = python.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python")));
    (program, python)
}

/// Puts an object as others put rows into S3.
pub fn put_object(address: SocketAddr, bucket: &str, key: &str, bytes: Vec<u8>) {
    signed(address, "s3", "PUT", &format!("/{bucket}/{key}"), &[], bytes).expect(200);
}
