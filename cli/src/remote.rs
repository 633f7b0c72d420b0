//! Calls to a running server, for commands that work through one. It must not decide what is asked.

use crate::args::Global;
use crate::failure::{Failure, USAGE};
use engine::port::{Exchange, Method, Outgoing, Response, Transport};
use serde_json::Value;
use std::path::Path;
use transport::{AddressPolicy, HttpTransport, TransportOptions};

/// The server has so long to answer, microseconds.
const TIMEOUT: u64 = 60_000_000;
/// The longest answer that is read, bytes.
const LONGEST_ANSWER: usize = 16 << 20;

/// The token: of the file named, of the environment, or of the data directory.
pub fn token(global: &Global, file: Option<&Path>) -> Result<String, Failure> {
    if let (None, Ok(token)) = (file, std::env::var("PENSTOCK_TOKEN")) {
        return Ok(token.trim().to_string());
    }
    let folder = global.project.parent().map(Path::to_path_buf).unwrap_or_default();
    let data = global.data_dir.clone().unwrap_or_else(|| folder.join(".penstock"));
    let path = file.map_or_else(|| data.join("token"), Path::to_path_buf);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Failure::usage(format!("no token: {} cannot be read ({e}); name its file with --token-file, or set PENSTOCK_TOKEN", path.display()))
    })?;
    Ok(text.trim().to_string())
}

/// Posts to a server and gives its answer, a 2xx.
pub async fn post(server: &url::Url, path: &str, token: &str, content_type: &str, body: Vec<u8>) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::new(format!("{server}: {why}"));
    let here =
        server.host_str().is_some_and(|host| host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()));
    if server.scheme() == "http" && !here {
        return Err(Failure::usage(format!("--url {server}: what is sent holds secrets; use https beyond this machine")));
    }
    let url = server.join(path).map_err(|e| Failure::usage(format!("--url {server}: {e}")))?;
    // The server is the user's own, wherever it is.
    let policy = AddressPolicy { allow_private: true, ranges: Vec::new(), allow_http: true };
    let transport = HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() }).map_err(Failure::new)?;
    let headers = vec![
        ("Authorization".to_string(), format!("Bearer {token}")),
        ("Content-Type".to_string(), content_type.to_string()),
        ("Accept".to_string(), "application/json".to_string()),
    ];
    let body = Some(body);
    let outgoing =
        Outgoing { method: Method::Post, url, headers, body, timeout: TIMEOUT, keep_limit: LONGEST_ANSWER, read_limit: LONGEST_ANSWER };
    let Response { status, body, .. } = match transport.send(outgoing).await {
        Exchange::Response(response) => response,
        Exchange::Failure { message, .. } => return Err(wrong(message)),
    };
    let answer: Value = serde_json::from_slice(&body).map_err(|_| wrong(format!("answers {status}, and not as a penstock server does")))?;
    if (200..300).contains(&status) {
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
