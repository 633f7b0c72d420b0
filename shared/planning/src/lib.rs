//! Planning a run of an export: the diff of its rows against its snapshot, cut into parcels in a local file, and what becomes of the
//! plan. Puts the engine and the reading of rows together for whatever process plans. It must not know a backend, send anything or
//! decide what a change means.

mod error;
mod source;
mod steps;

use engine::keys::{self, LaneName};
use engine::model::change::Change;
use engine::model::export::{Export, FirstRun};
use engine::model::name::Name;
use engine::model::project::Project;
use engine::plan::cut::{Cutter, Options, Totals};
use engine::plan::join::join;
use engine::plan::layout::Directory;
use engine::plan::{estimate, guard};
use engine::port::{Clock, Objects, PortError, Store};
use engine::run::document::{InvalidRow, LISTED_INVALID_ROWS, Run, Status};
use engine::run::finish::WriteDelta;
use engine::run::parts::{Found, Split};
use engine::run::state::State;
use engine::run::{begin, claim, work};
use engine::shape::{Compiled, Shape};
use process::{SystemClock, chance};
use rows::{Diff, DiffRequest, ErrorKind, Share, SourceError};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use error::PlanError;
pub use source::{Doing, NoRemote, Place, Remote, fields, outside, read_as, source, stage};
pub use steps::{AskedRun, Shop, Taken, begin_run, finish_run, give_up, make_part};

/// Changes held in memory before they go to scratch files, bytes.
const SPOOL_MEMORY: usize = 64 << 20;
/// More deltas than this are merged into a new base.
const MOST_DELTAS: usize = 31;

/// Where plans are made: the definitions, and what they are compared with.
pub struct Ground<'a, S, O> {
    /// The definitions.
    pub project: &'a Project,
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
    /// More keys than this a plan is not made of at once; `usize::MAX`: as many as there are.
    pub most_keys: usize,
}

impl<S, O> Clone for Ground<'_, S, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, O> Copy for Ground<'_, S, O> {}

impl<S, O> Ground<'_, S, O> {
    /// The organization.
    pub fn organization(&self) -> &Name {
        &self.project.organization.id
    }
}

impl<S: Store, O: Objects> Ground<'_, S, O> {
    /// Has an export's rows put where all who read them for the same run find them.
    async fn stage(&self, export: &Export) -> Result<Option<String>, PlanError> {
        stage(self.place(), &self.project.models[&export.model]).await
    }

    /// Where an export's rows are read.
    async fn source(&self, export: &Export, staged: Option<&str>) -> Result<rows::Source, PlanError> {
        source(self.place(), &self.project.models[&export.model], staged).await
    }

    fn place(&self) -> Place<'_, S, O> {
        Place {
            folder: self.folder,
            remote: self.remote,
            organization: self.organization(),
            store: self.store,
            objects: self.objects,
            scratch: self.scratch,
            wall: self.clock.now().wall,
        }
    }
}

/// A run as planned; nothing is stored yet but a local file.
#[derive(Debug)]
pub struct Planned {
    /// The run's document. Its status is `held` if a guard wants a person's approval.
    pub run: Run,
    /// What shapes its requests.
    pub compiled: Compiled,
    /// Where its parcels lie in the file.
    pub directory: Directory,
    /// The local file.
    pub file: PathBuf,
    /// Rows read.
    pub rows: u64,
    /// Order-free sum of key and row hashes.
    pub checksum: u128,
    /// Whether removals were left out, since the key of some invalid row cannot be read.
    pub removals_wait: bool,
    /// Whether the source is as it was when the last run delivered all of it, so that it was not read.
    pub unread: bool,
    /// How often the export had been claimed when planning began.
    pub claims: u64,
}

impl Planned {
    /// What it holds.
    pub fn totals(&self) -> &Totals {
        &self.run.totals
    }
}

