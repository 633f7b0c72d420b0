//! Starting and stopping.

use super::server::{Server, no_wish};
use crate::journey::stage::{People, Stage, assert_holds, assert_says, keep, one_by_one, project};
use serde_json::json;
use tests::receiver::{Action, Always};

#[test]
fn the_first_start_takes_the_project_file_and_makes_a_token_that_only_its_owner_can_read() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    let people = People::new(25);
    stage.people(&people);
    let server = Server::start(&stage);
    assert_eq!(server.begun["defined"], 3, "{}", server.begun);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(stage.path(".penstock/token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(run["rows"]["delivered"], 25, "{run:#}");
    assert_holds(&held, &people);
    // What runs here counts for the command line, and the other way round.
    let (status, said) = server.stop();
    assert_eq!(status, 0, "{said}");
    let again = stage.run_well(&[]);
    assert_eq!(again["deliveries"]["succeeded"], 0, "{again:#}");
}

#[test]
fn a_second_start_keeps_its_token_and_what_is_served() {
    let (receiver, _held) = keep(Always(Action::status(200)), 0.0, 2);
    let mut project = project(&receiver.url());
    let stage = Stage::new(&project);
    stage.people(&People::new(1));
    let first = Server::start(&stage);
    let token = first.token.clone();
    first.kill();
    project["destinations"]["crm"]["concurrency"] = json!(3);
    stage.configure(&project);
    let second = Server::start(&stage);
    assert_eq!(second.token, token);
    assert_eq!(second.begun["differs"], true, "{}", second.begun);
    assert_eq!(second.get("/v1/destinations/crm")["definition"]["concurrency"], 8);
}

#[test]
fn while_it_serves_no_other_process_delivers_from_its_data_directory() {
    let (receiver, _held) = keep(Always(Action::status(200)), 0.0, 3);
    let stage = Stage::new(&project(&receiver.url()));
    stage.people(&People::new(3));
    let server = Server::start(&stage);
    assert_says(&stage.penstock(&["run", "news"]).expect(1).all(), &["penstock serve", "has delivered from this data directory"]);
    // Looking does not need the lock.
    stage.penstock(&["runs"]).expect(0);
    assert_eq!(server.call("GET", "/healthz", json!(null)).status, 200);
}

#[test]
fn a_server_that_is_asked_to_end_waits_for_what_is_on_its_way_and_goes_on_at_its_next_start() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 4);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    project["destinations"]["crm"]["rate_limit"] = json!({"requests": 100, "per": "second"});
    let stage = Stage::new(&project);
    let people = People::new(150);
    stage.people(&people);
    let server = Server::start(&stage);
    let run = server.run("news", no_wish());
    server.until("some are there", || (receiver.requests().len() > 20).then_some(()));
    let (status, said) = server.stop();
    assert_eq!(status, 0, "{said}");
    let before = receiver.requests().len();
    assert!(before < 150, "all {before} were sent before it ended");
    let server = Server::start(&stage);
    let run = server.ended(&run);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    // What it waited for it did not send again.
    assert_eq!(receiver.requests().len(), 150);
}

#[test]
fn a_model_whose_rows_lie_outside_of_the_served_folder_is_not_read() {
    let (receiver, _held) = keep(Always(Action::status(200)), 0.0, 5);
    let stage = Stage::new(&project(&receiver.url()));
    stage.people(&People::new(3));
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("people.csv"), People::new(3).csv()).unwrap();
    std::os::unix::fs::symlink(outside.path(), stage.path("link")).unwrap();
    let server = Server::start(&stage);
    for path in [outside.path().join("people.csv").display().to_string(), "../people.csv".to_string(), "link/people.csv".to_string()] {
        server.put("/v1/models/people", json!({"primary_key": ["id"], "source": {"type": "file", "path": path}}));
        let run = server.ended(&server.run("news", no_wish()));
        assert_eq!(run["status"], "failed", "{path}: {run:#}");
        assert_says(run["reason"].as_str().unwrap_or_default(), &["outside"]);
    }
    assert_eq!(receiver.count(), 0);
}
