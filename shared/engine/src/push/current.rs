//! The rows as they stand: a base in one object. Where there are changes after it, they are folded into a new one first. It must not
//! read rows itself.

use super::state::{self, Base, Pushed, TRIES};
use crate::model::name::Name;
use crate::model::source::Model;
use crate::port::{Objects, PortError, Store};
use std::path::PathBuf;

/// Writes a base and the changes after it as a new base.
pub trait FoldRows {
    /// Gives a local file, NDJSON, zstd-compressed, and how many rows it holds. The files are those of the base's objects and of the
    /// changes, both in order.
    ///
    /// # Errors
    /// A file cannot be read to its end, or there is no room.
    fn fold(&self, base: &[PathBuf], changes: &[PathBuf], primary_key: &[String]) -> Result<(PathBuf, u64), PortError>;
}

/// The rows of a model as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The object with them, NDJSON, zstd-compressed. It stays for an hour after it was replaced.
    pub object: String,
    /// How many.
    pub rows: u64,
}

/// The rows of a model as they stand; `None` if nothing was ever pushed. `fresh` is a text that no other call has.
pub async fn current<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Model,
    fresh: &str,
    folding: &impl FoldRows,
    now: u64,
) -> Result<Option<Current>, PortError> {
    for attempt in 0..TRIES {
        let (before, expect) = state::read_versioned(store, organization, &model.id, now).await?;
        match &before.base {
            _ if before.is_nothing() => return Ok(None),
            Some(base) if base.chunks == 1 && before.changes.is_empty() => return Ok(Some(of(base))),
            _ => {}
        }
        if before.sealed != before.changes.len() {
            // From here on pushes leave these objects alone, so that folding them comes to an end.
            let sealed = Pushed { sealed: before.changes.len(), ..before.clone() };
            if !state::write(store, objects, organization, &model.id, sealed, expect, now).await? {
                continue;
            }
        }
        let names = before.base.iter().flat_map(Base::objects);
        let Some(base) = local(objects, names).await? else { continue };
        let Some(changes) = local(objects, before.changes.iter().map(|changes| changes.object.clone())).await? else { continue };
        let (file, rows) = match folding.fold(&base, &changes, &model.primary_key) {
            Ok(folded) => folded,
            Err(error) => {
                // Somebody else may have put something in their place, and taken them away under the reader.
                let now_there = state::read(store, organization, &model.id, now).await?;
                if is_still(&now_there, &before) {
                    return Err(error);
                }
                continue;
            }
        };
        let prefix = state::object_prefix(organization, &model.id, &format!("{fresh} {attempt}"), now);
        let folded = Base { prefix, chunks: 1, rows };
        let object = state::chunk(&folded.prefix, 1);
        objects.adopt(&object, &file).await?;
        if swap(store, objects, organization, &model.id, &before, &folded, now).await? {
            state::delete(objects, before.changes.into_iter().map(|changes| changes.object)).await?;
            return Ok(Some(of(&folded)));
        }
        objects.delete(&object).await?;
    }
    Err(PortError::Failed(format!("what was pushed to model {} changes without end: run again", model.id)))
}

fn of(base: &Base) -> Current {
    Current { object: state::chunk(&base.prefix, 1), rows: base.rows }
}

/// Whether what was read is still there, whatever came after it.
fn is_still(pushed: &Pushed, read: &Pushed) -> bool {
    pushed.base == read.base && pushed.changes.starts_with(&read.changes)
}

/// The objects as files; `None` if one of them is gone, since somebody else has put something in its place.
async fn local<O: Objects>(objects: &O, names: impl Iterator<Item = String>) -> Result<Option<Vec<PathBuf>>, PortError> {
    let mut files = Vec::new();
    for name in names {
        match objects.local(&name).await {
            Ok(file) => files.push(file),
            Err(PortError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(files))
}

/// Puts the folded base in the place of what it was folded from; changes that came since stay. False if somebody else was faster.
async fn swap<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Name,
    from: &Pushed,
    folded: &Base,
    now: u64,
) -> Result<bool, PortError> {
    for _ in 0..TRIES {
        let (mut pushed, expect) = state::read_versioned(store, organization, model, now).await?;
        if !is_still(&pushed, from) {
            return Ok(false);
        }
        pushed.replace(folded.clone(), now);
        pushed.changes.drain(..from.changes.len());
        pushed.sealed = 0;
        if state::write(store, objects, organization, model, pushed, expect, now).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
