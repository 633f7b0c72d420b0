//! As much of JSON Schema as the API's description uses: whether a value is one that it promises. It must not be kinder than the
//! standard; what it does not know it refuses.

use serde_json::Value;

/// Keywords that say nothing of a value.
const SILENT: [&str; 9] = ["description", "example", "examples", "default", "format", "title", "readOnly", "writeOnly", "x-internal"];

/// Everything that is wrong with `value`, each with its place.
pub fn problems(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "", &mut found);
    found
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let mut wrong = |message: String| found.push(format!("{place}: {message}"));
    let Some(keywords) = schema.as_object() else { return wrong(format!("{schema} is no schema")) };
    for (keyword, rule) in keywords {
        let holds = match (keyword.as_str(), value) {
            ("$ref", _) => {
                let name = rule.as_str().unwrap_or_default();
                match document.pointer(name.trim_start_matches('#')) {
                    Some(schema) => {
                        check(document, schema, value, place, found);
                        continue;
                    }
                    None => false,
                }
            }
            ("type", _) => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is(kind, value)),
                kind => is(kind, value),
            },
            ("enum", _) => rule.as_array().is_some_and(|words| words.contains(value)),
            ("anyOf", _) => rule.as_array().is_some_and(|all| all.iter().any(|one| problems(document, one, value).is_empty())),
            ("oneOf", _) => {
                rule.as_array().is_some_and(|all| all.iter().filter(|one| problems(document, one, value).is_empty()).count() == 1)
            }
            ("allOf", _) => rule.as_array().is_some_and(|all| all.iter().all(|one| problems(document, one, value).is_empty())),
            ("required", Value::Object(members)) => {
                rule.as_array().is_some_and(|names| names.iter().all(|name| members.contains_key(name.as_str().unwrap_or_default())))
            }
            ("properties", Value::Object(members)) => {
                for (name, schema) in rule.as_object().into_iter().flatten() {
                    if let Some(member) = members.get(name) {
                        check(document, schema, member, &format!("{place}/{name}"), found);
                    }
                }
                continue;
            }
            ("additionalProperties", Value::Object(members)) => {
                let known = keywords.get("properties").and_then(Value::as_object);
                let others = members.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
                for (name, member) in others {
                    match rule {
                        Value::Bool(true) => {}
                        Value::Bool(false) => found.push(format!("{place}/{name}: is not known")),
                        schema => check(document, schema, member, &format!("{place}/{name}"), found),
                    }
                }
                continue;
            }
            ("items", Value::Array(items)) => {
                for (index, item) in items.iter().enumerate().filter(|_| rule.is_object()) {
                    check(document, rule, item, &format!("{place}/{index}"), found);
                }
                continue;
            }
            ("prefixItems", Value::Array(items)) => {
                let rules = rule.as_array().into_iter().flatten();
                rules.zip(items).all(|(rule, item)| problems(document, rule, item).is_empty())
            }
            ("minimum", Value::Number(number)) => number.as_f64() >= rule.as_f64(),
            ("maximum", Value::Number(number)) => number.as_f64() <= rule.as_f64(),
            ("minLength", Value::String(text)) => text.chars().count() as u64 >= rule.as_u64().unwrap_or_default(),
            ("maxLength", Value::String(text)) => text.chars().count() as u64 <= rule.as_u64().unwrap_or_default(),
            ("minItems", Value::Array(items)) => items.len() as u64 >= rule.as_u64().unwrap_or_default(),
            ("maxItems", Value::Array(items)) => items.len() as u64 <= rule.as_u64().unwrap_or_default(),
            // Patterns are left to the fuzzer, which has regular expressions.
            ("pattern", _) => true,
            ("required" | "properties" | "additionalProperties" | "propertyNames", _) => true,
            ("items" | "prefixItems" | "minItems" | "maxItems" | "uniqueItems", _) => true,
            ("minimum" | "maximum" | "minLength" | "maxLength" | "multipleOf", _) => true,
            (keyword, _) if SILENT.contains(&keyword) => true,
            _ => {
                found.push(format!("{place}: `{keyword}` is not known to this check"));
                continue;
            }
        };
        if !holds {
            found.push(format!("{place}: {value} does not keep `{keyword}`: {rule}"));
        }
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match (kind.as_str().unwrap_or_default(), value) {
        ("null", Value::Null) | ("boolean", Value::Bool(_)) | ("string", Value::String(_)) => true,
        ("array", Value::Array(_)) | ("object", Value::Object(_)) | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
        _ => false,
    }
}
