//! The loop that works a lane off: it asks the pump what is next, does it, and tells the pump what happened.
//!
//! The only place that waits. Nothing is spawned: dropping the future stops everything at once, as a crash would.

mod attempts;
mod events;

use super::attach::Attachments;
use super::command::{Command, Probe};
use super::log::{self, Batch, Book, Log};
use super::owner::{self, Beat, Claim, Owned, Ownership};
use super::{Ports, Pulse, Watch};
use crate::keys::{self, LaneName};
use crate::lane::backlog::{self, Holds, Parcel};
use crate::lane::lease::Predecessor;
use crate::lane::permits::Canary;
use crate::lane::pump::{Grant, Leaving, Next, Pump, Settings, Slot};
use crate::lane::{bell, pause};
use crate::model::destination::Destination;
use crate::plan::block::{self, PlannedRow};
use crate::port::{Clock, Exchange, Expect, Key, Now, Objects, Outgoing, PortError, Store, Transport};
use crate::record::page::LoggedRequest;
use crate::record::segment::Segment;
use crate::run::document;
use crate::shape::Compiled;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use events::{Events, Readied};

/// So many parcels with fresh deliveries are open at once; with at most 4 MB of rows each this bounds memory.
const OPEN_PARCELS: usize = 8;
/// Rendered requests of a failing recording wait this long before the next try, doubling.
const FIRST_RETRY: u64 = 50_000;
/// So often a recording is tried before the work ends.
const RECORD_TRIES: u32 = 8;

/// How the loop spends time: a process that is there anyway differs from a function that is paid by the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thrift {
    /// An attempt is recorded this long after its end at the latest, microseconds (semantics.md 9).
    pub record_within: u64,
    /// The lane is left when nothing can be sent for so long, microseconds; `None`: it is waited for.
    pub linger: Option<u64>,
}

impl Thrift {
    /// On one machine: waiting costs nothing, and a write to the disk is quick.
    pub const MACHINE: Thrift = Thrift { record_within: 50_000, linger: None };
    /// On a stack: waiting for 0.9 s costs what a wake-up does (at 512 MB), and writes are paid for one by one.
    pub const STACK: Thrift = Thrift { record_within: 2_000_000, linger: Some(900_000) };
}

/// What is worked on, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The lane.
    pub lane: &'a LaneName,
    /// Its destination as it is now.
    pub destination: &'a Destination,
    /// A name that no other owner ever has.
    pub owner: &'a str,
    /// What is known of the owner before.
    pub predecessor: Predecessor,
    /// How it spends time.
    pub thrift: Thrift,
    /// End when the destination is down for good, rather than probe on.
    pub ends_when_dead: bool,
    /// Planted bugs; `None` outside of the simulation.
    pub canary: Option<Canary>,
}

/// How the work on a lane ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left in the backlog.
    Empty,
    /// Nothing can be sent before this wall-clock time (microseconds): waiting for it costs more than coming back. The bell says so.
    Resting {
        /// When something can be sent.
        due: u64,
    },
    /// It was told to stop; what was on its way has been waited for and recorded.
    Stopped,
    /// The destination was down until a probe had used up its attempts.
    Dead,
    /// Someone else works on it, until this wall-clock time at least.
    Held {
        /// Who.
        owner: String,
        /// Microseconds.
        until: u64,
    },
    /// The lease was lost; someone else goes on.
    Lost,
    /// The destination is paused; its deliveries are kept.
    Paused,
}

/// What a run's deliveries share.
struct Context {
    export: String,
    names: Vec<String>,
    started_at: String,
    begun_at: Option<u64>,
    compiled: Compiled,
}

impl Context {
    /// Whether a parcel was put into the backlog by someone who planned or approved the run as well and came too late.
    fn is_stray(&self, parcel: &Parcel) -> bool {
        parcel.again.is_none() && self.begun_at.is_some_and(|begun_at| begun_at != parcel.due)
    }
}

/// What is found of a parcel's run.
enum Found {
    /// It is delivered.
    Context(Box<Context>),
    /// It is still being planned, or canceled: its parcels are not to be worked on.
    NotNow,
    /// It is over: nothing is owed any more but what is asked for again.
    Over,
    /// There is no such run any more.
    Gone,
}

/// What is on its way.
enum Flight {
    Delivery { grant: Grant, shown: LoggedRequest, rows: u64 },
    Probe { done: Box<dyn FnOnce(Exchange, u64)>, started: Now },
}

