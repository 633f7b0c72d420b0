//! What goes through SQS and DynamoDB, and in which order.

use crate::journey::stage::{People, Stage, assert_holds, crm, keep, one_by_one, project};
use crate::serve::server::{Server, no_wish};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::keys::{ALL_SEGMENTS, run_partition};
use engine::model::name::Name;
use engine::port::Store;
use engine::record::segment::Segment;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tests::aws::{Fault, Proxy};
use tests::receiver::{Action, Always, Mixed};
use tests::stack::{Mishaps, Setting};

/// The bodies of the calls of this name, as JSON.
fn calls(proxy: &Proxy, name: &str) -> Vec<Value> {
    proxy.seen(name).iter().filter(|seen| seen.reached).map(|seen| serde_json::from_slice(&seen.body).expect("AWS speaks JSON")).collect()
}

/// The `tokens` documents that were written, in order.
fn tokens(proxy: &Proxy) -> Vec<Value> {
    let puts = calls(proxy, "DynamoDB_20120810.PutItem").into_iter().filter(|put| put["Item"]["sk"]["S"] == "tokens");
    puts.map(|put| {
        let body = STANDARD.decode(put["Item"]["b"]["B"].as_str().expect("a document has a body")).expect("base64");
        serde_json::from_slice(&body).expect("tokens are JSON")
    })
    .collect()
}

/// A plan of 25 parcels is announced in three calls of ten, ten and five messages; each names another parcel and waits for its turn.
#[test]
fn a_plan_becomes_sqs_batches_of_ten() {
    if !super::is_here() {
        return;
    }
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    // A parcel holds at most what 30 s of the rate allow: 30 deliveries.
    crm(&mut project)["rate_limit"] = json!({"requests": 3600, "per": "hour", "burst": 3600});
    let stage = Stage::new(&project);
    let people = People::new(750);
    stage.people(&people);
    let (proxy, setting) = super::behind_a_proxy();
    let server = Server::of_stack(&stage, setting);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    let id = run["id"].as_str().expect("a run has an id");
    let mut sizes = Vec::new();
    let mut turns = BTreeMap::new();
    for batch in calls(&proxy, "AmazonSQS.SendMessageBatch") {
        let entries = batch["Entries"].as_array().expect("a batch has entries").clone();
        assert!(entries.len() <= 10, "{batch}");
        let bodies = entries.iter().map(|entry| serde_json::from_str::<Value>(entry["MessageBody"].as_str().unwrap()).unwrap());
        let parcels: Vec<(u64, u64)> = bodies
            .zip(&entries)
            .filter(|(body, _)| body["parcel"][0] == id)
            .map(|(body, entry)| (body["parcel"][1].as_u64().unwrap(), entry["DelaySeconds"].as_u64().unwrap_or(0)))
            .collect();
        if !parcels.is_empty() {
            sizes.push(parcels.len());
            turns.extend(parcels);
        }
    }
    assert_eq!(sizes, [10, 10, 5]);
    let wanted: BTreeMap<u64, u64> = (0..25).map(|parcel| (parcel, parcel * 30)).collect();
    assert_eq!(turns, wanted);
}

/// With a receiver that fails, resets and stalls: what it saw and what the table holds are the same attempts.
#[test]
fn every_attempt_is_an_item_in_dynamodb() {
    if !super::is_here() {
        return;
    }
    let mut mixed = Mixed::new(3);
    mixed.p500 = 0.2;
    let (receiver, held) = keep(mixed, 0.0, 2);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["rate_limit"] = json!({"requests": 200, "per": "second"});
    let stage = Stage::new(&project);
    let people = People::new(300);
    stage.people(&people);
    let server = Server::of_stack(&stage, super::setting());
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    let store = server.stack().parts.aws().store();
    let partition = run_partition(&Name::new("default").unwrap(), run["id"].as_str().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listed = runtime.block_on(store.list(&partition, ALL_SEGMENTS.0..ALL_SEGMENTS.1, usize::MAX, 0)).unwrap();
    let segments: Vec<Segment> = listed.iter().map(|stored| Segment::decode(&stored.body).unwrap()).collect();
    let mut recorded: Vec<Option<u16>> = segments.iter().flat_map(|segment| &segment.attempts).map(|attempt| attempt.status).collect();
    let requests = receiver.requests();
    assert!(requests.len() > 320, "only {} requests: nothing was repeated", requests.len());
    assert_eq!(recorded.len(), requests.len());
    assert_eq!(run["attempts"], requests.len(), "{run:#}");
    recorded.retain(|status| *status == Some(200));
    assert_eq!(recorded.len(), 300);
    // Many attempts an item: that is what makes them cheap.
    assert!(segments.len() * 4 < requests.len(), "{} segments for {} attempts", segments.len(), requests.len());
}

/// Where the lane's tokens cannot be written nothing leaves; what leaves was reserved by a write before it, and no window sees more.
#[test]
fn no_byte_leaves_before_its_token_is_reserved_in_dynamodb() {
    if !super::is_here() {
        return;
    }
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 4);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["rate_limit"] = json!({"requests": 20, "per": "second", "burst": 20});
    let stage = Stage::new(&project);
    let people = People::new(60);
    stage.people(&people);
    let (proxy, setting) = super::behind_a_proxy();
    // No ticket arrives before this test sends one.
    let setting = Setting { mishaps: Mishaps { late: Duration::from_secs(600), ..Mishaps::default() }, ..setting };
    let server = Server::of_stack(&stage, setting);
    let id = server.run("news", no_wish());
    server.until("it is planned", || (server.get(&format!("/v1/runs/{id}"))["status"] == "delivering").then_some(()));
    assert_eq!((tokens(&proxy).len(), receiver.count()), (0, 0));
    // Whatever else can be written, the tokens cannot.
    proxy.rule("DynamoDB_20120810.PutItem", 0, 1000, Fault::throttle());
    let event = json!({"Records": [{"messageId": "one", "body": r#"{"v": 1, "lane": "default#lane#crm#0"}"#, "eventSource": "aws:sqs"}]});
    let answer = server.stack().functions.deliver.invoke(&event).expect("deliver answers");
    assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "one", "{answer}");
    assert_eq!((tokens(&proxy).len(), receiver.count()), (0, 0), "something left without a token");
    proxy.clear();
    let answer = server.stack().functions.deliver.invoke(&event).expect("deliver answers");
    assert_eq!(answer["batchItemFailures"], json!([]));
    // It leaves while no token comes free; whoever comes next goes on.
    server.until("all is delivered", || {
        server.stack().functions.deliver.invoke(&event).expect("deliver answers");
        (server.get(&format!("/v1/runs/{id}"))["status"] != "delivering").then_some(())
    });
    assert_eq!(server.ended(&id)["status"], "succeeded");
    assert_holds(&held, &people);
    let written = tokens(&proxy);
    assert!(written[0]["owner"].is_string() && written[0]["limits"][0]["reserved"] == 20, "{written:#?}");
    assert!(receiver.max_in_window(Duration::from_secs(1)) <= 20);
    assert!(written.last().is_some_and(|last| last["owner"].is_null()), "the lane was not given back: {written:#?}");
}
