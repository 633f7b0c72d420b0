//! The embedded backend as processes meet it: the delivery lock, kills, a full disk, a dying disk, damaged files, many at once.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use backend_embedded::{DataDir, EmbeddedStore, LockError};
use engine::port::{Document, Expect, Key, Objects, PortError, Store};

const CHILD: &str = env!("CARGO_BIN_EXE_store_child");

/// A child that is killed when the test is through with it, in whatever way.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str], dir: &Path) -> Running {
        let (first, rest) = arguments.split_first().unwrap();
        let mut command = Command::new(CHILD);
        command.arg(first).arg(dir).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says that a test could not do its work here, past the harness, which would swallow it.
fn skip(why: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

fn body(text: &str) -> Document {
    Document { body: text.as_bytes().to_vec(), ..Document::default() }
}

async fn text_of(store: &EmbeddedStore, key: &Key) -> Option<String> {
    store.get(key, 0).await.unwrap().map(|stored| String::from_utf8(stored.body).unwrap())
}

#[test]
fn two_handles_cannot_both_deliver() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (DataDir::open(folder.path()).unwrap(), DataDir::open(folder.path()).unwrap());
    let lock = first.lock_delivering().unwrap();
    for dir in [&first, &second] {
        let Err(LockError::Held(held)) = dir.lock_delivering() else { panic!("the lock was given twice") };
        assert_eq!(held.pid, std::process::id());
    }
    drop(lock);
    let lock = second.lock_delivering().unwrap();
    assert!(first.lock_delivering().is_err());
    drop(lock);
}

#[test]
fn a_second_process_learns_who_delivers_and_a_killed_one_lets_go_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    // More than once: what a killed holder wrote must not be taken for the next one's name.
    for _ in 0..3 {
        let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut child = Running::start(&["hold"], folder.path());
        assert_eq!(child.lines().next().as_deref(), Some("held"));
        let Err(LockError::Held(held)) = dir.lock_delivering() else { panic!("the lock was given twice") };
        assert_eq!(held.pid, child.0.id());
        assert!(held.command.starts_with("store_child hold "), "{}", held.command);
        assert!(held.since >= before && held.since <= before + 60, "{} and {before}", held.since);
        let message = held.to_string();
        assert!(message.contains(&held.command) && message.contains(&held.pid.to_string()), "{message}");
        child.kill();
        drop(dir.lock_delivering().expect("the system releases the lock of a killed process"));
    }
}

#[test]
fn a_process_that_delivers_leaves_looking_back_and_planning_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Running::start(&["hold"], folder.path());
    assert_eq!(child.lines().next().as_deref(), Some("held"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let dir = DataDir::open(folder.path()).unwrap();
        let (store, objects) = (dir.store().unwrap(), dir.objects().unwrap());
        let key = Key::new("p", "plan");
        store.put(&key, body("planned"), Expect::Absent, 0).await.unwrap();
        objects.put("plans/1", b"rows".to_vec()).await.unwrap();
        assert_eq!(text_of(&store, &key).await.as_deref(), Some("planned"));
    });
}

#[tokio::test]
async fn every_acknowledged_write_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (mut documents, mut objects) = (HashMap::new(), HashSet::new());
    for acknowledged in [1, 2, 17, 150, 600, 1500] {
        let mut child = Running::start(&["stream", "24"], folder.path());
        let mut lines = child.lines();
        let mut said: Vec<String> = lines.by_ref().take(acknowledged).collect();
        assert_eq!(said.len(), acknowledged, "the child ended by itself");
        child.kill();
        // What it had said and we had not read yet.
        said.extend(lines);
        for line in said {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["doc", sort, version] => assert!(documents.insert((*sort).to_owned(), version.parse().unwrap()).is_none()),
                ["object", name] => assert!(objects.insert((*name).to_owned())),
                other => panic!("the child said {other:?}"),
            }
        }
        check_what_survived(folder.path(), &documents, &objects).await;
    }
    let versions: HashSet<u64> = documents.values().copied().collect();
    assert_eq!(versions.len(), documents.len(), "a version was given twice");
}

async fn check_what_survived(root: &Path, documents: &HashMap<String, u64>, objects: &HashSet<String>) {
    let dir = DataDir::open(root).unwrap();
    let (store, kept) = (dir.store().unwrap(), dir.objects().unwrap());
    let found = store.list("stream", "".."\u{10ffff}", usize::MAX, 0).await.unwrap();
    for stored in &found {
        assert!(stored.body == stored.key.sort.repeat(20).into_bytes(), "{} is torn", stored.key.sort);
    }
    let found: HashMap<_, _> = found.into_iter().map(|stored| (stored.key.sort, stored.version)).collect();
    for (sort, version) in documents {
        assert_eq!(found.get(sort), Some(version), "{sort} was acknowledged");
    }
    let names: HashSet<String> = kept.list("stream/").await.unwrap().into_iter().collect();
    assert!(objects.is_subset(&names), "acknowledged objects are lost: {:?}", objects.difference(&names));
    for name in names {
        assert!(kept.get(&name, None).await.unwrap() == name.repeat(2000).into_bytes(), "{name} is torn");
    }
    let partial = root.join("objects").join("~partial");
    assert_eq!(std::fs::read_dir(partial).unwrap().count(), 0, "unfinished files are cleared when the directory is opened");
}