async fn exchange<T: Transport>(transport: &T, outgoing: Result<Outgoing, Exchange>, flight: Flight) -> (Flight, Exchange) {
    match outgoing {
        Ok(outgoing) => (flight, transport.send(outgoing).await),
        Err(refused) => (flight, refused),
    }
}

/// Work that goes on beside the sending.
type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

enum Event {
    Answered(Box<(Flight, Exchange)>),
    Recorded(Recording),
    Readied(Readied),
    Beaten(Beaten),
    Asked(Command),
    Woken,
}

/// What a recording came to: the runs of which nothing is left then, and what was to be written.
type Recording = (Result<Vec<String>, PortError>, Batch);
/// What a heartbeat came to, when it began, and whether the destination is paused.
type Beaten = (Beat, Now, bool);

/// Works a lane off until nothing is left, it is told to stop, or the lane is lost. `chance` gives numbers in 0..1 for jitter.
/// `Err`: the store failed for good; what was answered but not recorded will be sent again under the same key.
pub async fn drive<S: Store, O: Objects, T: Transport, C: Clock>(
    ports: Ports<'_, S, O, T, C>,
    job: Job<'_>,
    watch: &dyn Watch,
    chance: &mut dyn FnMut() -> f64,
    commands: impl Stream<Item = Command>,
) -> Result<End, PortError> {
    if pause::read(ports.store, job.lane, ports.clock.now().wall / 1_000_000).await?.is_some() {
        return Ok(End::Paused);
    }
    let attachments = Attachments::of(job.destination);
    let limits = &job.destination.rate_limits;
    let claim = Claim {
        lane: job.lane,
        owner: job.owner,
        predecessor: job.predecessor,
        limits,
        timeout: attachments.timeout(),
        canary: job.canary,
    };
    let owned = match owner::take(ports.store, ports.clock, claim).await? {
        Ownership::Ours(owned) => *owned,
        Ownership::Held { owner, until } => return Ok(End::Held { owner, until }),
    };
    let mut worker = Worker::new(ports, job, watch, &attachments, owned);
    let end = worker.work(chance, commands).await?;
    if end != End::Lost {
        worker.release(&end).await?;
    }
    Ok(end)
}

struct Worker<'a, S, O, T, C> {
    ports: Ports<'a, S, O, T, C>,
    job: Job<'a>,
    watch: &'a dyn Watch,
    attachments: &'a Attachments,
    pump: Pump,
    version: u64,
    log: Log,
    contexts: HashMap<String, Rc<Context>>,
    /// Parcels of the backlog that are not open, by run, each in order.
    waiting: BTreeMap<String, VecDeque<(Key, Parcel)>>,
    events: Events,
    /// Some run may have parcels waiting and none open.
    turns_changed: bool,
    /// Runs that were canceled, and those of them that have something on its way or unrecorded.
    withdrawn: BTreeSet<String>,
    draining: BTreeSet<String>,
    probes: VecDeque<Probe>,
    pulse_at: u64,
    rows: HashMap<Slot, Rc<Vec<Vec<PlannedRow>>>>,
    /// Parcels of which every delivery is done, but not all is recorded.
    ended: Vec<Slot>,
    /// Nothing is sent while this is set: the last recording failed.
    unrecorded: Option<Trouble>,
}

struct Trouble {
    /// What is to be written again; out while it is being written.
    batch: Option<Batch>,
    tries: u32,
    again_at: u64,
}

impl<'a, S: Store, O: Objects, T: Transport, C: Clock> Worker<'a, S, O, T, C> {
    fn new(ports: Ports<'a, S, O, T, C>, job: Job<'a>, watch: &'a dyn Watch, attachments: &'a Attachments, owned: Owned) -> Self {
        let settings = Settings {
            concurrency: job.destination.concurrency,
            timeout: attachments.timeout(),
            retry: job.destination.retry.clone(),
            ends_when_dead: job.ends_when_dead,
        };
        let Owned { lease, permits, version, quiet_until, standing } = owned;
        let pump = Pump::new(lease, permits, settings, quiet_until, standing, ports.clock.now());
        Worker {
            ports,
            job,
            watch,
            attachments,
            pump,
            version,
            log: Log::new(job.thrift.record_within),
            contexts: HashMap::new(),
            waiting: BTreeMap::new(),
            events: Events::default(),
            turns_changed: false,
            withdrawn: BTreeSet::new(),
            draining: BTreeSet::new(),
            probes: VecDeque::new(),
            pulse_at: 0,
            rows: HashMap::new(),
            ended: Vec::new(),
            unrecorded: None,
        }
    }

