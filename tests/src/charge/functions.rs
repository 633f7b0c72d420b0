//! The functions, as `functions/deliver` and `functions/plan` have them, on the ports that bill. They follow those line by line where a call
//! is made: what is not here is not billed. They must not decide anything.

use super::latency;
use super::ports::Ports as Billed;
use super::workload::{Answers, Run, changes};
use crate::simulation::world::World;
use backend_aws::meter::{Units, requests_of};
use engine::catalog;
use engine::deliver::attach::Attachments;
use engine::deliver::command::stop_when;
use engine::deliver::drive::{End, Job, Thrift, drive};
use engine::deliver::ear::{self, Known};
use engine::deliver::{Attempted, Ports, Watch};
use engine::keys::LaneName;
use engine::lane::bell;
use engine::lane::lease::Predecessor;
use engine::lane::pump::Waiting;
use engine::model::change::DeltaRow;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::plan::cut::{Cutter, Options};
use engine::plan::estimate::{self, Load, OnStack, SPREAD_SECONDS, on_stack};
use engine::port::{Clock, Exchange, Message, Outgoing, PortError, Response, Transport};
use engine::run::begin::begin;
use engine::run::document::{self, Wish};
use engine::run::finish::{Because, WriteDelta, finish};
use engine::run::request::{Ask, start};
use engine::run::{state, work};
use engine::shape::{Compiled, Shape};
use engine::ticket::{LONGEST_DELAY_SECONDS, Task, Ticket, announce};
use futures_util::stream;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::rc::Rc;

/// As in infra/template.yaml: memory in MB, messages of a batch, seconds of a call.
pub(super) const DELIVER_MEMORY: u64 = 512;
pub(super) const PLAN_MEMORY: u64 = 2048;
const BATCH: usize = 10;
const DELIVER_SECONDS: u64 = 900;
/// As in functions/deliver/src/lane.rs.
const MARGIN: u64 = 5_000_000;
const TURN: u64 = 60_000_000;
/// As in functions/plan/src/task.rs, microseconds.
const HOLD: u64 = 30_000_000;
/// Rows that are read, compared and cut in a second by one virtual processor, and that are finished: lower than docs/performance.md has
/// them.
const ROWS_A_SECOND: u64 = 250_000;

/// A stack at work.
pub(super) struct House {
    pub(super) billed: Billed,
    pub(super) project: Project,
    pub(super) answers: Answers,
    pub(super) folder: tempfile::TempDir,
    /// Bodies of messages for `deliver` that can be received.
    tickets: RefCell<VecDeque<String>>,
    receives: Cell<bool>,
    names: Cell<u64>,
    pub(super) sent: Cell<u64>,
    pub(super) estimate: Cell<f64>,
    pub(super) estimated_writes: Cell<f64>,
    pub(super) finished: Cell<u64>,
}

impl House {
    pub(super) fn new(billed: Billed, project: Project, answers: Answers) -> House {
        House {
            billed,
            project,
            answers,
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            tickets: RefCell::default(),
            receives: Cell::new(false),
            names: Cell::new(0),
            sent: Cell::new(0),
            estimate: Cell::new(0.0),
            estimated_writes: Cell::new(0.0),
            finished: Cell::new(0),
        }
    }

    fn world(&self) -> &Rc<World> {
        &self.billed.world
    }

    pub(super) fn organization(&self) -> &Name {
        &self.project.organization.id
    }

    fn sqs(&self, operation: &str, bytes: usize) {
        let units = Units { sqs_requests: requests_of(bytes as u64), ..Units::default() };
        self.billed.far.meter().add("SQS", operation, units);
    }

    /// Sends messages ten a call.
    async fn send(&self, messages: &[Message]) {
        for batch in messages.chunks(BATCH) {
            self.sqs("SendMessageBatch", batch.iter().map(|message| message.body.len()).sum());
            self.world().sleep(latency::SQS).await;
        }
    }

