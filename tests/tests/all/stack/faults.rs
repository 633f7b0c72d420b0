//! What goes wrong on a stack: messages, functions, the table. Nothing may be lost, and what comes twice comes under its key.

use crate::journey::stage::{Held, People, Stage, assert_holds, crm, keep, one_by_one, project};
use crate::serve::server::{Server, no_wish};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tests::aws::Fault;
use tests::receiver::{Action, Always, Receiver};
use tests::stack::{Mishaps, Setting};

/// So many people, one request each, at so many a second.
fn stage_of(count: u32, per_second: u32) -> (Receiver, Held, Stage, People) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, u64::from(count));
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["rate_limit"] = json!({"requests": per_second, "per": "second"});
    crm(&mut project)["timeout_seconds"] = json!(5);
    let stage = Stage::new(&project);
    let people = People::new(count);
    stage.people(&people);
    (receiver, held, stage, people)
}

/// How often each idempotency key came.
fn by_key(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    for request in receiver.requests() {
        *keys.entry(request.header("idempotency-key").expect("each request has its key").to_string()).or_insert(0) += 1;
    }
    keys
}

/// C2: the minute's schedule alone finishes the work.
#[test]
fn where_every_message_about_a_run_is_lost_the_minutes_look_finishes_the_work() {
    if !super::is_here() {
        return;
    }
    let (receiver, held, stage, people) = stage_of(120, 200);
    let mishaps = Mishaps { lost: true, ..Mishaps::default() };
    let server = Server::of_stack(&stage, Setting { mishaps, ..super::setting() });
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    assert_eq!(receiver.count(), 120);
}

/// C1, C16
#[test]
fn tickets_that_come_twice_and_late_send_nothing_twice() {
    if !super::is_here() {
        return;
    }
    let (receiver, held, stage, people) = stage_of(150, 100);
    let mishaps = Mishaps { doubled: true, late: Duration::from_millis(700), ..Mishaps::default() };
    let server = Server::of_stack(&stage, Setting { mishaps, ..super::setting() });
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    assert_eq!(receiver.count(), 150);
    assert!(receiver.max_in_window(Duration::from_secs(1)) <= 100);
    assert!(server.stack().tickets.dead_letters().is_empty());
}

/// C9, D1: the successor waits for the lease, then goes on; what had no record goes again under the same key.
#[test]
fn a_function_that_is_killed_while_it_sends_loses_nothing() {
    if !super::is_here() {
        return;
    }
    let (receiver, held, stage, people) = stage_of(300, 50);
    let server = Server::of_stack(&stage, Setting { visibility_seconds: 5, ..super::setting() });
    let id = server.run("news", no_wish());
    server.until("some are there", || (receiver.count() >= 60).then_some(()));
    assert!(server.stack().functions.deliver.kill_busy() > 0);
    let run = server.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    let keys = by_key(&receiver);
    assert_eq!(keys.len(), 300);
    let twice = keys.values().filter(|count| **count > 1).count();
    // Attempts are recorded within two seconds: at 50 a second that is a hundred, and what was on its way.
    assert!(keys.values().all(|count| *count <= 2) && twice <= 110, "{twice} came twice");
    assert!(receiver.max_in_window(Duration::from_secs(1)) <= 50);
}

/// G1, G5: throttled calls, and writes that took place and were not answered.
#[test]
fn a_table_that_throttles_and_loses_answers_loses_no_row() {
    if !super::is_here() {
        return;
    }
    let (receiver, held, stage, people) = stage_of(200, 100);
    let (proxy, setting) = super::behind_a_proxy();
    let server = Server::of_stack(&stage, Setting { visibility_seconds: 5, ..setting });
    // Who asks through the API would hear of it and ask again.
    let id = server.run("news", no_wish());
    for round in 0..12 {
        proxy.rule("DynamoDB_20120810.PutItem", 3 + round * 4, 1, Fault::LoseAnswer);
        proxy.rule("DynamoDB_20120810", 10 + round * 9, 2, Fault::throttle());
        proxy.rule("DynamoDB_20120810.DeleteItem", round, 1, Fault::LoseAnswer);
    }
    let run = server.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    assert_eq!(by_key(&receiver).len(), 200);
}

/// C15: what cannot be read goes to the dead-letter queue, and keeps nothing else from being done.
#[test]
fn a_poison_message_ends_among_the_dead_letters_and_only_messages_do() {
    if !super::is_here() {
        return;
    }
    let (_receiver, held, stage, people) = stage_of(40, 100);
    let server = Server::of_stack(&stage, Setting { visibility_seconds: 1, ..super::setting() });
    let tickets = &server.stack().tickets;
    let poison = r#"{"v": 99, "from": "a later version"}"#;
    tickets.send(poison);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    let dead = server.until("it is among the dead letters", || Some(tickets.dead_letters()).filter(|dead| !dead.is_empty()));
    assert_eq!(dead, [poison]);
}

/// G6: what the stack's own bucket refuses is tried again, a few times; then the run says why it failed.
#[test]
fn a_plan_that_cannot_be_kept_is_tried_again_and_fails_with_the_reason_in_the_end() {
    if !super::is_here() {
        return;
    }
    let (receiver, held, stage, people) = stage_of(20, 100);
    let (proxy, setting) = super::behind_a_proxy();
    let server = Server::of_stack(&stage, Setting { visibility_seconds: 1, ..setting });
    let refuse = |times: usize| proxy.rule("S3 PUT", 0, times, Fault::Refuse(403, "AccessDenied"));
    refuse(3);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    assert_eq!(receiver.count(), 20);
    let mut more = people.clone();
    more.put(21, 0);
    server.people(&stage, &more);
    refuse(1000);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "failed", "{run:#}");
    assert!(run["reason"].as_str().is_some_and(|reason| reason.contains("plans/")), "{run:#}");
    assert_eq!(receiver.count(), 20);
    proxy.clear();
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &more);
}

/// C9: a function that has little time left hands its lane over, and is not ended by Lambda with requests on their way.
#[test]
fn a_function_whose_time_is_short_hands_its_lane_over_in_time() {
    if !super::is_here() {
        return;
    }
    let (receiver, held, stage, people) = stage_of(300, 20);
    let server = Server::of_stack(&stage, Setting { deliver_timeout: Duration::from_secs(14), ..super::setting() });
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    // Nothing was cut off: each row came once.
    assert_eq!((receiver.count(), by_key(&receiver).len()), (300, 300));
    assert!(server.stack().functions.deliver.calls() >= 2, "fifteen seconds of work are more than one call has");
    assert_eq!(server.stack().functions.deliver.died(), 0);
    assert!(receiver.max_in_window(Duration::from_secs(1)) <= 20);
}