    async fn work(&mut self, chance: &mut dyn FnMut() -> f64, commands: impl Stream<Item = Command>) -> Result<End, PortError> {
        let Ports { store, objects, transport, clock } = self.ports;
        let lane = self.job.lane;
        let mut commands = pin!(commands.fuse());
        let mut stopped = None;
        let mut in_flight = FuturesUnordered::new();
        let mut readying: FuturesUnordered<Pending<'a, Readied>> = FuturesUnordered::new();
        let mut recording: Option<Pending<'a, Recording>> = None;
        let mut beating: Option<Pending<'a, Beaten>> = None;
        self.look().await?;
        loop {
            self.top_up().await?;
            let now = clock.now();
            if recording.is_none() {
                self.drained();
                let idle = self.pump.in_flight() == 0
                    && (matches!(self.pump.next(now), Next::Empty | Next::Dead) || self.rests_until(now).is_some());
                if let Some(batch) = self.batch_to_record(now, idle) {
                    if !self.pump.lease.allows_recording(now) {
                        return Ok(End::Lost);
                    }
                    recording = Some(Box::pin(async move {
                        let result = log::write(store, objects, lane, &batch, now.wall).await;
                        (result, batch)
                    }));
                }
            }
            let next = match self.unrecorded {
                // No attempt without a place to record it.
                Some(_) => Next::Answer,
                None => self.pump.next(now),
            };
            let quiet = recording.is_none() && self.log.is_empty() && self.unrecorded.is_none();
            let (next, go) = match self.next_probe(next, stopped.is_some(), now) {
                Ok(probe) => {
                    let outgoing = self.attachments.attach(probe.rendered);
                    self.pump.start_outside(now);
                    in_flight.push(exchange(transport, outgoing, Flight::Probe { done: probe.done, started: now }));
                    continue;
                }
                Err(next) => next,
            };
            let mut wake = go;
            match next {
                Next::Send(candidate) => {
                    if let Some((grant, rendered, rows)) = self.prepare(candidate, now) {
                        let shown = self.attachments.shown(&rendered);
                        let outgoing = self.attachments.attach(rendered);
                        in_flight.push(exchange(transport, outgoing, Flight::Delivery { grant, shown, rows }));
                    }
                    continue;
                }
                Next::Load(slot) => {
                    self.load(slot).await?;
                    continue;
                }
                Next::Prepare(candidate) => {
                    readying.push(self.ready(candidate, now));
                    continue;
                }
                Next::Beat if beating.is_none() => {
                    beating = Some(self.beat(now));
                    continue;
                }
                Next::Empty if quiet && beating.is_none() && stopped.is_some() => return Ok(stopped.unwrap_or(End::Stopped)),
                Next::Empty if quiet && beating.is_none() && self.probes.is_empty() => {
                    if self.leave(None).await? {
                        return Ok(End::Empty);
                    }
                    continue;
                }
                Next::Dead if quiet && beating.is_none() => return Ok(End::Dead),
                Next::Lost => return Ok(End::Lost),
                Next::Until(at) => wake = Some(wake.map_or(at, |other| other.min(at))),
                Next::Beat | Next::Empty | Next::Dead | Next::Answer => {}
            }
            if let Some(at) = self.rests_until(now).filter(|_| quiet && beating.is_none() && stopped.is_none() && self.probes.is_empty()) {
                let due = now.wall + (at - now.mono);
                if self.leave(Some(due)).await? {
                    return Ok(End::Resting { due });
                }
                continue;
            }
            self.watch.waits(lane, self.pump.waits_for(now));
            self.pulse(now);
            let due = if recording.is_none() { self.recording_due() } else { None };
            let wake = [wake, due].into_iter().flatten().min().unwrap_or(now.mono + 1_000_000);
            let mut sleep = pin!(clock.sleep_until(wake));
            let event = std::future::poll_fn(|context| {
                if let Some(future) = &mut recording
                    && let Poll::Ready(recorded) = future.as_mut().poll(context)
                {
                    return Poll::Ready(Event::Recorded(recorded));
                }
                if let Some(future) = &mut beating
                    && let Poll::Ready(beaten) = future.as_mut().poll(context)
                {
                    return Poll::Ready(Event::Beaten(beaten));
                }
                if let Poll::Ready(Some(answer)) = in_flight.poll_next_unpin(context) {
                    return Poll::Ready(Event::Answered(Box::new(answer)));
                }
                if let Poll::Ready(Some(readied)) = readying.poll_next_unpin(context) {
                    return Poll::Ready(Event::Readied(readied));
                }
                if stopped.is_none()
                    && let Poll::Ready(Some(command)) = commands.as_mut().poll_next(context)
                {
                    return Poll::Ready(Event::Asked(command));
                }
                sleep.as_mut().poll(context).map(|()| Event::Woken)
            })
            .await;
            match event {
                Event::Answered(answer) => match *answer {
                    (Flight::Delivery { grant, shown, rows }, exchange) => self.answered(grant, &shown, rows, &exchange, chance()),
                    (Flight::Probe { done, started }, exchange) => {
                        let ended = clock.now();
                        self.pump.ended_outside(ended);
                        done(exchange, ended.mono - started.mono);
                    }
                },
                Event::Readied(readied) => self.readied(readied, chance())?,
                Event::Recorded((result, batch)) => {
                    recording = None;
                    self.recorded(result, batch)?;
                }
                Event::Beaten((beat, begun, paused)) => {
                    beating = None;
                    match beat {
                        Beat::Written(version) => {
                            self.version = version;
                            self.pump.permits().confirm();
                            self.pump.beaten(begun);
                        }
                        Beat::Lost => return Ok(End::Lost),
                        Beat::Unknown => {}
                    }
                    if paused && stopped.is_none() {
                        stopped = Some(End::Paused);
                        self.stop();
                    }
                }
                Event::Asked(Command::Stop) => {
                    stopped = Some(End::Stopped);
                    self.stop();
                }
                Event::Asked(Command::Look) => drop(self.look().await?),
                Event::Asked(Command::Withdraw { run, halted }) => {
                    self.withdraw(run);
                    halted();
                }
                Event::Asked(Command::Probe(probe)) => self.probes.push_back(probe),
                Event::Woken => {}
            }
        }
    }

