//! The other process in the tests of the embedded backend: holds the lock, streams writes until it is killed, counts, or goes
//! through a disaster. It must check what it can by itself, and end with a panic if it does not hold.

use std::io::{Read, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backend_embedded::{DataDir, EmbeddedStore};
use engine::port::{Document, Expect, Key, Objects, PortError, Store, Write};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match words.as_slice() {
        ["hold", dir] => hold(dir),
        ["stream", dir, callers] => runtime.block_on(stream(dir, callers.parse().unwrap())),
        ["count", dir, times] => runtime.block_on(count(dir, times.parse().unwrap())),
        ["fill", dir] => runtime.block_on(fill(Path::new(dir))),
        ["lose-sync", dir, trigger] => runtime.block_on(lose_sync(dir, Path::new(trigger))),
        other => panic!("unknown arguments {other:?}"),
    }
}

fn say(line: &str) {
    // One call for the whole line: what the parent reads is whole lines, however this ends.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Takes the delivery lock and keeps it until standard input ends.
fn hold(dir: &str) {
    let dir = DataDir::open(dir).unwrap();
    let lock = dir.lock_delivering().unwrap();
    say("held");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(lock);
}

/// Puts documents and objects for ever, and says `doc SORT VERSION` or `object NAME` after each is acknowledged.
async fn stream(dir: &str, callers: u64) {
    let dir = DataDir::open(dir).unwrap();
    let (store, objects) = (dir.store().unwrap(), dir.objects().unwrap());
    let life = std::process::id();
    let next = Arc::new(AtomicU64::new(0));
    for caller in 0..callers {
        let (store, objects, next) = (store.clone(), objects.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                let name = format!("{life}-{:06}", next.fetch_add(1, Ordering::Relaxed));
                if caller == 0 {
                    let name = format!("stream/{name}");
                    objects.put(&name, name.repeat(2000).into_bytes()).await.unwrap();
                    say(&format!("object {name}"));
                } else {
                    let document = Document { body: name.repeat(20).into_bytes(), ..Document::default() };
                    let version = store.put(&Key::new("stream", name.as_str()), document, Expect::Absent, 0).await.unwrap();
                    say(&format!("doc {name} {version}"));
                }
            }
        });
    }
    std::future::pending::<()>().await;
}

