//! How definitions lie in the store, and how one change writes several of them. It must not know what a definition means.
//!
//! The store writes documents one by one, and a change is checked against all of them. So there is one document, the journal, that
//! counts changes and holds the writes of the one that is under way: who writes it on condition that nobody else did has made the
//! change. The writes follow, each on condition that its document is as it was; whoever comes next repeats them where they are missing,
//! and a late repetition changes nothing. What was deleted leaves a mark for a day, longer than any repetition can be late.

use super::{Catalog, Definition, Kind, Settings};
use crate::keys;
use crate::model::name::Name;
use crate::port::{Document, Expect, Key, PortError, Secrets, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most definitions of a kind that an organization may have.
pub const MOST_DEFINITIONS: usize = 1000;

/// How long the mark of what was deleted stays, seconds.
const MARK_SECONDS: u64 = 24 * 3600;
/// Documents that one list reads.
const CHUNK: usize = 64;
/// Behind every name.
const END: &str = "~";

/// A definition as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) revision: u64,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
    /// Without its secrets.
    pub(super) definition: Value,
    /// Its secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<String>,
    /// Of a credential: where its secret may go; `None`: no destination has named it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origins: Option<Vec<String>>,
    /// The mark of what was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) gone: bool,
}

impl Held {
    /// What is left of a definition that is deleted.
    pub(super) fn mark(revision: u64, now: u64) -> Held {
        Held { revision, created_at: now, updated_at: now, definition: Value::Null, sealed: None, origins: None, gone: true }
    }

    /// As it may be shown.
    pub(super) fn shown(self, kind: Kind, id: Name) -> Definition {
        let Held { revision, created_at, updated_at, definition, .. } = self;
        Definition { kind, id, revision, body: definition, created_at, updated_at }
    }
}

/// A definition as read.
pub(super) struct Read {
    pub(super) id: Name,
    pub(super) held: Held,
    pub(super) version: u64,
}

/// A definition with its secrets, once they were opened. No `Debug`.
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) id: Name,
    pub(super) held: Held,
    /// The version of its document.
    pub(super) version: u64,
    /// With its secrets, once they were opened.
    pub(super) body: Value,
}

/// The journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    /// How many changes there were.
    pub(super) changes: u64,
    /// The writes of the last one, until they are done.
    pub(super) writes: Vec<Pending>,
}

/// The journal of an organization and its version.
async fn read<S: Store>(store: &S, organization: &Name, now: u64) -> Result<(Journal, Option<u64>), PortError> {
    let Some(stored) = store.get(&keys::journal(organization), now).await? else { return Ok((Journal::default(), None)) };
    let journal = serde_json::from_slice(&stored.body)
        .map_err(|e| PortError::Failed(format!("the journal of {organization}'s definitions cannot be read: {e}")))?;
    Ok((journal, Some(stored.version)))
}

/// How often an organization's definitions have changed.
pub async fn changes<S: Store>(store: &S, organization: &Name, now: u64) -> Result<u64, PortError> {
    Ok(read(store, organization, now).await?.0.changes)
}

/// A write of a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    partition: String,
    sort: String,
    /// The version of the document that it replaces.
    expected: Option<u64>,
    held: Held,
}

/// All there is.
pub(super) struct Whole {
    pub(super) changes: u64,
    journal_version: Option<u64>,
    pub(super) settings: Option<(Held, u64)>,
    /// What is defined, in the order of kinds and names.
    pub(super) entries: Vec<Entry>,
    /// Versions of the marks of what was deleted.
    marks: Vec<(Kind, Name, u64)>,
}

impl Whole {
    /// Entries that nothing is written from.
    pub(super) fn of(entries: Vec<Entry>) -> Whole {
        Whole { changes: 0, journal_version: None, settings: None, entries, marks: Vec::new() }
    }

    /// The place of a definition.
    pub(super) fn position(&self, kind: Kind, id: &Name) -> Option<usize> {
        self.entries.iter().position(|entry| entry.kind == kind && entry.id == *id)
    }
}

