//! What planning a large model takes of functions: `cargo run --release -p tests --example parts -- target/release 10000000 1000000`, with
//! PENSTOCK_MOTO naming moto's server. The second number is how many keys a function may hold.
//!
//! The rows lie in twenty objects. They are taken as delivered (every row is new), then planned again with some changes: for each it says how
//! long it took, in how many parts, and the most memory that any process of `plan` held.

use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::aws::moto;
use tests::client;
use tests::stack::{Setting, Stack};

/// Objects that the rows lie in.
const OBJECTS: usize = 20;

/// Rows `from..to` of the model; every fiftieth differs from one version to the next, and every two hundredth is gone.
fn rows(from: usize, to: usize, version: usize) -> Vec<u8> {
    let mut text = String::from("id,email,name,city\n");
    for id in from..to {
        if version > 0 && id % 200 == 7 {
            continue;
        }
        let name = if id % 50 == 0 { version } else { 0 };
        writeln!(text, "{id},person{id}@example.com,Person {id} the {name}.,City {}", id % 977).expect("a string takes what it is given");
    }
    text.into_bytes()
}

struct Bench {
    stack: Stack,
    authorization: String,
}

impl Bench {
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let headers = [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
        let answer = client::call(self.stack.address, method, path, &headers, body.to_string()).expect("an answer");
        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
        answer.json()
    }

    fn put(&self, rows_in_all: usize, version: usize) {
        for object in 0..OBJECTS {
            let bytes = rows(rows_in_all * object / OBJECTS, rows_in_all * (object + 1) / OBJECTS, version);
            self.stack.put_object(moto().expect("moto"), &format!("rows/{object:02}.csv"), bytes);
        }
    }

    fn run(&self, what: &str, wish: &Value) {
        self.stack.functions.plan.forget_idle();
        let (start, calls) = (Instant::now(), self.stack.functions.plan.calls());
        let id = self.call("POST", "/v1/exports/news/runs", wish)["id"].as_str().expect("an id").to_owned();
        let run = loop {
            let run = self.call("GET", &format!("/v1/runs/{id}"), &Value::Null);
            if !matches!(run["status"].as_str(), Some("planning" | "delivering")) {
                break run;
            }
            assert!(start.elapsed() < Duration::from_secs(3600), "it does not end: {run:#}");
            std::thread::sleep(Duration::from_millis(100));
        };
        println!(
            "{what}: {:.1} s, {} calls of plan, at most {:.0} MiB; {} {} {}",
            start.elapsed().as_secs_f64(),
            self.stack.functions.plan.calls() - calls,
            self.stack.functions.plan.peak_mib(),
            run["status"],
            run["changes"],
            run["settled"],
        );
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [executables, count, keys] = &words[..] else { panic!("name a folder of executables, a number of rows, a number of keys") };
    let count: usize = count.parse().expect("a number of rows");
    let executables = std::path::absolute(Path::new(executables)).expect("a path");
    let mut setting = Setting::new(&executables);
    setting.environment.push(("PENSTOCK_PART_KEYS".to_owned(), keys.clone()));
    setting.environment.push(("PENSTOCK_DISK_MB".to_owned(), "10240".to_owned()));
    let stack = Stack::start(moto().expect("PENSTOCK_MOTO names moto's server"), setting);
    let authorization = format!("Bearer {}", stack.token("default"));
    let path = format!("s3://{}/rows/", stack.parts.names.bucket);
    let bench = Bench { stack, authorization };
    bench.put(count, 0);
    let body = r#"{"users": [{{#each users}}{"id": "{{id}}", "email": "{{email}}", "name": "{{name}}"},{{/each}}]}"#;
    let action = json!({"url": "/members", "batch": {"mode": "batched", "size": 100}, "body": body});
    let project = json!({
        "destinations": {"crm": {"base_url": "https://example.com", "actions": {"add": action, "update": "same_as_add", "remove": action}}},
        "models": {"people": {"primary_key": ["id"], "source": {"type": "file", "path": path}}},
        "exports": {"news": {"model": "people", "destination": "crm"}},
    });
    bench.call("POST", "/v1/apply", &project);
    bench.run("taken as delivered", &json!({"adopt": true}));
    bench.put(count, 1);
    bench.run("planned again", &json!({"adopt": true}));
}
