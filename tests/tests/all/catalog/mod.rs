//! Definitions as a server keeps them, and API tokens: what is taken and refused, races, crashes, and where secrets may go. On the stores
//! of the backends; nothing here may know HTTP.

mod changes;
mod crashes;
mod origins;
pub(crate) mod stepped;
mod tokens;
mod unseen;

use engine::catalog::{Catalog, Definition, Kind, Precondition, Put, Refused};
use engine::model::name::Name;
use engine::model::project::Problem;
use engine::port::{Secrets, Store};
use serde_json::{Value, json};
use tests::memory::{MemorySecrets, MemoryStore};

/// A moment, Unix microseconds.
pub const NOW: u64 = 1_700_000_000_000_000;

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Definitions of one organization in memory.
pub struct Desk {
    pub store: MemoryStore,
    pub secrets: MemorySecrets,
    pub organization: Name,
}

impl Desk {
    pub fn new() -> Desk {
        Desk { store: MemoryStore::new(), secrets: MemorySecrets::new(), organization: name("acme") }
    }

    /// One with a credential, a destination, a model and an export, all called `crm`.
    pub async fn furnished() -> Desk {
        let desk = Desk::new();
        furnish(&desk.catalog(NOW)).await;
        desk
    }

    pub fn catalog(&self, now: u64) -> Catalog<'_, MemoryStore, MemorySecrets> {
        Catalog { store: &self.store, secrets: &self.secrets, organization: &self.organization, now }
    }
}

/// Puts a credential, a destination, a model and an export, all called `crm`.
pub async fn furnish<S: Store, K: Secrets>(catalog: &Catalog<'_, S, K>) {
    for kind in Kind::ALL {
        must(catalog, kind, "crm", body(kind)).await;
    }
}

/// A sound definition; each refers to the one of its name.
pub fn body(kind: Kind) -> Value {
    match kind {
        Kind::Credential => json!({"type": "bearer", "token": "t0k3n-of-the-crm"}),
        Kind::Destination => json!({
            "base_url": "https://api.example.com/v1",
            "credential": "crm",
            "secret_headers": {"X-App": "app-s3cret"},
            "actions": {"add": {"url": "/members", "body": "{\"id\": \"{{user.id}}\"}"}},
        }),
        Kind::Model => json!({"primary_key": ["id"], "source": {"type": "file", "path": "rows.csv"}}),
        Kind::Export => json!({"model": "crm", "destination": "crm"}),
        Kind::Request => json!({"url": "https://profiles.example.com/v1/{{contact.id}}"}),
        Kind::EventType => json!({"attributes": [{"key": "total", "type": "number"}]}),
        Kind::Rule => json!({
            "on": "crm",
            "steps": [{"fetch": {"request": "crm", "output": "profile"}}, {"deliver": {"destination": "crm", "action": "add"}}],
        }),
    }
}

/// A body with one value put in, by JSON Pointer; null takes the key away.
pub fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => drop(parent.remove(key)),
        value => drop(parent.insert(key.to_owned(), value)),
    }
    body
}

/// Puts what must be taken.
pub async fn must<S: Store, K: Secrets>(catalog: &Catalog<'_, S, K>, kind: Kind, id: &str, body: Value) -> Put {
    catalog.put(kind, &name(id), body, Precondition::Any).await.unwrap().unwrap_or_else(|refused| panic!("{kind} {id}: {refused:?}"))
}

/// Puts what must be refused as wrong, and says where it is wrong and why.
pub async fn wrong<S: Store, K: Secrets>(catalog: &Catalog<'_, S, K>, kind: Kind, id: &str, body: Value) -> Vec<Problem> {
    match catalog.put(kind, &name(id), body, Precondition::Any).await.unwrap() {
        Err(Refused::Invalid(problems)) => problems,
        other => panic!("{kind} {id} was to be refused: {other:?}"),
    }
}

pub async fn shown<S: Store, K: Secrets>(catalog: &Catalog<'_, S, K>, kind: Kind, id: &str) -> Option<Definition> {
    catalog.get(kind, &name(id)).await.unwrap()
}
