//! Where secrets may go: whoever may change definitions but knows no secret cannot send one to a host of their own (faults.md S16). A
//! matrix: everything that can move a target, against every way a secret is held.

use super::{Desk, NOW, body, must, name, shown, with, wrong};
use engine::catalog::{Kind, Precondition, REDACTED};
use serde_json::{Value, json};

const OLD: &str = "https://api.example.com/v1";
const EVIL: &str = "https://evil.example.net";

/// A destination with these secrets.
fn destination(base_url: &str, credential: Option<&str>, secret_header: Option<&str>) -> Value {
    let mut body = json!({"base_url": base_url, "actions": {"add": {"url": "/members"}}});
    if let Some(credential) = credential {
        body["credential"] = json!(credential);
    }
    if let Some(secret) = secret_header {
        body["secret_headers"] = json!({"X-App": secret});
    }
    body
}

/// A base_url in another place, and whether a secret that is kept may go there.
#[tokio::test]
async fn a_kept_secret_stays_on_its_scheme_host_and_port() {
    let table = [
        (OLD, true),
        ("https://api.example.com/v2/other/path", true),
        ("https://API.example.com:443", true),
        ("https://api.example.com:8443/v1", false),
        ("http://api.example.com/v1", false),
        ("http://api.example.com:443/v1", false),
        ("https://example.com/v1", false),
        ("https://api.example.com.evil.net/v1", false),
        ("https://evil.example.net/v1", false),
        ("https://api.example.com%2eevil.net/v1", false),
        ("https://127.0.0.1/v1", false),
        ("https://[::1]/v1", false),
    ];
    for (base_url, allowed) in table {
        // By a secret header of its own.
        let desk = Desk::new();
        let catalog = desk.catalog(NOW);
        must(&catalog, Kind::Destination, "d", destination(OLD, None, Some("app-s3cret"))).await;
        let moved = destination(base_url, None, Some(REDACTED));
        let put = catalog.put(Kind::Destination, &name("d"), moved, Precondition::Any).await.unwrap();
        assert_eq!(put.is_ok(), allowed, "{base_url}: {put:?}");
        if !allowed {
            let problems = wrong(&catalog, Kind::Destination, "d", destination(base_url, None, Some(REDACTED))).await;
            assert!(problems.len() == 1 && problems[0].path == "secret_headers.X-App", "{problems:?}");
            assert!(problems[0].message.contains("enter the secret again"), "{problems:?}");
        }
        must(&catalog, Kind::Destination, "d", destination(base_url, None, Some("app-s3cret"))).await;

        // By a credential: moved, or named by another destination.
        let desk = Desk::new();
        let catalog = desk.catalog(NOW);
        must(&catalog, Kind::Credential, "c", body(Kind::Credential)).await;
        must(&catalog, Kind::Destination, "d", destination(OLD, Some("c"), None)).await;
        must(&catalog, Kind::Destination, "free", destination(base_url, None, None)).await;
        for (id, path) in [("d", "base_url"), ("new", "credential"), ("free", "credential")] {
            let moved = destination(base_url, Some("c"), None);
            let put = catalog.put(Kind::Destination, &name(id), moved.clone(), Precondition::Any).await.unwrap();
            assert_eq!(put.is_ok(), allowed, "{id} {base_url}: {put:?}");
            if !allowed {
                let problems = wrong(&catalog, Kind::Destination, id, moved).await;
                assert!(problems.len() == 1 && problems[0].path == path, "{problems:?}");
                assert!(problems[0].message.contains("https://api.example.com") && problems[0].message.contains("origins"), "{problems:?}");
            }
        }
        catalog.project().await.unwrap().unwrap();
    }
}

