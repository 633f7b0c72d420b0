//! Planning a run of an export: the diff of its rows against its snapshot, cut into parcels in a local file, and what becomes of the
//! plan. Puts the engine and the reading of rows together for whatever process plans. It must not know a backend, send anything or
//! decide what a change means.

mod error;
mod source;
mod steps;

use engine::keys::LaneName;
use engine::model::export::{Export, FirstRun};
use engine::model::name::Name;
use engine::model::project::Project;
use engine::plan::cut::{Cutter, Options, Totals};
use engine::plan::layout::Directory;
use engine::plan::{estimate, guard};
use engine::port::{Clock, Objects, PortError, Store};
use engine::run::document::{InvalidRow, LISTED_INVALID_ROWS, Run, Status};
use engine::run::finish::WriteDelta;
use engine::run::state::State;
use engine::run::{begin, work};
use engine::shape::{Compiled, Shape};
use process::SystemClock;
use rows::DiffRequest;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

pub use error::PlanError;
pub use source::{Bringing, NoRemote, Place, Remote, fields, outside, read_as, source};
pub use steps::{AskedRun, Shop, Taken, begin_run, finish_run};

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
    /// The snapshot it was compared with.
    pub snapshot: Vec<String>,
    /// Whether the source is as it was when the last run delivered all of it, so that it was not read.
    pub unread: bool,
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
    let destination = &ground.project.destinations[&export.destination];
    let model = &ground.project.models[&export.model];
    let shape = Shape::of(ground.project, export);
    let scratch = ground.scratch;
    let wish = asked.wish;
    let place = Place {
        folder: ground.folder,
        remote: ground.remote,
        organization: ground.organization(),
        store: ground.store,
        objects: ground.objects,
        scratch,
        wall: ground.clock.now().wall,
    };
    let source = source(place, model).await?;
    let snapshot = state.snapshot.clone().unwrap_or_default();
    let version = shape.version();
    let mut run = Run { shape_version: version.clone(), mapping_version: shape.mapping_version(), snapshot: snapshot.clone(), ..asked };
    let compiled = Compiled::new(shape).map_err(PlanError::other)?;
    let file = scratch.join(format!("{}.plan", run.id));
    let source_version = rows::source_version(&source)?;
    let unchanged = source_version.is_some() && state.settled == source_version.clone().map(|source| (source, version));
    if unchanged && !wish.full && !wish.adopt {
        run.source_version = source_version;
        let names = Vec::new();
        let (directory, totals) = cut(&compiled, &names, &run, None, false, &file, std::iter::empty())?;
        run.totals = totals;
        return Ok(Planned { run, compiled, directory, file, rows: 0, checksum: 0, removals_wait: false, snapshot, unread: true });
    }
    let mut files = Vec::with_capacity(snapshot.len());
    for name in &snapshot {
        files.push(ground.objects.local(name).await?);
    }
    let request = DiffRequest {
        source,
        primary_key: model.primary_key.clone(),
        fields: fields(export),
        ignore: export.ignore_in_diff.clone(),
        hash_seed: state.hash_seed.unwrap_or_default(),
        snapshot: files,
        want_previous: compiled.wants_previous(),
        resend_all: wish.full,
        scratch: scratch.to_path_buf(),
        threads: std::thread::available_parallelism().map_or(2, usize::from).min(8),
        spool_memory: SPOOL_MEMORY,
    };
    let diff = rows::diff(&request, progress)?;
    let names = diff.field_names.to_vec();
    let counted = guard::Counted { snapshot: diff.snapshot_rows, rows: diff.rows, removed: diff.removed, invalid: diff.invalid_rows };
    let remapped = state.snapshot.is_some()
        && diff.snapshot_rows > 0
        && state.mapping_version.as_ref().is_some_and(|mapping| *mapping != run.mapping_version);
    let changes = diff.added + diff.changed + diff.removed;
    let first_run_skips = state.snapshot.is_none() && export.first_run == FirstRun::Skip && !wish.full;
    let settle_all = wish.adopt || first_run_skips;
    run.field_names = names.clone();
    run.invalid_rows = diff.invalid_rows;
    run.invalid = diff
        .invalid
        .iter()
        .take(LISTED_INVALID_ROWS)
        .map(|row| InvalidRow { place: row.place.clone(), key: row.key.clone(), reason: row.reason.clone() })
        .collect();
    run.source_version = diff.source_version.clone();
    if !wish.approve && !settle_all {
        run.reason = match remapped {
            true if changes > 0 => Some(format!(
                "the fields or the key of export {} have changed: {changes} rows would be sent again; --approve sends them, --adopt takes them as delivered",
                export.id
            )),
            _ => guard::trips(&export.guard, counted).map(|why| format!("{why}; --approve goes past it")),
        };
        if run.reason.is_some() {
            run.status = Status::Held;
        }
    }
    let (planned_rows, checksum, removals_wait) = (diff.rows, diff.checksum, diff.removals_wait);
    let rate = estimate::rate(&destination.rate_limits);
    let (directory, totals) = cut(&compiled, &names, &run, rate, settle_all, &file, diff.changes)?;
    run.totals = totals;
    run.parcels = directory.parcels.len() as u32;
    Ok(Planned { run, compiled, directory, file, rows: planned_rows, checksum, removals_wait, snapshot, unread: false })
}

#[allow(clippy::too_many_arguments, reason = "each is one thing that the caller has at hand")]
fn cut(
    compiled: &Compiled,
    names: &[String],
    run: &Run,
    rate: Option<f64>,
    settle_all: bool,
    file: &PathBuf,
    changes: impl Iterator<Item = Result<engine::model::change::Change, rows::SourceError>>,
) -> Result<(Directory, Totals), PlanError> {
    let wrong = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => PlanError::from(PortError::Full(format!(
            "the plan cannot be written to {}: free some space, or choose another data directory",
            file.display()
        ))),
        _ => PlanError::other(format!("the plan cannot be written to {}: {e}", file.display())),
    };
    let started_at = run.started_at_text();
    let options = Options { run: &run.id, started_at: &started_at, rate, settle_all };
    let out = BufWriter::with_capacity(1 << 20, File::create(file).map_err(wrong)?);
    let mut cutter = Cutter::new(compiled, names, options, out);
    for change in changes {
        cutter.push(change?).map_err(wrong)?;
    }
    let (mut out, directory, totals) = cutter.finish().map_err(wrong)?;
    out.flush().map_err(wrong)?;
    Ok((directory, totals))
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
    let Planned { mut run, compiled, directory, file, .. } = planned;
    let wall = ground.clock.now().wall;
    let kept = if run.status == Status::Held || run.wish.plan_only {
        run.status = Status::Held;
        run.finished_at = Some(wall);
        let kept = begin::keep(store, objects, organization, &run, version, &compiled.shape, &file, wall / 1_000_000).await;
        match kept {
            Ok(_) => {
                begin::unclaim(store, organization, &run.export, &run.id, ground.clock.seconds()).await?;
                work::done(store, organization, &run.id, ground.clock.seconds()).await?;
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