    /// Tickets: each can be received when its delay is over.
    async fn tickets(self: &Rc<Self>, messages: Vec<Message>) {
        self.send(&messages).await;
        for message in messages {
            let house = Rc::clone(self);
            let wait = u64::from(message.delay_seconds) * 1_000_000 + latency::SQS;
            self.world().after(wait, move |world| {
                house.tickets.borrow_mut().push_back(message.body);
                if !house.receives.replace(true) {
                    let house = Rc::clone(&house);
                    world.after(latency::SQS, move |_| house.receive());
                }
            });
        }
    }

    /// What Lambda's pollers do: batches of ten, each a call of `deliver`.
    fn receive(self: &Rc<Self>) {
        self.receives.set(false);
        loop {
            let batch: Vec<String> = {
                let mut tickets = self.tickets.borrow_mut();
                let count = tickets.len().min(BATCH);
                tickets.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            self.sqs("ReceiveMessage", batch.iter().map(String::len).sum());
            let house = Rc::clone(self);
            self.world().spawn(async move {
                let began = house.world().now();
                deliver(&house, &batch).await;
                house.called("deliver", house.world().now() - began, DELIVER_MEMORY);
                house.sqs("DeleteMessageBatch", 0);
            });
        }
    }

    /// A call of a function that worked for so many microseconds.
    pub(super) fn called(&self, function: &str, worked: u64, memory: u64) {
        let millis = (worked + latency::CALL).div_ceil(1000);
        let units = Units { function_calls: 1, function_mb_milliseconds: millis * memory, ..Units::default() };
        self.billed.far.meter().add("Lambda", function, units);
    }

    fn fresh_name(&self, prefix: &str) -> String {
        self.names.set(self.names.get() + 1);
        // As long as `process::chance::fresh_name` makes them.
        format!("{prefix}_{:026}", self.names.get())
    }

    /// What `Stack::project` reads where nothing has changed.
    async fn definitions(&self) {
        let now = self.billed.now().wall / 1_000_000;
        catalog::changes(&self.billed, self.organization(), now).await.expect("nothing fails");
    }
}

/// `functions/deliver/src/handler.rs`
async fn deliver(house: &Rc<House>, batch: &[String]) {
    let mut lanes: BTreeMap<LaneName, u32> = BTreeMap::new();
    for body in batch {
        let ticket = Ticket::parse(body).expect("it is a ticket");
        *lanes.entry(ticket.lane).or_default() += 1;
    }
    let deadline = house.billed.now().mono + DELIVER_SECONDS * 1_000_000;
    let done = RefCell::new(Vec::new());
    let works = lanes.keys().map(|lane| work_off(house, lane, deadline, &done));
    futures_util::future::join_all(works).await;
    for (lane, run) in done.take() {
        let task = Task::Finish { organization: lane.organization, destination: lane.destination, run };
        house.send(&[task.message()]).await;
        let house = Rc::clone(house);
        house.world().spawn({
            let house = Rc::clone(&house);
            async move { task_of(&house, &task, None).await }
        });
    }
}

/// `functions/deliver/src/lane.rs`
async fn work_off(house: &Rc<House>, lane: &LaneName, deadline: u64, done: &RefCell<Vec<(LaneName, String)>>) {
    let billed = &house.billed;
    let watch = Told { done };
    let mut again = false;
    let turn = billed.now().mono + TURN;
    loop {
        let wall = billed.now().wall;
        let count = bell::hear(billed, lane, wall / 1_000_000).await.expect("nothing fails").bell.count;
        let changes = catalog::changes(billed, &lane.organization, wall / 1_000_000).await.expect("nothing fails");
        house.definitions().await;
        if again {
            ear::answer(billed, lane, count, billed.now().wall).await.expect("nothing fails");
        }
        let mut destination = house.project.destinations[&lane.destination].clone();
        for limit in destination.rate_limits.iter_mut().filter(|limit| limit.window_seconds >= 60) {
            limit.spread_seconds.get_or_insert(SPREAD_SECONDS);
        }
        let last = deadline.saturating_sub(Attachments::of(&destination).timeout() + MARGIN).min(turn);
        if billed.now().mono >= last {
            house.tickets(vec![Ticket::of(lane).message(0)]).await;
            return;
        }
        let owner = house.fresh_name("own");
        let job = Job {
            lane,
            destination: &destination,
            owner: &owner,
            predecessor: Predecessor::Unknown,
            thrift: Thrift::STACK,
            ends_when_dead: false,
            canary: None,
        };
        let transport = Wire(Rc::clone(house));
        let ports = Ports { store: billed, objects: billed, transport: &transport, clock: billed };
        let commands = stream::select(ear::listen(billed, billed, lane, Known { count, changes }), stop_when(billed.sleep_until(last)));
        match drive(ports, job, &watch, &mut || 0.5, commands).await.expect("nothing fails") {
            End::Stopped => again = true,
            End::Resting { due } => {
                let wait = due.saturating_sub(billed.now().wall).div_ceil(1_000_000);
                if wait <= LONGEST_DELAY_SECONDS {
                    house.tickets(vec![Ticket::of(lane).message(wait)]).await;
                }
                return;
            }
            End::Held { .. } | End::Lost | End::Empty | End::Paused | End::Dead => return,
        }
    }
}

struct Told<'a> {
    done: &'a RefCell<Vec<(LaneName, String)>>,
}

