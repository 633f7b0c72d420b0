//! What is particular to this backend: the directory's layout, leftovers, purging. The contract that all backends keep, kills and
//! full disks are in the workspace's integration tests.

use std::fs;
use std::path::Path;

use engine::port::{Document, Expect, Index, IndexEntry, Key, Objects, PortError, Store, Write};

use crate::{DataDir, EmbeddedStore};

fn failure(result: Result<impl Sized, PortError>) -> String {
    match result {
        Err(PortError::Failed(message)) => message,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("this was to fail"),
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_directory_is_laid_out_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("above").join("data");
    let dir = DataDir::open(&root).unwrap();
    assert_eq!(dir.path(), root);
    let (_store, _objects) = (dir.store().unwrap(), dir.objects().unwrap());
    let names = names_in(&root);
    for name in ["format", "objects", "store.db", "store.turn", "users.lock"] {
        assert!(names.iter().any(|other| other == name), "{name} is not among {names:?}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for private in [root.clone(), root.join("objects")] {
            assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700, "{}", private.display());
        }
    }
    DataDir::open(&root).expect("it is known again");
}

#[test]
fn an_empty_directory_is_taken_and_one_that_holds_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    DataDir::open(folder.path()).unwrap();

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("letter.txt"), "dear").unwrap();
    let message = failure(DataDir::open(other.path()));
    assert!(message.contains("letter.txt") && message.contains("choose"), "{message}");
    assert_eq!(names_in(other.path()), ["letter.txt"]);

    // What a process killed while it laid the directory out has left is no reason to refuse it.
    let begun = tempfile::tempdir().unwrap();
    fs::write(begun.path().join("format.123"), "penst").unwrap();
    DataDir::open(begun.path()).unwrap();

    let file = other.path().join("letter.txt");
    let message = failure(DataDir::open(&file));
    assert!(message.contains("letter.txt"), "{message}");
}

#[test]
fn a_directory_of_a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    DataDir::open(folder.path()).unwrap();
    fs::write(folder.path().join("format"), "penstock data directory, format 2\n").unwrap();
    let message = failure(DataDir::open(folder.path()));
    assert!(message.contains("format 2") && message.contains("use the penstock that wrote it"), "{message}");
    fs::write(folder.path().join("format"), "something else\n").unwrap();
    assert!(failure(DataDir::open(folder.path())).contains("choose another"));
}

#[test]
fn tables_of_a_newer_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    drop(dir.store().unwrap());
    let connection = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(connection);
    let message = failure(dir.store());
    assert!(message.contains("version 2") && message.contains("use the penstock that wrote it"), "{message}");
}

#[test]
fn every_commit_is_synced_to_a_write_ahead_log() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    let file = crate::store::connection_for_tests(&dir);
    let text = |pragma: &str| file.query_row(pragma, [], |row| row.get::<_, String>(0)).unwrap();
    let number = |pragma: &str| file.query_row(pragma, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("PRAGMA journal_mode"), "wal");
    assert_eq!(number("PRAGMA synchronous"), 2, "FULL");
    assert!(number("PRAGMA busy_timeout") > 0);
}

#[tokio::test]
async fn unfinished_files_are_cleared_by_who_has_the_directory_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("objects").join("~partial");
    let dir = DataDir::open(folder.path()).unwrap();
    let objects = dir.objects().unwrap();
    objects.put("a", b"x".to_vec()).await.unwrap();
    fs::write(partial.join("123-0"), "torn").unwrap();
    assert_eq!(objects.list("").await.unwrap(), ["a"]);
    // While someone has it open the file may be his.
    drop(DataDir::open(folder.path()).unwrap());
    assert_eq!(names_in(&partial), ["123-0"]);
    drop((objects, dir));
    let objects = DataDir::open(folder.path()).unwrap().objects().unwrap();
    assert!(names_in(&partial).is_empty());
    assert_eq!(objects.list("").await.unwrap(), ["a"]);
}

#[tokio::test]
async fn a_file_from_another_file_system_is_adopted_too() {
    let folder = tempfile::tempdir().unwrap();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        use std::io::Write;
        // Past the harness, which would swallow it.
        return std::io::stderr().write_all(b"SKIPPED: adopting from another file system needs /dev/shm\n").unwrap();
    };
    let file = elsewhere.path().join("rows");
    fs::write(&file, "rows").unwrap();
    let objects = DataDir::open(folder.path()).unwrap().objects().unwrap();
    objects.adopt("plans/rows", &file).await.unwrap();
    assert_eq!(objects.get("plans/rows", None).await.unwrap(), b"rows");
    assert!(!file.exists());
    assert!(names_in(&folder.path().join("objects").join("~partial")).is_empty());
}