/// Every other way to have a secret sent elsewhere.
#[tokio::test]
async fn nothing_else_that_can_be_put_sends_a_kept_secret_elsewhere() {
    let elsewhere = json!({"add": {"url": format!("{EVIL}/take")}});
    let kept = |kind: Kind| match kind {
        Kind::Credential => with(body(kind), "/token", json!(REDACTED)),
        _ => with(body(kind), "/secret_headers/X-App", json!(REDACTED)),
    };
    let table = [
        // The URL of an action, of the destination and of an export.
        (Kind::Destination, "crm", with(kept(Kind::Destination), "/actions", elsewhere.clone()), "actions.add.url"),
        (Kind::Export, "crm", with(body(Kind::Export), "/actions", elsewhere.clone()), "actions.add.url"),
        (Kind::Export, "new", with(body(Kind::Export), "/actions", elsewhere), "actions.add.url"),
        // A template for the host.
        (
            Kind::Destination,
            "crm",
            with(kept(Kind::Destination), "/actions/add/url", json!("https://{{user.host}}/take")),
            "actions.add.url",
        ),
        (Kind::Destination, "crm", with(kept(Kind::Destination), "/base_url", json!("https://{{user.host}}/")), "base_url"),
        // What a credential is, and where it may go.
        (Kind::Credential, "crm", json!({"type": "headers", "headers": {"X": REDACTED}}), "headers.X"),
        (Kind::Credential, "crm", json!({"type": "api_key", "name": "q", "in": "query", "value": REDACTED}), "value"),
        (Kind::Credential, "crm", with(kept(Kind::Credential), "/origins", json!([EVIL])), "destinations.crm.credential"),
        (Kind::Credential, "crm", with(kept(Kind::Credential), "/origins", json!(["https://api.example.com", EVIL])), "origins"),
        // The secret of another one.
        (Kind::Credential, "mine", kept(Kind::Credential), "token"),
        (Kind::Destination, "mine", with(kept(Kind::Destination), "/credential", Value::Null), "secret_headers.X-App"),
        (
            Kind::Destination,
            "crm",
            with(kept(Kind::Destination), "/secret_headers", json!({"X-Other": REDACTED})),
            "secret_headers.X-Other",
        ),
        // A place whose text is shown.
        (Kind::Destination, "crm", with(kept(Kind::Destination), "/headers", json!({"X-App": REDACTED})), "headers.X-App"),
    ];
    for (kind, id, attempt, path) in table {
        let desk = Desk::furnished().await;
        let catalog = desk.catalog(NOW);
        let problems = wrong(&catalog, kind, id, attempt.clone()).await;
        assert!(problems.iter().any(|problem| problem.path == path), "{attempt}: {problems:?}");
    }
    // Something else about them may change.
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    for (kind, body) in [
        (Kind::Destination, with(kept(Kind::Destination), "/allow_http", json!(true))),
        (Kind::Destination, with(kept(Kind::Destination), "/headers", json!({"X-Plain": "yes"}))),
        (Kind::Destination, with(kept(Kind::Destination), "/actions/add/url", json!("https://api.example.com/v9/members"))),
        (Kind::Credential, with(kept(Kind::Credential), "/origins", json!(["https://api.example.com"]))),
    ] {
        must(&catalog, kind, "crm", body).await;
    }
}

/// Delete and make again, take away and put back, swap names: no detour frees a secret either.
#[tokio::test]
async fn no_detour_frees_a_secret() {
    // The destination goes and another one comes.
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    for kind in [Kind::Export, Kind::Rule, Kind::Destination] {
        assert_eq!(catalog.delete(kind, &name("crm"), Precondition::Any).await.unwrap(), Ok(()));
    }
    let problems = wrong(&catalog, Kind::Destination, "crm", destination(EVIL, Some("crm"), None)).await;
    assert_eq!(problems[0].path, "credential");

    // The destination lets go of its credential, moves, and takes it up again.
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    must(&catalog, Kind::Destination, "crm", destination(OLD, None, None)).await;
    must(&catalog, Kind::Destination, "crm", destination(EVIL, None, None)).await;
    let problems = wrong(&catalog, Kind::Destination, "crm", destination(EVIL, Some("crm"), None)).await;
    assert_eq!(problems[0].path, "credential");
    // And its secret header went with the first of those.
    let problems = wrong(&catalog, Kind::Destination, "crm", destination(EVIL, None, Some(REDACTED))).await;
    assert_eq!(problems[0].path, "secret_headers.X-App");

    // Part of a credential's secrets entered does not free the others.
    let desk = Desk::new();
    let catalog = desk.catalog(NOW);
    must(&catalog, Kind::Credential, "c", json!({"type": "headers", "headers": {"X-One": "first-s3cret"}})).await;
    must(&catalog, Kind::Destination, "d", destination(OLD, Some("c"), None)).await;
    must(&catalog, Kind::Destination, "d", destination(OLD, None, None)).await;
    must(&catalog, Kind::Credential, "c", json!({"type": "headers", "headers": {"X-One": REDACTED, "X-Mine": "mine"}})).await;
    let problems = wrong(&catalog, Kind::Destination, "e", destination(EVIL, Some("c"), None)).await;
    assert_eq!(problems[0].path, "credential");

    // Its `origins` taken away again do not widen what was narrowed.
    let desk = Desk::new();
    let catalog = desk.catalog(NOW);
    must(&catalog, Kind::Credential, "c", with(body(Kind::Credential), "/origins", json!(["https://api.example.com"]))).await;
    must(&catalog, Kind::Credential, "c", with(body(Kind::Credential), "/token", json!(REDACTED))).await;
    let problems = wrong(&catalog, Kind::Destination, "e", destination(EVIL, Some("c"), None)).await;
    assert_eq!(problems[0].path, "credential");
}

