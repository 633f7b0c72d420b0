//! The main road: a first run, a second one that has nothing to do, and edits.

use super::stage::{People, Stage, assert_holds, assert_says, keep, one_by_one, project};
use crate::serve::server::{Place, on_one_machine_and_on_a_stack};
use serde_json::{Value, json};
use tests::receiver::{Action, Always, Receiver};

on_one_machine_and_on_a_stack!(
    a_first_run_sends_all_a_second_one_nothing_and_a_third_one_what_was_edited,
    a_row_that_comes_back_is_added_again,
    a_request_on_the_wire_has_the_headers_it_needs,
);

/// `method path` of what arrived from a place on.
fn lines(receiver: &Receiver, from: usize) -> Vec<String> {
    let mut lines: Vec<_> = receiver.requests()[from..].iter().map(|r| format!("{} {}", r.method, r.path_and_query)).collect();
    lines.sort();
    lines
}

/// GL-02, GL-03, GL-44, GL-52, GL-58 to GL-60, GL-67, HT-01 to HT-04, HT-17, HT-19, HT-20, HT-55
fn a_first_run_sends_all_a_second_one_nothing_and_a_third_one_what_was_edited(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::on(place, &project(&receiver.url()));
    let mut people = People::new(345);
    stage.people(&people);

    let first = stage.run_well(&[]);
    assert_eq!(first["changes"], json!({"added": 345, "changed": 0, "removed": 0}));
    assert_eq!(first["rows"], json!({"delivered": 345, "rejected": 0, "invalid": 0, "pending": 0, "given_up": 0}));
    assert_eq!((&first["deliveries"], &first["attempts"]), (&json!({"succeeded": 35, "failed": 0}), &json!(35)));
    assert_eq!(first["resumed"], Value::Null);
    assert_eq!(receiver.count(), 35);
    assert_holds(&held, &people);

    let second = stage.run_well(&[]);
    assert_eq!((&second["changes"]["added"], &second["attempts"]), (&json!(0), &json!(0)));
    assert_eq!(receiver.count(), 35);

    people.put(1000, 0);
    people.put(17, 1);
    people.remove(200);
    stage.people(&people);
    let third = stage.run_well(&[]);
    assert_eq!(third["changes"], json!({"added": 1, "changed": 1, "removed": 1}));
    assert_eq!(lines(&receiver, 35), ["DELETE /members/200", "POST /members", "POST /members"]);
    assert_holds(&held, &people);

    // The same rows written again, in another order and with other line ends, are no change.
    let mut shuffled: Vec<_> = people.csv().lines().skip(1).map(str::to_owned).collect();
    shuffled.reverse();
    stage.write("people.csv", format!("\u{feff}id,email,name\r\n{}\r\n", shuffled.join("\r\n")));
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 0, "changed": 0, "removed": 0}));
    assert_eq!(receiver.count(), 38);
    assert_holds(&held, &people);
}

/// HT-51, GL-51: a row that is added, removed and added again comes again, under another key.
fn a_row_that_comes_back_is_added_again(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    let stage = Stage::on(place, &project);
    let mut people = People::new(20);
    for step in 0..3 {
        if step == 1 {
            people.remove(7)
        } else {
            people.put(7, 0)
        }
        stage.people(&people);
        stage.run_well(&[]);
        assert_holds(&held, &people);
    }
    let requests = receiver.requests();
    let of_seven = requests.iter().filter(|r| r.path_and_query.ends_with("/7") || r.json()["id"] == "7");
    let mut keys: Vec<_> = of_seven.map(|r| r.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!((requests.len(), keys.len()), (22, 3));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

/// The same rows are the same rows, however they are written: packed, in several files, in another format.
#[test]
fn the_same_rows_are_no_change_in_whatever_files_they_lie() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    let stage = Stage::new(&project);
    let mut people = People::new(120);
    stage.people(&people);
    stage.run_well(&[]);
    let sent = receiver.count();
    std::fs::create_dir(stage.path("parts")).unwrap();
    let lay_out = |people: &People| {
        let csv = people.csv();
        let lines: Vec<&str> = csv.lines().skip(1).collect();
        let part = |lines: &[&str]| format!("id,email,name\n{}\n", lines.join("\n"));
        stage.write("parts/1.csv", part(&lines[..40]));
        stage.write("parts/2.csv.zst", zstd::encode_all(part(&lines[40..]).as_bytes(), 3).unwrap());
        stage.write("people.csv.zst", zstd::encode_all(csv.as_bytes(), 3).unwrap());
        let objects: String = people.members().values().map(|member| format!("{member}\n")).collect();
        stage.write("people.ndjson", objects);
    };
    lay_out(&people);
    for path in ["people.csv.zst", "parts", "parts/*", "people.ndjson"] {
        project["models"]["people"]["source"]["path"] = json!(path);
        stage.configure(&project);
        let result = stage.run_well(&[]);
        assert_eq!(result["changes"], json!({"added": 0, "changed": 0, "removed": 0}), "{path}");
        let id = 1 + path.len() as u32;
        people.put(id, 7);
        lay_out(&people);
        assert_eq!(stage.run_well(&[])["changes"], json!({"added": 0, "changed": 1, "removed": 0}), "{path}");
        assert_holds(&held, &people);
    }
    assert_eq!(receiver.count(), sent + 4);
}

/// GL-15, HT-05, GL-58: requests carry what HTTP and the project ask for, and no more than that.
fn a_request_on_the_wire_has_the_headers_it_needs(place: Place) {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::on(place, &project(&receiver.url()));
    stage.people(&People::new(1));
    stage.run_well(&[]);
    let request = &receiver.requests()[0];
    let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "accept").collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "host", "idempotency-key", "user-agent"]);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_says(request.header("user-agent").unwrap(), &["penstock/"]);
}

/// The starter project is written, is valid, and says what to do; nothing that is there is overwritten.
#[test]
fn the_starter_project_is_valid_and_is_never_written_over_another() {
    let stage = Stage::new(&json!({}));
    stage.penstock(&["init", "fresh"]).expect(0);
    stage.penstock(&["validate", "--project", "fresh/penstock.yaml"]).expect(0);
    let plan = stage.penstock(&["plan", "newsletter", "--project", "fresh/penstock.yaml", "--json"]).expect(0).json();
    assert!(plan["changes"]["added"].as_u64().unwrap() > 0, "{plan}");
    stage.write("fresh/penstock.yaml", "mine");
    let again = stage.penstock(&["init", "fresh"]);
    assert_ne!(again.status, 0);
    assert_says(&again.stderr, &["penstock.yaml"]);
    assert_eq!(std::fs::read_to_string(stage.path("fresh/penstock.yaml")).unwrap(), "mine");
}
