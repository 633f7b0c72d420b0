//! Properties over trees that nobody would write.

use super::{base, put};
use crate::configure::keys::SECTIONS;
use crate::configure::parse;
use proptest::prelude::*;
use serde_json::{Value, json};

fn tree() -> impl Strategy<Value = Value> {
    let keys: Vec<&'static str> =
        SECTIONS.iter().flat_map(|section| section.keys).map(|key| key.name).chain(["crm", "key", "people"]).collect();
    let words = prop_oneof![
        Just("same_as_add".to_string()),
        Just("unlimited".to_string()),
        Just("headers".to_string()),
        Just("file".to_string()),
        Just("{{#each users}}{{id}}".to_string()),
        Just("https://api.example.com".to_string()),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    let key = prop_oneof![4 => proptest::sample::select(keys).prop_map(str::to_string), 1 => ".{0,6}"];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Places of the base project where something else may stand.
const PLACES: [&str; 14] = [
    "/credentials",
    "/credentials/key",
    "/destinations",
    "/destinations/crm",
    "/destinations/crm/rate_limit",
    "/destinations/crm/retry",
    "/destinations/crm/actions",
    "/destinations/crm/actions/add",
    "/destinations/crm/actions/add/body",
    "/models/people",
    "/models/people/source",
    "/exports/people",
    "/exports/people/actions/add",
    "/exports/people/schedule",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_tree_makes_the_parser_panic_and_a_refusal_has_a_reason(document in tree()) {
        if let Err(problems) = parse(&document) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        }
    }

    #[test]
    fn no_tree_within_a_sound_project_makes_the_parser_panic(value in tree(), place in proptest::sample::select(&PLACES[..])) {
        let mut document = base();
        put(&mut document, place, value);
        if let Err(problems) = parse(&document) {
            prop_assert!(!problems.is_empty());
            let mut seen = std::collections::HashSet::new();
            prop_assert!(problems.iter().all(|problem| seen.insert((&problem.path, &problem.message))), "each problem once");
        }
    }

    #[test]
    fn no_problem_shows_a_secret(secret in "[a-z]{4}S3CR3T[ \n\u{0}:é]{0,2}", kind in 0..4usize) {
        let mut document = base();
        let credential = match kind {
            0 => json!({"type": "bearer", "token": secret, "wrong": 1}),
            1 => json!({"type": "basic", "username": "u", "password": secret, "wrong": 1}),
            2 => json!({"type": "api_key", "name": "X-Key", "value": secret, "wrong": 1}),
            _ => json!({"type": "headers", "headers": {"X-Key": secret}, "wrong": 1}),
        };
        put(&mut document, "/credentials/key", credential);
        put(&mut document, "/destinations/crm/secret_headers", json!({"X-S": secret, "Host": secret}));
        put(&mut document, "/destinations/crm/base_url", json!(format!("ftp://u:{secret}@h")));
        let problems = parse(&document).expect_err("has an unknown key");
        let shown = format!("{problems:?}");
        prop_assert!(!shown.contains("S3CR3T"));
    }
}
