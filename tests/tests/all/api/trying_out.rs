//! Trying out: one sample sent to a destination, templates rendered, destinations paused and let go on; tokens made and revoked.

use super::definitions::project;
use super::stage::on_stage;
use engine::keys::LaneName;
use engine::lane::pause;
use engine::model::name::Name;
use engine::port::Response;
use engine::token::Scope;
use serde_json::json;

/// faults.md H7, S17: the sample carries the secrets, and the answer shows none, though the receiver echoes them.
#[test]
fn a_test_sends_one_request_and_shows_what_came_back() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        *stage.office.answer.borrow_mut() = Some(Response {
            status: 422,
            headers: vec![("x-echo".into(), "Bearer t0ps3cret-token".into())],
            body: b"{\"seen\": \"t0ps3cret-token\"}".to_vec(),
            truncated: false,
        });
        let tested = stage.ask("POST", "/v1/destinations/crm/test").token(&token).json(&json!({"rows": [{"id": 7}]})).send().await;
        assert_eq!((tested.status, tested.json()["class"].as_str()), (200, Some("client_error")), "{}", tested.text());
        assert_eq!(tested.json()["request"]["body"], "{\"id\": \"7\"}");
        assert!(!tested.text().contains("t0ps3cret"), "{}", tested.text());
        let sent = stage.office.sent.borrow();
        assert!(sent[0].headers.iter().any(|(name, value)| name == "Authorization" && value == "Bearer t0ps3cret-token"));
        assert_eq!(sent.len(), 1);
    });
}

#[test]
fn a_test_that_cannot_be_made_says_why() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        for (body, path) in [
            (json!({}), "rows"),
            (json!({"rows": []}), "rows"),
            (json!({"rows": [{"id": 1}, {"id": 2}]}), "rows"),
            (json!({"rows": [7]}), "rows"),
            (json!({"rows": [{"id": 1}], "export": "absent"}), "export"),
            (json!({"rows": [{"id": 1}], "action": "remove"}), "action"),
            (json!({"rows": [{"id": 1}], "action": "delete"}), "action"),
        ] {
            let answered = stage.ask("POST", "/v1/destinations/crm/test").token(&token).json(&body).send().await;
            assert_eq!(
                (answered.status, answered.json()["problems"][0]["path"].as_str()),
                (422, Some(path)),
                "{body}: {}",
                answered.text()
            );
        }
        *stage.office.answer.borrow_mut() = None;
        let busy = stage.ask("POST", "/v1/destinations/crm/test").token(&token).json(&json!({"rows": [{"id": 1}]})).send().await;
        assert_eq!((busy.status, busy.code().as_str(), busy.header("retry-after")), (503, "lane_busy", "30"));
        assert!(stage.office.sent.borrow().is_empty());
    });
}

#[test]
fn a_preview_renders_an_action_or_a_template_alone() {
    on_stage(async |stage| {
        let token = stage.token("acme", &[Scope::Read]).await;
        project(&stage, &stage.owner().await).await;
        let render = async |body| stage.ask("POST", "/v1/render").token(&token).json(&body).send().await.json();
        let action = render(json!({"export": "newsletter", "rows": [{"id": "a\"b"}]})).await;
        assert_eq!(action["request"]["url"], "https://api.example.com/members");
        assert_eq!(action["request"]["body"], "{\"id\": \"a\\\"b\"}", "values are escaped");
        assert!(action.to_string().contains("[redacted]") && !action.to_string().contains("t0ps3cret"));
        let batch = json!({"template": "[{{#each users}}{{id}},{{/each}}]", "batched": true, "rows": [{"id": 1}, {"id": 2}]});
        assert_eq!(render(batch).await["request"]["body"], "[1,2]");
        let broken = render(json!({"template": "{\"a\": {{user.a}}", "rows": [{"a": 1}]})).await;
        assert_eq!((&broken["request"], broken["invalid"][0]["row"].as_u64()), (&json!(null), Some(0)), "{broken}");
        assert_eq!(broken["invalid"][0]["body"], "{\"a\": 1");
        let text = render(json!({"template": "Hi {{user.a}}", "content": "text", "rows": [{"a": "<Ada>"}]})).await;
        assert_eq!(text["request"]["body"], "Hi <Ada>");
        assert!(stage.office.sent.borrow().is_empty(), "a preview sends nothing");
    });
}

