//! The command line (contract.md).

use crate::receive::ReceiveArgs;
use crate::serve::Level;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Sends the rows of a model, and only what changed since last time, to any HTTP API, at the rate that the API can take.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, max_term_width = 100)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The project file.
    #[arg(long, global = true, value_name = "FILE", default_value = "penstock.yaml")]
    pub project: PathBuf,
    /// Where state is kept [default: .penstock beside the project file].
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print the result as JSON on standard output, and nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no progress.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Let requests go to private, loopback and link-local addresses.
    #[arg(long, global = true)]
    pub allow_private: bool,
    /// Let requests go to these private addresses, as in 10.1.0.0/16 or 127.0.0.1/32:8080.
    #[arg(long, global = true, value_name = "CIDR[:PORT]")]
    pub allow_range: Vec<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a starter project: penstock.yaml and sample rows.
    Init {
        /// The folder.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// List every problem in the project file, each with its path and line.
    Validate,
    /// Show what a run would send, and how long it would take; sends nothing.
    Plan {
        /// The export.
        export: String,
        /// Write every request to this file, for `run --plan`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Plan all present rows as if they were new.
        #[arg(long)]
        full: bool,
    },
    /// Plan and deliver.
    Run(RunArgs),
    /// Show the request that an action makes of a sample row, as the wire would carry it.
    Render {
        /// The export and the action, as in newsletter.add.
        #[arg(value_name = "EXPORT.ACTION")]
        action: String,
        /// The key of the row [default: the first row].
        #[arg(long)]
        row: Option<String>,
        /// A JSON file with a row (or a list of rows) to use instead of the model's.
        #[arg(long, value_name = "FILE")]
        sample: Option<PathBuf>,
    },
    /// Send one sample request to a destination and show what comes back.
    Test {
        /// The destination.
        destination: String,
        /// A JSON file with a row (or a list of rows) to send instead of the model's first.
        #[arg(long, value_name = "FILE")]
        sample: Option<PathBuf>,
        /// The export whose action is used [default: the first one to this destination].
        #[arg(long)]
        export: Option<String>,
        /// The action [default: the first one that is on].
        #[arg(long)]
        action: Option<String>,
    },
    /// List runs, or show one.
    Runs {
        /// A run's id.
        id: Option<String>,
        /// Of this export only.
        #[arg(long)]
        export: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// List deliveries, or show one with its request and its attempts.
    Deliveries(LookArgs),
    /// List attempts, or show those of one delivery with their responses.
    Attempts(LookArgs),
    /// Send deliveries of a run again, under the same idempotency keys.
    Redeliver {
        /// Which ones.
        #[command(flatten)]
        look: LookArgs,
        /// Go, after the count was shown.
        #[arg(long)]
        yes: bool,
    },
    /// Serve the API, schedules and delivery on this machine, until told to stop.
    Serve(ServeArgs),
    /// Hand in events: send what rules owe for them, or give them to a server.
    Event(EventArgs),
    /// Push the project file to a running server: shows what would change, then changes it.
    Apply(ApplyArgs),
    /// Make, list and revoke API tokens; works beside a running server.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Change the key that stored secrets are under.
    #[command(subcommand)]
    Key(KeyCommand),
    /// A local receiver that prints and records what arrives.
    Receive(ReceiveArgs),
}

/// What `serve` takes.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Where to listen; beyond this machine only if you say so.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    pub listen: SocketAddr,
    /// Which lines go to standard error.
    #[arg(long, value_enum, default_value_t = Level::Failures)]
    pub log: Level,
}

/// What `apply` takes.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8787")]
    pub url: url::Url,
    /// Delete what the project file does not have.
    #[arg(long)]
    pub prune: bool,
    /// Only show what would change.
    #[arg(long)]
    pub dry_run: bool,
    /// A file with the token [default: PENSTOCK_TOKEN, else `token` in the data directory].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// What `event` takes.
#[derive(Clone, Debug, Args)]
pub struct EventArgs {
    /// A file of events: a JSON object, or one a line; `-` for standard input.
    pub file: PathBuf,
    /// Give them to this server instead of sending what is owed for them here.
    #[arg(long, value_name = "URL")]
    pub url: Option<url::Url>,
    /// A file with the server's token [default: PENSTOCK_TOKEN, else `token` in the data directory].
    #[arg(long, value_name = "FILE", requires = "url")]
    pub token_file: Option<PathBuf>,
}

/// What `run` takes.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The exports.
    #[arg(required = true, value_name = "EXPORT")]
    pub exports: Vec<String>,
    /// Execute exactly this plan (of `plan --out`), or refuse because rows or snapshot have moved on.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Go past a guard.
    #[arg(long)]
    pub approve: bool,
    /// Take the rows as already delivered; sends nothing.
    #[arg(long, conflicts_with_all = ["full", "plan"])]
    pub adopt: bool,
    /// Send all present rows again.
    #[arg(long)]
    pub full: bool,
}

/// Which deliveries are looked at.
#[derive(Clone, Debug, Args)]
pub struct LookArgs {
    /// A delivery's id.
    pub id: Option<String>,
    /// Of this run.
    #[arg(long)]
    pub run: Option<String>,
    /// Of this export.
    #[arg(long)]
    pub export: Option<String>,
    /// To this destination.
    #[arg(long)]
    pub destination: Option<String>,
    /// Owed by this rule.
    #[arg(long)]
    pub rule: Option<String>,
    /// Owed for the event of this id.
    #[arg(long, value_name = "ID")]
    pub event: Option<String>,
    /// Some attempt had this outcome class, as in server_error.
    #[arg(long)]
    pub class: Option<String>,
    /// The delivery stands so now, as in exhausted.
    #[arg(long)]
    pub status: Option<String>,
    /// Since this time (2026-01-31T12:00:00Z) or this long ago (90m, 24h, 7d).
    #[arg(long)]
    pub since: Option<String>,
    /// Until this time or this long ago.
    #[arg(long)]
    pub until: Option<String>,
    /// Carries the row of this key (with --run, --export or --destination).
    #[arg(long, value_name = "KEY")]
    pub row: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
}

/// What `token` does.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once.
    Create {
        /// What it is for.
        #[arg(long)]
        name: String,
        /// What it allows: read (looking), write (definitions, rows, tokens), send (runs, tests, redelivery).
        #[arg(long, default_value = "read,write,send")]
        scopes: String,
        /// When it ends: 90d, 12h, 30m or a time [default: it does not].
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        /// Whose documents it opens [default: the project file's organization].
        #[arg(long, value_name = "ID")]
        organization: Option<String>,
    },
    /// List tokens, all but their texts.
    List {
        /// Whose [default: the project file's organization].
        #[arg(long, value_name = "ID")]
        organization: Option<String>,
    },
    /// Take a token back, at once.
    Revoke {
        /// Its id, as in tok_06gzmy1a2b3c4d5e.
        id: String,
        /// Whose [default: the project file's organization].
        #[arg(long, value_name = "ID")]
        organization: Option<String>,
    },
}

/// What `key` does.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Put the stored secrets under a new key; the old one opens nothing any more.
    Rotate {
        /// Where the new key comes from [default: as now].
        #[arg(long, value_enum)]
        to: Option<Protection>,
        /// Seal what is stored from now on under new data keys, too.
        #[arg(long)]
        data_keys: bool,
    },
}

/// Where the key that secrets are under comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protection {
    /// A file of the data directory that only its owner can read.
    KeyFile,
    /// A passphrase, in PENSTOCK_NEW_PASSPHRASE or the file that PENSTOCK_NEW_PASSPHRASE_FILE names.
    Passphrase,
}
