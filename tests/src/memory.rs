//! A store and objects in memory, for the simulation: the same answers as a backend that writes to a disk, in the same order every time.
//!
//! One thread, no clock, no chance, no waiting: a call is done when its future is first polled. It must pass the whole contract,
//! and must not be kinder than it: what any backend refuses is refused here too.

mod queue;
mod secrets;

pub use queue::MemoryQueue;
pub use secrets::MemorySecrets;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use engine::object_name;
use engine::port::{Document, Expect, Index, Key, Listed, Objects, PortError, Store, Stored, Write};

/// Documents in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    documents: Rc<RefCell<Documents>>,
}

#[derive(Clone, Debug, Default)]
struct Documents {
    by_key: BTreeMap<Key, Held>,
    /// Summaries under index number, partition, sort key and document.
    entries: BTreeMap<(u8, String, String, Key), String>,
    last_version: u64,
}

#[derive(Clone, Debug)]
struct Held {
    document: Document,
    version: u64,
}

impl Held {
    fn is_seen(&self, now: u64) -> bool {
        self.document.expires_at.is_none_or(|at| at >= now)
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// How many documents there are, expired ones included: for "nothing was left behind".
    pub fn len(&self) -> usize {
        self.documents.borrow().by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every document with its key, in the order of the keys: for checks that look at all there is.
    pub fn all(&self) -> Vec<(Key, Document)> {
        self.documents.borrow().by_key.iter().map(|(key, held)| (key.clone(), held.document.clone())).collect()
    }

    /// A copy that shares nothing with this one: what a disk would hold after a crash now.
    pub fn copied(&self) -> MemoryStore {
        let documents = self.documents.borrow();
        MemoryStore { documents: Rc::new(RefCell::new(documents.clone())) }
    }
}

impl Documents {
    fn write(&mut self, write: Write, now: u64) -> Result<u64, PortError> {
        check(&write)?;
        let (Write::Put(key, _, expect) | Write::Delete(key, expect)) = &write;
        let seen = self.by_key.get(key).filter(|held| held.is_seen(now)).map(|held| held.version);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => seen.is_none(),
            Expect::At(version) => seen == Some(*version),
        };
        if !holds {
            return Err(PortError::Conflict);
        }
        if let Some(held) = self.by_key.remove(key) {
            for entry in held.document.index {
                self.entries.remove(&(number(entry.index), entry.partition, entry.sort, key.clone()));
            }
        }
        let Write::Put(key, document, _) = write else { return Ok(0) };
        self.last_version += 1;
        for entry in &document.index {
            let place = (number(entry.index), entry.partition.clone(), entry.sort.clone(), key.clone());
            self.entries.insert(place, entry.summary.clone());
        }
        self.by_key.insert(key, Held { document, version: self.last_version });
        Ok(self.last_version)
    }
}

impl Store for MemoryStore {
    async fn get(&self, key: &Key, now: u64) -> Result<Option<Stored>, PortError> {
        let documents = self.documents.borrow();
        let held = documents.by_key.get(key).filter(|held| held.is_seen(now));
        Ok(held.map(|held| Stored { key: key.clone(), body: held.document.body.clone(), version: held.version }))
    }

    async fn put(&self, key: &Key, document: Document, expect: Expect, now: u64) -> Result<u64, PortError> {
        self.documents.borrow_mut().write(Write::Put(key.clone(), document, expect), now)
    }

    async fn delete(&self, key: &Key, expect: Expect, now: u64) -> Result<(), PortError> {
        self.documents.borrow_mut().write(Write::Delete(key.clone(), expect), now).map(|_| ())
    }

    async fn write(&self, writes: Vec<Write>, now: u64) -> Result<Vec<Result<u64, PortError>>, PortError> {
        let mut documents = self.documents.borrow_mut();
        Ok(writes.into_iter().map(|write| documents.write(write, now)).collect())
    }

    async fn list(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let documents = self.documents.borrow();
        let within = documents.by_key.range(Key::new(partition, range.start)..Key::new(partition, range.end));
        let seen = within.filter(|(_, held)| held.is_seen(now)).take(limit);
        Ok(seen.map(|(key, held)| Stored { key: key.clone(), body: held.document.body.clone(), version: held.version }).collect())
    }

