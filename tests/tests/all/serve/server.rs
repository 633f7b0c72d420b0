//! A server process and calls to it. It must not know what they should come to.

use crate::journey::stage::Stage;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tests::client::{self, Answer};

/// Nothing that these tests wait for takes longer, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server; killed when the test is through with it.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// The token of its first start.
    pub token: String,
    /// What it said when it started.
    pub begun: Value,
    errors: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the project of a stage.
    #[track_caller]
    pub fn start(stage: &Stage) -> Server {
        Server::start_with(stage, &[])
    }

    /// The same with more words on the command line.
    #[track_caller]
    pub fn start_with(stage: &Stage, more: &[&str]) -> Server {
        let words = [&["serve", "--listen", "127.0.0.1:0", "--json", "--allow-private"], more].concat();
        let mut child = stage.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("penstock starts");
        let errors = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().expect("standard error is a pipe");
        let kept = Arc::clone(&errors);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                kept.lock().expect("no reader panicked").push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        stdout.read_line(&mut line).expect("standard output can be read");
        let begun: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let _ = child.wait();
            panic!("the server did not start: {line}{}", errors.lock().expect("no reader panicked"))
        });
        let address = begun["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("it says where it listens");
        let token = std::fs::read_to_string(stage.path(".penstock/token")).expect("the first start left a token");
        let address = address.parse().expect("an address");
        Server { child, address, token: token.trim().to_string(), begun, errors, reader: Some(reader) }
    }

    /// A call with the first token.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.call_as(&self.token, method, path, body)
    }

    /// A call with another token.
    #[track_caller]
    pub fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(token, method, path, &[("content-type", "application/json")], bytes)
    }

    /// A call with any headers and body.
    #[track_caller]
    pub fn send(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let authorization = format!("Bearer {token}");
        let headers = [&[("authorization", authorization.as_str())], headers].concat();
        client::call(self.address, method, path, &headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}; the server said {}", self.errors()))
    }

    /// Something that is there, as JSON.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null).expect(200).json()
    }

    /// Puts a definition, which must be taken.
    #[track_caller]
    pub fn put(&self, path: &str, body: Value) -> Value {
        let answer = self.call("PUT", path, body);
        assert!(matches!(answer.status, 200 | 201), "PUT {path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// Starts a run of an export and gives its id.
    #[track_caller]
    pub fn run(&self, export: &str, wish: Value) -> String {
        let run = self.call("POST", &format!("/v1/exports/{export}/runs"), wish).expect(202).json();
        run["id"].as_str().expect("a run has an id").to_string()
    }

    /// Waits until a run has ended, and gives it.
    #[track_caller]
    pub fn ended(&self, run: &str) -> Value {
        self.until(&format!("{run} ends"), || {
            let run = self.get(&format!("/v1/runs/{run}"));
            (!matches!(run["status"].as_str(), Some("planning" | "delivering"))).then_some(run)
        })
    }

    /// Asks again and again until there is an answer.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}; the server said {}", self.errors());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it printed on standard error until now.
    pub fn errors(&self) -> String {
        self.errors.lock().expect("no reader panicked").clone()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, waits, and gives its exit status and everything it said.
    #[track_caller]
    pub fn stop(mut self) -> (i32, String) {
        let asked = std::process::Command::new("sh").args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()]).status();
        assert!(asked.expect("a shell is there").success());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end; it said {}", self.errors());
            std::thread::sleep(Duration::from_millis(10));
        };
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        (status.code().unwrap_or(-1), self.errors())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing is wished of a run.
pub fn no_wish() -> Value {
    json!({})
}
