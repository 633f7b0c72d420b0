//! Receivers that answer 500 and 429, reset, stall and cut their answers short: no row is lost, and the log says what happened.

use super::stage::{People, Stage, assert_holds, crm, keep, listen, one_by_one, project};
use crate::serve::server::{Place, on_one_machine_and_on_a_stack};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::receiver::{Action, Always, Chance, Mixed, Received, Receiver, Reply, Sequence};

on_one_machine_and_on_a_stack!(
    a_receiver_that_fails_at_random_gets_every_row_within_the_runs_retries,
    retry_after_holds_the_whole_destination,
    as_many_attempts_are_made_as_the_project_says,
    the_timeout_covers_an_answer_that_drips,
    a_row_whose_request_timed_out_after_it_was_taken_is_sent_again_as_the_same_kind,
    no_more_requests_are_in_flight_than_the_destination_takes,
);

fn faulty(seed: u64) -> Mixed {
    let mut mixed = Mixed::new(seed);
    (mixed.p500, mixed.p429, mixed.preset, mixed.pstall) = (0.08, 0.01, 0.08, 0.015);
    mixed
}

/// GL-17 to GL-21, HT-46 to HT-51, VX-26, VX-28 to VX-30
fn a_receiver_that_fails_at_random_gets_every_row_within_the_runs_retries(place: Place) {
    at_random(place, 0x61, 8, 2);
}

/// HT-49, HT-51: what has used up its attempts is found again by the next run, whether an attempt took effect or not.
#[test]
fn a_receiver_that_fails_at_random_gets_every_row_over_several_runs() {
    at_random(Place::Machine, 0x62, 1, 40);
}

fn at_random(place: Place, seed: u64, max_attempts: u32, most_runs: usize) {
    // Half of what got no certain answer was taken all the same.
    let (receiver, held) = keep(faulty(seed), 0.5, seed);
    let mut project = project(&receiver.url());
    crm(&mut project)["timeout_seconds"] = json!(0.6);
    crm(&mut project)["retry"]["max_attempts"] = json!(max_attempts);
    let add = &mut crm(&mut project)["actions"]["add"];
    add["batch"]["size"] = json!(2);
    // Between runs a member may be gone that was to be removed again.
    crm(&mut project)["actions"]["remove"]["success"] = json!(["2xx", "404"]);
    let stage = Stage::on(place, &project);
    let mut people = People::new(400);
    let mut runs = 0;
    for round in 0..2 {
        if round > 0 {
            (1..=400).step_by(9).for_each(|id| people.remove(id));
            (2..=500).step_by(7).for_each(|id| people.put(id, round));
        }
        stage.people(&people);
        for left in (0..most_runs).rev() {
            runs += 1;
            let (status, result) = stage.run(&[]);
            let rows = &result["rows"];
            let of = |name: &str| rows[name].as_u64().unwrap();
            let changes: u64 = ["added", "changed", "removed"].iter().map(|kind| result["changes"][kind].as_u64().unwrap()).sum();
            assert_eq!(changes, of("delivered") + of("pending"), "{result:#}");
            match (status, result["status"].as_str()) {
                (0, Some("succeeded")) => break,
                (3, Some("completed_with_errors")) => assert!(left > 0, "still not all is delivered: {result:#}"),
                other => panic!("{other:?} {result:#}"),
            }
        }
        assert_holds(&held, &people);
    }
    assert_eq!(stage.run_well(&[])["attempts"], 0);
    check_log(&stage, &receiver, runs + 1);
}

/// Every request that arrived is an attempt in the log; an attempt that did not arrive failed before its first byte was read.
fn check_log(stage: &Stage, receiver: &Receiver, runs: usize) {
    let listed = stage.list("runs", &[]);
    assert_eq!(listed.len(), runs);
    let counted: u64 = listed.iter().map(|run| run["attempts"].as_u64().unwrap()).sum();
    let attempts = stage.list("attempts", &[]);
    assert_eq!(attempts.len() as u64, counted, "runs count what the log holds");
    let silent = attempts.iter().filter(|attempt| attempt["status_code"].is_null()).count();
    let arrived = receiver.count();
    assert!(arrived <= attempts.len(), "{arrived} requests arrived, {} attempts are in the log", attempts.len());
    assert!(attempts.len() - arrived <= silent, "{} attempts are in the log, {arrived} requests arrived", attempts.len());
    let answered =
        attempts.iter().filter(|attempt| attempt["class"] == "too_many_requests_error" || attempt["class"] == "server_error").count();
    assert!(answered > 0 && silent > 0, "this receiver was too kind to show anything");
}

