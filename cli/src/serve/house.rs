//! What all parts of the serving process share.

use super::lanes::Lanes;
use super::log::Log;
use super::metrics::Metrics;
use super::planner::Planner;
use super::traces::Traces;
use super::watch::LaneWatch;
use backend_embedded::{DataDir, EmbeddedObjects, EmbeddedSecrets, EmbeddedStore};
use engine::catalog::Catalog;
use engine::keys::LaneName;
use engine::model::destination::Destination;
use engine::model::name::Name;
use engine::model::project::{Project, RETENTION_DAYS};
use engine::model::source::{Model, Source};
use engine::port::{Clock, PortError};
use engine::push;
use engine::run::document::Run;
use engine::run::retention;
use ipnet::IpNet;
use planning::Shop;
use process::{Definitions, SystemClock};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use transport::{AddressPolicy, HttpTransport, TransportOptions};

/// Documents and objects deleted at once.
const PIECE: u64 = 2_000;
/// Pieces deleted of an organization before the next one has its turn; the rest goes ten minutes later.
const MOST_PIECES: usize = 500;

/// A path without `.` and `..`, as far as its words tell.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// What all parts of the serving process share.
pub struct House {
    /// The data directory.
    pub data: DataDir,
    /// Its documents.
    pub store: EmbeddedStore,
    /// Its objects.
    pub objects: EmbeddedObjects,
    /// What opens its secrets.
    pub secrets: EmbeddedSecrets,
    /// Time.
    pub clock: SystemClock,
    /// The folder that sources of files must lie in, and that relative paths start from.
    pub folder: PathBuf,
    /// Whether requests may go to private addresses.
    pub allow_private: bool,
    /// The private addresses that they may go to.
    pub ranges: Vec<(IpNet, Option<u16>)>,
    /// Structured lines.
    pub log: Arc<Log>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where spans go, if anywhere.
    pub traces: Option<Arc<Traces>>,
    /// Definitions, kept between two pieces of work.
    pub definitions: Definitions,
    /// Who plans and finishes.
    pub planner: Arc<Planner>,
    /// Who delivers.
    pub lanes: Lanes,
}

impl House {
    /// The definitions of an organization.
    pub fn catalog<'a>(&'a self, organization: &'a Name) -> Catalog<'a, EmbeddedStore, EmbeddedSecrets> {
        Catalog { store: &self.store, secrets: &self.secrets, organization, now: self.clock.now().wall }
    }

    /// The definitions of an organization, as types, with their secrets; read anew only when they have changed.
    pub async fn project(&self, organization: &Name) -> Result<Arc<Project>, String> {
        self.definitions.project(&self.catalog(organization)).await
    }

    /// The same, for whom it matters whose fault it is: the inner error is that the definitions do not fit together.
    pub async fn read_project(&self, organization: &Name) -> Result<Result<Arc<Project>, String>, PortError> {
        self.definitions.read(&self.catalog(organization)).await
    }

    /// The destination of a lane as it is now.
    pub async fn destination(&self, lane: &LaneName) -> Result<Option<Destination>, String> {
        Ok(self.project(&lane.organization).await?.destinations.get(&lane.destination).cloned())
    }

    /// How long an organization's runs are kept.
    pub async fn retention_seconds(&self, organization: &Name) -> Result<u64, String> {
        let settings = self.catalog(organization).organization().await.map_err(|e| e.to_string())?;
        let days = settings.body["retention_days"].as_u64().unwrap_or(RETENTION_DAYS.into());
        Ok(days * 24 * 3600)
    }

    /// Where runs are planned and finished.
    pub fn shop<'a>(&'a self, scratch: &'a Path) -> Shop<'a, EmbeddedStore, EmbeddedObjects> {
        Shop {
            folder: &self.folder,
            remote: &planning::NoRemote,
            scratch,
            store: &self.store,
            objects: &self.objects,
            clock: &self.clock,
            most_keys: usize::MAX,
        }
    }

    /// What sends the requests of one destination: connections are never shared between destinations.
    pub fn transport(&self, destination: &Destination) -> Result<HttpTransport, String> {
        let policy = AddressPolicy { allow_private: self.allow_private, ranges: self.ranges.clone(), allow_http: destination.allow_http };
        HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() })
    }

    /// What sends a request that goes to no destination.
    pub fn transport_elsewhere(&self) -> Result<HttpTransport, String> {
        let policy = AddressPolicy { allow_private: self.allow_private, ranges: self.ranges.clone(), allow_http: false };
        HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() })
    }

    /// Watches the work on a lane.
    pub fn watch(&self, lane: &LaneName) -> LaneWatch {
        LaneWatch::new(self, lane)
    }

    /// Whether a model's rows lie where this process may read: whoever may write definitions is not thereby to read any file of the
    /// machine.
    pub fn may_read(&self, model: &Model) -> Result<(), String> {
        let path = match &model.source {
            Source::File { path, .. } => path,
            // A socket would let the caller in as this process's own user.
            Source::Postgres { dsn, .. } if rows::names_socket(dsn.reveal()) => {
                return Err(format!("model {}: its dsn names a socket of this machine; a server reads over TCP, so name a host", model.id));
            }
            // The planner says that only a stack gets at what lies in S3 or Athena.
            Source::Postgres { .. } | Source::S3 { .. } | Source::Athena { .. } | Source::Push => return Ok(()),
        };
        let whole = plain(&self.folder.join(path));
        // A link on the way to the first glob is followed; what the operator puts into the folder is the operator's.
        let literal: PathBuf =
            whole.components().take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{'])).collect();
        let inside = |path: &Path| path.starts_with(&self.folder);
        let root = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        let followed = literal.canonicalize().map_or(true, |path| path.starts_with(&root));
        match inside(&whole) && followed {
            true => Ok(()),
            false => Err(format!(
                "model {}: `{path}` lies outside of {}, the folder that this server reads rows from",
                model.id,
                self.folder.display()
            )),
        }
    }

    /// Deletes what is older than it may be, of every organization, a piece at a time so that writers get their turns.
    pub async fn forget_old(&self) -> Result<(), String> {
        let text = |error: PortError| error.to_string();
        let mut forgotten = 0;
        for organization in retention::organizations(&self.store, self.clock.seconds()).await.map_err(text)? {
            let keep = self.retention_seconds(&organization).await?;
            let project = self.project(&organization).await?;
            for model in project.models.values().filter(|model| model.source == Source::Push) {
                push::sweep(&self.store, &self.objects, &organization, &model.id, self.clock.seconds()).await.map_err(text)?;
            }
            for _ in 0..MOST_PIECES {
                let now = self.clock.seconds();
                let swept = retention::sweep(&self.store, &self.objects, &organization, keep, now, PIECE).await.map_err(text)?;
                forgotten += swept.documents + swept.objects;
                if !swept.more {
                    break;
                }
            }
        }
        forgotten += self.store.purge_expired(self.clock.seconds()).await.map_err(text)?;
        if forgotten > 0 {
            self.store.scrub().await.map_err(text)?;
            self.log.note("deleted what is older than it may be", &[("pieces", &forgotten.to_string())]);
        }
        Ok(())
    }

    /// A run has ended.
    pub fn ended(&self, run: &Run, organization: &Name) {
        self.log.run(run, organization);
        self.metrics.run(run, organization);
        if let Some(traces) = &self.traces {
            traces.run(run, organization);
        }
    }
}