    async fn list_index(
        &self,
        index: Index,
        partition: &str,
        range: Range<&str>,
        newest_first: bool,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Listed>, PortError> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let documents = self.documents.borrow();
        let place = |sort: &str| (number(index), partition.to_owned(), sort.to_owned(), Key::new("", ""));
        let within = documents.entries.range(place(range.start)..place(range.end));
        let seen = within.filter(|((.., key), _)| documents.by_key.get(key).is_some_and(|held| held.is_seen(now)));
        let listed = seen.map(|((.., sort, key), summary)| Listed { key: key.clone(), sort: sort.clone(), summary: summary.clone() });
        Ok(if newest_first { listed.rev().take(limit).collect() } else { listed.take(limit).collect() })
    }
}

fn number(index: Index) -> u8 {
    match index {
        Index::First => 1,
        Index::Second => 2,
        Index::Third => 3,
    }
}

/// What the port does not allow, with the limits that every backend holds.
fn check(write: &Write) -> Result<(), PortError> {
    let (Write::Put(key, ..) | Write::Delete(key, _)) = write;
    check_key(&key.partition, &key.sort)?;
    let Write::Put(_, document, _) = write else { return Ok(()) };
    if document.body.len() > 380_000 {
        return Err(PortError::Failed(format!("document {key:?} has {} bytes: at most 380000", document.body.len())));
    }
    for (place, entry) in document.index.iter().enumerate() {
        check_key(&entry.partition, &entry.sort)?;
        if entry.summary.len() > 150 {
            return Err(PortError::Failed(format!("document {key:?} has a summary of {} bytes: at most 150", entry.summary.len())));
        }
        if document.index[..place].iter().any(|other| other.index == entry.index) {
            return Err(PortError::Failed(format!("document {key:?} has two entries for one index: at most one for each")));
        }
    }
    Ok(())
}

fn check_key(partition: &str, sort: &str) -> Result<(), PortError> {
    if partition.is_empty() || partition.len() > 2048 || sort.is_empty() || sort.len() > 1024 {
        let (partition, sort) = (partition.len(), sort.len());
        return Err(PortError::Failed(format!("key of {partition} and {sort} bytes: 1 to 2048 and 1 to 1024 are allowed")));
    }
    Ok(())
}

/// Objects in memory. Clones share them. [`Objects::local`] and [`Objects::adopt`] meet real files, so they use a temporary folder.
#[derive(Clone, Debug, Default)]
pub struct MemoryObjects {
    objects: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    locals: Rc<RefCell<Locals>>,
}

/// Files made for [`Objects::local`], gone with the last clone.
#[derive(Debug, Default)]
struct Locals {
    folder: Option<tempfile::TempDir>,
    made: u64,
}

impl MemoryObjects {
    /// No objects.
    pub fn new() -> MemoryObjects {
        MemoryObjects::default()
    }

    /// A copy that shares nothing with this one: what a disk would hold after a crash now.
    pub fn copied(&self) -> MemoryObjects {
        MemoryObjects { objects: Rc::new(RefCell::new(self.objects.borrow().clone())), locals: Rc::default() }
    }
}

impl Objects for MemoryObjects {
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        object_name::check(name)?;
        let mut objects = self.objects.borrow_mut();
        // A folder cannot be a file: what one disk refuses is refused here too.
        let above = |longer: &str, shorter: &str| longer.strip_prefix(shorter).is_some_and(|rest| rest.starts_with('/'));
        if objects.keys().any(|other| above(other, name) || above(name, other)) {
            return Err(PortError::Failed(format!("object {name}: a name cannot be both an object and the start of another one's path")));
        }
        objects.insert(name.to_owned(), bytes);
        Ok(())
    }

    async fn adopt(&self, name: &str, file: &Path) -> Result<(), PortError> {
        object_name::check(name)?;
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(PortError::Missing(file.display().to_string())),
            Err(e) => return Err(PortError::Failed(format!("cannot read {}: {e}", file.display()))),
        };
        self.put(name, bytes).await?;
        std::fs::remove_file(file).map_err(|e| PortError::Failed(format!("cannot remove {}: {e}", file.display())))
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, PortError> {
        object_name::check(name)?;
        let objects = self.objects.borrow();
        let bytes = objects.get(name).ok_or_else(|| PortError::Missing(format!("object {name}")))?;
        let Some(range) = range else { return Ok(bytes.clone()) };
        if range.start > range.end {
            return Err(PortError::Failed(format!("object {name}: the range {}..{} ends before it starts", range.start, range.end)));
        }
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let part = bytes.get(place(range.start)..place(range.end));
        part.map(<[u8]>::to_vec).ok_or_else(|| PortError::Missing(format!("bytes {}..{} of object {name}", range.start, range.end)))
    }

    async fn local(&self, name: &str) -> Result<PathBuf, PortError> {
        let bytes = self.get(name, None).await?;
        let mut locals = self.locals.borrow_mut();
        locals.made += 1;
        let made = locals.made;
        let failed = |e: std::io::Error| PortError::Failed(format!("cannot make a local file for object {name}: {e}"));
        if locals.folder.is_none() {
            locals.folder = Some(tempfile::tempdir().map_err(failed)?);
        }
        let folder = locals.folder.as_ref().map(tempfile::TempDir::path).unwrap_or(Path::new("."));
        let path = folder.join(made.to_string());
        std::fs::write(&path, bytes).map_err(failed)?;
        Ok(path)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        object_name::check_prefix(prefix)?;
        let objects = self.objects.borrow();
        Ok(objects.range(prefix.to_owned()..).map(|(name, _)| name).take_while(|name| name.starts_with(prefix)).cloned().collect())
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        object_name::check(name)?;
        self.objects.borrow_mut().remove(name);
        Ok(())
    }
}
