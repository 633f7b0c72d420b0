//! Runs, plans and deliveries through the API, with a run that is planned, delivered and finished behind it.

use super::definitions::project;
use super::stage::{Stage, on_stage};
use super::work::{deliver, plan};
use serde_json::{Value, json};

async fn start(stage: &Stage, token: &str, body: &Value) -> Value {
    let started = stage.ask("POST", "/v1/exports/newsletter/runs").token(token).json(body).send().await;
    assert_eq!(started.status, 202, "{}", started.text());
    assert_eq!(started.header("location"), format!("/v1/runs/{}", started.json()["id"].as_str().unwrap()));
    started.json()
}

fn id(value: &Value) -> &str {
    value["id"].as_str().expect("an id")
}

#[test]
fn a_run_is_started_watched_and_looked_back_at() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        let woken = stage.office.woken.get();
        let run = start(&stage, &token, &json!({})).await;
        assert_eq!((run["status"].as_str(), run["trigger"].as_str()), (Some("planning"), Some("api")));
        assert!(stage.office.woken.get() > woken, "whoever plans is woken");

        let twice = stage.ask("POST", "/v1/exports/newsletter/runs").token(&token).send().await;
        assert_eq!((twice.status, twice.code().as_str()), (409, "export_busy"));
        assert!(twice.json()["detail"].as_str().unwrap().contains(id(&run)), "{}", twice.text());

        plan(&stage, "acme", id(&run), &["1", "2", "3"], false).await;
        deliver(&stage, "acme", id(&run), &[201, 422, 201]).await;
        let read = stage.ask("GET", &format!("/v1/runs/{}", id(&run))).token(&token).send().await.json();
        assert_eq!(read["status"], "completed_with_errors", "{read}");
        assert_eq!(read["rows"], json!({"delivered": 2, "rejected": 1, "invalid": 0, "pending": 0, "given_up": 0}));
        assert_eq!((read["requests"].as_u64(), read["attempts"].as_u64()), (Some(3), Some(3)));

        let listed = stage.ask("GET", "/v1/runs?export=newsletter&status=completed_with_errors").token(&token).send().await.json();
        assert_eq!((listed["items"].as_array().map(Vec::len), &listed["next"]), (Some(1), &Value::Null));
        assert_eq!(listed["items"][0], read);
        let none = stage.ask("GET", "/v1/runs?status=held").token(&token).send().await.json();
        assert_eq!(none["items"], json!([]));

        let path = format!("/v1/deliveries?run={}&class=client_error", id(&run));
        let failed = stage.ask("GET", &path).token(&token).send().await.json();
        assert_eq!(failed["items"].as_array().map(Vec::len), Some(1), "{failed}");
        let delivery = &failed["items"][0];
        assert_eq!((delivery["status"].as_str(), &delivery["row_keys"]), (Some("failed"), &json!(["2"])));
        let whole = stage.ask("GET", &format!("/v1/deliveries/{}", id(delivery))).token(&token).send().await.json();
        assert_eq!(whole["attempts"][0]["response"]["status"], 422);
        assert_eq!(whole["credential"], json!({"id": "crm", "type": "bearer"}));
        assert_eq!(whole["request"]["body"], "{\"id\": \"2\"}");
        assert!(whole.to_string().contains("[redacted]") && !whole.to_string().contains("t0ps3cret"), "{whole}");
    });
}

#[test]
fn deliveries_are_paged_without_gaps() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        let run = start(&stage, &token, &json!({})).await;
        let ids: Vec<String> = (0..7).map(|number| number.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        plan(&stage, "acme", id(&run), &ids, false).await;
        deliver(&stage, "acme", id(&run), &[200]).await;
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/deliveries?run={}&limit=3{after}", id(&run));
            let page = stage.ask("GET", &path).token(&token).send().await.json();
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["row_keys"][0].as_str().unwrap().to_string()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        seen.sort();
        assert_eq!(seen, ids);
    });
}

