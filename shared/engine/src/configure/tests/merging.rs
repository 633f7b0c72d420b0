//! How an export's actions go over its destination's (semantics.md 17).

use super::{assert_problem, base, problems, put, sound, with};
use crate::model::action::{Action, Actions, BatchMode, Body};
use crate::model::name::Name;
use crate::port::Method;
use serde_json::{Value, json};

fn merged(destination: Value, export: Value) -> Actions {
    let mut document = base();
    put(&mut document, "/destinations/crm/actions", destination);
    put(&mut document, "/exports/people/actions", export);
    sound(&document).exports[&Name::new("people").unwrap()].actions.clone()
}

fn merged_add(destination: Value, export: Value) -> Action {
    merged(json!({"add": destination}), json!({"add": export})).add.unwrap()
}

fn pairs(list: &[(String, String)]) -> Vec<(&str, &str)> {
    list.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn an_exports_keys_go_over_the_destinations_one_by_one() {
    let add = merged_add(
        json!({"url": "/d", "method": "PUT", "body": "{}", "strict": true, "success": ["201"], "success_path": "created"}),
        json!({"url": "/e", "success": ["202"]}),
    );
    assert_eq!((add.url.as_str(), add.method, add.strict), ("/e", Method::Put, true));
    assert_eq!((&add.body, add.success_path.as_deref()), (&Body::Json("{}".into()), Some("created")));
    assert!(add.success.contains(202) && !add.success.contains(201), "a list counts as a whole");
}

#[test]
fn headers_query_and_batch_are_laid_over_each_other_and_bodies_are_not() {
    let add = merged_add(
        json!({"url": "/d", "headers": {"X-One": "1", "X-Two": "2"}, "query": {"a": "1", "b": "2"}, "batch": {"mode": "batched", "size": 9},
               "body": {"content": "text", "template": "t"}}),
        json!({"headers": {"x-one": "uno"}, "query": {"b": "zwei"}, "batch": {"size": 4}, "body": {"template": "{}"}}),
    );
    assert_eq!(pairs(&add.headers), [("x-one", "uno"), ("X-Two", "2")]);
    assert_eq!(pairs(&add.query), [("a", "1"), ("b", "zwei")]);
    assert_eq!(add.batch, BatchMode::Batched(4));
    assert_eq!(add.body, Body::Json("{}".into()), "a body counts as a whole, so content is json again");
}

#[test]
fn null_takes_a_key_away_at_every_level() {
    let add = merged_add(
        json!({"url": "/d", "headers": {"X-One": "1", "X-Two": "2"}, "body": "{}", "success_path": "n", "method": "PUT"}),
        json!({"headers": {"x-two": null, "X-None": null}, "body": null, "success_path": null, "method": null}),
    );
    assert_eq!(pairs(&add.headers), [("X-One", "1")]);
    assert_eq!((&add.body, &add.success_path, add.method), (&Body::Empty, &None, Method::Post));
    let actions = merged(
        json!({"add": {"url": "/d"}, "update": "same_as_add", "remove": {"enabled": true, "url": "/r"}}),
        json!({"update": null, "remove": null}),
    );
    assert!(actions.add.is_some() && actions.update.is_none() && actions.remove.is_none());
    let mut document = with("/exports/people/actions", json!({"add": {"url": null}}));
    assert_problem(&document, "exports.people.actions.add.url", "add is on and needs a `url`");
    put(&mut document, "/exports/people/actions", json!({"add": null, "remove": null}));
    assert_problem(&document, "exports.people.actions", "no action is on");
}

#[test]
fn same_as_add_takes_the_merged_add_even_if_that_is_off() {
    let actions = merged(json!({"add": {"url": "/d", "method": "PUT"}, "update": "same_as_add"}), json!({"add": {"url": "/e"}}));
    assert_eq!(actions.update, actions.add);
    assert_eq!(actions.update.unwrap().url, "/e");
    let actions = merged(json!({"add": {"url": "/d", "enabled": false}}), json!({"update": "same_as_add"}));
    assert!(actions.add.is_none());
    assert_eq!(actions.update.unwrap().url, "/d");
    let actions = merged(json!({"add": {"url": "/d"}, "update": {"url": "/u"}}), json!({"update": "same_as_add"}));
    assert_eq!(actions.update.unwrap().url, "/d");
    let actions = merged(json!({"add": {"url": "/d"}, "update": "same_as_add"}), json!({"update": {"url": "/u"}}));
    assert_eq!(actions.update.unwrap().url, "/u");
}

#[test]
fn same_as_add_without_an_add_and_elsewhere_than_in_update_is_refused() {
    let document = with("/destinations/crm/actions", json!({"add": null, "update": "same_as_add"}));
    assert_problem(&document, "destinations.crm.actions.update", "there is no `add`");
    let document = with("/destinations/crm/actions/remove", json!("same_as_add"));
    assert_problem(&document, "destinations.crm.actions.remove", "for update only");
    let document = with("/destinations/crm/actions/update", json!("same"));
    assert_problem(&document, "destinations.crm.actions.update", "expected an object");
}

#[test]
fn a_destination_may_leave_its_actions_to_its_exports() {
    let actions = merged(json!({}), json!({"add": {"url": "/e"}}));
    assert_eq!(actions.add.unwrap().url, "/e");
    let mut document = base();
    document["destinations"]["crm"].as_object_mut().unwrap().remove("actions");
    assert_problem(&document, "exports.people.actions.add.url", "add is on unless switched off");
    put(&mut document, "/exports/people/actions", json!({"update": {"method": "PUT"}, "add": {"url": "/e"}}));
    assert_problem(&document, "exports.people.actions.update.url", "update is on and needs a `url`");
}

#[test]
fn success_is_the_actions_then_the_exports_then_the_destinations() {
    let mut document = with("/destinations/crm/success", json!(["201"]));
    let holds = |document: &Value, status| {
        sound(document).exports[&Name::new("people").unwrap()].actions.add.as_ref().unwrap().success.contains(status)
    };
    assert!(holds(&document, 201) && !holds(&document, 200));
    put(&mut document, "/exports/people/success", json!(["202"]));
    assert!(holds(&document, 202) && !holds(&document, 201));
    put(&mut document, "/destinations/crm/actions/add/success", json!(["203"]));
    assert!(holds(&document, 203) && !holds(&document, 202));
}

#[test]
fn a_problem_of_a_shared_destination_is_reported_once_and_where_it_stands() {
    let mut document = with("/destinations/crm/actions/add/method", json!("SEND"));
    put(&mut document, "/exports/again", json!({"model": "people", "destination": "crm"}));
    let found = problems(&document);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].path, "destinations.crm.actions.add.method");
    put(&mut document, "/exports/again/actions", json!({"add": {"method": "TALK"}}));
    let paths: Vec<String> = problems(&document).into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["destinations.crm.actions.add.method", "exports.again.actions.add.method"]);
}

#[test]
fn what_a_shared_add_lacks_is_said_once() {
    let mut document = with("/destinations/crm/actions", json!({"add": {"method": "PUT"}, "update": "same_as_add"}));
    let found = problems(&document);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].message.starts_with("add is on and needs a `url`"));
    put(&mut document, "/destinations/crm/actions/add/enabled", json!(false));
    assert_problem(&document, "destinations.crm.actions.add.url", "update is on and needs a `url`");
}

#[test]
fn an_unknown_key_is_found_even_where_the_other_side_would_hide_it() {
    let document = with("/exports/people/actions", json!({"add": {"urll": null}}));
    assert_problem(&document, "exports.people.actions.add.urll", "did you mean `url`?");
    let mut document = with("/destinations/crm/actions/add/bodyy", json!("{}"));
    put(&mut document, "/exports/people/actions", json!({"add": null}));
    assert_problem(&document, "destinations.crm.actions.add.bodyy", "did you mean `body`?");
}
