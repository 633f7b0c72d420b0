//! Events over loopback: handed in to a server, matched by rules, fetched for and delivered.

use super::server::{Place, Server, on_one_machine_and_on_a_stack};
use crate::journey::stage::{Stage, listen, project};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tests::client::Answer;
use tests::receiver::{Action, Always, Received, Receiver, Reply, max_in_window};

on_one_machine_and_on_a_stack!(
    an_event_becomes_the_request_that_its_rule_describes,
    the_same_event_twice_is_sent_once,
    one_wrong_event_is_told_with_its_line_and_none_is_taken,
    what_a_rule_fetches_stands_in_what_it_delivers,
    events_of_a_contact_stay_in_order_and_hold_up_nobody_else,
    deliveries_of_events_are_looked_back_at_and_sent_again,
    events_for_a_paused_destination_are_held_and_go_when_it_goes_on,
    a_request_is_tested_with_a_sample_event,
);

const NDJSON: &[(&str, &str)] = &[("content-type", "application/x-ndjson")];

/// A project with one rule: subscribers are put into the CRM.
fn with_rule(url: &str, steps: Value) -> Value {
    let mut project = project(url);
    project["organization"] = json!({"id": "acme", "name": "Acme", "attributes": {"store_name": "Acme \"Berlin\""}});
    project["destinations"]["crm"]["actions"]["add"] = json!({
        "url": "/contacts/{contact_email}", "batch": {"mode": "individual"},
        "body": r#"{"id": "{{contact.id}}", "store": "{{team.custom_attributes.store_name}}", "plan": "{{workflow.profile.plan}}", "event": "{{event.id}}"}"#,
    });
    project["rules"] = json!({"welcome": {"on": "contact.subscribed", "when": "data.contact.source == 'form'", "steps": steps}});
    project
}

fn deliver() -> Value {
    json!({"deliver": {"destination": "crm", "action": "add", "variables": {"contact_email": "{{contact.ecom_email}}"}}})
}

fn subscribed(event: &str, contact: u32, source: &str) -> Value {
    let contact = json!({"id": contact, "ecom_email": format!("p{contact}@example.com"), "source": source});
    json!({"id": event, "type": "contact.subscribed", "time": "2026-01-01T08:00:00Z", "data": {"contact": contact}})
}

fn hand_in(server: &Server, events: &[Value]) -> Answer {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    server.send(&server.token, "POST", "/v1/events", NDJSON, lines.into_bytes())
}

#[track_caller]
fn arrived(server: &Server, receiver: &Receiver, count: usize) -> Vec<Received> {
    server.until(&format!("{count} requests arrive"), || (receiver.count() >= count).then(|| receiver.requests()))
}

/// VX-05, VX-08 to VX-13, GW-02: trigger, conditions and actions; variables in single brackets; team and contact in the body.
fn an_event_becomes_the_request_that_its_rule_describes(place: Place) {
    let receiver = listen(Always(Action::status(200)));
    let stage = Stage::new(&with_rule(&receiver.url(), json!([deliver()])));
    let server = Server::start_on(place, &stage);
    let answer = server.call("POST", "/v1/events", subscribed("e/1", 7, "form")).expect(202).json();
    assert_eq!(answer, json!({"events": 1, "duplicates": 0, "deliveries": 1, "unasked": []}));
    let request = arrived(&server, &receiver, 1).remove(0);
    assert_eq!((request.method.as_str(), request.path_and_query.as_str()), ("POST", "/contacts/p7%40example.com"));
    assert_eq!(request.json(), json!({"id": "7", "store": "Acme \"Berlin\"", "plan": "", "event": "e/1"}));
    assert!(request.header("idempotency-key").is_some_and(|key| key.starts_with("dlv_")), "{request:?}");

    // What no rule is for, and what does not fit its condition, is taken and owed nothing.
    let other = json!({"id": "u", "type": "contact.unsubscribed", "data": {"contact": {"id": 7}}});
    let answer = hand_in(&server, &[subscribed("e2", 8, "import"), other]).expect(202).json();
    assert_eq!((&answer["events"], &answer["deliveries"]), (&json!(2), &json!(0)));
    hand_in(&server, &[subscribed("e3", 9, "form")]).expect(202);
    assert_eq!(arrived(&server, &receiver, 2)[1].json()["event"], "e3");
}

