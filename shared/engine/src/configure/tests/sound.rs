//! What a sound project becomes, and what holds where nothing is written.

use super::{base, put, sound, with};
use crate::model::action::{Action, BatchMode, Body};
use crate::model::credential::{CredentialKind, KeyPlace, Secret};
use crate::model::export::{FieldMapping, FirstRun, Guard, OnError, OnPartial, Schedule};
use crate::model::limit::{LimitMode, RateLimit};
use crate::model::name::Name;
use crate::model::project::Project;
use crate::model::retry::RetryPolicy;
use crate::model::source::{FileFormat, Source};
use crate::model::status::StatusSet;
use crate::port::Method;
use serde_json::{Value, json};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn add(project: &Project) -> &Action {
    project.exports[&name("people")].actions.add.as_ref().unwrap()
}

/// The example of contract.md without what this version does not do.
fn contract() -> Value {
    json!({
        "organization": {"id": "acme", "name": "Acme", "retention_days": 30},
        "credentials": {"crm": {"type": "bearer", "token": "t0k3n"}},
        "destinations": {"crm": {
            "name": "CRM",
            "base_url": "https://api.example.com",
            "credential": "crm",
            "headers": {"X-API-Key": "your-key"},
            "secret_headers": {"X-App-Secret": "hush"},
            "timeout_seconds": 30,
            "rate_limit": {"requests": 3600, "per": "hour"},
            "concurrency": 100,
            "sync_frequency": "1h",
            "idempotency_header": "Idempotency-Key",
            "retry": {"enabled": true, "on": ["408", "429", "500-504", "timeout", "network"], "max_attempts": 8,
                      "first_delay_seconds": 1, "max_delay_seconds": 900, "give_up_after": "24h"},
            "success": ["2xx"],
            "output_schema": [],
            "actions": {
                "add": {
                    "method": "POST",
                    "url": "/lists/{{audience_id}}/members",
                    "batch": {"mode": "batched", "size": 100},
                    "body": "{\"users\": [{{#each users}}{\"id\": \"{{id}}\"}{{#unless @last}},{{/unless}}{{/each}}]}",
                    "success_path": "created",
                },
                "update": "same_as_add",
                "remove": {"enabled": true, "method": "DELETE", "url": "/members/{{user.id}}", "success": ["2xx", "404"]},
            },
        }},
        "models": {"newsletter": {"name": "Newsletter", "primary_key": ["id"], "source": {"type": "file", "path": "rows/newsletter.csv"}}},
        "exports": {"newsletter": {
            "model": "newsletter",
            "destination": "crm",
            "fields": [{"from": "email_address", "to": "email"}, {"from": "id", "to": "id"}],
            "actions": {},
            "first_run": "backfill",
            "on_error": "next_run",
            "on_partial": "next_run",
            "on_rejected": "fail",
            "ignore_in_diff": [],
            "schedule": {"every": "1h"},
            "guard": {"max_removed_percent": 30, "max_removed": null, "max_invalid_percent": 10},
        }},
        "requests": {},
        "rules": {},
    })
}

/// GL-08, GL-14, GL-47, HT-04, HT-39
#[test]
fn the_contracts_example_is_read_key_by_key() {
    let project = sound(&contract());
    assert_eq!((project.organization.id.as_str(), project.organization.name.as_str()), ("acme", "Acme"));
    let crm = &project.destinations[&name("crm")];
    assert_eq!(crm.name, "CRM");
    assert_eq!(crm.base_url.as_str(), "https://api.example.com/");
    assert_eq!(crm.credential.as_ref().unwrap().kind, CredentialKind::Bearer(Secret::new("t0k3n")));
    assert_eq!(crm.headers, [("X-API-Key".to_string(), "your-key".to_string())]);
    assert_eq!(crm.secret_headers, [("X-App-Secret".to_string(), Secret::new("hush"))]);
    assert_eq!(
        crm.rate_limits,
        [RateLimit { requests: 3600, window_seconds: 3600, mode: LimitMode::Strict, burst: None, spread_seconds: None }]
    );
    assert_eq!(crm.sync_frequency_seconds, Some(3600));
    assert_eq!(crm.retry, RetryPolicy::default());
    let model = &project.models[&name("newsletter")];
    assert_eq!((model.name.as_str(), model.primary_key.as_slice()), ("Newsletter", ["id".to_string()].as_slice()));
    assert_eq!(model.source, Source::File { path: "rows/newsletter.csv".into(), format: None });
    let export = &project.exports[&name("newsletter")];
    assert_eq!(export.fields[0], FieldMapping { from: "email_address".into(), to: "email".into() });
    assert_eq!(export.schedule, Some(Schedule::Every(3600)));
    let add = export.actions.add.as_ref().unwrap();
    assert_eq!((add.method, add.batch, add.success_path.as_deref()), (Method::Post, BatchMode::Batched(100), Some("created")));
    assert_eq!(export.actions.update.as_ref(), Some(add));
    let remove = export.actions.remove.as_ref().unwrap();
    assert_eq!((remove.method, &remove.body), (Method::Delete, &Body::Empty));
    assert!(remove.success.contains(404) && remove.success.contains(204) && !add.success.contains(404));
}

