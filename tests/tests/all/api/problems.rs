//! What is said when something is wrong: always a problem of RFC 9457 that a person can act on.

use super::stage::on_stage;
use serde_json::{Value, json};

#[test]
fn whatever_is_wrong_is_told_as_a_problem() {
    on_stage(async |stage| {
        let token = &stage.owner().await;
        let json = "application/json";
        for (method, path, kind, body, status, code, fragment) in [
            ("GET", "/nowhere", "", "", 404, "not_found", "/nowhere"),
            ("GET", "/v1/nowhere", "", "", 404, "not_found", "/v1/nowhere"),
            ("GET", "/v1/destinations/NOT%20A%20NAME", "", "", 404, "not_found", "NOT A NAME"),
            ("GET", "/v1/runs/run_absent", "", "", 404, "not_found", "`run_absent`"),
            ("PATCH", "/v1/destinations/crm", "", "", 405, "method_not_allowed", "PATCH"),
            ("DELETE", "/v1/runs", "", "", 405, "method_not_allowed", "DELETE"),
            ("GET", "/v1/runs?limit=0", "", "", 400, "invalid_parameter", "`limit`"),
            ("GET", "/v1/runs?limit=many", "", "", 400, "invalid_parameter", "from 1 to 200"),
            ("GET", "/v1/runs?limit=1&limit=2", "", "", 400, "invalid_parameter", "twice"),
            ("GET", "/v1/runs?statsu=held", "", "", 400, "invalid_parameter", "did you mean `status`?"),
            ("GET", "/v1/runs?status=hold", "", "", 400, "invalid_parameter", "did you mean `held`?"),
            ("GET", "/v1/runs?since=yesterday", "", "", 400, "invalid_parameter", "2026-01-01T00:00:00Z"),
            ("GET", "/v1/runs?after=%00", "", "", 400, "invalid_parameter", "after"),
            ("GET", "/v1/destinations/crm?verbose=1", "", "", 400, "invalid_parameter", "takes none"),
            ("GET", "/v1/deliveries?run=null", "", "", 400, "invalid_parameter", "`run_`"),
            ("GET", "/v1/deliveries?row=1", "", "", 400, "invalid_parameter", "`run`, `export` or `destination`"),
            ("GET", "/v1/deliveries?after=forged&limit=1", "", "", 400, "invalid_parameter", "after"),
            ("PUT", "/v1/models/people", json, "{\"a\": 1,\n  b}", 400, "malformed_json", "line 2, column 3"),
            ("PUT", "/v1/models/people", json, "{\"name\": \"a\", \"name\": \"b\"}", 400, "malformed_json", "`name` stands there twice"),
            ("PUT", "/v1/models/people", json, "", 400, "malformed_body", "none came"),
            ("PUT", "/v1/models/people", "text/plain", "{}", 415, "unsupported_media_type", "application/json"),
            ("PUT", "/v1/models/people", "", "{}", 415, "unsupported_media_type", "none was given"),
            ("PUT", "/v1/models/people", json, "[]", 422, "invalid", "an object"),
            ("PUT", "/v1/models/people", json, "{\"primary_kye\": [\"id\"]}", 422, "invalid", "did you mean `primary_key`?"),
            ("PUT", "/v1/models/Not-A-Name", json, "{}", 422, "invalid", "is not a name"),
            ("POST", "/v1/tokens", json, "{\"name\": \"\", \"scopes\": [\"admin\"], \"x\": 1}", 422, "invalid", "3 things"),
            ("POST", "/v1/render", json, "{\"rows\": [{}]}", 422, "invalid", "`export` or `template`"),
            ("POST", "/v1/render", json, "{\"template\": \"{{#if\", \"rows\": [{}]}", 422, "invalid", "template"),
        ] {
            let asking = stage.ask(method, path).token(token);
            let asking = if kind.is_empty() { asking } else { asking.header("content-type", kind) };
            let answered = asking.raw(body).send().await;
            assert_eq!((answered.status, answered.code().as_str()), (status, code), "{method} {path}: {}", answered.text());
            assert!(answered.text().contains(fragment), "{method} {path}: {fragment} is not in {}", answered.text());
        }
        assert_eq!(*stage.office.failures.borrow(), [""; 0], "nothing of ours failed");
    });
}

#[test]
fn a_method_that_is_not_known_is_told_which_are() {
    on_stage(async |stage| {
        let answered = stage.ask("PATCH", "/v1/destinations/crm").send().await;
        let allowed: Vec<&str> = answered.header("allow").split(',').map(str::trim).collect();
        for method in ["GET", "PUT", "DELETE"] {
            assert!(allowed.contains(&method), "{allowed:?}");
        }
    });
}

