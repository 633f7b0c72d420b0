//! The document of what was pushed to a model, and what becomes of objects that it no longer names. It must not read rows.

use crate::keys;
use crate::model::name::Name;
use crate::port::{Document, Expect, Objects, PortError, Store};
use serde::{Deserialize, Serialize};

/// So often a conditional write that was refused is tried again.
pub(super) const TRIES: usize = 64;
/// A base that was replaced stays so long, seconds, for those who still read it.
const RETIRED_SECONDS: u64 = 3600;
/// No more of them stay.
const MOST_RETIRED: usize = 256;
/// Objects that no document names go after so long, seconds: their writer died, or is about to name them.
const ORPHAN_SECONDS: u64 = 24 * 3600;
/// Pushes whose names are remembered, and for how long, seconds.
const RECENT: usize = 256;
const RECENT_SECONDS: u64 = 24 * 3600;

/// What was pushed to a model: the rows of the base, then the changes in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Changes with every push that changes anything.
    pub version: u64,
    /// The rows; `None`: there were never any, but for what the changes say.
    pub base: Option<Base>,
    /// The changes that came after the base, from the oldest to the newest.
    pub changes: Vec<Changes>,
    /// The first so many of them are being folded into a new base, and are not joined with others.
    pub sealed: usize,
    /// The last pushes, so that the same one again is told from another.
    pub(super) recent: Vec<Recent>,
    /// Bases that were replaced.
    pub(super) retired: Vec<Retired>,
}

/// Rows in so many objects, NDJSON, zstd-compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// What the objects' names begin with.
    pub prefix: String,
    /// How many objects, at least 1.
    pub chunks: u32,
    /// How many rows.
    pub rows: u64,
}

impl Base {
    /// The objects' names, in order.
    pub fn objects(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.chunks).map(|number| chunk(&self.prefix, number))
    }
}

/// The name of one object of a base, counted from 1.
pub(super) fn chunk(prefix: &str, number: u32) -> String {
    format!("{prefix}/{number:05}.ndjson.zst")
}

/// An object with changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Its name.
    pub object: String,
    /// Its length before compression.
    pub bytes: u64,
    /// How many rows it sets.
    pub upserts: u64,
    /// How many keys it removes.
    pub removals: u64,
}

/// A push that took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recent {
    pub name: String,
    pub at: u64,
    pub upserts: u64,
    pub removals: u64,
    pub version: u64,
}

/// A base that was replaced at that time, Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retired {
    pub base: Base,
    pub since: u64,
}

impl Pushed {
    /// Whether anything was ever pushed.
    pub fn is_nothing(&self) -> bool {
        self.base.is_none() && self.changes.is_empty()
    }

    pub(super) fn recent(&self, name: &str) -> Option<&Recent> {
        self.recent.iter().find(|recent| recent.name == name)
    }

    /// Notes a push under the next version; gives that version.
    pub(super) fn note(&mut self, name: String, upserts: u64, removals: u64, now: u64) -> u64 {
        self.version += 1;
        self.recent.retain(|recent| recent.at + RECENT_SECONDS > now);
        let surplus = (self.recent.len() + 1).saturating_sub(RECENT);
        self.recent.drain(..surplus);
        self.recent.push(Recent { name, at: now, upserts, removals, version: self.version });
        self.version
    }

    /// Puts another base in the place of this one.
    pub(super) fn replace(&mut self, base: Base, now: u64) {
        if let Some(base) = self.base.replace(base) {
            self.retired.push(Retired { base, since: now });
        }
    }

    /// Every object that it names.
    fn objects(&self) -> impl Iterator<Item = String> + '_ {
        let bases = self.base.iter().chain(self.retired.iter().map(|retired| &retired.base));
        bases.flat_map(Base::objects).chain(self.changes.iter().map(|changes| changes.object.clone()))
    }
}

/// A name for what is pushed now: objects tell by it how old they are.
pub(super) fn object_prefix(organization: &Name, model: &Name, fresh: &str, now: u64) -> String {
    format!("pushed/{organization}/{model}/{now:012}-{}", name_hash(fresh))
}

/// A name of any form as 32 digits.
pub(super) fn name_hash(name: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(name.as_bytes()))
}