/// GL-08, HT-38
#[test]
fn what_is_not_written_has_the_documented_defaults() {
    let project = sound(&base());
    assert_eq!((project.organization.id.as_str(), project.organization.retention_days), ("default", 30));
    let crm = &project.destinations[&name("crm")];
    assert_eq!((crm.name.as_str(), crm.timeout_seconds, crm.concurrency, crm.allow_http), ("crm", 30.0, 100, false));
    assert_eq!(
        crm.rate_limits,
        [RateLimit { requests: 1000, window_seconds: 1, mode: LimitMode::Strict, burst: None, spread_seconds: None }]
    );
    assert_eq!(crm.idempotency_header.as_deref(), Some("Idempotency-Key"));
    assert_eq!((&crm.retry, crm.sync_frequency_seconds), (&RetryPolicy::default(), None));
    let export = &project.exports[&name("people")];
    assert_eq!((export.first_run, export.on_error, export.on_partial), (FirstRun::Backfill, OnError::NextRun, OnPartial::NextRun));
    assert_eq!((&export.guard, &export.schedule), (&Guard::default(), &None));
    assert_eq!((export.fields.len(), export.ignore_in_diff.len()), (0, 0));
    let add = add(&project);
    assert_eq!((add.method, add.batch, add.strict), (Method::Post, BatchMode::Individual, false));
    assert_eq!((&add.success, &add.success_path), (&StatusSet::two_hundreds(), &None));
}

/// GL-53, GL-63, GL-64, HT-21
#[test]
fn batches_hold_100_rows_unless_said_otherwise_and_remove_has_a_size_of_its_own() {
    let mut document = with("/destinations/crm/actions/add/batch", json!({"mode": "batched"}));
    put(&mut document, "/destinations/crm/actions/remove/batch", json!({"mode": "batched", "size": 7}));
    let project = sound(&document);
    let actions = &project.exports[&name("people")].actions;
    assert_eq!(actions.add.as_ref().unwrap().batch, BatchMode::Batched(100));
    assert_eq!(actions.remove.as_ref().unwrap().batch, BatchMode::Batched(7));
    put(&mut document, "/destinations/crm/actions/add/batch", json!({"mode": "batched", "size": 3}));
    put(&mut document, "/destinations/crm/actions/remove/batch", json!({"mode": "batched"}));
    let project = sound(&document);
    let actions = &project.exports[&name("people")].actions;
    assert_eq!(actions.add.as_ref().unwrap().batch, BatchMode::Batched(3));
    assert_eq!(actions.remove.as_ref().unwrap().batch, BatchMode::Batched(100));
    // GL-53: the size is for batched mode only.
    let project = sound(&with("/destinations/crm/actions/add/batch", json!({"mode": "individual", "size": 50})));
    assert_eq!(add(&project).batch, BatchMode::Individual);
}

