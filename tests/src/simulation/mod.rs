//! A deterministic simulation of delivery: the real loop with its real lease, permits, pump, log and bell, on hosts with clocks of
//! their own that die and freeze, before a store that fails between any two calls and a receiver that answers as it likes.
//!
//! Only the ports are replaced. It must not use a real clock, a thread, a socket, or chance other than the seed's: the same seed is
//! the same history, step by step.

pub(crate) mod chance;
mod check;
mod events;
mod export;
mod host;
mod ports;
mod receiver;
mod wire;
mod workload;
pub(crate) mod world;

pub use workload::{CrashAt, Faults, ReceiverFaults, Workload};

use crate::memory::{MemoryObjects, MemoryStore};
use chance::Chance;
use engine::configure;
use engine::keys::LaneName;
use engine::lane::bell;
use engine::model::change::DeltaRow;
use engine::model::destination::Destination;
use engine::model::project::Project;
use engine::port::{PortError, Store};
use engine::run::document;
use engine::run::finish::{Because, WriteDelta, finish};
use engine::run::progress;
use engine::shape::Shape;
use export::{Export, Planned};
use host::{EPOCH, Session};
use ports::{HostObjects, HostStore};
use receiver::{Mood, Receiver};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use world::{SECOND, World};

/// After the faults of a round have ended, all of it must be done within this time, and as long again for each 500 deliveries
/// at the slowest limit.
const ENDS_WITHIN: u64 = 3 * 3600 * SECOND;

/// Every fault that can strike. Those at a place of their own ([`CrashAt`]) are not among them.
pub const FAULTS: [&str; 23] = [
    "422",
    "429",
    "500 after",
    "500 before",
    "clock step",
    "death",
    "freeze",
    "lost packet",
    "outage with 503",
    "outage with silence",
    "patchy writes",
    "refused call",
    "refused connection",
    "refused repeat",
    "reset after",
    "reset before",
    "silence after",
    "silence before",
    "slow call",
    "throttled call",
    "torn writes",
    "unheard call",
    "wire stall",
];

/// What a seed came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What did not hold; empty: all did.
    pub violations: Vec<String>,
    /// A hash of every step, and how many there were.
    pub trace: (u64, u64),
    /// How often each fault struck.
    pub fired: BTreeMap<&'static str, u64>,
    /// Requests that were begun.
    pub sends: u64,
    /// Requests that arrived.
    pub arrivals: u64,
    /// Calls of the ports by hosts.
    pub calls: u64,
    /// Polls of the hosts' futures.
    pub polls: u64,
    /// Sessions.
    pub sessions: usize,
    /// How long it took, virtual microseconds.
    pub took: u64,
    /// The most requests that were open at the receiver at once.
    pub most_open: u32,
}

/// The parts of a simulation.
struct Simulation {
    workload: Workload,
    world: Rc<World>,
    documents: MemoryStore,
    objects: MemoryObjects,
    receiver: Rc<Receiver>,
    project: Project,
    destination: Destination,
    lane: LaneName,
    exports: RefCell<Vec<Export>>,
    sessions: RefCell<Vec<Rc<Session>>>,
    generations: Cell<u64>,
    calls: Cell<u64>,
    polls: Cell<u64>,
    sends: Cell<u64>,
    throttled_until: Cell<u64>,
    /// Whoever sends must know that nothing may be sent before this time.
    paused_until: Cell<u64>,
    /// How far each wall clock is off.
    clocks: RefCell<Vec<Rc<Cell<i64>>>>,
    over: Cell<bool>,
    folder: tempfile::TempDir,
}

impl Simulation {
    fn new(workload: &Workload, seed: u64, told: bool) -> Simulation {
        let world = World::new(seed, told);
        let w = workload;
        let document = export::project(&w.limits, w.concurrency, w.timeout_seconds, w.max_attempts, w.batch, w.exports);
        let project = configure::parse(&document).unwrap_or_else(|problems| panic!("the project of the simulation is wrong: {problems:?}"));
        let (name, destination) = project.destinations.iter().next().expect("there is a destination");
        let lane = LaneName { organization: project.organization.id.clone(), destination: name.clone(), share: 0 };
        let exports = project.exports.iter().map(|(name, export)| Export::new(name, Shape::of(&project, export))).collect();
        Simulation {
            workload: workload.clone(),
            documents: MemoryStore::new(),
            objects: MemoryObjects::new(),
            receiver: Rc::new(Receiver::new(&world, destination, workload.faults.receiver.clone())),
            destination: destination.clone(),
            project: project.clone(),
            lane,
            exports: RefCell::new(exports),
            sessions: RefCell::default(),
            generations: Cell::new(0),
            calls: Cell::new(0),
            polls: Cell::new(0),
            sends: Cell::new(0),
            throttled_until: Cell::new(0),
            paused_until: Cell::new(0),
            clocks: RefCell::default(),
            over: Cell::new(false),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            world,
        }
    }

