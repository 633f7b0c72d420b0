//! What this version does not do yet, and that no problem hides another.

use super::problems::{refuse, refuse_at};
use super::{base, problems, put, with};
use serde_json::json;

#[test]
fn what_comes_later_is_refused_and_never_ignored() {
    let later = "is not available in this version";
    refuse(&[
        ("/credentials/key/type", json!("oauth2_client_credentials"), later),
        ("/credentials/key/type", json!("oauth2_authorization_code"), later),
        ("/destinations/crm/tls", json!({"ca_pem_file": "ca.pem"}), later),
        ("/destinations/crm/audience", json!({"get": {}}), later),
        ("/destinations/crm/output_schema", json!([{"field": "age", "type": "number"}]), later),
        ("/destinations/crm/engine", json!("liquid"), later),
        ("/destinations/crm/actions/get_audience", json!({"url": "/x"}), later),
        ("/destinations/crm/actions/add/results", json!({"path": "x"}), later),
        ("/exports/people/output_schema", json!([{"field": "age", "type": "number"}]), later),
        ("/exports/people/audience", json!({"get": {}}), later),
        ("/exports/people/on_partial", json!("split"), later),
        ("/exports/people/on_rejected", json!("split"), later),
        ("/models/people/duplicates", json!("first"), later),
    ]);
    refuse_at(&[
        (
            "/destinations/crm/actions/add/batch",
            json!({"mode": "batched", "max_bytes": 5}),
            "destinations.crm.actions.add.batch.max_bytes",
            later,
        ),
        (
            "/destinations/crm/actions/add/body",
            json!({"content": "xml", "template": "<a/>"}),
            "destinations.crm.actions.add.body.content",
            later,
        ),
        (
            "/destinations/crm/actions/add/body",
            json!({"content": "form", "fields": {}}),
            "destinations.crm.actions.add.body.content",
            later,
        ),
        (
            "/destinations/crm/actions/add/body",
            json!({"content": "json", "column": "payload"}),
            "destinations.crm.actions.add.body.column",
            later,
        ),
        (
            "/destinations/crm/actions/add/body",
            json!({"content": "json", "fields": {"a": "b"}}),
            "destinations.crm.actions.add.body.fields",
            later,
        ),
        (
            "/destinations/crm/actions/add/body",
            json!({"engine": "jmespath", "template": "x"}),
            "destinations.crm.actions.add.body.engine",
            later,
        ),
    ]);
}

#[test]
fn a_credential_of_a_kind_that_comes_later_is_one_problem() {
    let document = with("/credentials/key", json!({"type": "oauth2_client_credentials", "token_url": "x", "client_id": "y"}));
    assert_eq!(problems(&document).len(), 1);
}

#[test]
fn all_problems_come_at_once() {
    let mut document = base();
    put(&mut document, "/destinations/crm/base_url", json!("nowhere"));
    put(&mut document, "/destinations/crm/concurrency", json!("many"));
    put(&mut document, "/destinations/crm/actions/add/method", json!("SEND"));
    put(&mut document, "/models/people/primary_key", json!(3));
    put(&mut document, "/exports/people/on_error", json!("ask"));
    put(&mut document, "/exports/other", json!({"model": "x", "destination": "y"}));
    put(&mut document, "/colour", json!("red"));
    let found = problems(&document);
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn no_problem_hides_another_in_the_same_definition() {
    let mut document = base();
    put(&mut document, "/organization", json!({"id": "A", "name": "", "retention_days": 0, "x": 1}));
    put(
        &mut document,
        "/destinations/crm",
        json!({"retry": {"on": 1, "max_attempts": 0, "give_up_after": 0}, "rate_limit": {"per": "x", "burst": 0}}),
    );
    put(&mut document, "/credentials/key", json!({"type": "api_key", "in": "x", "value": ""}));
    put(&mut document, "/models/people", json!({"source": {"format": "x"}}));
    put(&mut document, "/exports/people", json!({"guard": {"max_removed": -1, "max_removed_percent": -1}, "fields": [{}, {"from": ""}]}));
    let mut paths: Vec<String> = problems(&document).into_iter().map(|problem| problem.path).collect();
    paths.sort();
    let expected = [
        "credentials.key.in",
        "credentials.key.name",
        "credentials.key.value",
        "destinations.crm.base_url",
        "destinations.crm.rate_limit.burst",
        "destinations.crm.rate_limit.per",
        "destinations.crm.rate_limit.requests",
        "destinations.crm.retry.give_up_after",
        "destinations.crm.retry.max_attempts",
        "destinations.crm.retry.on",
        "exports.people.destination",
        "exports.people.fields[0].from",
        "exports.people.fields[1].from",
        "exports.people.guard.max_removed",
        "exports.people.guard.max_removed_percent",
        "exports.people.model",
        "models.people.primary_key",
        "models.people.source.format",
        "models.people.source.path",
        "models.people.source.type",
        "organization.id",
        "organization.name",
        "organization.retention_days",
        "organization.x",
    ];
    assert_eq!(paths, expected);
}
