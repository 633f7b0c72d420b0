//! Where a command works: the project, its data directory and what lies in it.

use crate::args::Global;
use crate::failure::Failure;
use crate::project::{self, Loaded};
use backend_embedded::{DataDir, DeliveryLock, EmbeddedObjects, EmbeddedStore, LockError};
use engine::keys::LaneName;
use engine::model::destination::Destination;
use engine::model::export::Export;
use engine::model::name::Name;
use engine::model::source::Model;
use engine::run::retention::{self, Swept};
use ipnet::IpNet;
use planning::Ground;
use process::SystemClock;
use std::path::{Path, PathBuf};
use transport::{AddressPolicy, HttpTransport, TransportOptions};

/// The project, its data directory and what lies in it.
pub struct Site {
    /// The project.
    pub loaded: Loaded,
    /// The data directory.
    pub data: DataDir,
    /// Its documents.
    pub store: EmbeddedStore,
    /// Its objects.
    pub objects: EmbeddedObjects,
    /// Time.
    pub clock: SystemClock,
}

impl Site {
    /// Opens the project and its data directory, which is made if it is not there.
    pub fn open(global: &Global) -> Result<Site, Failure> {
        let loaded = project::load(&global.project)?;
        let path = global.data_dir.clone().unwrap_or_else(|| loaded.folder.join(".penstock"));
        let data = DataDir::open(&path)?;
        let (store, objects) = (data.store()?, data.objects()?);
        Ok(Site { loaded, data, store, objects, clock: SystemClock::new() })
    }

    /// The organization.
    pub fn organization(&self) -> &Name {
        &self.loaded.project.organization.id
    }

    /// An export by name.
    pub fn export(&self, name: &str) -> Result<&Export, Failure> {
        let exports = &self.loaded.project.exports;
        let found = Name::new(name).ok().and_then(|name| exports.get(&name));
        found.ok_or_else(|| unknown("export", name, exports.keys()))
    }

    /// A destination by name.
    pub fn destination(&self, name: &str) -> Result<&Destination, Failure> {
        let destinations = &self.loaded.project.destinations;
        let found = Name::new(name).ok().and_then(|name| destinations.get(&name));
        found.ok_or_else(|| unknown("destination", name, destinations.keys()))
    }

    /// The destination of an export.
    pub fn destination_of(&self, export: &Export) -> &Destination {
        &self.loaded.project.destinations[&export.destination]
    }

    /// The model of an export.
    pub fn model_of(&self, export: &Export) -> &Model {
        &self.loaded.project.models[&export.model]
    }

    /// The lane of a destination.
    pub fn lane(&self, destination: &Name) -> LaneName {
        LaneName::first(self.organization(), destination)
    }

    /// Deletes a piece of what is no longer kept. Who delivers calls it, so that nothing piles up where nobody serves.
    pub async fn forget_old(&self) -> Result<(), Failure> {
        const PIECE: u64 = 20_000;
        let kept_seconds = u64::from(self.loaded.project.organization.retention_days) * 24 * 3600;
        let now = self.clock.seconds();
        let swept = retention::sweep(&self.store, &self.objects, self.organization(), kept_seconds, now, PIECE).await?;
        if swept != Swept::default() {
            self.store.scrub().await?;
        }
        Ok(())
    }

    /// A folder for files that vanish with the process.
    pub fn scratch(&self) -> Result<PathBuf, Failure> {
        scratch(&self.data)
    }

    /// Where its plans are made, with a folder for files that vanish with the process.
    pub fn ground<'a>(&'a self, scratch: &'a Path) -> Ground<'a, EmbeddedStore, EmbeddedObjects> {
        Ground {
            project: &self.loaded.project,
            folder: &self.loaded.folder,
            remote: &planning::NoRemote,
            scratch,
            store: &self.store,
            objects: &self.objects,
            clock: &self.clock,
            most_keys: usize::MAX,
        }
    }

    /// The right to deliver from this data directory; one process at a time has it.
    pub fn lock(&self) -> Result<DeliveryLock, Failure> {
        lock(&self.data)
    }
}

/// A folder for files that vanish with the process.
pub fn scratch(data: &DataDir) -> Result<PathBuf, Failure> {
    let path = data.path().join("scratch");
    std::fs::create_dir_all(&path).map_err(|e| Failure::new(format!("{} cannot be made: {e}", path.display())))?;
    Ok(path)
}

/// The right to deliver from a data directory; one process at a time has it.
pub fn lock(data: &DataDir) -> Result<DeliveryLock, Failure> {
    let lock = data.lock_delivering().map_err(|error| match error {
        LockError::Held(held) => Failure::new(held.to_string()),
        LockError::Port(error) => Failure::from(error),
    })?;
    clear_scratch(data);
    Ok(lock)
}

/// Removes what killed processes left in the scratch folder a day ago or longer; younger files may be another process's plan.
fn clear_scratch(data: &DataDir) {
    const LEFT_AFTER: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
    let Ok(entries) = std::fs::read_dir(data.path().join("scratch")) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        if modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > LEFT_AFTER)) {
            // What cannot be removed takes up room and nothing else.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The private addresses that the command line allows.
pub fn allowed_ranges(global: &Global) -> Result<Vec<(IpNet, Option<u16>)>, Failure> {
    let ranges: Result<Vec<_>, String> = global.allow_range.iter().map(|text| transport::parse_range(text)).collect();
    ranges.map_err(|e| Failure::usage(format!("--allow-range: {e}")))
}

/// What sends the requests of one destination: connections are never shared between destinations.
pub fn transport(global: &Global, destination: &Destination) -> Result<HttpTransport, Failure> {
    let policy = AddressPolicy { allow_private: global.allow_private, ranges: allowed_ranges(global)?, allow_http: destination.allow_http };
    HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() }).map_err(Failure::new)
}

fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a Name>) -> Failure {
    let known: Vec<&str> = known.map(Name::as_str).collect();
    let list = if known.is_empty() { "the project has none".to_string() } else { format!("the project has {}", known.join(", ")) };
    Failure::usage(format!("there is no {kind} `{name}`: {list}"))
}