/// Plans a run of an export whose state is `state`. `progress` gets bytes and rows read.
pub async fn plan<S: Store, O: Objects>(
    ground: Ground<'_, S, O>,
    export: &Export,
    state: &State,
    asked: Run,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Planned, PlanError> {
    let staged = ground.stage(export).await?;
    let planned = plan_staged(ground, export, state, asked, staged.as_deref(), progress).await;
    match (planned, staged) {
        (Err(PlanError::Source(error)), staged) if error.kind == ErrorKind::TooMany => Err(PlanError::TooMany(staged)),
        (planned, None) => planned,
        (planned, Some(staged)) => {
            // What stays of it costs storage until the bucket's lifecycle rule takes it.
            let _ = ground.remote.forget(&staged).await;
            planned
        }
    }
}

async fn plan_staged<S: Store, O: Objects>(
    ground: Ground<'_, S, O>,
    export: &Export,
    state: &State,
    asked: Run,
    staged: Option<&str>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Planned, PlanError> {
    let source = ground.source(export, staged).await?;
    let (run, compiled) = shaped(ground, export, state.snapshot.clone().unwrap_or_default(), asked)?;
    let file = ground.scratch.join(format!("{}.plan", run.id));
    let source_version = rows::source_version(&source)?;
    let unchanged = source_version.is_some() && state.settled == source_version.clone().map(|source| (source, run.shape_version.clone()));
    if unchanged && !run.wish.full && !run.wish.adopt {
        let (directory, totals) = Cutting::of(ground, export, state, &run, &compiled).cut(&[], &file, std::iter::empty())?;
        let run = Run { source_version, totals, ..run };
        return Ok(Planned {
            run,
            compiled,
            directory,
            file,
            rows: 0,
            checksum: 0,
            removals_wait: false,
            unread: true,
            claims: state.claims,
        });
    }
    let (diff, found) = compare(ground, export, state, &run, &compiled, source, Share::WHOLE, progress).await?;
    let (directory, totals) = Cutting::of(ground, export, state, &run, &compiled).cut(&found.field_names, &file, diff.changes)?;
    Ok(planned(export, state, run, compiled, directory, file, Found { totals, ..found }))
}

/// Makes one part of a run's plan, into a local file.
pub async fn plan_part<S: Store, O: Objects>(
    ground: Ground<'_, S, O>,
    export: &Export,
    state: &State,
    run: &Run,
    split: &Split,
    number: u32,
) -> Result<(Found, PathBuf), PlanError> {
    let source = ground.source(export, split.staged.as_deref()).await?;
    let (run, compiled) = shaped(ground, export, split.snapshot.clone(), run.clone())?;
    let file = ground.scratch.join(format!("{}.{number}.plan", run.id));
    let share = Share { part: number, of: split.of };
    let (diff, found) = compare(ground, export, state, &run, &compiled, source, share, &|_, _| {}).await?;
    let cutting = Cutting { parts: split.of, ..Cutting::of(ground, export, state, &run, &compiled) };
    let (_, totals) = cutting.cut(&found.field_names, &file, diff.changes)?;
    Ok((Found { totals, ..found }, file))
}

/// Joins the parts of a run's plan, which are all there.
pub async fn plan_joined<S: Store, O: Objects>(
    ground: Ground<'_, S, O>,
    export: &Export,
    state: &State,
    run: Run,
    split: &Split,
    parts: Vec<Found>,
) -> Result<Planned, PlanError> {
    let (run, compiled) = shaped(ground, export, split.snapshot.clone(), run)?;
    let objects: Vec<String> = parts.iter().map(|part| part.object.clone()).collect();
    let found = Found::together(parts).map_err(PlanError::other)?;
    let file = ground.scratch.join(format!("{}.plan", run.id));
    let mut out = created(&file)?;
    let directory = join(ground.objects, &objects, &mut out).await?;
    out.flush().map_err(|e| unwritten(&file, &e))?;
    Ok(planned(export, state, run, compiled, directory, file, found))
}

/// What shapes a run's requests as the definitions stand, noted in its document.
fn shaped<S, O>(ground: Ground<'_, S, O>, export: &Export, snapshot: Vec<String>, run: Run) -> Result<(Run, Compiled), PlanError> {
    let shape = Shape::of(ground.project, export);
    let run = Run { shape_version: shape.version(), mapping_version: shape.mapping_version(), snapshot, ..run };
    Ok((run, Compiled::new(shape).map_err(PlanError::other)?))
}

/// Whether all changes are taken as delivered.
fn settles_all(export: &Export, state: &State, run: &Run) -> bool {
    let first_run_skips = state.snapshot.is_none() && export.first_run == FirstRun::Skip && !run.wish.full;
    run.wish.adopt || first_run_skips
}

/// Compares a share of a source's rows with the run's snapshot.
#[allow(clippy::too_many_arguments, reason = "each is one thing that the caller has at hand")]
async fn compare<S: Store, O: Objects>(
    ground: Ground<'_, S, O>,
    export: &Export,
    state: &State,
    run: &Run,
    compiled: &Compiled,
    source: rows::Source,
    share: Share,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Diff, Found), PlanError> {
    let mut snapshot = Vec::with_capacity(run.snapshot.len());
    for name in &run.snapshot {
        snapshot.push(ground.objects.local(name).await?);
    }
    let request = DiffRequest {
        source,
        primary_key: ground.project.models[&export.model].primary_key.clone(),
        fields: fields(export),
        ignore: export.ignore_in_diff.clone(),
        hash_seed: state.hash_seed.unwrap_or_default(),
        snapshot,
        want_previous: compiled.wants_previous(),
        resend_all: run.wish.full,
        share,
        most_keys: ground.most_keys,
        scratch: ground.scratch.to_path_buf(),
        threads: std::thread::available_parallelism().map_or(2, usize::from).min(8),
        spool_memory: SPOOL_MEMORY,
    };
    let diff = rows::diff(&request, progress)?;
    let listed = diff.invalid.iter().take(LISTED_INVALID_ROWS);
    let found = Found {
        field_names: diff.field_names.to_vec(),
        snapshot_rows: diff.snapshot_rows,
        rows: diff.rows,
        added: diff.added,
        changed: diff.changed,
        removed: diff.removed,
        invalid_rows: diff.invalid_rows,
        invalid: listed.map(|row| InvalidRow { place: row.place.clone(), key: row.key.clone(), reason: row.reason.clone() }).collect(),
        removals_wait: diff.removals_wait,
        checksum: diff.checksum,
        source_version: diff.source_version.clone(),
        ..Found::default()
    };
    Ok((diff, found))
}

/// A run as planned: what was found goes into its document, and guards say whether it may go.
fn planned(export: &Export, state: &State, run: Run, compiled: Compiled, directory: Directory, file: PathBuf, found: Found) -> Planned {
    let mut run = run;
    let remapped = state.snapshot.is_some()
        && found.snapshot_rows > 0
        && state.mapping_version.as_ref().is_some_and(|mapping| *mapping != run.mapping_version);
    let changes = found.added + found.changed + found.removed;
    if !run.wish.approve && !settles_all(export, state, &run) {
        run.reason = match remapped {
            true if changes > 0 => Some(format!(
                "the fields or the key of export {} have changed: {changes} rows would be sent again; --approve sends them, --adopt takes them as delivered",
                export.id
            )),
            _ => guard::trips(&export.guard, found.counted()).map(|why| format!("{why}; --approve goes past it")),
        };
        if run.reason.is_some() {
            run.status = Status::Held;
        }
    }
    run.parcels = directory.parcels.len() as u32;
    run.field_names = found.field_names;
    run.invalid_rows = found.invalid_rows;
    run.invalid = found.invalid;
    run.source_version = found.source_version;
    run.totals = found.totals;
    let Found { rows, checksum, removals_wait, .. } = found;
    Planned { run, compiled, directory, file, rows, checksum, removals_wait, unread: false, claims: state.claims }
}

/// How a run's changes are cut.
struct Cutting<'a> {
    compiled: &'a Compiled,
    run: &'a Run,
    rate: Option<f64>,
    parts: u32,
    settle_all: bool,
}

impl<'a> Cutting<'a> {
    /// Into one plan.
    fn of<S, O>(ground: Ground<'_, S, O>, export: &Export, state: &State, run: &'a Run, compiled: &'a Compiled) -> Cutting<'a> {
        let rate = estimate::rate(&ground.project.destinations[&export.destination].rate_limits);
        Cutting { compiled, run, rate, parts: 1, settle_all: settles_all(export, state, run) }
    }

    /// Cuts changes into a local file.
    fn cut(
        &self,
        names: &[String],
        file: &Path,
        changes: impl Iterator<Item = Result<Change, SourceError>>,
    ) -> Result<(Directory, Totals), PlanError> {
        let wrong = |e: io::Error| unwritten(file, &e);
        let started_at = self.run.started_at_text();
        let Cutting { compiled, run, rate, parts, settle_all } = *self;
        let options = Options { run: &run.id, started_at: &started_at, rate, parts, settle_all };
        let mut cutter = Cutter::new(compiled, names, options, created(file)?);
        for change in changes {
            cutter.push(change?).map_err(wrong)?;
        }
        let (mut out, directory, totals) = cutter.finish().map_err(wrong)?;
        out.flush().map_err(wrong)?;
        Ok((directory, totals))
    }
}

fn created(file: &Path) -> Result<BufWriter<File>, PlanError> {
    let created = File::create(file).map_err(|e| unwritten(file, &e))?;
    Ok(BufWriter::with_capacity(1 << 20, created))
}

fn unwritten(file: &Path, error: &io::Error) -> PlanError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PlanError::from(PortError::Full(format!(
            "the plan cannot be written to {}: free some space, or choose another data directory",
            file.display()
        ))),
        _ => PlanError::other(format!("the plan cannot be written to {}: {error}", file.display())),
    }
}

