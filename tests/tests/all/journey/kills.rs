//! `kill -9` at random moments, each followed by a rerun: nothing is lost, and sent again is only what had no recorded answer.

use super::stage::{Held, People, Stage, assert_holds, crm, keep, one_by_one, project};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tests::receiver::{Action, Always, Chance, Receiver, Reply};

/// An answer is on disk 50 ms after it came (semantics.md 9); the rest is for the write itself, on a disk that others use too.
const RECORDED_WITHIN: Duration = Duration::from_millis(50 + 950);
/// In flight at once, as [`project`] has it.
const CONCURRENCY: usize = 8;

/// A receiver, and the time of its clock.
struct Watched {
    receiver: Receiver,
    held: Held,
    since: Instant,
}

/// HT-51, GL-21: single requests.
#[test]
fn ten_kills_among_single_requests_lose_nothing_and_repeat_only_what_was_not_recorded() {
    kills(0x51, 10, |project| {
        one_by_one(project);
    });
}

/// The same with several rows a request, in which a request that was repeated with other rows would show at once.
#[test]
fn ten_kills_among_small_batches_lose_nothing_and_repeat_only_what_was_not_recorded() {
    kills(0x52, 10, |project| {
        project["destinations"]["crm"]["actions"]["add"]["batch"]["size"] = json!(3);
    });
}

fn kills(seed: u64, kills: u32, shape: fn(&mut Value)) {
    let mut chance = Chance(seed);
    let mut answers = Chance(seed + 1);
    let since = Instant::now();
    let slow = move |_: &_| Action::Wait(Duration::from_micros((answers.draw() * 4000.0) as u64), Box::new(Action::status(200)));
    let (receiver, held) = keep(slow, 0.0, seed);
    let mut project = project(&receiver.url());
    shape(&mut project);
    let stage = Stage::new(&project);
    let watched = Watched { receiver, held, since };
    let mut people = People::new(2000);
    let (mut killed_in_time, mut came_again) = (0, 0);
    for kill in 0..kills {
        if kill > 0 {
            edit(&mut people, kill, &mut chance);
        }
        stage.people(&people);
        let before = watched.receiver.count();
        let owed = stage.penstock(&["plan", "news", "--json"]).expect(0).json()["estimate"]["requests"].as_u64().unwrap();
        let killed_at = killed_run(&stage, &watched, before, owed, &mut chance);
        let left = unfinished_run(&stage);
        killed_in_time += u32::from(left.is_some());
        let arrived_before = watched.receiver.count();
        let rerun = stage.run_well(&[]);
        assert_eq!(rerun["resumed"].as_str(), left.as_deref(), "kill {kill}");
        assert_holds(&watched.held, &people);
        came_again += check_repeats(&watched, before, arrived_before, killed_at);
        if let Some(run) = left {
            check_log(&stage, &watched, &run, before);
        }
    }
    assert!(killed_in_time > kills / 2, "only {killed_in_time} of {kills} runs were killed before their end: this shows too little");
    assert!(came_again > 0, "nothing came twice, so no kill met a request that was not recorded: this shows too little");
    assert_eq!(stage.run_well(&[])["attempts"], 0);
}

/// Changes, removes and adds some hundreds of rows.
fn edit(people: &mut People, version: u32, chance: &mut Chance) {
    for id in 1..=2200 {
        match chance.draw() {
            draw if draw < 0.06 => people.remove(id),
            draw if draw < 0.30 => people.put(id, version),
            _ => {}
        }
    }
}

/// A run that is killed somewhere between its start and a moment after its last request. When, on the receiver's clock.
fn killed_run(stage: &Stage, watched: &Watched, before: usize, owed: u64, chance: &mut Chance) -> u64 {
    let running = stage.start(&["run", "news", "--json"]);
    let wanted = before + (chance.draw() * 1.05 * owed as f64) as usize;
    let patience = Instant::now();
    // The last twentieth of the draws waits for requests that never come: there the kill meets the end of a run.
    let enough = before + owed as usize;
    while watched.receiver.count() < wanted.min(enough) {
        assert!(patience.elapsed() < Duration::from_secs(60), "{} of {owed} requests arrived", watched.receiver.count() - before);
        std::thread::sleep(Duration::from_micros(200));
    }
    let spread = if wanted >= enough { 60_000.0 } else { 3_000.0 };
    std::thread::sleep(Duration::from_micros((chance.draw() * spread) as u64));
    let at = watched.since.elapsed().as_micros() as u64;
    running.kill();
    at
}

