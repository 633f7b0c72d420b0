//! A host: a process with clocks of its own, which works the lane off again and again until it dies or is told that all is over.

use super::Simulation;
use super::chance::Chance;
use super::ports::{HostObjects, HostStore};
use super::wire::Wire;
use super::workload::CrashAt;
use super::world::{SECOND, Sleep, World};
use engine::deliver::command::stop_when;
use engine::deliver::drive::{End, Job, drive};
use engine::deliver::{Ports, Unwatched};
use engine::lane::bell;
use engine::lane::lease::Predecessor;
use engine::port::{Clock, Now};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Unix time at the beginning of the world, microseconds.
pub(super) const EPOCH: u64 = 1_800_000_000 * SECOND;

/// The clocks of a host: the wall clock is off by up to 0.4 s, the monotonic one goes a little too fast or too slow.
#[derive(Clone)]
pub(super) struct HostClock {
    world: Rc<World>,
    offset: Rc<Cell<i64>>,
    booted: u64,
    drift_ppm: i64,
}

impl HostClock {
    pub(super) fn new(world: &Rc<World>, offset: i64, drift_ppm: i64) -> HostClock {
        HostClock { world: Rc::clone(world), offset: Rc::new(Cell::new(offset)), booted: world.now(), drift_ppm }
    }

    fn mono(&self, at: u64) -> u64 {
        let elapsed = at.saturating_sub(self.booted) as i64;
        (elapsed + elapsed * self.drift_ppm / 1_000_000) as u64 + SECOND
    }

    pub(super) fn wall(&self) -> u64 {
        (EPOCH + self.world.now()).saturating_add_signed(self.offset.get())
    }
}

impl Clock for HostClock {
    fn now(&self) -> Now {
        Now { wall: self.wall(), mono: self.mono(self.world.now()) }
    }

    async fn sleep_until(&self, mono: u64) {
        let elapsed = mono.saturating_sub(SECOND) as i64;
        let mut at = self.booted + (elapsed - elapsed * self.drift_ppm / 1_000_000).max(0) as u64;
        while self.mono(at) < mono {
            at += 1;
        }
        self.world.sleep_until(at).await;
    }
}

/// One call of `drive`, as the checks see it.
pub(super) struct Session {
    /// Also the owner's name.
    pub(super) number: u64,
    /// The generation of its lease, once the lane was its own.
    pub(super) generation: Cell<Option<u64>>,
    /// What its requests came to, as far as it learned: the delivery, and the status if a response came.
    pub(super) returned: RefCell<Vec<(String, Option<u16>)>>,
    /// Whether it ended with all recorded.
    pub(super) ended_well: Cell<bool>,
    /// It dies as soon as the poll that is going on is over.
    pub(super) doomed: Cell<bool>,
    /// Its process is gone, and its connections with it.
    pub(super) gone: Cell<bool>,
    /// Its requests that are open at the receiver: each is true once it is closed.
    pub(super) open: RefCell<Vec<Rc<Cell<bool>>>>,
    /// Nothing may be sent between these true times: the receiver said so, and this session has heard it.
    pub(super) asked_to_wait: Cell<(u64, u64)>,
}

impl Session {
    pub(super) fn new(number: u64) -> Session {
        Session {
            number,
            generation: Cell::new(None),
            returned: RefCell::default(),
            ended_well: Cell::new(false),
            doomed: Cell::new(false),
            gone: Cell::new(false),
            open: RefCell::default(),
            asked_to_wait: Cell::new((0, 0)),
        }
    }

    pub(super) fn owner(&self) -> String {
        format!("session-{}", self.number)
    }

    /// The operating system closes the connections: what has not arrived never does, what is open ends.
    fn end_process(&self, simulation: &Simulation) {
        self.gone.set(true);
        for closed in self.open.take() {
            if !closed.replace(true) {
                simulation.receiver.close();
            }
        }
    }
}

/// What is in store for a session.
#[derive(Default)]
struct Fate {
    dies_at: Option<u64>,
    dies_at_poll: Option<u64>,
    freezes_at: Option<u64>,
    frozen_for: u64,
}