/// GL-45, GL-46, GL-59
#[test]
fn add_is_on_and_remove_off_by_default_and_update_is_on_when_written() {
    let mut document = base();
    put(&mut document, "/destinations/crm/actions", json!({"add": {"url": "/a"}, "remove": {"url": "/r"}}));
    let actions = sound(&document).exports[&name("people")].actions.clone();
    assert!(actions.add.is_some() && actions.update.is_none() && actions.remove.is_none());
    put(
        &mut document,
        "/destinations/crm/actions",
        json!({"add": {"enabled": false}, "update": {"url": "/u"}, "remove": {"enabled": true, "url": "/r"}}),
    );
    let actions = sound(&document).exports[&name("people")].actions.clone();
    assert!(actions.add.is_none() && actions.update.is_some() && actions.remove.is_some());
    put(
        &mut document,
        "/destinations/crm/actions",
        json!({"add": null, "update": {"url": "/u", "enabled": false}, "remove": {"enabled": true, "url": "/r"}}),
    );
    let actions = sound(&document).exports[&name("people")].actions.clone();
    assert!(actions.add.is_none() && actions.update.is_none() && actions.remove.is_some());
}

/// GL-47, GL-61, HT-22
#[test]
fn every_action_takes_all_five_methods() {
    for (word, method) in
        [("GET", Method::Get), ("POST", Method::Post), ("PUT", Method::Put), ("PATCH", Method::Patch), ("DELETE", Method::Delete)]
    {
        for action in ["add", "update", "remove"] {
            let project = sound(&with(&format!("/exports/people/actions/{action}"), json!({"enabled": true, "url": "/x", "method": word})));
            let actions = &project.exports[&name("people")].actions;
            let read = match action {
                "add" => &actions.add,
                "update" => &actions.update,
                _ => &actions.remove,
            };
            assert_eq!(read.as_ref().unwrap().method, method, "{action} {word}");
        }
    }
}

/// HT-36, HT-38, HT-39
#[test]
fn rate_limits_take_every_window_and_a_list_holds_as_a_whole() {
    let limits = |value: Value| sound(&with("/destinations/crm/rate_limit", value)).destinations[&name("crm")].rate_limits.clone();
    for (per, seconds) in [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)] {
        assert_eq!(limits(json!({"requests": 5, "per": per}))[0].window_seconds, seconds);
    }
    assert_eq!(limits(json!("unlimited")), []);
    assert_eq!(limits(json!(null)), [RateLimit::default_limit()]);
    let both = limits(json!([{"requests": 10, "per": "second", "mode": "paced", "burst": 3}, {"requests": 360, "per": "hour"}]));
    assert_eq!(both[0], RateLimit { requests: 10, window_seconds: 1, mode: LimitMode::Paced, burst: Some(3), spread_seconds: None });
    assert_eq!((both.len(), both[1].requests), (2, 360));
    let project = sound(&with("/destinations/crm/concurrency", json!(7)));
    assert_eq!(project.destinations[&name("crm")].concurrency, 7);
}

/// GL-14, GL-15, HT-05
#[test]
fn credentials_of_every_kind_are_read() {
    for (written, kind) in [
        (
            json!({"type": "basic", "username": "u", "password": "p:w"}),
            CredentialKind::Basic { username: "u".into(), password: Secret::new("p:w") },
        ),
        (json!({"type": "bearer", "token": "abc"}), CredentialKind::Bearer(Secret::new("abc"))),
        (
            json!({"type": "headers", "headers": {"A": "1", "B": "2"}}),
            CredentialKind::Headers(vec![("A".into(), Secret::new("1")), ("B".into(), Secret::new("2"))]),
        ),
        (
            json!({"type": "api_key", "name": "key", "value": "v", "in": "query"}),
            CredentialKind::ApiKey { name: "key".into(), value: Secret::new("v"), place: KeyPlace::Query },
        ),
        (
            json!({"type": "api_key", "name": "X-Key", "value": "v"}),
            CredentialKind::ApiKey { name: "X-Key".into(), value: Secret::new("v"), place: KeyPlace::Header },
        ),
    ] {
        let project = sound(&with("/credentials/key", written));
        assert_eq!(project.credentials[&name("key")].kind, kind);
        assert_eq!(project.destinations[&name("crm")].credential.as_ref().unwrap().kind, kind);
    }
}

/// HT-27
#[test]
fn a_body_is_a_template_an_object_or_nothing() {
    let body = |value: Value| add(&sound(&with("/destinations/crm/actions/add/body", value))).body.clone();
    assert_eq!(body(json!("{}")), Body::Json("{}".into()));
    assert_eq!(body(json!(null)), Body::Empty);
    assert_eq!(body(json!({"template": "[]"})), Body::Json("[]".into()));
    assert_eq!(body(json!({"content": "text", "engine": "handlebars", "template": "hello"})), Body::Text("hello".into()));
    assert_eq!(body(json!({"content": "empty"})), Body::Empty);
}

