//! Changes that meet, changes that are cut short, and changes that come late.

use super::stepped::{Pace, Stepped};
use super::{Desk, NOW, body, must, name, shown, with};
use engine::catalog::{Catalog, Definition, Kind, Precondition, Refused};
use futures_util::future::join;
use futures_util::poll;
use serde_json::{Value, json};
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use tests::memory::MemorySecrets;

fn catalog<'a>(desk: &'a Desk, store: &'a Stepped) -> Catalog<'a, Stepped, MemorySecrets> {
    Catalog { store, secrets: &desk.secrets, organization: &desk.organization, now: NOW + 1 }
}

async fn all(desk: &Desk) -> Vec<Definition> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        all.extend(desk.catalog(NOW).list(kind, None, 100).await.unwrap());
    }
    all
}

/// Each of the two alone is sound; together they would leave a destination whose credential is gone.
#[tokio::test]
async fn two_changes_at_once_never_make_a_project_that_is_not_sound() {
    let (mut both, mut first, mut second) = (0, 0, 0);
    for seed in 0..300 {
        let desk = Desk::furnished().await;
        must(&desk.catalog(NOW), Kind::Credential, "spare", json!({"type": "bearer", "token": "spare-t0k3n"})).await;
        let pace = Pace::Random(Rc::new(Cell::new(seed)));
        let (one, two) = (Stepped::new(&desk.store, pace.clone()), Stepped::new(&desk.store, pace));
        let (one, two) = (catalog(&desk, &one), catalog(&desk, &two));
        let spare = name("spare");
        let crm = name("crm");
        let naming = with(body(Kind::Destination), "/credential", json!("spare"));
        let put = two.put(Kind::Destination, &crm, naming, Precondition::Any);
        let (deleted, put) = join(one.delete(Kind::Credential, &spare, Precondition::Any), put).await;
        match (deleted.unwrap(), put.unwrap()) {
            (Ok(()), Err(Refused::Invalid(_))) => first += 1,
            (Err(Refused::InUse(_)), Ok(_)) => second += 1,
            (Ok(()), Ok(_)) => both += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
        desk.catalog(NOW).project().await.unwrap().unwrap_or_else(|problems| panic!("seed {seed}: {problems:?}"));
    }
    assert!(both == 0 && first > 20 && second > 20, "{both} {first} {second}: both orders were to be seen");
}

#[tokio::test]
async fn of_two_changes_on_one_revision_one_wins() {
    for seed in 0..200 {
        let desk = Desk::furnished().await;
        let revision = shown(&desk.catalog(NOW), Kind::Model, "crm").await.unwrap().revision;
        let pace = Pace::Random(Rc::new(Cell::new(seed)));
        let (one, two) = (Stepped::new(&desk.store, pace.clone()), Stepped::new(&desk.store, pace));
        let (one, two) = (catalog(&desk, &one), catalog(&desk, &two));
        let crm = name("crm");
        let named = |text: &str| with(body(Kind::Model), "/name", json!(text));
        let (a, b) = join(
            one.put(Kind::Model, &crm, named("one"), Precondition::At(revision)),
            two.put(Kind::Model, &crm, named("two"), Precondition::At(revision)),
        )
        .await;
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a.is_ok() != b.is_ok(), "seed {seed}: {a:?} {b:?}");
        let won = a.or(b).unwrap().definition;
        assert_eq!(shown(&desk.catalog(NOW), Kind::Model, "crm").await, Some(won));
    }
}

/// A reader sees a project of before or of after, never half of each.
#[tokio::test]
async fn a_project_read_during_a_change_is_whole() {
    for seed in 0..200 {
        let desk = Desk::furnished().await;
        let pace = Pace::Random(Rc::new(Cell::new(seed)));
        let (one, two) = (Stepped::new(&desk.store, pace.clone()), Stepped::new(&desk.store, pace));
        let (one, two) = (catalog(&desk, &one), catalog(&desk, &two));
        let writing = async {
            must(&one, Kind::Model, "new", body(Kind::Model)).await;
            must(&one, Kind::Export, "new", with(body(Kind::Export), "/model", json!("new"))).await;
            assert_eq!(one.delete(Kind::Export, &name("new"), Precondition::Any).await.unwrap(), Ok(()));
            assert_eq!(one.delete(Kind::Model, &name("new"), Precondition::Any).await.unwrap(), Ok(()));
        };
        let reading = async {
            for _ in 0..4 {
                two.project().await.unwrap().unwrap_or_else(|problems| panic!("seed {seed}: {problems:?}"));
            }
        };
        join(writing, reading).await;
    }
}

