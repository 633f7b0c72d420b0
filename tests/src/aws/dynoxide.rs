//! A second DynamoDB beside moto: dynoxide, in a process of its own, which a public suite holds against AWS
//! (github.com/nubo-db/dynoxide). It checks what moto takes on trust, and it is fast. It is a table and nothing else.
//!
//! `cargo install dynoxide-rs --version 3.2.0 --locked --no-default-features --features native-sqlite,http-server,cli` puts `dynoxide` on
//! the path, or `PENSTOCK_DYNOXIDE` names it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backend_aws::meter::Meter;
use backend_aws::{Aws, AwsStore, Names};

use super::{SCRATCH_BYTES, ask, environment, table_description};

/// It is there at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// Another process may take a port that was free a moment ago.
const TRIES: usize = 5;

/// dynoxide at work, with nothing in it; it ends with this.
#[derive(Debug)]
pub struct Dynoxide {
    address: SocketAddr,
    child: Child,
    tables: AtomicUsize,
    folder: tempfile::TempDir,
}

impl Dynoxide {
    /// Starts it. `None`, loudly, if it is not here; where nothing may be skipped that is a failure.
    ///
    /// # Panics
    /// If it is not here and `PENSTOCK_STRICT` is 1.
    pub fn start() -> Option<Dynoxide> {
        let mut why = String::new();
        for _ in 0..TRIES {
            match Dynoxide::try_to_start() {
                Ok(started) => return Some(started),
                Err(error) => why = error,
            }
        }
        let why = format!("SKIPPED: dynoxide does not run ({why}); `cargo install dynoxide-rs`, or name it with PENSTOCK_DYNOXIDE");
        let is_strict = std::env::var_os("PENSTOCK_STRICT").is_some_and(|strict| strict == "1");
        assert!(!is_strict, "{why}, and PENSTOCK_STRICT=1 lets nothing be skipped");
        eprintln!("{why}");
        None
    }

    fn try_to_start() -> Result<Dynoxide, String> {
        let program = std::env::var_os("PENSTOCK_DYNOXIDE").unwrap_or_else(|| "dynoxide".into());
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|e| e.to_string())?;
        let mut command = Command::new(&program);
        command.args(["--log", "quiet", "--port", &address.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| format!("{}: {e}", program.to_string_lossy()))?;
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("it ended with {status}"));
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it does not listen on {address}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Where another process has taken the port, it is that one which listens.
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended with {status}"));
        }
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        Ok(Dynoxide { address, child, tables: AtomicUsize::new(0), folder })
    }

    /// The store on a new table.
    ///
    /// # Panics
    /// If it refuses.
    pub fn store(&self) -> AwsStore {
        let table = format!("penstock-{}", self.tables.fetch_add(1, Ordering::Relaxed));
        ask(self.address, "dynamodb", "DynamoDB_20120810.CreateTable", &table_description(&table));
        let (bucket, key) = ("none".to_string(), "none".to_string());
        let names = Names { table, bucket, key, scratch: self.folder.path().join("copies"), scratch_bytes: SCRATCH_BYTES };
        Aws::new(environment(self.address), names, Meter::remembering()).store()
    }
}

impl Drop for Dynoxide {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
