//! A store that can be stopped before any call: to see what two writers do to each other, and what a crash leaves. It must pass on what
//! it is asked and nothing else.

use engine::port::{Document, Expect, Index, Key, Listed, PortError, Store, Stored, Write};
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use tests::memory::MemoryStore;

/// What happens before a call.
#[derive(Clone)]
pub enum Pace {
    /// The caller waits for its turn so often, by a number drawn anew each time.
    Random(Rc<Cell<u64>>),
    /// Before call number `0` (from 0) the caller waits once.
    StopAt(usize),
    /// Call number `0` and all later ones fail: the process is dead as far as the store can tell.
    DieAt(usize),
}

pub struct Stepped {
    pub store: MemoryStore,
    pub pace: Pace,
    pub calls: Cell<usize>,
}

impl Stepped {
    pub fn new(store: &MemoryStore, pace: Pace) -> Stepped {
        Stepped { store: store.clone(), pace, calls: Cell::new(0) }
    }

    async fn step(&self) -> Result<(), PortError> {
        let call = self.calls.replace(self.calls.get() + 1);
        match &self.pace {
            Pace::Random(state) => {
                let number = state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.set(number);
                for _ in 0..(number >> 60) % 5 {
                    tokio::task::yield_now().await;
                }
            }
            Pace::StopAt(at) if *at == call => pending_once().await,
            Pace::DieAt(at) if call >= *at => return Err(PortError::Failed("the process is dead".to_owned())),
            Pace::StopAt(_) | Pace::DieAt(_) => {}
        }
        Ok(())
    }
}

/// Waits until it is polled again.
async fn pending_once() {
    let mut waited = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut waited, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending })
        .await;
}

impl Store for Stepped {
    async fn get(&self, key: &Key, now: u64) -> Result<Option<Stored>, PortError> {
        self.step().await?;
        self.store.get(key, now).await
    }

    async fn put(&self, key: &Key, document: Document, expect: Expect, now: u64) -> Result<u64, PortError> {
        self.step().await?;
        self.store.put(key, document, expect, now).await
    }

    async fn delete(&self, key: &Key, expect: Expect, now: u64) -> Result<(), PortError> {
        self.step().await?;
        self.store.delete(key, expect, now).await
    }

    async fn write(&self, writes: Vec<Write>, now: u64) -> Result<Vec<Result<u64, PortError>>, PortError> {
        self.step().await?;
        self.store.write(writes, now).await
    }

    async fn list(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        self.step().await?;
        self.store.list(partition, range, limit, now).await
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
        self.step().await?;
        self.store.list_index(index, partition, range, newest_first, limit, now).await
    }
}
