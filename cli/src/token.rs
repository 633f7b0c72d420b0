//! `penstock token`: makes, lists and revokes API tokens in a data directory, beside a server that runs on it. It must not show a token's
//! text but once, when it is made.

use crate::args::{Global, TokenCommand};
use crate::failure::Failure;
use crate::project;
use crate::remote;
use backend_embedded::{DataDir, EmbeddedStore};
use engine::model::name::Name;
use engine::model::project::Problem;
use engine::port::Clock;
use engine::token::{self, Scope, Token, Wanted};
use process::SystemClock;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// 32 bytes that nobody can guess.
pub fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::new("the operating system gives no random bytes"))?;
    Ok(bytes)
}

/// Where a command finds the data directory that needs no project file.
pub fn data_dir(global: &Global) -> PathBuf {
    let beside = || global.project.parent().map(|folder| folder.join(".penstock")).unwrap_or_default();
    global.data_dir.clone().unwrap_or_else(beside)
}

/// `penstock token create | list | revoke`
pub async fn token(global: &Global, command: &TokenCommand) -> Result<u8, Failure> {
    if let TokenCommand::Create { name, scopes, expires, url: Some(url), token_file, .. } = command {
        return create_at(global, url, token_file.as_deref(), name, scopes, expires.as_deref()).await;
    }
    let (TokenCommand::Create { organization, .. } | TokenCommand::List { organization } | TokenCommand::Revoke { organization, .. }) =
        command;
    let organization = chosen(global, organization.as_deref())?;
    let store = DataDir::open(data_dir(global))?.store()?;
    let now = SystemClock::new().now().wall;
    match command {
        TokenCommand::Create { name, scopes, expires, .. } => {
            let scopes = Scope::parse_list(scopes).map_err(|e| Failure::usage(format!("--scopes: {e}")))?;
            let expires_at = expires.as_deref().map(|text| end(text, now)).transpose()?;
            create(global, &store, Wanted { organization: &organization, name, scopes: &scopes, expires_at }, now).await
        }
        TokenCommand::List { .. } => list(global, &store, &organization, now).await,
        TokenCommand::Revoke { id, .. } => {
            if !token::revoke(&store, &organization, id, now).await? {
                let message = format!("organization {organization} has no token `{id}`: `penstock token list` shows those it has");
                return Err(Failure::usage(message));
            }
            match global.json {
                true => say!("{}", json!({"revoked": id})),
                false => say!("{id} is revoked"),
            }
            Ok(0)
        }
    }
}

async fn create(global: &Global, store: &EmbeddedStore, wanted: Wanted<'_>, now: u64) -> Result<u8, Failure> {
    let fresh = match token::create(store, wanted, random()?, now).await? {
        Ok(fresh) => fresh,
        Err(problems) => {
            let all = problems.into_iter().map(|Problem { path, message }| format!("--{}: {message}", path.replace("_at", "")));
            return Err(Failure::usage(all.collect::<Vec<_>>().join("; ")));
        }
    };
    if global.json {
        let mut object = shown(&fresh.token);
        object["token"] = json!(fresh.text.reveal());
        say!("{object}");
        return Ok(0);
    }
    say!("{}", fresh.text.reveal());
    if !global.quiet {
        let Token { id, organization, .. } = &fresh.token;
        eprintln!("{id} for {organization}: {}. It is not shown again.", allows(&fresh.token));
    }
    Ok(0)
}

