//! Exports that run by themselves.

use super::server::{Place, Server, no_wish, on_one_machine_and_on_a_stack};
use crate::journey::stage::{People, Stage, assert_holds, crm, keep, project};
use serde_json::{Value, json};
use tests::receiver::{Action, Always};

on_one_machine_and_on_a_stack!(
    an_export_runs_as_often_as_its_destination_says_unless_it_says_otherwise_itself,
    a_run_by_hand_needs_no_schedule,
);

fn runs(server: &Server) -> Vec<Value> {
    server.get("/v1/runs?export=news")["items"].as_array().expect("a list of runs").clone()
}

/// GL-09, GL-10
fn an_export_runs_as_often_as_its_destination_says_unless_it_says_otherwise_itself(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    crm(&mut project)["sync_frequency"] = json!("1s");
    project["exports"]["rarely"] = json!({"model": "people", "destination": "crm", "schedule": {"every": "1d"}});
    let stage = Stage::new(&project);
    let mut people = People::new(5);
    stage.people(&people);
    let server = Server::start_on(place, &stage);
    server.until("it has run by itself", || (held.lock().unwrap().members.len() == 5).then_some(()));
    people.put(9, 0);
    people.remove(2);
    server.people(&stage, &people);
    server.until("it has run again", || (held.lock().unwrap().members == people.members()).then_some(()));
    assert_holds(&held, &people);
    assert!(runs(&server).iter().all(|run| run["trigger"] == "schedule"));
    assert_eq!(server.get("/v1/runs?export=rarely")["items"], json!([]));
}

#[test]
fn a_run_that_is_still_going_on_is_not_doubled() {
    let slow = Action::Wait(std::time::Duration::from_secs(4), Box::new(Action::status(200)));
    let (receiver, _held) = keep(Always(slow), 0.0, 2);
    let mut project = project(&receiver.url());
    project["exports"]["news"]["schedule"] = json!({"every": "1s"});
    let stage = Stage::new(&project);
    stage.people(&People::new(5));
    let server = Server::start(&stage);
    server.until("the first has begun", || (receiver.count() == 1).then_some(()));
    let first = runs(&server)[0]["id"].as_str().unwrap().to_string();
    // Two more times it is due while the first goes on.
    server.until("it was left out", || server.errors().contains("is not finished").then_some(()));
    assert_eq!(runs(&server).len(), 1, "{:#?}", runs(&server));
    assert_eq!(server.ended(&first)["status"], "succeeded");
    assert_eq!(receiver.count(), 1);
}

#[test]
fn firings_that_were_missed_while_nobody_served_come_to_one_run() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 3);
    let mut project = project(&receiver.url());
    project["exports"]["news"]["schedule"] = json!({"every": "1s"});
    let stage = Stage::new(&project);
    let mut people = People::new(3);
    stage.people(&people);
    let server = Server::start(&stage);
    server.until("it has run", || (held.lock().unwrap().members.len() == 3).then_some(()));
    // From here on it is rare, so that what the missed times come to can be counted.
    server.put("/v1/exports/news", json!({"model": "people", "destination": "crm", "schedule": {"cron": "0 0 1 1 *"}}));
    let before = server.until("nothing goes on", || {
        let runs = runs(&server);
        runs.iter().all(|run| run["status"] == "succeeded").then_some(runs.len())
    });
    people.put(4, 0);
    stage.people(&people);
    server.put("/v1/exports/news", json!({"model": "people", "destination": "crm", "schedule": {"every": "2s"}}));
    server.kill();
    std::thread::sleep(std::time::Duration::from_secs(7));
    let server = Server::start(&stage);
    server.until("it has caught up", || (held.lock().unwrap().members == people.members()).then_some(()));
    let after = runs(&server).len() - before;
    assert!(after <= 2, "three missed times came to {after} runs");
}

fn a_run_by_hand_needs_no_schedule(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 4);
    let stage = Stage::new(&project(&receiver.url()));
    let people = People::new(3);
    stage.people(&people);
    let server = Server::start_on(place, &stage);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!((&run["status"], &run["trigger"]), (&json!("succeeded"), &json!("api")));
    assert_holds(&held, &people);
}
