//! Who may ask what: every operation of the description, with every scope, without a token, and with another organization's. An
//! operation that is added to the description is in here without anybody's doing.

use super::promise::operations;
use super::stage::{Answered, Stage, on_stage};
use super::work::{deliver, plan};
use engine::token::Scope;
use serde_json::{Value, json};

/// Words of `acme` that nobody else may ever see.
const MARKS: [&str; 4] = ["acme-mark", "t0ps3cret", "row-of-acme", "api.acme.example"];

/// What `acme` has: everything that a path can name.
struct Acme {
    run: String,
    delivery: String,
    token: String,
    upload: String,
}

async fn acme(stage: &Stage, owner: &str) -> Acme {
    stage.put(owner, "/v1/organization", &json!({"name": "acme-mark", "retention_days": 30})).await;
    stage.put(owner, "/v1/credentials/crm", &json!({"type": "bearer", "token": "t0ps3cret-token"})).await;
    let crm = json!({
        "name": "acme-mark", "base_url": "https://api.acme.example", "credential": "crm",
        "actions": {"add": {"url": "/members", "body": "{\"id\": \"{{user.id}}\"}"}},
    });
    stage.put(owner, "/v1/destinations/crm", &crm).await;
    stage.put(owner, "/v1/models/people", &json!({"name": "acme-mark", "primary_key": ["id"], "source": {"type": "push"}})).await;
    stage.put(owner, "/v1/exports/newsletter", &json!({"model": "people", "destination": "crm"})).await;
    stage.put(owner, "/v1/requests/profile", &json!({"name": "acme-mark", "url": "https://api.acme.example/{{contact.id}}"})).await;
    stage.put(owner, "/v1/event-types/order.placed", &json!({"name": "acme-mark"})).await;
    let steps = json!([{"fetch": {"request": "profile", "output": "profile"}}, {"deliver": {"destination": "crm", "action": "add"}}]);
    stage.put(owner, "/v1/rules/welcome", &json!({"name": "acme-mark", "on": "order.placed", "steps": steps})).await;
    let run = stage.ask("POST", "/v1/exports/newsletter/runs").token(owner).send().await.json();
    let run = run["id"].as_str().expect("an id").to_string();
    plan(stage, "acme", &run, &["row-of-acme"], false).await;
    deliver(stage, "acme", &run, &[422]).await;
    let listed = stage.ask("GET", &format!("/v1/deliveries?run={run}")).token(owner).send().await.json();
    let delivery = listed["items"][0]["id"].as_str().expect("a delivery").to_string();
    let upload = stage.ask("POST", "/v1/models/people/uploads").token(owner).send().await.json();
    let upload = upload["id"].as_str().expect("an upload").to_string();
    let spare = json!({"name": "acme-mark", "scopes": ["read"]});
    let spare = stage.ask("POST", "/v1/tokens").token(owner).json(&spare).send().await.json();
    Acme { run, delivery, upload, token: spare["id"].as_str().expect("a token").to_string() }
}

/// The path with the ids of what `acme` has.
fn path(template: &str, acme: &Acme) -> String {
    let id = match template.split('/').nth(2).unwrap_or_default() {
        "credentials" | "destinations" => "crm",
        "models" => "people",
        "exports" => "newsletter",
        "requests" => "profile",
        "event-types" => "order.placed",
        "rules" => "welcome",
        "runs" => &acme.run,
        "plans" => &acme.run.replace("run_", "plan_"),
        "deliveries" => &acme.delivery,
        "tokens" => &acme.token,
        _ => "",
    };
    template.replace("{id}", id).replace("{upload}", &acme.upload).replace("{number}", "1")
}

/// A query and a body that the operation takes, so that nothing but the token can be what is wrong.
fn asking(operation: &Value, acme: &Acme) -> (String, Option<(String, String)>) {
    let query = match operation["operationId"].as_str().unwrap_or_default() {
        "pushChanges" => "?mode=changes".to_string(),
        "redeliver" => format!("?run={}", acme.run),
        _ => String::new(),
    };
    let content = operation["requestBody"]["content"].as_object().and_then(|content| content.iter().next());
    let body = content.map(|(kind, content)| {
        let example = &content["example"];
        (kind.clone(), example.as_str().map_or_else(|| example.to_string(), str::to_string))
    });
    (query, body)
}

async fn ask(stage: &Stage, method: &str, path: &str, token: Option<&str>, body: Option<(String, String)>) -> Answered {
    let mut asking = stage.ask(&method.to_uppercase(), path);
    if let Some(token) = token {
        asking = asking.token(token);
    }
    match body {
        Some((kind, body)) => asking.body(&kind, body).send().await,
        None => asking.send().await,
    }
}