/// GL-18, GL-20: 429 with Retry-After holds all of the destination for that long, and is no failure of the run.
fn retry_after_holds_the_whole_destination(place: Place) {
    let answers = [Action::Respond(Reply::new(429, "slow down").with_header("retry-after", 2))];
    let (receiver, held) = keep(Sequence::new(answers), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["concurrency"] = json!(1);
    let stage = Stage::on(place, &project);
    let people = People::new(30);
    stage.people(&people);
    let result = stage.run_well(&[]);
    assert_eq!((&result["attempts"], &result["rows"]["delivered"]), (&json!(31), &json!(30)));
    let at: Vec<u64> = receiver.requests().iter().map(|request| request.at).collect();
    assert!(at[1] - at[0] >= 1_990_000, "the second request came {} us after the first", at[1] - at[0]);
    assert_holds(&held, &people);
}

/// GL-17, HT-50, VX-21: the number of attempts is configurable, and the switch turns retries off.
fn as_many_attempts_are_made_as_the_project_says(place: Place) {
    for (retry, attempts) in [(json!({"max_attempts": 3, "first_delay_seconds": 0.01}), 3), (json!({"enabled": false}), 1)] {
        let receiver = listen(Always(Action::status(503)));
        let mut project = project(&receiver.url());
        crm(&mut project)["retry"] = retry;
        let stage = Stage::on(place, &project);
        stage.people(&People::new(2));
        let (status, result) = stage.run(&[]);
        assert_eq!((status, &result["attempts"], &result["rows"]["pending"]), (3, &json!(attempts), &json!(2)), "{result:#}");
        assert_eq!(receiver.count(), attempts);
        let delivery = &stage.list("deliveries", &[])[0];
        assert_eq!((&delivery["status"], delivery["attempts"].as_array().unwrap().len()), (&json!("exhausted"), attempts));
        let keys: Vec<_> = receiver.requests().iter().map(|request| request.header("idempotency-key").map(str::to_owned)).collect();
        assert!(keys.iter().all(|key| key.as_deref() == delivery["idempotency_key"].as_str()), "{keys:?}");
    }
}

/// VX-24, VX-25, VX-27, HT-47: redirects are not followed, refusals are not repeated.
#[test]
fn redirects_are_not_followed_and_refusals_are_not_repeated() {
    let trap = listen(Always(Action::status(200)));
    let elsewhere = format!("{}/members", trap.url());
    for (status, class) in [(302, "redirection_error"), (307, "redirection_error"), (400, "client_error"), (422, "client_error")] {
        let receiver = listen(Always(Action::Respond(Reply::new(status, "no").with_header("location", &elsewhere))));
        let stage = Stage::new(&project(&receiver.url()));
        stage.people(&People::new(2));
        let (exit, result) = stage.run(&[]);
        assert_eq!((exit, &result["rows"]["rejected"], receiver.count()), (3, &json!(2), 1), "{status} {result:#}");
        let delivery = &stage.list("deliveries", &[])[0];
        assert_eq!((&delivery["status"], &delivery["attempts"][0]["class"]), (&json!("failed"), &json!(class)));
        // It is not in the snapshot: the next run finds it again.
        receiver.change_script(Always(Action::status(200)));
        assert_eq!(stage.run_well(&[])["changes"]["added"], 2);
    }
    assert_eq!(trap.connections(), 0);
}

/// VX-30, HT-52: the timeout covers the body to its last byte.
fn the_timeout_covers_an_answer_that_drips(place: Place) {
    let drip = DrippingServer::start();
    let mut project = project(&drip.url);
    crm(&mut project)["timeout_seconds"] = json!(0.5);
    crm(&mut project)["retry"] = json!({"enabled": false});
    let stage = Stage::on(place, &project);
    stage.people(&People::new(1));
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["rows"]["pending"]), (3, &json!(1)));
    let attempt = &stage.list("attempts", &[])[0];
    assert_eq!(attempt["class"], "timeout_error");
    let took = attempt["duration_ms"].as_u64().unwrap();
    assert!((500..5000).contains(&took), "{took} ms");
}

/// Sends the head of an answer at once, then a byte of its body every tenth of a second, for ever.
struct DrippingServer {
    url: String,
}

impl DrippingServer {
    fn start() -> DrippingServer {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                std::thread::spawn(move || {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
                    while stream.write_all(b" ").is_ok() {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                });
            }
        });
        DrippingServer { url }
    }
}

/// semantics.md 2: a request that timed out may have been taken; the next run sends the row again as what it was.
fn a_row_whose_request_timed_out_after_it_was_taken_is_sent_again_as_the_same_kind(place: Place) {
    // Everything stalls, and everything that stalls was taken.
    let (receiver, held) = keep(Always(Action::status(200)), 1.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["timeout_seconds"] = json!(0.4);
    crm(&mut project)["retry"] = json!({"enabled": false});
    let stage = Stage::on(place, &project);
    let mut people = People::new(5);
    stage.people(&people);
    stage.run_well(&[]);

    // 1 is changed, 2 removed, 6 added, and nobody knows whether it worked.
    receiver.change_script_keeping(&held, Always(Action::Stall));
    people.put(1, 1);
    people.remove(2);
    people.put(6, 0);
    stage.people(&people);
    let expect = json!({"added": 1, "changed": 1, "removed": 1});
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["changes"], &result["rows"]["pending"]), (3, &expect, &json!(3)), "{result:#}");

    // 1 goes back to what was delivered: it is sent all the same. 2 is back: added. 6 is gone: removed.
    people.put(1, 0);
    people.put(2, 0);
    people.remove(6);
    stage.people(&people);
    receiver.change_script_keeping(&held, Always(Action::status(200)));
    let result = stage.run_well(&[]);
    assert_eq!(result["changes"], expect, "{result:#}");
    assert_holds(&held, &people);
    assert_eq!(stage.run_well(&[])["attempts"], 0);
}

