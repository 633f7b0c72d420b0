//! `Idempotency-Key`: the first answer is kept, and the work is not done again.

use super::definitions::project;
use super::stage::on_stage;
use engine::idempotency::{Begun, LOST_SECONDS, Recorded, begin, finish};
use engine::model::name::Name;
use serde_json::json;

/// faults.md H6
#[test]
fn a_repeated_request_gets_the_first_answer_and_starts_nothing() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        let start =
            || stage.ask("POST", "/v1/exports/newsletter/runs").token(&token).header("idempotency-key", "k1").json(&json!({"full": true}));
        let first = start().send().await;
        let again = start().send().await;
        assert_eq!((first.status, again.status), (202, 202), "{}", again.text());
        assert_eq!((first.body.clone(), first.header("location")), (again.body.clone(), again.header("location")));
        assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
        let runs = stage.ask("GET", "/v1/runs").token(&token).send().await.json();
        assert_eq!(runs["items"].as_array().map(Vec::len), Some(1));

        let other = stage.ask("POST", "/v1/exports/newsletter/runs").token(&token).header("idempotency-key", "k1").json(&json!({}));
        let other = other.send().await;
        assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
        // Under another key it is another request, and the export is taken.
        let fresh =
            stage.ask("POST", "/v1/exports/newsletter/runs").token(&token).header("idempotency-key", "k2").json(&json!({"full": true}));
        assert_eq!(fresh.send().await.code(), "export_busy");

        stage.office.pass(25 * 3600);
        assert_eq!(start().send().await.code(), "export_busy", "after a day the key is free");
    });
}

#[test]
fn keys_are_each_organizations_and_each_routes_own() {
    on_stage(async |stage| {
        let (acme, other) = (stage.owner().await, stage.token("other", &engine::token::Scope::ALL).await);
        let render = |token: &str, row: &str| {
            let body = json!({"template": "{\"a\": \"{{user.a}}\"}", "rows": [{"a": row}]});
            stage.ask("POST", "/v1/render").token(token).header("idempotency-key", "same").json(&body)
        };
        let first = render(&acme, "1").send().await;
        let second = render(&other, "2").send().await;
        assert_eq!((first.status, second.status, second.header("idempotency-replayed")), (200, 200, ""));
        let token =
            stage.ask("POST", "/v1/tokens").token(&acme).header("idempotency-key", "same").json(&json!({"name": "x", "scopes": ["read"]}));
        assert_eq!(token.send().await.status, 201);
    });
}

/// A refusal is an answer too: what was refused once is not tried again under the same key.
#[test]
fn refusals_are_kept_and_failures_of_ours_are_not() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let start = || stage.ask("POST", "/v1/exports/newsletter/runs").token(&token).header("idempotency-key", "k");
        assert_eq!(start().send().await.status, 404);
        project(&stage, &token).await;
        let again = start().send().await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (404, "true"));
        assert_eq!(again.header("content-type"), "application/problem+json");

        *stage.office.answer.borrow_mut() = None;
        let body = json!({"rows": [{"id": 1}]});
        let test = || stage.ask("POST", "/v1/destinations/crm/test").token(&token).header("idempotency-key", "t").json(&body);
        assert_eq!(test().send().await.code(), "lane_busy");
        *stage.office.answer.borrow_mut() = Some(engine::port::Response { status: 200, headers: vec![], body: vec![], truncated: false });
        let tested = test().send().await;
        assert_eq!((tested.status, tested.header("idempotency-replayed")), (200, ""), "{}", tested.text());
    });
}

/// A token's text is shown once more to who asks twice, and lies in no document in the clear.
#[test]
fn an_answer_that_holds_a_secret_is_kept_sealed() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let body = json!({"name": "x", "scopes": ["read"]});
        let make = || stage.ask("POST", "/v1/tokens").token(&token).header("idempotency-key", "k").json(&body);
        let (first, again) = (make().send().await, make().send().await);
        assert_eq!((first.status, &first.body), (again.status, &again.body));
        let text = first.json()["text"].as_str().expect("a text").to_string();
        for (key, document) in stage.office.store.all() {
            assert!(!String::from_utf8_lossy(&document.body).contains(&text), "{key:?} shows a token");
        }
    });
}

#[test]
fn a_second_request_waits_for_the_first_ones_answer() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let body = json!({"template": "{\"a\": 1}", "rows": [{"a": 1}]});
        let render = || stage.ask("POST", "/v1/render").token(&token).header("idempotency-key", "k").json(&body).send();
        let (one, two) = futures_util::join!(render(), render());
        let mut statuses = [one.status, two.status];
        statuses.sort();
        assert!(statuses == [200, 409] || statuses == [200, 200], "{statuses:?}");
        assert_eq!(render().await.header("idempotency-replayed"), "true");
    });
}

/// A process that dies in the middle holds its key for two minutes; what it answers after that no longer counts.
#[test]
fn a_key_whose_first_request_was_lost_comes_free_again() {
    on_stage(async |stage| {
        let (store, acme) = (&stage.office.store, &Name::new("acme").unwrap());
        let begin = async |now| begin(store, acme, "route", "key", "fingerprint", now).await.expect("memory does not fail");
        let Begun::First(lost) = begin(1000).await else { panic!("nobody has the key") };
        assert!(matches!(begin(1000 + LOST_SECONDS - 1).await, Begun::Running));
        let Begun::First(second) = begin(1000 + LOST_SECONDS + 1).await else { panic!("the first is lost") };
        let answer = |body: &str| Recorded { status: 200, headers: vec![], kind: None, body: body.to_string() };
        finish(store, second, answer("second"), 1200).await.expect("memory does not fail");
        finish(store, lost, answer("lost"), 1201).await.expect("memory does not fail");
        assert!(matches!(begin(1202).await, Begun::Again(_, recorded) if recorded.body == "second"));
    });
}
