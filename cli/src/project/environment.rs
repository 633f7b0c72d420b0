//! Puts the environment's values where the project file asks for them: in secrets, URLs and source locations, never in templates. It
//! must not show a value.

use engine::configure::{path_of_item, path_of_key, takes_environment};
use engine::model::project::Problem;
use serde_json::Value;

/// Replaces `${NAME}` wherever it is allowed; elsewhere text stays as it is. `$${` stands for `${`. Each variable that is missing is a
/// problem.
pub fn replace(document: &mut Value, variable: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(document, &mut Vec::new(), "", variable, &mut problems);
    problems
}

fn walk(value: &mut Value, keys: &mut Vec<String>, path: &str, variable: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) {
    match value {
        Value::Object(map) => {
            for (key, child) in map.iter_mut() {
                keys.push(key.clone());
                walk(child, keys, &path_of_key(path, key), variable, problems);
                keys.pop();
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter_mut().enumerate() {
                walk(child, keys, &path_of_item(path, index), variable, problems);
            }
        }
        Value::String(text) if text.contains("${") => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            if takes_environment(&keys) {
                let replaced = replaced(text, variable, &mut |message| problems.push(Problem { path: path.to_string(), message }));
                *text = replaced;
            }
        }
        _ => {}
    }
}

/// The text with its variables replaced; what a variable holds is not looked through again.
fn replaced(text: &str, variable: &dyn Fn(&str) -> Option<String>, problem: &mut dyn FnMut(String)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let Some(end) = inside.find('}') else {
            problem("`${` is never closed; write ${NAME}, or $${ for the two characters".to_string());
            return out;
        };
        let name = &inside[..end];
        match variable(name) {
            _ if !is_name(name) => problem("the name between ${ and } may hold letters, digits and _ only; write ${NAME}".to_string()),
            Some(value) => out.push_str(&value),
            None => problem(format!("the environment variable {name} is not set; set it before you start penstock")),
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    out
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn variable(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("t0k3n".to_string()),
            "NESTED" => Some("${TOKEN}".to_string()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_in_secrets_urls_and_source_locations_only() {
        let written = |text: &str| {
            json!({
                "credentials": {"a": {"type": "bearer", "token": text}, "b": {"type": "headers", "headers": {"X": text}}},
                "destinations": {"a": {
                    "base_url": text, "secret_headers": {"X": text}, "headers": {"X": "${TOKEN}"}, "name": "${TOKEN}",
                    "actions": {"add": {"url": "${TOKEN}", "body": "${TOKEN}"}},
                }},
                "models": {"a": {"source": {"path": text}, "primary_key": ["${TOKEN}"]}},
            })
        };
        let mut document = written("a ${TOKEN} b ${TOKEN}$");
        assert_eq!(replace(&mut document, &variable), []);
        assert_eq!(document, written("a t0k3n b t0k3n$"));
    }

    #[test]
    fn what_a_variable_holds_is_not_looked_through_again_and_two_dollars_stand_for_one() {
        for (text, becomes) in
            [("${NESTED}", "${TOKEN}"), ("$${TOKEN}", "${TOKEN}"), ("${EMPTY}", ""), ("$TOKEN", "$TOKEN"), ("a$$b", "a$$b")]
        {
            let mut document = json!({"credentials": {"a": {"token": text}}});
            assert_eq!(replace(&mut document, &variable), []);
            assert_eq!(document["credentials"]["a"]["token"], becomes, "{text}");
        }
    }

    #[test]
    fn a_missing_variable_is_a_problem_with_its_path() {
        let mut document =
            json!({"credentials": {"a": {"headers": {"X-A": "${GONE} ${TOKEN} ${LOST}"}}}, "models": {"m": {"source": {"path": "${"}}}});
        let problems = replace(&mut document, &variable);
        let shown: Vec<(&str, &str)> = problems.iter().map(|problem| (problem.path.as_str(), &problem.message[..30])).collect();
        assert_eq!(
            shown,
            [
                ("credentials.a.headers.X-A", "the environment variable GONE "),
                ("credentials.a.headers.X-A", "the environment variable LOST "),
                ("models.m.source.path", "`${` is never closed; write ${"),
            ]
        );
        let mut document = json!({"credentials": {"a": {"token": "${A-B}"}}});
        assert!(replace(&mut document, &variable)[0].message.contains("letters, digits and _ only"));
    }
}
