//! Input that is wrong as a whole: a clear error that names the place, the right exit status, and nothing sent.

use super::stage::{People, Stage, assert_holds, assert_says, crm, keep, listen, project};
use crate::serve::server::{Place, on_one_machine_and_on_a_stack};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::receiver::{Action, Always, Receiver};

on_one_machine_and_on_a_stack!(
    a_missing_file_is_named,
    a_column_that_is_not_there_is_named_with_those_that_are,
    a_torn_file_stops_the_run_before_anything_is_sent,
);

/// A stage whose project was changed by `wrong`, with ten people.
fn stage(receiver: &Receiver, wrong: impl FnOnce(&mut Value)) -> Stage {
    stage_on(Place::Machine, receiver, wrong)
}

fn stage_on(place: Place, receiver: &Receiver, wrong: impl FnOnce(&mut Value)) -> Stage {
    let mut project = project(&receiver.url());
    wrong(&mut project);
    let stage = Stage::on(place, &project);
    stage.people(&People::new(10));
    stage
}

/// Whether a run, for people and with `--json`, ends so, says all of this, and sends nothing. On a stack a run is asked for and ends.
#[track_caller]
fn assert_refused(stage: &Stage, receiver: &Receiver, words: &[&str], status: i32, parts: &[&str]) {
    if !stage.is_machine() {
        let (status, run) = stage.run(&[]);
        assert_eq!((status, &run["status"], receiver.connections()), (1, &json!("failed"), 0), "{run:#}");
        return assert_says(run["reason"].as_str().expect("it says why"), parts);
    }
    let plain = stage.penstock(words).expect(status);
    assert_says(&plain.stderr, parts);
    assert_says(&plain.stderr, &["penstock: "]);
    let json = stage.penstock(&[words, &["--json"]].concat()).expect(status).json();
    let error = json["error"].as_str().unwrap_or_else(|| panic!("no error in {json}"));
    parts.iter().for_each(|part| assert!(error.contains(part), "`{part}` is not said in: {error}"));
    assert_eq!(receiver.connections(), 0);
}

fn a_missing_file_is_named(place: Place) {
    let receiver = listen(Always(Action::status(200)));
    let stage = stage_on(place, &receiver, |_| {});
    std::fs::remove_file(stage.path("people.csv")).unwrap();
    assert_refused(&stage, &receiver, &["run", "news"], 1, &["people.csv"]);
}

fn a_column_that_is_not_there_is_named_with_those_that_are(place: Place) {
    let receiver = listen(Always(Action::status(200)));
    let in_fields = |project: &mut Value| project["exports"]["news"]["fields"] = json!([{"from": "id"}, {"from": "e_mail", "to": "email"}]);
    assert_refused(&stage_on(place, &receiver, in_fields), &receiver, &["run", "news"], 2, &["e_mail", "email"]);
    let in_key = |project: &mut Value| project["models"]["people"]["primary_key"] = json!(["uid"]);
    assert_refused(&stage_on(place, &receiver, in_key), &receiver, &["run", "news"], 2, &["uid"]);
    let validated = stage(&receiver, in_fields).penstock(&["validate"]).expect(2);
    assert_says(&validated.stderr, &["exports.news.fields", "e_mail", "email"]);
}

#[test]
fn a_template_that_does_not_parse_is_named_with_its_place() {
    let receiver = listen(Always(Action::status(200)));
    let broken = |project: &mut Value| crm(project)["actions"]["add"]["body"] = json!("{\"users\": [{{#each users}}{\"id\": \"{{id}}\"}]}");
    assert_refused(&stage(&receiver, broken), &receiver, &["run", "news"], 2, &["actions.add.body", "each"]);
    let url = |project: &mut Value| crm(project)["actions"]["remove"]["url"] = json!("/members/{{user.id");
    assert_refused(&stage(&receiver, url), &receiver, &["run", "news"], 2, &["actions.remove.url"]);
}

