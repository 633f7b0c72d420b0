//! `penstock apply`: the project file becomes what a server serves. The server compares, checks all of it together, and changes it.

use crate::args::{ApplyArgs, Global};
use crate::failure::Failure;
use crate::project;
use crate::remote;
use crate::summary::quantity;
use serde_json::Value;

/// Shows what would change, then changes it.
pub async fn apply(global: &Global, args: &ApplyArgs) -> Result<u8, Failure> {
    let document = project::document(&global.project)?;
    let token = remote::token(global, args.token_file.as_deref())?;
    let would = call(args, &token, &document, true).await?;
    let changes = changes(&would);
    if global.json && (args.dry_run || changes.is_empty()) {
        say!("{would}");
        return Ok(0);
    }
    if !global.json {
        show(&changes, args);
    }
    if args.dry_run || changes.is_empty() {
        return Ok(0);
    }
    let done = call(args, &token, &document, false).await?;
    match global.json {
        true => say!("{done}"),
        false => say!("{} applied to {}", quantity(self::changes(&done).len() as u64, "change"), args.url),
    }
    Ok(0)
}

/// A change as the server tells it: what it is of, its name, and what becomes of it.
fn changes(answer: &Value) -> Vec<(&str, &str, &str)> {
    let all = answer["changes"].as_array().into_iter().flatten();
    all.filter_map(|change| Some((change["kind"].as_str()?, change["id"].as_str()?, change["change"].as_str()?)))
        .filter(|(_, _, what)| *what != "none")
        .collect()
}

fn show(changes: &[(&str, &str, &str)], args: &ApplyArgs) {
    if changes.is_empty() {
        say!("nothing to change: {} serves what the project file says", args.url);
    }
    for (kind, id, what) in changes {
        let sign = match *what {
            "create" => '+',
            "delete" => '-',
            _ => '~',
        };
        say!("  {sign} {kind} {id}");
    }
}

async fn call(args: &ApplyArgs, token: &str, document: &Value, dry_run: bool) -> Result<Value, Failure> {
    let path = format!("/v1/apply?dry_run={dry_run}&prune={}", args.prune);
    remote::post(&args.url, &path, token, "application/json", document.to_string().into_bytes()).await
}
