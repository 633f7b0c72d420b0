//! The API's description: current, and true to what is served.

use super::promise::DOCUMENT;
use super::stage::on_stage;
use engine::configure::keys::SECTIONS;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("docs/openapi.json");
    let text = api::document_text();
    if std::env::var_os("PENSTOCK_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("docs/openapi.json can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/openapi.json is out of date; run the tests once with PENSTOCK_WRITE_DOCS=1");
    on_stage(async |stage| {
        let answered = stage.ask("GET", "/v1/openapi.json").send().await;
        assert_eq!((answered.status, answered.text() == text), (200, true));
    });
}

/// Each table of keys that the parser goes by is a schema of the description, key by key.
#[test]
fn definitions_are_described_with_the_keys_that_the_parser_knows() {
    let schemas = DOCUMENT["components"]["schemas"].as_object().expect("schemas").values();
    let alternatives = |schema: &'static Value| schema["oneOf"].as_array().map_or_else(|| vec![schema], |all| all.iter().collect());
    let described: Vec<BTreeSet<&str>> = schemas
        .flat_map(alternatives)
        .filter_map(|schema| Some(schema["properties"].as_object()?.keys().map(String::as_str).collect()))
        .collect();
    for section in SECTIONS.iter().filter(|section| !section.place.is_empty()) {
        // The organization's id comes from the token.
        let own = section.keys.iter().filter(|key| !key.later && (section.place, key.name) != ("organization", "id"));
        let keys: BTreeSet<&str> = own.map(|key| key.name).collect();
        assert!(described.contains(&keys), "no schema has the keys of `{}`: {keys:?}; see shared/api/src/definition.rs", section.place);
    }
}
