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

/// faults.md H5: of two who change the same, one is told.
#[test]
fn concurrent_edits_of_one_revision_change_it_once() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let created = stage.put(&token, "/v1/destinations/crm", &destination()).await;
        let revision = created.header("etag").to_string();
        let edit = |frequency: &str| {
            let mut edited = destination();
            edited["sync_frequency"] = json!(frequency);
            stage.ask("PUT", "/v1/destinations/crm").token(&token).header("if-match", &revision).json(&edited).send()
        };
        let (one, two, three) = futures_util::join!(edit("1h"), edit("2h"), edit("3h"));
        let mut statuses = [one.status, two.status, three.status];
        statuses.sort();
        assert_eq!(statuses, [200, 412, 412]);
        let late = edit("4h").await;
        assert_eq!((late.status, late.code().as_str()), (412, "precondition_failed"));
        let now = stage.ask("GET", "/v1/destinations/crm").token(&token).send().await;
        assert_eq!(late.header("etag"), now.header("etag"), "who is refused is told what is there");
    });
}

#[test]
fn preconditions_say_what_must_be_there() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let put = |name: &'static str, value: &str| {
            stage.ask("PUT", "/v1/destinations/crm").token(&token).header(name, value).json(&destination()).send()
        };
        assert_eq!(put("if-match", "*").await.status, 412, "nothing is there yet");
        assert_eq!(put("if-match", "\"1\"").await.status, 412);
        let created = put("if-none-match", "*").await;
        assert_eq!(created.status, 201);
        assert_eq!(put("if-none-match", "*").await.status, 412);
        assert_eq!(put("if-match", "*").await.status, 200);
        assert_eq!(put("if-match", created.header("etag")).await.status, 200);
        assert_eq!(put("if-match", "\"someone-elses\"").await.status, 412);
        for wrong in ["1", "W/\"1\"", "\"1\", \"2\"", ""] {
            let answered = put("if-match", wrong).await;
            assert_eq!((answered.status, answered.code().as_str()), (400, "invalid_header"), "{wrong}");
        }
        let delete = |tag: &str| stage.ask("DELETE", "/v1/destinations/crm").token(&token).header("if-match", tag).send();
        assert_eq!(delete("\"99\"").await.status, 412);
        assert_eq!(delete(created.header("etag")).await.status, 204);
    });
}

#[test]
fn what_is_referred_to_cannot_be_deleted() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        for (path, by) in [
            ("/v1/credentials/crm", "destinations.crm"),
            ("/v1/destinations/crm", "exports.newsletter"),
            ("/v1/models/people", "exports.newsletter"),
        ] {
            let refused = stage.ask("DELETE", path).token(&token).send().await;
            assert_eq!((refused.status, refused.code().as_str()), (409, "in_use"), "{path}");
            assert_eq!(refused.json()["problems"][0]["path"], by);
        }
        let run = stage.ask("POST", "/v1/exports/newsletter/runs").token(&token).send().await.json();
        let refused = stage.ask("DELETE", "/v1/exports/newsletter").token(&token).send().await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "export_busy"));
        assert!(refused.text().contains(run["id"].as_str().unwrap()));
        stage.free_export("acme").await;
        for path in ["/v1/exports/newsletter", "/v1/destinations/crm", "/v1/credentials/crm", "/v1/models/people"] {
            assert_eq!(stage.ask("DELETE", path).token(&token).send().await.status, 204, "{path}");
        }
    });
}

/// faults.md S16: who may change definitions but knows no secret cannot send one elsewhere, nor read it.
#[test]
fn secrets_are_write_only_and_stay_with_their_host() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        let read = stage.ask("GET", "/v1/credentials/crm").token(&token).send().await;
        assert_eq!(read.json()["definition"], json!({"type": "bearer", "token": "[redacted]"}));
        let same = stage.put(&token, "/v1/credentials/crm", &read.json()["definition"]).await;
        assert_eq!(same.header("etag"), read.header("etag"), "what was read can be put back");

        let mut moved = destination();
        moved["credential"] = json!("crm");
        moved["base_url"] = json!("https://elsewhere.example");
        let refused = stage.ask("PUT", "/v1/destinations/crm").token(&token).json(&moved).send().await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "invalid"), "{}", refused.text());
        for answered in [&read, &same, &refused] {
            assert!(!answered.text().contains("t0ps3cret"), "{}", answered.text());
        }
    });
}

#[test]
fn lists_are_paged_in_the_order_of_names() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        for name in ["e", "b", "d", "a", "c"] {
            stage.put(&token, &format!("/v1/models/{name}"), &json!({"primary_key": ["id"], "source": {"type": "push"}})).await;
        }
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = stage.ask("GET", &format!("/v1/models?limit=2{after}")).token(&token).send().await.json();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_string()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    });
}

#[test]
fn the_organizations_settings_have_a_default_and_can_be_put() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let before = stage.ask("GET", "/v1/organization").token(&token).send().await;
        assert_eq!(before.json()["definition"], json!({"name": "acme", "retention_days": 30}));
        assert_eq!((before.header("etag"), &before.json()["updated_at"]), ("\"0\"", &Value::Null));
        let put = stage.put(&token, "/v1/organization", &json!({"name": "Acme", "retention_days": 7})).await;
        assert_eq!((put.json()["id"].as_str(), put.json()["definition"]["retention_days"].as_u64()), (Some("acme"), Some(7)));
        let other = stage.ask("PUT", "/v1/organization").token(&token).json(&json!({"id": "other", "name": "x"})).send().await;
        assert_eq!((other.status, other.json()["problems"][0]["path"].as_str()), (422, Some("id")));
    });
}

/// A definition as a document that a project file would have, all at once.
#[test]
fn a_project_is_applied_whole_or_not_at_all() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        let mut whole = json!({
            "destinations": {"crm": destination()},
            "models": {"people": {"primary_key": ["id"], "source": {"type": "push"}}},
            "exports": {"newsletter": {"model": "people", "destination": "cmr"}},
        });
        let refused = stage.ask("POST", "/v1/apply").token(&token).json(&whole).send().await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(refused.text().contains("did you mean `crm`?"), "{}", refused.text());
        assert_eq!(stage.ask("GET", "/v1/models").token(&token).send().await.json()["items"], json!([]));
        whole["exports"]["newsletter"]["destination"] = json!("crm");
        let told = stage.ask("POST", "/v1/apply?dry_run=true").token(&token).json(&whole).send().await.json();
        assert_eq!((told["dry_run"].as_bool(), told["changes"].as_array().map(Vec::len)), (Some(true), Some(3)), "{told}");
        assert_eq!(stage.ask("GET", "/v1/models").token(&token).send().await.json()["items"], json!([]));
        let done = stage.ask("POST", "/v1/apply").token(&token).json(&whole).send().await;
        assert_eq!(done.status, 200);
        assert_eq!(stage.ask("GET", "/v1/exports/newsletter").token(&token).send().await.status, 200);
    });
}
