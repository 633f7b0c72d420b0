//! Plans that wait for a person, and the ways past them: `--approve`, `--adopt`, `--full`.

use super::stage::{People, Stage, assert_holds, assert_says, keep, project};
use crate::serve::server::{Place, on_one_machine_and_on_a_stack};
use serde_json::{Value, json};
use tests::receiver::{Action, Always};

on_one_machine_and_on_a_stack!(
    a_mass_removal_is_held_until_it_is_approved,
    fewer_than_ten_removals_go_and_removing_everything_never_does,
    a_run_with_too_many_invalid_rows_is_held,
    changed_fields_hold_the_plan_with_the_count_of_what_would_be_sent_again,
    a_held_plan_is_forgotten_when_the_rows_are_back,
    full_sends_all_present_rows_again_and_removes_what_is_gone,
    rows_that_are_adopted_are_not_sent_and_their_changes_are,
);

/// Whether a run is held, says why, and sends nothing. Gives the result.
#[track_caller]
fn assert_held(stage: &Stage, sent: impl Fn() -> usize, parts: &[&str]) -> Value {
    let before = sent();
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["status"], &result["attempts"]), (4, &json!("held"), &json!(0)), "{result:#}");
    assert_says(result["reason"].as_str().unwrap(), parts);
    assert_eq!(sent(), before);
    if stage.is_machine() {
        let shown = stage.penstock(&["run", "news"]).expect(4);
        assert_says(&shown.stdout, parts);
        stage.penstock(&["plan", "news"]).expect(4);
        assert_eq!(sent(), before);
    }
    result
}

/// semantics.md 6: a third of the rows gone is more likely a broken file than a fact.
fn a_mass_removal_is_held_until_it_is_approved(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::on(place, &project(&receiver.url()));
    let mut people = People::new(40);
    stage.people(&people);
    stage.run_well(&[]);
    (1..=13).for_each(|id| people.remove(id));
    people.put(41, 0);
    stage.people(&people);
    let result = assert_held(&stage, || receiver.count(), &["13 of 40 rows", "max_removed_percent", "30", "--approve"]);
    assert_eq!(result["changes"], json!({"added": 1, "changed": 0, "removed": 13}));
    assert_eq!(stage.list("runs", &[])[0]["status"], "held");
    // The whole plan was held, the addition too; approved, all of it goes.
    assert_eq!(stage.run_well(&["--approve"])["changes"], result["changes"]);
    assert_holds(&held, &people);
}

fn fewer_than_ten_removals_go_and_removing_everything_never_does(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    project["exports"]["news"]["guard"] = json!({"max_removed_percent": 100, "max_removed": 12});
    let stage = Stage::on(place, &project);
    let mut people = People::new(40);
    stage.people(&people);
    stage.run_well(&[]);
    (1..=12).for_each(|id| people.remove(id));
    stage.people(&people);
    stage.run_well(&[]);
    // Thirteen are one more than the absolute number allows.
    (13..=25).for_each(|id| people.remove(id));
    stage.people(&people);
    assert_held(&stage, || receiver.count(), &["13 rows", "max_removed allows 12"]);
    stage.run_well(&["--approve"]);
    (26..=34).for_each(|id| people.remove(id));
    stage.people(&people);
    stage.run_well(&[]);
    assert_holds(&held, &people);
    // Six are left, which is below ten, but they are all there are.
    stage.people(&People::default());
    assert_held(&stage, || receiver.count(), &["all 6 rows"]);
    stage.run_well(&["--approve"]);
    assert_holds(&held, &People::default());
}

fn a_run_with_too_many_invalid_rows_is_held(place: Place) {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::on(place, &project(&receiver.url()));
    let mut csv = People::new(80).csv();
    (0..10).for_each(|_| csv += ",nobody,Nobody\n");
    stage.write("people.csv", &csv);
    assert_held(&stage, || receiver.count(), &["10 of 90 rows are invalid", "max_invalid_percent"]);
    assert_eq!(stage.run(&["--approve"]).0, 3);
    assert_eq!(receiver.count(), 8);
}

/// semantics.md 5: other fields make every row look changed; a person decides whether all are sent again.
fn changed_fields_hold_the_plan_with_the_count_of_what_would_be_sent_again(place: Place) {
    for adopt in [true, false] {
        let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
        let mut project = project(&receiver.url());
        project["exports"]["news"]["fields"] = json!([{"from": "id"}, {"from": "email"}]);
        let stage = Stage::on(place, &project);
        let mut people = People::new(25);
        stage.people(&people);
        stage.run_well(&[]);
        let sent = receiver.count();
        project["exports"]["news"]["fields"] = json!([{"from": "id"}, {"from": "email"}, {"from": "name"}]);
        stage.configure(&project);
        assert_held(&stage, || receiver.count(), &["fields", "25 rows", "--approve", "--adopt"]);
        if adopt {
            let result = stage.run_well(&["--adopt"]);
            assert_eq!((&result["attempts"], &result["settled"]), (&json!(0), &json!(25)));
            assert_eq!(receiver.count(), sent);
            assert_eq!(held.lock().unwrap().members["3"]["name"], "");
        } else {
            assert_eq!(stage.run_well(&["--approve"])["changes"], json!({"added": 0, "changed": 25, "removed": 0}));
            assert_holds(&held, &people);
        }
        let sent = receiver.count();
        assert_eq!(stage.run_well(&[])["attempts"], 0);
        // From here on a change of the new field is a change.
        people.0.get_mut(&3).unwrap()[1] = "Renamed".into();
        stage.people(&people);
        stage.run_well(&[]);
        assert_eq!(receiver.count(), sent + 1);
        assert_eq!(held.lock().unwrap().members["3"]["name"], "Renamed");
    }
}

/// A hold that nobody approved goes away by itself when what caused it does.
fn a_held_plan_is_forgotten_when_the_rows_are_back(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::on(place, &project(&receiver.url()));
    let mut people = People::new(40);
    stage.people(&people);
    stage.run_well(&[]);
    stage.people(&People::new(5));
    assert_held(&stage, || receiver.count(), &["35 of 40"]);
    people.put(2, 1);
    stage.people(&people);
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 0, "changed": 1, "removed": 0}));
    assert_holds(&held, &people);
}

/// semantics.md 5: `--full` sends every present row as new and still removes what is gone.
fn full_sends_all_present_rows_again_and_removes_what_is_gone(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::on(place, &project(&receiver.url()));
    let mut people = People::new(30);
    stage.people(&people);
    stage.run_well(&[]);
    // The receiver lost its members.
    held.lock().unwrap().members.clear();
    people.remove(30);
    stage.people(&people);
    let result = stage.run_well(&["--full"]);
    assert_eq!(result["changes"], json!({"added": 29, "changed": 0, "removed": 1}));
    assert_holds(&held, &people);
    // Also when nothing has changed at all.
    let result = stage.run_well(&["--full"]);
    assert_eq!(result["changes"], json!({"added": 29, "changed": 0, "removed": 0}));
    assert_eq!(stage.run_well(&[])["attempts"], 0);
}

/// `--adopt` on a first run: the rows are there already; what changes from now on is sent.
fn rows_that_are_adopted_are_not_sent_and_their_changes_are(place: Place) {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::on(place, &project(&receiver.url()));
    let mut people = People::new(30);
    stage.people(&people);
    assert_eq!(stage.run_well(&["--adopt"])["settled"], 30);
    people.put(1, 1);
    people.remove(2);
    stage.people(&people);
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 0, "changed": 1, "removed": 1}));
    assert_eq!(receiver.count(), 2);
}
