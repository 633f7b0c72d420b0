//! The executable `penstock`: it wires the engine to files, sockets and a terminal. What happens is decided in `engine`.

#[macro_use]
mod out;

mod apply;
mod args;
mod event;
mod failure;
mod interrupt;
mod key;
mod look;
mod plan;
mod plan_file;
mod progress;
mod project;
mod receive;
mod redeliver;
mod remote;
mod run;
mod sample;
mod serve;
mod site;
mod summary;
mod token;

use args::{Cli, Command, Global};
use clap::Parser;
use engine::model::project::Problem;
use engine::model::source::Model;
use failure::{Failure, USAGE};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match execute(&cli) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            match cli.global.json {
                true => say!("{}", failure.to_json()),
                false => eprintln!("penstock: {}", failure.message),
            }
            ExitCode::from(failure.status)
        }
    }
}

fn execute(cli: &Cli) -> Result<u8, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Init { dir } => {
            let starter = project::init(dir).map_err(Failure::new)?;
            match global.json {
                true => say!("{}", serde_json::json!({"files": starter.files})),
                false => say!("{starter}"),
            }
            Ok(0)
        }
        Command::Validate => validate(global),
        Command::Key(command) => key::key(global, command),
        Command::Receive(args) => receive::run(args, global.json, global.quiet).map(|()| 0).map_err(Failure::new),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| Failure::new(format!("the runtime cannot start: {e}")))?;
            runtime.block_on(dispatch(global, command))
        }
    }
}

/// The commands that wait for something.
async fn dispatch(global: &Global, command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Plan { export, out, full } => plan::plan(global, export, out.as_deref(), *full).await,
        Command::Run(args) => run::run(global, args).await,
        Command::Serve(args) => serve::serve(global, args).await,
        Command::Apply(args) => apply::apply(global, args).await,
        Command::Render { action, row, sample } => sample::render(global, action, row.as_deref(), sample.as_deref()).await,
        Command::Test { destination, sample, export, action } => {
            sample::test(global, destination, sample.as_deref(), export.as_deref(), action.as_deref()).await
        }
        Command::Runs { id, export, limit } => look::runs(global, id.as_deref(), export.as_deref(), *limit).await,
        Command::Deliveries(args) => look::deliveries(global, args).await,
        Command::Attempts(args) => look::attempts(global, args).await,
        Command::Redeliver { look, yes } => redeliver::redeliver(global, look, *yes).await,
        Command::Event(args) => event::event(global, args).await,
        Command::Token(command) => token::token(global, command).await,
        Command::Init { .. } | Command::Validate | Command::Key(_) | Command::Receive(_) => {
            unreachable!("these do not wait, and were done before")
        }
    }
}

fn validate(global: &Global) -> Result<u8, Failure> {
    let sound = project::validate(&global.project, check_columns)?;
    match global.json {
        true => say!("{}", sound.to_json()),
        false => say!("{}", sound.sentence(&global.project)),
    }
    Ok(0)
}

/// Rows looked at: a member that an NDJSON row lacks may stand in the next one.
const SAMPLED_ROWS: usize = 1000;

/// Whether a model's rows are there and have the columns that the project uses. A query is described, not executed; rows that are pushed
/// come later, and with the columns that they have then.
fn check_columns(folder: &Path, model: &Model, uses: &[project::ColumnUse]) -> Vec<Problem> {
    let Some(source) = planning::outside(folder, model) else { return Vec::new() };
    let limit = if matches!(source, rows::Source::Postgres(_)) { 0 } else { SAMPLED_ROWS };
    match rows::sample(&source, &model.primary_key, &[], limit) {
        Ok(sample) => uses
            .iter()
            .filter(|used| !sample.columns.is_empty() && !sample.columns.contains(&used.column))
            .map(|used| Problem {
                path: used.path.clone(),
                message: format!("the rows have no column `{}`: {}", used.column, nearest_column(&used.column, &sample.columns)),
            })
            .collect(),
        Err(error) => {
            let key = match (&source, error.kind) {
                (rows::Source::Postgres(_), rows::ErrorKind::Connect) => "dsn",
                (rows::Source::Postgres(_), _) => "query",
                _ => "path",
            };
            vec![Problem { path: format!("models.{}.source.{key}", model.id), message: error.to_string() }]
        }
    }
}

fn nearest_column(column: &str, known: &[String]) -> String {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    engine::configure::suggestion(column, &known)
}