/// The id of the run that is not finished; looking back works beside and after everything.
fn unfinished_run(stage: &Stage) -> Option<String> {
    let runs = stage.list("runs", &["--export", "news"]);
    let newest = runs.first()?;
    (newest["status"] == "delivering").then(|| newest["run"].as_str().unwrap().to_owned())
}

/// What came twice came under the same key with the same bytes (the receiver sees to that), and was on its way or not recorded yet
/// when the process died. Gives how many they are.
fn check_repeats(watched: &Watched, before: usize, arrived_before: usize, killed_at: u64) -> usize {
    let requests = &watched.receiver.requests()[before..];
    let mut by_key: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for request in requests {
        by_key.entry(request.header("idempotency-key").expect("every request has a key")).or_default().push(request.at);
    }
    let horizon = killed_at.saturating_sub(RECORDED_WITHIN.as_micros() as u64);
    let may_be_lost = requests[..arrived_before - before].iter().filter(|request| request.at >= horizon).count();
    let repeated: Vec<_> = by_key.values().filter(|arrivals| arrivals.len() > 1).collect();
    for arrivals in &repeated {
        assert_eq!(arrivals.len(), 2, "one kill repeats a request once");
        assert!(arrivals[0] >= horizon, "answered {} ms before the kill, and sent again", (killed_at - arrivals[0]) / 1000);
    }
    assert!(repeated.len() <= may_be_lost + CONCURRENCY, "{} requests came again, {may_be_lost} were new enough", repeated.len());
    repeated.len()
}

/// The log has each delivery once: what came twice was not recorded the first time.
fn check_log(stage: &Stage, watched: &Watched, run: &str, before: usize) {
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for request in &watched.receiver.requests()[before..] {
        *arrived.entry(request.header("idempotency-key").unwrap().to_owned()).or_default() += 1;
    }
    for delivery in stage.list("deliveries", &["--run", run]) {
        let logged = delivery["attempts"].as_array().unwrap().len();
        let arrivals = arrived.get(delivery["idempotency_key"].as_str().unwrap()).copied().unwrap_or(0);
        assert_eq!(delivery["status"], "succeeded");
        assert!(logged == 1 && (1..=2).contains(&arrivals), "{arrivals} requests, {logged} of them in the log: {delivery:#}");
    }
}

