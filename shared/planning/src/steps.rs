//! Taking a run that is under way one step further: from asked for to its backlog, and from delivered to its snapshot. Each step can be
//! repeated after whatever cut it short. It must not choose which run has its turn.

use crate::{Begun, Deltas, Ground, Remote, carry_out, compact, plan};
use engine::keys::LaneName;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::model::source::Model;
use engine::plan::layout::Directory;
use engine::port::{Clock, Objects, PortError, Store};
use engine::run::document::{self, Run, Status};
use engine::run::finish::{Because, finish};
use engine::run::{begin, request, state, work};
use process::SystemClock;
use std::path::Path;

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
    /// It has ended.
    Ended(Run),
}

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
    const CANCELED: &str = "canceled while it was planned; nothing was sent";
    let AskedRun { organization, export, run: id } = asked;
    let (store, now) = (shop.store, shop.clock.seconds());
    let Some((run, version)) = document::read(store, organization, id, now).await? else {
        // It was cut short before it had a document.
        begin::unclaim(store, organization, export, id, now).await?;
        work::done(store, organization, id, now).await?;
        return Ok(Taken::Nothing);
    };
    if run.status != Status::Planning {
        return Ok(Taken::Nothing);
    }
    let lane = LaneName::first(organization, &run.destination);
    if run.cancel_asked {
        return end(shop, organization, run, Status::Canceled, CANCELED.to_string()).await;
    }
    if run.parcels > 0 {
        // An earlier process was killed while it put the parcels into the backlog.
        begin::withdraw(store, &lane, id, now).await?;
    }
    match plan_asked(shop, organization, run.clone(), version, project, may_read).await {
        Ok(Some(Begun::Held(run))) => Ok(Taken::Held(run)),
        Ok(Some(Begun::Delivering(run, directory))) => Ok(Taken::Delivering(run, directory)),
        Ok(None) => {
            begin::withdraw(store, &lane, id, shop.clock.seconds()).await?;
            // Whoever changed it may have planned it as well: only a wish to cancel ends it.
            match document::read(store, organization, id, shop.clock.seconds()).await? {
                Some((there, _)) if there.status != Status::Planning => Ok(Taken::Nothing),
                _ => end(shop, organization, run, Status::Canceled, CANCELED.to_string()).await,
            }
        }
        Err(error) => end(shop, organization, run, Status::Failed, error).await,
    }
}

async fn plan_asked<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    run: Run,
    version: u64,
    project: Result<&Project, String>,
    may_read: &dyn Fn(&Model) -> Result<(), String>,
) -> Result<Option<Begun>, String> {
    let project = project?;
    let export = project.exports.get(&run.export).ok_or_else(|| format!("export {} is gone", run.export))?;
    may_read(&project.models[&export.model])?;
    let ground = shop.ground(project);
    let read = state::read(shop.store, organization, &export.id, shop.clock.seconds()).await.map_err(|e| e.to_string())?;
    // A plan alone leaves the snapshot's files as they are: a run may be reading them.
    let state = match run.wish.plan_only {
        true => read.state,
        false => compact(ground, export, read.state).await.map_err(|e| e.to_string())?,
    };
    let planned = plan(ground, export, &state, run, &|_, _| {}).await.map_err(|e| e.to_string())?;
    carry_out(ground, version, planned).await.map_err(|e| e.to_string())
}

async fn end<S: Store, O: Objects>(
    shop: Shop<'_, S, O>,
    organization: &Name,
    run: Run,
    status: Status,
    reason: String,
) -> Result<Taken, PortError> {
    request::end(shop.store, organization, run, status, reason, shop.clock.now().wall).await.map(Taken::Ended)
}

/// Finishes a run of which nothing is left to send.
///
/// # Errors
/// The store or the objects failed; finishing is repeated.
pub async fn finish_run<S: Store, O: Objects>(shop: Shop<'_, S, O>, lane: &LaneName, id: &str) -> Result<Taken, PortError> {
    let (store, organization, now) = (shop.store, &lane.organization, shop.clock.seconds());
    let Some((run, _)) = document::read(store, organization, id, now).await? else { return Ok(Taken::Nothing) };
    if run.status != Status::Delivering {
        return Ok(Taken::Nothing);
    }
    if run.cancel_asked {
        begin::withdraw(store, lane, id, now).await?;
    }
    let deltas = Deltas { file: shop.scratch.join(format!("{id}.delta.parquet")), scratch: shop.scratch.to_path_buf() };
    finish(store, shop.objects, lane, id, Because::Done, &deltas, shop.clock.now().wall).await.map(Taken::Ended)
}
