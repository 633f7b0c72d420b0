//! The success path by its table, its limits, and the JMESPath compliance suites.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::{JmesPath, SuccessPath};

fn count(path: &str, body: &str, sent: usize) -> Result<u64, String> {
    SuccessPath::compile(path).unwrap_or_else(|error| panic!("{path}: {error}")).count(body.as_bytes(), sent)
}

/// GL-54, GL-55, GL-56, GL-57
#[test]
fn arrays_count_booleans_are_all_or_none_and_numbers_are_the_count() {
    for (path, body, sent, expected) in [
        ("records", r#"{"records": [{"id": 1}, {"id": 2}]}"#, 3, 2),
        ("created", r#"{"created": []}"#, 3, 0),
        ("success", r#"{"success": true}"#, 7, 7),
        ("success", r#"{"success": false}"#, 7, 0),
        ("num_records_imported", r#"{"num_records_imported": 5}"#, 5, 5),
        ("n", r#"{"n": 0}"#, 5, 0),
        ("n", r#"{"n": 3.0}"#, 5, 3),
        ("length(results[?ok])", r#"{"results": [{"ok": true}, {"ok": false}]}"#, 2, 1),
        ("results[?status=='created']", r#"{"results": [{"status": "created"}, {"status": "no"}]}"#, 2, 1),
        ("@", "[1, 2, 3]", 3, 3),
        ("@", "true", 1, 1),
    ] {
        assert_eq!(count(path, body, sent), Ok(expected), "{path} over {body}");
    }
}

/// GL-65
#[test]
fn the_paths_of_removals_read_the_same_way() {
    let body = r#"{"records": [1, 2], "deleted": 2, "success": true}"#;
    for path in ["records", "deleted", "success"] {
        assert_eq!(count(path, body, 2), Ok(2), "{path}");
    }
}

#[test]
fn nonsense_is_an_error_that_says_what_was_found() {
    for (path, body, expected) in [
        ("n", r#"{"n": null}"#, "finds nothing"),
        ("missing", "{}", "finds nothing"),
        ("n", r#"{"n": -1}"#, "-1, which is no count"),
        ("n", r#"{"n": 1.5}"#, "1.5, which is no count"),
        ("n", r#"{"n": 1e300}"#, "which is no count"),
        ("n", r#"{"n": 18446744073709551615}"#, "only 2 were sent"),
        ("n", r#"{"n": 3}"#, "counts 3 rows, but only 2 were sent"),
        ("n", r#"{"n": [1, 2, 3]}"#, "counts 3 rows, but only 2 were sent"),
        ("n", r#"{"n": "2"}"#, "gives a text"),
        ("n", r#"{"n": {"a": 1}}"#, "gives an object"),
        ("n", "<html>", "not JSON"),
        ("n", "", "not JSON"),
        ("n", r#"{"n": 1} trailing"#, "not JSON"),
        ("abs(n)", r#"{"n": "x"}"#, "can't be evaluated"),
    ] {
        let error = count(path, body, 2).expect_err(body);
        assert!(error.contains(expected), "{path} over {body}: {error}");
    }
}

#[test]
fn a_body_that_is_not_utf_8_is_an_error() {
    let error = SuccessPath::compile("n").expect("compiles").count(b"{\"n\": \"\xff\"}", 1).expect_err("not UTF-8");
    assert!(error.contains("not UTF-8 from byte 7"), "{error}");
}

#[test]
fn a_wrong_expression_is_refused_with_its_position() {
    for (path, expected) in [
        ("records[", "column"),
        ("a.", "column"),
        ("", "empty"),
        ("nosuch(a)", "no function `nosuch` in JMESPath, at column 1"),
        ("a | nosuch(a)", "at column 5"),
        ("a[99999999999]", "too large"),
        ("a[0:5:2147483647]", "too large"),
    ] {
        let error = JmesPath::compile(path).expect_err(path);
        assert!(error.contains(expected), "{path}: {error}");
    }
    assert!(JmesPath::compile("column_12345678901234").is_ok(), "a name may end in many digits");
}

#[test]
fn deep_nesting_and_long_chains_are_clean_errors() {
    for piece in ["[", "(", "!", "&", "a.", "a[*].", "a||", "a&&", "a|", "[]", "{a:", "a==", "[?"] {
        let text = piece.repeat(4000 / piece.len());
        let error = JmesPath::compile(&text).expect_err(piece);
        assert!(error.contains("operators"), "{piece}: {error}");
    }
    assert!(JmesPath::compile(&"a".repeat(5000)).expect_err("long").contains("5000 bytes"));
    let chain = format!("a{}", ".a".repeat(399));
    assert_eq!(JmesPath::compile(&chain).expect("within the limit").search(b"{}"), Ok(Value::Null));
    let body = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(count("@", &body, 1).expect_err("deep body").contains("not JSON"));
}

#[test]
fn an_expression_that_multiplies_the_body_is_stopped() {
    let path = JmesPath::compile(&["[@,@,@,@,@,@,@,@][]"; 8].join(" | ")).expect("compiles");
    assert!(path.search(b"[1,2,3]").expect_err("too much").contains("too large"));
    let quadratic = JmesPath::compile("join(to_string(@), @)").expect("compiles");
    assert!(quadratic.search(format!("[{}\"\"]", "\"\",".repeat(10_000)).as_bytes()).expect_err("too much").contains("too large"));
    assert_eq!(JmesPath::compile("{a: a, b: b}").expect("compiles").search(br#"{"a": 1}"#), Ok(serde_json::json!({"a": 1, "b": null})));
}

fn assert_sendable<T: Send + Sync>() {}

#[test]
fn a_compiled_path_can_be_shared_between_threads() {
    assert_sendable::<SuccessPath>();
}

proptest! {
    #[test]
    fn whatever_the_body_a_count_is_at_most_what_was_sent(body in ".{0,40}", n in any::<f64>(), sent in 0..1000usize) {
        let path = SuccessPath::compile("n").expect("compiles");
        for body in [body.clone(), format!("{{\"n\": {n}}}"), format!("{{\"n\": {}}}", Value::String(body))] {
            if let Ok(count) = path.count(body.as_bytes(), sent) {
                prop_assert!(count <= sent as u64);
            }
        }
    }

    #[test]
    fn no_expression_panics(text in "[a-c@.*\\[\\](){}|&!<>=?:,'\"`0-9 -]{0,40}") {
        if let Ok(path) = JmesPath::compile(&text) {
            let _ = path.search(br#"{"a": [1, {"b": "c"}, null, [2, 3]], "b": {"c": -1.5}}"#);
        }
    }
}

/// What the `jmespath` crate is known to get wrong: file, expression.
const KNOWN_MISSES: [(&str, &str); 1] = [("functions.json", "avg(empty_list)")];

/// VX-14: the compliance suites, through the same entry that the product uses.
#[test]
fn the_jmespath_suites_pass() {
    let Some(root) = std::env::var_os("PENSTOCK_SUITES") else {
        let strict = std::env::var_os("PENSTOCK_STRICT").is_some();
        assert!(!strict, "PENSTOCK_SUITES is not set, and nothing may be skipped");
        eprintln!("SKIPPED: PENSTOCK_SUITES is not set, so the JMESPath compliance suites were not run");
        return;
    };
    let folder = PathBuf::from(root).join("jmespath");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("PENSTOCK_SUITES is set, but {}: {error}", folder.display()));
    let (mut cases, mut misses) = (0, Vec::new());
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let groups: Value = serde_json::from_slice(&std::fs::read(&path).expect("a readable suite")).expect("a JSON suite");
        for group in groups.as_array().expect("a list of groups") {
            let given = group["given"].to_string();
            for case in group["cases"].as_array().expect("a list of cases") {
                let expression = case["expression"].as_str().expect("an expression");
                let outcome = JmesPath::compile(expression).and_then(|path| path.search(given.as_bytes()));
                let passes = match (case.get("error"), &outcome) {
                    (Some(_), outcome) => outcome.is_err(),
                    (None, Ok(found)) => same(found, &case["result"]),
                    (None, Err(_)) => false,
                };
                cases += 1;
                if !passes && !KNOWN_MISSES.contains(&(file.as_str(), expression)) {
                    misses.push(format!("{file}: {expression} gives {outcome:?}, wanted {case}"));
                }
            }
        }
    }
    assert!(cases > 800, "only {cases} cases were found in {}", folder.display());
    assert!(misses.is_empty(), "{} of {cases} cases fail:\n{}", misses.len(), misses.join("\n"));
}

/// Equal as JSON values, 1 and 1.0 being one number.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => one.as_f64() == two.as_f64(),
        (Value::Array(one), Value::Array(two)) => one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two)),
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len() && one.iter().all(|(name, value)| two.get(name).is_some_and(|other| same(value, other)))
        }
        (one, two) => one == two,
    }
}
