//! `penstock` on a desk, against the API of a stack.

use crate::journey::stage::{People, Stage, assert_holds, assert_says, crm, keep, project};
use crate::serve::server::{Server, no_wish};
use serde_json::json;
use tests::receiver::{Action, Always};

#[test]
fn a_project_is_applied_and_tokens_are_made_and_revoked_from_a_desk() {
    if !super::is_here() {
        return;
    }
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    let stage = Stage::new(&project);
    let people = People::new(15);
    stage.people(&people);
    let server = Server::of_stack(&stage, super::setting());
    // The file that is applied names the rows where a stack reads them.
    super::put_files(server.stack(), &stage, &mut project);
    crm(&mut project)["concurrency"] = json!(3);
    project["credentials"] = json!({"key": {"type": "bearer", "token": "known-only-here-0123456789"}});
    crm(&mut project)["credential"] = json!("key");
    stage.configure(&project);
    stage.write("first-token", &server.token);
    let url = format!("http://{}", server.address);
    let with = |token: &str, words: &[&str]| stage.penstock(&[words, &["--url", url.as_str(), "--token-file", token]].concat());
    assert_says(&with("first-token", &["apply", "--dry-run"]).expect(0).stdout, &["+ credential key", "~ destination crm"]);
    assert_says(&with("first-token", &["apply"]).expect(0).stdout, &["2 changes applied"]);
    assert_eq!(server.get("/v1/destinations/crm")["definition"]["concurrency"], 3);

    let made = with("first-token", &["token", "create", "--name", "reader", "--scopes", "read", "--json"]).expect(0).json();
    stage.write("reader", made["text"].as_str().or(made["token"].as_str()).expect("a token"));
    let refused = with("reader", &["apply"]);
    assert_ne!(refused.status, 0, "who may only read changes nothing: {}", refused.all());
    assert_says(&refused.all(), &["scope"]);

    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    assert!(receiver.requests().iter().all(|request| request.header("authorization") == Some("Bearer known-only-here-0123456789")));
}