/// A process that dies while it plans has sent nothing and owes nothing: the next run plans anew.
#[test]
fn a_kill_before_the_first_request_leaves_nothing_behind() {
    let (receiver, held) = keep(|_: &_| Action::status(200), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    let people = People::new(3000);
    stage.people(&people);
    let mut chance = Chance(9);
    for _ in 0..6 {
        let running = stage.start(&["run", "news"]);
        std::thread::sleep(Duration::from_micros((chance.draw() * 60_000.0) as u64));
        running.kill();
    }
    stage.run_well(&[]);
    assert_holds(&held, &people);
    assert_eq!(held.lock().unwrap().members.len(), 3000);
}

/// Ctrl-C: what is on its way is waited for and counts; the next run sends the rest and nothing twice.
#[test]
fn ctrl_c_keeps_what_was_delivered_and_the_next_run_sends_the_rest() {
    let (receiver, held) = keep(|_: &_| Action::Wait(Duration::from_millis(5), Box::new(Action::status(200))), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    let stage = Stage::new(&project);
    let people = People::new(1500);
    stage.people(&people);

    let running = stage.start(&["run", "news", "--json"]);
    let patience = Instant::now();
    while receiver.count() < 200 {
        assert!(patience.elapsed() < Duration::from_secs(60), "{} requests arrived", receiver.count());
        std::thread::sleep(Duration::from_millis(1));
    }
    running.interrupt();
    let ended = running.end().expect(130);
    let first = ended.json();
    assert_eq!((&first["status"], &first["resumed"]), (&json!("canceled"), &Value::Null));
    let delivered = first["rows"]["delivered"].as_u64().unwrap();
    assert_eq!(delivered as usize, receiver.count());
    assert_eq!(first["rows"]["pending"].as_u64().unwrap(), 1500 - delivered);
    assert!((200..1500).contains(&delivered), "{delivered}");

    let second = stage.run_well(&[]);
    assert_eq!(second["resumed"], Value::Null, "a canceled run is over");
    assert_eq!(second["changes"]["added"].as_u64().unwrap(), 1500 - delivered);
    assert_eq!(receiver.count(), 1500);
    assert_holds(&held, &people);
    assert_eq!(held.lock().unwrap().repeated, 0);
}

/// Ctrl-C does not wait for a limit or for Retry-After, and the next run keeps to both as if it were the same one.
#[test]
fn ctrl_c_ends_a_run_that_waits() {
    let limited = (json!({"requests": 1, "per": "hour"}), Action::status(200));
    let asked = (json!("unlimited"), Action::Respond(Reply::new(429, "").with_header("retry-after", 3000)));
    for (limit, answer) in [limited, asked] {
        let (receiver, _) = keep(Always(answer), 0.0, 1);
        let mut project = project(&receiver.url());
        one_by_one(&mut project);
        crm(&mut project)["rate_limit"] = limit;
        crm(&mut project)["concurrency"] = json!(1);
        let stage = Stage::new(&project);
        stage.people(&People::new(5));
        for run in 0..2 {
            let running = stage.start(&["run", "news", "--json"]);
            let patience = Instant::now();
            // The second run finds that it has to wait at once: it is interrupted as soon as it delivers.
            while receiver.count() < 1 || stage.list("runs", &[])[0]["status"] != "delivering" {
                assert!(patience.elapsed() < Duration::from_secs(60), "nothing arrived");
                std::thread::sleep(Duration::from_millis(5));
            }
            let asked = Instant::now();
            running.interrupt();
            let result = running.end().expect(130).json();
            assert!(asked.elapsed() < Duration::from_secs(10), "stopping took {:?}", asked.elapsed());
            assert_eq!((&result["status"], receiver.count()), (&json!("canceled"), 1), "run {run}: {result:#}");
        }
    }
}

/// semantics.md 8, 10: a killed run is finished as it was planned, whatever rows and templates say by now; then the new plan goes.
#[test]
fn a_killed_run_is_finished_as_it_was_planned_before_new_rows_are_sent() {
    let (receiver, held) = keep(|_: &_| Action::Wait(Duration::from_millis(4), Box::new(Action::status(200))), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    let stage = Stage::new(&project);
    let mut people = People::new(600);
    stage.people(&people);
    let running = stage.start(&["run", "news", "--json"]);
    let patience = Instant::now();
    while receiver.count() < 150 {
        assert!(patience.elapsed() < Duration::from_secs(60), "{} requests arrived", receiver.count());
        std::thread::sleep(Duration::from_millis(1));
    }
    running.kill();

    (1..=600).step_by(10).for_each(|id| people.put(id, 1));
    (2..=600).step_by(20).for_each(|id| people.remove(id));
    people.put(601, 0);
    stage.people(&people);
    crm(&mut project)["actions"]["add"]["url"] = json!("/second/members");
    stage.configure(&project);
    let result = stage.run_well(&[]);
    assert!(result["resumed"].is_string(), "{result:#}");
    assert_eq!(result["changes"], json!({"added": 1, "changed": 60, "removed": 30}));
    assert_holds(&held, &people);
    let requests = receiver.requests();
    let second = requests.iter().position(|request| request.path_and_query == "/second/members").unwrap();
    let planned_first = requests[..second].iter().filter(|request| request.path_and_query == "/members").count();
    assert!(planned_first >= 600 && requests[second..].iter().all(|request| request.path_and_query != "/members"), "{planned_first}");
    assert_eq!(requests.len() - second, 91);
}
