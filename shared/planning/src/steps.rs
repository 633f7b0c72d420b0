//! Taking a run that is under way one step further: from asked for to its backlog, and from delivered to its snapshot. Each step can be
//! repeated after whatever cut it short. It must not choose which run has its turn.

use crate::{Begun, Deltas, Ground, PlanError, Remote, carry_out, compact, plan, plan_joined, plan_part};
use engine::keys::LaneName;
use engine::model::export::Export;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::model::source::Model;
use engine::plan::layout::Directory;
use engine::port::{Clock, Expect, Objects, PortError, Store};
use engine::run::document::{self, Run, Status};
use engine::run::finish::{Because, finish};
use engine::run::parts::{self, Found, Split};
use engine::run::work::Part;
use engine::run::{begin, claim, request, state, work};
use process::{SystemClock, chance};
use rows::ErrorKind;
use std::path::Path;

/// So often a document that changes meanwhile is met again.
const TRIES: usize = 8;

/// Where runs are planned and finished, whatever organization they belong to.
pub struct Shop<'a, S, O> {
    /// The folder that relative paths of sources start from.
    pub folder: &'a Path,
    /// Gets at rows that lie elsewhere.
    pub remote: &'a dyn Remote,
    /// A folder for files that vanish with the process.
    pub scratch: &'a Path,
    /// Documents.
    pub store: &'a S,
    /// Objects.
    pub objects: &'a O,
    /// Time.
    pub clock: &'a SystemClock,
    /// More keys than this a plan is not made of at once: it is made in parts. `usize::MAX`: never.
    pub most_keys: usize,
}

impl<S, O> Clone for Shop<'_, S, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, O> Copy for Shop<'_, S, O> {}

impl<'a, S, O> Shop<'a, S, O> {
    /// Where plans of one organization are made.
    pub fn ground(self, project: &'a Project) -> Ground<'a, S, O> {
        Ground {
            project,
            folder: self.folder,
            remote: self.remote,
            scratch: self.scratch,
            store: self.store,
            objects: self.objects,
            clock: self.clock,
            most_keys: self.most_keys,
        }
    }
}

/// A run that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct AskedRun<'a> {
    /// Whose.
    pub organization: &'a Name,
    /// Of which export.
    pub export: &'a Name,
    /// Its id.
    pub run: &'a str,
}

/// What a run came to.
#[derive(Debug)]
pub enum Taken {
    /// There was nothing to do: someone else has done it, or nothing is left of it.
    Nothing,
    /// Its plan waits for a person.
    Held(Run),
    /// Its parcels are in the backlog; where they lie.
    Delivering(Run, Directory),
    /// Its plan is made in parts; these are to be made.
    Split(Run, Vec<Part>),
    /// All parts of its plan are made: they are to be joined.
    Parted(Run),
    /// It has ended.
    Ended(Run),
}

/// Why planning is given up: the model has more keys than all parts that there may be hold.
const TOO_MANY: &str = "the model has more keys than its plan may have parts for: give the functions more memory, or split the model";
/// Why a run ends that was canceled before it was planned.
const CANCELED: &str = "canceled while it was planned; nothing was sent";

/// Plans a run that was asked for and puts it to work, unless its plan is to wait. `project` holds its definitions, or says why there are
/// none; `may_read` says whether a model's rows may be read.
///
/// # Errors
/// The store or the objects failed; the run stays as it is and is taken up again.
pub async fn begin_run<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    asked: AskedRun<'_>,
    project: Result<&Project, String>,
    may_read: &dyn Fn(&Model) -> Result<(), String>,
) -> Result<Taken, PortError> {
    let AskedRun { organization, export, run: id } = asked;
    let (store, wall) = (shop.store, shop.clock.now().wall);
    let now = wall / 1_000_000;
    let Some((mut run, mut version)) = document::read(store, organization, id, now).await? else {
        // It was cut short before it had a document.
        claim::unclaim(store, organization, export, id, now).await?;
        work::done(store, organization, id, now).await?;
        return Ok(Taken::Nothing);
    };
    if run.status != Status::Planning {
        return Ok(Taken::Nothing);
    }
    if run.cancel_asked {
        return end(shop, organization, (run, version), Status::Canceled, CANCELED).await;
    }
    if run.parcels > 0 {
        // An earlier process put parcels into the backlog and came no further. If it lives, it comes too late from here on.
        run.parcels = 0;
        version = match document::write(store, organization, &run, Expect::At(version), now).await {
            Ok(version) => version,
            Err(PortError::Conflict) => return Ok(Taken::Nothing),
            Err(error) => return Err(error),
        };
        begin::withdraw(store, &LaneName::first(organization, &run.destination), id, wall, now).await?;
        shop.objects.delete(&run.object).await?;
    }
    let before = run.clone();
    match plan_asked(shop, organization, run, version, project, may_read).await {
        Ok(Made::Split(run, parts)) => Ok(Taken::Split(run, parts)),
        Ok(Made::Begun(begun)) => {
            // What stays of the parts goes when the run is finished.
            let _ = tidy(shop, organization, &before).await;
            Ok(match begun {
                Begun::Held(run) => Taken::Held(run),
                Begun::Delivering(run, directory) => Taken::Delivering(run, directory),
            })
        }
        // Whoever changed it may have planned it as well, or split its plan: only a wish to cancel ends it.
        Ok(Made::Changed) => match document::read(store, organization, id, shop.clock.seconds()).await? {
            Some(there) if there.0.status == Status::Planning && there.0.cancel_asked => {
                end(shop, organization, there, Status::Canceled, CANCELED).await
            }
            _ => Ok(Taken::Nothing),
        },
        Err(error) => ended_by(shop, organization, (before, version), error).await,
    }
}

