//! The API against schemathesis (https://schemathesis.readthedocs.io), which makes requests out of the OpenAPI document, valid and
//! invalid ones and chains of them along its links, and holds the answers against it.
//!
//! It is a Python program: `pip install schemathesis==4.32.5` puts it on the path, or `PENSTOCK_SCHEMATHESIS` names it.

use super::server::{Server, no_wish};
use crate::journey::stage::{People, Stage, keep, project};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::receiver::{Action, Always};

/// Checks that cannot hold, each with its reason.
const EXCUSED: [&str; 1] = [
    // A definition that is valid by its schema may name another one that is not there, or hold a template that does not parse: that is
    // a 422, and rightly so.
    "positive_data_acceptance",
];

/// The same requests every time.
const SEED: &str = "20261121";
/// How far a walk along the links comes is a matter of chance: sometimes 13 steps, sometimes 300. These are as many walks.
const WALKS: [&str; 3] = [SEED, "2", "5"];
/// All walks together follow so many links at least.
const FOLLOWED: u32 = 10;

fn schemathesis() -> Option<PathBuf> {
    let named = std::env::var_os("PENSTOCK_SCHEMATHESIS").map(PathBuf::from);
    let candidate = named.unwrap_or_else(|| PathBuf::from("schemathesis"));
    let works = Command::new(&candidate).arg("--version").output().is_ok_and(|output| output.status.success());
    works.then_some(candidate)
}

#[test]
fn every_answer_is_one_that_the_openapi_document_promises() {
    let Some(schemathesis) = schemathesis() else {
        let why = "SKIPPED: schemathesis is not here; `pip install schemathesis==4.32.5`, or name it with PENSTOCK_SCHEMATHESIS";
        assert!(
            std::env::var_os("PENSTOCK_STRICT").is_none_or(|strict| strict != "1"),
            "{why}, and PENSTOCK_STRICT=1 lets nothing be skipped"
        );
        eprintln!("{why}");
        return;
    };
    // By examples, borders and chance; then along the links of the document. Each begins with a server of its own, since what one
    // deletes the other would miss.
    // Left to itself it would revoke its own token soon, and be refused from then on: revoking stands apart.
    let rest = ["--exclude-operation-id", "revokeToken"];
    for which in [rest, ["--include-operation-id", "revokeToken"]] {
        hold_against(&schemathesis, ["examples,coverage,fuzzing", "12", SEED], which);
    }
    let walks = WALKS.map(|seed| hold_against(&schemathesis, ["stateful", "200", seed], rest));
    let followed = walks.iter().map(|said| {
        let links = said.lines().find_map(|line| line.trim().strip_prefix("API Links:")).unwrap_or_default();
        links.split_whitespace().next().and_then(|word| word.parse::<u32>().ok()).unwrap_or(0)
    });
    assert!(followed.sum::<u32>() >= FOLLOWED, "hardly a link was followed: {}", walks.join("\n"));
}

/// Runs phases of schemathesis against a server that has something to find, and gives what it said.
fn hold_against(schemathesis: &Path, [phases, examples, seed]: [&str; 3], which: [&str; 2]) -> String {
    let (receiver, _held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    stage.people(&People::new(30));
    // What is wrong by its schema may be too large besides, and is refused for that.
    let refusals = "[checks]\nnegative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 409, 412, 413, 415, 422]\n";
    stage.write("schemathesis.toml", refusals);
    stage.write("ndjson_for_schemathesis.py", include_str!("ndjson_for_schemathesis.py"));
    let server = Server::start(&stage);
    // A run with its deliveries, a plan, a token.
    server.ended(&server.run("news", no_wish()));
    server.call("POST", "/v1/exports/news/plan", no_wish()).expect(202);
    let token = |name: &str| {
        let scopes = serde_json::json!(["read", "write", "send"]);
        let made = server.call("POST", "/v1/tokens", serde_json::json!({"name": name, "scopes": scopes})).expect(201).json();
        made["text"].as_str().expect("a token has a text").to_string()
    };
    let (own, _other) = (token("schemathesis"), token("another"));
    let url = format!("http://{}", server.address);
    let mut command = Command::new(schemathesis);
    command.current_dir(stage.path("."));
    command.args(["run", &format!("{url}/v1/openapi.json"), "--url", &url]);
    command.args(["--header", &format!("Authorization: Bearer {own}")]);
    command.args(["--checks", "all", "--exclude-checks", &EXCUSED.join(",")]);
    command.args(["--phases", phases, "--max-examples", examples, "--seed", seed, "--continue-on-failure"]);
    command.args(which).args(["--request-timeout", "30", "--warnings", "off", "--no-color"]);
    command.env("SCHEMATHESIS_HOOKS", "ndjson_for_schemathesis").env("PYTHONPATH", stage.path("."));
    command.env("NO_PROXY", "*").env("HYPOTHESIS_STORAGE_DIRECTORY", stage.path("hypothesis"));
    let output = command.output().expect("schemathesis can be started");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}\nthe server said {}", server.errors());
    // Had it revoked its own token, all of it would have been refused, and proven nothing.
    assert_eq!(server.call_as(&own, "GET", "/v1/runs", serde_json::Value::Null).status, 200, "{said}");
    assert!(!said.contains("Serialization not possible"), "{said}");
    said.into_owned()
}
