//! Measures writes: a number of callers that each put documents of 200 bytes one after the other, in a directory given or temporary.
//! Once each caller has a partition of its own (a page a put), once all share one, as the lanes of a run do.
//!
//! `cargo run --release -p backend-embedded --example writes_a_second [DIR]`

use std::time::Instant;

use backend_embedded::DataDir;
use engine::port::{Document, Expect, Key, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let root = std::env::args_os().nth(1).map_or(temporary.path().join("data"), Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    runtime.block_on(async {
        let dir = DataDir::open(&root)?;
        let store = dir.store()?;
        let rounds = [(1_usize, 1_000_usize, false), (64, 4_000, false), (64, 4_000, true), (512, 500, false), (512, 500, true)];
        for (round, (callers, each, shared)) in rounds.into_iter().enumerate() {
            let start = Instant::now();
            let tasks: Vec<_> = (0..callers)
                .map(|caller| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        for n in 0..each {
                            let partition = if shared { 0 } else { caller };
                            let key = Key::new(format!("measure-{round}-{partition}"), format!("{n:08}-{caller:04}"));
                            let document = Document { body: vec![7; 200], ..Document::default() };
                            store.put(&key, document, Expect::Absent, 0).await?;
                        }
                        Ok::<(), engine::port::PortError>(())
                    })
                })
                .collect();
            for task in tasks {
                task.await??;
            }
            let puts = callers * each;
            let seconds = start.elapsed().as_secs_f64();
            let what = if shared { "one partition" } else { "a partition each" };
            println!(
                "{callers} callers, {what}: {:.0} puts/s, {:.0} us a put for each",
                puts as f64 / seconds,
                seconds * 1e6 / each as f64
            );
        }
        let start = Instant::now();
        let gets = 50_000;
        for n in 0..gets {
            let key = Key::new(format!("measure-1-{}", n % 64), format!("{:08}-{:04}", n % 4_000, n % 64));
            store.get(&key, 0).await?.ok_or("a document is missing")?;
        }
        println!("1 caller: {:.0} gets/s", f64::from(gets) / start.elapsed().as_secs_f64());
        Ok(())
    })
}
