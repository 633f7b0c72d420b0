//! Checks of a request against its operation: parameters, preconditions, content type. It must not know what any of them means.

use crate::call::Preconditions;
use crate::operation::{Content, Operation, Parameter, Place, Value};
use crate::problem::{Code, Problem};
use axum::http::{HeaderMap, header};
use engine::configure::suggestion;
use engine::model::name::Name;
use engine::model::project::Problem as Found;
use std::collections::BTreeMap;

/// Path and query parameters under the names of the operation's table.
///
/// # Errors
/// A problem that names every parameter which is unknown, missing, there twice or not what it may be.
pub(crate) fn parameters(
    operation: &'static Operation,
    path: &[(String, String)],
    query: Option<&str>,
) -> Result<BTreeMap<&'static str, String>, Problem> {
    let mut values = BTreeMap::new();
    let mut found = Vec::new();
    for parameter in operation.parameters.iter().filter(|parameter| parameter.place == Place::Path) {
        if let Some((_, value)) = path.iter().find(|(name, _)| name == parameter.name) {
            values.insert(parameter.name, value.clone());
        }
    }
    let known: Vec<&Parameter> = operation.parameters.iter().copied().filter(|parameter| parameter.place == Place::Query).collect();
    let mut wrong = |name: &str, message: String| found.push(Found { path: name.to_string(), message });
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
            let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
            let instead = if names.is_empty() { "this call takes none".to_string() } else { suggestion(&name, &names) };
            wrong(&name, format!("unknown parameter `{}`; {instead}", shortened(&name)));
            continue;
        };
        if let Err(message) = check(parameter.value, &value) {
            wrong(parameter.name, message);
        } else if values.insert(parameter.name, value.into_owned()).is_some() {
            wrong(parameter.name, "stands there twice; keep one".to_string());
        }
    }
    for parameter in known.iter().filter(|parameter| parameter.required && !values.contains_key(parameter.name)) {
        if !found.iter().any(|one| one.path == parameter.name) {
            let message = format!("is missing; write one, as in `{}={}`", parameter.name, parameter.example);
            found.push(Found { path: parameter.name.to_string(), message });
        }
    }
    if found.is_empty() {
        return Ok(values);
    }
    let names: Vec<String> = found.iter().map(|one| format!("`{}`", shortened(&one.path))).collect();
    Err(Problem::listed(Code::InvalidParameter, format!("wrong parameters: {}", names.join(", ")), found))
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Whether a value is one that the parameter may have; else what it may be.
fn check(value: Value, text: &str) -> Result<(), String> {
    match value {
        Value::Name => Name::new(text).map(drop),
        Value::EventType => Name::dotted(text).map(drop),
        Value::Text(_) if text.is_empty() => Err("is empty; leave it away, or write something".to_string()),
        Value::Id(prefix) => {
            let rest = text.strip_prefix(prefix).unwrap_or_default();
            let sound = (1..=60).contains(&rest.len()) && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_'));
            if sound { Ok(()) } else { Err(format!("is not an id: those begin with `{prefix}`")) }
        }
        Value::Text(longest) if text.chars().count() > longest => Err(format!("is longer than {longest} characters")),
        Value::Text(_) => Ok(()),
        Value::Number(low, high) => {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let fits = digits && text.parse::<u64>().is_ok_and(|number| (low..=high).contains(&number));
            if fits { Ok(()) } else { Err(format!("must be a whole number from {low} to {high}")) }
        }
        Value::Boolean if matches!(text, "true" | "false") => Ok(()),
        Value::Boolean => Err("must be `true` or `false`".to_string()),
        Value::Word(words) => {
            let words = words();
            if words.contains(&text) { Ok(()) } else { Err(format!("is not known; {}", suggestion(text, &words))) }
        }
        Value::Time => engine::time::parse_rfc3339(text)
            .map(drop)
            .ok_or_else(|| "must be a point in time like 2026-01-01T00:00:00Z (a `+` in a query is written %2B)".to_string()),
        Value::Tag | Value::Key => Ok(()),
    }
}

/// `If-Match` and `If-None-Match`. Of operations that take neither they mean nothing.
///
/// # Errors
/// A problem if one of them cannot be read, or both stand there.
pub(crate) fn preconditions(operation: &Operation, headers: &HeaderMap) -> Result<Preconditions, Problem> {
    let text = |name: header::HeaderName| -> Result<Option<String>, Problem> {
        if !operation.takes(name.as_str()) {
            return Ok(None);
        }
        let mut all = headers.get_all(&name).iter();
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match value.to_str() {
                Ok(text) => Ok(Some(text.trim().to_string())),
                Err(_) => Err(Problem::new(Code::InvalidHeader, format!("`{name}` is not text"))),
            },
            (Some(_), Some(_)) => Err(Problem::new(Code::InvalidHeader, format!("`{name}` stands there twice; keep one"))),
        }
    };
    match (text(header::IF_MATCH)?.as_deref(), text(header::IF_NONE_MATCH)?.as_deref()) {
        (None, None) => Ok(Preconditions::Nothing),
        (None, Some("*")) => Ok(Preconditions::Absent),
        (Some("*"), None) => Ok(Preconditions::Present),
        (Some(tag), None) => match tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) if !inner.contains('"') => Ok(inner.parse().map_or(Preconditions::Never, Preconditions::At)),
            _ => Err(Problem::new(Code::InvalidHeader, "`If-Match` must be `*` or one entity tag in quotes, as in `If-Match: \"7\"`")),
        },
        (None, Some(_)) => Err(Problem::new(Code::InvalidHeader, "`If-None-Match` must be `*`: it says that nothing may be there yet")),
        (Some(_), Some(_)) => {
            Err(Problem::new(Code::InvalidHeader, "`If-Match` and `If-None-Match` contradict each other; keep one of them"))
        }
    }
}

/// The `Idempotency-Key`, if one was sent.
///
/// # Errors
/// A problem if it is empty, too long, there twice, or not visible ASCII.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all("idempotency-key").iter();
    let Some(value) = all.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let sound = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if all.next().is_some() || !sound {
        return Err(Problem::new(Code::InvalidHeader, "`Idempotency-Key` must stand there once, with 1 to 255 visible ASCII characters"));
    }
    Ok(Some(text.to_string()))
}

/// Whether the body's type is one that the operation takes.
///
/// # Errors
/// A problem that says which type is taken.
pub(crate) fn content_type(content: Content, headers: &HeaderMap) -> Result<(), Problem> {
    let taken: &[&str] = match content {
        Content::Json(_) => &["application/json"],
        Content::Lines(_) => &["application/x-ndjson", "application/ndjson", "application/jsonl"],
        Content::OneOrLines(_) => &["application/json", "application/x-ndjson", "application/ndjson", "application/jsonl"],
        Content::Bytes => &["application/octet-stream", "application/x-ndjson"],
        Content::Text(kind) => &[kind],
    };
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let suffix = matches!(content, Content::Json(_)) && kind.starts_with("application/") && kind.ends_with("+json");
    if suffix || taken.contains(&kind.as_str()) {
        return Ok(());
    }
    let instead = if given.is_empty() { "none was given".to_string() } else { format!("`{}` came", shortened(given)) };
    Err(Problem::new(Code::UnsupportedMediaType, format!("write `Content-Type: {}`; {instead}", taken[0])))
}
