//! Pause, resume, cancel, approve, redeliver: what a person asks of work that goes on.

use super::server::{Place, Server, no_wish, on_one_machine_and_on_a_stack};
use crate::journey::stage::{People, Stage, assert_holds, crm, keep, one_by_one, project};
use serde_json::{Value, json};
use std::time::Duration;
use tests::receiver::{Action, Always, Reply};

on_one_machine_and_on_a_stack!(
    nothing_starts_after_a_cancel_was_acknowledged_and_what_was_delivered_counts,
    a_paused_destination_keeps_its_deliveries_and_shows_them_as_held,
    a_plan_that_a_guard_holds_is_executed_as_it_was_once_it_is_approved,
    a_held_plan_that_a_later_one_has_replaced_is_not_executed_any_more,
    deliveries_that_failed_are_sent_again_after_they_were_counted,
);

/// A project of single requests, so many a second.
fn paced(url: &str, per_second: u32) -> Value {
    let mut project = project(url);
    one_by_one(&mut project);
    crm(&mut project)["rate_limit"] = json!({"requests": per_second, "per": "second"});
    project
}

fn nothing_starts_after_a_cancel_was_acknowledged_and_what_was_delivered_counts(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&paced(&receiver.url(), 100));
    let people = People::new(400);
    stage.people(&people);
    let server = Server::start_on(place, &stage);
    let id = server.run("news", no_wish());
    server.until("some are there", || (receiver.count() >= 50).then_some(()));
    server.call("POST", &format!("/v1/runs/{id}/cancel"), Value::Null).expect(202);
    // What was on its way has arrived by then.
    std::thread::sleep(Duration::from_millis(200));
    let after = receiver.count();
    let run = server.ended(&id);
    assert_eq!(run["status"], "canceled", "{run:#}");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(receiver.count(), after, "something started after the cancel was acknowledged");
    assert_eq!(run["rows"]["delivered"], json!(after), "{run:#}");
    assert_eq!(run["rows"]["pending"], json!(400 - after), "{run:#}");
    // The next run sends the rest, and nothing twice.
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(receiver.count(), 400);
    assert_holds(&held, &people);
    // Canceling what has ended is refused; canceling again what was canceled is not.
    server.call("POST", &format!("/v1/runs/{}/cancel", run["id"].as_str().unwrap()), Value::Null).expect(409);
    server.call("POST", &format!("/v1/runs/{id}/cancel"), Value::Null).expect(202);
}

fn a_paused_destination_keeps_its_deliveries_and_shows_them_as_held(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 2);
    let stage = Stage::new(&paced(&receiver.url(), 50));
    let people = People::new(150);
    stage.people(&people);
    let server = Server::start_on(place, &stage);
    let id = server.run("news", no_wish());
    server.until("some are there", || (receiver.count() >= 20).then_some(()));
    server.call("POST", "/v1/destinations/crm/pause", Value::Null).expect(200);
    std::thread::sleep(Duration::from_millis(200));
    let paused = receiver.count();
    let waiting = server.get(&format!("/v1/deliveries?run={id}&status=held&limit=100"));
    let waiting = waiting["items"].as_array().expect("a list");
    assert!(!waiting.is_empty() && waiting.iter().all(|delivery| delivery["status"] == "held"), "{waiting:#?}");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(receiver.count(), paused);
    assert_eq!(server.get(&format!("/v1/runs/{id}"))["status"], "delivering");
    // It stays so over a restart, and a new definition does not lift it.
    let server = server.restart(&stage);
    let mut definition = server.get("/v1/destinations/crm")["definition"].clone();
    definition["concurrency"] = json!(4);
    server.put("/v1/destinations/crm", definition);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(receiver.count(), paused);
    server.call("POST", "/v1/destinations/crm/resume", Value::Null).expect(200);
    assert_eq!(server.ended(&id)["status"], "succeeded");
    assert_eq!(receiver.count(), 150);
    assert_holds(&held, &people);
}

fn a_plan_that_a_guard_holds_is_executed_as_it_was_once_it_is_approved(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 3);
    let stage = Stage::new(&project(&receiver.url()));
    let mut people = People::new(40);
    stage.people(&people);
    let server = Server::start_on(place, &stage);
    assert_eq!(server.ended(&server.run("news", no_wish()))["status"], "succeeded");
    (1..=20).for_each(|id| people.remove(id));
    server.people(&stage, &people);
    let held_run = server.ended(&server.run("news", no_wish()));
    assert_eq!(held_run["status"], "held", "{held_run:#}");
    assert_eq!(held.lock().unwrap().members.len(), 40);
    let id = held_run["id"].as_str().unwrap();
    server.call("POST", &format!("/v1/runs/{id}/approve"), Value::Null).expect(202);
    let run = server.ended(id);
    assert_eq!((&run["status"], &run["rows"]["delivered"]), (&json!("succeeded"), &json!(20)), "{run:#}");
    assert_holds(&held, &people);
}

fn a_held_plan_that_a_later_one_has_replaced_is_not_executed_any_more(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 4);
    let stage = Stage::new(&project(&receiver.url()));
    let people = People::new(40);
    stage.people(&people);
    let server = Server::start_on(place, &stage);
    server.ended(&server.run("news", no_wish()));
    let mut fewer = people.clone();
    (1..=20).for_each(|id| fewer.remove(id));
    server.people(&stage, &fewer);
    let first = server.ended(&server.run("news", no_wish()));
    server.people(&stage, &people);
    let second = server.ended(&server.run("news", no_wish()));
    assert_eq!((&first["status"], &second["status"]), (&json!("held"), &json!("succeeded")));
    let refused = server.call("POST", &format!("/v1/runs/{}/approve", first["id"].as_str().unwrap()), Value::Null).expect(409);
    assert!(!refused.json()["code"].is_null(), "{}", refused.text());
    assert_holds(&held, &people);
}

fn deliveries_that_failed_are_sent_again_after_they_were_counted(place: Place) {
    let (receiver, held) = keep(Always(Action::Respond(Reply::new(422, "no"))), 0.0, 5);
    let stage = Stage::new(&project(&receiver.url()));
    let people = People::new(30);
    stage.people(&people);
    let server = Server::start_on(place, &stage);
    let id = server.run("news", no_wish());
    let run = server.ended(&id);
    assert_eq!(run["rows"]["rejected"], 30, "{run:#}");
    receiver.change_script(tests::receiver::Keeping::new(Always(Action::status(200)), 0.0, 6));
    drop(held);
    let count = server.call("POST", &format!("/v1/deliveries/redeliver?run={id}&dry_run=true"), Value::Null).expect(200).json();
    assert_eq!(count["deliveries"], 3, "{count}");
    let before = receiver.count();
    server.call("POST", &format!("/v1/deliveries/redeliver?run={id}&dry_run=false"), Value::Null).expect(202);
    let run = server.until("it is finished again", || {
        let run = server.get(&format!("/v1/runs/{id}"));
        (run["rows"]["delivered"] == 30).then_some(run)
    });
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(receiver.count() - before, 3);
    let keys: Vec<Option<String>> = receiver.requests().iter().map(|got| got.header("idempotency-key").map(str::to_string)).collect();
    assert_eq!(keys[..3], keys[3..], "under the same keys");
}
