//! `penstock run`: what an earlier run left is finished, then the exports are planned anew and delivered.

use crate::args::{Global, RunArgs};
use crate::failure::{CANCELED, FAILED, Failure, HELD, INCOMPLETE};
use crate::interrupt::Interrupt;
use crate::look;
use crate::plan_file;
use crate::progress::Progress;
use crate::site::{self, Site};
use crate::summary;
use engine::deliver::Ports;
use engine::deliver::command::stop_when;
use engine::deliver::drive::{End, Job, Thrift, drive};
use engine::keys::LaneName;
use engine::lane::lease::Predecessor;
use engine::model::export::Export;
use engine::model::name::Name;
use engine::port::{Clock, PortError};
use engine::run::document::{self, Run, Status, Wish};
use engine::run::finish::{Because, finish};
use engine::run::request::{self, Ask, Asked, Refused};
use engine::run::{begin, claim, progress, state, work};
use planning::{self, Begun, Deltas};
use process::chance::{self, Chance};
use std::collections::{BTreeMap, BTreeSet};

/// Runs the exports one after the other, or side by side where their destinations differ.
pub async fn run(global: &Global, args: &RunArgs) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    let names = distinct(&args.exports);
    let exports: Vec<&Export> = names.iter().map(|name| site.export(name)).collect::<Result<_, _>>()?;
    let header = match &args.plan {
        Some(_) if exports.len() > 1 => return Err(Failure::usage("--plan executes the plan of one export: name just that one")),
        Some(path) => Some(plan_file::read_header(path, exports[0])?),
        None => None,
    };
    site::allowed_ranges(global)?;
    let _lock = site.lock()?;
    let progress = Progress::new(!global.quiet && !global.json);
    let interrupt = Interrupt::listen().map_err(Failure::new)?;
    let runner = Runner { global, site: &site, progress: &progress, interrupt: &interrupt };
    let resumed = runner.resume(&exports).await?;
    let mut ended = Vec::new();
    let mut planned = Vec::new();
    if resumed.canceled {
        ended.extend(resumed.runs);
    } else {
        // A program gets one object for each export; a person wants to see what was finished, too.
        for run in resumed.runs.iter().filter(|_| !global.json) {
            progress.done();
            summary::print(global, &site, run, None, look::first_error(&site, run).await?.as_deref());
        }
        for export in exports {
            match runner.begin(export, args, header.as_ref()).await? {
                Begun::Held(run) => ended.push(run),
                Begun::Delivering(run, _) => planned.push(run),
            }
        }
        ended.extend(runner.deliver(planned).await?.runs);
    }
    progress.done();
    let mut status = 0;
    for run in &ended {
        let before = resumed.ids.get(&run.export).map(String::as_str);
        summary::print(global, &site, run, before, look::first_error(&site, run).await?.as_deref());
        status = worse(status, exit_status(run));
    }
    if let Err(error) = site.forget_old().await {
        // What was asked for is done; the next run tries again.
        progress.say(&format!("what is no longer kept could not be deleted: {}", error.message));
    }
    Ok(status)
}

/// The exit status that a run's status asks for.
pub fn exit_status(run: &Run) -> u8 {
    match run.status {
        Status::Succeeded => 0,
        Status::CompletedWithErrors => INCOMPLETE,
        Status::Held => HELD,
        Status::Canceled => CANCELED,
        Status::Failed | Status::Planning | Status::Delivering => FAILED,
    }
}

/// Of several runs the one that most wants a person's attention decides.
fn worse(a: u8, b: u8) -> u8 {
    const ORDER: [u8; 5] = [CANCELED, FAILED, HELD, INCOMPLETE, 0];
    ORDER.into_iter().find(|status| *status == a || *status == b).unwrap_or(FAILED)
}

fn distinct(names: &[String]) -> Vec<String> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(name) {
            seen.push(name.clone());
        }
    }
    seen
}

/// What delivers runs of this site.
pub struct Runner<'a> {
    /// What the command line allows.
    pub global: &'a Global,
    /// The site.
    pub site: &'a Site,
    /// What a person sees.
    pub progress: &'a Progress,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
}

/// Runs that have ended.
pub struct Ended {
    /// As they stand.
    pub runs: Vec<Run>,
    /// Whether a person stopped them.
    pub canceled: bool,
    /// The runs' ids by export.
    pub ids: BTreeMap<Name, String>,
}

