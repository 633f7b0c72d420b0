//! Any sequence of pushes, snapshots and folds, whatever fails in between and is tried again, equals a plain map.

use super::shelf::{Shelf, sha256, wait};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Numbers from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// A number or its text: one key.
fn id(chance: &mut Chance, key: u64) -> Value {
    if chance.below(2) == 0 { json!(key) } else { json!(key.to_string()) }
}

async fn one_push(shelf: &Shelf, chance: &mut Chance, map: &mut BTreeMap<u64, u64>) {
    let mut lines = String::new();
    for _ in 0..chance.below(8) {
        let key = chance.below(12);
        let named = id(chance, key);
        let line = match chance.below(3) {
            0 => {
                map.remove(&key);
                json!({"remove": {"id": named}})
            }
            _ => {
                let value = chance.below(1000);
                map.insert(key, value);
                json!({"upsert": {"v": value, "id": named}})
            }
        };
        lines += &format!("{line}\n");
    }
    // As a client does that got no answer: the same again, under the same name.
    let name = shelf.fresh();
    for _ in 0..3 {
        if let Ok(answer) = shelf.push(&lines, &name).await {
            answer.unwrap();
            return;
        }
    }
    panic!("one failure is one failure");
}

async fn one_snapshot(shelf: &Shelf, chance: &mut Chance, map: &mut BTreeMap<u64, u64>) {
    map.clear();
    for _ in 0..chance.below(12) {
        map.insert(chance.below(12), chance.below(1000));
    }
    let mut text = String::new();
    for (key, value) in map.iter() {
        text += &format!("{}\n", json!({"id": id(chance, *key), "v": value}));
    }
    shelf.trouble.fails.set(None);
    let upload = shelf.begin().await;
    let size = 1 + chance.below(60) as usize;
    for (index, part) in text.as_bytes().chunks(size).enumerate() {
        shelf.put(&upload, index as u32 + 1, part).await.unwrap().unwrap();
    }
    // Only the commit fails; it is tried again as it was.
    plan_a_failure(shelf, chance);
    for _ in 0..3 {
        if let Ok(answer) = shelf.commit(&upload, map.len() as u64, &sha256(&text)).await {
            answer.unwrap();
            return;
        }
    }
    panic!("one failure is one failure");
}

fn plan_a_failure(shelf: &Shelf, chance: &mut Chance) {
    if chance.below(2) == 0 {
        shelf.trouble.after(chance.below(12), chance.below(2) == 0);
    }
}

async fn one_story(seed: u64) {
    let (shelf, mut chance, mut map) = (Shelf::new(), Chance(seed), BTreeMap::new());
    let mut pushed = false;
    for _ in 0..chance.below(25) {
        shelf.now.set(shelf.now.get() + chance.below(3000));
        plan_a_failure(&shelf, &mut chance);
        match chance.below(8) {
            0 => one_snapshot(&shelf, &mut chance, &mut map).await,
            1 | 2 => drop(shelf.current(&shelf.folding()).await),
            _ => one_push(&shelf, &mut chance, &mut map).await,
        }
        pushed |= !shelf.pushed_now().is_nothing();
    }
    shelf.trouble.fails.set(None);
    let rows = shelf.rows().await;
    assert_eq!(rows.is_some(), pushed, "seed {seed}");
    let rows = rows.unwrap_or_default();
    let number = |id: &Value| id.as_str().map_or_else(|| id.as_u64().unwrap(), |text| text.parse().unwrap());
    let found: BTreeMap<u64, u64> = rows.iter().map(|row| (number(&row["id"]), row["v"].as_u64().unwrap())).collect();
    assert_eq!((found.len(), &found), (rows.len(), &map), "seed {seed}");
    // Two days later nothing is left but what the document names.
    shelf.now.set(shelf.now.get() + 2 * 24 * 3600);
    shelf.sweep().await;
    shelf.push_well("{\"remove\": {\"id\": 99}}").await;
    shelf.now.set(shelf.now.get() + 2 * 24 * 3600);
    shelf.sweep().await;
    let state = shelf.pushed_now();
    let named = state.base.iter().map(|base| base.chunks as usize).sum::<usize>() + state.changes.len();
    assert_eq!(shelf.object_names().await.len(), named, "seed {seed}: {:?}", shelf.object_names().await);
}

#[test]
fn any_sequence_of_pushes_and_failures_equals_a_map() {
    for seed in 0..400 {
        wait(one_story(seed));
    }
}
