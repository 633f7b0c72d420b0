//! What the parser takes, what it refuses, and where it says so.

mod arbitrary;
mod later;
mod merging;
mod problems;
mod sound;

use super::parse;
use crate::model::project::{Problem, Project};
use serde_json::{Value, json};

/// A sound project with one definition of each kind.
fn base() -> Value {
    json!({
        "credentials": {"key": {"type": "headers", "headers": {"X-App-Key": "s3cr3t"}}},
        "destinations": {"crm": {
            "base_url": "https://api.example.com/v1",
            "credential": "key",
            "headers": {"X-Static": "yes"},
            "actions": {
                "add": {"url": "/members", "body": "{\"id\": \"{{user.id}}\"}"},
                "remove": {"enabled": true, "method": "DELETE", "url": "/members/{{user.id}}"},
            },
        }},
        "models": {"people": {"primary_key": ["id"], "source": {"type": "file", "path": "rows/people.csv"}}},
        "exports": {"people": {"model": "people", "destination": "crm"}},
    })
}

/// The base project with one value put in; `path` is a JSON pointer whose missing objects are made.
fn with(path: &str, value: Value) -> Value {
    let mut document = base();
    put(&mut document, path, value);
    document
}

fn put(document: &mut Value, path: &str, value: Value) {
    let mut at = document;
    for key in path.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[key];
    }
    *at = value;
}

fn sound(document: &Value) -> Project {
    parse(document).unwrap_or_else(|problems| panic!("should be sound: {problems:#?}"))
}

fn problems(document: &Value) -> Vec<Problem> {
    parse(document).expect_err("should have problems")
}

/// Fails unless a problem stands at exactly this path and says this.
fn assert_problem(document: &Value, path: &str, fragment: &str) {
    let found = problems(document);
    let there = found.iter().any(|problem| problem.path == path && problem.message.contains(fragment));
    assert!(there, "no problem at {path} says “{fragment}”: {found:#?}");
}
