//! Events of the simulation: handed in by processes that die in the middle, and handed in again until somebody says that they were taken.

use super::Simulation;
use super::check::{check_log, read_log};
use super::host::{EPOCH, mortal};
use super::ports::HostStore;
use super::world::SECOND;
use engine::deliver::order::delivery_id;
use engine::event::take::take;
use engine::judge::Class;
use engine::keys;
use engine::port::Store;
use engine::time::rfc3339;
use serde_json::json;
use std::rc::Rc;

/// What the keys of contacts begin with.
pub(super) const CONTACT: &str = "contact-";

/// Hands in one event for each contact, whose value is the round's.
pub(super) async fn hand_in(simulation: &Rc<Simulation>, round: u32) {
    let world = &simulation.world;
    let mut chance = world.fork();
    let time = rfc3339(EPOCH + world.now());
    let event = |contact| {
        let contact = json!({"id": format!("{CONTACT}{contact}"), "v": round.to_string()});
        format!(
            "{}\n",
            json!({"id": format!("{round}/{}", contact["id"]), "type": "contact.subscribed", "time": time, "data": {"contact": contact}})
        )
    };
    let lines: String = (0..simulation.workload.events).map(event).collect();
    let calm_at = world.now() + simulation.workload.faults_last;
    loop {
        // Who hands in goes on until it is told that all was taken, which the worst of stores would keep from it for ever.
        if world.now() >= calm_at {
            world.set_calm(true);
        }
        let session = simulation.new_session();
        let store = HostStore::new(simulation, Some(&session), chance.fork());
        let taking = take(&store, &simulation.project, lines.as_bytes(), EPOCH + world.now());
        match mortal(simulation, &session, &mut chance, taking).await {
            Some(Ok(taken)) => {
                assert!(taken.is_ok(), "{taken:?}");
                return;
            }
            Some(Err(_)) | None => world.sleep(chance.between(1, SECOND)).await,
        }
    }
}

/// I2, I3, I13: each event is owed one delivery, which has come to its end; the log is what came back. I6: the last event of each contact
/// is what the receiver has.
pub(super) async fn check(simulation: &Simulation) {
    let (world, workload) = (&simulation.world, &simulation.workload);
    let partition = keys::errands(&simulation.lane.organization);
    let errands = simulation.documents.list(&partition, ""..keys::BEHIND_ALL, usize::MAX, 0).await.expect("memory does not fail");
    let expected = workload.events * workload.rounds as usize;
    if errands.len() != expected {
        world.violated(|| format!("I2: {expected} events were handed in, and {} errands are there", errands.len()));
    }
    let most = simulation.destination.retry.max_attempts.unwrap_or(u32::MAX);
    for errand in errands {
        let id = errand.key.sort;
        let log = read_log(simulation, &id).await;
        let logged = log.by_delivery.get(&(0, 0)).map(Vec::as_slice).unwrap_or_default();
        if !logged.iter().any(|attempt| attempt.record.last) || logged.iter().any(|attempt| attempt.record.number > most) {
            world.violated(|| format!("I2: {id} did not come to its end within {most} attempts"));
        }
        let delivered = logged.iter().any(|attempt| attempt.class == Class::Success);
        if delivered && !simulation.receiver.accepted.borrow().contains_key(&delivery_id(&id, 0, 0)) {
            world.violated(|| format!("I3: {id} counts as delivered, but was never accepted"));
        }
        check_log(simulation, &id, &log);
    }
    let rows = simulation.receiver.rows.borrow();
    let last = workload.rounds.to_string();
    for contact in (0..workload.events).map(|contact| format!("{CONTACT}{contact}")) {
        if workload.rounds > 1 && rows.get(&contact) != Some(&last) {
            world.violated(|| format!("I6: the receiver has {:?} of {contact}, whose last event says {last}", rows.get(&contact)));
        }
    }
}
