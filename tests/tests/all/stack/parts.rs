//! Models with more keys than one function may hold: their plans are made in parts, by several calls side by side, and joined.

use crate::journey::stage::{Held, People, Stage, assert_holds, keep, project};
use crate::serve::server::{Server, no_wish};
use engine::keys::{ALL_PARTS, WORK, part_objects, run_partition};
use engine::model::name::Name;
use engine::port::{Objects, Store};
use engine::run::document;
use serde_json::{Value, json};
use std::time::Duration;
use tests::receiver::{Action, Always, Receiver};
use tests::stack::{Mishaps, Setting};

/// A function may hold so many keys, so that some hundreds of people are too many.
const KEYS: usize = 150;

fn setting() -> Setting {
    let mut setting = super::setting();
    setting.environment.push(("PENSTOCK_PART_KEYS".to_owned(), KEYS.to_string()));
    setting
}

fn stage_of(people: &People) -> (Receiver, Held, Stage) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    stage.people(people);
    (receiver, held, stage)
}

/// How many parts a run's plan was made of; what they left is gone.
fn parts_of(server: &Server, run: &Value) -> u32 {
    let aws = server.stack().parts.aws();
    let (store, objects) = (aws.store(), aws.objects().unwrap());
    let organization = Name::new("default").unwrap();
    let id = run["id"].as_str().expect("a run has an id");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (run, _) = document::read(&store, &organization, id, 0).await.unwrap().expect("the run is there");
        // A moment after it has ended.
        let start = std::time::Instant::now();
        loop {
            let documents = store.list(&run_partition(&organization, id), ALL_PARTS.0..ALL_PARTS.1, 1000, 0).await.unwrap();
            let objects = objects.list(&part_objects(&organization, id)).await.unwrap();
            if documents.is_empty() && objects.is_empty() {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{documents:?} {objects:?} are left");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        run.split.map_or(1, |split| split.of)
    })
}

/// Nothing is under way any more.
fn assert_nothing_is_left(server: &Server) {
    let store = server.stack().parts.aws().store();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    server.until("nothing is under way", || runtime.block_on(store.list(WORK, "".."~", 10, 0)).unwrap().is_empty().then_some(()));
}

#[test]
fn a_model_with_more_keys_than_a_function_holds_is_planned_in_parts() {
    if !super::is_here() {
        return;
    }
    let mut people = People::new(900);
    let (receiver, held, stage) = stage_of(&people);
    let server = Server::of_stack(&stage, setting());
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!((&run["status"], &run["rows"]["delivered"]), (&json!("succeeded"), &json!(900)), "{run:#}");
    assert_holds(&held, &people);
    // One part was too few, four were, sixteen are enough.
    assert_eq!(parts_of(&server, &run), 16);
    assert_nothing_is_left(&server);
    // Ten rows a request; each part may end with one that is not full.
    assert!((90..=106).contains(&receiver.count()), "{} requests", receiver.count());
    // A row is found by its key, whichever part had it.
    for id in [1, 450, 900] {
        let found = server.get(&format!("/v1/deliveries?run={}&row={id}", run["id"].as_str().unwrap()));
        assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found:#}");
        assert!(found["items"][0]["row_keys"].as_array().is_some_and(|keys| keys.contains(&json!(id.to_string()))), "{found:#}");
    }

    // From then on what has changed goes, and nothing else; the parts are as many from the start.
    let before = receiver.count();
    (1..=30).for_each(|id| people.remove(id));
    (31..=70).for_each(|id| people.put(id, 1));
    (901..=950).for_each(|id| people.put(id, 0));
    server.people(&stage, &people);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["changes"], json!({"added": 50, "changed": 40, "removed": 30}), "{run:#}");
    assert_holds(&held, &people);
    assert_eq!(parts_of(&server, &run), 16);
    assert!(receiver.count() - before <= 30 + 32 + 9, "{} requests", receiver.count() - before);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["changes"], json!({"added": 0, "changed": 0, "removed": 0}), "{run:#}");

    // A guard looks at all parts together.
    (100..=500).for_each(|id| people.remove(id));
    server.people(&stage, &people);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "held", "{run:#}");
    server.call("POST", &format!("/v1/runs/{}/approve", run["id"].as_str().unwrap()), Value::Null).expect(202);
    let run = server.ended(run["id"].as_str().unwrap());
    assert_eq!((&run["status"], &run["rows"]["delivered"]), (&json!("succeeded"), &json!(401)), "{run:#}");
    assert_holds(&held, &people);
    assert_nothing_is_left(&server);
}