#[tokio::test]
async fn processes_that_count_together_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..4).map(|_| Running::start(&["count", "40"], folder.path())).collect();
    for mut child in children {
        assert!(child.0.wait().unwrap().success());
    }
    let store = DataDir::open(folder.path()).unwrap().store().unwrap();
    assert_eq!(text_of(&store, &Key::new("count", "all")).await.as_deref(), Some("160"));
}

#[test]
fn threads_with_stores_of_their_own_count_together() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    let key = Key::new("count", "all");
    let count = |store: EmbeddedStore| async {
        let store = store;
        for _ in 0..40 {
            loop {
                let stored = store.get(&key, 0).await.unwrap();
                let count: u64 = stored.as_ref().map_or(0, |stored| str::from_utf8(&stored.body).unwrap().parse().unwrap());
                let expect = stored.map_or(Expect::Absent, |stored| Expect::At(stored.version));
                match store.put(&key, body(&(count + 1).to_string()), expect, 0).await {
                    Ok(_) => break,
                    Err(PortError::Conflict) => {}
                    Err(e) => panic!("{e}"),
                }
            }
        }
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| runtime().block_on(count(dir.store().unwrap())));
        }
    });
    runtime().block_on(async {
        assert_eq!(text_of(&dir.store().unwrap(), &key).await.as_deref(), Some("160"));
    });
}

#[tokio::test]
async fn a_process_that_writes_without_end_does_not_starve_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Running::start(&["stream", "64"], folder.path());
    let mut lines = child.lines();
    assert!(lines.by_ref().take(100).count() == 100);
    // Someone must go on reading, or the child stops at a full pipe.
    let reading = std::thread::spawn(move || lines.count());
    let store = DataDir::open(folder.path()).unwrap().store().unwrap();
    let start = Instant::now();
    for n in 0..20 {
        store.put(&Key::new("p", n.to_string()), body("x"), Expect::Absent, 0).await.unwrap();
    }
    let waited = start.elapsed();
    child.kill();
    assert!(reading.join().unwrap() > 20, "the child was to write all the time");
    // Without turns each of them may wait for the 30 s after which a writer gives up.
    assert!(waited < Duration::from_secs(20), "20 puts took {waited:?}");
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_when_there_is_room() {
    let works = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if !works {
        return skip("a_full_disk_refuses_writes_and_goes_on_when_there_is_room needs `unshare -rm`, to mount a small disk");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=32m none "$1" && exec "$2" fill "$1""#;
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh"]).arg(folder.path()).arg(CHILD);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("documents fitted"));
}

#[tokio::test]
async fn after_a_failed_sync_a_process_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("fail_sync.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/fail_sync.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
    if !cfg!(target_os = "linux") || !compiled.is_ok_and(|status| status.success()) {
        return skip("after_a_failed_sync_a_process_writes_nothing_more needs Linux and `cc`, to make syncs fail");
    }
    let (root, trigger) = (folder.path().join("data"), folder.path().join("trigger"));
    let mut command = Command::new(CHILD);
    command.arg("lose-sync").arg(&root).arg(&trigger).env("LD_PRELOAD", &library).env("FAIL_SYNC", &trigger);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A new process reads back what is there and goes on.
    let store = DataDir::open(&root).unwrap().store().unwrap();
    assert_eq!(text_of(&store, &Key::new("p", "before")).await.as_deref(), Some("before"));
    assert_eq!(text_of(&store, &Key::new("p", "after")).await, None);
    store.put(&Key::new("p", "after"), body("after"), Expect::Absent, 0).await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_said_to_be_damaged_and_takes_no_more_writes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    let store = dir.store().unwrap();
    for n in 0..200 {
        store.put(&Key::new("p", format!("{n:03}")), body(&"x".repeat(900)), Expect::Absent, 0).await.unwrap();
    }
    drop((store, dir));
    let file = folder.path().join("store.db");
    let mut bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() > 40_000, "the documents are in the file after a clean end");
    // All but the first page, which says that it is a database.
    bytes[4096..].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();

    let dir = DataDir::open(folder.path()).unwrap();
    let store = dir.store().unwrap();
    let read = store.get(&Key::new("p", "100"), 0).await.unwrap_err();
    assert!(matches!(&read, PortError::Failed(what) if what.contains("store.db") && what.contains("damaged")), "{read:?}");
    let write = store.put(&Key::new("p", "new"), body("x"), Expect::Any, 0).await.unwrap_err();
    assert!(matches!(&write, PortError::Failed(what) if what.contains("damaged")), "{write:?}");
    drop((store, dir));

    std::fs::write(&file, "this is not a database, but it is long enough to be taken for one".repeat(100)).unwrap();
    let opened = DataDir::open(folder.path()).unwrap().store();
    assert!(matches!(&opened, Err(PortError::Failed(what)) if what.contains("store.db") && what.contains("damaged")), "{opened:?}");
}

#[tokio::test]
async fn a_store_whose_file_was_taken_away_takes_no_more_writes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    let store = dir.store().unwrap();
    store.put(&Key::new("p", "a"), body("x"), Expect::Absent, 0).await.unwrap();
    std::fs::rename(folder.path().join("store.db"), folder.path().join("elsewhere.db")).unwrap();
    for _ in 0..2 {
        let write = store.put(&Key::new("p", "b"), body("x"), Expect::Absent, 0).await.unwrap_err();
        assert!(matches!(&write, PortError::Failed(what) if what.contains("store.db was moved, deleted or replaced")), "{write:?}");
    }
}