/// What became of planning a run.
enum Made {
    /// It goes on, or waits for a person.
    Begun(Begun),
    /// Its plan is made in parts; these are to be made.
    Split(Run, Vec<Part>),
    /// Somebody has changed it meanwhile.
    Changed,
}

async fn plan_asked<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    run: Run,
    version: u64,
    project: Result<&Project, String>,
    may_read: &dyn Fn(&Model) -> Result<(), String>,
) -> Result<Made, PlanError> {
    let (ground, export) = ground_of(shop, &run, project, may_read)?;
    let state = state::read(shop.store, organization, &export.id, shop.clock.seconds()).await?.state;
    let planned = match run.split.clone() {
        Some(split) => {
            let found = parts::found(shop.store, organization, &run, shop.clock.seconds()).await?;
            let missing = parts::missing(&run, &found);
            if !missing.is_empty() {
                // Whoever split it may have died before all of them were noted.
                parts::note(shop.store, organization, &run, &missing, shop.clock.now().wall).await?;
                return Ok(Made::Split(run, missing));
            }
            if let Some(anew) = redefined(ground, export, &split).await? {
                return split_run(shop, organization, run, version, anew).await;
            }
            let found: Vec<Found> = found.into_iter().map(|(_, found)| found).collect();
            let keys = found.iter().map(|found| found.snapshot_rows + found.added).sum();
            let split = Split { next: parts::enough(keys, shop.most_keys), ..split };
            plan_joined(ground, export, &state, Run { split: Some(split.clone()), ..run }, &split, found).await?
        }
        None => {
            // A plan alone leaves the snapshot's files as they are: a run may be reading them.
            let state = if run.wish.plan_only { state } else { compact(ground, export, state).await? };
            let known = state.parts.filter(|_| shop.most_keys < usize::MAX);
            let planned = match known {
                Some(_) => Err(PlanError::TooMany(ground.stage(export).await?)),
                None => plan(ground, export, &state, run.clone(), &|_, _| {}).await,
            };
            match planned {
                Err(PlanError::TooMany(staged)) => {
                    let definitions = parts::definitions(ground.project, export);
                    let (of, snapshot) = (known.unwrap_or(parts::FIRST), state.snapshot.unwrap_or_default());
                    let split = Split { round: 1, of, snapshot, definitions, staged, next: None };
                    return split_run(shop, organization, run, version, split).await;
                }
                planned => planned?,
            }
        }
    };
    let begun = carry_out(ground, version, planned).await?;
    Ok(begun.map_or(Made::Changed, Made::Begun))
}

/// Where a run is planned, and its export.
fn ground_of<'a, S: Store, O: Objects>(
    shop: Shop<'a, S, O>,
    run: &Run,
    project: Result<&'a Project, String>,
    may_read: &dyn Fn(&Model) -> Result<(), String>,
) -> Result<(Ground<'a, S, O>, &'a Export), PlanError> {
    let project = project.map_err(PlanError::other)?;
    let export = project.exports.get(&run.export).ok_or_else(|| PlanError::other(format!("export {} is gone", run.export)))?;
    may_read(&project.models[&export.model]).map_err(PlanError::other)?;
    Ok((shop.ground(project), export))
}

