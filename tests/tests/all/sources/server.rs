//! A PostgreSQL server of the tests' own, on loopback, from whatever this machine has installed. It ends with the process that started it,
//! however that ends, and leaves nothing.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The password of `owner` and `reader`; no message may show it.
pub const PASSWORD: &str = "hush-k4Zp9";

/// No server takes longer to start, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the server until standard input ends, which it does when the test's process does; then clears the folder.
const KEEPER: &str = r#"
    folder=$1; shift
    "$@" > "$folder/log" 2>&1 < /dev/null &
    cat > /dev/null
    kill -QUIT $! 2> /dev/null
    wait
    rm -rf "$folder"
"#;

/// Says that a test could not do its work here, past the harness, which would swallow it; fails where nothing may be skipped.
fn skip(why: &str) {
    assert!(std::env::var_os("PENSTOCK_STRICT").is_none_or(|strict| strict != "1"), "{why}, and PENSTOCK_STRICT=1 lets nothing be skipped");
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).expect("standard error is there");
}

/// A running server. Its users are `postgres` (by the socket, without a password), `owner` and `reader` (by TCP, with one).
pub struct Server {
    programs: PathBuf,
    folder: PathBuf,
    pub port: u16,
    keeper: Child,
}

/// A database of a server.
pub struct Database<'s> {
    server: &'s Server,
    name: String,
}

/// The folder of PostgreSQL's programs, if it is installed.
fn programs() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_all = |folder: &PathBuf| ["initdb", "postgres", "pg_isready", "psql"].iter().all(|program| folder.join(program).exists());
    let mut found: Vec<PathBuf> = folders.chain(std::env::split_paths(&path)).filter(has_all).collect();
    found.sort();
    found.pop()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// A command as the user that may run a server, which root may not.
fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

impl Server {
    /// Starts one with these settings; `None` after a loud word if PostgreSQL is not installed. `prepare` gets the data folder first.
    pub fn start(settings: &[&str], prepare: impl FnOnce(&Path)) -> Option<Server> {
        let Some(programs) = programs() else {
            skip("the tests of the Postgres source need PostgreSQL (on Debian: apt-get install postgresql)");
            return None;
        };
        let folder = TempDir::with_prefix("penstock-postgres-").expect("a folder for a server").keep();
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(&folder));
        }
        let data = folder.join("data");
        let mut initdb = as_server_user(&programs.join("initdb"));
        initdb.args(["--no-sync", "--locale=C", "--encoding=UTF8", "--username=postgres", "--auth-local=trust"]);
        run(initdb.args(["--auth-host=scram-sha-256", "--pgdata"]).arg(&data));
        prepare(&data);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut server = as_server_user(&programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=32MB"].iter().chain(settings) {
            server.args(["-c", setting]);
        }
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&folder).arg(server.get_program()).args(server.get_args());
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell is there");
        let server = Server { programs, folder, port, keeper };
        server.wait_until_ready();
        let users = format!("CREATE ROLE owner LOGIN SUPERUSER PASSWORD '{PASSWORD}'; CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'");
        server.sql("postgres", &users);
        Some(server)
    }

    /// Makes a file of the data folder one that only the server can read.
    pub fn give_to_server_user(file: &Path) {
        run(Command::new("chmod").arg("600").arg(file));
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(file));
        }
    }

    /// The server that all tests share that leave it as it is.
    pub fn shared() -> Option<&'static Server> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(&[], |_| {})).as_ref()
    }

    fn wait_until_ready(&self) {
        let start = Instant::now();
        let ready = || {
            let mut command = Command::new(self.programs.join("pg_isready"));
            command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-q"]).status().is_ok_and(|status| status.success())
        };
        while !ready() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "the server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What statements print, run as the superuser.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-p", &self.port.to_string(), "-d", database]);
        run(psql.arg("-h").arg(&self.folder).args(["-c", statements])).trim_end().to_owned()
    }

    /// A database of its own, with these statements run in it.
    pub fn database(&self, statements: &str) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("shop_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        let database = Database { server: self, name };
        if !statements.is_empty() {
            database.sql(statements);
        }
        database
    }

    /// Stops at once, as if it were killed: no connection is waited for.
    pub fn stop_at_once(&self) {
        let lock = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("a running server has one");
        let id = lock.lines().next().expect("the first line is the process").to_owned();
        run(Command::new("sh").args(["-c", "kill -QUIT \"$0\"", &id]));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and it clears up.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Database<'_> {
    /// What statements print, run as the superuser.
    pub fn sql(&self, statements: &str) -> String {
        self.server.sql(&self.name, statements)
    }

    /// A DSN for a user, without TLS.
    pub fn dsn(&self, user: &str) -> String {
        self.dsn_with(user, PASSWORD, "sslmode=disable")
    }

    /// A DSN with a password and parameters.
    pub fn dsn_with(&self, user: &str, password: &str, parameters: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{}?{parameters}", self.server.port, self.name)
    }

    /// The place that messages name.
    pub fn place(&self) -> String {
        format!("postgres at 127.0.0.1:{}/{}", self.server.port, self.name)
    }
}

/// Waits until something holds.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(10));
    }
}
