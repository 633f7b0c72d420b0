//! Structured lines on standard error, one JSON object each: a wide one for each attempt and each run, and what goes wrong with the
//! process itself. It must not hold the work up: lines that nobody reads fast enough are left out, and counted.

use engine::deliver::Attempted;
use engine::model::name::Name;
use engine::run::document::Run;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines that wait to be written.
const WAITING_LINES: usize = 16_384;

/// Which lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Level {
    /// What goes wrong.
    Warn,
    /// Runs, too.
    Info,
    /// Attempts that failed, too.
    Failures,
    /// Every attempt.
    Attempts,
}

/// Writes lines on a thread of its own.
pub struct Log {
    lines: SyncSender<String>,
    lost: AtomicU64,
    level: Level,
}

impl Log {
    /// Begins to write.
    pub fn start(level: Level) -> Log {
        let (lines, waiting) = sync_channel::<String>(WAITING_LINES);
        std::thread::spawn(move || {
            let mut out = std::io::BufWriter::new(std::io::stderr());
            while let Ok(line) = waiting.recv() {
                // Where standard error is gone there is nobody to tell.
                let _ = writeln!(out, "{line}");
                for line in waiting.try_iter().take(WAITING_LINES) {
                    let _ = writeln!(out, "{line}");
                }
                let _ = out.flush();
            }
        });
        Log { lines, lost: AtomicU64::new(0), level }
    }

    /// How many lines were left out.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Something is wrong with the process or what it stands on.
    pub fn trouble(&self, message: &str, fields: &[(&str, &str)]) {
        self.plain("warn", message, fields);
    }

    /// Something that a person may want to know.
    pub fn note(&self, message: &str, fields: &[(&str, &str)]) {
        if self.level >= Level::Info {
            self.plain("info", message, fields);
        }
    }

    fn plain(&self, level: &str, message: &str, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_string(), Value::from(*value))).collect();
        self.line(level, message, fields);
    }

    /// One attempt.
    pub fn attempt(&self, attempted: &Attempted<'_>) {
        let failed = attempted.class != engine::judge::Class::Success;
        if self.level < Level::Failures || (self.level == Level::Failures && !failed) {
            return;
        }
        let Value::Object(fields) = json!({
            "organization": attempted.lane.organization, "destination": attempted.lane.destination, "export": attempted.export,
            "rule": attempted.rule, "run": attempted.run, "delivery": attempted.delivery, "attempt": attempted.number, "class": attempted.class,
            "status_code": attempted.status, "started_at": engine::time::rfc3339(attempted.started_ms * 1000),
            "duration_ms": attempted.duration_ms, "rows": attempted.rows, "last": attempted.last, "error": attempted.error,
        }) else {
            return;
        };
        self.line(if failed { "warn" } else { "info" }, "attempt", fields);
    }

    /// How a run stands.
    pub fn run(&self, run: &Run, organization: &Name) {
        if self.level < Level::Info {
            return;
        }
        let Value::Object(fields) = json!({
            "organization": organization, "export": run.export, "destination": run.destination, "run": run.id,
            "status": run.status, "trigger": run.wish.trigger, "added": run.totals.added, "changed": run.totals.changed,
            "removed": run.totals.removed, "rows": run.rows, "deliveries": run.deliveries, "attempts": run.attempts,
            "reason": run.reason, "started_at": run.started_at_text(),
            "duration_ms": run.finished_at.map(|finished| finished.saturating_sub(run.started_at) / 1000),
        }) else {
            return;
        };
        self.line("info", "run", fields);
    }

    fn line(&self, level: &str, message: &str, fields: Map<String, Value>) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let mut line = Map::new();
        line.insert("time".to_string(), Value::from(engine::time::rfc3339(wall)));
        line.insert("level".to_string(), Value::from(level));
        line.insert("message".to_string(), Value::from(message));
        line.extend(fields);
        match self.lines.try_send(Value::Object(line).to_string()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
        }
    }
}