    fn pulse(&mut self, now: Now) {
        if now.mono >= self.pulse_at {
            self.pulse_at = now.mono + crate::lane::SECOND;
            let waiting = self.waiting.values().flatten().chain(&self.events.waiting);
            let waiting: u64 = waiting.map(|(_, parcel)| u64::from(parcel.deliveries)).sum();
            let permits = self.pump.permits().free();
            self.watch.pulse(Pulse { in_flight: self.pump.in_flight(), permits, owed: waiting + self.pump.owed() });
        }
    }

    fn stop(&mut self) {
        self.pump.stop();
        self.waiting.clear();
        self.events.waiting.clear();
        self.probes.clear();
    }

    /// A request outside of any run goes first, if one is asked for and a permit is free; else what is next, and when to look again.
    fn next_probe(&mut self, next: Next, stopped: bool, now: Now) -> Result<Probe, (Next, Option<u64>)> {
        if stopped || self.probes.is_empty() || self.unrecorded.is_some() {
            return Err((next, None));
        }
        match self.pump.wait_outside(now) {
            None => self.probes.pop_front().ok_or((next, None)),
            Some(Next::Until(at)) => Err((next, Some(at))),
            Some(Next::Beat) => Err((Next::Beat, None)),
            Some(_) => Err((next, None)),
        }
    }

    /// Takes a canceled run back: nothing more of it starts.
    fn withdraw(&mut self, run: String) {
        self.waiting.remove(&run);
        self.ended.extend(self.pump.withdraw(&run));
        self.turns_changed = true;
        self.withdrawn.insert(run.clone());
        self.draining.insert(run);
    }

    /// No recording goes on: canceled runs of which nothing is open any more have all of theirs recorded, and can be finished.
    fn drained(&mut self) {
        if self.unrecorded.is_some() {
            return;
        }
        let pump = &self.pump;
        let gone: Vec<String> = self.draining.iter().filter(|run| !pump.has_run(run)).cloned().collect();
        for run in gone {
            self.draining.remove(&run);
            self.watch.completed(self.job.lane, &run);
        }
    }

