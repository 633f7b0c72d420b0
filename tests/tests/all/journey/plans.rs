//! `plan --out` and `run --plan`: exactly those requests, or a refusal that says what has moved on.

use super::stage::{People, Stage, assert_holds, assert_says, crm, keep, project};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tests::receiver::{Action, Always, Received};

/// The lines of a plan file: the header, then the requests.
fn plan_file(stage: &Stage) -> (Value, Vec<Value>) {
    let text = std::fs::read_to_string(stage.path("news.plan")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (lines.next().unwrap(), lines.collect())
}

/// `method path body` by idempotency key, as they arrived.
fn arrived(requests: &[Received]) -> BTreeMap<String, String> {
    let of = |r: &Received| {
        let key = r.header("idempotency-key").unwrap().to_owned();
        (key, format!("{} {} {}", r.method, r.path_and_query, String::from_utf8_lossy(&r.body)))
    };
    requests.iter().map(of).collect()
}

/// The same, as a plan file announces them.
fn announced(url: &str, lines: &[Value]) -> BTreeMap<String, String> {
    let of = |line: &Value| {
        let request = &line["request"];
        let path = request["url"].as_str().unwrap().strip_prefix(url).unwrap();
        let body = request["body"].as_str().unwrap_or_default();
        (line["delivery"].as_str().unwrap().to_owned(), format!("{} {path} {body}", request["method"].as_str().unwrap()))
    };
    lines.iter().map(of).collect()
}

/// HT-19, GL-02, GL-03
#[test]
fn a_plan_is_executed_request_by_request_as_it_was_written() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    // Whatever a template can say about the time and the run is frozen in the plan.
    crm(&mut project)["actions"]["add"]["url"] = json!("/members?run={{run.id}}&at={{run.started_at}}");
    let stage = Stage::new(&project);
    let mut people = People::new(95);
    stage.people(&people);
    stage.run_well(&[]);
    let before = receiver.count();

    (1..=50).step_by(3).for_each(|id| people.put(id, 1));
    (60..=70).for_each(|id| people.remove(id));
    (100..=130).for_each(|id| people.put(id, 0));
    stage.people(&people);
    let shown = stage.penstock(&["plan", "news", "--out", "news.plan", "--json"]).expect(0).json();
    assert_eq!(shown["changes"], json!({"added": 31, "changed": 17, "removed": 11}));
    assert_eq!(receiver.count(), before, "planning sends nothing");
    let (header, lines) = plan_file(&stage);
    assert_eq!((&header["export"], &header["rows"]), (&json!("news"), &json!(115)));
    assert_eq!(header["requests"].as_u64().unwrap() as usize, lines.len());
    assert_eq!(header["checksum"].as_str().map(str::len), Some(32));
    assert_eq!(shown["estimate"]["requests"], header["requests"]);

    let result = stage.run_well(&["--plan", "news.plan"]);
    assert_eq!((&result["run"], &result["changes"]), (&header["run"], &shown["changes"]));
    assert_eq!(arrived(&receiver.requests()[before..]), announced(&receiver.url(), &lines));
    assert_holds(&held, &people);
    assert_eq!(stage.run_well(&[])["attempts"], 0);
}

/// Each of the things that may have moved on since a plan was made.
#[test]
fn a_plan_is_refused_when_rows_snapshot_or_definition_have_moved_on() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let project = project(&receiver.url());
    let stage = Stage::new(&project);
    let mut people = People::new(30);
    stage.people(&people);
    let plan = || {
        stage.penstock(&["plan", "news", "--out", "news.plan"]).expect(0);
    };
    let refused = |parts: &[&str]| {
        let before = receiver.count();
        let ended = stage.penstock(&["run", "news", "--plan", "news.plan"]).expect(1);
        assert_says(&ended.stderr, parts);
        assert_says(&ended.stderr, &["make a new one"]);
        assert_eq!(receiver.count(), before);
    };

    plan();
    people.put(3, 1);
    stage.people(&people);
    refused(&["rows have changed"]);

    plan();
    let mut edited = project.clone();
    crm(&mut edited)["actions"]["add"]["url"] = json!("/members?v=2");
    stage.configure(&edited);
    refused(&["export or its destination has changed"]);
    stage.configure(&project);

    // A plan survives what shapes no request.
    let mut slower = project.clone();
    crm(&mut slower)["concurrency"] = json!(2);
    stage.configure(&slower);
    stage.run_well(&["--plan", "news.plan"]);
    assert_holds(&held, &people);
    refused(&["executed already"]);

    people.put(4, 1);
    stage.people(&people);
    plan();
    stage.run_well(&[]);
    refused(&["the export has run"]);
    // And nothing is wrong with running after all these refusals.
    assert_eq!(stage.run_well(&[])["attempts"], 0);
}

