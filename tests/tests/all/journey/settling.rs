//! What a run leaves in the snapshot: skipped rows, switched-off actions, rows that are given up, partial successes.

use super::stage::{Held, People, Stage, assert_holds, crm, keep, listen, one_by_one, project};
use crate::serve::server::{Place, on_one_machine_and_on_a_stack};
use serde_json::{Value, json};
use tests::receiver::{Action, Always, Receiver, Reply};

on_one_machine_and_on_a_stack!(
    a_first_run_that_skips_sends_nothing_and_later_changes_and_removals_go,
    a_remove_only_export_sends_removals_and_nothing_else,
    only_what_is_switched_on_is_sent_and_counted,
    a_row_that_was_given_up_is_left_alone_until_it_changes,
    a_partial_success_is_sent_again_or_accepted_as_the_export_says,
    a_listed_status_is_success,
    an_export_changes_the_destinations_actions_key_by_key,
);

fn answer(body: &Value) -> Always {
    Always(Action::Respond(Reply::new(200, body.to_string())))
}

/// Ten people at a receiver that takes everything.
fn ten(place: Place, change: impl FnOnce(&mut Value)) -> (Receiver, Held, Stage, People) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    change(&mut project);
    let (stage, people) = (Stage::on(place, &project), People::new(10));
    stage.people(&people);
    (receiver, held, stage, people)
}

/// HT-56, semantics.md 3
fn a_first_run_that_skips_sends_nothing_and_later_changes_and_removals_go(place: Place) {
    let (receiver, _, stage, mut people) = ten(place, |project| project["exports"]["news"]["first_run"] = json!("skip"));
    let first = stage.run_well(&[]);
    assert_eq!((&first["settled"], &first["changes"]["added"], receiver.count()), (&json!(10), &json!(0), 0));
    people.put(1, 1);
    people.remove(2);
    people.put(11, 0);
    stage.people(&people);
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 1, "changed": 1, "removed": 1}));
    assert_eq!(receiver.count(), 3);
}

/// GL-46: a remove-only export takes note of what is there, and removes what goes.
fn a_remove_only_export_sends_removals_and_nothing_else(place: Place) {
    let (receiver, _, stage, mut people) = ten(place, |project| {
        crm(project)["actions"] =
            json!({"add": {"enabled": false}, "remove": {"enabled": true, "method": "DELETE", "url": "/members/{{user.id}}"}});
    });
    let first = stage.run_well(&[]);
    assert_eq!((&first["changes"]["added"], &first["settled"], receiver.count()), (&json!(0), &json!(10), 0));
    people.put(1, 1);
    people.remove(2);
    stage.people(&people);
    let second = stage.run_well(&[]);
    assert_eq!(second["changes"], json!({"added": 0, "changed": 0, "removed": 1}));
    assert_eq!(receiver.requests()[0].path_and_query, "/members/2");
    assert_eq!(receiver.count(), 1);
}

/// GL-45, GL-59, HT-19: add is on, update and remove are off unless they are written, and what is off is not counted.
fn only_what_is_switched_on_is_sent_and_counted(place: Place) {
    let (receiver, held, stage, mut people) = ten(place, |project| {
        let actions = crm(project)["actions"].as_object_mut().unwrap();
        actions.remove("update");
        actions.remove("remove");
    });
    stage.run_well(&[]);
    assert_holds(&held, &people);
    people.put(1, 1);
    people.remove(2);
    people.put(11, 0);
    stage.people(&people);
    let result = stage.run_well(&[]);
    assert_eq!((&result["changes"], &result["settled"]), (&json!({"added": 1, "changed": 0, "removed": 0}), &json!(2)));
    assert_eq!(receiver.count(), 2);
    // 2 was forgotten: when it is back it is new. 1 is as it is.
    people.put(2, 0);
    stage.people(&people);
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 1, "changed": 0, "removed": 0}));
}

