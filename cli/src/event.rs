//! `penstock event`: events are handed in, to a server or here. Here what rules owe for them is sent at once, with what an earlier
//! process left of other events.

use crate::args::{EventArgs, Global};
use crate::failure::{CANCELED, Failure, INCOMPLETE};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::remote;
use crate::site::{self, Site};
use crate::summary::quantity;
use engine::deliver::command::stop_when;
use engine::deliver::drive::{End, Job, Thrift, drive};
use engine::deliver::{Attempted, Ports, Watch};
use engine::event::line;
use engine::event::take::{Taken, take};
use engine::judge::Class;
use engine::keys::LaneName;
use engine::lane::backlog;
use engine::lane::lease::Predecessor;
use engine::lane::pump::Waiting;
use engine::model::project::Problem;
use engine::port::Clock;
use process::chance::{self, Chance};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::Read;
use std::path::Path;

/// So many events are handed over by one call: they are 64 KiB long at most, and a call 8 MiB.
const LINES_AT_ONCE: usize = 100;
/// More than this is not read.
const LONGEST_FILE: u64 = 1 << 30;

/// Hands in events.
pub async fn event(global: &Global, args: &EventArgs) -> Result<u8, Failure> {
    let body = read(&args.file)?;
    match &args.url {
        Some(url) => hand_over(global, args, url, &body).await,
        None => here(global, &body).await,
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let wrong = |e: std::io::Error| Failure::usage(format!("{} cannot be read: {e}", file.display()));
    let mut body = Vec::new();
    match file.as_os_str() == "-" {
        true => std::io::stdin().take(LONGEST_FILE).read_to_end(&mut body).map_err(wrong)?,
        false => std::fs::File::open(file).map_err(wrong)?.take(LONGEST_FILE).read_to_end(&mut body).map_err(wrong)?,
    };
    if body.len() as u64 == LONGEST_FILE {
        return Err(Failure::usage(format!("{} is longer than 1 GiB: split it", file.display())));
    }
    Ok(body)
}

/// The lines in pieces that one call takes; one object that goes over several lines is one piece.
fn pieces(body: &[u8]) -> Vec<Vec<u8>> {
    if serde_json::from_slice::<serde_json::Map<String, Value>>(body).is_ok() {
        return vec![body.to_vec()];
    }
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    lines.chunks(LINES_AT_ONCE).map(|lines| lines.join(&b'\n')).collect()
}

async fn hand_over(global: &Global, args: &EventArgs, url: &url::Url, body: &[u8]) -> Result<u8, Failure> {
    let token = remote::token(global, args.token_file.as_deref())?;
    let (mut events, mut duplicates, mut deliveries) = (0, 0, 0);
    for piece in pieces(body) {
        let answer = remote::post(url, "/v1/events", &token, "application/x-ndjson", compact(piece)).await?;
        events += answer["events"].as_u64().unwrap_or(0);
        duplicates += answer["duplicates"].as_u64().unwrap_or(0);
        deliveries += answer["deliveries"].as_u64().unwrap_or(0);
    }
    match global.json {
        true => say!("{}", json!({"events": events, "duplicates": duplicates, "deliveries": {"owed": deliveries}})),
        false => say!(
            "{url} took {}, {} of them before; {} owed",
            quantity(events + duplicates, "event"),
            duplicates,
            quantity(deliveries, "delivery")
        ),
    }
    Ok(0)
}

/// An object that goes over several lines on one.
fn compact(piece: Vec<u8>) -> Vec<u8> {
    match serde_json::from_slice::<serde_json::Map<String, Value>>(&piece) {
        Ok(object) => Value::Object(object).to_string().into_bytes(),
        Err(_) => piece,
    }
}

async fn here(global: &Global, body: &[u8]) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    site::allowed_ranges(global)?;
    let project = &site.loaded.project;
    if !body.trim_ascii().is_empty() {
        // All is looked through before anything is taken.
        line::read(body, &project.event_types, site.clock.now().wall, usize::MAX).map_err(refused)?;
    }
    let _lock = site.lock()?;
    let interrupt = Interrupt::listen().map_err(Failure::new)?;
    let progress = Progress::new(!global.quiet && !global.json);
    let mut all = Taken::default();
    for piece in pieces(body) {
        let taken = take(&site.store, project, &piece, site.clock.now().wall).await?.map_err(refused)?;
        all.events += taken.events;
        all.duplicates += taken.duplicates;
        all.deliveries += taken.deliveries;
        taken
            .unasked
            .iter()
            .for_each(|one| progress.say(&format!("rule {} could not be asked about event {}: {}", one.rule, one.event, one.reason)));
    }
    let delivered = deliver(global, &site, &progress, &interrupt, all.deliveries).await?;
    show(global, &all, &delivered);
    if let Err(error) = site.forget_old().await {
        progress.say(&format!("what is no longer kept could not be deleted: {}", error.message));
    }
    Ok(delivered.status())
}

/// What became of what was owed for events.
pub struct Delivered {
    counts: Counts,
    pending: u64,
    canceled: bool,
}

