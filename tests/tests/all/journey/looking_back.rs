//! Looking back at runs, deliveries and attempts; sending deliveries again; what goes to standard output and to standard error.

use super::stage::{People, Stage, assert_holds, assert_says, crm, keep, listen, one_by_one, project};
use crate::serve::server::{Place, on_one_machine_and_on_a_stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tests::receiver::{Action, Always, Received, Receiver, Reply};

on_one_machine_and_on_a_stack!(
    a_delivery_shows_its_request_as_rendered_and_every_attempt_with_its_response,
    deliveries_and_attempts_are_found_by_class_status_time_row_and_place,
    runs_are_listed_newest_first_and_shown_one_by_one,
    deliveries_are_sent_again_under_their_keys_after_the_count_was_shown,
    an_exhausted_delivery_can_be_sent_again,
);

/// Refuses people whose number is a multiple of five, and fails once for multiples of three.
fn picky() -> impl FnMut(&Received) -> Action + Send + 'static {
    let mut failed = BTreeSet::new();
    move |request: &Received| {
        let id: u32 = request.json()["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(1);
        let reply = |status, body: &str| Action::Respond(Reply::new(status, body.to_owned()).with_header("x-trace", format!("t{id}")));
        match id {
            _ if id.is_multiple_of(5) => reply(422, r#"{"problem": "no such person"}"#),
            _ if id.is_multiple_of(3) && failed.insert(id) => reply(503, "busy"),
            _ => reply(200, r#"{"taken": true}"#),
        }
    }
}

/// A run of twenty single requests at the picky receiver: four are refused, the others go, five of them at the second try.
fn picky_stage(place: Place) -> (Receiver, Stage, String) {
    let receiver = listen(picky());
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    let stage = Stage::on(place, &project);
    stage.people(&People::new(20));
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["rows"]["rejected"], &result["rows"]["delivered"]), (3, &json!(4), &json!(16)), "{result:#}");
    assert_eq!(result["attempts"], 25);
    let run = result["run"].as_str().unwrap().to_owned();
    (receiver, stage, run)
}

fn keys(deliveries: &[Value]) -> BTreeSet<String> {
    deliveries.iter().flat_map(|delivery| delivery["row_keys"].as_array().unwrap()).map(|key| key.as_str().unwrap().to_owned()).collect()
}

fn set(of: &[u32]) -> BTreeSet<String> {
    of.iter().map(u32::to_string).collect()
}

/// GL-72, HT-62, VX-16 to VX-18, VX-21, VX-22
fn a_delivery_shows_its_request_as_rendered_and_every_attempt_with_its_response(place: Place) {
    let (receiver, stage, run) = picky_stage(place);
    let found = stage.list("deliveries", &["--run", &run, "--row", "6"]);
    assert_eq!(found.len(), 1);
    let id = found[0]["id"].as_str().unwrap();
    let shown = stage.show("deliveries", id);
    assert_eq!(
        (&shown["id"], &shown["run"], &shown["export"], &shown["destination"]),
        (&json!(id), &json!(run), &json!("news"), &json!("crm"))
    );
    assert_eq!(
        (&shown["action"], &shown["status"], &shown["rows"], &shown["row_keys"]),
        (&json!("add"), &json!("succeeded"), &json!(1), &json!(["6"]))
    );
    let sent: Vec<_> = receiver.requests().into_iter().filter(|request| request.json()["id"] == "6").collect();
    assert_eq!(sent.len(), 2);
    let request = &shown["request"];
    assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!(format!("{}/members", receiver.url()))));
    assert_eq!(request["body"].as_str().unwrap().as_bytes(), sent[0].body);
    for (name, value) in request["headers"].as_array().unwrap().iter().map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap())) {
        assert_eq!(sent[0].header(&name.to_lowercase()), Some(value), "{name}");
    }
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    for (attempt, (number, class, status, body)) in
        attempts.iter().zip([(1, "server_error", 503, "busy"), (2, "success", 200, r#"{"taken": true}"#)])
    {
        assert_eq!((&attempt["number"], &attempt["class"], &attempt["status_code"]), (&json!(number), &json!(class), &json!(status)));
        assert_eq!(attempt["response"]["body"], body);
        assert!(attempt["response"]["headers"].to_string().contains("t6"), "{attempt}");
        assert!(attempt["id"].as_str().is_some_and(|id| id.starts_with("att_")) && attempt["duration_ms"].is_u64());
        assert!(attempt["started_at"].as_str() <= attempt["completed_at"].as_str());
    }
    if !stage.is_machine() {
        return;
    }
    // The same for people.
    let text = stage.penstock(&["deliveries", id]).expect(0).stdout;
    assert_says(&text, &[id, "succeeded", "POST", "/members", "server_error", "503", "busy", "t6", "success", "200"]);
    let text = stage.penstock(&["attempts", id]).expect(0).stdout;
    assert_says(&text, &["server_error", "success", "busy"]);
}

/// VX-23, VX-27, VX-28
fn deliveries_and_attempts_are_found_by_class_status_time_row_and_place(place: Place) {
    let (_receiver, stage, run) = picky_stage(place);
    let by = |more: &[&str]| keys(&stage.list("deliveries", more));
    let refused = set(&[5, 10, 15, 20]);
    assert_eq!(by(&["--class", "client_error"]), refused);
    assert_eq!(by(&["--status", "failed"]), refused);
    assert_eq!(by(&["--status", "failed", "--export", "news", "--destination", "crm", "--run", &run]), refused);
    assert_eq!(by(&["--class", "server_error"]), set(&[3, 6, 9, 12, 18]));
    assert_eq!(by(&["--class", "server_error", "--status", "succeeded"]), set(&[3, 6, 9, 12, 18]));
    assert_eq!(by(&["--class", "timeout_error"]), set(&[]));
    assert_eq!(by(&["--row", "7", "--export", "news"]), set(&[7]));
    assert_eq!(by(&["--row", "777", "--export", "news"]), set(&[]));
    assert_eq!(by(&["--since", "2020-01-01T00:00:00Z", "--until", "2030-01-01T00:00:00Z"]).len(), 20);
    assert_eq!(by(&["--until", "2020-01-01T00:00:00Z"]).len(), 0);
    assert_eq!(stage.list("attempts", &["--run", &run]).len(), 25);
    assert_eq!(stage.list("attempts", &["--run", &run, "--class", "server_error"]).len(), 5);
    if !stage.is_machine() {
        return;
    }
    assert_eq!(by(&["--since", "1h"]).len(), 20);
    assert_eq!(by(&["--until", "1h"]).len(), 0);
    assert_eq!(stage.penstock(&["deliveries", "--limit", "3", "--json"]).expect(0).json()["deliveries"].as_array().unwrap().len(), 3);
    for (words, part) in [
        (["deliveries", "--class", "no_error"], "server_error"),
        (["deliveries", "--status", "done"], "exhausted"),
        (["deliveries", "--since", "yesterday"], "24h"),
        (["deliveries", "--row", "7"], "--export"),
        (["deliveries", "--export", "nws"], "news"),
        (["deliveries", "--destination", "crn"], "crm"),
    ] {
        assert_says(&stage.penstock(&words).expect(2).stderr, &[part]);
    }
    stage.penstock(&["deliveries", "dlv_nothing_0_0"]).expect(2);
    stage.penstock(&["runs", "run_nothing"]).expect(2);
}

/// GL-72: runs are listed, the newest first, and shown one by one.
fn runs_are_listed_newest_first_and_shown_one_by_one(place: Place) {
    let (receiver, stage, first) = picky_stage(place);
    receiver.change_script(Always(Action::status(200)));
    let second = stage.run_well(&[])["run"].as_str().unwrap().to_owned();
    let runs = stage.list("runs", &[]);
    let ids: Vec<_> = runs.iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(ids, [second.as_str(), first.as_str()]);
    assert_eq!((&runs[1]["status"], &runs[1]["rows"]["rejected"]), (&json!("completed_with_errors"), &json!(4)));
    let shown = stage.show("runs", &first);
    assert_eq!(shown["run"], runs[1]["run"]);
    assert_eq!(shown["changes"]["added"], 20);
    assert_eq!(stage.list("runs", &["--export", "news"]).len(), 2);
    if stage.is_machine() {
        assert_says(&stage.penstock(&["runs"]).expect(0).stdout, &[&first, &second, "completed_with_errors", "succeeded"]);
    }
}

/// semantics.md 15: what was refused goes again under its key with its bytes, the count first, and counts when it succeeds.
fn deliveries_are_sent_again_under_their_keys_after_the_count_was_shown(place: Place) {
    let (receiver, stage, run) = picky_stage(place);
    let before = receiver.count();
    if stage.is_machine() {
        assert_says(&stage.penstock(&["redeliver", "--run", &run]).expect(0).stdout, &["4 deliveries", "--yes"]);
    }
    assert_eq!(stage.count_again(&["--run", &run]), 4);
    assert_eq!(receiver.count(), before);
    let id = stage.list("deliveries", &["--run", &run, "--row", "5"])[0]["id"].as_str().unwrap().to_owned();

    // By its id, and it is refused once more.
    assert_eq!(stage.send_again(&[&id]).0, 3);
    assert_eq!(receiver.count(), before + 1);
    receiver.change_script(Always(Action::status(200)));
    assert_eq!(stage.send_again(&[&id]).0, 3);
    let shown = stage.show("deliveries", &id);
    let classes: Vec<_> = shown["attempts"].as_array().unwrap().iter().map(|attempt| attempt["class"].as_str().unwrap()).collect();
    assert_eq!((&shown["status"], classes), (&json!("succeeded"), vec!["client_error", "client_error", "success"]));

    // The other three by a filter.
    let (status, ended) = stage.send_again(&["--run", &run, "--status", "failed"]);
    assert_eq!(
        (status, &ended["status"], &ended["rows"]["delivered"], &ended["rows"]["rejected"]),
        (0, &json!("succeeded"), &json!(20), &json!(0)),
        "{ended:#}"
    );
    assert_eq!(receiver.count(), before + 5);
    let requests = receiver.requests();
    for again in &requests[before..] {
        let first = requests[..before].iter().find(|request| request.header("idempotency-key") == again.header("idempotency-key"));
        assert_eq!(first.map(|first| &first.body), Some(&again.body));
    }
    // They are in the snapshot now.
    assert_eq!(stage.run_well(&[])["attempts"], 0);
    assert_eq!(receiver.count(), before + 5);
}

#[test]
fn a_delivery_of_a_run_that_others_followed_is_not_sent_again() {
    let (receiver, stage, run) = picky_stage(Place::Machine);
    let mut people = People::new(20);
    people.put(21, 0);
    stage.people(&people);
    let later = stage.run(&[]).1["run"].as_str().unwrap().to_owned();
    let before = receiver.count();
    let refused = stage.penstock(&["redeliver", "--run", &run, "--yes"]).expect(1);
    assert_says(&refused.stderr, &[&run, &later, "run the export"]);
    assert_eq!(receiver.count(), before);
    assert_says(&stage.penstock(&["redeliver", "--yes"]).expect(2).stderr, &["--run"]);
    assert_says(&stage.penstock(&["redeliver", "nonsense", "--yes"]).expect(2).stderr, &["nonsense"]);
}

/// Retries that are used up: the payload is kept and can be sent again.
fn an_exhausted_delivery_can_be_sent_again(place: Place) {
    let (receiver, held) = keep(Always(Action::status(503)), 0.0, 1);
    let mut project = project(&receiver.url());
    crm(&mut project)["retry"] = json!({"max_attempts": 2, "first_delay_seconds": 0.01});
    let stage = Stage::on(place, &project);
    let people = People::new(10);
    stage.people(&people);
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["rows"]["pending"]), (3, &json!(10)));
    let again = held.clone();
    receiver.change_script(move |request: &Received| {
        let mut held = again.lock().unwrap();
        held.witness(request);
        held.apply(request);
        Action::status(200)
    });
    let (status, ended) = stage.send_again(&["--export", "news", "--status", "exhausted"]);
    assert_eq!((status, &ended["rows"]["delivered"], &ended["attempts"]), (0, &json!(10), &json!(3)), "{ended:#}");
    assert_holds(&held, &people);
    assert_eq!(stage.run_well(&[])["attempts"], 0);
}