#[test]
fn a_held_run_is_looked_at_and_approved_or_canceled() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        let run = start(&stage, &token, &json!({})).await;
        let early = stage.ask("GET", &format!("/v1/plans/{}/requests", run["plan"].as_str().unwrap())).token(&token).send().await;
        assert_eq!((early.status, early.code().as_str()), (409, "plan_not_ready"));
        plan(&stage, "acme", id(&run), &["1", "2"], true).await;
        stage.free_export("acme").await;

        let plan_id = run["plan"].as_str().unwrap();
        let shown = stage.ask("GET", &format!("/v1/plans/{plan_id}")).token(&token).send().await.json();
        assert_eq!((shown["status"].as_str(), shown["changes"]["added"].as_u64()), (Some("ready"), Some(2)), "{shown}");
        let requests = stage.ask("GET", &format!("/v1/plans/{plan_id}/requests")).token(&token).send().await;
        let lines: Vec<Value> = requests.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{}", requests.text());
        assert_eq!(lines[0]["request"]["url"], "https://api.example.com/members");
        assert!(requests.header("content-disposition").contains(&format!("{plan_id}.ndjson")));
        assert!(!requests.text().contains("t0ps3cret"));

        let approved = stage.ask("POST", &format!("/v1/runs/{}/approve", id(&run))).token(&token).send().await;
        assert_eq!((approved.status, approved.json()["status"].as_str()), (202, Some("delivering")), "{}", approved.text());
        let again = stage.ask("POST", &format!("/v1/runs/{}/approve", id(&run))).token(&token).send().await;
        assert_eq!((again.status, again.code().as_str()), (409, "run_not_held"));

        let canceled = stage.ask("POST", &format!("/v1/runs/{}/cancel", id(&run))).token(&token).send().await;
        assert_eq!((canceled.status, &canceled.json()["cancel_asked"]), (202, &json!(true)));
        assert_eq!(*stage.office.halted.borrow(), [id(&run)], "nothing starts any more once the answer is there");
    });
}

#[test]
fn a_plan_is_made_kept_and_executed_as_it_is() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        let made = stage.ask("POST", "/v1/exports/newsletter/plan").token(&token).json(&json!({"full": true})).send().await;
        assert_eq!(made.status, 202);
        let made = made.json();
        plan(&stage, "acme", made["run"].as_str().unwrap(), &["1"], false).await;
        let runs = stage.ask("GET", "/v1/runs").token(&token).send().await.json();
        assert_eq!(runs["items"], json!([]), "a plan that nobody executed is no run");
        let both = json!({"plan": made["id"], "full": true});
        let both = stage.ask("POST", "/v1/exports/newsletter/runs").token(&token).json(&both).send().await;
        assert_eq!((both.status, both.json()["problems"][0]["path"].as_str()), (422, Some("plan")));
        let unknown = json!({"plan": "plan_unknown"});
        let unknown = stage.ask("POST", "/v1/exports/newsletter/runs").token(&token).json(&unknown).send().await;
        assert_eq!((unknown.status, unknown.code().as_str()), (422, "invalid"));
        let run = start(&stage, &token, &json!({"plan": made["id"]})).await;
        assert_eq!((id(&run), run["status"].as_str()), (made["run"].as_str().unwrap(), Some("delivering")));
        deliver(&stage, "acme", id(&run), &[200]).await;
        let shown = stage.ask("GET", &format!("/v1/plans/{}", id(&made))).token(&token).send().await.json();
        assert_eq!(shown["status"], "executed");
    });
}

/// Bulk redelivery counts first, and a later run closes the door.
#[test]
fn deliveries_are_counted_before_they_are_sent_again() {
    on_stage(async |stage| {
        let token = stage.owner().await;
        project(&stage, &token).await;
        let run = start(&stage, &token, &json!({})).await;
        plan(&stage, "acme", id(&run), &["1", "2", "3"], false).await;
        deliver(&stage, "acme", id(&run), &[201, 422, 422]).await;
        let everything = stage.ask("POST", "/v1/deliveries/redeliver").token(&token).send().await;
        assert_eq!((everything.status, everything.code().as_str()), (400, "invalid_parameter"), "a filter is needed");
        let path = format!("/v1/deliveries/redeliver?run={}", id(&run));
        let counted = stage.ask("POST", &path).token(&token).send().await;
        assert_eq!((counted.status, counted.json()["deliveries"].as_u64()), (200, Some(2)), "{}", counted.text());
        let read = stage.ask("GET", &format!("/v1/runs/{}", id(&run))).token(&token).send().await.json();
        assert_eq!(read["status"], "completed_with_errors", "counting sends nothing");

        let sent = stage.ask("POST", &format!("{path}&dry_run=false")).token(&token).send().await;
        assert_eq!((sent.status, sent.json()["deliveries"].as_u64()), (202, Some(2)));
        deliver(&stage, "acme", id(&run), &[200]).await;
        let read = stage.ask("GET", &format!("/v1/runs/{}", id(&run))).token(&token).send().await.json();
        assert_eq!((read["status"].as_str(), read["rows"]["delivered"].as_u64()), (Some("succeeded"), Some(3)), "{read}");

        let listed = stage.ask("GET", &format!("/v1/deliveries?run={}", id(&run))).token(&token).send().await.json();
        let one = format!("/v1/deliveries/{}/redeliver", id(&listed["items"][0]));
        let later = start(&stage, &token, &json!({})).await;
        let refused = stage.ask("POST", &one).token(&token).send().await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "later_run"), "{}", refused.text());
        assert!(refused.text().contains(id(&later)));
        let refused = stage.ask("POST", &format!("{path}&status=succeeded&dry_run=false")).token(&token).send().await.json();
        assert_eq!((refused["deliveries"].as_u64(), refused["refused"][0]["deliveries"].as_u64()), (Some(0), Some(3)), "{refused}");
    });
}
