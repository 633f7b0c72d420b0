//! Rate limits as the receiver sees them: never more than the limit in any window, whoever sends, and whatever dies in between.

use super::stage::{People, Stage, assert_holds, crm, keep, one_by_one, project};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::receiver::{Action, Chance, Received, Receiver};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Answers after up to `most`, so that requests arrive as unevenly as networks make them.
fn slow(most: Duration, seed: u64) -> impl FnMut(&Received) -> Action + Send + 'static {
    let mut chance = Chance(seed);
    move |_| Action::Wait(most.mul_f64(chance.draw()), Box::new(Action::status(200)))
}

fn wait_for(receiver: &Receiver, count: usize) {
    let patience = Instant::now();
    while receiver.count() < count {
        assert!(patience.elapsed() < 2 * MINUTE, "{} of {count} requests arrived", receiver.count());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Two exports of one model to one destination, each with an address of its own.
fn two_exports(project: &mut Value) {
    project["exports"]["other"] = json!({"model": "people", "destination": "crm", "actions": {"add": {"url": "/other"}}});
}

/// GL-22, HT-36, HT-39, HT-40: a hundred a second, for one export, for two of them, and over a kill and its rerun.
#[test]
fn a_hundred_a_second_is_never_exceeded_by_two_exports_a_kill_and_a_rerun() {
    let (receiver, held) = keep(slow(Duration::from_millis(60), 1), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    two_exports(&mut project);
    crm(&mut project)["rate_limit"] = json!({"requests": 100, "per": "second"});
    crm(&mut project)["concurrency"] = json!(40);
    let stage = Stage::new(&project);
    let people = People::new(200);
    stage.people(&people);

    let began = Instant::now();
    let running = stage.start(&["run", "news", "other", "--json"]);
    wait_for(&receiver, 150);
    running.kill();
    let ended = stage.penstock(&["run", "news", "other", "--json"]).expect(0);
    let took = began.elapsed();
    // Their turns alternate.
    let requests = receiver.requests();
    let first_half = requests[..100].iter().filter(|request| request.path_and_query == "/other").count();
    assert!((30..=70).contains(&first_half), "of the first 100 requests {first_half} were the second export's");
    assert!(ended.objects().iter().all(|result| result["status"] == "succeeded" && result["resumed"].is_string()), "{}", ended.stdout);
    assert_holds(&held, &people);
    assert_eq!(held.lock().unwrap().violations, Vec::<String>::new());

    let arrived = receiver.count();
    assert!((400..=450).contains(&arrived), "{arrived}");
    let most = receiver.max_in_window(SECOND);
    assert!((60..=100).contains(&most), "{most} requests arrived in one second, of 100 allowed");
    // The kill costs a window at most; starting twice takes its time too.
    assert!(took < Duration::from_secs(40), "400 requests at 100 a second took {took:?}");
}

/// GL-22 to GL-24: several limits hold at once, and a minute's holds over its end, over a kill and over runs.
#[test]
fn a_minutes_limit_holds_beyond_its_minute_with_two_exports_a_kill_and_reruns() {
    let (receiver, held) = keep(slow(Duration::from_millis(20), 2), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    two_exports(&mut project);
    crm(&mut project)["rate_limit"] = json!([{"requests": 50, "per": "second"}, {"requests": 120, "per": "minute", "burst": 120}]);
    let stage = Stage::new(&project);
    let people = People::new(70);
    stage.people(&people);

    let running = stage.start(&["run", "news", "other", "--json"]);
    wait_for(&receiver, 60);
    running.kill();
    // What is left of the minute, then the rest when its permits come back.
    stage.penstock(&["run", "news", "other", "--json"]).expect(0);
    assert_holds(&held, &people);
    let requests = receiver.requests();
    assert!((140..=160).contains(&requests.len()), "{}", requests.len());
    let (in_second, in_minute) = (receiver.max_in_window(SECOND), receiver.max_in_window(MINUTE));
    assert!(in_second <= 50, "{in_second} requests arrived in one second, of 50 allowed");
    assert!(in_minute <= 120, "{in_minute} requests arrived in one minute, of 120 allowed");
    assert!(in_minute >= 80, "only {in_minute} requests arrived in one minute, of 120 allowed: the minute's limit was not what bound");
    // The last ones had to wait until the minute was over.
    let span = requests.last().unwrap().at - requests[0].at;
    assert!(span >= 59_900_000, "all arrived within {} ms", span / 1000);
}

/// GL-23, HT-40: 600 a minute are sent one every tenth of a second, not 600 at once, also from one run to the next.
#[test]
fn six_hundred_a_minute_are_spread_over_the_minute() {
    let (receiver, held) = keep(slow(Duration::from_millis(5), 3), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["rate_limit"] = json!({"requests": 600, "per": "minute"});
    let stage = Stage::new(&project);
    for count in [25, 50] {
        stage.people(&People::new(count));
        stage.run_well(&[]);
    }
    assert_holds(&held, &People::new(50));
    let most = receiver.max_in_window(SECOND);
    assert!(most <= 14, "{most} requests arrived in one second, at ten a second");
    let requests = receiver.requests();
    let span = requests[24].at - requests[0].at;
    assert!((2_300_000..8_000_000).contains(&span), "25 requests at ten a second took {} ms", span / 1000);
}

/// GL-23, GL-24: 3600 an hour come evenly, about one a second.
#[test]
fn thirty_six_hundred_an_hour_come_about_one_a_second() {
    let (receiver, _) = keep(slow(Duration::from_millis(5), 4), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["rate_limit"] = json!({"requests": 3600, "per": "hour"});
    let stage = Stage::new(&project);
    stage.people(&People::new(10));
    stage.run_well(&[]);
    let at: Vec<u64> = receiver.requests().iter().map(|request| request.at).collect();
    assert_eq!(at.len(), 10);
    for pair in at.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((900_000..3_000_000).contains(&gap), "two requests came {} ms apart", gap / 1000);
    }
    let span = at[9] - at[0];
    assert!((8_900_000..15_000_000).contains(&span), "ten requests took {} ms", span / 1000);
}

/// GL-25, GL-26: the plan says what a limit costs before anything is sent.
#[test]
fn the_plan_says_how_long_the_limits_make_it() {
    let (receiver, _) = keep(slow(Duration::ZERO, 5), 0.0, 1);
    for (limit, least, most) in [
        (json!({"requests": 360, "per": "hour"}), 980.0, 1010.0),
        (json!({"requests": 60, "per": "hour"}), 5900.0, 6010.0),
        (json!("unlimited"), 0.0, 1.0),
    ] {
        let mut project = project(&receiver.url());
        one_by_one(&mut project);
        crm(&mut project)["rate_limit"] = limit;
        let stage = Stage::new(&project);
        stage.people(&People::new(100));
        let estimate = stage.penstock(&["plan", "news", "--json"]).expect(0).json()["estimate"].clone();
        let seconds = estimate["seconds"].as_f64().unwrap();
        assert!(estimate["requests"] == 100 && seconds >= least && seconds <= most, "{estimate}");
    }
    assert_eq!(receiver.connections(), 0);
}
