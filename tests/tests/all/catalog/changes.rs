//! Putting, listing and deleting definitions.

use super::{Desk, NOW, body, furnish, must, name, shown, with, wrong};
use engine::catalog::{Kind, LARGEST_DEFINITION, Precondition, REDACTED, Refused};
use engine::keys;
use engine::model::credential::CredentialKind;
use engine::port::{Document, Expect, Index, Store};
use serde_json::{Value, json};

#[tokio::test]
async fn a_definition_is_created_changed_and_deleted_and_each_time_has_another_revision() {
    let desk = Desk::new();
    let first = must(&desk.catalog(NOW), Kind::Model, "people", body(Kind::Model)).await;
    assert!(first.created && first.changed);
    assert_eq!((first.definition.created_at, first.definition.updated_at), (NOW, NOW));
    assert_eq!(shown(&desk.catalog(NOW), Kind::Model, "people").await.as_ref(), Some(&first.definition));

    let second = must(&desk.catalog(NOW + 5), Kind::Model, "people", with(body(Kind::Model), "/name", json!("People"))).await;
    assert!(!second.created && second.changed && second.definition.revision > first.definition.revision);
    assert_eq!((second.definition.created_at, second.definition.updated_at), (NOW, NOW + 5));
    assert_eq!(second.definition.body["name"], "People");

    assert_eq!(desk.catalog(NOW).delete(Kind::Model, &name("people"), Precondition::Any).await.unwrap(), Ok(()));
    assert_eq!(shown(&desk.catalog(NOW), Kind::Model, "people").await, None);
    assert_eq!(desk.catalog(NOW).list(Kind::Model, None, 10).await.unwrap(), []);
    assert_eq!(desk.catalog(NOW).delete(Kind::Model, &name("people"), Precondition::Any).await.unwrap(), Err(Refused::Missing));

    // Who has seen the first one cannot take the third for it.
    let third = must(&desk.catalog(NOW + 9), Kind::Model, "people", body(Kind::Model)).await;
    assert!(third.created && third.definition.revision > second.definition.revision);
    assert_eq!(third.definition.created_at, NOW + 9);
}

#[tokio::test]
async fn a_put_of_what_is_there_changes_nothing() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW + 1);
    let changes = catalog.changes().await.unwrap();
    for kind in Kind::ALL {
        let before = shown(&catalog, kind, "crm").await.unwrap();
        let reversed: Value = body(kind).as_object().unwrap().clone().into_iter().rev().collect::<serde_json::Map<_, _>>().into();
        for same in [body(kind), before.body.clone(), reversed] {
            let put = must(&catalog, kind, "crm", same).await;
            assert!(!put.created && !put.changed, "{kind}");
            assert_eq!(put.definition, before);
        }
    }
    assert_eq!(catalog.changes().await.unwrap(), changes);
}

