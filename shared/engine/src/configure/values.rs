//! Values that several keys share: names, durations, statuses, headers. It must not know which key they stand under.

use super::nearest;
use super::place::Place;
use super::templates::{Part, check};
use crate::model::credential::Secret;
use crate::model::name::Name;
use crate::model::status::StatusSet;
use crate::port::is_forbidden_header;

/// The definitions of one kind, each with its name; those whose name is wrong are reported and left out.
pub(super) fn definitions<'a>(place: Option<Place<'a>>) -> Vec<(Name, Place<'a>)> {
    let entries = place.and_then(|place| place.map()).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, place)| match Name::new(name) {
            Ok(name) => Some((name, place)),
            Err(message) => {
                place.problem(message);
                None
            }
        })
        .collect()
}

/// A name that must be one of those known.
pub(super) fn reference(place: &Place<'_>, kind: &str, known: &[&str]) -> Option<Name> {
    let text = place.text()?;
    if !known.contains(&text) {
        place.problem(format!("there is no {kind} `{text}`; {}", nearest::suggestion(text, known)));
        return None;
    }
    // A name among the known ones that is no name itself was reported where it is defined.
    Name::new(text).ok()
}

/// `30s`, `15m`, `1h`, `7d`, or a number of seconds; at least 1 s and at most ten years.
pub(super) fn duration(place: &Place<'_>) -> Option<u64> {
    const LONGEST: u64 = 3650 * 86_400;
    let seconds = match (place.as_integer(), place.as_text()) {
        (Some(seconds), _) => Some(seconds),
        (None, Some(text)) => seconds_of(text),
        (None, None) => return place.expected("a duration like 30s, 15m, 1h or 7d, or a number of seconds"),
    };
    let allowed = seconds.filter(|seconds| (1..=LONGEST).contains(seconds));
    if allowed.is_none() {
        place.problem("is not a duration from 1s to 3650d; write one like 30s, 15m, 1h or 7d, or a number of seconds");
    }
    allowed
}

fn seconds_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim_start() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// One status entry, as text or as a bare number.
pub(super) fn status(place: &Place<'_>) -> Option<(u16, u16)> {
    let text = match (place.as_text(), place.as_integer()) {
        (Some(text), _) => text.to_string(),
        (None, Some(number)) => number.to_string(),
        (None, None) => return place.expected("a status"),
    };
    StatusSet::parse_entry(&text).map_err(|message| place.problem(message)).ok()
}

/// Statuses that count as success; informational ones and redirects never do.
pub(super) fn success(place: &Place<'_>) -> Option<StatusSet> {
    let items = place.list()?;
    if items.is_empty() {
        place.problem("lists no status, so nothing could ever succeed; write at least one, or leave the key away");
        return None;
    }
    let ranges: Vec<(u16, u16)> = items.iter().filter_map(|item| success_entry(item)).collect();
    (ranges.len() == items.len()).then(|| StatusSet::new(ranges))
}

fn success_entry(item: &Place<'_>) -> Option<(u16, u16)> {
    let (low, high) = status(item)?;
    let never = |class: u16| low <= class + 99 && high >= class;
    if never(100) || never(300) {
        item.problem("holds 1xx or 3xx, which never count as success: redirects are not followed");
        return None;
    }
    Some((low, high))
}

/// Column names: filled texts, none of them twice.
pub(super) fn columns(place: &Place<'_>) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for item in place.list().unwrap_or_default() {
        let Some(text) = item.filled_text() else { continue };
        if columns.iter().any(|column| column == text) {
            item.problem(format!("`{text}` stands here twice; take one out"));
        } else {
            columns.push(text.to_string());
        }
    }
    columns
}

/// A header's name: a token (RFC 9110, 5.6.2) that is not the connection's. The error says what is wrong.
pub(super) fn header_name(name: &str) -> Result<(), String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("`{name}` is not a header name; use letters, digits and hyphens"));
    }
    if is_forbidden_header(name) {
        return Err(format!("`{name}` is set by the connection itself; take it out"));
    }
    Ok(())
}

