//! What the API asks of the process that serves it: ports, time, chance, and the verbs that reach into work that is going on.

use engine::keys::LaneName;
use engine::model::destination::Destination;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::port::{Exchange, Now, Objects, Outgoing, PortError, Secrets, Store};
use engine::shape::Rendered;
use std::future::Future;
use std::sync::Arc;

/// What became of a probe.
#[derive(Debug)]
pub enum Probed {
    /// The exchange and its duration, microseconds.
    Done(Exchange, u64),
    /// No permit came free in time, or the lane could not be had.
    Busy,
}

/// What the API asks of the process that serves it.
pub trait Office: 'static {
    /// Documents.
    type Store: Store;
    /// Plans, pages, uploads.
    type Objects: Objects;
    /// Seals what must not lie in the clear.
    type Secrets: Secrets;

    /// Documents.
    fn store(&self) -> &Self::Store;

    /// Plans, pages, uploads.
    fn objects(&self) -> &Self::Objects;

    /// Seals what must not lie in the clear.
    fn secrets(&self) -> &Self::Secrets;

    /// The time.
    fn now(&self) -> Now;

    /// The longest part of an upload that reaches this process, bytes.
    fn part_bytes(&self) -> usize {
        crate::operation::ROWS_BYTES
    }

    /// A URL to which whoever has it may `PUT` this object for so many seconds. `None`: objects of this process are not reached so.
    fn presigned(&self, _object: &str, _seconds: u64) -> impl Future<Output = Result<Option<String>, PortError>> {
        std::future::ready(Ok(None))
    }

    /// Fresh and unguessable.
    fn random(&self) -> [u8; 32];

    /// A fresh name like `run_06c1m2k3n4p5q6r7`, in the order of time.
    fn fresh_name(&self, kind: &str) -> String;

    /// Work was added: a run to plan, a lane to look at.
    fn wake(&self);

    /// All definitions of an organization, secrets opened; as they are now, but not read again where they have not changed.
    fn project(&self, organization: &Name) -> impl Future<Output = Result<Arc<Project>, PortError>>;

    /// A lane has work.
    fn look(&self, lane: &LaneName);

    /// Resolves when nothing of the run can start any more; what is on its way may still end.
    fn halt(&self, organization: &Name, run: &str) -> impl Future<Output = Result<(), PortError>>;

    /// A definition, a pause or a resume changed what holds for this destination (`None`: for all): resolves when it is in force.
    fn refresh(&self, organization: &Name, destination: Option<&Name>) -> impl Future<Output = Result<(), PortError>>;

    /// Sends one request through the lane of a destination, with a permit, within 25 s at most.
    fn probe(&self, lane: &LaneName, destination: &Destination, rendered: Rendered) -> impl Future<Output = Result<Probed, PortError>>;

    /// Sends one request that goes to no destination, under the address rules of this process. Few go at once.
    fn pull(&self, outgoing: Outgoing) -> impl Future<Output = Result<Probed, PortError>>;

    /// What `/metrics` answers, in the text format of Prometheus. Names no rows and no secrets.
    fn metrics(&self) -> String;

    /// Something of ours failed while it answered a request: for the log, with what the answer does not say.
    fn failed(&self, request: &str, message: &str);
}
