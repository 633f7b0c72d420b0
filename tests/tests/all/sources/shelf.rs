//! A model whose rows are pushed, with a store and objects that can be made to fail or to let others go first between any two calls. It
//! must not know what a test pushes.

use engine::model::name::Name;
use engine::model::project::Problem;
use engine::model::source::{Model, Source};
use engine::port::{Document, Expect, Index, Key, Listed, Objects, PortError, Store, Stored, Write};
use engine::push::{self, Accepted, Committed, FoldRows, Refused};
use futures_util::FutureExt;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tests::memory::{MemoryObjects, MemoryStore};

/// What happens at each call of the store and of the objects.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// The call with this number fails; if true, after it took effect.
    pub fails: Rc<Cell<Option<(u64, bool)>>>,
    /// Calls so far.
    pub calls: Rc<Cell<u64>>,
}

impl Trouble {
    /// Fails the call that comes after so many others, before or after it takes effect.
    pub fn after(&self, calls: u64, taken: bool) {
        self.fails.set(Some((self.calls.get() + calls, taken)));
    }

    /// Runs a call: others go first, then it may fail.
    async fn around<T>(&self, call: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
        tokio::task::yield_now().await;
        let number = self.calls.get();
        self.calls.set(number + 1);
        let failure = || Err(PortError::Failed("a planned failure".to_string()));
        match self.fails.get() {
            Some((at, false)) if at == number => failure(),
            Some((at, true)) if at == number => call.await.and_then(|_| failure()),
            _ => call.await,
        }
    }
}

/// The memory store with trouble.
#[derive(Clone, Debug, Default)]
pub struct TroubledStore(pub MemoryStore, pub Trouble);

impl Store for TroubledStore {
    async fn get(&self, key: &Key, now: u64) -> Result<Option<Stored>, PortError> {
        self.1.around(self.0.get(key, now)).await
    }

    async fn put(&self, key: &Key, document: Document, expect: Expect, now: u64) -> Result<u64, PortError> {
        self.1.around(self.0.put(key, document, expect, now)).await
    }

    async fn delete(&self, key: &Key, expect: Expect, now: u64) -> Result<(), PortError> {
        self.1.around(self.0.delete(key, expect, now)).await
    }

    async fn write(&self, writes: Vec<Write>, now: u64) -> Result<Vec<Result<u64, PortError>>, PortError> {
        self.1.around(self.0.write(writes, now)).await
    }

    async fn list(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        self.1.around(self.0.list(partition, range, limit, now)).await
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
        self.1.around(self.0.list_index(index, partition, range, newest_first, limit, now)).await
    }
}

/// The objects in memory with trouble.
#[derive(Clone, Debug, Default)]
pub struct TroubledObjects(pub MemoryObjects, pub Trouble);