/// The entries of a header object whose names are sound and stand there once, whatever their case.
fn headers<'a>(place: &Place<'a>) -> Vec<(&'a str, Place<'a>)> {
    let mut sound: Vec<(&str, Place<'_>)> = Vec::new();
    for (name, value) in place.map().unwrap_or_default() {
        if let Err(message) = header_name(name) {
            value.problem(message);
        } else if let Some((other, _)) = sound.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            value.problem(format!("`{name}` and `{other}` are the same header; keep one"));
        } else {
            sound.push((name, value));
        }
    }
    sound
}

/// Headers or query parameters whose values are templates. A whole number stands for its digits.
fn templates(entries: Vec<(&str, Place<'_>)>, part: Part) -> Vec<(String, String)> {
    let template = |(name, value): (&str, Place<'_>)| {
        let text = match (value.as_text(), value.as_integer()) {
            (Some(text), _) => text.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => return value.expected("texts (put numbers and true or false into quotes)"),
        };
        match check(&text, part) {
            Ok(()) => Some((name.to_string(), text)),
            Err(message) => {
                value.problem(message);
                None
            }
        }
    };
    entries.into_iter().filter_map(template).collect()
}

/// GL-14: headers as an object; values are templates.
pub(super) fn header_templates(place: &Place<'_>) -> Vec<(String, String)> {
    templates(headers(place), Part::Header)
}

/// Variables as an object; values are templates for text.
pub(super) fn text_templates(place: &Place<'_>) -> Vec<(String, String)> {
    templates(place.map().unwrap_or_default(), Part::Text)
}

/// Query parameters as an object; values are templates.
pub(super) fn query_templates(place: &Place<'_>) -> Vec<(String, String)> {
    let entries = place.map().unwrap_or_default();
    let named = |(name, value): &(&str, Place<'_>)| {
        if name.is_empty() {
            value.problem("a query parameter needs a name");
        }
        !name.is_empty()
    };
    templates(entries.into_iter().filter(named).collect(), Part::Query)
}

/// Origins: scheme, host and port, without the port where it is the scheme's own. They may come from the environment, so no problem
/// shows them.
pub(super) fn origins(place: &Place<'_>) -> Option<Vec<String>> {
    let items = place.list()?;
    if items.is_empty() {
        place.problem("lists no origin, so it could be sent nowhere; write at least one, or leave the key away");
        return None;
    }
    let origins: Vec<String> = items.iter().filter_map(origin).collect();
    (origins.len() == items.len()).then_some(origins)
}

fn origin(place: &Place<'_>) -> Option<String> {
    let url = place.filled_text().and_then(|text| url::Url::parse(text).ok());
    let bare = |url: &url::Url| {
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        // Parsers of URLs take a star for a letter of the host, and whoever writes one means more than that.
        let host = url.host_str().is_some_and(|host| !host.contains('*'));
        matches!(url.scheme(), "http" | "https") && host && plain && matches!(url.path(), "" | "/")
    };
    let origin = url.filter(bare).map(|url| url.origin().ascii_serialization());
    if origin.is_none() && place.as_text().is_some_and(|text| !text.trim().is_empty()) {
        place.problem("is not an origin; write scheme, host and port alone, as in https://api.example.com or http://localhost:8080");
    }
    origin
}

/// Headers whose values are secrets, taken as they are.
pub(super) fn secret_headers(place: &Place<'_>) -> Vec<(String, Secret)> {
    headers(place).into_iter().filter_map(|(name, value)| Some((name.to_string(), secret(&value)?))).collect()
}

/// A secret that can stand in a header. The problem never shows it.
pub(super) fn secret(place: &Place<'_>) -> Option<Secret> {
    let text = place.text()?;
    if text.is_empty() {
        place.problem("the secret is empty; write one, or set the environment variable that it comes from");
        return None;
    }
    if text.chars().any(|c| c.is_control()) {
        place.problem("the secret holds a line feed or another control character; take it out (a file's last line feed, perhaps)");
        return None;
    }
    Some(Secret::new(text))
}
