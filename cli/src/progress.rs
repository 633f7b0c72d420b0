//! What a person sees while a long command works: a bar on standard error, or nothing.

use engine::deliver::{Attempted, Watch};
use engine::judge::Class;
use engine::keys::LaneName;
use engine::lane::pump::Waiting;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

/// Redraws this often at most.
const TICK: Duration = Duration::from_millis(100);

/// A bar on standard error, if that is a terminal and progress is wanted.
pub struct Progress {
    bar: ProgressBar,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    attempts: u64,
    failures: u64,
    error: Option<String>,
    waiting: HashMap<LaneName, Waiting>,
    shown: String,
}

impl Progress {
    /// Shown if `wanted` and standard error is a terminal.
    pub fn new(wanted: bool) -> Progress {
        let bar = if wanted && std::io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
        Progress { bar, state: RefCell::default() }
    }

    /// Rows are being read from somewhere.
    pub fn reading(&self, what: &str) -> impl Fn(u64, u64) + Sync + use<> {
        let style = ProgressStyle::with_template("{spinner} reading {prefix}  {human_pos} rows  {msg}");
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        self.bar.set_prefix(what.to_string());
        self.bar.enable_steady_tick(TICK);
        let bar = self.bar.clone();
        move |bytes, rows| {
            bar.set_position(rows);
            bar.set_message(format!("{} MB", bytes / 1_000_000));
        }
    }

    /// So many rows are being delivered.
    pub fn delivering(&self, rows: u64) {
        let style = ProgressStyle::with_template("{spinner} {bar:30} {human_pos}/{human_len} rows  {per_sec}  {eta} left  {msg}");
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.reset();
        self.bar.set_length(rows);
        self.bar.set_message("");
        self.bar.enable_steady_tick(TICK);
    }

    /// A line above the bar.
    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// The work is over: the bar goes.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        let mut state = self.state.borrow_mut();
        let mut text = format!("{} requests", state.attempts);
        if state.failures > 0 {
            text += &format!(", {} failed", state.failures);
            if let Some(error) = &state.error {
                text += &format!(" ({error})");
            }
        }
        for (lane, waiting) in &state.waiting {
            let (why, left) = match waiting {
                Waiting::Down(left) => ("is down; next try", left),
                Waiting::RetryAfter(left) => ("asked to wait; goes on", left),
            };
            text += &format!(" · {} {why} in {} s", lane.destination, left.div_ceil(1_000_000));
        }
        if text != state.shown {
            state.shown.clone_from(&text);
            self.bar.set_message(text);
        }
    }
}

impl Watch for Progress {
    fn attempted(&self, attempted: &Attempted<'_>) {
        let mut state = self.state.borrow_mut();
        state.attempts += 1;
        if attempted.class != Class::Success {
            state.failures += 1;
            state.error = attempted.error.map(str::to_string);
        }
        drop(state);
        if self.bar.is_hidden() {
            return;
        }
        if attempted.last {
            self.bar.inc(attempted.rows);
        }
        self.show();
    }

    fn waits(&self, lane: &LaneName, waiting: Option<Waiting>) {
        if self.bar.is_hidden() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let before = match waiting {
            Some(waiting) => state.waiting.insert(lane.clone(), waiting),
            None => state.waiting.remove(lane),
        };
        drop(state);
        if before != waiting {
            self.show();
        }
    }
}