    fn new_session(&self) -> Rc<Session> {
        let session = Rc::new(Session::new(self.sessions.borrow().len() as u64 + 1));
        self.sessions.borrow_mut().push(Rc::clone(&session));
        session
    }

    /// A session has written the lane's document as its owner.
    fn owns(&self, session: &Session, generation: u64) {
        match session.generation.get() {
            Some(before) if before == generation => {}
            Some(before) => self.world.violated(|| format!("session {} had generation {before}, and now {generation}", session.number)),
            None if generation <= self.generations.get() => {
                self.world.violated(|| format!("generation {generation} was given a second time, to session {}", session.number));
            }
            None => {
                self.world.note("owns", session.number, generation);
                self.generations.set(generation);
                session.generation.set(Some(generation));
            }
        }
    }
}

/// Runs a workload from a seed. `told`: every step is printed.
pub fn run(workload: &Workload, seed: u64, told: bool) -> Outcome {
    let simulation = Rc::new(Simulation::new(workload, seed, told));
    let world = Rc::clone(&simulation.world);
    for number in 0..workload.hosts as u64 {
        world.spawn(host::live(Rc::clone(&simulation), number));
    }
    world.spawn(troubles(Rc::clone(&simulation)));
    world.run(rounds(Rc::clone(&simulation)));
    Outcome {
        violations: world.violations(),
        trace: world.trace(),
        fired: world.fired(),
        sends: simulation.sends.get(),
        arrivals: simulation.receiver.arrivals.get(),
        calls: simulation.calls.get(),
        polls: simulation.polls.get(),
        sessions: simulation.sessions.borrow().len(),
        took: world.now(),
        most_open: simulation.receiver.most_open.get(),
    }
}

/// Throttling and outages, which come and go, and clocks that are set.
async fn troubles(simulation: Rc<Simulation>) {
    let world = &simulation.world;
    let mut chance = world.fork();
    let faults = &simulation.workload.faults;
    while !simulation.over.get() {
        world.sleep(chance.about(40 * SECOND) + SECOND).await;
        if world.is_calm() {
            continue;
        }
        // A process that is alone trusts its machine's clock, and keeps no margin for one that is set.
        if faults.clock_steps && !simulation.workload.alone {
            world.strikes("clock step");
            let clocks = simulation.clocks.borrow();
            clocks.iter().for_each(|clock| clock.set(host::offset(&simulation, &mut chance)));
        }
        if faults.throttles && chance.happens(0.5) {
            simulation.throttled_until.set(world.now() + chance.between(SECOND, 40 * SECOND));
        }
        if faults.receiver.outages && chance.happens(0.5) {
            let mood = *chance.pick(&[Mood::Failing, Mood::Silent]);
            world.strikes(if mood == Mood::Failing { "outage with 503" } else { "outage with silence" });
            simulation.receiver.set_mood(mood, world.now() + chance.between(5 * SECOND, 120 * SECOND));
        }
    }
}

/// Plans, waits until all is delivered, finishes and checks: once for each round.
async fn rounds(simulation: Rc<Simulation>) {
    let world = &simulation.world;
    let mut chance = world.fork();
    let rows = simulation.workload.rows;
    for round in 1..=simulation.workload.rounds {
        let last = round == simulation.workload.rounds;
        if round == 1 {
            simulation.exports.borrow_mut().iter_mut().for_each(|export| export.fill(rows.max(1), &mut chance));
        } else {
            // The last round brings what is there, so that it must come to rest.
            let exports = &simulation.exports;
            exports.borrow_mut().iter_mut().for_each(|export| export.change(rows, &mut chance));
        }
        world.set_calm(last && simulation.workload.rounds > 1);
        let planned: Vec<Planned> = plan(&simulation, round);
        for planned in &planned {
            let wait = if chance.happens(0.5) { 0 } else { chance.between(0, simulation.workload.begins_within) };
            world.sleep(wait).await;
            export::put_to_work(&simulation, planned).await;
        }
        if simulation.workload.events > 0 {
            events::hand_in(&simulation, round).await;
        }
        if let Some(end) = simulation.workload.ends_at {
            world.sleep_until(end).await;
            return;
        }
        if !delivered(&simulation, &planned).await {
            return;
        }
        for planned in &planned {
            finish_run(&simulation, planned).await;
        }
        world.set_calm(true);
    }
    simulation.over.set(true);
    check::check_receiver(&simulation);
    check::check_nothing_left(&simulation).await;
    if simulation.workload.events > 0 {
        events::check(&simulation).await;
    }
}

