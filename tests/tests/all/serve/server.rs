//! A server process and calls to it. It must not know what they should come to.

use crate::journey::stage::{People, Stage};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tests::client::{self, Answer};
use tests::stack::{Setting, Stack};

/// Nothing that these tests wait for takes longer, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a journey takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `penstock serve`.
    Machine,
    /// The functions of a stack.
    Stack,
}

/// A journey that is the same on one machine and on a stack, as tests of both. Its body takes the [`Place`].
macro_rules! on_one_machine_and_on_a_stack {
    ($($journey:ident),+ $(,)?) => {
        mod on_one_machine {
            $(#[test]
            fn $journey() {
                super::$journey(crate::serve::server::Place::Machine);
            })+
        }

        mod on_a_stack {
            $(#[test]
            fn $journey() {
                if crate::stack::is_here() {
                    super::$journey(crate::serve::server::Place::Stack);
                }
            })+
        }
    };
}
pub(crate) use on_one_machine_and_on_a_stack;

/// What serves.
enum Host {
    Machine { child: Child, errors: Arc<Mutex<String>>, reader: Option<JoinHandle<()>> },
    Stack(Box<Stack>),
}

/// A running server; killed when the test is through with it.
pub struct Server {
    host: Host,
    /// Where it listens.
    pub address: SocketAddr,
    /// The token of its first start.
    pub token: String,
    /// What it said when it started.
    pub begun: Value,
}

impl Server {
    /// Serves the project of a stage.
    #[track_caller]
    pub fn start(stage: &Stage) -> Server {
        Server::start_with(stage, &[])
    }

    /// Serves the project of a stage there. A stack reads the stage's files from S3.
    #[track_caller]
    pub fn start_on(place: Place, stage: &Stage) -> Server {
        match place {
            Place::Machine => Server::start(stage),
            Place::Stack => Server::of_stack(stage, crate::stack::setting()),
        }
    }

    /// A stack of this setting serves the project of a stage.
    #[track_caller]
    pub fn of_stack(stage: &Stage, setting: Setting) -> Server {
        let stack = crate::stack::start(stage, setting);
        let mut project = stage.project();
        crate::stack::put_files(&stack, stage, &mut project);
        let organization = project["organization"]["id"].as_str().unwrap_or("default");
        let (token, address) = (stack.token(organization), stack.address);
        let server = Server { host: Host::Stack(Box::new(stack)), address, token, begun: Value::Null };
        server.call("POST", "/v1/apply", project).expect(200);
        server
    }

    /// Kills what is at work, as `kill -9` does, and serves again what it left.
    #[track_caller]
    pub fn restart(self, stage: &Stage) -> Server {
        match &self.host {
            Host::Machine { .. } => {
                self.kill();
                Server::start(stage)
            }
            Host::Stack(stack) => {
                stack.functions.deliver.kill_busy();
                stack.functions.plan.kill_busy();
                self
            }
        }
    }

    /// The stack that serves.
    #[track_caller]
    pub fn stack(&self) -> &Stack {
        match &self.host {
            Host::Stack(stack) => stack,
            Host::Machine { .. } => panic!("it is no stack that serves"),
        }
    }

    /// Writes the stage's `people.csv`, where it is read from.
    pub fn people(&self, stage: &Stage, people: &People) {
        stage.people(people);
        if let Host::Stack(stack) = &self.host {
            crate::stack::put_files(stack, stage, &mut stage.project());
        }
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
        let host = Host::Machine { child, errors, reader: Some(reader) };
        Server { host, address, token: token.trim().to_string(), begun }
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
        match &self.host {
            Host::Machine { errors, .. } => errors.lock().expect("no reader panicked").clone(),
            Host::Stack(_) => "nothing: PENSTOCK_TELL=1 shows the functions' lines".to_string(),
        }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(self) {
        drop(self);
    }

    /// Asks it to end, waits, and gives its exit status and everything it said.
    #[track_caller]
    pub fn stop(mut self) -> (i32, String) {
        let Host::Machine { child, errors, reader } = &mut self.host else { panic!("a stack does not stop") };
        let asked = std::process::Command::new("sh").args(["-c", "kill -TERM \"$0\"", &child.id().to_string()]).status();
        assert!(asked.expect("a shell is there").success());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                break status;
            }
            let said = || errors.lock().expect("no reader panicked").clone();
            assert!(start.elapsed() < PATIENCE, "the server does not end; it said {}", said());
            std::thread::sleep(Duration::from_millis(10));
        };
        if let Some(reader) = reader.take() {
            let _ = reader.join();
        }
        (status.code().unwrap_or(-1), self.errors())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Host::Machine { child, .. } = &mut self.host {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nothing is wished of a run.
pub fn no_wish() -> Value {
    json!({})
}
