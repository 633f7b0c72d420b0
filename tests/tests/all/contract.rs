//! The contract, run over every backend.

use std::cell::RefCell;

use backend_embedded::{DataDir, EmbeddedObjects, EmbeddedSecrets, EmbeddedStore, Unlock};
use tests::aws::{Dynoxide, Stack, Stacks, moto};
use tests::contract::{objects_contract, queue_contract, secrets_contract, store_contract};
use tests::memory::{MemoryObjects, MemoryQueue, MemorySecrets, MemoryStore};

/// New data directories, kept until the test ends.
#[derive(Default)]
struct Directories(RefCell<Vec<tempfile::TempDir>>);

impl Directories {
    fn open(&self) -> DataDir {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path().join("data")).unwrap();
        self.0.borrow_mut().push(folder);
        dir
    }

    fn store(&self) -> EmbeddedStore {
        self.open().store().unwrap()
    }

    fn objects(&self) -> EmbeddedObjects {
        self.open().objects().unwrap()
    }

    fn secrets(&self) -> EmbeddedSecrets {
        self.open().secrets(Unlock::KeyFile).unwrap()
    }
}

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    store_contract(MemoryStore::new).await;
}

#[tokio::test]
async fn the_objects_in_memory_keep_the_contract() {
    objects_contract(MemoryObjects::new).await;
}

#[tokio::test]
async fn the_embedded_store_keeps_the_contract() {
    let directories = Directories::default();
    store_contract(|| directories.store()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_the_contract_on_several_threads() {
    let directories = Directories::default();
    store_contract(|| directories.store()).await;
}

#[tokio::test]
async fn the_embedded_objects_keep_the_contract() {
    let directories = Directories::default();
    objects_contract(|| directories.objects()).await;
}

#[tokio::test]
async fn sealing_in_memory_keeps_the_contract() {
    secrets_contract(MemorySecrets::new).await;
}

#[tokio::test]
async fn the_embedded_sealing_keeps_the_contract() {
    let directories = Directories::default();
    secrets_contract(|| directories.secrets()).await;
}

#[tokio::test]
async fn the_store_on_dynamodb_keeps_the_contract() {
    let Some(stacks) = Stacks::new() else { return };
    store_contract(|| stacks.aws().store()).await;
}

#[tokio::test]
async fn the_store_on_a_second_dynamodb_keeps_the_contract() {
    let Some(dynoxide) = Dynoxide::start() else { return };
    store_contract(|| dynoxide.store()).await;
}

#[tokio::test]
async fn the_objects_on_s3_keep_the_contract() {
    let Some(stacks) = Stacks::new() else { return };
    objects_contract(|| stacks.aws().objects().unwrap()).await;
}

#[tokio::test]
async fn the_sealing_with_kms_keeps_the_contract() {
    let Some(stacks) = Stacks::new() else { return };
    secrets_contract(|| stacks.aws().secrets()).await;
}

#[tokio::test]
async fn the_queue_in_memory_keeps_the_contract() {
    queue_contract(|| {
        let queue = MemoryQueue::new();
        (queue.clone(), move || queue.take(0))
    })
    .await;
}

#[tokio::test]
async fn the_queue_on_sqs_keeps_the_contract() {
    let Some(moto) = moto() else { return };
    queue_contract(|| {
        let stack = Stack::new(moto);
        (stack.aws().queue(&stack.queue), move || stack.take_messages())
    })
    .await;
}