/// Adds one to a counter that others count on too.
async fn count(dir: &str, times: usize) {
    let store = DataDir::open(dir).unwrap().store().unwrap();
    let key = Key::new("count", "all");
    for _ in 0..times {
        loop {
            let stored = store.get(&key, 0).await.unwrap();
            let (count, expect) = match stored {
                None => (0, Expect::Absent),
                Some(stored) => (String::from_utf8(stored.body).unwrap().parse::<u64>().unwrap(), Expect::At(stored.version)),
            };
            let document = Document { body: (count + 1).to_string().into_bytes(), ..Document::default() };
            match store.put(&key, document, expect, 0).await {
                Ok(_) => break,
                Err(PortError::Conflict) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
}

fn large(n: usize) -> (Key, Document) {
    (Key::new("large", format!("{n:05}")), Document { body: vec![n as u8; 100_000], ..Document::default() })
}

async fn assert_all_there(store: &EmbeddedStore, acknowledged: usize) {
    for n in 0..acknowledged {
        let (key, document) = large(n);
        let stored = store.get(&key, 0).await.unwrap().unwrap_or_else(|| panic!("document {n} of {acknowledged} is lost"));
        assert!(stored.body == document.body, "document {n} has another body");
    }
}

/// Fills the disk that `root` is on to its end, frees some, and goes on.
async fn fill(root: &Path) {
    let ballast = root.join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let pebble = root.join("pebble");
    std::fs::write(&pebble, vec![1; 64 << 10]).unwrap();
    let place = root.join("data");
    let dir = DataDir::open(&place).unwrap();
    let (store, objects) = (dir.store().unwrap(), dir.objects().unwrap());
    let mut acknowledged = 0;
    let full = loop {
        let (key, document) = large(acknowledged);
        match store.put(&key, document, Expect::Absent, 0).await {
            Ok(_) => acknowledged += 1,
            Err(e) => break e,
        }
        assert!(acknowledged < 1000, "the disk does not become full");
    };
    assert!(matches!(&full, PortError::Full(what) if what.contains(place.to_str().unwrap())), "{full:?}");
    assert!(acknowledged > 100, "only {acknowledged} documents fit");
    // What was refused is not there, what was acknowledged is, and objects are refused in the same way.
    assert_eq!(store.get(&large(acknowledged).0, 0).await.unwrap(), None);
    assert_all_there(&store, acknowledged).await;
    let full = objects.put("large", vec![2; 16 << 20]).await.unwrap_err();
    assert!(matches!(&full, PortError::Full(what) if what.contains(place.to_str().unwrap())), "{full:?}");
    assert!(matches!(objects.get("large", None).await, Err(PortError::Missing(_))));
    // With a little room again, what does not fit (15 MB at once) takes nothing with it that does, though
    // they come at once.
    std::fs::remove_file(&pebble).unwrap();
    let mut waiting = Vec::new();
    for n in 0..12_usize {
        let put = |sort: String, body| Write::Put(Key::new("many", sort), Document { body, ..Document::default() }, Expect::Absent);
        let writes = match n % 3 {
            0 => (0..43).map(|part| put(format!("{n}-{part}"), vec![n as u8; 350_000])).collect(),
            _ => vec![put(n.to_string(), vec![n as u8; 10])],
        };
        let store = store.clone();
        waiting.push(tokio::spawn(async move { store.write(writes, 0).await }));
    }
    for (n, answer) in waiting.into_iter().enumerate() {
        match answer.await.unwrap() {
            Ok(_) => assert!(n % 3 > 0, "write {n}: 15 MB fitted"),
            Err(e) => assert!(n % 3 == 0 && matches!(e, PortError::Full(_)), "write {n}: {e:?}"),
        }
    }
    std::fs::remove_file(&ballast).unwrap();
    let (key, document) = large(acknowledged);
    store.put(&key, document, Expect::Any, 0).await.expect("there is room again");
    objects.put("small", vec![3; 1000]).await.expect("there is room for an object again");
    assert_all_there(&store, acknowledged + 1).await;
    drop((store, objects, dir));
    let store = DataDir::open(&place).unwrap().store().unwrap();
    assert_all_there(&store, acknowledged + 1).await;
    say(&format!("{acknowledged} documents fitted"));
}

/// Meets a disk that fails to sync once; nothing is written by this process from then on, though the disk is well again.
async fn lose_sync(dir: &str, trigger: &Path) {
    let dir = DataDir::open(dir).unwrap();
    let (store, objects) = (dir.store().unwrap(), dir.objects().unwrap());
    let document = |text: &str| Document { body: text.as_bytes().to_vec(), ..Document::default() };
    store.put(&Key::new("p", "before"), document("before"), Expect::Absent, 0).await.unwrap();
    std::fs::write(trigger, "").unwrap();
    let failed = store.put(&Key::new("p", "during"), document("during"), Expect::Absent, 0).await.unwrap_err();
    assert!(matches!(&failed, PortError::Failed(what) if what.contains("store.db") && what.contains("check the disk")), "{failed:?}");
    std::fs::remove_file(trigger).unwrap();
    let later = [
        store.put(&Key::new("p", "after"), document("after"), Expect::Any, 0).await.unwrap_err(),
        store.delete(&Key::new("p", "before"), Expect::Any, 0).await.unwrap_err(),
        store.write(vec![Write::Delete(Key::new("p", "before"), Expect::Any)], 0).await.unwrap_err(),
        store.purge_expired(1).await.unwrap_err(),
        objects.put("after", b"after".to_vec()).await.unwrap_err(),
        objects.delete("after").await.unwrap_err(),
        dir.store().unwrap().put(&Key::new("p", "after"), document("after"), Expect::Any, 0).await.unwrap_err(),
    ];
    for failed in later {
        assert!(matches!(&failed, PortError::Failed(what) if what.contains("nothing more is written")), "{failed:?}");
    }
    let before = store.get(&Key::new("p", "before"), 0).await.unwrap().unwrap();
    assert_eq!(before.body, b"before");
    assert_eq!(store.get(&Key::new("p", "after"), 0).await.unwrap(), None);
    say("stopped");
}