/// faults.md H1: the same id within a day is the same event, in one call and over several.
fn the_same_event_twice_is_sent_once(place: Place) {
    let receiver = listen(Always(Action::status(200)));
    let stage = Stage::new(&with_rule(&receiver.url(), json!([deliver()])));
    let server = Server::start_on(place, &stage);
    let answer = hand_in(&server, &[subscribed("a", 1, "form"), subscribed("a", 2, "form"), subscribed("b", 3, "form")]).expect(202).json();
    assert_eq!((&answer["events"], &answer["duplicates"]), (&json!(2), &json!(1)));
    arrived(&server, &receiver, 2);
    let again = hand_in(&server, &[subscribed("b", 3, "form"), subscribed("c", 4, "form")]).expect(202).json();
    assert_eq!((&again["events"], &again["duplicates"], &again["deliveries"]), (&json!(1), &json!(1), &json!(1)));
    arrived(&server, &receiver, 3);
    // On a stack functions come and go, and one that is killed while it waits for more keeps its lane for half a minute.
    let server = if place == Place::Machine { server.restart(&stage) } else { server };
    hand_in(&server, &[subscribed("a", 1, "form"), subscribed("d", 5, "form")]).expect(202);
    let events: Vec<Value> = arrived(&server, &receiver, 4).iter().map(|request| request.json()["event"].clone()).collect();
    assert_eq!(events.len(), 4);
    assert_eq!(events[3], "d");
}

/// A wrong type is a 422 that names it; nothing of the call is taken.
fn one_wrong_event_is_told_with_its_line_and_none_is_taken(place: Place) {
    let receiver = listen(Always(Action::status(200)));
    let stage = Stage::new(&with_rule(&receiver.url(), json!([deliver()])));
    let server = Server::start_on(place, &stage);
    let mut wrong = subscribed("w", 2, "form");
    wrong["data"]["contact"]["msisdn"] = json!("5599999999999");
    let unknown = json!({"id": "x", "type": "contact.subscribd", "data": {}});
    let refused = hand_in(&server, &[subscribed("a", 1, "form"), wrong, unknown, json!({"type": 7, "more": 1})]).expect(422).json();
    let paths: Vec<&str> = refused["problems"].as_array().unwrap().iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["line 2: data.contact.msisdn", "line 3: type", "line 4: more", "line 4: id", "line 4: type"], "{refused:#}");
    assert!(refused.to_string().contains("did you mean `contact.subscribed`"), "{refused:#}");
    let answer = hand_in(&server, &[subscribed("a", 1, "form")]).expect(202).json();
    assert_eq!(answer["events"], 1, "the first one had not been taken");
}

/// A receiver that is profile service and CRM in one.
fn profiles(profile: impl Fn(&Received) -> Action + Send + 'static) -> Receiver {
    listen(move |received: &Received| match received.path_and_query.starts_with("/profiles/") {
        true => profile(received),
        false => Action::status(200),
    })
}

fn fetching(receiver: &Receiver, on_failure: &str) -> Value {
    let fetch = json!({"fetch": {"request": "profile", "output": "profile", "on_failure": on_failure}});
    let mut project = with_rule(&receiver.url(), json!([fetch, deliver()]));
    project["requests"] =
        json!({"profile": {"url": format!("{}/profiles/{{{{contact.id}}}}", receiver.url()), "query": {"for": "{{event.type}}"}}});
    project
}