    /// Reads the backlog and takes up what is new in it. Gives how many parcels that were.
    async fn look(&mut self) -> Result<usize, PortError> {
        let now = self.ports.clock.now();
        let all = backlog::read(self.ports.store, self.job.lane, now.wall / 1_000_000).await?;
        let open = self.pump.keys();
        let known: BTreeSet<Key> = self.waiting.values().flatten().chain(&self.events.waiting).map(|(key, _)| key.clone()).collect();
        let mut count = 0;
        for (key, parcel) in all {
            let is_new = !open.contains(&key) && !known.contains(&key) && !self.withdrawn.contains(&parcel.run);
            if is_new && parcel.rule().is_some() {
                self.events.waiting.push_back((key, parcel));
                count += 1;
            } else if is_new {
                self.waiting.entry(parcel.run.clone()).or_default().push_back((key, parcel));
                count += 1;
            }
        }
        self.turns_changed |= count > 0;
        Ok(count)
    }

    /// The run whose next parcel is opened: one that waits with none open has its turn at once, however much others have.
    fn turn(&mut self) -> Option<String> {
        if self.turns_changed {
            if let Some(run) = self.waiting.keys().find(|run| !self.pump.has_turn(run)) {
                return Some(run.clone());
            }
            self.turns_changed = false;
        }
        if self.waiting.is_empty() || self.pump.fresh_parcels() >= OPEN_PARCELS {
            return None;
        }
        // Round robin over runs: the one that has come least far.
        self.waiting.iter().min_by_key(|(_, parcels)| parcels.front().map(|(_, parcel)| parcel.number)).map(|(run, _)| run.clone())
    }

    /// Opens parcels until enough are open.
    async fn top_up(&mut self) -> Result<(), PortError> {
        self.open_events().await?;
        while let Some(run) = self.turn() {
            let Some(parcels) = self.waiting.get_mut(&run) else { continue };
            let opened = parcels.pop_front();
            if parcels.is_empty() {
                self.waiting.remove(&run);
            }
            let Some((key, parcel)) = opened else { continue };
            let wall = self.ports.clock.now().wall / 1_000_000;
            if !self.contexts.contains_key(&parcel.run) {
                match self.context(&parcel.run, wall).await? {
                    Found::Context(context) => drop(self.contexts.insert(parcel.run.clone(), Rc::new(*context))),
                    Found::NotNow => continue,
                    // Whoever asks for deliveries of a run that is over puts their parcels back before it says so.
                    Found::Over if parcel.again.is_some() => continue,
                    Found::Over | Found::Gone => {
                        self.ports.store.delete(&key, Expect::Any, wall).await?;
                        continue;
                    }
                }
            }
            if self.contexts[&parcel.run].is_stray(&parcel) {
                self.ports.store.delete(&key, Expect::Any, wall).await?;
                continue;
            }
            self.open(key, parcel).await?;
        }
        Ok(())
    }

    /// Opens a parcel, with what the log says of it.
    async fn open(&mut self, key: Key, parcel: Parcel) -> Result<(), PortError> {
        let (first, behind) = keys::segments_of(parcel.number);
        let partition = keys::run_partition(&self.job.lane.organization, &parcel.run);
        let wall = self.ports.clock.now().wall / 1_000_000;
        let stored = self.ports.store.list(&partition, &first..&behind, usize::MAX, wall).await?;
        let mut history = Vec::new();
        for document in stored {
            let segment = Segment::decode(&document.body).map_err(PortError::Failed)?;
            history.extend(segment.attempts.into_iter().map(|record| (segment.class, record)));
        }
        let slot = self.pump.add(key, parcel, &history, self.ports.clock.now());
        if self.pump.is_done(slot) {
            self.ended.push(slot);
        }
        Ok(())
    }

    async fn context(&self, run: &str, now: u64) -> Result<Found, PortError> {
        let organization = &self.job.lane.organization;
        let Some((run, _)) = document::read(self.ports.store, organization, run, now).await? else { return Ok(Found::Gone) };
        if run.has_ended() {
            return Ok(Found::Over);
        }
        if run.status != document::Status::Delivering || run.cancel_asked {
            return Ok(Found::NotNow);
        }
        let shape = document::read_shape(self.ports.store, organization, &run, now).await?;
        let compiled = Compiled::new(shape).map_err(|e| PortError::Failed(format!("what {} pinned cannot be used: {e}", run.id)))?;
        let started_at = run.started_at_text();
        let (export, names, begun_at) = (run.export.to_string(), run.field_names, run.begun_at);
        Ok(Found::Context(Box::new(Context { export, names, started_at, begun_at, compiled })))
    }

