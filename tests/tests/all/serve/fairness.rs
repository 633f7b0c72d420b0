//! Many exports to many destinations at once, some of which are in trouble, and a server that is killed in the middle of it. How fast the
//! others are beside being alone is measured in benches/.

use super::server::{Server, no_wish};
use crate::journey::stage::{Held, People, Stage, assert_holds, keep, one_by_one, project};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tests::receiver::{Action, Always, Keeping, Receiver};

/// A port that nobody listens on.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

/// Ten destinations at these addresses, two exports of the same people to each.
fn crowded(urls: &[String]) -> Value {
    let mut one = project("http://127.0.0.1:1");
    one_by_one(&mut one);
    let template = one["destinations"]["crm"].clone();
    let mut project = json!({"destinations": {}, "models": {}, "exports": {}});
    for (number, url) in urls.iter().enumerate() {
        let destination = format!("api-{number}");
        project["destinations"][&destination] = template.clone();
        project["destinations"][&destination]["base_url"] = json!(url);
        project["destinations"][&destination]["rate_limit"] = json!({"requests": 200, "per": "second"});
        project["destinations"][&destination]["concurrency"] = json!(100);
        project["destinations"][&destination]["retry"] =
            json!({"first_delay_seconds": 0.05, "max_delay_seconds": 0.2, "max_attempts": null});
        for half in ["even", "odd"] {
            project["exports"][format!("{half}-{number}")] = json!({"model": half, "destination": destination});
        }
    }
    for half in ["even", "odd"] {
        project["models"][half] = json!({"primary_key": ["id"], "source": {"type": "file", "path": format!("{half}.csv")}});
    }
    project
}

/// Writes the people whose numbers are even and those whose numbers are odd into a file each.
fn write_halves(stage: &Stage, people: &People) {
    for (half, rest) in [("even", 0), ("odd", 1)] {
        let mut own = people.clone();
        own.0.retain(|id, _| id % 2 == rest);
        stage.write(&format!("{half}.csv"), own.csv());
    }
}

#[test]
fn destinations_in_trouble_hold_no_other_back_and_a_killed_server_loses_nothing() {
    let people = People::new(300);
    let down = nobody();
    let mut receivers: Vec<(Receiver, Held)> = (0..8).map(|seed| keep(Always(Action::status(200)), 0.0, seed)).collect();
    receivers.push(keep(Always(Action::Wait(Duration::from_secs(10), Box::new(Action::status(200)))), 0.0, 8));
    let mut urls: Vec<String> = receivers.iter().map(|(receiver, _)| receiver.url()).collect();
    urls.push(format!("http://{down}"));
    let stage = Stage::new(&crowded(&urls));
    write_halves(&stage, &people);
    let server = Server::start(&stage);
    let exports: Vec<String> = (0..10).flat_map(|number| [format!("even-{number}"), format!("odd-{number}")]).collect();
    let runs: Vec<String> = exports.iter().map(|export| server.run(export, no_wish())).collect();
    let all = |from: usize, to: usize| receivers[from..to].iter().map(|(receiver, _)| receiver.count()).sum::<usize>();
    server.until("half of it was sent", || (all(0, 8) > 1200).then_some(()));
    server.kill();

    let server = Server::start(&stage);
    for run in &runs[..16] {
        let run = server.ended(run);
        assert_eq!(run["status"], "succeeded", "{run:#}");
    }
    for (receiver, held) in &receivers[..8] {
        assert_holds(held, &people);
        // Over the crash, too.
        assert!(receiver.max_in_window(Duration::from_secs(1)) <= 200, "{} in a second", receiver.max_in_window(Duration::from_secs(1)));
    }
    let still = |run: &str| server.get(&format!("/v1/runs/{run}"))["status"] == "delivering";
    assert!(still(&runs[18]) && still(&runs[19]), "what is down is waited for");
    server.kill();

    // The one that was down comes back.
    let keeping = Keeping::new(Always(Action::status(200)), 0.0, 9);
    let held = keeping.members.clone();
    let _back = Receiver::start_at(down, keeping);
    receivers[8].0.change_script(Always(Action::status(200)));
    let server = Server::start(&stage);
    for run in &runs {
        let run = server.ended(run);
        assert_eq!(run["status"], "succeeded", "{run:#}");
    }
    assert_holds(&held, &people);
    let again: Vec<String> = exports.iter().map(|export| server.run(export, no_wish())).collect();
    for run in &again {
        assert_eq!(server.ended(run)["deliveries"], json!({"succeeded": 0, "failed": 0}));
    }
}

#[test]
fn runs_that_are_asked_for_in_the_same_moment_all_begin_before_the_minutes_sweep() {
    let receivers: Vec<(Receiver, Held)> = (0..4).map(|seed| keep(Always(Action::status(200)), 0.0, seed)).collect();
    let urls: Vec<String> = receivers.iter().map(|(receiver, _)| receiver.url()).collect();
    let stage = Stage::new(&crowded(&urls));
    write_halves(&stage, &People::new(4));
    let server = Server::start(&stage);
    let begun = Instant::now();
    // Again and again, since what is between two writes of one call is met by chance.
    for _ in 0..10 {
        let runs: Vec<String> = std::thread::scope(|scope| {
            let exports = (0..4).flat_map(|number| [format!("even-{number}"), format!("odd-{number}")]);
            let asked: Vec<_> = exports
                .map(|export| {
                    let server = &server;
                    scope.spawn(move || server.run(&export, json!({"full": true})))
                })
                .collect();
            asked.into_iter().map(|asked| asked.join().expect("it was asked for")).collect()
        });
        for run in &runs {
            assert_eq!(server.ended(run)["status"], "succeeded");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(50), "some run waited for the sweep: {:?}", begun.elapsed());
}