impl Fate {
    fn draw(simulation: &Simulation, chance: &mut Chance) -> Fate {
        let (faults, now) = (&simulation.workload.faults, simulation.world.now());
        let mut fate = Fate::default();
        if simulation.world.is_calm() {
            return fate;
        }
        if let Some(mean) = faults.dies_every {
            match chance.happens(0.5) {
                true => fate.dies_at = Some(now + chance.about(mean)),
                // So that short waits, between two writes for instance, are met as often as long ones.
                false => fate.dies_at_poll = Some(chance.between(1, 400)),
            }
        }
        if let Some(mean) = faults.freezes_every {
            fate.freezes_at = Some(now + chance.about(mean));
            fate.frozen_for = chance.between(5 * SECOND, 120 * SECOND);
        }
        fate
    }
}

/// A future that may be frozen, and dropped at any poll.
struct Mortal<F> {
    living: Option<Pin<Box<F>>>,
    world: Rc<World>,
    simulation: Rc<Simulation>,
    session: Rc<Session>,
    fate: Fate,
    polls: u64,
    frozen: Option<Sleep>,
}

impl<F: Future> Future for Mortal<F> {
    /// `None`: it died.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let now = this.world.now();
        if let Some(frozen) = &mut this.frozen {
            if Pin::new(frozen).poll(context).is_pending() {
                return Poll::Pending;
            }
            this.frozen = None;
            this.world.note("thaws", this.session.number, 0);
        } else if this.fate.freezes_at.is_some_and(|at| at <= now) && !this.world.is_calm() {
            this.fate.freezes_at = None;
            this.world.strikes("freeze");
            let mut sleep = this.world.sleep(this.fate.frozen_for);
            let _ = Pin::new(&mut sleep).poll(context);
            this.frozen = Some(sleep);
            return Poll::Pending;
        }
        this.polls += 1;
        let polls = this.simulation.polls.get() + 1;
        this.simulation.polls.set(polls);
        let doomed = matches!(this.simulation.workload.crash_at, Some(CrashAt::Poll(poll)) if poll == polls);
        let dies = this.fate.dies_at.is_some_and(|at| at <= now) || this.fate.dies_at_poll.is_some_and(|poll| poll <= this.polls);
        if doomed || dies && !this.world.is_calm() {
            this.world.strikes("death");
            this.living = None;
            return Poll::Ready(None);
        }
        let Some(living) = &mut this.living else { return Poll::Ready(None) };
        let polled = living.as_mut().poll(context);
        if this.session.doomed.take() {
            this.world.strikes("death at a call");
            this.living = None;
            return Poll::Ready(None);
        }
        polled.map(Some)
    }
}

/// A future with a fate of its own.
pub(super) async fn mortal<F: Future>(
    simulation: &Rc<Simulation>,
    session: &Rc<Session>,
    chance: &mut Chance,
    living: F,
) -> Option<F::Output> {
    let fate = Fate::draw(simulation, chance);
    Mortal {
        living: Some(Box::pin(living)),
        world: Rc::clone(&simulation.world),
        simulation: Rc::clone(simulation),
        session: Rc::clone(session),
        fate,
        polls: 0,
        frozen: None,
    }
    .await
}