#[test]
fn every_problem_is_listed_with_its_path() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let wrong = json!({"base_url": "nowhere", "concurrency": 0, "actions": {"add": {"url": "/{{", "methd": "POST"}}});
        let answered = stage.ask("PUT", "/v1/destinations/crm").token(&token).json(&wrong).send().await;
        let problem = answered.json();
        let paths: Vec<&str> = problem["problems"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
        for path in ["base_url", "concurrency", "actions.add.methd", "actions.add.url"] {
            assert!(paths.contains(&path), "{path} is not in {paths:?}");
        }
        // What it breaks elsewhere is told with the whole path.
        super::definitions::project(&stage, &token).await;
        let other = json!({"primary_key": ["id"], "source": {"type": "file", "path": "rows.csv"}});
        stage.put(&token, "/v1/models/other", &other).await;
        let without = json!({"base_url": "https://api.example.com"});
        let answered = stage.ask("PUT", "/v1/destinations/crm").token(&token).json(&without).send().await;
        assert_eq!(answered.status, 422);
        assert!(answered.text().contains("exports.newsletter.actions.add.url"), "{}", answered.text());
    });
}

#[test]
fn bodies_have_a_largest_size() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let large = format!("{{\"name\": \"{}\"}}", "x".repeat(1024 * 1024));
        let answered = stage.ask("PUT", "/v1/models/people").token(&token).body("application/json", large).send().await;
        assert_eq!((answered.status, answered.code().as_str()), (413, "too_large"));
        assert!(answered.text().contains("1 MiB"), "{}", answered.text());
        stage.put(&token, "/v1/models/people", &json!({"primary_key": ["id"], "source": {"type": "push"}})).await;
        let rows = "x".repeat(8 * 1024 * 1024 + 1);
        let path = "/v1/models/people/rows?mode=changes";
        let answered = stage.ask("POST", path).token(&token).body("application/x-ndjson", rows).send().await;
        assert_eq!(answered.status, 413);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let answered = stage.ask("PUT", "/v1/models/people").token(&token).body("application/json", deep).send().await;
        assert_eq!((answered.status, answered.code().as_str()), (400, "malformed_json"));
    });
}

#[test]
fn a_request_keeps_its_own_id_if_it_has_a_sound_one() {
    on_stage(async |stage| {
        let own = stage.ask("GET", "/healthz").header("x-request-id", "mine-1").send().await;
        assert_eq!(own.header("x-request-id"), "mine-1");
        let unsound = stage.ask("GET", "/healthz").header("x-request-id", "a b;c").send().await;
        assert!(unsound.header("x-request-id").starts_with("req_"));
    });
}

/// The words of the engine are those of the description, all of them.
#[test]
fn the_description_lists_the_words_that_are_sent() {
    use engine::{judge::Class, lookback::DeliveryStatus, token::Scope};
    let words = |name: &str| super::promise::DOCUMENT["components"]["schemas"][name]["enum"].clone();
    let of = |list: Vec<&str>| json!(list);
    assert_eq!(words("OutcomeClass"), of(Class::ALL.iter().map(|class| class.as_str()).collect()));
    assert_eq!(words("Scope"), of(Scope::ALL.iter().map(|scope| scope.as_str()).collect()));
    let mut statuses: Vec<String> = DeliveryStatus::WORDS.iter().map(|(word, _)| word.to_string()).collect();
    let mut listed: Vec<String> = serde_json::from_value(words("DeliveryStatus")).expect("words");
    statuses.sort();
    listed.sort();
    // `sending` is a word of the contract that nothing that is stored can tell from `retrying`.
    listed.retain(|word| word != "sending" || statuses.contains(word));
    assert_eq!(listed, statuses);
}

/// Every example keeps its schema.
#[test]
fn the_examples_of_the_description_are_sound() {
    let document = &*super::promise::DOCUMENT;
    let mut seen = 0;
    for (method, path, operation) in super::promise::operations() {
        let answers = operation["responses"].as_object().into_iter().flatten().map(|(_, answer)| &answer["content"]);
        for content in answers.chain([&operation["requestBody"]["content"]]) {
            let content: &Value = &content["application/json"];
            let Some(example) = content.get("example") else { continue };
            seen += 1;
            assert_eq!(super::schema::problems(document, &content["schema"], example), [""; 0], "{method} {path}");
        }
    }
    assert!(seen > 30, "{seen} examples");
}
