//! Definitions that a server keeps: credentials, destinations, models, exports, requests,
//! event types, rules and the organization's settings, each a document with a
//! revision, its secrets sealed.
//!
//! A change is checked together with everything else that is defined, by the parser that reads project files, so that what is stored is
//! a sound project at any time. It must not run anything, and must not show a secret in an answer, a problem or an error.

mod apply;
mod change;
mod journal;
mod origin;
mod secret;

pub use apply::{Applied, Change};
pub use change::Put;
pub use journal::{MOST_DEFINITIONS, changes};
pub use secret::REDACTED;

use crate::configure;
use crate::model::name::Name;
use crate::model::project::{Problem, Project, RETENTION_DAYS};
use crate::port::{PortError, Secrets, Store};
use journal::{Entry, Held, Whole};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The largest definition, as compact JSON, bytes.
pub const LARGEST_DEFINITION: usize = 64 * 1024;

/// So often a change is tried again that another one came before.
const TRIES: usize = 64;

/// The kinds of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A named, reusable secret.
    Credential,
    /// An HTTP API.
    Destination,
    /// A named set of rows.
    Model,
    /// What joins a model to a destination.
    Export,
    /// A reusable pull of JSON.
    Request,
    /// A type of events.
    EventType,
    /// What is sent when an event comes.
    Rule,
}

impl Kind {
    /// All of them, each after what it refers to.
    pub const ALL: [Kind; 7] = [Kind::Credential, Kind::Destination, Kind::Model, Kind::Export, Kind::Request, Kind::EventType, Kind::Rule];

    /// The word for one.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Credential => "credential",
            Kind::Destination => "destination",
            Kind::Model => "model",
            Kind::Export => "export",
            Kind::Request => "request",
            Kind::EventType => "event_type",
            Kind::Rule => "rule",
        }
    }

    /// The key of the project file under which they stand, which is the word for many.
    pub fn section(self) -> &'static str {
        match self {
            Kind::Credential => "credentials",
            Kind::Destination => "destinations",
            Kind::Model => "models",
            Kind::Export => "exports",
            Kind::Request => "requests",
            Kind::EventType => "event_types",
            Kind::Rule => "rules",
        }
    }

    /// The kind whose [`Kind::section`] this is.
    pub fn of_section(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.section() == word)
    }

    /// The name of a definition of this kind; the error says what is allowed.
    pub fn name(self, text: &str) -> Result<Name, String> {
        match self {
            Kind::EventType => Name::dotted(text),
            _ => Name::new(text),
        }
    }

    /// Whether a definition of this kind names the one of that kind and name.
    fn names(self, body: &Value, kind: Kind, name: &str) -> bool {
        let at = |value: &Value, key: &str| value.get(key).and_then(Value::as_str) == Some(name);
        match (self, kind) {
            (Kind::Destination, Kind::Credential) => at(body, "credential"),
            (Kind::Export, Kind::Model) => at(body, "model"),
            (Kind::Export, Kind::Destination) => at(body, "destination"),
            (Kind::Rule, Kind::EventType) => at(body, "on"),
            (Kind::Rule, Kind::Request | Kind::Destination) => {
                let (step, key) = if kind == Kind::Request { ("fetch", "request") } else { ("deliver", "destination") };
                body.get("steps")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|each| each.get(step))
                    .any(|step| at(step, key))
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A definition as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub id: Name,
    /// Another one with every change, and never one that a definition of this name had before. It counts the changes of all of the
    /// organization's definitions, so the first one of a definition need not be 1.
    pub revision: u64,
    /// As it stands in a project file under its name; secrets are [`REDACTED`].
    pub body: Value,
    /// Unix microseconds.
    pub created_at: u64,
    /// Unix microseconds.
    pub updated_at: u64,
}

/// The organization's own settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// 0 as long as nobody has put any; else as for a definition.
    pub revision: u64,
    /// `id` (which is fixed), `name` and `retention_days`.
    pub body: Value,
    /// Unix microseconds; 0 as long as nobody has put any.
    pub created_at: u64,
    /// Unix microseconds; 0 as long as nobody has put any.
    pub updated_at: u64,
}

/// What must hold for a change to take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Anything.
    Any,
    /// There is no definition of that name.
    Absent,
    /// It is there, at any revision.
    Present,
    /// It is at this revision.
    At(u64),
}