/// What was pushed to a model; the default, if nothing was.
pub async fn read<S: Store>(store: &S, organization: &Name, model: &Name, now: u64) -> Result<Pushed, PortError> {
    read_versioned(store, organization, model, now).await.map(|(pushed, _)| pushed)
}

/// The same, with what a conditional write of it must expect.
pub(super) async fn read_versioned<S: Store>(
    store: &S,
    organization: &Name,
    model: &Name,
    now: u64,
) -> Result<(Pushed, Expect), PortError> {
    let Some(stored) = store.get(&keys::pushed(organization, model), now).await? else {
        return Ok((Pushed::default(), Expect::Absent));
    };
    let pushed = serde_json::from_slice(&stored.body)
        .map_err(|e| PortError::Failed(format!("what was pushed to model {model} cannot be read: {e}")))?;
    Ok((pushed, Expect::At(stored.version)))
}

/// Writes what was pushed, if it is still as it was read; false if it is not. Bases whose time has come are deleted with it.
pub(super) async fn write<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Name,
    mut pushed: Pushed,
    expect: Expect,
    now: u64,
) -> Result<bool, PortError> {
    let surplus = pushed.retired.len().saturating_sub(MOST_RETIRED);
    let mut gone: Vec<Retired> = pushed.retired.drain(..surplus).collect();
    gone.extend(pushed.retired.extract_if(.., |retired| retired.since + RETIRED_SECONDS < now));
    let body = serde_json::to_vec(&pushed).expect("plain data always serializes");
    match store.put(&keys::pushed(organization, model), Document { body, ..Document::default() }, expect, now).await {
        Ok(_) => {}
        Err(PortError::Conflict) => return Ok(false),
        Err(error) => return Err(error),
    }
    for retired in &gone {
        delete(objects, retired.base.objects()).await?;
    }
    Ok(true)
}

pub(super) async fn delete<O: Objects>(objects: &O, names: impl Iterator<Item = String>) -> Result<(), PortError> {
    for name in names {
        objects.delete(&name).await?;
    }
    Ok(())
}

/// Deletes what nobody names: objects of pushes that were cut short a day ago or longer, and parts of uploads that expired.
pub async fn sweep<S: Store, O: Objects>(store: &S, objects: &O, organization: &Name, model: &Name, now: u64) -> Result<(), PortError> {
    let folder = format!("pushed/{organization}/{model}/");
    let age = |name: &str| name[folder.len()..].split('-').next().and_then(|at| at.parse::<u64>().ok());
    let old = |name: &String| age(name).is_none_or(|at| at + ORPHAN_SECONDS < now);
    let mut orphans: Vec<String> = objects.list(&folder).await?.into_iter().filter(old).collect();
    if !orphans.is_empty() {
        // Read after the list: what came since is younger.
        let pushed = read(store, organization, model, now).await?;
        let named: std::collections::BTreeSet<String> = pushed.objects().collect();
        orphans.retain(|name| !named.contains(name));
    }
    let folder = format!("uploads/{organization}/{model}/");
    let mut parts = objects.list(&folder).await?;
    parts.sort();
    let upload = |name: &str| name[folder.len()..].split('/').next().unwrap_or_default().to_string();
    for of_one in parts.chunk_by(|one, other| upload(one) == upload(other)) {
        // An upload's document is there before its first part.
        if store.get(&keys::upload(organization, model, &upload(&of_one[0])), now).await?.is_none() {
            orphans.extend_from_slice(of_one);
        }
    }
    delete(objects, orphans.into_iter()).await
}

/// Deletes all that was pushed to a model: it is no longer there.
pub async fn forget<S: Store, O: Objects>(store: &S, objects: &O, organization: &Name, model: &Name, now: u64) -> Result<(), PortError> {
    let partition = keys::pushed(organization, model).partition;
    loop {
        let documents = store.list(&partition, "pushed".."upload$", 500, now).await?;
        if documents.is_empty() {
            break;
        }
        for document in documents {
            store.delete(&document.key, Expect::Any, now).await?;
        }
    }
    for folder in ["pushed", "uploads"] {
        delete(objects, objects.list(&format!("{folder}/{organization}/{model}/")).await?.into_iter()).await?;
    }
    Ok(())
}