/// GL-08, HT-09: the destination's own name is what a person reads.
#[test]
fn the_destinations_name_is_the_label_in_summaries_and_plans() {
    let receiver = listen(Always(Action::status(200)));
    let mut project = project(&receiver.url());
    crm(&mut project)["name"] = json!("Our dear CRM");
    let stage = Stage::new(&project);
    stage.people(&People::new(3));
    for command in ["plan", "run"] {
        assert_says(&stage.penstock(&[command, "news"]).expect(0).stdout, &["news", "Our dear CRM", "3 added"]);
    }
}

/// `--json` leaves standard output to the result; `--quiet` leaves standard error empty; a person gets a summary.
#[test]
fn results_go_to_standard_output_and_progress_to_standard_error() {
    let receiver = listen(Always(Action::status(200)));
    let stage = Stage::new(&project(&receiver.url()));
    let mut people = People::new(50);
    stage.people(&people);
    let json = stage.penstock(&["run", "news", "--json"]).expect(0);
    assert_eq!(json.objects().len(), 1);
    assert_eq!(json.stdout.lines().count(), 1);
    let names: BTreeSet<_> = json.json().as_object().unwrap().keys().cloned().collect();
    for name in
        ["run", "export", "status", "resumed", "changes", "rows", "deliveries", "attempts", "duration_ms", "started_at", "finished_at"]
    {
        assert!(names.contains(name), "no `{name}` in {names:?}");
    }
    people.put(1, 1);
    stage.people(&people);
    let quiet = stage.penstock(&["run", "news", "--quiet"]).expect(0);
    assert_eq!(quiet.stderr, "");
    assert_says(&quiet.stdout, &["news", "1 changed", "succeeded"]);
    assert!(!quiet.stdout.contains('\u{1b}'), "no colours where no terminal is: {}", quiet.stdout);
    for command in ["plan news", "runs", "deliveries", "attempts", "validate", "render news.add", "redeliver --export news"] {
        let words = [command.split(' ').collect(), vec!["--json"]].concat();
        let ended = stage.penstock(&words).expect(0);
        assert_eq!((ended.objects().len(), ended.stderr.as_str()), (1, ""), "{command}");
    }
}

