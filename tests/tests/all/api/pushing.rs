//! Rows that are pushed over HTTP: changes, and whole snapshots in parts.

use super::stage::{Stage, on_stage};
use engine::model::name::Name;
use serde_json::json;

const NDJSON: &str = "application/x-ndjson";

async fn model(stage: &Stage, token: &str) {
    stage.put(token, "/v1/models/people", &json!({"primary_key": ["id"], "source": {"type": "push"}})).await;
}

/// SHA-256 of `{"id":1}\n{"id":2}\n`.
const TWO_ROWS: &str = "{\"id\":1}\n{\"id\":2}\n";
const TWO_ROWS_SHA256: &str = "34b57ae6e0ca98a38b2b9ff0ac8a34c1d50b0a3a2ce7e9b4e0d7c0e02a2c7a33";

#[test]
fn changes_take_place_all_or_none() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        model(&stage, &token).await;
        let push = |body: &'static str| stage.ask("POST", "/v1/models/people/rows?mode=changes").token(&token).body(NDJSON, body).send();
        let taken = push("{\"upsert\": {\"id\": 1}}\n{\"remove\": {\"id\": 2}}\n").await;
        assert_eq!((taken.status, taken.json()["upserts"].as_u64(), taken.json()["removals"].as_u64()), (200, Some(1), Some(1)));
        let version = taken.json()["version"].as_u64();
        let wrong = push("{\"upsert\": {\"id\": 3}}\nnonsense\n{\"upsert\": {}}\n").await;
        assert_eq!(wrong.status, 422);
        let problem = wrong.json();
        let paths: Vec<&str> = problem["problems"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["line 2", "line 3"], "{problem}");
        let next = push("{\"upsert\": {\"id\": 4}}\n").await;
        assert_eq!(next.json()["version"].as_u64(), version.map(|version| version + 1), "the wrong push changed nothing");
    });
}

#[test]
fn a_push_under_the_same_key_is_one_push() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        model(&stage, &token).await;
        let push = || {
            let asking = stage.ask("POST", "/v1/models/people/rows?mode=changes").token(&token).header("idempotency-key", "p1");
            asking.body(NDJSON, "{\"upsert\": {\"id\": 1}}\n").send()
        };
        let first = push().await;
        // The answer was lost with the process: what is kept of it is gone, the push is not.
        stage.office.pass(23 * 3600);
        let again = push().await;
        assert_eq!(first.json()["version"], again.json()["version"]);
    });
}

#[test]
fn only_models_with_pushed_rows_take_some() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        stage.put(&token, "/v1/models/people", &json!({"primary_key": ["id"], "source": {"type": "file", "path": "rows.csv"}})).await;
        let answered = stage.ask("POST", "/v1/models/people/rows?mode=changes").token(&token).body(NDJSON, "{}\n").send().await;
        assert_eq!((answered.status, answered.code().as_str()), (409, "not_a_push_model"));
        let answered = stage.ask("POST", "/v1/models/absent/uploads").token(&token).send().await;
        assert_eq!(answered.status, 404);
        let answered = stage.ask("POST", "/v1/models/people/rows").token(&token).body(NDJSON, "{}\n").send().await;
        assert_eq!((answered.status, answered.json()["problems"][0]["path"].as_str()), (400, Some("mode")));
    });
}

#[test]
fn an_upload_takes_effect_when_it_is_committed_whole() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        model(&stage, &token).await;
        let begun = stage.ask("POST", "/v1/models/people/uploads").token(&token).send().await;
        assert_eq!(begun.status, 201, "{}", begun.text());
        let upload = begun.header("location").to_string();
        let part = |number: &str, body: &'static str| {
            stage.ask("PUT", &format!("{upload}/parts/{number}")).token(&token).body("application/octet-stream", body).send()
        };
        assert_eq!(part("1", &TWO_ROWS[..5]).await.status, 204);
        for wrong in ["0", "10001", "x", "-1"] {
            assert_eq!(part(wrong, "x").await.status, 404, "{wrong}");
        }
        let sha256 = sha256_of(TWO_ROWS);
        let commit = |rows: u64, sha256: &str| {
            let body = json!({"rows": rows, "sha256": sha256});
            stage.ask("POST", &format!("{upload}/commit")).token(&token).json(&body).send()
        };
        let torn = commit(2, &sha256).await;
        assert_eq!((torn.status, torn.code().as_str()), (422, "upload_torn"), "{}", torn.text());
        assert_eq!(part("2", &TWO_ROWS[5..]).await.status, 204);
        for (rows, sum) in [(3, sha256.as_str()), (2, TWO_ROWS_SHA256)] {
            let torn = commit(rows, sum).await;
            assert_eq!((torn.status, torn.code().as_str()), (422, "upload_torn"), "{}", torn.text());
        }
        let pushed =
            engine::push::read(&stage.office.store, &Name::new("acme").unwrap(), &Name::new("people").unwrap(), 1_800_000_000).await;
        assert!(pushed.expect("memory does not fail").base.is_none(), "a torn upload changes nothing");
        let committed = commit(2, &sha256).await;
        assert_eq!((committed.status, committed.json()["rows"].as_u64()), (200, Some(2)), "{}", committed.text());
        assert_eq!(commit(2, &sha256).await.body, committed.body, "the same commit again answers the same");
        assert_eq!(part("3", "x").await.code(), "upload_closed");
        let dropped = stage.ask("DELETE", &upload).token(&token).send().await;
        assert_eq!((dropped.status, dropped.code().as_str()), (409, "upload_closed"));
        let wrong = stage.ask("POST", &format!("{upload}/commit")).token(&token).json(&json!({"rows": -1, "sha256": "zz"})).send().await;
        assert_eq!((wrong.status, wrong.json()["problems"].as_array().map(Vec::len)), (422, Some(2)));
    });
}

#[test]
fn a_dropped_upload_is_gone() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        model(&stage, &token).await;
        let upload = stage.ask("POST", "/v1/models/people/uploads").token(&token).send().await.header("location").to_string();
        assert_eq!(stage.ask("DELETE", &upload).token(&token).send().await.status, 204);
        let part = stage.ask("PUT", &format!("{upload}/parts/1")).token(&token).body("application/octet-stream", "x").send().await;
        assert_eq!((part.status, part.code().as_str()), (404, "not_found"));
    });
}

fn sha256_of(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