/// A file that is not the plan it says it is is refused.
#[test]
fn a_plan_file_that_is_torn_or_of_another_export_is_refused() {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    project["exports"]["other"] = project["exports"]["news"].clone();
    let stage = Stage::new(&project);
    stage.people(&People::new(30));
    stage.penstock(&["plan", "news", "--out", "news.plan"]).expect(0);
    let text = std::fs::read_to_string(stage.path("news.plan")).unwrap();
    let refused = |words: &[&str], parts: &[&str]| assert_says(&stage.penstock(words).expect(2).stderr, parts);
    refused(&["run", "other", "--plan", "news.plan"], &["news", "other"]);
    refused(&["run", "news", "other", "--plan", "news.plan"], &["one export"]);
    refused(&["run", "news", "--plan", "none.plan"], &["none.plan"]);
    let cut = text.trim_end().rsplit_once('\n').unwrap().0;
    stage.write("news.plan", format!("{cut}\n"));
    refused(&["run", "news", "--plan", "news.plan"], &["news.plan", "2 requests", "3"]);
    stage.write("news.plan", "id,email\n");
    refused(&["run", "news", "--plan", "news.plan"], &["news.plan", "header"]);
    assert_eq!(receiver.connections(), 0);
}

/// A plan shows the first requests to a person, and what is invalid.
#[test]
fn a_plan_shows_counts_requests_and_invalid_rows_and_sends_nothing() {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    stage.write("people.csv", "id,email,name\n1,a@x,O'Brien\n,b@x,B\n");
    let shown = stage.penstock(&["plan", "news"]).expect(0);
    assert_says(&shown.stdout, &["1 added", "1 invalid", "people.csv line 3", "POST", "/members", "O'Brien", "1 request"]);
    assert_says(&shown.stdout, &["Content-Type: application/json", "Idempotency-Key: dlv_"]);
    let json = stage.penstock(&["plan", "news", "--json"]).expect(0);
    assert_eq!(json.objects().len(), 1);
    assert_eq!(json.json()["invalid_rows"][0]["place"], "people.csv line 3");
    assert_eq!(receiver.connections(), 0);
}

/// What is invalid in a plan is invalid when the plan is executed.
#[test]
fn a_plan_names_the_rows_that_cannot_be_rendered_and_executes_the_others() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    crm(&mut project)["actions"]["add"]["body"] = json!(r#"{"users": [{{#each users}}{"id": "{{id}}", "x": {{{name}}}},{{/each}}]}"#);
    let stage = Stage::new(&project);
    stage.write("people.csv", "id,email,name\n1,a,1\n2,b,{\n3,c,3\n");
    stage.penstock(&["plan", "news", "--out", "news.plan"]).expect(0);
    let (_, lines) = plan_file(&stage);
    let invalid: Vec<_> = lines.iter().filter_map(|line| line["invalid"].as_array()).flatten().collect();
    assert_eq!((invalid.len(), &invalid[0]["key"]), (1, &json!("2")), "{lines:#?}");
    let (status, result) = stage.run(&["--plan", "news.plan"]);
    assert_eq!((status, &result["rows"]["invalid"], &result["rows"]["delivered"]), (3, &json!(1), &json!(2)), "{result:#}");
    assert_eq!(held.lock().unwrap().members.len(), 2);
}