/// HT-18
#[test]
fn an_export_without_any_action_is_refused() {
    let (_, _, stage, _) = ten(Place::Machine, |project| crm(project)["actions"] = json!({"add": {"enabled": false, "url": "/members"}}));
    let ended = stage.penstock(&["run", "news"]).expect(2);
    assert!(ended.stderr.contains("exports.news") && ended.stderr.contains("action"), "{}", ended.stderr);
}

/// HT-49: `on_error: give_up` leaves a row alone until it changes.
fn a_row_that_was_given_up_is_left_alone_until_it_changes(place: Place) {
    let receiver = listen(Always(Action::status(500)));
    let mut project = project(&receiver.url());
    project["exports"]["news"]["on_error"] = json!("give_up");
    crm(&mut project)["retry"] = json!({"max_attempts": 2, "first_delay_seconds": 0.01});
    let stage = Stage::on(place, &project);
    let mut people = People::new(10);
    stage.people(&people);
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["rows"]["given_up"], receiver.count()), (3, &json!(10), 2), "{result:#}");

    receiver.change_script(Always(Action::status(200)));
    people.put(3, 1);
    stage.people(&people);
    let second = stage.run_well(&[]);
    assert_eq!(second["changes"], json!({"added": 1, "changed": 0, "removed": 0}), "a row that failed as added is still added");
    assert_eq!(receiver.count(), 3);
    assert_eq!(receiver.requests()[2].json()["users"][0]["id"], "3");
}

/// GL-54 to GL-58, GL-65, GL-66
#[test]
fn success_path_counts_lists_truths_and_numbers() {
    let table = [
        ("records", json!({"records": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}), true),
        ("created", json!({"created": ["a"]}), false),
        ("created", json!({"created": []}), false),
        ("success", json!({"success": true}), true),
        ("success", json!({"success": false}), false),
        ("num_records_imported", json!({"num_records_imported": 10}), true),
        ("num_records_imported", json!({"num_records_imported": 9}), false),
        ("num_records_imported", json!({"num_records_imported": 11}), false),
        ("result.ok", json!({"result": {"ok": "yes"}}), false),
        ("missing", json!({}), false),
    ];
    for (path, body, fine) in table {
        let receiver = listen(answer(&body));
        let mut project = project(&receiver.url());
        crm(&mut project)["actions"]["add"]["success_path"] = json!(path);
        let stage = Stage::new(&project);
        stage.people(&People::new(10));
        let (status, result) = stage.run(&[]);
        let class = &stage.list("attempts", &[])[0]["class"];
        match fine {
            true => assert_eq!((status, class, &result["rows"]["delivered"]), (0, &json!("success"), &json!(10)), "{path} {body}"),
            false => assert_eq!((status, class, &result["rows"]["pending"]), (3, &json!("response_error"), &json!(10)), "{path} {body}"),
        }
    }
}

/// semantics.md 19: with `next_run` all rows of a partial success come again, with `accept` none.
fn a_partial_success_is_sent_again_or_accepted_as_the_export_says(place: Place) {
    for accept in [false, true] {
        let receiver = listen(answer(&json!({"created": 7})));
        let mut project = project(&receiver.url());
        crm(&mut project)["actions"]["add"]["success_path"] = json!("created");
        project["exports"]["news"]["on_partial"] = json!(if accept { "accept" } else { "next_run" });
        let stage = Stage::on(place, &project);
        stage.people(&People::new(10));
        let (status, result) = stage.run(&[]);
        let rows = &result["rows"];
        if accept {
            assert_eq!((status, &rows["delivered"], &rows["rejected"]), (3, &json!(7), &json!(3)), "{result:#}");
            assert_eq!(stage.run_well(&[])["attempts"], 0, "the snapshot takes all");
        } else {
            assert_eq!((status, &rows["delivered"], &rows["pending"]), (3, &json!(0), &json!(10)), "{result:#}");
            receiver.change_script(answer(&json!({"created": 10})));
            assert_eq!(stage.run_well(&[])["changes"], json!({"added": 10, "changed": 0, "removed": 0}));
        }
    }
}

