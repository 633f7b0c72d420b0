//! An office on memory: what the API asks of a process, with a clock that is set by hand and names that count. It must not plan or
//! deliver by itself; it notes what it was asked for.

use crate::memory::{MemoryObjects, MemorySecrets, MemoryStore};
use api::{Office, Probed};
use engine::catalog::Catalog;
use engine::deliver::attach::Attachments;
use engine::keys::LaneName;
use engine::model::destination::Destination;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::port::{Exchange, Now, Outgoing, PortError, Response};
use engine::shape::Rendered;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// An office on memory.
#[derive(Debug)]
pub struct MemoryOffice {
    /// Documents.
    pub store: MemoryStore,
    /// Objects.
    pub objects: MemoryObjects,
    /// Sealed values.
    pub secrets: MemorySecrets,
    /// Unix microseconds.
    pub wall: Cell<u64>,
    names: Cell<u64>,
    /// How often it was woken.
    pub woken: Cell<u64>,
    /// Runs that were halted.
    pub halted: RefCell<Vec<String>>,
    /// Destinations of which it was told that something changed; `None`: all.
    pub refreshed: RefCell<Vec<Option<String>>>,
    /// What probes sent.
    pub sent: RefCell<Vec<Outgoing>>,
    /// What probes are answered; `None`: the lane is busy.
    pub answer: RefCell<Option<Response>>,
    /// What it was told had failed.
    pub failures: RefCell<Vec<String>>,
}

impl MemoryOffice {
    /// An office with nothing in it, on 15 January 2027.
    pub fn new() -> MemoryOffice {
        let answer = Response {
            status: 200,
            headers: vec![("content-type".into(), "application/json".into())],
            body: b"{}".to_vec(),
            truncated: false,
        };
        MemoryOffice {
            store: MemoryStore::new(),
            objects: MemoryObjects::new(),
            secrets: MemorySecrets::new(),
            wall: Cell::new(1_800_000_000_000_000),
            names: Cell::new(0),
            woken: Cell::new(0),
            halted: RefCell::default(),
            refreshed: RefCell::default(),
            sent: RefCell::default(),
            answer: RefCell::new(Some(answer)),
            failures: RefCell::default(),
        }
    }

    /// Lets time go by.
    pub fn pass(&self, seconds: u64) {
        self.wall.set(self.wall.get() + seconds * 1_000_000);
    }
}

impl Default for MemoryOffice {
    fn default() -> MemoryOffice {
        MemoryOffice::new()
    }
}

impl Office for MemoryOffice {
    type Store = MemoryStore;
    type Objects = MemoryObjects;
    type Secrets = MemorySecrets;

    fn store(&self) -> &MemoryStore {
        &self.store
    }

    fn objects(&self) -> &MemoryObjects {
        &self.objects
    }

    fn secrets(&self) -> &MemorySecrets {
        &self.secrets
    }

    fn now(&self) -> Now {
        Now { wall: self.wall.get(), mono: self.wall.get() }
    }

    fn random(&self) -> [u8; 32] {
        self.names.set(self.names.get() + 1);
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&self.names.get().to_le_bytes());
        bytes
    }

    fn fresh_name(&self, kind: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("{kind}_{:016}", self.names.get())
    }

    fn wake(&self) {
        self.woken.set(self.woken.get() + 1);
    }

    async fn project(&self, organization: &Name) -> Result<Arc<Project>, PortError> {
        let catalog = Catalog { store: &self.store, secrets: &self.secrets, organization, now: self.wall.get() };
        let wrong = |problems| PortError::Failed(format!("{problems:?}"));
        catalog.project().await?.map(Arc::new).map_err(wrong)
    }

    fn look(&self, _lane: &LaneName) {
        self.woken.set(self.woken.get() + 1);
    }

    async fn halt(&self, _organization: &Name, run: &str) -> Result<(), PortError> {
        self.halted.borrow_mut().push(run.to_string());
        Ok(())
    }

    async fn refresh(&self, _organization: &Name, destination: Option<&Name>) -> Result<(), PortError> {
        self.refreshed.borrow_mut().push(destination.map(Name::to_string));
        Ok(())
    }

    async fn probe(&self, _lane: &LaneName, destination: &Destination, rendered: Rendered) -> Result<Probed, PortError> {
        let Some(answer) = self.answer.borrow().clone() else { return Ok(Probed::Busy) };
        match Attachments::of(destination).attach(rendered) {
            Ok(outgoing) => {
                self.sent.borrow_mut().push(outgoing);
                Ok(Probed::Done(Exchange::Response(answer), 1500))
            }
            Err(refused) => Ok(Probed::Done(refused, 0)),
        }
    }

    async fn pull(&self, outgoing: Outgoing) -> Result<Probed, PortError> {
        let Some(answer) = self.answer.borrow().clone() else { return Ok(Probed::Busy) };
        self.sent.borrow_mut().push(outgoing);
        Ok(Probed::Done(Exchange::Response(answer), 1500))
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_string()
    }

    fn failed(&self, request: &str, message: &str) {
        self.failures.borrow_mut().push(format!("{request}: {message}"));
    }
}