#[test]
fn retrying_and_durations_are_read() {
    let retry = |value: Value| sound(&with("/destinations/crm/retry", value)).destinations[&name("crm")].retry.clone();
    let policy = retry(json!({"on": [429, "5xx"], "max_attempts": null, "give_up_after": "7d", "max_delay_seconds": 0.5}));
    assert!(policy.statuses.contains(429) && policy.statuses.contains(599) && !policy.statuses.contains(408));
    assert_eq!((policy.timeout, policy.network, policy.max_attempts), (false, false, None));
    assert_eq!((policy.give_up_after_seconds, policy.first_delay_seconds, policy.max_delay_seconds), (7 * 86_400, 0.5, 0.5));
    assert!(!retry(json!({"enabled": false})).enabled);
    for (written, seconds) in
        [(json!("30s"), 30), (json!("15m"), 900), (json!("1h"), 3600), (json!("7d"), 604_800), (json!(90), 90), (json!("90"), 90)]
    {
        let project = sound(&with("/destinations/crm/sync_frequency", written));
        assert_eq!(project.destinations[&name("crm")].sync_frequency_seconds, Some(seconds));
    }
}

#[test]
fn options_of_an_export_and_a_model_are_read() {
    let mut document = base();
    put(&mut document, "/exports/people/first_run", json!("skip"));
    put(&mut document, "/exports/people/on_error", json!("give_up"));
    put(&mut document, "/exports/people/on_partial", json!("accept"));
    put(&mut document, "/exports/people/ignore_in_diff", json!(["seen_at"]));
    put(&mut document, "/exports/people/fields", json!([{"from": "mail", "to": "email"}, {"from": "id"}]));
    put(&mut document, "/exports/people/guard", json!({"max_removed": 5, "max_removed_percent": 12.5}));
    put(&mut document, "/exports/people/schedule", json!({"cron": "0 6 * * mon-fri", "timezone": "Europe/Berlin"}));
    put(&mut document, "/models/people/source/format", json!("parquet"));
    put(&mut document, "/destinations/crm/idempotency_header", json!(null));
    put(&mut document, "/destinations/crm/headers/X-Version", json!(2));
    let project = sound(&document);
    let export = &project.exports[&name("people")];
    assert_eq!((export.first_run, export.on_error, export.on_partial), (FirstRun::Skip, OnError::GiveUp, OnPartial::Accept));
    assert_eq!(export.ignore_in_diff, ["seen_at"]);
    assert_eq!(export.fields[1], FieldMapping { from: "id".into(), to: "id".into() });
    assert_eq!(export.guard, Guard { max_removed_percent: 12.5, max_removed: Some(5), max_invalid_percent: 10.0 });
    assert_eq!(export.schedule, Some(Schedule::Cron { expression: "0 6 * * mon-fri".into(), timezone: "Europe/Berlin".into() }));
    let source = &project.models[&name("people")].source;
    assert!(matches!(source, Source::File { format: Some(FileFormat::Parquet), .. }), "{source:?}");
    let crm = &project.destinations[&name("crm")];
    assert_eq!(crm.idempotency_header, None);
    assert!(crm.headers.contains(&("X-Version".to_string(), "2".to_string())));
}

#[test]
fn a_project_without_exports_is_sound() {
    for document in [json!({}), json!({"models": null, "exports": {}})] {
        let project = sound(&document);
        assert!(project.exports.is_empty() && project.destinations.is_empty());
    }
}

#[test]
fn a_query_and_pushed_rows_are_sources() {
    let mut document = base();
    put(&mut document, "/models/people/source", json!({"type": "postgres", "dsn": "postgres://u:hush@db/shop", "query": "SELECT 1 AS id"}));
    let project = sound(&document);
    let source = &project.models[&name("people")].source;
    assert_eq!(*source, Source::Postgres { dsn: Secret::new("postgres://u:hush@db/shop"), query: "SELECT 1 AS id".into() });
    assert!(!format!("{project:?}").contains("hush"));
    put(&mut document, "/models/people/source", json!({"type": "push"}));
    assert_eq!(sound(&document).models[&name("people")].source, Source::Push);
}