/// A new round, where the definitions are not those that a round's parts are made of: its rows are staged anew, too. `None`: they are.
async fn redefined<S: Store, O: Objects>(ground: Ground<'_, S, O>, export: &Export, split: &Split) -> Result<Option<Split>, PlanError> {
    let definitions = parts::definitions(ground.project, export);
    if definitions == split.definitions {
        return Ok(None);
    }
    if let Some(staged) = &split.staged {
        // What stays of it costs storage until the bucket's lifecycle rule takes it.
        let _ = ground.remote.forget(staged).await;
    }
    Ok(Some(Split { round: split.round + 1, definitions, staged: ground.stage(export).await?, ..split.clone() }))
}

async fn split_run<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    mut run: Run,
    version: u64,
    split: Split,
) -> Result<Made, PlanError> {
    if split.of > parts::MOST {
        return Err(PlanError::other(TOO_MANY));
    }
    match parts::split(shop.store, organization, &mut run, version, split, shop.clock.now().wall).await {
        Ok(()) => {
            let all = parts::missing(&run, &[]);
            Ok(Made::Split(run, all))
        }
        Err(PortError::Conflict) => Ok(Made::Changed),
        Err(error) => Err(error.into()),
    }
}

/// Makes a part of a run's plan, unless it is there. `project` and `may_read` are as for [`begin_run`].
///
/// # Errors
/// The store or the objects failed; the part is made again.
pub async fn make_part<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    id: &str,
    part: Part,
    project: Result<&Project, String>,
    may_read: &dyn Fn(&Model) -> Result<(), String>,
) -> Result<Taken, PortError> {
    let (store, name) = (shop.store, work::name(id, Some(part)));
    let Some((run, version, split)) = wanted(shop, organization, id, part).await? else {
        work::done(store, organization, &name, shop.clock.seconds()).await?;
        return Ok(Taken::Nothing);
    };
    if run.cancel_asked {
        // Whoever joins ends it.
        return Ok(Taken::Parted(run));
    }
    let there = parts::found(store, organization, &run, shop.clock.seconds()).await?;
    if parts::missing(&run, &there).contains(&part) {
        let before = run.clone();
        match part_made(shop, organization, (run, version), &split, part, project, may_read).await {
            Ok(PartMade::Kept) => {}
            Ok(PartMade::Split(run, parts)) => return Ok(Taken::Split(*run, parts)),
            Ok(PartMade::Late) => return Ok(Taken::Nothing),
            Err(error) => return ended_by(shop, organization, (before, version), error).await,
        }
    }
    work::done(store, organization, &name, shop.clock.seconds()).await?;
    let Some((run, ..)) = wanted(shop, organization, id, part).await? else { return Ok(Taken::Nothing) };
    let found = parts::found(store, organization, &run, shop.clock.seconds()).await?;
    Ok(if parts::missing(&run, &found).is_empty() { Taken::Parted(run) } else { Taken::Nothing })
}

/// The run whose plan a part is made for, its version and its split; `None`: the part is not wanted any more.
async fn wanted<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    id: &str,
    part: Part,
) -> Result<Option<(Run, u64, Split)>, PortError> {
    let read = document::read(shop.store, organization, id, shop.clock.seconds()).await?;
    Ok(read.and_then(|(run, version)| {
        let split = run.split.clone().filter(|split| split.round == part.round && run.status == Status::Planning)?;
        Some((run, version, split))
    }))
}

/// What became of a part.
enum PartMade {
    /// It is there.
    Kept,
    /// Parts of another kind are to be made.
    Split(Box<Run>, Vec<Part>),
    /// It is not wanted any more.
    Late,
}

async fn part_made<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    (run, version): (Run, u64),
    split: &Split,
    part: Part,
    project: Result<&Project, String>,
    may_read: &dyn Fn(&Model) -> Result<(), String>,
) -> Result<PartMade, PlanError> {
    let (ground, export) = ground_of(shop, &run, project, may_read)?;
    let state = state::read(shop.store, organization, &export.id, shop.clock.seconds()).await?.state;
    let made = match redefined(ground, export, split).await? {
        Some(anew) => split_run(shop, organization, run, version, anew).await?,
        None => match plan_part(ground, export, &state, &run, split, part.number).await {
            Ok((found, file)) => {
                let by = chance::fresh_name("part", shop.clock.now().wall);
                let found = Found { object: parts::object(organization, &run.id, part, &by), ..found };
                shop.objects.adopt(&found.object, &file).await?;
                parts::keep(shop.store, organization, &run.id, part, &found, shop.clock.seconds()).await?;
                if wanted(shop, organization, &run.id, part).await?.is_some() {
                    return Ok(PartMade::Kept);
                }
                // Whoever tidied up may have been here before.
                parts::drop_one(shop.store, shop.objects, organization, &run.id, part, &found, shop.clock.seconds()).await?;
                return Ok(PartMade::Late);
            }
            Err(PlanError::Source(error)) if error.kind == ErrorKind::TooMany => {
                let finer = Split { round: split.round + 1, of: split.of * parts::FINER, ..split.clone() };
                split_run(shop, organization, run, version, finer).await?
            }
            Err(error) => return Err(error),
        },
    };
    Ok(match made {
        Made::Split(run, parts) => PartMade::Split(Box::new(run), parts),
        Made::Begun(_) | Made::Changed => PartMade::Late,
    })
}

