//! The reference page, and that what it says is so.

use super::in_repository;
use crate::project::yaml;
use engine::configure::keys::{Key, SECTIONS, Section};
use engine::configure::{parse, reference};
use serde_json::{Map, Value};

/// What each section's examples are put into; names are those that the examples refer to.
const BASE: &str = r#"
credentials: {crm: {type: bearer, token: x}}
destinations: {crm: {base_url: "https://api.example.com", actions: {add: {url: /members}}}}
models: {newsletter: {primary_key: [id], source: {type: file, path: rows.csv}}}
exports: {newsletter: {model: newsletter, destination: crm, fields: [{from: id, to: id}], actions: {add: {url: /members}}}}
requests: {customer_profile: {url: "https://profiles.example.com"}}
rules: {crm: {on: contact.subscribed, steps: [{}, {deliver: {destination: crm, action: add}}]}}
"#;

fn value(text: &str) -> Value {
    yaml::read(text).unwrap_or_else(|flaws| panic!("{text}: {flaws:?}")).to_value()
}

fn example(key: &Key) -> Value {
    value(&format!("{}: {}", key.name, key.example))[key.name].take()
}

/// The example alone, with what must stand beside it.
fn beside(section: &Section, key: &Key) -> Map<String, Value> {
    let mut object: Map<String, Value> = section
        .keys
        .iter()
        .filter(|other| other.default.is_empty() && !other.later)
        .map(|other| (other.name.to_string(), example(other)))
        .collect();
    match (section.place, key.name) {
        ("exports.<name>.schedule", "timezone") => drop(object.insert("cron".into(), "0 * * * *".into())),
        (place, "size") if place.ends_with("batch") => drop(object.insert("mode".into(), "batched".into())),
        _ => {}
    }
    object.insert(key.name.to_string(), example(key));
    object
}

/// The base with a section's object laid over what stands at its place.
fn document(section: &Section, key: &Key) -> Value {
    let mut document = value(BASE);
    let mut at = &mut document;
    let mut top = "";
    for word in section.place.split('.').filter(|word| !word.is_empty()) {
        let name = match word {
            "<name>" if matches!(top, "models" | "exports") => "newsletter",
            "<name>" => "crm",
            "<action>" => "add",
            other => other.trim_end_matches("[]"),
        };
        top = if top.is_empty() { word } else { top };
        at = &mut at[name];
        if word.ends_with("[]") {
            if !at.is_array() {
                *at = Value::Array(vec![Value::Null]);
            }
            at = &mut at[0];
        }
    }
    // Their type decides which other keys belong there.
    if top == "credentials" || section.place.ends_with(".source") || !at.is_object() {
        *at = Value::Object(Map::new());
    }
    at.as_object_mut().unwrap().extend(beside(section, key));
    if top != "rules" {
        document["rules"] = Value::Object(Map::new());
    }
    document
}

#[test]
fn the_example_of_every_key_is_accepted() {
    let mut seen = 0;
    for section in SECTIONS {
        for key in section.keys.iter().filter(|key| !key.later) {
            let document = document(section, key);
            if let Err(problems) = parse(&document) {
                panic!("{} {}: {problems:#?}\n{document:#}", section.place, key.name);
            }
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn the_committed_reference_page_is_the_one_that_the_tables_give() {
    let path = in_repository("docs/project-file.md");
    if std::env::var_os("PENSTOCK_WRITE_DOCS").is_some() {
        std::fs::write(&path, reference::page()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == reference::page(), "docs/project-file.md is out of date; run the tests once with PENSTOCK_WRITE_DOCS=1");
}
