//! Reading events: one JSON object, or one a line, each checked against its type. It must not match rules.

use super::Event;
use crate::configure::suggestion;
use crate::model::event_type::EventType;
use crate::model::project::Problem;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most events of one call.
pub const MOST_EVENTS: usize = 1000;
/// The longest event, bytes.
pub const LONGEST_EVENT: usize = 64 * 1024;
/// The longest id, characters.
const LONGEST_ID: usize = 128;
/// Problems of so many lines are told.
const MOST_PROBLEMS: usize = 100;

/// Reads events, at most so many: one object that may go over several lines, or one object a line. `taken_at` is when an event without a
/// time happened.
///
/// # Errors
/// What is wrong with which line (from 1), and so with the whole.
pub fn read(body: &[u8], types: &BTreeMap<String, EventType>, taken_at: u64, most: usize) -> Result<Vec<Event>, Vec<Problem>> {
    if body.len() <= LONGEST_EVENT
        && let Ok(Value::Object(members)) = serde_json::from_slice(body)
    {
        return event(members, types, taken_at)
            .map(|event| vec![event])
            .map_err(|wrong| wrong.into_iter().map(|(path, message)| Problem { path, message }).collect());
    }
    let (mut events, mut problems) = (Vec::new(), Vec::new());
    let lines =
        body.split(|byte| *byte == b'\n').enumerate().map(|(at, line)| (at + 1, line.trim_ascii())).filter(|(_, line)| !line.is_empty());
    for (number, line) in lines {
        let mut wrong = |path: &str, message: String| {
            let path = if path.is_empty() { format!("line {number}") } else { format!("line {number}: {path}") };
            problems.push(Problem { path, message });
        };
        if events.len() >= most {
            wrong("", format!("comes after the {most} events that one call may hold; make several calls"));
            break;
        }
        match parse(line) {
            Err(message) => wrong("", message),
            Ok(members) => match event(members, types, taken_at) {
                Ok(event) => events.push(event),
                Err(found) => found.into_iter().for_each(|(path, message)| wrong(&path, message)),
            },
        }
        if problems.len() >= MOST_PROBLEMS {
            break;
        }
    }
    if events.is_empty() && problems.is_empty() {
        problems.push(Problem {
            path: String::new(),
            message: "holds no event; write one like {\"id\": \"1\", \"type\": \"contact.subscribed\", \"data\": {}}".to_string(),
        });
    }
    if problems.is_empty() { Ok(events) } else { Err(problems) }
}

fn parse(line: &[u8]) -> Result<Map<String, Value>, String> {
    if line.len() > LONGEST_EVENT {
        return Err(format!("is {} bytes long, and an event may have {LONGEST_EVENT} at most", line.len()));
    }
    match serde_json::from_slice(line) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("is not a JSON object".to_string()),
        Err(error) => Err(format!("is not valid JSON: {}", error.to_string().replace(" at line 1 column", " at column"))),
    }
}

/// Checks an event. The errors are paths and what is wrong there.
fn event(mut members: Map<String, Value>, types: &BTreeMap<String, EventType>, taken_at: u64) -> Result<Event, Vec<(String, String)>> {
    let mut wrong: Vec<(String, String)> = Vec::new();
    let mut say = |path: &str, message: String| wrong.push((path.to_string(), message));
    const KNOWN: [&str; 4] = ["id", "type", "time", "data"];
    for name in members.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
        let shown: String = name.chars().take(60).collect();
        say(&shown, format!("unknown member; {}", suggestion(&shown, &KNOWN)));
    }
    let id = match members.remove("id") {
        Some(Value::String(id)) if (1..=LONGEST_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control) => id,
        Some(Value::Number(id)) if id.is_u64() => id.to_string(),
        Some(_) => {
            say("id", format!("must be a text of 1 to {LONGEST_ID} characters, none of them a control character"));
            String::new()
        }
        None => {
            say("id", "is missing; write one that tells this event from all others, so that it is taken once".to_string());
            String::new()
        }
    };
    let time = match members.remove("time") {
        None | Some(Value::Null) => crate::time::rfc3339(taken_at),
        Some(Value::String(time)) if crate::time::parse_rfc3339(&time).is_some() => time,
        Some(_) => {
            say("time", "must be a point in time like 2026-01-01T00:00:00Z".to_string());
            String::new()
        }
    };
    let data = match members.remove("data") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(Value::Object(data)) => Value::Object(data),
        Some(_) => {
            say("data", "must be an object".to_string());
            Value::Object(Map::new())
        }
    };
    let known: Vec<&str> = types.keys().map(String::as_str).collect();
    let kind = match members.remove("type") {
        Some(Value::String(kind)) if types.contains_key(&kind) => kind,
        Some(Value::String(kind)) => {
            let shown: String = kind.chars().take(80).collect();
            say("type", format!("there is no event type `{shown}`; {}", suggestion(&shown, &known)));
            String::new()
        }
        Some(_) => {
            say("type", "must be a text".to_string());
            String::new()
        }
        None => {
            say("type", "is missing; write one, as in `contact.subscribed`".to_string());
            String::new()
        }
    };
    let event = Event { id, kind, time, data };
    wrong.extend(types.get(&event.kind).into_iter().flat_map(|of| attributes(&event, of)));
    if wrong.is_empty() { Ok(event) } else { Err(wrong) }
}

/// Unknown attributes pass; a wrong type is named.
fn attributes(event: &Event, of: &EventType) -> Vec<(String, String)> {
    let place = if event.data.get("contact").is_some_and(Value::is_object) { "data.contact" } else { "data" };
    let contact = event.contact();
    let wrong = of.attributes.iter().filter_map(|attribute| {
        let why = attribute.kind.refuses(contact.get(&attribute.key)?)?;
        Some((format!("{place}.{}", attribute.key), why.to_string()))
    });
    wrong.collect()
}