/// Who enters the secret again knows it, and says where it may go.
#[tokio::test]
async fn a_secret_entered_again_may_go_where_it_is_entered_for() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    let moved = with(body(Kind::Destination), "/base_url", json!("https://new.example.com"));
    // Entering it again for where it is used changes nothing about that.
    must(&catalog, Kind::Credential, "crm", body(Kind::Credential)).await;
    must(&catalog, Kind::Credential, "crm", with(body(Kind::Credential), "/token", json!("rotated-t0k3n"))).await;
    assert_eq!(wrong(&catalog, Kind::Destination, "crm", moved.clone()).await[0].path, "base_url");
    // Just as the message says.
    let both = json!(["https://api.example.com", "https://new.example.com"]);
    must(&catalog, Kind::Credential, "crm", with(body(Kind::Credential), "/origins", both)).await;
    must(&catalog, Kind::Destination, "crm", moved).await;
    // And no longer where it was, which needs no secret to say.
    let kept = with(body(Kind::Credential), "/token", json!(REDACTED));
    must(&catalog, Kind::Credential, "crm", with(kept.clone(), "/origins", json!(["https://new.example.com"]))).await;
    assert!(!wrong(&catalog, Kind::Destination, "old", destination(OLD, Some("crm"), None)).await.is_empty());
    let problems = wrong(&catalog, Kind::Credential, "crm", with(kept, "/origins", json!(["https://other.example.com"]))).await;
    assert!(problems.iter().any(|problem| problem.path == "destinations.crm.credential"), "{problems:?}");

    // One that no destination names is free for the first, whether new or entered again.
    let desk = Desk::new();
    let catalog = desk.catalog(NOW);
    for turn in ["https://one.example.com", "https://two.example.com"] {
        must(&catalog, Kind::Credential, "c", body(Kind::Credential)).await;
        let revision = shown(&catalog, Kind::Credential, "c").await.unwrap().revision;
        must(&catalog, Kind::Destination, "d", destination(turn, Some("c"), None)).await;
        assert_eq!(shown(&catalog, Kind::Credential, "c").await.unwrap().revision, revision, "it is the same credential");
        assert!(!wrong(&catalog, Kind::Destination, "e", destination(EVIL, Some("c"), None)).await.is_empty());
        assert_eq!(catalog.delete(Kind::Destination, &name("d"), Precondition::Any).await.unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn the_origins_of_a_credential_hold_in_a_project_file_too() {
    let document = |origins: Value, base_url: &str| {
        json!({
            "credentials": {"c": with(body(Kind::Credential), "/origins", origins)},
            "destinations": {"d": destination(base_url, Some("c"), None)},
        })
    };
    let both = json!(["https://api.example.com/", "http://localhost:8080"]);
    for (base_url, allowed) in [(OLD, true), ("http://localhost:8080/x", true), ("http://localhost/x", false), (EVIL, false)] {
        let parsed = engine::configure::parse(&document(both.clone(), base_url));
        assert_eq!(parsed.is_ok(), allowed, "{base_url}");
        if let Err(problems) = parsed {
            assert_eq!(problems[0].path, "destinations.d.credential");
        }
    }
    for wrong in [
        json!([]),
        json!("https://a.example.com"),
        json!(["a.example.com"]),
        json!(["https://a.example.com/x"]),
        json!([""]),
        json!(["ftp://a.example.com"]),
        json!(["https://u:p@a.example.com"]),
        json!(["https://a.example.com?x"]),
        json!(["https://*.example.com"]),
        json!([5]),
    ] {
        let problems = engine::configure::parse(&document(wrong.clone(), OLD)).expect_err(&wrong.to_string());
        assert!(problems[0].path.starts_with("credentials.c.origins"), "{wrong}: {problems:?}");
        assert!(!problems[0].message.contains("u:p"), "{problems:?}");
    }
}
