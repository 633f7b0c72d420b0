//! Rows that arrive through the API.

use super::server::{Place, Server, no_wish, on_one_machine_and_on_a_stack};
use crate::journey::stage::{Stage, keep, project};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::aws::moto;
use tests::client;
use tests::receiver::{Action, Always};

on_one_machine_and_on_a_stack!(
    upserts_and_removals_reach_the_destination_as_what_they_change,
    one_wrong_line_is_told_with_its_number_and_nothing_is_taken,
    an_upload_takes_the_place_of_all_rows_and_a_torn_one_changes_nothing,
    parts_go_where_the_upload_says_and_are_as_large_as_it_says,
);

/// A project whose people are pushed.
fn pushed(url: &str) -> Value {
    let mut project = project(url);
    project["models"]["people"]["source"] = json!({"type": "push"});
    project
}

fn person(id: u32, version: u32) -> Value {
    json!({"id": id.to_string(), "email": format!("p{id}.{version}@example.com"), "name": format!("Person {id} \"{version}\"")})
}

fn ndjson(lines: impl IntoIterator<Item = Value>) -> Vec<u8> {
    lines.into_iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

const NDJSON: &[(&str, &str)] = &[("content-type", "application/x-ndjson")];

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn upserts_and_removals_reach_the_destination_as_what_they_change(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&pushed(&receiver.url()));
    let server = Server::start_on(place, &stage);
    let push = |lines: Vec<Value>| server.send(&server.token, "POST", "/v1/models/people/rows?mode=changes", NDJSON, ndjson(lines));
    push((1..=30).map(|id| json!({"upsert": person(id, 0)})).collect()).expect(200);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["changes"], json!({"added": 30, "changed": 0, "removed": 0}), "{run:#}");
    push(vec![json!({"upsert": person(7, 1)}), json!({"remove": {"id": "9"}}), json!({"upsert": person(31, 0)})]).expect(200);
    // The latest word counts.
    push(vec![json!({"upsert": person(31, 2)}), json!({"remove": {"id": "12"}}), json!({"upsert": person(12, 0)})]).expect(200);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["changes"], json!({"added": 1, "changed": 1, "removed": 1}), "{run:#}");
    let members = held.lock().unwrap().members.clone();
    assert_eq!(members.len(), 30);
    assert_eq!((&members["7"], &members["31"], members.get("9")), (&person(7, 1), &person(31, 2), None));
}

fn one_wrong_line_is_told_with_its_number_and_nothing_is_taken(place: Place) {
    let (receiver, _held) = keep(Always(Action::status(200)), 0.0, 2);
    let stage = Stage::new(&pushed(&receiver.url()));
    let server = Server::start_on(place, &stage);
    let lines = vec![json!({"upsert": person(1, 0)}), json!({"upsert": {"email": "nobody"}}), json!({"insert": person(2, 0)})];
    let refused = server.send(&server.token, "POST", "/v1/models/people/rows?mode=changes", NDJSON, ndjson(lines)).expect(422).json();
    assert_eq!(refused["problems"].as_array().map(Vec::len), Some(2), "{refused:#}");
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "failed", "{run:#}");
    assert!(run["reason"].as_str().unwrap().contains("no rows were pushed yet"), "{run:#}");
}

