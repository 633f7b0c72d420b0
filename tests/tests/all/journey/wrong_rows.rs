//! Rows that are wrong: they are listed with their place and the reason, and everything else goes on.

use super::stage::{Stage, assert_says, crm, keep, one_by_one, project};
use crate::serve::server::{Place, on_one_machine_and_on_a_stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tests::receiver::{Action, Always};

on_one_machine_and_on_a_stack!(
    ndjson_rows_are_as_invalid_as_csv_rows,
    one_bad_row_does_not_hold_back_its_batch,
    a_missing_variable_is_an_error_in_urls_and_headers_and_empty_in_bodies,
);

/// `place: reason` of each invalid row of a result.
fn listed(result: &Value) -> Vec<String> {
    let rows = result["invalid_rows"].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().map(|row| format!("{}: {}", row["place"].as_str().unwrap(), row["reason"].as_str().unwrap())).collect()
}

fn delivered(held: &super::stage::Held) -> BTreeSet<String> {
    held.lock().unwrap().members.keys().cloned().collect()
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// The body of a row whose `extra` is put into it raw; what is not JSON there breaks it.
const RAW: &str = r#"{"users": [{{#each users}}{"id": "{{id}}", "extra": {{{extra}}}},{{/each}}]}"#;

#[test]
fn a_null_key_a_double_key_a_ragged_line_and_a_broken_body_are_listed_and_the_rest_goes() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    crm(&mut project)["actions"]["add"]["body"] = json!(RAW);
    let stage = Stage::new(&project);
    let rows = "id,email,extra\n1,a@x,1\n,b@x,2\n3,c@x,3\n3,d@x,4\n5,e\n6,f@x,\"{broken\"\n7,g@x,\"[1,2]\"\n8,h@x,9,10\n9,i@x,\"\"\"two\nlines\"\"\"\n10,j@x,{}\n";
    stage.write("people.csv", rows);

    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["status"]), (3, &json!("completed_with_errors")));
    // 9 holds a raw line feed in a JSON string.
    assert_eq!(delivered(&held), ids(&["1", "7", "10"]), "{result:#}");
    assert_eq!(result["rows"], json!({"delivered": 3, "rejected": 0, "invalid": 7, "pending": 0, "given_up": 0}));
    let listed = listed(&result);
    assert_eq!(listed.len(), 7, "{listed:#?}");
    let places = |row: &String| row.split(": ").next().unwrap().to_owned();
    let lines: Vec<_> = listed.iter().map(places).filter(|place| !place.starts_with("dlv_")).collect();
    assert_eq!(lines, [3, 4, 5, 6, 9].map(|line| format!("people.csv line {line}")));
    assert_says(&listed[0], &["key", "\"id\"", "empty"]);
    assert_says(&listed[1], &["2 times", "people.csv line 5"]);
    assert_says(&listed[2], &["2 times", "people.csv line 4"]);
    assert_says(&listed[3], &["2 cells", "3"]);
    assert_says(&listed[4], &["4 cells", "3"]);
    assert_says(&listed[5], &["body", "JSON", "{broken"]);

    // What a person reads names them too, and so does looking back at the run.
    let shown = stage.penstock(&["runs", result["run"].as_str().unwrap()]).expect(0).stdout;
    assert_says(&shown, &["people.csv line 3", "people.csv line 9", "{broken", "invalid"]);
    // A delivery that could not be rendered at all has its place in the log, with what it rendered to.
    let failed = stage.list("deliveries", &["--run", result["run"].as_str().unwrap()]);
    assert_eq!(failed.iter().map(|delivery| delivery["rows"].as_u64().unwrap()).sum::<u64>(), 5, "{failed:#?}");

    // Nothing that was invalid is taken for delivered: put right, it goes.
    stage.write(
        "people.csv",
        rows.replace("\n,b", "\n2,b")
            .replace("3,d", "4,d")
            .replace("5,e", "5,e,0")
            .replace("{broken", "{}")
            .replace(",10\n9", "\n9")
            .replace("two\nlines", "two"),
    );
    stage.run_well(&[]);
    assert_eq!(delivered(&held), ids(&["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]));
}

/// A key with an invalid row is neither changed nor removed; where a key cannot be read at all, removals wait, and the run says so.
#[test]
fn invalid_rows_never_cause_a_removal() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    stage.write("people.csv", "id,email,name\n1,a,A\n2,b,B\n3,c,C\n4,d,D\n");
    stage.run_well(&[]);
    // 2 stands twice, 4 is gone.
    stage.write("people.csv", "id,email,name\n1,a,A\n2,b,B\n2,b2,B\n3,c,C\n");
    assert_eq!(stage.run(&[]).0, 3);
    assert_eq!(delivered(&held), ids(&["1", "2", "3"]));
    // A ragged line hides a key: 3, which seems to be gone, stays.
    stage.write("people.csv", "id,email,name\n1,a,A\n2,b,B\n3,c\n");
    let ended = stage.penstock(&["run", "news"]).expect(3);
    assert_says(&ended.all(), &["removals wait for the next clean run", "people.csv line 4"]);
    assert_eq!(delivered(&held), ids(&["1", "2", "3"]));
    stage.write("people.csv", "id,email,name\n1,a,A\n2,b,B\n");
    stage.run_well(&[]);
    assert_eq!(delivered(&held), ids(&["1", "2"]));
}

/// The same of NDJSON, where keys have types.
fn ndjson_rows_are_as_invalid_as_csv_rows(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    project["models"]["people"]["source"]["path"] = json!("people.ndjson");
    let stage = Stage::on(place, &project);
    let rows = [
        r#"{"id": 1, "email": "a", "name": "A"}"#,
        r#"{"id": null, "email": "b", "name": "B"}"#,
        r#"{"email": "c", "name": "C"}"#,
        r#"{"id": 1.5, "email": "d", "name": "D"}"#,
        r#"{"id": "5", "email": "e", "name": "E"}"#,
        r#"{"id": 5, "email": "f", "name": "F"}"#,
        r#"{"id": 7, "email"; "g"}"#,
        r#"{"id": 8, "email": "h", "name": "H"}"#,
    ];
    stage.write("people.ndjson", rows.join("\n") + "\n");
    let (status, result) = stage.run(&[]);
    assert_eq!(status, 3);
    assert_eq!(delivered(&held), ids(&["1", "8"]));
    let places: Vec<_> = listed(&result).iter().map(|row| row.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, [2, 3, 4, 5, 6, 7].map(|line| format!("people.ndjson line {line}")));
}

/// GL-48, semantics.md 18: in a batch, a row that breaks the body is found by halving; the others of its batch go.
fn one_bad_row_does_not_hold_back_its_batch(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    let add = &mut crm(&mut project)["actions"]["add"];
    // A text that is JSON when it stands alone, and is not in an array.
    add["body"] = json!(r#"{"users": [{{#each users}}{"id": "{{id}}", "n": {{#if name}}{{{name}}}{{/if}}},{{/each}}]}"#);
    add["batch"]["size"] = json!(100);
    let stage = Stage::on(place, &project);
    let mut rows = String::from("id,email,name\n");
    (1..=100).for_each(|id| rows += &format!("{id},e,{}\n", if id == 37 || id == 64 { "" } else { "1" }));
    stage.write("people.csv", rows);
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["rows"]["delivered"], &result["rows"]["invalid"]), (3, &json!(98), &json!(2)), "{result:#}");
    let held = delivered(&held);
    assert!(held.len() == 98 && !held.contains("37") && !held.contains("64"));
    let keys: Vec<_> = result["invalid_rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["37", "64"]);
}

/// A variable that is missing in a URL or a header makes the row invalid; a body leaves it empty.
fn a_missing_variable_is_an_error_in_urls_and_headers_and_empty_in_bodies(place: Place) {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    let add = &mut crm(&mut project)["actions"]["add"];
    add["url"] = json!("/members/{{user.name}}");
    add["body"] = json!(r#"{"id": "{{user.id}}", "email": "{{user.email}}"}"#);
    let stage = Stage::on(place, &project);
    stage.write("people.csv", "id,email,name\n1,a,A\n2,b,\n3,,C\n");
    let (status, result) = stage.run(&[]);
    assert_eq!((status, &result["rows"]["delivered"], &result["rows"]["invalid"]), (3, &json!(2), &json!(1)), "{result:#}");
    assert_eq!(result["invalid_rows"][0]["key"], "2");
    assert_says(result["invalid_rows"][0]["reason"].as_str().unwrap(), &["url", "name"]);
    let bodies: Vec<_> = receiver.requests().iter().map(|request| request.json()["email"].clone()).collect();
    assert!(bodies.contains(&json!("a")) && bodies.contains(&json!("")), "{bodies:?}");
}