#[tokio::test]
async fn a_change_takes_place_on_its_precondition_only() {
    let desk = Desk::new();
    let catalog = desk.catalog(NOW);
    let model = name("people");
    let put = async |precondition| catalog.put(Kind::Model, &model, body(Kind::Model), precondition).await.unwrap();
    let absent = Err(Refused::Precondition { current: None });
    assert_eq!(put(Precondition::At(1)).await, absent);
    assert_eq!(put(Precondition::Present).await, absent);
    let revision = put(Precondition::Absent).await.unwrap().definition.revision;
    let current = Err(Refused::Precondition { current: Some(revision) });
    assert_eq!(put(Precondition::Absent).await, current);
    assert_eq!(put(Precondition::At(revision + 1)).await, current);
    assert!(put(Precondition::At(revision)).await.is_ok() && put(Precondition::Present).await.is_ok());
    let delete = async |precondition| catalog.delete(Kind::Model, &model, precondition).await.unwrap();
    assert_eq!(delete(Precondition::At(revision + 1)).await, Err(Refused::Precondition { current: Some(revision) }));
    assert_eq!(delete(Precondition::At(revision)).await, Ok(()));
    // A body that would be refused in any case is refused for that (RFC 9110 section 13.2.1).
    let refused = catalog.put(Kind::Model, &model, json!({}), Precondition::At(revision)).await.unwrap();
    assert!(matches!(refused, Err(Refused::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn every_problem_is_told_with_its_path_from_the_definition_and_nothing_is_written() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    let before = desk.store.all();
    let table = [
        (Kind::Destination, with(body(Kind::Destination), "/actions/add/url", json!("/{{#each}}")), vec!["actions.add.url"]),
        (
            Kind::Destination,
            json!({"base_url": 5, "concurency": 1, "credential": "nobody"}),
            vec!["", "base_url", "concurency", "credential", "rules.crm.steps[1].deliver.action"],
        ),
        (Kind::Destination, with(body(Kind::Destination), "/headers", json!({"X Y": "1"})), vec!["headers[\"X Y\"]"]),
        (Kind::Credential, json!({"type": "bearer"}), vec!["token"]),
        (Kind::Credential, json!({}), vec![""]),
        (Kind::Model, json!("people"), vec![""]),
        (Kind::Model, json!(null), vec![""]),
        (Kind::Export, json!({"model": "nobody", "destination": "crm", "fields": [{"to": "x"}]}), vec!["fields[0].from", "model"]),
    ];
    for (kind, body, expected) in table {
        let problems = wrong(&catalog, kind, "crm", body.clone()).await;
        let mut paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        // What it breaks elsewhere stands there with its whole path.
        paths.retain(|path| !path.starts_with("exports.crm") && !path.starts_with("destinations.crm"));
        let expected: Vec<&str> = expected.into_iter().filter(|path| !path.is_empty() || paths.contains(path)).collect();
        assert_eq!(paths, expected, "{kind} {body}: {problems:?}");
        assert!(!problems.is_empty());
    }
    assert_eq!(desk.store.all(), before);
}

#[tokio::test]
async fn what_a_change_breaks_elsewhere_is_told_with_its_whole_path() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    // The export has no actions of its own.
    let problems =
        wrong(&catalog, Kind::Destination, "crm", with(body(Kind::Destination), "/actions", json!({"add": {"enabled": false}}))).await;
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["exports.crm.actions", "rules.crm.steps[1].deliver.action"], "{problems:?}");

    // An export may send elsewhere only where no secret goes along.
    let free = with(with(body(Kind::Destination), "/credential", Value::Null), "/secret_headers", Value::Null);
    must(&catalog, Kind::Destination, "crm", free).await;
    let elsewhere = with(body(Kind::Export), "/actions", json!({"add": {"url": "https://elsewhere.example.com/x"}}));
    must(&catalog, Kind::Export, "crm", elsewhere).await;
    let problems = wrong(&catalog, Kind::Destination, "crm", body(Kind::Destination)).await;
    assert!(problems.iter().any(|problem| problem.path == "exports.crm.actions.add.url"), "{problems:?}");
}

#[tokio::test]
async fn what_was_wrong_elsewhere_already_holds_nobody_up() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    // As if an earlier version had taken what this one does not.
    let key = keys::export_state(&desk.organization, &name("crm"));
    assert_ne!(key.partition, keys::definitions(&desk.organization, "export"));
    let key = engine::port::Key::new(keys::definitions(&desk.organization, "export"), "old");
    let old = json!({"revision": 1, "created_at": 1, "updated_at": 1, "definition": {"model": "crm", "destination": "crm", "odd": 1}});
    let document = Document { body: old.to_string().into_bytes(), ..Document::default() };
    desk.store.put(&key, document, Expect::Any, NOW / 1_000_000).await.unwrap();
    assert_eq!(catalog.project().await.unwrap().unwrap_err()[0].path, "exports.old.odd");
    must(&catalog, Kind::Model, "more", body(Kind::Model)).await;
    let problems = wrong(&catalog, Kind::Model, "more", json!({})).await;
    assert!(problems.iter().all(|problem| !problem.path.contains("old")), "{problems:?}");
    // It is mended, or goes, like any other.
    must(&catalog, Kind::Export, "old", body(Kind::Export)).await;
    catalog.project().await.unwrap().unwrap();
}