/// Gives up a run that nobody has been able to plan, however often it was tried.
///
/// # Errors
/// The store or the objects failed.
pub async fn give_up<S: Store, O: Objects>(shop: Shop<'_, S, O>, organization: &Name, id: &str, reason: &str) -> Result<Taken, PortError> {
    match document::read(shop.store, organization, id, shop.clock.seconds()).await? {
        Some(run) if run.0.status == Status::Planning => end(shop, organization, run, Status::Failed, reason).await,
        _ => Ok(Taken::Nothing),
    }
}

/// Removes what planning in parts left, when a run is past it.
async fn tidy<S: Store, O: Objects>(shop: Shop<'_, S, O>, organization: &Name, run: &Run) -> Result<(), PortError> {
    let Some(split) = &run.split else { return Ok(()) };
    if let Some(staged) = &split.staged {
        shop.remote.forget(staged).await.map_err(|e| PortError::Failed(e.to_string()))?;
    }
    parts::forget(shop.store, shop.objects, organization, run, shop.clock.seconds()).await
}

/// Ends a run that could not be planned. What the store or the objects failed at may work the next time, so that ends nothing.
async fn ended_by<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    run: (Run, u64),
    error: PlanError,
) -> Result<Taken, PortError> {
    match error {
        PlanError::Port(error @ (PortError::Failed(_) | PortError::Conflict)) => Err(error),
        error => end(shop, organization, run, Status::Failed, &error.to_string()).await,
    }
}

/// Ends a run before anything of it was sent. Where its document was changed meanwhile, that is by whoever ends it, or by another that
/// planned it, which counts.
async fn end<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    (run, mut version): (Run, u64),
    status: Status,
    reason: &str,
) -> Result<Taken, PortError> {
    for _ in 0..TRIES {
        match request::end(shop.store, organization, (run.clone(), version), status, reason.to_string(), shop.clock.now().wall).await {
            Ok(ended) => {
                begin::withdraw(shop.store, &LaneName::first(organization, &ended.destination), &ended.id, u64::MAX, shop.clock.seconds())
                    .await?;
                // What stays of the parts is taken by retention.
                let _ = tidy(shop, organization, &ended).await;
                return Ok(Taken::Ended(ended));
            }
            Err(PortError::Conflict) => {}
            Err(error) => return Err(error),
        }
        // Another that planned it has kept a plan of its own.
        let there = document::read(shop.store, organization, &run.id, shop.clock.seconds()).await?;
        let is_same = |there: &Run| there.status == Status::Planning && there.split == run.split && there.object == run.object;
        match there.filter(|(there, _)| is_same(there)) {
            Some((there, _)) if there.cancel_asked != run.cancel_asked => return Ok(Taken::Nothing),
            Some((_, newer)) => version = newer,
            None => return Ok(Taken::Nothing),
        }
    }
    Err(PortError::Failed(format!("{} changes without end", run.id)))
}

/// Finishes a run of which nothing is left to send.
///
/// # Errors
/// The store or the objects failed; finishing is repeated.
pub async fn finish_run<S: Store, O: Objects>(shop: Shop<'_, S, O>, lane: &LaneName, id: &str) -> Result<Taken, PortError> {
    let (store, organization, wall) = (shop.store, &lane.organization, shop.clock.now().wall);
    let now = wall / 1_000_000;
    let Some((run, _)) = document::read(store, organization, id, now).await? else { return Ok(Taken::Nothing) };
    if run.status != Status::Delivering {
        return Ok(Taken::Nothing);
    }
    if run.cancel_asked {
        begin::withdraw(store, lane, id, wall, now).await?;
    }
    let deltas = Deltas { file: shop.scratch.join(format!("{id}.delta.parquet")), scratch: shop.scratch.to_path_buf() };
    let ended = finish(store, shop.objects, lane, (&run.export, id), Because::Told, &deltas, shop.clock.now().wall).await?;
    if !ended.has_ended() {
        return Ok(Taken::Nothing);
    }
    // Whoever put it to work may have died before that.
    let _ = tidy(shop, organization, &ended).await;
    Ok(Taken::Ended(ended))
}