/// LP-01, LP-05, LP-11: what was fetched is seen by later steps, and fetched once however often the delivery is tried.
fn what_a_rule_fetches_stands_in_what_it_delivers(place: Place) {
    let mut tries = 0;
    let receiver = listen(move |received: &Received| match received.path_and_query.starts_with("/profiles/") {
        true => Action::Respond(Reply::new(200, r#"{"plan": "gold \"plus\""}"#)),
        false => {
            tries += 1;
            Action::status(if tries < 3 { 503 } else { 200 })
        }
    });
    let stage = Stage::new(&fetching(&receiver, "stop"));
    let server = Server::start_on(place, &stage);
    hand_in(&server, &[subscribed("a", 7, "form")]).expect(202);
    let requests = arrived(&server, &receiver, 4);
    assert_eq!(requests[0].method, "GET");
    assert_eq!(requests[0].path_and_query, "/profiles/7?for=contact.subscribed");
    assert!(requests[1..].iter().all(|request| request.json()["plan"] == "gold \"plus\""), "{requests:?}");
    assert!(requests[1..].windows(2).all(|pair| pair[0].body == pair[1].body));
}

/// LP-17, LP-22: a scalar is a failure; `stop` sends nothing, `continue` sends without the output.
#[test]
fn a_failed_fetch_stops_its_delivery_or_lets_it_go_on() {
    for (on_failure, delivered) in [("stop", 0), ("continue", 1)] {
        let receiver = profiles(|_| Action::Respond(Reply::new(200, "42")));
        let stage = Stage::new(&fetching(&receiver, on_failure));
        stage.write("events.ndjson", format!("{}\n", subscribed("a", 7, "form")));
        let ended = stage.penstock(&["event", "events.ndjson", "--json", "--allow-private"]).expect(if delivered == 0 { 3 } else { 0 });
        let wanted = json!({"succeeded": delivered, "failed": 1 - delivered, "pending": 0});
        assert_eq!(ended.json()["deliveries"], wanted, "{on_failure}");
        let requests = receiver.requests();
        assert_eq!(requests.len(), 1 + delivered, "{on_failure}: {requests:?}");
        assert!(requests[1..].iter().all(|request| request.json()["plan"] == ""), "{requests:?}");
    }
}

/// LP-21: a request that is off cannot run. A failure that may pass is tried again under the destination's retries.
#[test]
fn a_fetch_is_tried_again_where_that_may_help_and_never_runs_when_it_is_off() {
    let tries = std::sync::Arc::new(std::sync::Mutex::new(0));
    let receiver = profiles(move |_| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        if *tries < 3 { Action::status(503) } else { Action::Respond(Reply::new(200, r#"{"plan": "gold"}"#)) }
    });
    let mut project = fetching(&receiver, "stop");
    let stage = Stage::new(&project);
    stage.write("events.ndjson", format!("{}\n", subscribed("a", 7, "form")));
    stage.penstock(&["event", "events.ndjson", "--allow-private"]).expect(0);
    assert_eq!(receiver.requests().last().unwrap().json()["plan"], "gold");
    let before = receiver.count();
    project["requests"]["profile"]["enabled"] = json!(false);
    stage.configure(&project);
    stage.write("events.ndjson", format!("{}\n", subscribed("b", 7, "form")));
    stage.penstock(&["event", "events.ndjson", "--allow-private"]).expect(3);
    assert_eq!(receiver.count(), before);
}

/// `ordering: per_key`: an unsubscribe never overtakes its subscribe, and a contact that waits for its retry blocks nobody else.
fn events_of_a_contact_stay_in_order_and_hold_up_nobody_else(place: Place) {
    let mut refusals: BTreeMap<String, u32> = BTreeMap::new();
    let receiver = listen(move |received: &Received| {
        let tries = refusals.entry(received.json()["event"].as_str().unwrap_or_default().to_string()).or_default();
        *tries += 1;
        Action::status(if received.json()["id"] == "1" && *tries < 3 { 503 } else { 200 })
    });
    let stage = Stage::new(&with_rule(&receiver.url(), json!([deliver()])));
    let server = Server::start_on(place, &stage);
    let events: Vec<Value> = (0..40).map(|n| subscribed(&format!("e{n:02}"), 1 + n % 4, "form")).collect();
    hand_in(&server, &events).expect(202);
    let requests = arrived(&server, &receiver, 40 + 20);
    for contact in ["1", "2", "3", "4"] {
        let of: Vec<String> = requests
            .iter()
            .map(Received::json)
            .filter(|body| body["id"] == contact)
            .map(|body| body["event"].as_str().unwrap().to_string())
            .collect();
        let mut sorted = of.clone();
        sorted.sort();
        assert_eq!(of, sorted, "contact {contact}");
    }
    let last = |wanted: &dyn Fn(&Value) -> bool| requests.iter().rposition(|request| wanted(&request.json())).unwrap();
    assert!(last(&|body| body["id"] == "2") < last(&|body| body["id"] == "1"), "the others did not wait");
}

/// The limit of the destination holds over events, fetches are not counted, and kill -9 loses nothing: what was accepted arrives, and
/// what arrives twice has the same key and the same bytes.
#[test]
fn a_killed_server_loses_no_event_and_keeps_the_limit() {
    let receiver = profiles(|_| Action::Respond(Reply::new(200, r#"{"plan": "gold"}"#)));
    let mut project = fetching(&receiver, "stop");
    project["destinations"]["crm"]["rate_limit"] = json!({"requests": 60, "per": "second"});
    let stage = Stage::new(&project);
    let mut server = Server::start(&stage);
    let mut accepted = 0;
    for round in 0..4 {
        let events: Vec<Value> = (0..40).map(|n| subscribed(&format!("e{round}-{n}"), round * 40 + n, "form")).collect();
        hand_in(&server, &events).expect(202);
        accepted += events.len();
        if round < 3 {
            std::thread::sleep(Duration::from_millis(150));
            server.kill();
            server = Server::start(&stage);
        }
    }
    let delivered = || {
        let mut by_key: BTreeMap<String, Received> = BTreeMap::new();
        for request in receiver.requests().into_iter().filter(|request| request.method == "POST") {
            let key = request.header("idempotency-key").expect("a key").to_string();
            if let Some(before) = by_key.get(&key) {
                assert_eq!((&before.path_and_query, &before.body), (&request.path_and_query, &request.body), "{key}");
            }
            by_key.insert(key, request);
        }
        by_key
    };
    let all = server.until("every event has arrived", || Some(delivered()).filter(|all| all.len() >= accepted));
    assert_eq!(all.len(), accepted);
    let events: std::collections::BTreeSet<String> = all.values().map(|request| request.json()["event"].to_string()).collect();
    assert_eq!(events.len(), accepted, "each event under one key");
    let arrivals: Vec<u64> = receiver.requests().iter().filter(|request| request.method == "POST").map(|request| request.at).collect();
    assert!(max_in_window(&arrivals, Duration::from_secs(1)) <= 60);
}

/// VX-15 to VX-22: what was sent is found by rule and by event, with its request and every attempt, and can be sent again unless a newer
/// event of the same contact was delivered.
fn deliveries_of_events_are_looked_back_at_and_sent_again(place: Place) {
    let receiver = listen(|received: &Received| Action::status(if received.json()["event"] == "bad" { 422 } else { 200 }));
    let stage = Stage::new(&with_rule(&receiver.url(), json!([deliver()])));
    let server = Server::start_on(place, &stage);
    hand_in(&server, &[subscribed("bad", 1, "form"), subscribed("other", 2, "form")]).expect(202);
    let list = |query: &str| server.get(&format!("/v1/deliveries?{query}"))["items"].as_array().unwrap().clone();
    let both = server.until("both are recorded", || Some(list("rule=welcome")).filter(|found| found.len() == 2));
    assert!(both.iter().all(|delivery| delivery["rule"] == "welcome" && delivery.get("run").is_none()), "{both:?}");
    let bad = list("event=bad").remove(0);
    assert_eq!((&bad["status"], &bad["event"], &bad["row_keys"]), (&json!("failed"), &json!("bad"), &json!(["1"])), "{bad:#}");
    for query in ["rule=welcome&status=failed", "destination=crm&class=client_error", "event=bad&class=client_error", "class=client_error"]
    {
        assert_eq!(list(query).len(), 1, "{query}");
    }
    for query in ["rule=nobody", "event=bad&status=succeeded", "event=nobody", "rule=welcome&status=pending", "export=news"] {
        assert_eq!(list(query), Vec::<Value>::new(), "{query}");
    }
    let id = bad["id"].as_str().unwrap();
    let shown = server.get(&format!("/v1/deliveries/{id}"));
    assert_eq!(shown["idempotency_key"], id);
    assert!(shown["request"]["url"].as_str().unwrap().ends_with("/contacts/p1%40example.com"), "{shown:#}");
    assert_eq!(shown["attempts"][0]["response"]["status"], 422, "{shown:#}");
    if place == Place::Machine {
        let said = stage.penstock(&["deliveries", "--event", "bad"]).expect(0).all();
        assert!(said.contains(id), "{said}");
    }

    receiver.change_script(Always(Action::status(200)));
    server.call("POST", &format!("/v1/deliveries/{id}/redeliver"), Value::Null).expect(202);
    server.until("it is sent again", || (receiver.count() == 3).then_some(()));
    let requests = receiver.requests();
    let first = requests.iter().find(|request| request.json()["event"] == "bad").unwrap();
    assert_eq!((&requests[2].body, requests[2].header("idempotency-key")), (&first.body, Some(id)));
    server.until("that is recorded", || (list("event=bad")[0]["status"] == "succeeded").then_some(()));

    // A newer event of the contact: the older one would undo it.
    hand_in(&server, &[subscribed("newer", 1, "form")]).expect(202);
    server.until("the newer one is recorded", || (list("event=newer").first()?["status"] == "succeeded").then_some(()));
    let refused = server.call("POST", &format!("/v1/deliveries/{id}/redeliver"), Value::Null).expect(409).json();
    assert_eq!(refused["code"], "newer_event", "{refused:#}");
    let counted = server.call("POST", "/v1/deliveries/redeliver?rule=welcome&status=succeeded", Value::Null).expect(200).json();
    assert_eq!(counted["deliveries"], 3, "{counted:#}");
}

/// What waits is listed too: a paused destination holds its events.
fn events_for_a_paused_destination_are_held_and_go_when_it_goes_on(place: Place) {
    let receiver = listen(Always(Action::status(200)));
    let stage = Stage::new(&with_rule(&receiver.url(), json!([deliver()])));
    let server = Server::start_on(place, &stage);
    server.call("POST", "/v1/destinations/crm/pause", Value::Null).expect(200);
    let events: Vec<Value> = (0..30).map(|n| subscribed(&format!("e{n}"), n, "form")).collect();
    hand_in(&server, &events).expect(202);
    let mut held = Vec::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/v1/deliveries?rule=welcome&status=held&limit=7{after}"));
        held.extend(page["items"].as_array().unwrap().iter().map(|delivery| delivery["event"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let newest_first: Vec<Value> = events.iter().rev().map(|event| event["id"].clone()).collect();
    assert_eq!(held, newest_first);
    assert_eq!(receiver.count(), 0);
    server.call("POST", "/v1/destinations/crm/resume", Value::Null).expect(200);
    arrived(&server, &receiver, 30);
    server.until("none is held", || server.get("/v1/deliveries?status=held")["items"].as_array().unwrap().is_empty().then_some(()));
}

/// LP-07 to LP-09: a request is tried with a sample that can be edited; the answer says whether a rule could use it.
fn a_request_is_tested_with_a_sample_event(place: Place) {
    let receiver = listen(|received: &Received| {
        Action::Respond(Reply::new(200, if received.path_and_query.contains("/7?") { "[1]" } else { "text" }))
    });
    let stage = Stage::new(&fetching(&receiver, "stop"));
    let server = Server::start_on(place, &stage);
    let tested = server.call("POST", "/v1/requests/profile/test", json!({"data": {"contact": {"id": 7}}})).expect(200).json();
    assert_eq!((&tested["class"], &tested["response"]["body"]), (&json!("success"), &json!("[1]")), "{tested:#}");
    assert!(tested["request"]["url"].as_str().unwrap().ends_with("/profiles/7?for=contact.subscribed"), "{tested:#}");
    let tested = server.call("POST", "/v1/requests/profile/test", json!({"data": {"contact": {"id": 8}}})).expect(200).json();
    assert_eq!(tested["class"], "response_error", "{tested:#}");
    server.call("POST", "/v1/requests/nobody/test", json!({})).expect(404);
    let refused = server.call("POST", "/v1/requests/profile/test", json!({"type": "nothing", "data": 5})).expect(422).json();
    assert_eq!(refused["problems"][0]["path"], "data", "{refused:#}");
}