#[test]
fn a_destination_is_paused_and_goes_on() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        let lane = LaneName { organization: Name::new("acme").unwrap(), destination: Name::new("crm").unwrap(), share: 0 };
        let told = stage.office.refreshed.borrow().len();
        let paused = stage.ask("POST", "/v1/destinations/crm/pause").token(&token).send().await;
        assert_eq!((paused.status, paused.json()["paused_at"].as_str()), (200, Some("2027-01-15T08:00:00.000Z")));
        assert!(pause::read(&stage.office.store, &lane, 1_800_000_000).await.unwrap().is_some());
        assert_eq!(stage.office.refreshed.borrow()[told..], [Some("crm".to_string())], "it is in force when the answer comes");
        stage.office.pass(60);
        let again = stage.ask("POST", "/v1/destinations/crm/pause").token(&token).send().await;
        assert_eq!(again.json()["paused_at"], paused.json()["paused_at"], "it is paused since the first time");
        let resumed = stage.ask("POST", "/v1/destinations/crm/resume").token(&token).send().await;
        assert_eq!((resumed.status, resumed.json().get("paused_at")), (200, None));
        assert!(pause::read(&stage.office.store, &lane, 1_800_000_000).await.unwrap().is_none());
        assert_eq!(stage.ask("POST", "/v1/destinations/absent/pause").token(&token).send().await.status, 404);
    });
}

/// faults.md S22
#[test]
fn a_token_is_shown_once_listed_without_its_text_and_revoked() {
    on_stage(async |stage| {
        let owner = stage.owner().await;
        let made = stage.ask("POST", "/v1/tokens").token(&owner).json(&json!({"name": "import", "scopes": ["write", "read"]})).send().await;
        assert_eq!((made.status, &made.json()["scopes"]), (201, &json!(["read", "write"])));
        let (id, text) = (made.json()["id"].as_str().unwrap().to_string(), made.json()["text"].as_str().unwrap().to_string());
        assert_eq!(stage.ask("GET", "/v1/models").token(&text).send().await.status, 200);
        let listed = stage.ask("GET", "/v1/tokens").token(&owner).send().await;
        assert!(listed.text().contains(&id) && !listed.text().contains(&text));

        let more = stage.ask("POST", "/v1/tokens").token(&text).json(&json!({"name": "x", "scopes": ["send"]})).send().await;
        assert_eq!((more.status, more.code().as_str()), (403, "forbidden"), "nobody makes more than they have");
        assert_eq!(stage.ask("DELETE", &format!("/v1/tokens/{id}")).token(&owner).send().await.status, 204);
        assert_eq!(stage.ask("GET", "/v1/models").token(&text).send().await.status, 401);
        assert_eq!(stage.ask("DELETE", &format!("/v1/tokens/{id}")).token(&owner).send().await.status, 404);
    });
}

/// What ends cannot make what lasts longer.
#[test]
fn a_token_made_by_one_that_ends_ends_with_it() {
    on_stage(async |stage| {
        let owner = stage.owner().await;
        let make = async |token: &str, days: Option<u64>| {
            let body = json!({"name": "x", "scopes": ["read", "write"], "expires_in_days": days});
            stage.ask("POST", "/v1/tokens").token(token).json(&body).send().await.json()
        };
        let first = make(&owner, Some(2)).await;
        for days in [None, Some(30)] {
            let second = make(first["text"].as_str().unwrap(), days).await;
            assert_eq!(second["expires_at"], first["expires_at"], "{second}");
        }
    });
}

#[test]
fn the_process_tells_how_it_is_without_a_token_and_names_nobody() {
    on_stage(async |stage| {
        project(&stage, &stage.owner().await).await;
        for path in ["/healthz", "/metrics", "/docs", "/v1/openapi.json"] {
            let answered = stage.ask("GET", path).send().await;
            assert_eq!(answered.status, 200, "{path}");
            assert!(!answered.text().contains("t0ps3cret"), "{path}");
        }
        let docs = stage.ask("GET", "/docs").send().await;
        let policy = docs.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{policy}");
        for word in ["<script", "http-equiv", " src=", "@import", "url("] {
            assert!(!docs.text().contains(word), "the page loads and runs nothing: {word}");
        }
        let ids = super::promise::operations().len();
        assert_eq!(docs.text().matches("<span class=\"verb ").count(), ids, "the page shows every operation");
    });
}