#[tokio::test]
async fn folders_that_deleting_has_emptied_go_away() {
    let folder = tempfile::tempdir().unwrap();
    let objects = DataDir::open(folder.path()).unwrap().objects().unwrap();
    objects.put("plans/run_1/rows", b"x".to_vec()).await.unwrap();
    objects.put("plans/run_2/rows", b"x".to_vec()).await.unwrap();
    objects.delete("plans/run_1/rows").await.unwrap();
    assert_eq!(names_in(&folder.path().join("objects").join("plans")), ["run_2"]);
    objects.delete("plans/run_2/rows").await.unwrap();
    assert_eq!(names_in(&folder.path().join("objects")), ["~partial"]);
}

#[tokio::test]
async fn a_name_cannot_be_an_object_and_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let objects = DataDir::open(folder.path()).unwrap().objects().unwrap();
    objects.put("plans/run_1", b"x".to_vec()).await.unwrap();
    for name in ["plans", "plans/run_1/rows"] {
        let message = failure(objects.put(name, b"y".to_vec()).await);
        assert!(message.contains("cannot be both"), "{message}");
    }
    assert_eq!(objects.list("").await.unwrap(), ["plans/run_1"]);
    assert!(names_in(&folder.path().join("objects").join("~partial")).is_empty());
}

#[test]
fn objects_work_without_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    let (store, objects) = (dir.store().unwrap(), dir.objects().unwrap());
    futures_executor(async {
        objects.put("a", b"x".to_vec()).await.unwrap();
        assert_eq!(objects.get("a", None).await.unwrap(), b"x");
        store.put(&Key::new("p", "a"), Document::default(), Expect::Absent, 0).await.unwrap();
        assert!(store.get(&Key::new("p", "a"), 0).await.unwrap().is_some());
    });
}

/// Polls a future on this thread, parked between wakes: an executor that is not tokio.
fn futures_executor<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

fn expiring(n: usize, expires_at: u64) -> Write {
    let entry = |index| IndexEntry { index, partition: "i".to_owned(), sort: format!("{n:05}"), summary: String::new() };
    let document = Document { body: vec![1; 10], expires_at: Some(expires_at), index: vec![entry(Index::First), entry(Index::Third)] };
    Write::Put(Key::new("p", format!("{n:05}")), document, Expect::Absent)
}

async fn counts(store: &EmbeddedStore, now: u64) -> (usize, usize, usize) {
    let documents = store.list("p", "".."~", usize::MAX, now).await.unwrap().len();
    let first = store.list_index(Index::First, "i", "".."~", false, usize::MAX, now).await.unwrap().len();
    let third = store.list_index(Index::Third, "i", "".."~", true, usize::MAX, now).await.unwrap().len();
    (documents, first, third)
}

#[tokio::test]
async fn purging_takes_what_has_expired_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = DataDir::open(folder.path()).unwrap().store().unwrap();
    // More than one transaction's worth expires at 100, the rest at 200 or never.
    let writes = (0..2600).map(|n| expiring(n, if n < 2500 { 100 } else { 200 })).collect();
    assert!(store.write(writes, 50).await.unwrap().iter().all(Result::is_ok));
    store.put(&Key::new("p", "kept"), Document::default(), Expect::Absent, 50).await.unwrap();
    assert_eq!(store.purge_expired(100).await.unwrap(), 0, "at its last second it is still seen");
    assert_eq!(store.purge_expired(101).await.unwrap(), 2500);
    assert_eq!(store.purge_expired(101).await.unwrap(), 0);
    // Looked at with the time of before, when all was seen.
    assert_eq!(counts(&store, 50).await, (101, 100, 100));
    assert_eq!(store.purge_expired(u64::MAX).await.unwrap(), 100);
    assert_eq!(counts(&store, 50).await, (1, 0, 0));
}

#[tokio::test]
async fn a_store_goes_on_where_the_one_before_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new("p", "a");
    let mut last = 0;
    for _ in 0..3 {
        let store = DataDir::open(folder.path()).unwrap().store().unwrap();
        let version = store.put(&key, Document::default(), Expect::Any, 0).await.unwrap();
        assert!(version > last, "{version} after {last}");
        store.delete(&key, Expect::Any, 0).await.unwrap();
        last = version;
    }
    assert!(!folder.path().join("store.db-wal").exists(), "the last store to end leaves one file");
}