impl Runner<'_> {
    /// Finishes what an earlier process left of these exports: same plan, same keys (semantics.md 8).
    async fn resume(&self, exports: &[&Export]) -> Result<Ended, Failure> {
        let (store, organization) = (&self.site.store, self.site.organization());
        let mut left = Vec::new();
        let mut ids = BTreeMap::new();
        let noted = work::list(store, self.site.clock.seconds()).await?;
        for work in noted.iter().filter(|work| work.organization == *organization) {
            if work::step(store, work, self.site.clock.now().wall).await? == work::Step::Over {
                claim::clear(store, work, self.site.clock.seconds()).await?;
            }
        }
        for export in exports {
            let now = self.site.clock.seconds();
            let state = state::read(store, organization, &export.id, now).await?.state;
            let of_export = noted.iter().filter(|work| work.organization == *organization && work.export == export.id);
            let unfinished: BTreeSet<String> = of_export.map(|work| work.run.clone()).chain(state.current).collect();
            for id in unfinished {
                match document::read(store, organization, &id, now).await? {
                    Some((run, _)) if run.status == Status::Delivering => {
                        ids.insert(export.id.clone(), id);
                        left.push(run);
                    }
                    // A server plans what is only to be looked at.
                    Some((run, _)) if run.wish.plan_only && run.status == Status::Planning => {}
                    found => self.clear(export, &id, found).await?,
                }
            }
        }
        if left.is_empty() {
            return Ok(Ended { runs: Vec::new(), canceled: false, ids });
        }
        for run in &left {
            if !self.site.loaded.project.destinations.contains_key(&run.destination) {
                return Err(Failure::new(format!(
                    "{} of export {} is not finished, but its destination `{}` is no longer in the project: put it back and run again",
                    run.id, run.export, run.destination
                )));
            }
        }
        let ended = self.deliver(left).await?;
        Ok(Ended { ids, ..ended })
    }

    /// Takes away what a run left that was cut short while it was planned, approved or asked for again: nothing of it was sent, nothing of it
    /// is owed.
    async fn clear(&self, export: &Export, id: &str, found: Option<(Run, u64)>) -> Result<(), Failure> {
        let (store, organization, now) = (&self.site.store, self.site.organization(), self.site.clock.seconds());
        if let Some((run, _)) = &found {
            begin::withdraw(store, &self.site.lane(&run.destination), id, u64::MAX, now).await?;
        }
        if let Some(run) = found.clone().filter(|(run, _)| run.status == Status::Planning) {
            let reason = "cut short while it was planned; nothing was sent".to_string();
            request::end(store, organization, run, Status::Failed, reason, self.site.clock.now().wall).await?;
        }
        let found = found.map(|(run, _)| run);
        let state = state::read(store, organization, &export.id, now).await?.state;
        claim::let_go(store, organization, (&export.id, id), found.as_ref(), &state, now).await?;
        work::done(store, organization, id, now).await?;
        Ok(())
    }

    /// Plans an export and puts the plan to work, unless a guard holds it.
    async fn begin(&self, export: &Export, args: &RunArgs, header: Option<&plan_file::Header>) -> Result<Begun, Failure> {
        let (store, organization) = (&self.site.store, self.site.organization());
        let wall = self.site.clock.now().wall;
        let run = header.map_or_else(|| chance::fresh_name("run", wall), |header| header.run.clone());
        if header.is_some() && document::read(store, organization, &run, self.site.clock.seconds()).await?.is_some() {
            return Err(Failure::new(format!("this plan was executed already, as {run}: make a new one")));
        }
        let full = args.full || header.is_some_and(|header| header.full);
        let wish = Wish { approve: args.approve, adopt: args.adopt, full, ..Wish::default() };
        let (export_id, destination) = (&export.id, &export.destination);
        let ask = Ask { organization, export: export_id, destination, run: &run, wish, hash_seed: chance::random() };
        let asked = match request::start(store, ask, wall).await? {
            Ok(asked) => asked,
            Err(Refused::Busy(other)) => return Err(Failure::new(format!("{other} of export {export_id} is not finished"))),
            Err(refused) => return Err(Failure::new(format!("{run} cannot begin: {refused:?}"))),
        };
        let begun = self.begin_asked(export, header, asked.clone()).await;
        if let Err(failure) = &begun {
            // Where not even this can be written (a full disk), the next run finds the rest.
            let wall = self.site.clock.now().wall;
            let _ = match header {
                // What a plan file says may hold again later, under the same keys.
                Some(_) => request::take_back(store, organization, &asked.run, wall / 1_000_000).await,
                None => self.fail(&asked.run, &failure.message, wall).await,
            };
        }
        begun
    }

    /// A run that could not begin has failed, with the reason.
    async fn fail(&self, run: &Run, reason: &str, wall: u64) -> Result<(), PortError> {
        let (store, organization) = (&self.site.store, self.site.organization());
        let there = document::read(store, organization, &run.id, wall / 1_000_000).await?;
        let Some((_, version)) = there.filter(|(there, _)| there.status == Status::Planning) else { return Ok(()) };
        request::end(store, organization, (run.clone(), version), Status::Failed, reason.to_string(), wall).await.map(drop)
    }

    async fn begin_asked(&self, export: &Export, header: Option<&plan_file::Header>, asked: Asked) -> Result<Begun, Failure> {
        let scratch = self.site.scratch()?;
        let ground = self.site.ground(&scratch);
        let Asked { mut run, version, state } = asked;
        // A plan names the snapshot's files, so they stay as they are until it is executed.
        let state = if header.is_some() { state } else { planning::compact(ground, export, state).await? };
        run.started_at = header.map_or(run.started_at, |header| header.started_at);
        let reading = self.progress.reading(export.model.as_str());
        let planned = planning::plan(ground, export, &state, run, &reading).await?;
        if let Some(header) = header {
            header.check(planned.rows, planned.checksum, &planned.run.snapshot, &planned.run.shape_version).map_err(Failure::new)?;
        }
        if planned.removals_wait {
            self.progress.say("removals wait for the next clean run: the key of an invalid row cannot be read");
        }
        if planned.run.status != Status::Held {
            self.interrupt.begin_delivering();
        }
        let id = planned.run.id.clone();
        let begun = planning::carry_out(ground, version, planned).await?;
        begun.ok_or_else(|| Failure::new(format!("{id} was canceled while it was planned; nothing was sent")))
    }

    /// Delivers runs, lanes side by side, and finishes them.
    pub async fn deliver(&self, runs: Vec<Run>) -> Result<Ended, Failure> {
        let mut lanes: BTreeMap<LaneName, Vec<Run>> = BTreeMap::new();
        for run in runs {
            lanes.entry(self.site.lane(&run.destination)).or_default().push(run);
        }
        self.progress.delivering(lanes.values().flatten().map(|run| run.totals.rows()).sum());
        self.interrupt.begin_delivering();
        let working = lanes.into_iter().map(|(lane, runs)| self.work_off(lane, runs));
        let results = futures_util::future::join_all(working).await;
        let mut ended = Ended { runs: Vec::new(), canceled: false, ids: BTreeMap::new() };
        for result in results {
            let (runs, canceled) = result?;
            ended.runs.extend(runs);
            ended.canceled |= canceled;
        }
        Ok(ended)
    }

    async fn work_off(&self, lane: LaneName, runs: Vec<Run>) -> Result<(Vec<Run>, bool), Failure> {
        let Site { store, objects, clock, .. } = self.site;
        let destination = &self.site.loaded.project.destinations[&lane.destination];
        let mut chance = Chance::new();
        let owner = chance::fresh_name("own", clock.now().wall);
        let job = Job {
            lane: &lane,
            destination,
            owner: &owner,
            predecessor: Predecessor::Dead,
            thrift: Thrift::MACHINE,
            ends_when_dead: true,
            canary: None,
        };
        let transport = &site::transport(self.global, destination)?;
        let ports = Ports { store, objects, transport, clock };
        let stop = stop_when(self.interrupt.clone().asked());
        let because = match drive(ports, job, self.progress, &mut || chance.draw(), stop).await? {
            End::Empty => Because::Done,
            End::Resting { .. } => unreachable!("a process of one's own waits"),
            End::Stopped => Because::Canceled,
            End::Dead => Because::Dead,
            End::Paused => {
                return Err(Failure::new(format!("destination {} is paused: resume it, then run again", lane.destination)));
            }
            End::Held { owner, .. } => return Err(Failure::new(format!("the lane of {} is held by {owner}", lane.destination))),
            End::Lost => {
                return Err(Failure::new(format!(
                    "the lease of {} was lost (this process stood still for too long): run again, what was delivered counts",
                    lane.destination
                )));
            }
        };
        let scratch = self.site.scratch()?;
        let deltas = Deltas { file: scratch.join(format!("{}.delta.parquet", lane.destination)), scratch };
        let mut ended = Vec::with_capacity(runs.len());
        for run in runs {
            let organization = &lane.organization;
            // Whoever goes on after a second Ctrl-C, or a kill, must see that it is over.
            match because {
                Because::Canceled => drop(request::cancel(store, organization, &run.id, clock.now().wall).await?),
                Because::Dead => {
                    let all: Vec<u32> = (0..run.parcels).collect();
                    progress::mark(store, &lane, &run.id, &all, clock.seconds()).await?;
                }
                Because::Done | Because::Told => {}
            }
            if because != Because::Done || run.cancel_asked {
                begin::withdraw(store, &lane, &run.id, u64::MAX, clock.seconds()).await?;
            }
            ended.push(finish(store, objects, &lane, (&run.export, &run.id), because.clone(), &deltas, clock.now().wall).await?);
        }
        Ok((ended, because == Because::Canceled))
    }
}