/// A new destination for a credential that was never used: two documents.
async fn take_up(catalog: &Catalog<'_, Stepped, MemorySecrets>) -> Result<(), engine::port::PortError> {
    let naming = with(with(body(Kind::Destination), "/credential", json!("spare")), "/base_url", json!("https://new.example.com"));
    catalog.put(Kind::Destination, &name("new"), naming, Precondition::Any).await.map(|put| drop(put.unwrap()))
}

async fn desk_with_spare() -> Desk {
    let desk = Desk::furnished().await;
    must(&desk.catalog(NOW), Kind::Credential, "spare", json!({"type": "bearer", "token": "spare-t0k3n"})).await;
    desk
}

#[tokio::test]
async fn a_change_that_is_cut_short_at_any_call_took_place_whole_or_not_at_all() {
    let (mut whole, mut none) = (0, 0);
    for at in 0.. {
        let desk = desk_with_spare().await;
        let before = all(&desk).await;
        let store = Stepped::new(&desk.store, Pace::DieAt(at));
        let done = take_up(&catalog(&desk, &store)).await.is_ok();
        // The next change is not held up, and finds the one or the other.
        must(&desk.catalog(NOW), Kind::Model, "next", body(Kind::Model)).await;
        desk.catalog(NOW).project().await.unwrap().unwrap();
        let after = all(&desk).await;
        let taken_up = after.iter().any(|definition| definition.id == name("new"));
        assert_eq!(after.len(), before.len() + 1 + usize::from(taken_up));
        // The credential knows its destination exactly where the destination is there.
        let elsewhere = with(with(body(Kind::Destination), "/credential", json!("spare")), "/base_url", json!("https://evil.example.com"));
        let refused = desk.catalog(NOW).put(Kind::Destination, &name("evil"), elsewhere, Precondition::Any).await.unwrap().is_err();
        assert_eq!(refused, taken_up, "cut short at call {at}");
        if taken_up {
            whole += 1
        } else {
            none += 1
        }
        if done {
            break;
        }
    }
    assert!(whole >= 3 && none >= 3, "{whole} {none}");
}

/// A writer that stands still while others go on, and then comes with what it had in hand.
#[tokio::test]
async fn a_change_that_comes_late_neither_undoes_nor_revives_anything() {
    let mut stopped = 0;
    for at in 0.. {
        let desk = desk_with_spare().await;
        let store = Stepped::new(&desk.store, Pace::StopAt(at));
        let late = catalog(&desk, &store);
        let mut late = pin!(take_up(&late));
        if poll!(late.as_mut()).is_ready() {
            break;
        }
        stopped += 1;
        // Others bring its change to its end where it was made, change it, and delete it.
        let mine = with(with(body(Kind::Destination), "/credential", json!("spare")), "/name", json!("mine"));
        let mine = with(mine, "/base_url", json!("https://new.example.com"));
        must(&desk.catalog(NOW + 2), Kind::Destination, "new", mine).await;
        assert_eq!(desk.catalog(NOW + 3).delete(Kind::Destination, &name("new"), Precondition::Any).await.unwrap(), Ok(()));
        let revision = desk.catalog(NOW).changes().await.unwrap();
        late.await.unwrap();
        let found = shown(&desk.catalog(NOW), Kind::Destination, "new").await;
        // Made before: deleted for good. Not made: it is a new change.
        assert!(found.as_ref().is_none_or(|found| found.revision > revision), "stopped at call {at}: {found:?}");
        desk.catalog(NOW).project().await.unwrap().unwrap();
    }
    assert!(stopped > 8, "{stopped}");
}

/// What a change writes is small enough for one document of the store, whatever it holds.
#[tokio::test]
async fn the_largest_changes_fit_into_the_journal() {
    let desk = Desk::new();
    let headers: Value = (0..100).map(|n| (format!("X-{n:03}"), json!("\"".repeat(300)))).collect::<serde_json::Map<_, _>>().into();
    must(&desk.catalog(NOW), Kind::Credential, "large", json!({"type": "headers", "headers": headers.clone()})).await;
    let destination = json!({"base_url": "https://a.example.com", "credential": "large", "secret_headers":
        (0..100).map(|n| (format!("Y-{n:03}"), json!("\\".repeat(300)))).collect::<serde_json::Map<_, _>>()});
    must(&desk.catalog(NOW), Kind::Destination, "large", destination).await;
    desk.catalog(NOW).project().await.unwrap().unwrap();
}