    async fn load(&mut self, slot: Slot) -> Result<(), PortError> {
        let parcel = self.pump.parcel(slot);
        let Holds::Rows { object, offset, length } = &parcel.holds else {
            return Err(PortError::Failed(format!("{} has no rows", parcel.run)));
        };
        let block = self.ports.objects.get(object, Some(*offset..offset + length)).await?;
        let deliveries = block::unpack(&block).map_err(PortError::Failed)?;
        if deliveries.len() != parcel.deliveries as usize {
            return Err(PortError::Failed(format!(
                "parcel {} of {} holds another number of deliveries than it should",
                parcel.number, parcel.run
            )));
        }
        self.rows.insert(slot, Rc::new(deliveries));
        self.pump.loaded(slot);
        Ok(())
    }

    /// What is to be recorded now, if anything is due (or all of it, when nothing else is left to do).
    fn batch_to_record(&mut self, now: Now, idle: bool) -> Option<Batch> {
        if let Some(trouble) = &mut self.unrecorded {
            return if trouble.again_at <= now.mono { trouble.batch.take() } else { None };
        }
        let due = self.log.due().is_some_and(|due| due <= now.mono) || (idle && !self.log.is_empty());
        if !due && (self.ended.is_empty() || !self.log.is_empty()) {
            return None;
        }
        let done = std::mem::take(&mut self.ended)
            .into_iter()
            .filter_map(|slot| {
                self.rows.remove(&slot);
                self.events.forget(slot);
                self.pump.remove(slot).map(|(key, parcel)| (slot, key, parcel))
            })
            .collect();
        let book = Book { lane: self.job.lane, generation: self.pump.lease.generation() };
        Some(self.log.take(book, done))
    }

    fn recording_due(&self) -> Option<u64> {
        match &self.unrecorded {
            Some(trouble) => Some(trouble.again_at),
            None => self.log.due(),
        }
    }

    fn recorded(&mut self, result: Result<Vec<String>, PortError>, batch: Batch) -> Result<(), PortError> {
        let tries = self.unrecorded.take().map_or(0, |trouble| trouble.tries);
        let error = match result {
            Ok(complete) => {
                complete.iter().filter(|run| !self.draining.contains(*run)).for_each(|run| self.watch.completed(self.job.lane, run));
                return Ok(());
            }
            Err(error) => error,
        };
        if tries + 1 >= RECORD_TRIES {
            return Err(error);
        }
        let again_at = self.ports.clock.now().mono + (FIRST_RETRY << tries);
        self.unrecorded = Some(Trouble { batch: Some(batch), tries: tries + 1, again_at });
        Ok(())
    }

    fn beat(&mut self, begun: Now) -> Pending<'a, Beaten> {
        let tokens = self.pump.document(begun, Leaving::Not);
        let (store, lane, version, canary) = (self.ports.store, self.job.lane, self.version, self.job.canary);
        Box::pin(async move {
            let beat = owner::beat(store, lane, &tokens, version, begun.wall, canary).await;
            // Whether that could be read or not, the lease stands; the next heartbeat asks again.
            let paused = pause::read(store, lane, begun.wall / 1_000_000).await.is_ok_and(|pause| pause.is_some());
            (beat, begun, paused)
        })
    }

    /// The monotonic time before which nothing can be sent, if that is worth leaving for.
    fn rests_until(&mut self, now: Now) -> Option<u64> {
        let linger = self.job.thrift.linger?;
        self.pump.rests_until(now).filter(|at| *at > now.mono + linger)
    }

    /// Nothing can be sent until `next` (wall clock; `None`: nothing is left): true if the lane can be left, false if there is new work.
    async fn leave(&mut self, next: Option<u64>) -> Result<bool, PortError> {
        let (store, lane) = (self.ports.store, self.job.lane);
        let wall = self.ports.clock.now().wall / 1_000_000;
        let heard = bell::hear(store, lane, wall).await?;
        if self.look().await? > 0 {
            self.top_up().await?;
            if self.pump.fresh_parcels() + self.pump.fresh_events() > 0 || self.pump.next_retry().is_some() || !self.ended.is_empty() {
                return Ok(false);
            }
        }
        bell::leave(store, lane, &heard, next, wall).await
    }

    async fn release(&mut self, end: &End) -> Result<(), PortError> {
        let leaving = if matches!(end, End::Resting { .. }) { Leaving::ToGoOn } else { Leaving::ToBegin };
        let now = self.ports.clock.now();
        self.pulse_at = 0;
        self.pulse(now);
        let tokens = self.pump.document(now, leaving);
        owner::beat(self.ports.store, self.job.lane, &tokens, self.version, now.wall, self.job.canary).await;
        Ok(())
    }
}