impl Objects for TroubledObjects {
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        self.1.around(self.0.put(name, bytes)).await
    }

    async fn adopt(&self, name: &str, file: &Path) -> Result<(), PortError> {
        self.1.around(self.0.adopt(name, file)).await
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, PortError> {
        self.1.around(self.0.get(name, range)).await
    }

    async fn local(&self, name: &str) -> Result<PathBuf, PortError> {
        self.1.around(self.0.local(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        self.1.around(self.0.list(prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        self.1.around(self.0.delete(name)).await
    }
}

/// A model and what was pushed to it.
pub struct Shelf {
    pub store: TroubledStore,
    pub objects: TroubledObjects,
    pub trouble: Trouble,
    pub organization: Name,
    pub model: Model,
    folder: tempfile::TempDir,
    /// Unix seconds.
    pub now: Cell<u64>,
    fresh: Cell<u64>,
}

impl Shelf {
    /// An empty one; the key is `id`.
    pub fn new() -> Shelf {
        let trouble = Trouble::default();
        let id = Name::new("people").unwrap();
        Shelf {
            store: TroubledStore(MemoryStore::new(), trouble.clone()),
            objects: TroubledObjects(MemoryObjects::new(), trouble.clone()),
            trouble,
            organization: Name::new("acme").unwrap(),
            model: Model { id, name: "People".into(), primary_key: vec!["id".into()], source: Source::Push },
            folder: tempfile::tempdir().unwrap(),
            now: Cell::new(1_700_000_000),
            fresh: Cell::new(0),
        }
    }

    /// A text that no other call has.
    pub fn fresh(&self) -> String {
        self.fresh.set(self.fresh.get() + 1);
        format!("fresh_{}", self.fresh.get())
    }

    /// Pushes changes under a name.
    pub async fn push(&self, lines: &str, name: &str) -> Result<Result<Accepted, Vec<Problem>>, PortError> {
        push::changes(&self.store, &self.objects, &self.organization, &self.model, lines.as_bytes(), name, self.now.get()).await
    }

    /// Pushes changes that are sound.
    pub async fn push_well(&self, lines: &str) -> Accepted {
        self.push(lines, &self.fresh()).await.unwrap().unwrap()
    }

    /// Begins an upload under a fresh name.
    pub async fn begin(&self) -> String {
        let upload = self.fresh();
        push::begin_upload(&self.store, &self.objects, &self.organization, &self.model.id, &upload, self.now.get()).await.unwrap();
        upload
    }

    /// Puts a part.
    pub async fn put(&self, upload: &str, number: u32, bytes: &[u8]) -> Result<Result<(), Refused>, PortError> {
        let id = &self.model.id;
        push::put_part(&self.store, &self.objects, &self.organization, id, upload, number, bytes.to_vec(), self.now.get()).await
    }

    /// Commits.
    pub async fn commit(&self, upload: &str, rows: u64, sha256: &str) -> Result<Result<Committed, Refused>, PortError> {
        let (store, objects, fresh) = (&self.store, &self.objects, self.fresh());
        push::commit(store, objects, &self.organization, &self.model, upload, rows, sha256, &fresh, self.now.get()).await
    }

    /// Aborts.
    pub async fn abort(&self, upload: &str) -> Result<Result<(), Refused>, PortError> {
        push::abort(&self.store, &self.objects, &self.organization, &self.model.id, upload, self.now.get()).await
    }

    /// Uploads a snapshot in parts of so many bytes, and commits it.
    pub async fn upload_well(&self, lines: &str, part_bytes: usize) -> Committed {
        let upload = self.begin().await;
        for (index, part) in lines.as_bytes().chunks(part_bytes).enumerate() {
            self.put(&upload, index as u32 + 1, part).await.unwrap().unwrap();
        }
        self.commit(&upload, lines.lines().count() as u64, &sha256(lines)).await.unwrap().unwrap()
    }

    /// The object that holds the rows as they stand, folded if need be; `None` if nothing was pushed.
    pub async fn current(&self, folding: &impl FoldRows) -> Result<Option<push::Current>, PortError> {
        let (store, objects, fresh) = (&self.store, &self.objects, self.fresh());
        push::current(store, objects, &self.organization, &self.model, &fresh, folding, self.now.get()).await
    }

    /// The rows as they stand.
    pub async fn rows(&self) -> Option<Vec<Value>> {
        let current = self.current(&self.folding()).await.unwrap()?;
        let rows = lines_of(&self.objects.0.get(&current.object, None).await.unwrap());
        assert_eq!(rows.len() as u64, current.rows);
        Some(rows)
    }

    /// What folds as the product does.
    pub fn folding(&self) -> Folding {
        Folding { to: self.folder.path().join(self.fresh()) }
    }

    /// What the document says.
    pub async fn pushed(&self) -> push::Pushed {
        push::read(&self.store, &self.organization, &self.model.id, self.now.get()).await.unwrap()
    }

    /// The same, past all trouble.
    pub fn pushed_now(&self) -> push::Pushed {
        let read = push::read(&self.store.0, &self.organization, &self.model.id, self.now.get());
        read.now_or_never().expect("the memory store waits for nothing").unwrap()
    }

    /// Clears what nobody names.
    pub async fn sweep(&self) {
        push::sweep(&self.store, &self.objects, &self.organization, &self.model.id, self.now.get()).await.unwrap();
    }

    /// The names of all objects.
    pub async fn object_names(&self) -> Vec<String> {
        self.objects.0.list("").await.unwrap()
    }
}

/// Folds into a file, with the crate that the product folds with.
pub struct Folding {
    pub to: PathBuf,
}

impl FoldRows for Folding {
    fn fold(&self, base: &[PathBuf], changes: &[PathBuf], primary_key: &[String]) -> Result<(PathBuf, u64), PortError> {
        let folded = rows::fold(base, changes, primary_key, &self.to).map_err(|e| PortError::Failed(e.to_string()))?;
        Ok((self.to.clone(), folded.rows))
    }
}

/// The lines of an object.
pub fn lines_of(packed: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(zstd::stream::decode_all(packed).unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// As `sha256sum` prints it.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a test's future on a runtime of one thread.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
