//! `penstock apply`: the project file becomes what a server serves.

use super::server::{Server, no_wish};
use crate::journey::stage::{People, Stage, assert_says, crm, keep, project};
use serde_json::json;
use tests::receiver::{Action, Always};

#[test]
fn apply_shows_what_would_change_then_changes_it_and_exports_keep_their_snapshots() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    let stage = Stage::new(&project);
    stage.people(&People::new(20));
    let server = Server::start(&stage);
    assert_eq!(server.ended(&server.run("news", no_wish()))["rows"]["delivered"], 20);
    let url = format!("http://{}", server.address);
    let apply = |more: &[&str]| stage.penstock(&[&["apply", "--url", url.as_str()], more].concat());
    assert_says(&apply(&[]).expect(0).stdout, &["nothing to change"]);

    crm(&mut project)["concurrency"] = json!(2);
    project["credentials"] = json!({"key": {"type": "bearer", "token": "known-only-here-0123456789"}});
    crm(&mut project)["credential"] = json!("key");
    project["exports"]["again"] = json!({"model": "people", "destination": "crm", "first_run": "skip"});
    stage.configure(&project);
    let shown = apply(&["--dry-run"]).expect(0).stdout;
    assert_says(&shown, &["+ credential key", "~ destination crm", "+ export again"]);
    assert_eq!(server.call("GET", "/v1/exports/again", json!(null)).status, 404, "a dry run changes nothing");
    assert_says(&apply(&[]).expect(0).stdout, &["3 changes applied"]);
    assert_eq!(server.get("/v1/destinations/crm")["definition"]["concurrency"], 2);
    assert_eq!(server.get("/v1/credentials/key")["definition"]["token"], "[redacted]");
    // The export was replaced in place: nothing is sent again.
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["deliveries"], json!({"succeeded": 0, "failed": 0}), "{run:#}");
    assert_eq!(held.lock().unwrap().repeated, 0);

    // What the file no longer has stays, unless it is to be pruned.
    project["exports"].as_object_mut().unwrap().remove("again");
    stage.configure(&project);
    assert_says(&apply(&[]).expect(0).stdout, &["nothing to change"]);
    assert_says(&apply(&["--prune"]).expect(0).stdout, &["- export again"]);
    assert_eq!(server.call("GET", "/v1/exports/again", json!(null)).status, 404);
}

#[test]
fn a_project_that_does_not_fit_together_is_refused_whole_with_every_problem() {
    let (receiver, _held) = keep(Always(Action::status(200)), 0.0, 2);
    let project = project(&receiver.url());
    let stage = Stage::new(&project);
    stage.people(&People::new(1));
    let server = Server::start(&stage);
    let mut wrong = project.clone();
    wrong["exports"]["other"] = json!({"model": "nobody", "destination": "crm"});
    wrong["destinations"]["crm"]["concurrency"] = json!(0);
    let refused = server.call("POST", "/v1/apply?dry_run=false", wrong).expect(422).json();
    let paths: Vec<&str> = refused["problems"].as_array().unwrap().iter().filter_map(|problem| problem["path"].as_str()).collect();
    assert!(paths.contains(&"exports.other.model") && paths.contains(&"destinations.crm.concurrency"), "{refused:#}");
    assert_eq!(server.get("/v1/destinations/crm")["definition"]["concurrency"], 8);
}

#[test]
fn without_a_token_or_over_plain_http_beyond_this_machine_nothing_is_sent() {
    let (receiver, _held) = keep(Always(Action::status(200)), 0.0, 3);
    let stage = Stage::new(&project(&receiver.url()));
    stage.people(&People::new(1));
    assert_says(&stage.penstock(&["apply"]).expect(2).all(), &["no token", "--token-file"]);
    let server = Server::start(&stage);
    assert_says(&stage.penstock(&["apply", "--url", "http://penstock.example.com"]).expect(2).all(), &["https"]);
    let url = format!("http://{}", server.address);
    stage.write("wrong-token", "pst_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_says(&stage.penstock(&["apply", "--url", &url, "--token-file", "wrong-token"]).expect(1).all(), &["401"]);
}