fn plan(simulation: &Simulation, round: u32) -> Vec<Planned> {
    let exports = simulation.exports.borrow();
    let planned = exports.iter().enumerate().map(|(number, export)| Planned {
        run: format!("run_r{round}e{number}"),
        export: number,
        changes: export.diff(),
    });
    planned.filter(|planned| !planned.changes.is_empty()).collect()
}

/// Waits until runs are delivered and the bell is down; the faults end on the way. False: it takes too long.
async fn delivered(simulation: &Rc<Simulation>, planned: &[Planned]) -> bool {
    let world = &simulation.world;
    let calm_at = world.now() + simulation.workload.faults_last;
    let slowest =
        simulation.destination.rate_limits.iter().map(|limit| u64::from(limit.window_seconds) * SECOND / u64::from(limit.requests)).max();
    let rows: u64 = planned.iter().map(|planned| planned.changes.len() as u64).sum::<u64>() + simulation.workload.events as u64;
    let latest = calm_at + ENDS_WITHIN + rows * slowest.unwrap_or_default() * 4;
    loop {
        if world.now() >= calm_at {
            world.set_calm(true);
        }
        let mut complete = true;
        for planned in planned {
            let done = progress::read(&simulation.documents, &simulation.lane, &planned.run, 0).await.expect("memory does not fail");
            complete &= done.is_some_and(|(progress, _)| progress.is_complete());
        }
        if simulation.workload.events > 0 {
            let left = simulation.documents.list(&simulation.lane.partition(), "due#".."due$", 1, 0).await;
            complete &= left.expect("memory does not fail").is_empty();
        }
        let bell = bell::hear(&simulation.documents, &simulation.lane, 0).await.expect("memory does not fail");
        if complete && bell.bell.due.is_none() {
            return true;
        }
        if world.now() > latest {
            world.violated(|| {
                format!("I15: not all is delivered, or the bell is still up, {} s after the last fault", (world.now() - calm_at) / SECOND)
            });
            return false;
        }
        world.sleep(2 * SECOND).await;
    }
}

/// Collects the rows of a delta, and writes a file in their place.
struct Collected {
    rows: RefCell<Option<Vec<DeltaRow>>>,
    file: PathBuf,
}

impl WriteDelta for Collected {
    fn write(&self, rows: &mut dyn Iterator<Item = Result<DeltaRow, PortError>>, _: &[String]) -> Result<Option<PathBuf>, PortError> {
        let rows: Result<Vec<DeltaRow>, PortError> = rows.collect();
        self.rows.replace(Some(rows?));
        std::fs::write(&self.file, b"a delta").map_err(|e| PortError::Failed(e.to_string()))?;
        Ok(Some(self.file.clone()))
    }
}

/// Finishes a run, sometimes from two hosts at once, each of which may die and begin again.
async fn finish_run(simulation: &Rc<Simulation>, planned: &Planned) {
    let world = &simulation.world;
    let mut chance = world.fork();
    let (mut one, mut two) = (chance.fork(), chance.fork());
    let one = finish_somehow(simulation, planned, 1, &mut one);
    let delta = if chance.happens(0.2) {
        let two = finish_somehow(simulation, planned, 2, &mut two);
        let (one, two) = futures_util::future::join(one, two).await;
        one.or(two)
    } else {
        one.await
    };
    let Some(delta) = delta else { return world.violated(|| format!("I2: nobody wrote the delta of {}", planned.run)) };
    let run = document::read(&simulation.documents, &simulation.lane.organization, &planned.run, 0).await;
    let (run, _) = run.expect("memory does not fail").expect("a run that is finished is there");
    world.note("run ends", run.rows.delivered, run.attempts);
    check::check_run(simulation, planned, &run, &delta).await;
    simulation.exports.borrow_mut()[planned.export].remember(delta);
}

async fn finish_somehow(simulation: &Rc<Simulation>, planned: &Planned, finisher: u64, chance: &mut Chance) -> Option<Vec<DeltaRow>> {
    let world = &simulation.world;
    let file = simulation.folder.path().join(format!("{}-{finisher}", planned.run));
    let deltas = Collected { rows: RefCell::default(), file };
    let export = simulation.exports.borrow()[planned.export].name.clone();
    loop {
        let session = simulation.new_session();
        let store = HostStore::new(simulation, Some(&session), chance.fork());
        let objects = HostObjects::new(simulation, Some(&session), chance.fork());
        let finishing = finish(&store, &objects, &simulation.lane, (&export, &planned.run), Because::Done, &deltas, EPOCH + world.now());
        match host::mortal(simulation, &session, chance, finishing).await {
            Some(Ok(_)) => return deltas.rows.take(),
            Some(Err(_)) | None => world.sleep(chance.between(1, SECOND)).await,
        }
    }
}