impl Watch for Told<'_> {
    fn attempted(&self, _: &Attempted<'_>) {}

    fn waits(&self, _: &LaneName, _: Option<Waiting>) {}

    fn completed(&self, lane: &LaneName, run: &str) {
        self.done.borrow_mut().push((lane.clone(), run.to_string()));
    }
}

/// The destination.
struct Wire(Rc<House>);

impl Transport for Wire {
    async fn send(&self, _: Outgoing) -> Exchange {
        let house = &self.0;
        let number = house.sent.get();
        house.sent.set(number + 1);
        house.world().sleep(house.answers.after).await;
        // Spread over all of them.
        let rejected = (number + 1) * house.answers.rejected_percent / 100 > number * house.answers.rejected_percent / 100;
        let (status, body) = match rejected {
            true => (422, r#"{"error":{"code":"invalid_email","message":"the value of email is no address"}}"#.to_string()),
            false => (200, format!(r#"{{"id":"{number:012x}"}}"#)),
        };
        let headers = [("content-type", "application/json"), ("date", "Thu, 26 Nov 2026 12:00:00 GMT"), ("server", "api")];
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_string())).to_vec();
        Exchange::Response(Response { status, headers, body: body.into_bytes(), truncated: false })
    }
}

/// A run that is asked for: by its schedule, say.
pub(super) async fn ask(house: &Rc<House>, run: Run) {
    let billed = &house.billed;
    let export = &house.project.exports[&run.export];
    let ask = Ask {
        organization: house.organization(),
        export: &run.export,
        destination: &export.destination,
        run: &run.id,
        wish: Wish::default(),
        hash_seed: 7,
    };
    let wall = billed.now().wall;
    start(billed, ask, wall).await.expect("nothing fails").expect("nobody has the export");
    let task = Task::Plan { organization: house.organization().clone(), export: run.export.clone(), run: run.id.clone(), asked_at: wall };
    house.send(&[task.message()]).await;
    task_of(house, &task, Some(run)).await;
}

/// `functions/plan/src/task.rs`
async fn task_of(house: &Rc<House>, task: &Task, planned: Option<Run>) {
    let (billed, organization) = (&house.billed, house.organization());
    let (Task::Plan { run: id, .. } | Task::Finish { run: id, .. }) = task else { return };
    house.sqs("ReceiveMessage", task.message().body.len());
    let began = house.world().now();
    let name = house.fresh_name("fn");
    work::hold(billed, organization, id, &name, billed.now().wall, HOLD).await.expect("nothing fails");
    let rows = match (task, planned) {
        (Task::Finish { destination, .. }, _) => finish_run(house, &LaneName::first(organization, destination), id).await,
        (_, Some(run)) => {
            let rows = run.rows;
            plan(house, run).await;
            rows
        }
        _ => 0,
    };
    house.world().sleep(rows * 1_000_000 / ROWS_A_SECOND).await;
    work::let_go(billed, organization, id, &name, true, billed.now().wall / 1_000_000).await.expect("nothing fails");
    house.called("plan", house.world().now() - began, PLAN_MEMORY);
    house.sqs("DeleteMessageBatch", 0);
    if matches!(task, Task::Finish { .. }) {
        house.finished.set(house.finished.get() + 1);
    }
}

/// `planning::begin_run` and what follows.
async fn plan(house: &Rc<House>, planned: Run) {
    let (billed, organization) = (&house.billed, house.organization());
    let now = billed.now().wall / 1_000_000;
    house.definitions().await;
    let (mut run, version) =
        document::read(billed, organization, &planned.id, now).await.expect("nothing fails").expect("it was asked for");
    let read = state::read(billed, organization, &planned.export, now).await.expect("nothing fails");
    for name in read.state.snapshot.iter().flatten() {
        let local = engine::port::Objects::local(billed, name).await;
        local.expect("what finishing wrote is there");
    }
    let export = &house.project.exports[&planned.export];
    let limits = &house.project.destinations[&export.destination].rate_limits;
    let shape = Shape::of(&house.project, export);
    let compiled = Compiled::new(shape.clone()).expect("the templates compile");
    let names = vec!["id".to_string(), "v".to_string()];
    (run.shape_version, run.mapping_version) = (shape.version(), shape.mapping_version());
    run.field_names.clone_from(&names);
    let started_at = run.started_at_text();
    let options = Options { run: &planned.id, started_at: &started_at, rate: estimate::rate(limits), parts: 1, settle_all: false };
    let file = house.folder.path().join(&planned.id);
    let out = BufWriter::new(File::create(&file).expect("a plan fits into the temporary folder"));
    let mut cutter = Cutter::new(&compiled, &names, options, out);
    changes(&planned).for_each(|change| cutter.push(change).expect("the disk is not full"));
    let (out, directory, totals) = cutter.finish().expect("the disk is not full");
    drop(out.into_inner().expect("the disk is not full"));
    run.parcels = directory.parcels.len() as u32;
    run.totals = totals;
    let load = Load {
        deliveries: run.totals.deliveries,
        parcels: u64::from(run.parcels),
        rows: run.totals.rows(),
        bytes: directory.parcels.iter().map(|place| place.length).sum(),
        limits,
        concurrency: house.project.destinations[&export.destination].concurrency,
    };
    let OnStack { usd, writes, .. } = on_stack(&load);
    house.estimate.set(house.estimate.get() + usd);
    house.estimated_writes.set(house.estimated_writes.get() + writes);
    let lane = LaneName::first(organization, &export.destination);
    let begun = begin(billed, billed, &lane, &mut run, version, &shape, &directory, &file, billed.now().wall).await;
    begun.expect("nothing fails");
    house.definitions().await;
    house.tickets(announce(&lane, &planned.id, &directory, limits)).await;
}

/// `planning::finish_run`. Gives how many rows it wrote.
async fn finish_run(house: &Rc<House>, lane: &LaneName, run: &str) -> u64 {
    let billed = &house.billed;
    let wall = billed.now().wall;
    let read = document::read(billed, &lane.organization, run, wall / 1_000_000).await.expect("nothing fails");
    let (asked, _) = read.expect("it is there");
    let deltas = Deltas(house.folder.path().to_path_buf());
    let run = finish(billed, billed, lane, (&asked.export, run), Because::Told, &deltas, wall).await.expect("nothing fails");
    run.rows.delivered + run.rows.rejected
}

/// As `planning::Deltas`.
struct Deltas(PathBuf);

impl WriteDelta for Deltas {
    fn write(&self, rows: &mut dyn Iterator<Item = Result<DeltaRow, PortError>>, names: &[String]) -> Result<Option<PathBuf>, PortError> {
        let Some(first) = rows.next() else { return Ok(None) };
        let to = self.0.join("delta.parquet");
        let rows = std::iter::once(first).chain(rows).map(|row| row.expect("the plan can be read"));
        rows::write_delta(rows, names, &to, &self.0).expect("the disk is not full");
        Ok(Some(to))
    }
}