/// `penstock render` shows what the wire would carry; `penstock test` sends it.
#[test]
fn rendering_and_testing_show_the_request_that_a_run_sends() {
    let receiver = listen(picky());
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    let stage = Stage::new(&project);
    stage.people(&People::new(5));
    let rendered = stage.penstock(&["render", "news.add", "--row", "2", "--json"]).expect(0).json();
    assert_eq!(receiver.count(), 0);
    let text = rendered.to_string();
    assert_says(&text, &["POST", "/members", "p2.0@example.com"]);
    stage.penstock(&["render", "news.add", "--row", "99"]).expect(2);
    stage.penstock(&["render", "news.erase"]).expect(2);

    // Success and failure are shown distinctly, and the sample can be edited.
    let fine = stage.penstock(&["test", "crm"]).expect(0);
    assert_says(&fine.stdout, &["success", "200", "taken"]);
    stage.write("sample.json", r#"{"id": "5", "email": "five@example.com", "name": "Five"}"#);
    let refused = stage.penstock(&["test", "crm", "--sample", "sample.json"]).expect(1);
    assert_says(&refused.all(), &["client_error", "422", "no such person"]);
    assert_eq!(receiver.requests().last().unwrap().json()["email"], "five@example.com");
    // A test is no delivery.
    assert_eq!(stage.list("deliveries", &[]).len(), 0);
}