#[tokio::test]
async fn what_others_refer_to_is_not_deleted() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    let second = with(body(Kind::Destination), "/name", json!("Second"));
    must(&catalog, Kind::Destination, "second", second).await;
    let delete = async |kind| catalog.delete(kind, &name("crm"), Precondition::Any).await.unwrap();
    for (kind, users) in [
        (Kind::Credential, vec!["destinations.crm", "destinations.second"]),
        (Kind::Destination, vec!["exports.crm", "rules.crm"]),
        (Kind::Model, vec!["exports.crm"]),
        (Kind::Request, vec!["rules.crm"]),
        (Kind::EventType, vec!["rules.crm"]),
    ] {
        assert_eq!(delete(kind).await, Err(Refused::InUse(users.into_iter().map(str::to_owned).collect())));
    }
    assert_eq!(delete(Kind::Export).await, Ok(()));
    assert_eq!(delete(Kind::Destination).await, Err(Refused::InUse(vec!["rules.crm".to_owned()])));
    assert_eq!(delete(Kind::Rule).await, Ok(()));
    assert_eq!(delete(Kind::Request).await, Ok(()));
    assert_eq!(delete(Kind::EventType).await, Ok(()));
    assert_eq!(delete(Kind::Destination).await, Ok(()));
    assert_eq!(delete(Kind::Model).await, Ok(()));
    assert_eq!(delete(Kind::Credential).await, Err(Refused::InUse(vec!["destinations.second".to_owned()])));
    catalog.project().await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    let sized = |length: usize| with(body(Kind::Model), "/name", json!("x".repeat(length)));
    let spare = LARGEST_DEFINITION - sized(0).to_string().len();
    must(&catalog, Kind::Model, "large", sized(spare)).await;
    let problems = wrong(&catalog, Kind::Model, "large", sized(spare + 1)).await;
    assert!(problems[0].path.is_empty() && problems[0].message.contains("65537 bytes"), "{problems:?}");
    // Many small secrets would grow when they are sealed.
    let headers = |count: usize| -> Value { (0..count).map(|n| (format!("X-{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into() };
    must(&catalog, Kind::Credential, "many", json!({"type": "headers", "headers": headers(100)})).await;
    let problems = wrong(&catalog, Kind::Credential, "many", json!({"type": "headers", "headers": headers(101)})).await;
    assert!(problems[0].message.contains("100 secrets"), "{problems:?}");
    let long = "s".repeat(LARGEST_DEFINITION - 100);
    must(&catalog, Kind::Credential, "long", json!({"type": "headers", "headers": {"X-Long": long}})).await;
    let project = catalog.project().await.unwrap().unwrap();
    let CredentialKind::Headers(headers) = &project.credentials[&name("long")].kind else { panic!("headers") };
    assert_eq!(headers[0].1.reveal(), long);
}

#[tokio::test]
async fn the_project_is_what_was_put_with_its_secrets_opened() {
    let desk = Desk::furnished().await;
    let project = desk.catalog(NOW).project().await.unwrap().unwrap();
    let document = json!({
        "organization": {"id": "acme"},
        "credentials": {"crm": body(Kind::Credential)}, "destinations": {"crm": body(Kind::Destination)},
        "models": {"crm": body(Kind::Model)}, "exports": {"crm": body(Kind::Export)},
        "requests": {"crm": body(Kind::Request)}, "event_types": {"crm": body(Kind::EventType)}, "rules": {"crm": body(Kind::Rule)},
    });
    assert_eq!(project, engine::configure::parse(&document).unwrap());
    let CredentialKind::Bearer(token) = &project.credentials[&name("crm")].kind else { panic!("bearer") };
    assert_eq!(token.reveal(), "t0k3n-of-the-crm");
    for kind in Kind::ALL {
        let shown = shown(&desk.catalog(NOW), kind, "crm").await.unwrap();
        assert!(!shown.body.to_string().contains("t0k3n") && !shown.body.to_string().contains("app-s3cret"));
    }
    assert_eq!(shown(&desk.catalog(NOW), Kind::Credential, "crm").await.unwrap().body["token"], REDACTED);
}

#[tokio::test]
async fn a_definition_goes_on_with_the_secrets_that_it_keeps() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    for turn in 1..5 {
        let kept = shown(&catalog, Kind::Destination, "crm").await.unwrap().body;
        must(&catalog, Kind::Destination, "crm", with(kept, "/concurrency", json!(turn))).await;
        let project = catalog.project().await.unwrap().unwrap();
        assert_eq!(project.destinations[&name("crm")].secret_headers[0].1.reveal(), "app-s3cret");
    }
    // One kept, one new, one gone.
    let two = json!({"type": "headers", "headers": {"X-One": "first-s3cret", "X-Two": "second-s3cret"}});
    must(&catalog, Kind::Credential, "two", two).await;
    let mixed = json!({"type": "headers", "headers": {"X-One": REDACTED, "X-Three": "third-s3cret"}});
    must(&catalog, Kind::Credential, "two", mixed).await;
    let project = catalog.project().await.unwrap().unwrap();
    let CredentialKind::Headers(headers) = &project.credentials[&name("two")].kind else { panic!("headers") };
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("X-One", "first-s3cret"), ("X-Three", "third-s3cret")]);
    // What is gone cannot be kept.
    let back = json!({"type": "headers", "headers": {"X-One": REDACTED, "X-Two": REDACTED}});
    let problems = wrong(&catalog, Kind::Credential, "two", back).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].path == "headers.X-Two" && problems[0].message.contains("no secret here"), "{problems:?}");
}