/// Works the lane off until all is over, as a sweep does: whenever the bell says that there is work.
pub(super) async fn live(simulation: Rc<Simulation>, number: u64) {
    let world = &simulation.world;
    let mut chance = world.fork();
    let mut clock = new_clock(&simulation, &mut chance);
    world.sleep(chance.between(0, SECOND)).await;
    while !simulation.over.get() {
        let due = bell::sweep(&simulation.documents, clock.wall(), 10).await.unwrap_or_default();
        // Now and then a host comes although nobody rang: a ticket came twice, or late.
        if !due.contains(&simulation.lane) && !chance.happens(0.05) {
            world.sleep(chance.between(SECOND / 5, SECOND * 3 / 2)).await;
            continue;
        }
        let session = simulation.new_session();
        world.note("session begins", number, session.number);
        let ended = one_session(&simulation, &session, &clock, &mut chance).await;
        if simulation.workload.alone {
            session.end_process(&simulation);
        }
        let wait = match ended {
            None => {
                // A new process: other clocks, too.
                clock = new_clock(&simulation, &mut chance);
                chance.between(SECOND / 10, 10 * SECOND)
            }
            Some(Ok(End::Held { until, .. })) => {
                world.note("held", number, session.number);
                // Now and then a host looks too early: a ticket came twice.
                let wait = until.saturating_sub(clock.wall()) + chance.between(1_000, SECOND);
                if chance.happens(0.3) { wait.min(chance.between(SECOND / 5, 5 * SECOND)) } else { wait }
            }
            Some(Ok(end)) => {
                session.ended_well.set(end != End::Lost);
                if end != End::Lost {
                    // What it was asked to wait for it has written down; clocks differ by up to a second.
                    let until = session.asked_to_wait.get().1.saturating_sub(SECOND);
                    simulation.paused_until.set(simulation.paused_until.get().max(until));
                }
                world.note("session ends", session.number, (end == End::Lost).into());
                let gap = chance.between(simulation.workload.gap.0, simulation.workload.gap.1);
                // A ticket is delayed until there is something to send; now and then another one comes early.
                match end {
                    End::Resting { due } if !chance.happens(0.2) => gap.max(due.saturating_sub(clock.wall())),
                    _ => gap,
                }
            }
            Some(Err(error)) => {
                world.note("session fails", session.number, error.to_string().len() as u64);
                world.strikes("session gave up");
                chance.between(SECOND / 10, 2 * SECOND)
            }
        };
        world.sleep(wait).await;
    }
}

/// How far a wall clock is off.
pub(super) fn offset(simulation: &Simulation, chance: &mut Chance) -> i64 {
    let most = simulation.workload.faults.clock_offset;
    // The ends are what hurts: one clock as early, the next as late as may be.
    match chance.below(4) {
        0 => -(most as i64),
        1 => most as i64,
        _ => chance.between(0, 2 * most) as i64 - most as i64,
    }
}

fn new_clock(simulation: &Simulation, chance: &mut Chance) -> HostClock {
    let drift = simulation.workload.faults.drift_ppm;
    let drawn = offset(simulation, chance);
    // One machine has one wall clock, whichever of its processes reads it: `Predecessor::Dead` rests on that.
    let before = simulation.clocks.borrow().first().filter(|_| simulation.workload.alone).map(|clock| clock.get());
    let clock = HostClock::new(&simulation.world, before.unwrap_or(drawn), chance.between(0, 2 * drift) as i64 - drift as i64);
    simulation.clocks.borrow_mut().push(Rc::clone(&clock.offset));
    clock
}

async fn one_session(
    simulation: &Rc<Simulation>,
    session: &Rc<Session>,
    clock: &HostClock,
    chance: &mut Chance,
) -> Option<Result<End, engine::port::PortError>> {
    let store = HostStore::new(simulation, Some(session), chance.fork());
    let objects = HostObjects::new(simulation, Some(session), chance.fork());
    let wire = Wire::new(simulation, session, chance.fork());
    let owner = session.owner();
    let life = simulation.workload.life.map(|(from, to)| chance.between(from, to));
    let stop = async {
        match life {
            Some(life) => simulation.world.sleep(life).await,
            None => std::future::pending().await,
        }
    };
    let mut jitter = chance.fork();
    let mut jitter = move || jitter.unit();
    let job = Job {
        lane: &simulation.lane,
        destination: &simulation.destination,
        owner: &owner,
        predecessor: if simulation.workload.alone { Predecessor::Dead } else { Predecessor::Unknown },
        thrift: simulation.workload.thrift,
        ends_when_dead: false,
        canary: simulation.workload.canary,
    };
    let ports = Ports { store: &store, objects: &objects, transport: &wire, clock };
    mortal(simulation, session, chance, drive(ports, job, &Unwatched, &mut jitter, stop_when(stop))).await
}
