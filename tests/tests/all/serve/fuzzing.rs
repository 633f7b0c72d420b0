//! The API against schemathesis (https://schemathesis.readthedocs.io), which makes requests out of the OpenAPI document, valid and
//! invalid ones and chains of them along its links, and holds the answers against it.
//!
//! It is a Python program: `pip install schemathesis==4.32.5` puts it on the path, or `PENSTOCK_SCHEMATHESIS` names it.

use super::server::Server;
use crate::journey::stage::{People, Stage, keep, project};
use std::path::PathBuf;
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
    let (receiver, _held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    stage.people(&People::new(30));
    let server = Server::start(&stage);
    let mut command = Command::new(schemathesis);
    command.current_dir(stage.path("."));
    command.args(["run", &format!("http://{}/v1/openapi.json", server.address), "--url", &format!("http://{}", server.address)]);
    command.args(["--header", &format!("Authorization: Bearer {}", server.token)]);
    command.args(["--checks", "all", "--exclude-checks", &EXCUSED.join(",")]);
    command.args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "12", "--seed", SEED, "--continue-on-failure"]);
    command.args(["--request-timeout", "30", "--warnings", "off", "--no-color"]);
    command.env("NO_PROXY", "*").env("HYPOTHESIS_STORAGE_DIRECTORY", stage.path("hypothesis"));
    let output = command.output().expect("schemathesis can be started");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}\nthe server said {}", server.errors());
    // All of it was there to be tried, and it was.
    assert!(said.contains("passed") || said.contains("No issues found"), "{said}");
    assert_eq!(server.get("/healthz")["status"], "ok");
}