/// HT-18 and every other problem of a project file, all at once, each with its path.
#[test]
fn every_problem_of_a_project_is_listed_at_once() {
    let receiver = listen(Always(Action::status(200)));
    let wrong = |project: &mut Value| {
        crm(project)["timeout_second"] = json!(30);
        crm(project)["actions"]["add"]["method"] = json!("FETCH");
        project["exports"]["news"]["model"] = json!("peeple");
    };
    let stage = stage(&receiver, wrong);
    let parts = ["destinations.crm.timeout_second", "timeout_seconds", "FETCH", "exports.news.model", "peeple"];
    assert_refused(&stage, &receiver, &["run", "news"], 2, &parts);
    let json = stage.penstock(&["validate", "--json"]).expect(2).json();
    assert!(json["problems"].as_array().is_some_and(|problems| problems.len() >= 3), "{json:#}");
}

#[test]
fn an_unknown_export_or_project_is_named_with_those_that_are_there() {
    let receiver = listen(Always(Action::status(200)));
    let stage = stage(&receiver, |_| {});
    assert_refused(&stage, &receiver, &["run", "nws"], 2, &["nws", "news"]);
    assert_refused(&stage, &receiver, &["run", "news", "--project", "other.yaml"], 2, &["other.yaml"]);
    let usage = stage.penstock(&["run"]).expect(2);
    assert_says(&usage.stderr, &["EXPORT"]);
    stage.penstock(&["run", "news", "--never"]).expect(2);
}

/// A file that cannot be read to its end stops the run before anything is sent, however much of it was fine.
fn a_torn_file_stops_the_run_before_anything_is_sent(place: Place) {
    let receiver = listen(Always(Action::status(200)));
    let csv = People::new(500).csv();
    let stage = stage_on(place, &receiver, |_| {});
    // The last line has no line feed and too few cells.
    stage.write("people.csv", format!("{csv}501,someone"));
    assert_refused(&stage, &receiver, &["run", "news"], 1, &["people.csv", "line 502"]);
    // A quoted cell that never ends.
    stage.write("people.csv", format!("{csv}501,x,\"never closed\n"));
    assert_refused(&stage, &receiver, &["run", "news"], 1, &["people.csv", "line 502"]);

    let other = |path: &str| {
        let mut project = project(&receiver.url());
        project["models"]["people"]["source"]["path"] = json!(path);
        stage.configure(&project);
    };
    other("people.ndjson");
    stage.write("people.ndjson", "{\"id\":1,\"email\":\"a\",\"name\":\"b\"}\n{\"id\":2,\"ema");
    assert_refused(&stage, &receiver, &["run", "news"], 1, &["people.ndjson", "line 2"]);

    other("people.csv.gz");
    let whole = gzip(csv.as_bytes());
    stage.write("people.csv.gz", &whole[..whole.len() - 9]);
    assert_refused(&stage, &receiver, &["run", "news"], 1, &["people.csv.gz"]);
    let mut damaged = whole.clone();
    let place = damaged.len() - 6;
    damaged[place] ^= 1;
    stage.write("people.csv.gz", &damaged);
    assert_refused(&stage, &receiver, &["run", "news"], 1, &["people.csv.gz"]);
    stage.write("people.csv.gz", &whole);
    stage.run_well(&[]);

    other("people.parquet");
    stage.write("people.parquet", "PAR1 and then nothing of the kind");
    let (status, ended) = stage.run(&[]);
    assert_eq!(status, 1, "{ended:#}");
    assert_says(ended["error"].as_str().expect("it says why"), &["people.parquet"]);
}

/// As `gzip -0` has it: one stored block a 65,535 bytes, and the checksum.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks: Vec<&[u8]> = plain.chunks(65_535).collect();
    for (number, block) in blocks.iter().enumerate() {
        let length = block.len() as u16;
        out.push(u8::from(number + 1 == blocks.len()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(*block);
    }
    let checksum = plain.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 })
    });
    out.extend((!checksum).to_le_bytes());
    out.extend((plain.len() as u32).to_le_bytes());
    out
}