fn scope_of(operation: &Value) -> Option<Scope> {
    let secured = operation["security"].as_array().is_some_and(|all| !all.is_empty());
    let word = operation["description"].as_str().unwrap_or_default().rsplit('`').nth(1);
    secured.then(|| word.and_then(Scope::parse).expect("an operation with a token names its scope"))
}

/// faults.md S20, S22: without the right token every operation says 401 or 403, and does nothing.
#[test]
fn no_operation_answers_without_a_token_that_has_its_scope() {
    on_stage(async |stage| {
        let owner = stage.owner().await;
        let acme = acme(&stage, &owner).await;
        let mut tokens = Vec::new();
        for scope in Scope::ALL {
            tokens.push((scope, stage.token("acme", &[scope]).await));
        }
        let ended = stage
            .ask("POST", "/v1/tokens")
            .token(&owner)
            .json(&json!({"name": "x", "scopes": ["read", "write", "send"], "expires_in_days": 1}));
        let ended = ended.send().await.json()["text"].as_str().expect("a text").to_string();
        stage.office.pass(2 * 86_400);
        let before = stage.office.store.all();
        let mut secured = 0;
        for (method, template, operation) in operations() {
            let Some(needed) = scope_of(operation) else { continue };
            secured += 1;
            let (query, body) = asking(operation, &acme);
            let path = format!("{}{query}", path(template, &acme));
            let unknown = format!("pst_{}", "A".repeat(43));
            for token in [None, Some(""), Some("pst_short"), Some(unknown.as_str()), Some(ended.as_str()), Some(acme.token.as_str())] {
                let answered = ask(&stage, method, &path, token, body.clone()).await;
                assert_eq!((answered.status, answered.code().as_str()), (401, "unauthorized"), "{method} {path} with {token:?}");
                assert!(answered.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
            }
            for (scope, token) in tokens.iter().filter(|(scope, _)| *scope != needed) {
                let answered = ask(&stage, method, &path, Some(token), body.clone()).await;
                assert_eq!((answered.status, answered.code().as_str()), (403, "forbidden"), "{method} {path} with {scope}");
                assert!(answered.text().contains(&format!("`{needed}`")), "the scope that is missing is named: {}", answered.text());
            }
        }
        assert!(secured > 40, "the description lists {secured} operations that need a token");
        assert_eq!(stage.office.store.all(), before, "nothing was changed by anybody who may not");
    });
}

/// faults.md S20, S21: the organization comes from the token alone, and what is another's looks like what is not there.
#[test]
fn another_organizations_token_sees_and_changes_nothing() {
    on_stage(async |stage| {
        let owner = stage.owner().await;
        let acme = acme(&stage, &owner).await;
        let stranger = stage.token("other", &Scope::ALL).await;
        let of_acme = |stage: &Stage| {
            let all = stage.office.store.all().into_iter();
            all.filter(|(key, _)| key.partition.starts_with("acme#")).collect::<Vec<_>>()
        };
        let before = of_acme(&stage);
        let absent = Acme {
            run: "run_0000000000009999".into(),
            delivery: "dlv_0000000000009999_0_0".into(),
            token: "tok_0000000000009999".into(),
            upload: "upl_0000000000009999".into(),
        };
        let mut operations: Vec<_> = operations().into_iter().filter(|(.., operation)| scope_of(operation).is_some()).collect();
        // What the stranger puts is its own from then on, so that comes last.
        operations.sort_by_key(|(method, ..)| *method == "put");
        for (method, template, operation) in operations {
            let (query, body) = asking(operation, &acme);
            let foreign = ask(&stage, method, &format!("{}{query}", path(template, &acme)), Some(&stranger), body.clone()).await;
            for mark in MARKS {
                assert!(!foreign.text().contains(mark), "{method} {template} shows `{mark}`: {}", foreign.text());
            }
            // A put of one's own definition under a name that another one uses too is fine, whatever it answers.
            if template.contains("{id}") && method != "put" {
                assert_eq!((foreign.status, foreign.code().as_str()), (404, "not_found"), "{method} {template}: {}", foreign.text());
                let (query, _) = asking(operation, &absent);
                let nothing = ask(&stage, method, &format!("{}{query}", path(template, &absent)), Some(&stranger), body).await;
                let without_ids = |answered: &Answered, ids: &Acme| {
                    let text = answered.text().replace(&ids.run, "R").replace(&ids.run.replace("run_", "plan_"), "P");
                    text.replace(&ids.delivery, "D").replace(&ids.token, "T").replace(&ids.upload, "U")
                };
                assert_eq!(without_ids(&foreign, &acme), without_ids(&nothing, &absent), "{method} {template} tells the two apart");
            }
        }
        assert!(of_acme(&stage) == before, "nothing of acme's was changed");
        let read = stage.ask("GET", "/v1/destinations/crm").token(&owner).send().await;
        assert_eq!(read.json()["definition"]["base_url"], "https://api.acme.example");
    });
}
