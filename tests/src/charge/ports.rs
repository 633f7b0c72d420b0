//! The store and the objects as a function meets them: each call takes as long as AWS mostly does, on virtual time, and is billed. It must
//! not fail.

use super::latency;
use crate::memory::{MemoryObjects, MemoryStore};
use crate::simulation::world::World;
use backend_aws::meter::{Ledger, Meter};
use backend_aws::{AwsObjects, AwsStore};
use engine::port::{Clock, Document, Expect, Index, Key, Listed, Now, Objects, PortError, Store, Stored, Write};
use futures_util::FutureExt;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::runtime::Runtime;

/// Unix time at the beginning of the world, microseconds: the twentieth second of a minute.
pub(super) const EPOCH: u64 = 1_800_000_020_000_000;

/// Conditional writes of a call of [`Store::write`] that are under way at once, as `AwsStore` has it.
const AT_ONCE: usize = 16;

/// Where documents and objects are, and who bills what is done with them.
pub(super) enum Far {
    /// In memory; a ledger bills what AWS would.
    Memory { documents: MemoryStore, objects: MemoryObjects, ledger: Ledger },
    /// On a stand-in for AWS; the clients' own meter bills. Real time goes by there, and counts for nothing.
    Aws { runtime: Box<Runtime>, documents: AwsStore, objects: AwsObjects, meter: Meter },
}

impl Far {
    /// In memory, and empty.
    pub(super) fn memory() -> Far {
        Far::Memory { documents: MemoryStore::new(), objects: MemoryObjects::new(), ledger: Ledger::new() }
    }

    /// What was billed.
    pub(super) fn meter(&self) -> &Meter {
        match self {
            Far::Memory { ledger, .. } => ledger.meter(),
            Far::Aws { meter, .. } => meter,
        }
    }
}

/// Documents and objects, from afar. Clones share them.
#[derive(Clone)]
pub(super) struct Ports {
    pub(super) world: Rc<World>,
    pub(super) far: Rc<Far>,
}

/// In memory everything is done when it is first polled.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a store in memory does not wait")
}

impl Ports {
    /// A call that is done at once and answered later. `bill` gives how many calls of AWS one after the other it is.
    async fn call<T>(&self, each: u64, done: (T, usize)) -> T {
        self.world.sleep(each * done.1 as u64).await;
        done.0
    }

    async fn document<T>(&self, done: (T, usize)) -> T {
        self.call(latency::DYNAMODB, done).await
    }
}

impl Store for Ports {
    async fn get(&self, key: &Key, now: u64) -> Result<Option<Stored>, PortError> {
        let done = match &*self.far {
            Far::Memory { documents, ledger, .. } => {
                ledger.get(key);
                at_once(documents.get(key, now))
            }
            Far::Aws { runtime, documents, .. } => runtime.block_on(documents.get(key, now)),
        };
        self.document((done, 1)).await
    }

    async fn put(&self, key: &Key, document: Document, expect: Expect, now: u64) -> Result<u64, PortError> {
        let done = match &*self.far {
            Far::Memory { documents, ledger, .. } => {
                let write = Write::Put(key.clone(), document.clone(), expect);
                let put = at_once(documents.put(key, document, expect, now));
                ledger.write(&write, put.is_ok());
                put
            }
            Far::Aws { runtime, documents, .. } => runtime.block_on(documents.put(key, document, expect, now)),
        };
        self.document((done, 1)).await
    }

    async fn delete(&self, key: &Key, expect: Expect, now: u64) -> Result<(), PortError> {
        let done = match &*self.far {
            Far::Memory { documents, ledger, .. } => {
                let deleted = at_once(documents.delete(key, expect, now));
                ledger.write(&Write::Delete(key.clone(), expect), deleted.is_ok());
                deleted
            }
            Far::Aws { runtime, documents, .. } => runtime.block_on(documents.delete(key, expect, now)),
        };
        self.document((done, 1)).await
    }