/// The document as an attacker with the store in hand would have it: a sealed secret moved elsewhere opens nowhere.
#[tokio::test]
async fn a_sealed_secret_in_another_document_or_revision_does_not_open() {
    for (from, to) in [("credential/crm", "credential/other"), ("credential/crm", "credential/crm")] {
        let desk = Desk::furnished().await;
        let catalog = desk.catalog(NOW);
        must(&catalog, Kind::Credential, "other", json!({"type": "bearer", "token": "another-t0k3n"})).await;
        let place = |document: &str| {
            let (kind, id) = document.split_once('/').unwrap();
            engine::port::Key::new(keys::definitions(&desk.organization, kind), id)
        };
        let read = async |document: &str| -> Value {
            serde_json::from_slice(&desk.store.get(&place(document), 0).await.unwrap().unwrap().body).unwrap()
        };
        let (source, mut target) = (read(from).await, read(to).await);
        target["sealed"] = source["sealed"].clone();
        if from == to {
            target["revision"] = json!(target["revision"].as_u64().unwrap() + 100);
        }
        let document = Document { body: target.to_string().into_bytes(), ..Document::default() };
        desk.store.put(&place(to), document, Expect::Any, 0).await.unwrap();
        let error = catalog.project().await.unwrap_err().to_string();
        assert!(error.contains("the secrets of credential") && error.contains("cannot be opened"), "{error}");
        // Whoever has the secret can mend it.
        must(&catalog, Kind::Credential, to.split_once('/').unwrap().1, body(Kind::Credential)).await;
        catalog.project().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn organizations_do_not_meet() {
    let desk = Desk::furnished().await;
    let other = Desk { store: desk.store.clone(), secrets: desk.secrets.clone(), organization: name("acme-2") };
    let catalog = other.catalog(NOW);
    for kind in Kind::ALL {
        assert_eq!(catalog.list(kind, None, 10).await.unwrap(), []);
        assert_eq!(shown(&catalog, kind, "crm").await, None);
        assert_eq!(catalog.delete(kind, &name("crm"), Precondition::Any).await.unwrap(), Err(Refused::Missing));
    }
    assert!(wrong(&catalog, Kind::Destination, "crm", body(Kind::Destination)).await.iter().any(|problem| problem.path == "credential"));
    assert_eq!(catalog.changes().await.unwrap(), 0);
    furnish(&catalog).await;
    desk.catalog(NOW).project().await.unwrap().unwrap();
}

#[tokio::test]
async fn lists_go_by_name_page_by_page_and_pass_over_pinned_versions_and_what_was_deleted() {
    let desk = Desk::furnished().await;
    let catalog = desk.catalog(NOW);
    let mut names = vec!["crm".to_owned()];
    for number in 0..70 {
        for spelled in [format!("a{number}"), format!("a{number}-b"), format!("a{number}_b")] {
            must(&catalog, Kind::Export, &spelled, body(Kind::Export)).await;
            // What runs pin lies between the definitions.
            for version in 0..3 {
                let key = keys::pinned(&desk.organization, &name(&spelled), &format!("v{version}"));
                desk.store.put(&key, Document { body: b"pinned".to_vec(), ..Document::default() }, Expect::Any, 0).await.unwrap();
            }
            if number % 10 == 3 {
                assert_eq!(catalog.delete(Kind::Export, &name(&spelled), Precondition::Any).await.unwrap(), Ok(()));
            } else {
                names.push(spelled);
            }
        }
    }
    names.sort();
    for limit in [1, 2, 7, 64, 65, 1000] {
        let (mut found, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let page = catalog.list(Kind::Export, after.as_deref(), limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.id.to_string());
            found.extend(page.iter().map(|definition| definition.id.to_string()));
        }
        assert_eq!(found, names, "{limit}");
    }
    assert_eq!(catalog.list(Kind::Export, Some("zzz"), 10).await.unwrap(), []);
    assert_eq!(catalog.project().await.unwrap().unwrap().exports.len(), names.len());
}

#[tokio::test]
async fn the_organizations_settings_are_put_whole_and_its_id_is_fixed() {
    let desk = Desk::new();
    let catalog = desk.catalog(NOW);
    let first = catalog.organization().await.unwrap();
    assert_eq!((first.revision, &first.body), (0, &json!({"id": "acme", "name": "acme", "retention_days": 30})));
    for (body, path) in [
        (json!({"id": "other"}), "id"),
        (json!({"retention_days": 0}), "retention_days"),
        (json!({"nmae": "Acme"}), "nmae"),
        (json!([]), ""),
    ] {
        let Err(Refused::Invalid(problems)) = catalog.put_organization(body.clone(), Precondition::Any).await.unwrap() else {
            panic!("{body} was to be refused")
        };
        assert_eq!(problems[0].path, path, "{problems:?}");
    }
    let new = json!({"id": "acme", "name": "Acme", "retention_days": 7});
    let put = catalog.put_organization(new.clone(), Precondition::At(0)).await.unwrap().unwrap();
    assert!(put.revision > 0 && put.body == new);
    assert_eq!(catalog.put_organization(new.clone(), Precondition::Any).await.unwrap().unwrap(), put);
    assert_eq!(catalog.organization().await.unwrap(), put);
    let refused = catalog.put_organization(new, Precondition::At(0)).await.unwrap();
    assert_eq!(refused, Err(Refused::Precondition { current: Some(put.revision) }));
    let project = catalog.project().await.unwrap().unwrap();
    assert_eq!((project.organization.name.as_str(), project.organization.retention_days), ("Acme", 7));
    let index = desk.store.list_index(Index::First, "acme", "".."~", false, 10, 0).await.unwrap();
    assert_eq!(index, []);
}
