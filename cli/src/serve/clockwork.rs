//! What goes by the clock: schedules that are due, runs that were asked for, bells, and what is older than it may be. Everything it
//! does is found in documents, so nothing depends on a message that could be lost.

use super::house::House;
use engine::lane::bell;
use engine::port::Clock;
use engine::run::claim;
use engine::run::work::{self, Step, Work};
use engine::schedule::{self, Due, Fired};
use process::chance;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Schedules and requests are looked at so often.
const TICK: Duration = Duration::from_secs(1);
/// Bells, and runs that should be going on, are looked at again after so many ticks.
const SWEEP_TICKS: u64 = 60;
/// What is too old is deleted after so many ticks.
const RETENTION_TICKS: u64 = 600;
/// Firings taken at once from each part of the index.
const MOST_DUE: usize = 200;
/// A lane that waits for its store answers later; it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the process ends. `wake` is notified when something was asked for.
pub async fn run(house: Arc<House>, wake: Arc<tokio::sync::Notify>) {
    let mut known = Known::new();
    let mut tick = 0u64;
    let mut forgetting: Option<JoinHandle<()>> = None;
    loop {
        let sweep = tick.is_multiple_of(SWEEP_TICKS);
        let done = async {
            fire(&house).await?;
            look_after(&house, &mut known, tick, sweep).await?;
            if sweep {
                for lane in bell::sweep(&house.store, house.clock.now().wall, MOST_DUE).await.map_err(|e| e.to_string())? {
                    house.lanes.look(&lane);
                }
            }
            if tick.is_multiple_of(RETENTION_TICKS) && forgetting.as_ref().is_none_or(JoinHandle::is_finished) {
                forgetting = Some(tokio::task::spawn_local(forget(Arc::clone(&house))));
            }
            Ok::<(), String>(())
        };
        if let Err(error) = done.await {
            house.log.trouble("the clockwork could not do all of its round; it goes on", &[("error", &error)]);
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => tick += 1,
            () = wake.notified() => {}
        }
    }
}

/// A long piece of work that nothing waits for.
async fn forget(house: Arc<House>) {
    if let Err(error) = house.forget_old().await {
        house.log.trouble("what is too old could not be deleted; it is tried again", &[("error", &error)]);
    }
}

/// Starts the runs of exports that are due. A run that is still going on is not doubled.
async fn fire(house: &House) -> Result<(), String> {
    let wall = house.clock.now().wall;
    for due in schedule::due(&house.store, wall, MOST_DUE).await.map_err(|e| e.to_string())? {
        match fire_one(house, &due, wall).await {
            Ok(()) => {}
            Err(error) => {
                let name = format!("{}/{}", due.organization, due.export);
                house.log.trouble("a scheduled run could not be started", &[("export", &name), ("error", &error)]);
            }
        }
        schedule::fired(&house.store, &due, wall).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

async fn fire_one(house: &House, due: &Due, wall: u64) -> Result<(), String> {
    let project = house.project(&due.organization).await?;
    let run = chance::fresh_name("run", wall);
    let fired = schedule::fire(&house.store, due, project.exports.get(&due.export), &run, chance::random(), wall).await;
    if let Fired::Busy(other) = fired.map_err(|e| e.to_string())? {
        let name = format!("{}/{}", due.organization, due.export);
        house.log.note("a scheduled run was left out, since the one before is not finished", &[("export", &name), ("run", &other)]);
    }
    Ok(())
}

/// The runs that were taken in hand: when each was asked for (Unix microseconds), and in which tick it was taken.
type Known = HashMap<String, (u64, u64)>;

/// Takes every run that is under way one step further, if nobody has it in hand.
async fn look_after(house: &House, known: &mut Known, tick: u64, sweep: bool) -> Result<(), String> {
    let all = work::list(&house.store, house.clock.seconds()).await.map_err(|e| e.to_string())?;
    known.retain(|run, (asked_at, _)| all.iter().any(|work| work.run == *run && work.asked_at == *asked_at));
    for work in all {
        let fresh = known.get(&work.run).is_none_or(|(_, seen)| sweep && *seen != tick);
        if fresh && !house.planner.has(&work.run) && look_after_one(house, &work).await? {
            known.insert(work.run.clone(), (work.asked_at, tick));
        }
    }
    Ok(())
}

/// False: its run is just being written, or may be beginning again; look again at once.
async fn look_after_one(house: &House, work: &Work) -> Result<bool, String> {
    let (store, wall) = (&house.store, house.clock.now().wall);
    match work::step(store, work, wall).await.map_err(|e| e.to_string())? {
        Step::Wait => return Ok(false),
        Step::Plan => house.planner.plan(work),
        Step::Finish(lane) => house.planner.finish(&lane, &work.run),
        // The lane says when nothing of it is on its way any more.
        Step::Halt(lane) => drop(tokio::time::timeout(PATIENCE, house.lanes.withdraw(&lane, &work.run)).await),
        Step::Deliver(lane) => house.lanes.look(&lane),
        Step::Ring(lane) => {
            bell::ring(store, &lane, wall, wall / 1_000_000).await.map_err(|e| e.to_string())?;
            house.lanes.look(&lane);
        }
        // A machine of one's own makes no plan in parts.
        Step::Part(_) => {}
        Step::Over => claim::clear(store, work, wall / 1_000_000).await.map_err(|e| e.to_string())?,
    }
    Ok(true)
}
