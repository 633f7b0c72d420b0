//! A project folder, its rows, and processes of `penstock` that work in it. It must not know what they should do.

use super::executable::penstock;
use super::on_stack;
use crate::serve::server::{Place, Server};
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::receiver::{Keeping, Members, Receiver, Script};

/// No command of these tests takes longer, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(180);

/// A project that keeps the members of a receiver at `url` in step with `people.csv`: ten rows a request, no rate limit, quick retries.
pub fn project(url: &str) -> Value {
    let body = r#"{"users": [{{#each users}}{"id": "{{id}}", "email": "{{email}}", "name": "{{name}}"},{{/each}}]}"#;
    json!({
        "destinations": {"crm": {
            "base_url": url, "rate_limit": "unlimited", "timeout_seconds": 20, "concurrency": 8,
            "retry": {"first_delay_seconds": 0.02, "max_delay_seconds": 0.5},
            "actions": {
                "add": {"url": "/members", "batch": {"mode": "batched", "size": 10}, "body": body},
                "update": "same_as_add",
                "remove": {"enabled": true, "method": "DELETE", "url": "/members/{{user.id}}"},
            },
        }},
        "models": {"people": {"primary_key": ["id"], "source": {"type": "file", "path": "people.csv"}}},
        "exports": {"news": {"model": "people", "destination": "crm"}},
    })
}

