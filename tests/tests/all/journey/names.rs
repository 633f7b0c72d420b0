//! Values with everything in them that a template could stumble over arrive as they are.

use super::stage::{Stage, crm, keep, project};
use crate::serve::server::{Place, on_one_machine_and_on_a_stack};
use serde_json::json;
use tests::receiver::{Action, Always};

on_one_machine_and_on_a_stack!(a_name_arrives_intact_in_a_request_of_its_own, a_batch_never_mixes_rows_whose_urls_or_headers_differ,);

/// Quotes, an apostrophe, an ampersand, a backslash, template and markup characters, and a real line feed.
const NAMES: [&str; 6] =
    ["O'Brien & Sons \"x\"\n", "{{user.id}} {{#each}}", "<b>&amp;</b>", "C:\\new\\\\table\t", "\u{1}\u{7f}\u{2028}\u{1F9C0}é", "],}]\"}"];

fn rows() -> String {
    let rows = NAMES.iter().enumerate().map(|(id, name)| format!("{id},e{id}@example.com,\"{}\"\n", name.replace('"', "\"\"")));
    format!("id,email,name\n{}", rows.collect::<String>())
}

/// GL-06, GL-48, GL-49, GL-51, GL-60, GL-62
fn a_name_arrives_intact_in_a_request_of_its_own(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    // The example of GL-49, with a name besides.
    let body = r#"{"id": "{{user.id}}", "email": "{{user.email}}", "name": "{{user.name}}"}"#;
    crm(&mut project)["actions"]["add"] = json!({"url": "/members", "body": body});
    let stage = Stage::on(place, &project);
    stage.write("people.csv", rows());
    stage.run_well(&[]);
    assert_eq!(receiver.count(), NAMES.len());
    let held = held.lock().unwrap();
    assert!(held.violations.is_empty(), "{:?}", held.violations);
    for (id, name) in NAMES.iter().enumerate() {
        assert_eq!(held.members[&id.to_string()], json!({"id": id.to_string(), "email": format!("e{id}@example.com"), "name": name}));
    }
}

