//! Secrets that a server keeps reach the receiver and nothing else: not the data directory, not its lines, not one answer of the API.

use super::server::{Place, Server, on_one_machine_and_on_a_stack};
use crate::journey::secrets::{assert_clean, assert_folder_clean, assert_packed_clean, written};
use crate::journey::stage::{People, Stage, crm, listen, one_by_one, project};
use serde_json::{Value, json};
use std::hash::{BuildHasher, Hasher, RandomState};
use tests::receiver::{Action, Received, Reply};
use tests::stack::{Functions, Stack};

/// A secret that no other run of this test has, with characters that JSON, URLs and base64 write differently each.
fn fresh() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("Tk+{:016x}/q=\"x\\&%{:016x}?>~", number(), number())
}

/// Sends back everything that it got, in every form; fails first, so that a retry is seen.
fn echo(request: &Received) -> Action {
    let headers: Vec<String> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let body = written(&format!("{} {}", request.path_and_query, headers.join("; "))).join("\n");
    Action::Respond(Reply::new(if request.number.is_multiple_of(3) { 500 } else { 200 }, body))
}

on_one_machine_and_on_a_stack!(nothing_that_a_server_keeps_secret_is_found_in_its_data_its_lines_or_its_answers);

fn nothing_that_a_server_keeps_secret_is_found_in_its_data_its_lines_or_its_answers(place: Place) {
    let receiver = listen(echo);
    let (bearer, header, key) = (fresh(), fresh(), fresh());
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    // On one machine the project is read with its variables; who applies it to a stack has put them in.
    let [token, value, app] = match place {
        Place::Machine => ["${BEARER}", "${KEY}", "${HEADER}"],
        Place::Stack => [bearer.as_str(), &key, &header],
    };
    project["credentials"] = json!({
        "main": {"type": "bearer", "token": token},
        "other": {"type": "api_key", "name": "X-Key", "value": value},
    });
    crm(&mut project)["credential"] = json!("main");
    crm(&mut project)["secret_headers"] = json!({"X-App-Secret": app});
    let stage = Stage::new(&project).with_variable("BEARER", &bearer).with_variable("HEADER", &header).with_variable("KEY", &key);
    stage.people(&People::new(6));
    let server = match place {
        Place::Machine => Server::start_with(&stage, &["--log", "attempts"]),
        Place::Stack => Server::start_on(place, &stage),
    };
    let mut answers: Vec<(String, Vec<u8>)> = Vec::new();
    let mut call = |method: &str, path: &str, body: Value| {
        let answer = server.call(method, path, body);
        let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        answers.push((format!("{method} {path}"), [headers.as_bytes(), &answer.body].concat()));
        answer
    };
    for kind in ["credentials", "destinations", "models", "exports"] {
        for item in call("GET", &format!("/v1/{kind}"), Value::Null).expect(200).json()["items"].as_array().expect("a list") {
            call("GET", &format!("/v1/{kind}/{}", item["id"].as_str().expect("an id")), Value::Null).expect(200);
        }
    }
    // What is refused must not show it either.
    let wrong = json!({"type": "bearer", "token": bearer, "tokn": header});
    call("PUT", "/v1/credentials/main", wrong).expect(422);
    call("PUT", "/v1/credentials/main", json!({"type": "bearer", "token": format!("{bearer} {bearer}")})).expect(422);
    call("PUT", "/v1/credentials/main", json!({"type": "bearer", "token": "[redacted]"})).expect(200);
    call("POST", "/v1/apply?dry_run=true", project.clone());
    call("POST", "/v1/destinations/crm/test", json!({}));
    call("POST", "/v1/destinations/crm/test", json!({}));
    let plan = call("POST", "/v1/exports/news/plan", json!({})).expect(202).json();
    let plan = format!("/v1/plans/{}", plan["id"].as_str().expect("a plan has an id"));
    server.until("it is planned", || (server.get(&plan)["status"] != "planning").then_some(()));
    call("GET", &plan, Value::Null).expect(200);
    call("GET", &format!("{plan}/requests"), Value::Null).expect(200);
    let run = call("POST", "/v1/exports/news/runs", json!({})).expect(202).json();
    let run = run["id"].as_str().expect("a run has an id").to_string();
    let ended = server.ended(&run);
    assert_eq!(ended["rows"]["delivered"], 6, "{ended:#}");
    call("GET", &format!("/v1/runs/{run}"), Value::Null).expect(200);
    let deliveries = call("GET", &format!("/v1/deliveries?run={run}"), Value::Null).expect(200).json();
    let mut details = 0;
    for delivery in deliveries["items"].as_array().expect("a list") {
        let id = delivery["id"].as_str().expect("an id");
        let shown = call("GET", &format!("/v1/deliveries/{id}"), Value::Null).expect(200).text();
        details += usize::from(shown.contains("[redacted]") && shown.contains("attempts"));
    }
    assert_eq!(details, 6);
    let made = call("POST", "/v1/tokens", json!({"name": "another", "scopes": ["read"]})).expect(201).json();
    let made = made["text"].as_str().expect("it is shown once").to_string();
    let shown_once = answers.pop().expect("the call was noted");
    assert!(String::from_utf8_lossy(&shown_once.1).contains(&made));
    let mut call = |method: &str, path: &str| answers.push((path.to_string(), server.call(method, path, Value::Null).body.to_vec()));
    for path in ["/v1/tokens", "/metrics", "/v1/openapi.json", "/docs", "/v1/runs", "/v1/organization"] {
        call("GET", path);
    }
    assert!(receiver.requests().iter().all(|request| {
        request.header("authorization") == Some(&format!("Bearer {bearer}")) && request.header("x-app-secret") == Some(&header)
    }));

    let first_token = server.token.clone();
    let all = [bearer.as_str(), &header, &key, &made, &first_token];
    for (what, bytes) in &answers {
        assert_clean(&all, what, bytes);
    }
    if place == Place::Stack {
        return assert_stack_clean(&all, server.stack());
    }
    let (status, said) = server.stop();
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("\"attempt\""), "{said}");
    assert_clean(&all, "standard error", said.as_bytes());
    // The one place where the first token lies on purpose.
    std::fs::remove_file(stage.path(".penstock/token")).expect("it was there");
    assert!(assert_folder_clean(&all, &stage.path(".penstock")) > 0, "nothing could be unpacked: this searched too little");
}

/// The table, the bucket, the messages, and the functions' lines.
fn assert_stack_clean(all: &[&str], stack: &Stack) {
    let mut unpacked = 0;
    for (what, bytes) in stack.parts.kept() {
        unpacked += assert_packed_clean(all, &what, &bytes);
    }
    assert!(unpacked > 0, "nothing could be unpacked: this searched too little");
    for batch in [stack.plans.batches(), stack.tickets.batches()].concat() {
        batch.bodies.iter().for_each(|body| assert_clean(all, "a message", body.as_bytes()));
    }
    let Functions { configure, plan, deliver, .. } = &*stack.functions;
    for (function, part) in [(configure, ""), (plan, ""), (deliver, "an attempt failed")] {
        let said = function.said();
        assert!(said.contains(part), "{said}");
        assert_clean(all, "the lines of a function", said.as_bytes());
    }
}