/// Statuses that count as success can be listed for an action; what a removal answers with 404 is removed.
fn a_listed_status_is_success(place: Place) {
    let (receiver, _, stage, mut people) = ten(place, |project| {
        one_by_one(project);
        crm(project)["actions"]["remove"]["success"] = json!(["2xx", "404"]);
        crm(project)["actions"]["add"]["success"] = json!(["201", "409"]);
    });
    receiver.change_script(Always(Action::status(409)));
    stage.run_well(&[]);
    receiver.change_script(Always(Action::status(404)));
    people.remove(4);
    stage.people(&people);
    stage.run_well(&[]);
    receiver.change_script(Always(Action::status(200)));
    people.put(4, 0);
    stage.people(&people);
    // 200 is not among the add's statuses.
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["rows"]["delivered"]), (3, &json!(0)), "{result:#}");
    assert_eq!(stage.list("attempts", &["--class", "response_error"]).len(), 1);
}

/// GL-67, HT-02: only the fields that an export uses make a change, and exports keep their snapshots apart.
#[test]
fn only_the_fields_of_the_export_make_a_change_and_exports_are_apart() {
    let (receiver, _, stage, mut people) = ten(Place::Machine, |project| {
        project["exports"]["news"]["fields"] = json!([{"from": "id"}, {"from": "email"}]);
        project["exports"]["other"] = json!({"model": "people", "destination": "crm", "ignore_in_diff": ["email"]});
    });
    let both = || stage.penstock(&["run", "news", "other", "--json"]).expect(0).objects();
    assert!(both().iter().all(|result| result["changes"]["added"] == 10));
    let changed = |people: &People| {
        stage.people(people);
        let mut changed: Vec<_> =
            both().iter().map(|r| (r["export"].as_str().unwrap().to_owned(), r["changes"]["changed"].clone())).collect();
        changed.sort_by(|a, b| a.0.cmp(&b.0));
        changed.into_iter().map(|(_, count)| count.as_u64().unwrap()).collect::<Vec<_>>()
    };
    people.0.get_mut(&1).unwrap()[1] = "Another name".into();
    assert_eq!(changed(&people), [0, 1]);
    people.0.get_mut(&2).unwrap()[0] = "another@example.com".into();
    assert_eq!(changed(&people), [1, 0]);
    assert_eq!(receiver.count(), 4);
}

/// HT-03, HT-63: an export changes an action key by key; actions can be added later.
fn an_export_changes_the_destinations_actions_key_by_key(place: Place) {
    let (receiver, _, stage, mut people) = ten(place, |project| {
        project["exports"]["news"]["actions"] =
            json!({"add": {"method": "PUT", "batch": {"mode": "batched", "size": 5}}, "update": null, "remove": {"enabled": false}});
    });
    stage.run_well(&[]);
    let requests = receiver.requests();
    assert_eq!((requests.len(), requests[0].method.as_str(), requests[0].path_and_query.as_str()), (2, "PUT", "/members"));
    people.put(1, 1);
    people.remove(2);
    stage.people(&people);
    assert_eq!(stage.run_well(&[])["attempts"], 0);
    let mut later = project(&receiver.url());
    later["exports"]["news"]["actions"] =
        json!({"update": {"method": "PATCH", "url": "/one/{{user.id}}", "body": "{\"was\": \"{{previous.email}}\"}"}});
    stage.configure(&later);
    people.put(1, 2);
    people.remove(3);
    stage.people(&people);
    stage.run_well(&[]);
    let mut lines: Vec<_> = receiver.requests()[2..].iter().map(|r| format!("{} {}", r.method, r.path_and_query)).collect();
    lines.sort();
    assert_eq!(lines, ["DELETE /members/3", "PATCH /one/1"]);
    let patch = receiver.requests().into_iter().find(|request| request.method == "PATCH").unwrap();
    assert_eq!(patch.json(), json!({"was": "p1.1@example.com"}));
}