/// Why a change did not take place. Nothing was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// What is wrong with it. Paths inside of the definition are relative to it (`actions.add.url`, empty for the whole); what it
    /// breaks elsewhere has the whole path (`exports.newsletter.fields`).
    Invalid(Vec<Problem>),
    /// The precondition does not hold.
    Precondition {
        /// The revision that it has; `None`: it is not there.
        current: Option<u64>,
    },
    /// Others refer to it: their paths, as in `exports.newsletter`.
    InUse(Vec<String>),
    /// It is not there.
    Missing,
}

/// An organization's definitions.
#[derive(Debug)]
pub struct Catalog<'a, S, K> {
    /// Where they are kept.
    pub store: &'a S,
    /// What seals their secrets.
    pub secrets: &'a K,
    /// Whose they are.
    pub organization: &'a Name,
    /// Unix microseconds.
    pub now: u64,
}

impl<S: Store, K: Secrets> Catalog<'_, S, K> {
    /// Definitions of a kind in the order of their names: those behind the name `after`, at most `limit`.
    pub async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<Definition>, PortError> {
        let read = self.read_some(kind, after, limit, false).await?;
        Ok(read.into_iter().map(|read| read.held.shown(kind, read.id)).collect())
    }

    /// One definition.
    pub async fn get(&self, kind: Kind, id: &Name) -> Result<Option<Definition>, PortError> {
        let read = self.read_one(kind, id).await?;
        Ok(read.filter(|read| !read.held.gone).map(|read| read.held.shown(kind, read.id)))
    }

    /// The organization's settings.
    pub async fn organization(&self) -> Result<Settings, PortError> {
        Ok(self.settings(self.read_settings().await?.map(|(held, _)| held).as_ref()))
    }

    /// How often the organization's definitions have changed: another number wherever [`Catalog::project`] may give another answer.
    pub async fn changes(&self) -> Result<u64, PortError> {
        Ok(self.read_journal().await?.0.changes)
    }

    /// All definitions as they stand, their secrets opened.
    ///
    /// # Errors
    /// Inside: problems, with whole paths, of what an earlier version took and this one does not. Outside: also where a secret cannot be
    /// opened.
    pub async fn project(&self) -> Result<Result<Project, Vec<Problem>>, PortError> {
        for _ in 0..TRIES {
            let mut whole = self.read_whole().await?;
            // What was read one after the other is one project only if nothing changed meanwhile.
            if !self.is_current(&whole).await? {
                continue;
            }
            for entry in &mut whole.entries {
                self.open(entry).await?;
            }
            return Ok(configure::parse(&self.document(&whole)));
        }
        Err(self.changes_without_end())
    }

    /// The settings as they are shown and parsed.
    fn settings(&self, held: Option<&Held>) -> Settings {
        let mut body = Map::from_iter([("id".to_string(), json!(self.organization.as_str()))]);
        match held.map(|held| &held.definition) {
            Some(Value::Object(own)) => body.extend(own.clone()),
            _ => body
                .extend([("name".to_string(), json!(self.organization.as_str())), ("retention_days".to_string(), json!(RETENTION_DAYS))]),
        }
        let (revision, created_at, updated_at) = held.map_or((0, 0, 0), |held| (held.revision, held.created_at, held.updated_at));
        Settings { revision, body: Value::Object(body), created_at, updated_at }
    }

    /// The project file that says the same.
    fn document(&self, whole: &Whole) -> Value {
        let mut document = json!({"organization": self.settings(whole.settings.as_ref().map(|(held, _)| held)).body});
        for kind in Kind::ALL {
            let of_kind = whole.entries.iter().filter(|entry| entry.kind == kind);
            document[kind.section()] = of_kind.map(|entry| (entry.id.to_string(), entry.body.clone())).collect::<Map<_, _>>().into();
        }
        document
    }

    /// Puts the secrets of a definition back into its body.
    async fn open(&self, entry: &mut Entry) -> Result<(), PortError> {
        let Some(sealed) = &entry.held.sealed else { return Ok(()) };
        let name = format!("{} {}", entry.kind, entry.id);
        let document = format!("{}/{}", entry.kind, entry.id);
        let plain = self.secrets.open(sealed, secret::belongs(self.organization, &document, entry.held.revision)).await;
        let plain = plain.map_err(|e| PortError::Failed(format!("the secrets of {name} cannot be opened: {e}")))?;
        secret::put_back(&mut entry.body, &plain)
            .ok_or_else(|| PortError::Failed(format!("the secrets of {name} do not fit it; put it again with its secrets")))
    }

    fn changes_without_end(&self) -> PortError {
        PortError::Failed(format!("the definitions of {} change without end", self.organization))
    }
}
