//! Events: what is read, how variables stand in URLs, how ids keep the order, and what templates see.

use super::errand::{Errand, Identity, is_errand};
use super::fetch;
use super::shape::{CompiledStep, RuleShape};
use super::{Event, line, single_brackets};
use crate::judge::Class;
use crate::model::action::ActionName;
use crate::model::event_type::built_in;
use crate::model::name::Name;
use crate::model::project::Project;
use crate::port::{Exchange, Response};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// VX-05
#[test]
fn single_brackets_are_variables_and_everything_else_stays() {
    for (url, made, names) in [
        ("/a", "/a", vec![]),
        ("/c/{email}/x", "/c/{{variables.email}}/x", vec!["email"]),
        ("/{a}{b}?q={a}", "/{{variables.a}}{{variables.b}}?q={{variables.a}}", vec!["a", "b"]),
        ("/{{contact.id}}/{a}", "/{{contact.id}}/{{variables.a}}", vec!["a"]),
        ("/{{{raw}}}/{a_1}", "/{{{raw}}}/{{variables.a_1}}", vec!["a_1"]),
        ("/{not a name}/{}/{", "/{not a name}/{}/{", vec![]),
        ("/{{open", "/{{open", vec![]),
        ("/{1}", "/{1}", vec![]),
    ] {
        assert_eq!(single_brackets(url), (made.to_string(), names.iter().map(ToString::to_string).collect()), "{url}");
    }
}

fn types() -> BTreeMap<String, crate::model::event_type::EventType> {
    built_in().into_iter().map(|known| (known.id.clone(), known)).collect()
}

/// GW-04, GW-25: unknown attributes pass, a wrong type is named; every wrong line is.
#[test]
fn every_line_that_is_no_event_says_why() {
    let read = |text: &str| line::read(text.as_bytes(), &types(), 1_767_225_600_000_000, 3);
    let one = read("{\n \"id\": \"a\",\n \"type\": \"contact.subscribed\", \"data\": {\"msisdn\": 1, \"else\": []}\n}")
        .expect("an event over several lines");
    assert_eq!(one[0].time, "2026-01-01T00:00:00.000Z");
    assert_eq!(
        read("{\"id\": 7, \"type\": \"contact.subscribed\"}\n\n{\"id\": \"b\", \"type\": \"contact.unsubscribed\"}\n").expect("two").len(),
        2
    );
    for (text, path, why) in [
        ("", "", "holds no event"),
        ("7", "line 1", "is not a JSON object"),
        ("{\"id\": \"a\"", "line 1", "is not valid JSON"),
        ("{\"type\": \"contact.subscribed\"}", "id", "is missing"),
        ("{\"id\": \"\", \"type\": \"contact.subscribed\"}", "id", "1 to 128 characters"),
        ("{\"id\": \"a\", \"type\": \"contact.subscribed\", \"time\": \"noon\"}", "time", "a point in time"),
        ("{\"id\": \"a\", \"type\": \"contact.subscribed\", \"data\": []}", "data", "must be an object"),
        ("{\"id\": \"a\", \"type\": \"contact.bought\"}", "type", "there is no event type `contact.bought`"),
        ("{\"id\": \"a\", \"type\": \"contact.subscribed\", \"data\": {\"eshop_opt_in\": \"yes\"}}", "data.eshop_opt_in", "true or false"),
        (
            "{\"id\": \"a\", \"type\": \"contact.subscribed\", \"data\": {\"contact\": {\"msisdn\": 1.5}}}",
            "data.contact.msisdn",
            "whole number of 64 bits",
        ),
        ("{\"id\": \"a\", \"kind\": 1, \"type\": \"contact.subscribed\"}", "kind", "unknown member"),
    ] {
        let problems = read(text).expect_err(text);
        assert!(problems.len() == 1 && problems[0].path == path && problems[0].message.contains(why), "{text}: {problems:?}");
    }
    let many: String = (0..4).map(|n| format!("{{\"id\": \"{n}\", \"type\": \"contact.subscribed\"}}\n")).collect();
    assert!(read(&many).expect_err("four")[0].message.contains("after the 3 events"));
}

/// semantics.md 7: the same event, rule version and step have the same id; ids of a key are in the order of its events.
#[test]
fn an_errands_id_is_its_own_and_keeps_the_order_of_its_key() {
    let (welcome, crm, other) = (name("welcome"), name("crm"), name("other"));
    let base = Identity {
        event: "a",
        rule: &welcome,
        version: "v1",
        step: 1,
        destination: &crm,
        key: Some("7"),
        happened_at: 1_767_225_600_000_000,
        taken_at: 1_767_225_700_000_000,
    };
    let id = base.id();
    assert!(is_errand(&id) && id.len() == 56, "{id}");
    assert_eq!(id, Identity { ..base }.id());
    let earlier = Identity { event: "b", happened_at: base.happened_at - 1, taken_at: base.taken_at + 5, ..base }.id();
    let later = Identity { event: "c", taken_at: base.taken_at + 1, ..base }.id();
    assert!(earlier < id && id < later);
    for different in [
        Identity { event: "b", ..base },
        Identity { version: "v2", ..base },
        Identity { step: 2, ..base },
        Identity { destination: &other, ..base },
        Identity { key: Some("8"), ..base },
        Identity { key: None, ..base },
    ] {
        assert_ne!(id, different.id(), "{different:?}");
    }
}