/// Makes every request of [`project`] carry one row.
pub fn one_by_one(project: &mut Value) {
    let add = &mut project["destinations"]["crm"]["actions"]["add"];
    add["batch"] = json!({"mode": "individual"});
    add["body"] = json!(r#"{"id": "{{user.id}}", "email": "{{user.email}}", "name": "{{user.name}}"}"#);
}

/// The destination of [`project`].
pub fn crm(project: &mut Value) -> &mut Value {
    &mut project["destinations"]["crm"]
}

/// The rows of `people.csv`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct People(pub BTreeMap<u32, [String; 2]>);

impl People {
    /// So many, from number 1.
    pub fn new(count: u32) -> People {
        let mut people = People::default();
        (1..=count).for_each(|id| people.put(id, 0));
        people
    }

    /// Adds a person, or changes them to another version.
    pub fn put(&mut self, id: u32, version: u32) {
        let name = match id % 5 {
            0 => format!("O'Brien & Sons \"{id}\""),
            1 => format!("Zoë, the {version}."),
            2 => format!("back\\slash\u{2028}{id}"),
            _ => format!("Person {id}"),
        };
        self.0.insert(id, [format!("p{id}.{version}@example.com"), name]);
    }

    /// Removes a person.
    pub fn remove(&mut self, id: u32) {
        self.0.remove(&id);
    }

    /// As a file.
    pub fn csv(&self) -> String {
        let mut text = String::from("id,email,name\n");
        for (id, [email, name]) in &self.0 {
            text += &format!("{id},{email},\"{}\"\n", name.replace('"', "\"\""));
        }
        text
    }

    /// What the receiver holds when it has them all.
    pub fn members(&self) -> BTreeMap<String, Value> {
        let member =
            |(id, [email, name]): (&u32, &[String; 2])| (id.to_string(), json!({"id": id.to_string(), "email": email, "name": name}));
        self.0.iter().map(member).collect()
    }
}

/// What a receiver holds, shared with it.
pub type Held = Arc<Mutex<Members>>;

/// Listens on a free port of this machine.
pub fn listen(script: impl Script) -> Receiver {
    Receiver::start_at("127.0.0.1:0".parse().expect("an address"), script)
}

/// Listens as an API that keeps members.
pub fn keep(script: impl Script, taken_unanswered: f64, seed: u64) -> (Receiver, Held) {
    let keeping = Keeping::new(script, taken_unanswered, seed);
    let held = keeping.members.clone();
    (listen(keeping), held)
}

/// Whether a receiver holds exactly these people, and nothing that it got was wrong.
#[track_caller]
pub fn assert_holds(held: &Held, people: &People) {
    let held = held.lock().expect("no receiver panicked");
    assert!(held.violations.is_empty(), "{:#?}", held.violations);
    let wanted = people.members();
    let wrong: Vec<_> = wanted.iter().filter(|(id, member)| held.members.get(*id) != Some(member)).take(3).collect();
    let left_over: Vec<_> = held.members.keys().filter(|id| !wanted.contains_key(*id)).take(3).collect();
    assert!(wrong.is_empty() && left_over.is_empty(), "missing or wrong: {wrong:?}; left over: {left_over:?}");
}

/// A folder with a project, whose runs take place on this machine or on a stack.
pub struct Stage {
    folder: TempDir,
    environment: Vec<(String, String)>,
    place: Place,
    stack: OnceCell<Server>,
}

impl Stage {
    /// A folder with this project.
    pub fn new(project: &Value) -> Stage {
        Stage::on(Place::Machine, project)
    }

    /// A folder with this project. On a stack its files are put into S3 and its project is applied before each run.
    pub fn on(place: Place, project: &Value) -> Stage {
        let folder = tempfile::tempdir().expect("a folder for a test");
        let stage = Stage { folder, environment: Vec::new(), place, stack: OnceCell::new() };
        stage.configure(project);
        stage
    }

    /// The same, with a variable in the environment of every command.
    pub fn with_variable(mut self, name: &str, value: &str) -> Stage {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes the project.
    pub fn configure(&self, project: &Value) {
        self.write("penstock.yaml", format!("{project:#}"));
    }

    /// The project.
    pub fn project(&self) -> Value {
        let text = std::fs::read_to_string(self.path("penstock.yaml")).expect("a stage has a project");
        serde_json::from_str(&text).expect("the tests' projects are JSON")
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("a test's folder can be written");
    }

    /// Writes `people.csv`.
    pub fn people(&self, people: &People) {
        self.write("people.csv", people.csv());
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that may send to this machine, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(penstock());
        command.current_dir(self.folder.path()).args(words).stdin(Stdio::null());
        if matches!(words.first(), Some(&"run" | &"test" | &"redeliver")) {
            command.arg("--allow-private");
        }
        // What a developer's shell holds must not matter; a proxy from the environment is never used (semantics.md 23).
        command.env_remove("NEWSLETTER_URL").env("NO_COLOR", "1").env("HOME", self.folder.path());
        for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"] {
            command.env(proxy, "http://127.0.0.1:9");
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a command.
    pub fn start(&self, words: &[&str]) -> Running {
        Running::new(self.command(words))
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn penstock(&self, words: &[&str]) -> Ended {
        self.start(words).end()
    }

    /// Runs an export with `--json` and these words; gives the exit status and the object that it ends with.
    #[track_caller]
    pub fn run(&self, more: &[&str]) -> (i32, Value) {
        if self.place == Place::Stack {
            return on_stack::run(self.server(), self, more);
        }
        let words = [&["run", "news", "--json"], more].concat();
        let ended = self.penstock(&words);
        (ended.status, ended.json())
    }

    /// Whether runs take place on this machine, so that commands beside `run` can be had.
    pub fn is_machine(&self) -> bool {
        self.place == Place::Machine
    }

    /// The server of the stack on which runs take place.
    pub fn server(&self) -> &Server {
        self.stack.get_or_init(|| Server::of_stack(self, crate::stack::setting()))
    }

    /// Runs the export, which must deliver everything.
    #[track_caller]
    pub fn run_well(&self, more: &[&str]) -> Value {
        let (status, result) = self.run(more);
        assert_eq!((status, &result["status"]), (0, &json!("succeeded")), "{result:#}");
        result
    }

    /// The list that a command with `--json` prints under its own name.
    #[track_caller]
    pub fn list(&self, command: &str, more: &[&str]) -> Vec<Value> {
        if self.place == Place::Stack {
            return on_stack::list(self.server(), command, more);
        }
        let words = [&[command, "--json", "--limit", "1000000"], more].concat();
        let object = self.penstock(&words).expect(0).json();
        object[command].as_array().unwrap_or_else(|| panic!("no list of {command} in {object}")).clone()
    }
}

impl Stage {
    /// A run or a delivery with everything that is shown of it.
    #[track_caller]
    pub fn show(&self, command: &str, id: &str) -> Value {
        match self.place {
            Place::Stack => on_stack::show(self.server(), command, id),
            Place::Machine => self.penstock(&[command, id, "--json"]).expect(0).json(),
        }
    }

    /// Counts the deliveries that `words` choose, in order to send them again.
    #[track_caller]
    pub fn count_again(&self, words: &[&str]) -> u64 {
        match self.place {
            Place::Stack => on_stack::count_again(self.server(), words),
            Place::Machine => {
                let counted = self.penstock(&[&["redeliver", "--json"], words].concat()).expect(0).json();
                assert_eq!(counted["sent"], false);
                counted["deliveries"].as_u64().expect("a count")
            }
        }
    }

    /// Sends deliveries again, the one of this id or those that `words` choose; gives the exit status and what their run has come to.
    #[track_caller]
    pub fn send_again(&self, words: &[&str]) -> (i32, Value) {
        match self.place {
            Place::Stack => on_stack::send_again(self.server(), words),
            Place::Machine => {
                let ended = self.penstock(&[&["redeliver", "--yes", "--json"], words].concat());
                (ended.status, ended.json())
            }
        }
    }
}

/// A process that is killed when the test is through with it, in whatever way.
pub struct Running {
    child: Child,
    output: [Option<JoinHandle<String>>; 2],
    words: String,
}

impl Running {
    /// Starts a command and reads what it prints.
    pub fn new(mut command: Command) -> Running {
        let words = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{words} cannot be started: {error}"));
        let output = [child.stdout.take().map(collect), child.stderr.take().map(collect)];
        Running { child, output, words }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does; false if it had ended before.
    pub fn kill(mut self) -> bool {
        let lived = self.child.try_wait().expect("a child can be asked").is_none();
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        lived
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        let asked = Command::new("sh").args(["-c", "kill -INT \"$0\"", &self.id().to_string()]).status();
        assert!(asked.expect("a shell is there").success(), "{} cannot be interrupted", self.words);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                break status;
            }
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let [stdout, stderr] = self.printed();
                panic!("{} did not end within {PATIENCE:?}; it printed {stdout}{stderr}", self.words);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let [stdout, stderr] = self.printed();
        Ended { status: status.code().unwrap_or(-1), stdout, stderr, words: self.words.clone() }
    }

    fn printed(&mut self) -> [String; 2] {
        std::mem::take(&mut self.output).map(|reader| reader.and_then(|reader| reader.join().ok()).unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What a process came to.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit status; -1 if a signal ended it.
    pub status: i32,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
    words: String,
}

impl Ended {
    /// Itself, if it ended so.
    #[track_caller]
    pub fn expect(self, status: i32) -> Ended {
        assert_eq!(self.status, status, "{}\nprinted {}\nand {}", self.words, self.stdout, self.stderr);
        self
    }

    /// The last object on standard output, where nothing but objects may stand.
    #[track_caller]
    pub fn json(&self) -> Value {
        self.objects().pop().unwrap_or_else(|| panic!("{} printed no object, but on standard error {}", self.words, self.stderr))
    }

    /// All objects on standard output, where nothing else may stand.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{} printed {line}: {error}", self.words));
        self.stdout.lines().map(parse).collect()
    }

    /// Everything that it printed.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Whether a text says all of this.
#[track_caller]
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not said in: {text}");
    }
}

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}