    async fn write(&self, writes: Vec<Write>, now: u64) -> Result<Vec<Result<u64, PortError>>, PortError> {
        let (done, calls) = match &*self.far {
            Far::Memory { documents, ledger, .. } => {
                let done = at_once(documents.write(writes.clone(), now));
                let held = done.iter().flatten().map(Result::is_ok);
                let billed: Vec<(Write, bool)> = writes.into_iter().zip(held).collect();
                let calls = ledger.write_many(&billed);
                (done, calls)
            }
            Far::Aws { runtime, documents, .. } => {
                let (free, bound): (Vec<&Write>, Vec<&Write>) =
                    writes.iter().partition(|write| matches!(write, Write::Put(.., Expect::Any) | Write::Delete(_, Expect::Any)));
                let calls = free.len().div_ceil(25) + bound.len();
                (runtime.block_on(documents.write(writes, now)), calls)
            }
        };
        self.document((done, calls.div_ceil(AT_ONCE))).await
    }

    async fn list(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        let done = match &*self.far {
            Far::Memory { documents, ledger, .. } => {
                let found = at_once(documents.list(partition, range, limit, now));
                let keys: Vec<Key> = found.iter().flatten().map(|stored| stored.key.clone()).collect();
                let calls = ledger.list(&keys, limit);
                (found, calls)
            }
            Far::Aws { runtime, documents, .. } => (runtime.block_on(documents.list(partition, range, limit, now)), 1),
        };
        self.document(done).await
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
        let done = match &*self.far {
            Far::Memory { documents, ledger, .. } => {
                let found = at_once(documents.list_index(index, partition, range, newest_first, limit, now));
                let keys: Vec<Key> = found.iter().flatten().map(|listed| listed.key.clone()).collect();
                let calls = ledger.list_index(index, &keys, limit);
                (found, calls)
            }
            Far::Aws { runtime, documents, .. } => {
                (runtime.block_on(documents.list_index(index, partition, range, newest_first, limit, now)), 1)
            }
        };
        self.document(done).await
    }
}

impl Objects for Ports {
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        let done = match &*self.far {
            Far::Memory { objects, ledger, .. } => {
                let requests = ledger.put_object(bytes.len() as u64, false);
                (at_once(objects.put(name, bytes)), requests)
            }
            Far::Aws { runtime, objects, .. } => (runtime.block_on(objects.put(name, bytes)), 1),
        };
        self.call(latency::S3_PUT, done).await
    }

    async fn adopt(&self, name: &str, file: &Path) -> Result<(), PortError> {
        let bytes = std::fs::metadata(file).map_or(0, |about| about.len());
        let done = match &*self.far {
            Far::Memory { objects, ledger, .. } => {
                let requests = ledger.put_object(bytes, true);
                (at_once(objects.adopt(name, file)), requests)
            }
            Far::Aws { runtime, objects, .. } => (runtime.block_on(objects.adopt(name, file)), 1),
        };
        self.call(latency::S3_PUT, done).await
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, PortError> {
        let done = match &*self.far {
            Far::Memory { objects, ledger, .. } => {
                ledger.get_object();
                at_once(Objects::get(objects, name, range))
            }
            Far::Aws { runtime, objects, .. } => runtime.block_on(Objects::get(objects, name, range)),
        };
        self.call(latency::S3_GET, (done, 1)).await
    }

    async fn local(&self, name: &str) -> Result<PathBuf, PortError> {
        let done = match &*self.far {
            Far::Memory { objects, ledger, .. } => {
                ledger.get_object();
                at_once(objects.local(name))
            }
            Far::Aws { runtime, objects, .. } => runtime.block_on(objects.local(name)),
        };
        self.call(latency::S3_GET, (done, 1)).await
    }

    async fn list(&self, _: &str) -> Result<Vec<String>, PortError> {
        unreachable!("nothing that is measured lists objects")
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        let done = match &*self.far {
            Far::Memory { objects, ledger, .. } => {
                ledger.delete_object();
                at_once(Objects::delete(objects, name))
            }
            Far::Aws { runtime, objects, .. } => runtime.block_on(Objects::delete(objects, name)),
        };
        self.call(latency::S3_PUT, (done, 1)).await
    }
}

impl Clock for Ports {
    fn now(&self) -> Now {
        Now { wall: EPOCH + self.world.now(), mono: self.world.now() + 1_000_000 }
    }

    async fn sleep_until(&self, mono: u64) {
        self.world.sleep_until(mono.saturating_sub(1_000_000)).await;
    }
}