/// A way to go on with what a receiver holds under another script.
trait ChangeScriptKeeping {
    fn change_script_keeping(&self, held: &super::stage::Held, script: Always);
}

impl ChangeScriptKeeping for Receiver {
    fn change_script_keeping(&self, held: &super::stage::Held, script: Always) {
        let held = held.clone();
        self.change_script(move |received: &Received| {
            let mut held = held.lock().expect("no receiver panicked");
            held.witness(received);
            held.apply(received);
            script.0.clone()
        });
    }
}

/// semantics.md 13, VX-29: a destination that is not there ends the run, soon and with nothing lost.
#[test]
fn a_destination_that_is_not_there_leaves_all_rows_pending() {
    // A port that was free a moment ago and is closed now.
    let closed = listen(Always(Action::status(200))).url();
    let mut project = project(&closed);
    one_by_one(&mut project);
    crm(&mut project)["retry"] = json!({"max_attempts": 2, "first_delay_seconds": 0.01});
    let stage = Stage::new(&project);
    stage.people(&People::new(4));
    let (status, result) = stage.run(&[]);
    assert_eq!((&result["rows"]["pending"], &result["rows"]["delivered"], status), (&json!(4), &json!(0), 3), "{result:#}");
    let attempts = stage.list("attempts", &[]);
    assert_eq!(attempts.len(), 8);
    assert!(attempts.iter().all(|attempt| attempt["class"] == "network_error" && attempt["status_code"] == Value::Null));
    let id = stage.list("deliveries", &[])[0]["id"].as_str().unwrap().to_owned();
    let shown = stage.penstock(&["deliveries", &id, "--json"]).expect(0).json();
    assert!(shown["attempts"][0]["error"].as_str().is_some_and(|error| error.contains("connect")), "{shown:#}");
}

/// HT-37, HT-39
fn no_more_requests_are_in_flight_than_the_destination_takes(place: Place) {
    let most = Arc::new(AtomicUsize::new(0));
    let peak = most.clone();
    let mut chance = Chance(5);
    let mut ends: Vec<Instant> = Vec::new();
    let receiver = listen(move |_: &Received| {
        let wait = Duration::from_millis(5 + (chance.draw() * 20.0) as u64);
        let now = Instant::now();
        // A request is in flight until its answer's time has come, at least.
        ends.retain(|end| *end > now);
        ends.push(now + wait);
        peak.fetch_max(ends.len(), Ordering::Relaxed);
        Action::Wait(wait, Box::new(Action::status(200)))
    });
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["concurrency"] = json!(5);
    let stage = Stage::on(place, &project);
    stage.people(&People::new(200));
    stage.run_well(&[]);
    assert_eq!((receiver.count(), most.load(Ordering::Relaxed)), (200, 5));
}

/// semantics.md 13: after ten failures in a row nothing more is tried, and the run says so.
#[test]
fn a_destination_that_is_down_for_good_fails_the_run_after_a_few_attempts() {
    let receiver = listen(Always(Action::status(503)));
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["retry"]["max_attempts"] = json!(1);
    let stage = Stage::new(&project);
    stage.people(&People::new(200));
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["status"], &result["rows"]["pending"]), (1, &json!("failed"), &json!(200)), "{result:#}");
    assert!(result["reason"].as_str().is_some_and(|reason| reason.contains("did not answer")), "{result:#}");
    // Ten open the circuit; as many as go at once may be on their way then.
    assert!((10..=17).contains(&receiver.count()), "{}", receiver.count());
    receiver.change_script(Always(Action::status(200)));
    assert_eq!(stage.run_well(&[])["changes"]["added"], 200);
}

/// One destination's trouble is none of another's, also in one command.
#[test]
fn a_destination_that_is_down_does_not_hold_back_another() {
    let (fine, held) = keep(Always(Action::status(200)), 0.0, 1);
    let broken = listen(Always(Action::status(503)));
    let mut project = project(&fine.url());
    project["destinations"]["down"] = crm(&mut project).clone();
    project["destinations"]["down"]["base_url"] = json!(broken.url());
    project["destinations"]["down"]["retry"]["max_attempts"] = json!(1);
    one_by_one(&mut project);
    project["exports"]["other"] = json!({"model": "people", "destination": "down"});
    let stage = Stage::new(&project);
    let people = People::new(300);
    stage.people(&people);
    let ended = stage.penstock(&["run", "other", "news", "--json"]).expect(1);
    let statuses: Vec<_> = ended.objects().iter().map(|result| (result["export"].clone(), result["status"].clone())).collect();
    assert!(
        statuses.contains(&(json!("news"), json!("succeeded"))) && statuses.contains(&(json!("other"), json!("failed"))),
        "{statuses:?}"
    );
    assert_holds(&held, &people);
}
