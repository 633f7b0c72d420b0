//! API tokens: recognised by their text alone, stored without it.

use super::{NOW, name};
use engine::token::{self, Fresh, Scope, Wanted};
use tests::memory::MemoryStore;

fn wanted<'a>(organization: &'a engine::model::name::Name, expires_at: Option<u64>) -> Wanted<'a> {
    Wanted { organization, name: "a test", scopes: &[Scope::Send, Scope::Read], expires_at }
}

async fn made(store: &MemoryStore, organization: &str, random: u8, expires_at: Option<u64>) -> Fresh {
    token::create(store, wanted(&name(organization), expires_at), [random; 32], NOW + u64::from(random) * 1000).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_token_is_recognised_by_its_text_and_stored_without_it() {
    let store = MemoryStore::new();
    let fresh = made(&store, "acme", 0xA5, None).await;
    let text = fresh.text.reveal().to_owned();
    assert!(text.starts_with("pst_") && text.len() == 47);
    assert_eq!(fresh.token.scopes, [Scope::Read, Scope::Send]);
    assert!(fresh.token.allows(Scope::Read) && !fresh.token.allows(Scope::Write));
    assert!(fresh.token.id.starts_with("tok_"));
    assert_eq!(token::authenticate(&store, &text, NOW).await.unwrap().as_ref(), Some(&fresh.token));
    for (key, document) in store.all() {
        let all = format!("{key:?} {document:?} {}", String::from_utf8_lossy(&document.body));
        assert!(!all.contains(&text[4..20]) && !all.contains("a5a5a5a5"), "{all}");
    }
    assert!(!format!("{fresh:?}").contains(&text[4..20]));
}

#[tokio::test]
async fn what_is_not_a_tokens_text_is_nobody() {
    let store = MemoryStore::new();
    let text = made(&store, "acme", 7, None).await.text.reveal().to_owned();
    let mut last_changed = text.clone().into_bytes();
    *last_changed.last_mut().unwrap() = b'_';
    let last_changed = String::from_utf8(last_changed).unwrap();
    let id = token::list(&store, &name("acme"), None, 10, NOW).await.unwrap()[0].id.clone();
    let hash = store.all()[0].0.sort.clone();
    for wrong in [
        "",
        "pst_",
        "Bearer",
        &text[..46],
        &text[1..],
        &format!("{text} "),
        &format!("{text}A"),
        &text.to_uppercase(),
        &text.replace("pst_", "pst-"),
        &last_changed,
        &id,
        &hash,
        &format!("pst_{}", &hash[..43]),
        "pst_ääääääääääääääääääääää",
        &"pst_".repeat(12),
    ] {
        assert_eq!(token::authenticate(&store, wrong, NOW).await.unwrap(), None, "{wrong}");
    }
}

#[tokio::test]
async fn a_token_ends_at_its_time_and_is_not_listed_from_then_on() {
    let store = MemoryStore::new();
    let end = NOW + 3_500_000;
    let fresh = made(&store, "acme", 1, Some(end)).await;
    for (now, ends) in [(NOW, false), (end - 1, false), (end, true), (end + 1, true), (end + 10_000_000, true)] {
        assert_eq!(token::authenticate(&store, fresh.text.reveal(), now).await.unwrap().is_none(), ends, "{now}");
        assert_eq!(token::list(&store, &name("acme"), None, 10, now).await.unwrap().is_empty(), ends, "{now}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once_and_only_its_organization_can_revoke_it() {
    let store = MemoryStore::new();
    let (mine, other) = (made(&store, "acme", 1, None).await, made(&store, "other", 2, None).await);
    for id in [other.token.id.as_str(), "tok_", "tok_0000000000000000", "", "tok_~", "tok_a b", &mine.token.id[..19]] {
        assert!(!token::revoke(&store, &name("acme"), id, NOW).await.unwrap(), "{id}");
    }
    assert!(token::authenticate(&store, other.text.reveal(), NOW).await.unwrap().is_some());
    assert!(token::revoke(&store, &name("acme"), &mine.token.id, NOW).await.unwrap());
    assert_eq!(token::authenticate(&store, mine.text.reveal(), NOW).await.unwrap(), None);
    assert!(!token::revoke(&store, &name("acme"), &mine.token.id, NOW).await.unwrap());
}

#[tokio::test]
async fn tokens_are_listed_by_organization_oldest_first_page_by_page() {
    let store = MemoryStore::new();
    let mut expected = Vec::new();
    for number in 1..=20 {
        expected.push(made(&store, "acme", number, None).await.token);
        made(&store, "other", number + 100, None).await;
    }
    assert_eq!(token::list(&store, &name("acme"), None, 100, NOW).await.unwrap(), expected);
    let mut paged = Vec::new();
    while paged.len() < 20 {
        let after = paged.last().map(|token: &token::Token| token.id.clone());
        let page = token::list(&store, &name("acme"), after.as_deref(), 3, NOW).await.unwrap();
        assert!(!page.is_empty());
        paged.extend(page);
    }
    assert_eq!(paged, expected);
    assert_eq!(token::list(&store, &name("nobody"), None, 100, NOW).await.unwrap(), []);
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_wanted_token_is_told() {
    let store = MemoryStore::new();
    let organization = name("acme");
    let long = "x".repeat(101);
    for (name, scopes, expires_at, paths) in [
        ("", [].as_slice(), Some(NOW), vec!["name", "scopes", "expires_at"]),
        (" \t", &[Scope::Read], None, vec!["name"]),
        (long.as_str(), &[Scope::Read], None, vec!["name"]),
        ("a\u{1b}[31m", &[Scope::Read], Some(NOW - 1), vec!["name", "expires_at"]),
    ] {
        let wanted = Wanted { organization: &organization, name, scopes, expires_at };
        let problems = token::create(&store, wanted, [0; 32], NOW).await.unwrap().unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), paths);
    }
    assert!(store.is_empty());
    // Random bytes that come twice are no random bytes.
    made(&store, "acme", 9, None).await;
    assert!(token::create(&store, wanted(&organization, None), [9; 32], NOW).await.is_err());
}