/// A server makes the token.
async fn create_at(
    global: &Global,
    url: &url::Url,
    token_file: Option<&Path>,
    name: &str,
    scopes: &str,
    expires: Option<&str>,
) -> Result<u8, Failure> {
    let asking = remote::token(global, token_file)?;
    let scopes = Scope::parse_list(scopes).map_err(|e| Failure::usage(format!("--scopes: {e}")))?;
    let mut wanted = json!({"name": name, "scopes": scopes});
    if let Some(text) = expires {
        let now = SystemClock::new().now().wall;
        let days = end(text, now)?.saturating_sub(now).div_ceil(24 * 3600 * 1_000_000);
        wanted["expires_in_days"] = json!(days);
    }
    let made = remote::post(url, "/v1/tokens", &asking, "application/json", wanted.to_string().into_bytes()).await?;
    match global.json {
        true => say!("{made}"),
        false => say!("{}", made["text"].as_str().unwrap_or_default()),
    }
    Ok(0)
}

async fn list(global: &Global, store: &EmbeddedStore, organization: &Name, now: u64) -> Result<u8, Failure> {
    let tokens = token::list(store, organization, None, token::MOST_LISTED, now).await?;
    if global.json {
        say!("{}", json!({"tokens": tokens.iter().map(shown).collect::<Vec<_>>()}));
        return Ok(0);
    }
    if tokens.is_empty() {
        say!("no tokens");
    }
    for token in &tokens {
        say!("{}  {}  {:<16}  {}", token.id, time(token.created_at), allows(token), token.name);
    }
    Ok(0)
}

/// `read, write, until 2026-04-01T00:00:00Z`
fn allows(token: &Token) -> String {
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    let end = token.expires_at.map(|at| format!(", until {}", time(at))).unwrap_or_default();
    format!("{}{end}", scopes.join(", "))
}

fn shown(token: &Token) -> Value {
    json!({
        "id": token.id,
        "organization": token.organization,
        "name": token.name,
        "scopes": token.scopes,
        "created_at": time(token.created_at),
        "expires_at": token.expires_at.map(time),
    })
}

fn time(micros: u64) -> String {
    jiff::Timestamp::from_second((micros / 1_000_000) as i64).map(|time| time.to_string()).unwrap_or_default()
}

/// The organization named on the command line, else the project file's, else `default`.
fn chosen(global: &Global, named: Option<&str>) -> Result<Name, Failure> {
    if let Some(named) = named {
        return Name::new(named).map_err(|e| Failure::usage(format!("--organization: {e}")));
    }
    if !global.project.exists() {
        return Name::new("default").map_err(Failure::new);
    }
    let loaded = project::load(&global.project).map_err(|e| {
        Failure::usage(format!("whose tokens are meant cannot be read from the project file; name it with --organization: {e}"))
    })?;
    Ok(loaded.project.organization.id)
}

/// When a token ends: a time, or how long from now. Unix microseconds.
fn end(text: &str, now: u64) -> Result<u64, Failure> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_microsecond().max(0) as u64);
    }
    let unit = match text.chars().last() {
        Some('m') => Some(60),
        Some('h') => Some(3600),
        Some('d') => Some(86_400),
        _ => None,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|digits| digits.parse::<u64>().ok()).filter(|number| *number > 0);
    // Beyond some ten thousand years there is no time.
    let length = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit * 1_000_000)).filter(|length| *length < 1 << 58);
    length.map(|length| now + length).ok_or_else(|| {
        Failure::usage(format!("--expires: `{text}` is neither a time nor a duration: write 90d, 12h, 30m or 2027-01-31T12:00:00Z"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_duration_from_now() {
        for (text, expected) in [
            ("90d", 1_000_000 + 90 * 86_400_000_000),
            ("12h", 1_000_000 + 12 * 3_600_000_000),
            ("30m", 1_000_000 + 1_800_000_000),
            ("1970-01-02T00:00:00Z", 86_400_000_000),
        ] {
            assert_eq!(end(text, 1_000_000).unwrap(), expected, "{text}");
        }
        for wrong in ["", "d", "0d", "-1d", "90", "90s", "90 d", "1.5d", "99999999999999999999d", "999999999999999d", "tomorrow", "ä"] {
            assert!(end(wrong, 0).unwrap_err().message.contains("--expires"), "{wrong}");
        }
    }
}