fn an_upload_takes_the_place_of_all_rows_and_a_torn_one_changes_nothing(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 3);
    let stage = Stage::new(&pushed(&receiver.url()));
    let server = Server::start_on(place, &stage);
    let parts = [ndjson((1..=20).map(|id| person(id, 0))), ndjson((21..=35).map(|id| person(id, 0)))];
    let whole = parts.concat();
    let begin = || {
        let upload = server.call("POST", "/v1/models/people/uploads", json!({})).expect(201).json();
        upload["id"].as_str().expect("an upload has an id").to_string()
    };
    let put = |upload: &str, number: usize, bytes: &[u8]| {
        let path = format!("/v1/models/people/uploads/{upload}/parts/{number}");
        server.send(&server.token, "PUT", &path, NDJSON, bytes.to_vec())
    };
    let commit = |upload: &str, rows: u64, sha256: &str| {
        server.call("POST", &format!("/v1/models/people/uploads/{upload}/commit"), json!({"rows": rows, "sha256": sha256}))
    };
    let upload = begin();
    for (number, part) in parts.iter().enumerate() {
        assert!(put(&upload, number + 1, part).status < 300);
    }
    assert!(commit(&upload, 35, &hex(&whole)).status < 300);
    assert_eq!(server.ended(&server.run("news", no_wish()))["rows"]["delivered"], 35);

    // A missing part, a wrong count, a wrong checksum, half a row.
    let torn = begin();
    put(&torn, 1, &parts[0]);
    put(&torn, 3, &parts[1]);
    assert_eq!(commit(&torn, 35, &hex(&whole)).status, 422);
    let torn = begin();
    put(&torn, 1, &parts[0]);
    assert_eq!(commit(&torn, 21, &hex(&parts[0])).status, 422);
    assert_eq!(commit(&torn, 20, &hex(b"other bytes")).status, 422);
    let torn = begin();
    let half = &parts[0][..parts[0].len() - 9];
    put(&torn, 1, half);
    assert_eq!(commit(&torn, 20, &hex(half)).status, 422);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["changes"], json!({"added": 0, "changed": 0, "removed": 0}), "{run:#}");

    // A whole one that is smaller removes the rest; a part may be put again until then.
    let fewer = ndjson((1..=30).map(|id| person(id, u32::from(id == 4))));
    let upload = begin();
    put(&upload, 1, &parts[1]);
    put(&upload, 1, &fewer);
    assert!(commit(&upload, 30, &hex(&fewer)).status < 300);
    let run = server.ended(&server.run("news", json!({"approve": true})));
    assert_eq!(run["changes"], json!({"added": 0, "changed": 1, "removed": 5}), "{run:#}");
    assert_eq!(held.lock().unwrap().members.len(), 30);
}

/// On a stack they go to S3, past the functions, whose calls take 6 MB.
fn parts_go_where_the_upload_says_and_are_as_large_as_it_says(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 4);
    let stage = Stage::new(&pushed(&receiver.url()));
    let server = Server::start_on(place, &stage);
    let begin = || {
        let upload = server.call("POST", "/v1/models/people/uploads", json!({})).expect(201).json();
        format!("/v1/models/people/uploads/{}", upload["id"].as_str().expect("an upload has an id"))
    };
    let whole = ndjson((1..=130).map(|id| json!({"id": id.to_string(), "email": "e", "name": format!("{id} ").repeat(30_000)})));
    let upload = begin();
    let part_bytes = server.call("GET", &format!("{upload}/parts/1/url"), Value::Null).expect(200).json()["part_bytes"].as_u64().unwrap();
    // Cut anywhere.
    let size = if place == Place::Stack { 9_000_001 } else { 4_000_001 };
    assert!(size < part_bytes && whole.len() as u64 > size, "{part_bytes} {}", whole.len());
    for (part, number) in whole.chunks(size as usize).zip(1..) {
        let told = server.call("GET", &format!("{upload}/parts/{number}/url"), Value::Null).expect(200).json();
        let url = told["url"].as_str().expect("it says where");
        assert_eq!((&told["presigned"], told["expires_at"].is_string()), (&json!(place == Place::Stack), place == Place::Stack), "{told}");
        let put = match place {
            Place::Machine => server.send(&server.token, "PUT", url, NDJSON, part.to_vec()),
            Place::Stack => {
                let (address, path) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("moto is on loopback");
                client::call(address.parse().expect("an address"), "PUT", &format!("/{path}"), &[], part.to_vec()).expect("it is taken")
            }
        };
        assert!(put.status < 300, "{} {}", put.status, put.text());
    }
    let commit = |upload: &str| server.call("POST", &format!("{upload}/commit"), json!({"rows": 130, "sha256": hex(&whole)}));
    commit(&upload).expect(200);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["rows"]["delivered"], 130, "{run:#}");
    assert_eq!(held.lock().unwrap().members.len(), 130);
    // What is committed takes no more, and what was never begun nothing at all.
    assert_eq!(server.call("GET", &format!("{upload}/parts/1/url"), Value::Null).expect(409).json()["code"], "upload_closed");
    server.call("GET", &format!("{upload}x/parts/1/url"), Value::Null).expect(404);
    server.call("GET", &format!("{}/parts/10001/url", begin()), Value::Null).expect(404);
    if place == Place::Stack {
        // Nobody stops who puts more there than he may; it is not read.
        let upload = begin();
        let id = upload.rsplit('/').next().expect("it has an id");
        let object = format!("uploads/default/people/{id}/00001");
        server.stack().put_object(moto().expect("moto is here"), &object, vec![b'x'; (part_bytes + 1) as usize]);
        let refused = commit(&upload).expect(422).json();
        assert!(refused["problems"][0]["message"].as_str().is_some_and(|message| message.contains("part 1 has more than")), "{refused:#}");
    }
}