impl Delivered {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match (self.canceled, self.counts.failed + self.pending) {
            (true, _) => CANCELED,
            (false, 0) => 0,
            (false, _) => INCOMPLETE,
        }
    }

    /// For a program.
    pub fn to_json(&self) -> Value {
        json!({"succeeded": self.counts.succeeded, "failed": self.counts.failed, "pending": self.pending})
    }

    /// For a person.
    pub fn sentence(&self) -> String {
        let sentence = format!("{} delivered, {} failed, {} pending", self.counts.succeeded, self.counts.failed, self.pending);
        match &self.counts.error {
            Some(error) => format!("{sentence}\n  {error}"),
            None => sentence,
        }
    }
}

/// Sends what is owed for events, lanes side by side. The caller holds the lock on the data directory.
pub async fn deliver(
    global: &Global,
    site: &Site,
    progress: &Progress,
    interrupt: &Interrupt,
    expected: u64,
) -> Result<Delivered, Failure> {
    let mut lanes = Vec::new();
    for destination in site.loaded.project.destinations.keys() {
        let lane = site.lane(destination);
        if owed(site, &lane).await? > 0 {
            lanes.push(lane);
        }
    }
    progress.delivering(expected);
    interrupt.begin_delivering();
    let tally = Tally { progress, counts: RefCell::default() };
    let results = futures_util::future::join_all(lanes.iter().map(|lane| work_off(global, site, lane, &tally, interrupt))).await;
    progress.done();
    let (mut canceled, mut pending) = (false, 0);
    for result in results {
        canceled |= result?;
    }
    for lane in &lanes {
        pending += owed(site, lane).await?;
    }
    Ok(Delivered { counts: tally.counts.take(), pending, canceled })
}

fn refused(problems: Vec<Problem>) -> Failure {
    let told = problems.iter().map(|problem| match problem.path.is_empty() {
        true => problem.message.clone(),
        false => format!("{}: {}", problem.path, problem.message),
    });
    Failure::usage(format!("no event was taken: {}", told.collect::<Vec<_>>().join("\n  ")))
}

/// How many deliveries are owed for events on a lane.
async fn owed(site: &Site, lane: &LaneName) -> Result<u64, Failure> {
    let parcels = backlog::read(&site.store, lane, site.clock.seconds()).await?;
    Ok(parcels.iter().filter(|(_, parcel)| parcel.rule().is_some()).count() as u64)
}

/// True: a person stopped it.
async fn work_off(global: &Global, site: &Site, lane: &LaneName, tally: &Tally<'_>, interrupt: &Interrupt) -> Result<bool, Failure> {
    let destination = &site.loaded.project.destinations[&lane.destination];
    let mut chance = Chance::new();
    let owner = chance::fresh_name("own", site.clock.now().wall);
    let job = Job {
        lane,
        destination,
        owner: &owner,
        predecessor: Predecessor::Dead,
        thrift: Thrift::MACHINE,
        ends_when_dead: true,
        canary: None,
    };
    let transport = &site::transport(global, destination)?;
    let ports = Ports { store: &site.store, objects: &site.objects, transport, clock: &site.clock };
    let stop = stop_when(interrupt.clone().asked());
    match drive(ports, job, tally, &mut || chance.draw(), stop).await? {
        End::Stopped => Ok(true),
        End::Empty | End::Dead | End::Paused => Ok(false),
        End::Resting { .. } => unreachable!("a process of one's own waits"),
        End::Held { owner, .. } => Err(Failure::new(format!("the lane of {} is held by {owner}", lane.destination))),
        End::Lost => Err(Failure::new(format!("the lease of {} was lost: run again, what was delivered counts", lane.destination))),
    }
}

/// What became of deliveries.
#[derive(Default)]
struct Counts {
    succeeded: u64,
    failed: u64,
    attempts: u64,
    error: Option<String>,
}

/// Counts what becomes of events' deliveries, and passes on what is watched.
struct Tally<'a> {
    progress: &'a Progress,
    counts: RefCell<Counts>,
}

impl Watch for Tally<'_> {
    fn attempted(&self, attempted: &Attempted<'_>) {
        if attempted.rule.is_some() {
            let mut counts = self.counts.borrow_mut();
            counts.attempts += 1;
            match attempted.class {
                Class::Success => counts.succeeded += 1,
                _ if attempted.last => counts.failed += 1,
                _ => {}
            }
            if let Some(error) = attempted.error {
                counts.error = Some(format!("{} of rule {}: {error}", attempted.delivery, attempted.rule.map_or("", |rule| rule.as_str())));
            }
        }
        self.progress.attempted(attempted);
    }

    fn waits(&self, lane: &LaneName, waiting: Option<Waiting>) {
        self.progress.waits(lane, waiting);
    }
}

fn show(global: &Global, taken: &Taken, delivered: &Delivered) {
    let Taken { events, duplicates, .. } = taken;
    let attempts = delivered.counts.attempts;
    match global.json {
        true => say!("{}", json!({"events": events, "duplicates": duplicates, "deliveries": delivered.to_json(), "attempts": attempts})),
        false => say!("{} taken, {duplicates} known before; {}", quantity(*events, "event"), delivered.sentence()),
    }
}