/// C2: with no message at all, and functions that die, the minute's look comes to the end.
#[test]
fn parts_are_made_and_joined_whatever_becomes_of_messages_and_functions() {
    if !super::is_here() {
        return;
    }
    let people = People::new(500);
    let (_receiver, held, stage) = stage_of(&people);
    let mishaps = Mishaps { lost: true, ..Mishaps::default() };
    let minute = Some(Duration::from_millis(300));
    let server = Server::of_stack(&stage, Setting { mishaps, minute, ..setting() });
    let id = server.run("news", no_wish());
    server.until("the planner is at work", || (server.stack().functions.plan.calls() >= 3).then_some(()));
    server.stack().functions.plan.kill_busy();
    let run = server.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    assert!(parts_of(&server, &run) >= 4);
    assert_nothing_is_left(&server);
}

/// C1: messages that come twice make no part twice that counts, and send nothing twice.
#[test]
fn parts_that_are_asked_for_twice_are_joined_once() {
    if !super::is_here() {
        return;
    }
    let people = People::new(500);
    let (receiver, held, stage) = stage_of(&people);
    let mishaps = Mishaps { doubled: true, late: Duration::from_millis(50), ..Mishaps::default() };
    let server = Server::of_stack(&stage, Setting { mishaps, ..setting() });
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!((&run["status"], &run["rows"]["delivered"]), (&json!("succeeded"), &json!(500)), "{run:#}");
    assert_holds(&held, &people);
    assert!(receiver.count() <= 66, "{} requests", receiver.count());
    assert_nothing_is_left(&server);
}

#[test]
fn a_run_that_is_canceled_while_its_parts_are_made_leaves_nothing() {
    if !super::is_here() {
        return;
    }
    let people = People::new(900);
    let (receiver, _held, stage) = stage_of(&people);
    let server = Server::of_stack(&stage, setting());
    let id = server.run("news", no_wish());
    server.call("POST", &format!("/v1/runs/{id}/cancel"), Value::Null).expect(202);
    let run = server.ended(&id);
    assert_eq!((&run["status"], receiver.count()), (&json!("canceled"), 0), "{run:#}");
    assert_nothing_is_left(&server);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
}

/// What is wrong with the rows is said once, with all parts' rows counted.
#[test]
fn invalid_rows_of_all_parts_are_counted_and_listed() {
    if !super::is_here() {
        return;
    }
    let people = People::new(600);
    let (_receiver, held, stage) = stage_of(&people);
    let twice: String = (1..=5).map(|id| format!("{id},again{id}@example.com,Again\n")).collect();
    stage.write("people.csv", people.csv() + &twice + "601,short\n");
    let server = Server::of_stack(&stage, setting());
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!((&run["status"], &run["rows"]["invalid"]), (&json!("completed_with_errors"), &json!(11)), "{run:#}");
    assert_eq!(held.lock().unwrap().members.len(), 595);
    let listed: Vec<&Value> = run["invalid"].as_array().into_iter().flatten().collect();
    assert_eq!(listed.len(), 11, "{run:#}");
    let place = format!("s3://{}/rows/people.csv line 607", server.stack().parts.names.bucket);
    assert!(listed.iter().any(|row| row["place"] == place && row["reason"].to_string().contains("2 cells")), "{run:#}");
}
