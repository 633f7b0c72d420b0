//! What the process says of itself: health, metrics, lines.

use super::server::{Server, no_wish};
use crate::journey::stage::{People, Stage, assert_says, keep, project};
use serde_json::{Value, json};
use tests::client;
use tests::receiver::{Action, Always, Reply, Sequence};

#[test]
fn metrics_count_attempts_rows_and_runs_and_need_no_token() {
    let answers = [Action::status(500), Action::Respond(Reply::new(422, "no"))];
    let (receiver, _held) = keep(Sequence::new(answers), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    stage.people(&People::new(30));
    let server = Server::start(&stage);
    server.ended(&server.run("news", no_wish()));
    let metrics = client::call(server.address, "GET", "/metrics", &[], "").expect("an answer").expect(200).text();
    let lines = [
        r#"penstock_attempts_total{organization="default",destination="crm",class="server_error"} 1"#,
        r#"penstock_attempts_total{organization="default",destination="crm",class="client_error"} 1"#,
        r#"penstock_attempts_total{organization="default",destination="crm",class="success"} 2"#,
        r#"penstock_rows_total{organization="default",export="news",outcome="delivered"} 20"#,
        r#"penstock_rows_total{organization="default",export="news",outcome="rejected"} 10"#,
        r#"penstock_runs_total{organization="default",export="news",status="completed_with_errors"} 1"#,
        r#"penstock_queue_depth{organization="default",destination="crm"} 0"#,
        "penstock_requests_in_flight",
        "penstock_attempt_duration_seconds_bucket",
        "penstock_run_lag_seconds",
        "# EOF",
    ];
    assert_says(&metrics, &lines);
    assert!(!metrics.contains("example.com"), "rows stand in the metrics: {metrics}");
    assert_eq!(client::call(server.address, "GET", "/healthz", &[], "").expect("an answer").status, 200);
}

#[test]
fn each_attempt_and_each_run_is_one_line_of_json() {
    let (receiver, _held) = keep(Sequence::new([Action::status(503)]), 0.0, 2);
    let stage = Stage::new(&project(&receiver.url()));
    stage.people(&People::new(20));
    let server = Server::start_with(&stage, &["--log", "attempts"]);
    let id = server.run("news", no_wish());
    server.ended(&id);
    let (_, said) = server.stop();
    let lines: Vec<Value> = said.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).expect(line)).collect();
    let attempts: Vec<&Value> = lines.iter().filter(|line| line["message"] == "attempt").collect();
    assert_eq!(attempts.len(), 3, "{said}");
    let failed = attempts.iter().find(|line| line["class"] == "server_error").expect("one failed");
    assert_eq!((&failed["status_code"], &failed["run"], &failed["destination"]), (&json!(503), &json!(id), &json!("crm")));
    assert!(failed["delivery"].as_str().is_some_and(|id| id.starts_with("dlv_")) && failed["duration_ms"].is_u64(), "{failed}");
    let runs: Vec<&Value> = lines.iter().filter(|line| line["message"] == "run" && line["status"] == "succeeded").collect();
    assert_eq!(runs.len(), 1, "{said}");
    assert!(lines.iter().all(|line| line["time"].is_string() && line["level"].is_string()));
    assert!(lines.iter().all(|line| line["level"] == "info" || line["message"] == "attempt"), "something else was wrong: {said}");
}

#[test]
fn where_a_collector_is_named_a_run_is_a_trace_with_a_span_for_each_attempt() {
    let collector = crate::journey::stage::listen(Always(Action::Respond(Reply::new(200, ""))));
    let (receiver, _held) = keep(Sequence::new([Action::status(500)]), 0.0, 3);
    let stage = Stage::new(&project(&receiver.url())).with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
    stage.people(&People::new(10));
    let server = Server::start(&stage);
    let id = server.run("news", no_wish());
    server.ended(&id);
    // What is left is sent at the end.
    assert_eq!(server.stop().0, 0);
    let sent = collector.requests();
    assert!(!sent.is_empty() && sent.iter().all(|got| got.path_and_query == "/v1/traces" && got.method == "POST"), "{sent:?}");
    let bytes: Vec<u8> = sent.iter().flat_map(|got| got.body.to_vec()).collect();
    let text = String::from_utf8_lossy(&bytes);
    assert_says(&text, &["attempt", "server_error", "penstock.delivery", &id, "service.name", "penstock"]);
    let attempts = text.matches("penstock.attempt").count() - text.matches("penstock.attempts").count();
    assert_eq!(attempts, 2, "{text}");
    assert!(text.contains("penstock.status"), "the run is a span, too: {text}");
}
