//! What goes through SQS and DynamoDB, and in which order.

use crate::journey::stage::{People, Stage, assert_holds, keep, one_by_one, project};
use crate::serve::server::{Place, Server, no_wish};
use serde_json::json;
use std::collections::BTreeSet;
use tests::receiver::{Action, Always};

/// A plan of many parcels is announced by messages of which ten go with a call, and each of which names another parcel.
#[test]
fn a_plan_becomes_sqs_batches_of_ten() {
    if !super::is_here() {
        return;
    }
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    // A parcel is at most 30 s of the rate: 30 deliveries.
    project["destinations"]["crm"]["rate_limit"] =
        json!([{"requests": 1000, "per": "second"}, {"requests": 3600, "per": "hour", "burst": 3600}]);
    let stage = Stage::new(&project);
    let people = People::new(750);
    stage.people(&people);
    let server = Server::start_on(Place::Stack, &stage);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    let batches = server.stack().tickets.batches();
    let bodies: Vec<serde_json::Value> =
        batches.iter().flat_map(|batch| batch.bodies.iter().map(|body| serde_json::from_str(body).unwrap())).collect();
    let parcels: BTreeSet<String> = bodies.iter().filter(|body| !body["parcel"].is_null()).map(|body| body["parcel"].to_string()).collect();
    assert_eq!(parcels.len(), 25, "{batches:#?}");
}