/// What became of a plan.
pub enum Begun {
    /// It waits for a person: a guard holds it, or only a plan was asked for.
    Held(Run),
    /// Its parcels are in the backlog; where they lie.
    Delivering(Run, Directory),
}

/// Keeps a plan, and puts it to work unless it is to wait. `None`: a person has asked for its end meanwhile.
pub async fn carry_out<S: Store, O: Objects>(ground: Ground<'_, S, O>, version: u64, planned: Planned) -> Result<Option<Begun>, PlanError> {
    let (store, objects, organization) = (ground.store, ground.objects, ground.organization());
    let Planned { mut run, compiled, directory, file, claims, .. } = planned;
    let wall = ground.clock.now().wall;
    run.object = keys::plan_object(organization, &run.id, Some(&chance::fresh_name("plan", wall)));
    let kept = if run.status == Status::Held || run.wish.plan_only {
        run.status = Status::Held;
        run.finished_at = Some(wall);
        // Whoever approves it as soon as it is seen held notes it anew.
        let noted = work::read(store, organization, &run.id, wall / 1_000_000).await?;
        let kept = async {
            if !run.wish.plan_only {
                begin::hold(store, objects, organization, &run, claims, wall / 1_000_000).await?;
            }
            begin::keep(store, objects, organization, &run, version, &compiled.shape, &file, wall / 1_000_000).await
        };
        let kept = kept.await;
        match kept {
            Ok(_) => {
                claim::unclaim_held(store, organization, &run.export, &run.id, ground.clock.seconds()).await?;
                if let Some((_, noted)) = noted {
                    work::done_at(store, organization, &run.id, noted, ground.clock.seconds()).await?;
                }
                Ok(Begun::Held(run))
            }
            Err(error) => Err(error),
        }
    } else {
        let lane = LaneName::first(organization, &run.destination);
        let begun = begin::begin(store, objects, &lane, &mut run, version, &compiled.shape, &directory, &file, wall).await;
        begun.map(|()| Begun::Delivering(run, directory))
    };
    match kept {
        Ok(begun) => Ok(Some(begun)),
        Err(PortError::Conflict) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Merges a snapshot of many deltas into a new base. Old files go once no list names them.
pub async fn compact<S: Store, O: Objects>(ground: Ground<'_, S, O>, export: &Export, state: State) -> Result<State, PlanError> {
    let Some(files) = state.snapshot.clone() else { return Ok(state) };
    let mut paths = Vec::with_capacity(files.len());
    for name in &files {
        paths.push(ground.objects.local(name).await?);
    }
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let base = paths.first().map_or(0, size);
    let deltas: u64 = paths.iter().skip(1).map(size).sum();
    // A handful of small deltas costs nothing; a tenth of a small base is not worth a pass either.
    let heavy = deltas > base / 10 && deltas > 8 << 20;
    if files.len() <= MOST_DELTAS && !heavy {
        return Ok(state);
    }
    let to = ground.scratch.join(format!("{}.base.parquet", export.id));
    rows::compact(&paths, &to)?;
    let newest = files.last().map_or("", String::as_str).rsplit('/').next().unwrap_or_default().trim_end_matches(".parquet").to_string();
    let name = format!("snapshots/{}/{}/{newest}-base.parquet", ground.organization(), export.id);
    ground.objects.adopt(&name, &to).await?;
    let swapped = engine::run::state::change(ground.store, ground.organization(), &export.id, ground.clock.seconds(), |state| {
        if state.snapshot.as_ref() == Some(&files) {
            state.snapshot = Some(vec![name.clone()]);
            Ok(())
        } else {
            Err(())
        }
    })
    .await?;
    match swapped {
        Ok(state) => {
            for old in &files {
                ground.objects.delete(old).await?;
            }
            Ok(state)
        }
        Err(()) => Ok(state),
    }
}

/// Writes deltas into the scratch folder.
#[derive(Debug)]
pub struct Deltas {
    /// The file that is written.
    pub file: PathBuf,
    /// The folder.
    pub scratch: PathBuf,
}

impl WriteDelta for Deltas {
    fn write(
        &self,
        rows: &mut dyn Iterator<Item = Result<engine::model::change::DeltaRow, PortError>>,
        names: &[String],
    ) -> Result<Option<PathBuf>, PortError> {
        let Some(first) = rows.next() else { return Ok(None) };
        let mut failed = None;
        let rows = std::iter::once(first).chain(rows).map_while(|row| row.map_err(|error| failed = Some(error)).ok());
        let to = self.file.clone();
        let written = rows::write_delta(rows, names, &to, &self.scratch);
        match (failed, written) {
            (Some(error), _) => Err(error),
            (None, Ok(_)) => Ok(Some(to)),
            (None, Err(error)) if error.kind == rows::ErrorKind::Full => Err(PortError::Full(error.to_string())),
            (None, Err(error)) => Err(PortError::Failed(error.to_string())),
        }
    }
}
