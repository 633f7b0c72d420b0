//! What the API's description promises of an answer, held against each answer that a test gets.

use super::schema::problems;
use super::stage::Answered;
use serde_json::Value;
use std::sync::LazyLock;

/// The description.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(api::document()).expect("the description is JSON"));

/// Every operation: method, path and description.
pub fn operations() -> Vec<(&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = ["get", "put", "post", "delete"];
        methods.into_iter().filter_map(move |method| Some((method, path.as_str(), item.get(method)?)))
    });
    all.collect()
}

/// The operation that serves a path, if one does.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |template: &str| {
        let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        let same = |(template, path): (&&str, &&str)| template == path || template.starts_with('{') && !path.is_empty();
        template.len() == path.len() && template.iter().zip(&path).all(same)
    };
    // A path without parameters comes before one with them.
    let mut found: Vec<_> =
        operations().into_iter().filter(|(own, template, _)| method.eq_ignore_ascii_case(own) && fits(template)).collect();
    found.sort_by_key(|(_, template, _)| template.matches('{').count());
    found.first().map(|(.., operation)| *operation)
}

/// Panics unless the answer is one that the description promises.
pub fn hold(method: &str, path: &str, answered: &Answered) {
    for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
        assert_eq!(answered.header(name), value, "{method} {path}: {name}");
    }
    assert!(!answered.header("x-request-id").is_empty(), "{method} {path}: an answer has an id");
    let kind = answered.header("content-type");
    if kind == "application/problem+json" {
        let problem = answered.json();
        assert_eq!(problem["status"], answered.status, "{method} {path}: {problem}");
        assert_eq!(problems(&DOCUMENT, &DOCUMENT["components"]["schemas"]["Problem"], &problem), [""; 0], "{method} {path}: {problem}");
    }
    let Some(operation) = operation(method, path) else { return };
    let mut promised = &operation["responses"][answered.status.to_string()];
    assert!(promised.is_object(), "{method} {path}: {} is not in the description: {}", answered.status, answered.text());
    if let Some(name) = promised["$ref"].as_str() {
        let codes: Vec<&str> = promised["description"].as_str().unwrap_or_default().split(", ").collect();
        assert!(codes.contains(&answered.code().as_str()), "{method} {path}: code {} is not among {codes:?}", answered.code());
        promised = DOCUMENT.pointer(name.trim_start_matches('#')).expect("the description refers to what is in it");
    }
    let Some(content) = promised["content"].as_object() else {
        assert!(answered.body.is_empty(), "{method} {path}: {} promises no body: {}", answered.status, answered.text());
        return;
    };
    let schema = content.get(kind).unwrap_or_else(|| panic!("{method} {path}: `{kind}` is not promised for {}", answered.status));
    if kind == "application/json" {
        let value = answered.json();
        assert_eq!(problems(&DOCUMENT, &schema["schema"], &value), [""; 0], "{method} {path}: {value}");
    }
    for name in promised["headers"].as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(!answered.header(name).is_empty(), "{method} {path}: the header {name} is promised");
    }
}
