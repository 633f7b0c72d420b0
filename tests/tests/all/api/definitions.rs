//! Definitions through the API: put, read, listed, deleted, and changed by two at once.

use super::stage::{Stage, on_stage};
use serde_json::{Value, json};

fn destination() -> Value {
    json!({"base_url": "https://api.example.com", "actions": {"add": {"url": "/members", "body": "{\"id\": \"{{user.id}}\"}"}}})
}

/// Model `people`, destination `crm` and export `newsletter` of an organization.
pub async fn project(stage: &Stage, token: &str) {
    stage.put(token, "/v1/credentials/crm", &json!({"type": "bearer", "token": "t0ps3cret-token"})).await;
    let mut crm = destination();
    crm["credential"] = json!("crm");
    stage.put(token, "/v1/destinations/crm", &crm).await;
    stage.put(token, "/v1/models/people", &json!({"primary_key": ["id"], "source": {"type": "file", "path": "rows.csv"}})).await;
    stage.put(token, "/v1/exports/newsletter", &json!({"model": "people", "destination": "crm"})).await;
}

#[test]
fn a_definition_is_created_read_replaced_and_deleted() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let created = stage.ask("PUT", "/v1/destinations/crm").token(&token).json(&destination()).send().await;
        assert_eq!(created.status, 201, "{}", created.text());
        let read = stage.ask("GET", "/v1/destinations/crm").token(&token).send().await;
        assert_eq!((read.status, &read.json()["definition"]), (200, &destination()));
        assert_eq!(read.header("etag"), created.header("etag"));
        assert_eq!(read.json()["updated_at"], "2027-01-15T08:00:00.000Z");

        let same = stage.ask("PUT", "/v1/destinations/crm").token(&token).json(&destination()).send().await;
        assert_eq!((same.status, same.header("etag")), (200, created.header("etag")), "putting the same changes nothing");

        let mut slower = destination();
        slower["rate_limit"] = json!({"requests": 1, "per": "second"});
        let replaced = stage.ask("PUT", "/v1/destinations/crm").token(&token).json(&slower).send().await;
        assert_eq!(replaced.status, 200);
        assert_ne!(replaced.header("etag"), created.header("etag"));
        assert_eq!(*stage.office.refreshed.borrow(), [Some("crm".to_string()), Some("crm".to_string())]);

        let deleted = stage.ask("DELETE", "/v1/destinations/crm").token(&token).send().await;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0));
        assert_eq!(stage.ask("GET", "/v1/destinations/crm").token(&token).send().await.status, 404);
        assert_eq!(stage.ask("DELETE", "/v1/destinations/crm").token(&token).send().await.status, 404);
    });
}