fn project() -> Project {
    crate::configure::parse(&json!({
        "organization": {"id": "acme", "name": "Acme", "attributes": {"store_name": "Acme Berlin"}},
        "destinations": {"crm": {"base_url": "https://api.example.com/v1", "headers": {"X-Team": "{{team.id}}"}, "actions": {
            "add": {"url": "/c/{email}", "query": {"plan": "{{workflow.profile.plans.0.name}}"},
                "body": "{\"phone\": {{contact.phone}}, \"tags\": {{contact.tags}}, \"who\": \"{{organization_name}}\", \"no\": \"{{contact.no.where}}\", \
                         \"store\": \"{{workspace.custom_attributes.store_name}}\", \"campaign\": \"{{campaign.id}}\", \"id\": \"{{id}}\"}"},
            "update": {"url": "/batch", "batch": {"mode": "batched"}, "body": "[{{#each users}}{\"id\": \"{{id}}\"},{{/each}}]"},
        }}},
        "requests": {"profile": {"url": "https://profiles.example.com/{{contact.id}}", "method": "POST", "body": "{\"type\": \"{{event.type}}\"}"}},
        "rules": {"welcome": {"on": "contact.subscribed", "steps": [
            {"fetch": {"request": "profile", "output": "profile"}},
            {"deliver": {"destination": "crm", "action": "add", "variables": {"email": "{{contact.email}}"}}},
            {"deliver": {"destination": "crm", "action": "update"}},
        ]}},
    }))
    .expect("a sound project")
}

fn errand(contact: Value) -> Errand {
    let data = json!({"contact": contact, "campaign": {"id": "spring"}});
    Errand {
        id: "evt_x".to_string(),
        event: Event { id: "e1".to_string(), kind: "contact.subscribed".to_string(), time: "2026-01-01T00:00:00Z".to_string(), data },
        rule: name("welcome"),
        version: "v".to_string(),
        step: 1,
        destination: name("crm"),
        action: ActionName::Add,
        ordered: true,
        key: None,
        created_at: 0,
    }
}

/// VX-12, VX-13, LP-05, LP-25: contact, team, campaign and earlier output, by path and by index; data stays data.
#[test]
fn templates_of_a_rule_see_what_it_knows() {
    let project = project();
    let shape = RuleShape::of(&project, &project.rules[&name("welcome")]);
    let errand = errand(json!({"id": 7, "email": "a/b@x.org", "phone": "+49 \"1\"", "tags": ["x"]}));
    let step = CompiledStep::new(&shape, 1).expect("it compiles");
    let around = step.surroundings(&errand, "dlv_x");
    let outputs: Map<String, Value> = Map::from_iter([("profile".to_string(), json!({"plans": [{"name": "gold & more"}]}))]);
    let rendered = step.render(&around, &outputs, "dlv_x").expect("it renders");
    assert_eq!(rendered.url.as_str(), "https://api.example.com/v1/c/a%2Fb%40x.org?plan=gold%20%26%20more");
    let body: Value = serde_json::from_slice(&rendered.body.expect("a body")).expect("JSON");
    let wanted = json!({
        "phone": "+49 \"1\"", "tags": ["x"], "who": "Acme", "no": "", "store": "Acme Berlin", "campaign": "spring", "id": "7",
    });
    assert_eq!(body, wanted);
    let header = |name: &str| rendered.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert_eq!(
        (header("X-Team"), header("Idempotency-Key"), header("Content-Type")),
        (Some("acme"), Some("dlv_x"), Some("application/json"))
    );
    let asked = step.fetches[0].render(&around, &Map::new()).expect("it renders");
    assert_eq!(
        (asked.url.as_str(), asked.body.as_deref()),
        ("https://profiles.example.com/7", Some(&b"{\"type\": \"contact.subscribed\"}"[..]))
    );

    // A missing output is an error in a URL, and the contact stands for a batch of one.
    assert!(step.render(&around, &Map::new(), "dlv_x").expect_err("no plan").reason.contains("plans"));
    let batch = CompiledStep::new(&shape, 2).expect("it compiles");
    let rendered = batch.render(&batch.surroundings(&errand, "dlv_y"), &outputs, "dlv_y").expect("it renders");
    assert_eq!(rendered.body.as_deref(), Some(&b"[{\"id\": \"7\"}]"[..]));
}

/// LP-17, LP-19
#[test]
fn a_fetch_needs_a_json_object_or_list_of_a_2xx() {
    let answer = |status: u16, body: &str| {
        Exchange::Response(Response { status, headers: Vec::new(), body: body.as_bytes().to_vec(), truncated: false })
    };
    for (status, body, class) in [
        (200, "{\"a\": 1}", None),
        (201, " [1] ", None),
        (200, "42", Some(Class::ResponseError)),
        (200, "\"text\"", Some(Class::ResponseError)),
        (200, "", Some(Class::ResponseError)),
        (204, "", Some(Class::ResponseError)),
        (200, "{", Some(Class::ResponseError)),
        (302, "{}", Some(Class::RedirectionError)),
        (404, "{}", Some(Class::ClientError)),
        (503, "{}", Some(Class::ServerError)),
    ] {
        let read = fetch::read(&answer(status, body), 0);
        assert_eq!(read.as_ref().err().map(|verdict| verdict.class), class, "{status} {body}");
        if let Err(verdict) = read {
            assert_eq!((verdict.retryable, verdict.destination_down, verdict.uncertain), (status == 503, false, false), "{status} {body}");
        }
    }
}