/// Private addresses are refused unless the operator says otherwise; a range allows what lies in it and nothing else.
#[test]
fn a_private_address_is_refused_unless_it_is_allowed() {
    let receiver = listen(Always(Action::status(200)));
    let stage = stage(&receiver, |_| {});
    let words = |more: &[&str]| [&["--json", "run", "news"], more].concat().iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let run = |more: &[&str]| {
        let words = words(more);
        stage.penstock(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let port = receiver.address().port();
    for more in [
        vec![],
        vec!["--allow-range".to_owned(), "10.0.0.0/8".to_owned()],
        vec!["--allow-range".to_owned(), format!("127.0.0.1/32:{}", port ^ 1)],
    ] {
        let ended = run(&more.iter().map(String::as_str).collect::<Vec<_>>()).expect(3);
        assert_eq!(ended.json()["rows"]["pending"], 10);
        assert_eq!(receiver.connections(), 0);
    }
    let attempts = stage.list("attempts", &[]);
    assert!(!attempts.is_empty() && attempts.iter().all(|attempt| attempt["class"] == "policy_error"), "{attempts:#?}");
    run(&["--allow-range", &format!("127.0.0.1/32:{port}")]).expect(0);
    assert_eq!(receiver.count(), 1);
    assert_says(&run(&["--allow-range", "loopback"]).expect(2).stdout, &["--allow-range", "loopback"]);
}

/// A second process that delivers from the same data directory is told who holds it; looking back and planning work beside.
#[test]
fn a_second_delivering_process_is_told_who_holds_the_data_directory() {
    let (receiver, held) = keep(Always(Action::Wait(Duration::from_secs(2), Box::new(Action::status(200)))), 0.0, 1);
    let stage = stage(&receiver, |_| {});
    let first = stage.start(&["run", "news", "--json"]);
    let patience = Instant::now();
    while receiver.count() == 0 {
        assert!(patience.elapsed() < Duration::from_secs(60), "nothing arrived");
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = stage.penstock(&["run", "news"]).expect(1);
    assert_says(&second.stderr, &[&first.id().to_string(), "penstock run news", "wait for its end"]);
    let again = stage.penstock(&["redeliver", "--export", "news", "--status", "succeeded", "--yes"]);
    assert!(again.status == 0 || again.stderr.contains(&first.id().to_string()), "{again:?}");
    assert_eq!(stage.list("runs", &[])[0]["status"], "delivering");
    stage.penstock(&["plan", "news"]).expect(0);
    assert_eq!(first.end().expect(0).json()["status"], "succeeded");
    assert_eq!(receiver.count(), 1);
    assert_holds(&held, &People::new(10));
}

/// The same at the very first start, when the data directory is not there yet: one delivers, the others are told so or find nothing to do.
#[test]
fn processes_that_start_at_once_deliver_once() {
    let (receiver, held) = keep(Always(Action::Wait(Duration::from_millis(300), Box::new(Action::status(200)))), 0.0, 1);
    let stage = stage(&receiver, |_| {});
    let started: Vec<_> = (0..4).map(|_| stage.start(&["run", "news", "--json"])).collect();
    let ended: Vec<_> = started.into_iter().map(super::stage::Running::end).collect();
    assert!(ended.iter().any(|ended| ended.status == 0), "{ended:#?}");
    for ended in &ended {
        match ended.status {
            0 => assert_eq!(ended.json()["status"], "succeeded"),
            1 => assert_says(ended.json()["error"].as_str().unwrap(), &["wait for its end"]),
            _ => panic!("{ended:#?}"),
        }
    }
    assert_eq!(receiver.count(), 1);
    assert_holds(&held, &People::new(10));
}

/// A data directory that belongs to something else is left alone.
#[test]
fn a_folder_that_is_no_data_directory_is_left_alone() {
    let receiver = listen(Always(Action::status(200)));
    let stage = stage(&receiver, |_| {});
    std::fs::create_dir(stage.path("mine")).unwrap();
    stage.write("mine/letters.txt", "private");
    assert_refused(&stage, &receiver, &["run", "news", "--data-dir", "mine"], 1, &["mine", "letters.txt"]);
    assert_eq!(std::fs::read_dir(stage.path("mine")).unwrap().count(), 1);
}
