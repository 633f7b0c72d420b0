//! `penstock apply`: the project file becomes what a server serves. The server compares, checks all of it together, and changes it.

use crate::args::{ApplyArgs, Global};
use crate::failure::{Failure, USAGE};
use crate::project;
use crate::summary::quantity;
use engine::port::{Exchange, Method, Outgoing, Response, Transport};
use serde_json::Value;
use transport::{AddressPolicy, HttpTransport, TransportOptions};

/// The server has so long to answer, microseconds.
const TIMEOUT: u64 = 60_000_000;
/// The longest answer that is read, bytes.
const LONGEST_ANSWER: usize = 16 << 20;

/// Shows what would change, then changes it.
pub async fn apply(global: &Global, args: &ApplyArgs) -> Result<u8, Failure> {
    let document = project::document(&global.project)?;
    let token = token(global, args)?;
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

fn token(global: &Global, args: &ApplyArgs) -> Result<String, Failure> {
    if let (None, Ok(token)) = (&args.token_file, std::env::var("PENSTOCK_TOKEN")) {
        return Ok(token.trim().to_string());
    }
    let folder = global.project.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    let data = global.data_dir.clone().unwrap_or_else(|| folder.join(".penstock"));
    let path = args.token_file.clone().unwrap_or_else(|| data.join("token"));
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Failure::usage(format!("no token: {} cannot be read ({e}); name its file with --token-file, or set PENSTOCK_TOKEN", path.display()))
    })?;
    Ok(text.trim().to_string())
}

async fn call(args: &ApplyArgs, token: &str, document: &Value, dry_run: bool) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::new(format!("{}: {why}", args.url));
    let here =
        args.url.host_str().is_some_and(|host| host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()));
    if args.url.scheme() == "http" && !here {
        return Err(Failure::usage(format!("--url {}: the project holds secrets; use https beyond this machine", args.url)));
    }
    let mut url = args.url.join("/v1/apply").map_err(|e| Failure::usage(format!("--url {}: {e}", args.url)))?;
    url.query_pairs_mut().append_pair("dry_run", if dry_run { "true" } else { "false" }).append_pair("prune", &args.prune.to_string());
    // The server is the user's own, wherever it is.
    let policy = AddressPolicy { allow_private: true, ranges: Vec::new(), allow_http: true };
    let transport = HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() }).map_err(Failure::new)?;
    let headers = vec![
        ("Authorization".to_string(), format!("Bearer {token}")),
        ("Content-Type".to_string(), "application/json".to_string()),
        ("Accept".to_string(), "application/json".to_string()),
    ];
    let body = Some(document.to_string().into_bytes());
    let outgoing =
        Outgoing { method: Method::Post, url, headers, body, timeout: TIMEOUT, keep_limit: LONGEST_ANSWER, read_limit: LONGEST_ANSWER };
    let Response { status, body, .. } = match transport.send(outgoing).await {
        Exchange::Response(response) => response,
        Exchange::Failure { message, .. } => return Err(wrong(message)),
    };
    let answer: Value = serde_json::from_slice(&body).map_err(|_| wrong(format!("answers {status}, and not as a penstock server does")))?;
    if status == 200 {
        return Ok(answer);
    }
    let mut text = answer["detail"].as_str().unwrap_or("refused").to_string();
    for problem in answer["problems"].as_array().into_iter().flatten() {
        let (path, message) = (problem["path"].as_str().unwrap_or_default(), problem["message"].as_str().unwrap_or_default());
        text += &format!("\n  {path}: {message}");
    }
    let failure = wrong(format!("{status}: {text}"));
    Err(if status == 422 { Failure { status: USAGE, ..failure } } else { failure })
}