/// GL-50, GL-52, HT-21, HT-27
#[test]
fn a_name_arrives_intact_in_a_batch() {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    // The example of GL-50 as it stands, then the same with names.
    for (body, fields) in [
        (r#"{"users": [{{#each users}}{"id": "{{id}}"}{{#unless @last}},{{/unless}}{{/each}}]}"#, false),
        (r#"{"users": [{{#each users}}{"id": "{{id}}", "name": "{{name}}"}{{#unless @last}},{{/unless}}{{/each}}]}"#, true),
    ] {
        crm(&mut project)["actions"]["add"] = json!({"url": "/members", "body": body, "batch": {"mode": "batched"}});
        let stage = Stage::new(&project);
        stage.write("people.csv", rows());
        let before = receiver.count();
        stage.run_well(&[]);
        let requests = receiver.requests();
        assert_eq!(requests.len(), before + 1, "{} rows are one batch of at most a hundred", NAMES.len());
        let mut users = requests[before].json()["users"].as_array().unwrap().clone();
        users.sort_by_key(|user| user["id"].to_string());
        let wanted = NAMES.iter().enumerate().map(|(id, name)| match fields {
            true => json!({"id": id.to_string(), "name": name}),
            false => json!({"id": id.to_string()}),
        });
        assert_eq!(users, wanted.collect::<Vec<_>>());
    }
}

/// GL-53, HT-21: the batch size is 100 unless said otherwise, and is used in batched mode only.
#[test]
fn batches_hold_a_hundred_rows_unless_the_project_says_otherwise() {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    let body = r#"[{{#each users}}{"id": "{{id}}"},{{/each}}]"#;
    let mut rows = String::from("id,email,name\n");
    (0..250).for_each(|id| rows += &format!("{id},e,n\n"));
    for (batch, sizes) in [(json!({"mode": "batched"}), vec![50, 100, 100]), (json!({"mode": "batched", "size": 249}), vec![1, 249])] {
        crm(&mut project)["actions"]["add"] = json!({"url": "/members", "body": body, "batch": batch});
        let stage = Stage::new(&project);
        stage.write("people.csv", &rows);
        let before = receiver.count();
        stage.run_well(&[]);
        let mut sent: Vec<_> = receiver.requests()[before..].iter().map(|request| request.json().as_array().unwrap().len()).collect();
        sent.sort_unstable();
        assert_eq!(sent, sizes);
    }
}

/// HT-23, HT-24, GL-47: values fill paths, queries and headers, escaped for where they stand; the five methods arrive as such.
#[test]
fn methods_paths_queries_and_headers_come_from_templates() {
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let mut project = project(&format!("{}/v1/", receiver.url()));
        crm(&mut project)["headers"] = json!({"X-Fixed": "a b", "X-Both": "destination"});
        crm(&mut project)["actions"] = json!({"add": {
            "method": method, "url": "/lists/{{audience_name}}/{{row.name}}?list=1",
            "query": {"q": "{{row.name}}&x=1", "plain": "yes"}, "headers": {"X-Email": "{{row.email}}", "X-Both": "action"},
            "body": if method == "GET" { json!(null) } else { json!("{\"id\": \"{{row.id}}\"}") },
        }});
        let stage = Stage::new(&project);
        stage.write("people.csv", "id,email,name\n1,a@x,\"a/b?c&d=#e %\"\n");
        let before = receiver.count();
        stage.run_well(&[]);
        let requests = receiver.requests();
        assert_eq!(requests.len(), before + 1);
        let request = &requests[before];
        assert_eq!(request.method, method);
        let (path, query) = request.path_and_query.split_once('?').unwrap();
        assert_eq!(path, "/v1/lists/people/a%2Fb%3Fc%26d%3D%23e%20%25");
        let pairs: Vec<_> = query.split('&').collect();
        assert_eq!((pairs[0], pairs.len()), ("list=1", 3), "a value adds no parameter: {query}");
        assert!(pairs.contains(&"plain=yes"), "{query}");
        let value = pairs.iter().find_map(|pair| pair.strip_prefix("q=")).unwrap().replace('+', "%20");
        assert_eq!(value, "a%2Fb%3Fc%26d%3D%23e%20%25%26x%3D1");
        assert_eq!(["x-fixed", "x-email", "x-both"].map(|name| request.header(name).unwrap()), ["a b", "a@x", "action"]);
        assert_eq!(request.body.is_empty(), method == "GET");
    }
}

/// Rows whose URLs differ are never in one batch.
fn a_batch_never_mixes_rows_whose_urls_or_headers_differ(place: Place) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    let body = r#"{"users": [{{#each users}}{"id": "{{id}}", "list": "{{email}}", "name": "{{name}}"},{{/each}}]}"#;
    crm(&mut project)["actions"]["add"] = json!({"url": "/lists/{{row.email}}/members", "headers": {"X-Name": "{{row.name}}"}, "body": body, "batch": {"mode": "batched", "size": 7}});
    let stage = Stage::on(place, &project);
    let mut rows = String::from("id,email,name\n");
    (0..120).for_each(|id| rows += &format!("{id},list{},n{}\n", id % 3, id % 2));
    stage.write("people.csv", rows);
    stage.run_well(&[]);
    for request in receiver.requests() {
        for user in request.json()["users"].as_array().unwrap() {
            assert_eq!(request.path_and_query, format!("/lists/{}/members", user["list"].as_str().unwrap()));
            assert_eq!(request.header("x-name"), user["name"].as_str());
        }
    }
    assert_eq!(held.lock().unwrap().members.len(), 120);
    // Twenty rows for each of the six: three batches of at most seven.
    assert_eq!(receiver.count(), 18);
}
