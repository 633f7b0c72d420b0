//! Events taken into a store in memory: what is owed for them, once, and until when. That they arrive is proven by processes, in `serve`.

use engine::configure;
use engine::event::take::{Taken, take};
use engine::judge::Class;
use engine::keys;
use engine::lookback::{DeliveryStatus, Filter, Lookback};
use engine::model::name::Name;
use engine::model::project::Project;
use engine::port::{Document, Expect, Key, Store};
use engine::record::segment::{AttemptRecord, Segment};
use engine::run::retention::sweep;
use serde_json::json;
use std::collections::BTreeSet;
use tests::memory::{MemoryObjects, MemoryStore};

const NOW: u64 = 1_800_000_000_000_000;
const DAY: u64 = 24 * 3600 * 1_000_000;

fn project() -> Project {
    let deliver = json!({"deliver": {"destination": "crm", "action": "add"}});
    let document = json!({
        "organization": {"id": "acme"},
        "destinations": {"crm": {"base_url": "https://api.example.com", "actions": {"add": {"url": "/x", "body": "{}"}}}},
        "rules": {
            "welcome": {"on": "contact.subscribed", "steps": [deliver, deliver]},
            "counting": {"on": "contact.subscribed", "when": "length(data.tags) > `1`", "steps": [deliver]},
            "off": {"on": "contact.subscribed", "enabled": false, "steps": [deliver]},
        },
    });
    configure::parse(&document).unwrap()
}

async fn hand_in(store: &MemoryStore, id: &str, tags: &[&str], wall: u64) -> Taken {
    let event = json!({"id": id, "type": "contact.subscribed", "data": {"contact": {"id": 7}, "tags": tags}});
    take(store, &project(), event.to_string().as_bytes(), wall).await.unwrap().unwrap()
}

/// The documents of errands and of the backlog.
fn owed(store: &MemoryStore) -> BTreeSet<Key> {
    let keys = store.all().into_iter().map(|(key, _)| key);
    keys.filter(|key| key.partition == "acme#errand" || key.sort.starts_with("due#")).collect()
}

#[tokio::test]
async fn each_delivering_step_of_each_matching_rule_is_owed() {
    let store = MemoryStore::new();
    let taken = hand_in(&store, "a", &["x", "y"], NOW).await;
    assert_eq!((taken.events, taken.deliveries, taken.unasked.len()), (1, 3, 0));
    assert_eq!(owed(&store).len(), 6);
    let taken = hand_in(&store, "b", &["x"], NOW).await;
    assert_eq!((taken.events, taken.deliveries), (1, 2));
    // A condition that cannot be evaluated does not hold, and that is told.
    let event = json!({"id": "c", "type": "contact.subscribed"});
    let taken = take(&store, &project(), event.to_string().as_bytes(), NOW).await.unwrap().unwrap();
    assert_eq!((taken.deliveries, taken.unasked[0].rule.as_str()), (2, "counting"));
}

/// faults.md H1: whoever died between the claim and what follows it is made good by the event coming again, under the same names.
#[tokio::test]
async fn what_was_claimed_and_not_written_is_written_when_the_event_comes_again() {
    let store = MemoryStore::new();
    hand_in(&store, "a", &["x", "y"], NOW).await;
    let before = owed(&store);
    for lost in [0, 2, 5] {
        for key in before.iter().skip(lost) {
            store.delete(key, Expect::Any, NOW / 1_000_000).await.unwrap();
        }
        let again = hand_in(&store, "a", &["x", "y"], NOW + 5_000_000).await;
        assert_eq!((again.events, again.duplicates, again.deliveries, again.lanes.len()), (0, 1, 0, 1));
        assert_eq!(owed(&store), before, "after {lost}");
    }
    let later = hand_in(&store, "a", &["x", "y"], NOW + DAY + 1_000_000).await;
    assert_eq!((later.events, later.deliveries), (1, 3), "a day later it is another event");
    assert_eq!(owed(&store).len(), 12);
}

/// What is done goes after its time, with what it sent and got; what is still owed stays.
#[tokio::test]
async fn errands_are_kept_until_they_are_done_and_old() {
    let (store, objects) = (MemoryStore::new(), MemoryObjects::new());
    let organization = Name::new("acme").unwrap();
    hand_in(&store, "a", &["x"], NOW).await;
    let done = owed(&store).into_iter().find(|key| key.partition == "acme#errand").unwrap().sort;
    let record = AttemptRecord {
        index: 0,
        number: 1,
        status: Some(200),
        started_ms: NOW / 1000,
        duration_ms: 5,
        last: true,
        uncertain: false,
        by_hand: false,
        succeeded: None,
    };
    let segment = Segment { class: Class::Success, attempts: vec![record], unsent: Vec::new(), page: None, inline_page: Vec::new() };
    let recording = keys::Recording { generation: 1, sequence: 1, part: 0 };
    let key = keys::segment(&organization, &done, 0, recording, Some((0, 0)));
    store.put(&key, Document { body: segment.encode(), ..Document::default() }, Expect::Absent, NOW / 1_000_000).await.unwrap();
    let now = NOW / 1_000_000;
    for (later, left) in [(29 * 86_400, 2), (31 * 86_400, 1)] {
        while sweep(&store, &objects, &organization, 30 * 86_400, now + later, 1).await.unwrap().more {}
        let paused = BTreeSet::new();
        let look = Lookback { store: &store, objects: &objects, organization: &organization, paused: &paused, now: now + later };
        let found = look.deliveries(&Filter { event: Some("a".to_string()), ..Filter::default() }, None, 10).await.unwrap().items;
        assert_eq!(found.len(), left);
        assert!(found.iter().any(|delivery| delivery.status == DeliveryStatus::Pending), "{found:?}");
    }
    let partition = keys::run_partition(&organization, &done);
    assert!(store.list(&partition, ""..keys::BEHIND_ALL, 10, now).await.unwrap().is_empty());
}