impl<S: Store, K: Secrets> Catalog<'_, S, K> {
    fn seconds(&self) -> u64 {
        self.now / 1_000_000
    }

    fn key(&self, kind: Kind, id: &Name) -> Key {
        Key::new(keys::definitions(self.organization, kind.as_str()), id.as_str())
    }

    fn settings_key(&self) -> Key {
        Key::new(keys::definitions(self.organization, "organization"), "settings")
    }

    /// The journal and its version.
    pub(super) async fn read_journal(&self) -> Result<(Journal, Option<u64>), PortError> {
        read(self.store, self.organization, self.seconds()).await
    }

    /// The definition of a name, or its mark.
    pub(super) async fn read_one(&self, kind: Kind, id: &Name) -> Result<Option<Read>, PortError> {
        let stored = self.store.get(&self.key(kind, id), self.seconds()).await?;
        stored
            .map(|stored| Ok(Read { id: id.clone(), held: decode(kind.as_str(), id.as_str(), &stored.body)?, version: stored.version }))
            .transpose()
    }

    /// The settings and the version of their document.
    pub(super) async fn read_settings(&self) -> Result<Option<(Held, u64)>, PortError> {
        let stored = self.store.get(&self.settings_key(), self.seconds()).await?;
        stored.map(|stored| Ok((decode("organization", "settings", &stored.body)?, stored.version))).transpose()
    }

    /// Definitions of a kind, those behind the name `after`, at most `limit`; with the marks of what was deleted if asked for.
    pub(super) async fn read_some(&self, kind: Kind, after: Option<&str>, limit: usize, marks: bool) -> Result<Vec<Read>, PortError> {
        let partition = keys::definitions(self.organization, kind.as_str());
        // `!` comes before everything that a longer name goes on with, and before the `@` of what was pinned.
        let mut start = after.map(|name| format!("{name}!")).unwrap_or_default();
        let mut found = Vec::new();
        while found.len() < limit {
            let asked = CHUNK.min(limit - found.len());
            let documents = self.store.list(&partition, start.as_str()..END, asked, self.seconds()).await?;
            let is_last = documents.len() < asked;
            let mut is_pinned = false;
            for stored in documents {
                if let Some((name, _)) = stored.key.sort.split_once('@') {
                    // Behind all of its pinned versions.
                    start = format!("{name}A");
                    is_pinned = true;
                    break;
                }
                let sort = &stored.key.sort;
                let id = kind.name(sort).map_err(|e| PortError::Failed(format!("a definition of kind {kind} cannot be read: {e}")))?;
                let held = decode(kind.as_str(), sort, &stored.body)?;
                start = format!("{sort}!");
                if marks || !held.gone {
                    found.push(Read { id, held, version: stored.version });
                }
            }
            if is_last && !is_pinned {
                break;
            }
        }
        Ok(found)
    }

    /// All there is, once the change that is under way was brought to its end.
    pub(super) async fn read_whole(&self) -> Result<Whole, PortError> {
        let (journal, version) = self.read_journal().await?;
        let journal_version = self.settle(&journal, version).await?;
        let settings = self.read_settings().await?;
        let (mut entries, mut marks) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            // Marks may stand beside as many definitions as there may be.
            for Read { id, held, version } in self.read_some(kind, None, 64 * MOST_DEFINITIONS, true).await? {
                match held.gone {
                    true => marks.push((kind, id, version)),
                    false => entries.push(Entry { kind, id, body: held.definition.clone(), held, version }),
                }
            }
        }
        Ok(Whole { changes: journal.changes, journal_version, settings, entries, marks })
    }

    /// Whether nothing has changed since that was read.
    pub(super) async fn is_current(&self, whole: &Whole) -> Result<bool, PortError> {
        Ok(self.read_journal().await?.1 == whole.journal_version)
    }

    /// A write of a definition, over what was read.
    pub(super) fn writing(&self, whole: &Whole, kind: Kind, id: &Name, held: Held) -> Pending {
        let Key { partition, sort } = self.key(kind, id);
        let mark = whole.marks.iter().find(|(other, name, _)| *other == kind && name == id).map(|(_, _, version)| *version);
        let expected = whole.position(kind, id).map(|at| whole.entries[at].version).or(mark);
        Pending { partition, sort, expected, held }
    }

    /// A write of the settings, over what was read.
    pub(super) fn writing_settings(&self, whole: &Whole, held: Held) -> Pending {
        let Key { partition, sort } = self.settings_key();
        Pending { partition, sort, expected: whole.settings.as_ref().map(|(_, version)| *version), held }
    }

    /// Makes a change. False if another one came before: nothing was written then.
    pub(super) async fn commit(&self, whole: &Whole, writes: Vec<Pending>) -> Result<bool, PortError> {
        let journal = Journal { changes: whole.changes + 1, writes };
        match self.write_journal(&journal, whole.journal_version).await {
            Ok(version) => self.settle(&journal, Some(version)).await.map(|_| true),
            Err(PortError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Brings the writes of a change to their end, and says at which version the journal is then.
    async fn settle(&self, journal: &Journal, version: Option<u64>) -> Result<Option<u64>, PortError> {
        if journal.writes.is_empty() {
            return Ok(version);
        }
        for Pending { partition, sort, expected, held } in &journal.writes {
            let document = Document {
                body: serde_json::to_vec(held).expect("plain data always serializes"),
                expires_at: held.gone.then(|| held.updated_at / 1_000_000 + MARK_SECONDS),
                ..Document::default()
            };
            let expect = expected.map_or(Expect::Absent, Expect::At);
            match self.store.put(&Key::new(partition, sort), document, expect, self.seconds()).await {
                // Refused: someone else has done it.
                Ok(_) | Err(PortError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        let done = Journal { changes: journal.changes, writes: Vec::new() };
        match self.write_journal(&done, version).await {
            Ok(version) => Ok(Some(version)),
            // Someone else has done it, and may have gone on: who builds on this version will be refused.
            Err(PortError::Conflict) => Ok(version),
            Err(error) => Err(error),
        }
    }

    async fn write_journal(&self, journal: &Journal, version: Option<u64>) -> Result<u64, PortError> {
        let body = serde_json::to_vec(journal).expect("plain data always serializes");
        let expect = version.map_or(Expect::Absent, Expect::At);
        self.store.put(&keys::journal(self.organization), Document { body, ..Document::default() }, expect, self.seconds()).await
    }
}

fn decode(kind: &str, id: &str, body: &[u8]) -> Result<Held, PortError> {
    serde_json::from_slice(body).map_err(|e| PortError::Failed(format!("the definition of {kind} {id} cannot be read: {e}")))
}

impl Settings {
    /// What is stored of them: all but the id, which is the organization's.
    pub(super) fn stored(mut body: Value) -> Value {
        if let Some(object) = body.as_object_mut() {
            object.remove("id");
        }
        body
    }
}
