//! What the functions of a stack share: its parts as the environment names them, the definitions, messages to each other, and lines for
//! CloudWatch. It must not handle an event; each function does that for itself.

mod answer;
mod line;
mod names;

pub use answer::answer;
pub use line::{note, trouble};

use backend_aws::{Aws, AwsAthena, AwsFiles, AwsObjects, AwsQueue, AwsSecrets, AwsStore};
use engine::catalog::Catalog;
use engine::keys::LaneName;
use engine::model::destination::Destination;
use engine::model::name::Name;
use engine::model::project::{Project, RETENTION_DAYS};
use engine::port::{Clock, Key, PortError, Queue, Store};
use engine::ticket::{Task, Ticket};
use ipnet::IpNet;
use process::{Definitions, SystemClock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use transport::{AddressPolicy, HttpTransport, TransportOptions};

/// The parts of a stack.
#[derive(Debug)]
pub struct Stack {
    /// Documents.
    pub store: AwsStore,
    /// Objects.
    pub objects: AwsObjects,
    /// What opens secrets.
    pub secrets: AwsSecrets,
    /// Tasks for whoever plans.
    pub plan_queue: AwsQueue,
    /// Tickets for whoever delivers.
    pub deliver_queue: AwsQueue,
    /// Time.
    pub clock: SystemClock,
    /// A folder for files that vanish with the function.
    pub scratch: PathBuf,
    /// More keys than this a plan is not made of at once.
    pub most_keys: usize,
    /// The workgroup of queries that name none.
    pub athena_workgroup: String,
    aws: Aws,
    bucket: String,
    definitions: Definitions,
    ranges: Vec<(IpNet, Option<u16>)>,
    tells_attempts: bool,
}

impl Stack {
    /// The stack that the environment names. Nothing is called yet; what an earlier process left on the disk is removed.
    ///
    /// # Errors
    /// A name is missing or wrong, or the disk refuses: a sentence for the operator.
    pub fn from_environment() -> Result<Stack, String> {
        let named = names::Named::read()?;
        empty(&named.scratch)?;
        let aws = Aws::from_environment(named.names.clone()).map_err(|e| e.to_string())?;
        Stack::of(aws, named)
    }

    /// The same stack for a thread with a runtime of its own: other connections, one disk. One thread at a time works so: the folder for
    /// files that vanish is emptied for it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn for_a_thread(&self) -> Result<Stack, String> {
        let mut named = names::Named::read()?;
        named.scratch = self.scratch.join("work");
        // Whoever worked so before has ended.
        self.objects.release();
        empty(&named.scratch)?;
        Stack::of(self.aws.anew(&self.objects).map_err(|e| e.to_string())?, named)
    }

    fn of(aws: Aws, named: names::Named) -> Result<Stack, String> {
        Ok(Stack {
            store: aws.store(),
            objects: aws.objects().map_err(|e| e.to_string())?,
            secrets: aws.secrets(),
            plan_queue: aws.queue(named.plan_queue),
            deliver_queue: aws.queue(named.deliver_queue),
            clock: SystemClock::new(),
            scratch: named.scratch,
            most_keys: named.most_keys,
            athena_workgroup: named.athena_workgroup,
            definitions: Definitions::default(),
            ranges: named.ranges,
            tells_attempts: named.tells_attempts,
            bucket: named.names.bucket,
            aws,
        })
    }

    /// Opens a connection to the table, on a thread of its own: reading the machine's certificates takes some milliseconds that the first
    /// poll for an event is not to wait for.
    pub fn warm(&self) {
        let (store, seconds) = (self.store.clone(), self.clock.seconds());
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            // There is no such document; if the table cannot be reached, whoever reads from it says so.
            let _ = runtime.block_on(store.get(&Key::new("warm", "warm"), seconds));
        });
    }

    /// The definitions of an organization, for reading and changing.
    pub fn catalog<'a>(&'a self, organization: &'a Name) -> Catalog<'a, AwsStore, AwsSecrets> {
        Catalog { store: &self.store, secrets: &self.secrets, organization, now: self.clock.now().wall }
    }

    /// The definitions of an organization, as types, with their secrets; read anew only when they have changed.
    ///
    /// # Errors
    /// The store failed, or they do not fit together.
    pub async fn project(&self, organization: &Name) -> Result<Arc<Project>, String> {
        self.definitions.project(&self.catalog(organization)).await
    }

    /// The same, for whom it matters whose fault it is: the inner error is that the definitions do not fit together.
    ///
    /// # Errors
    /// The store failed.
    pub async fn read_project(&self, organization: &Name) -> Result<Result<Arc<Project>, String>, PortError> {
        self.definitions.read(&self.catalog(organization)).await
    }

    /// How long an organization's runs are kept.
    ///
    /// # Errors
    /// The store failed.
    pub async fn retention_seconds(&self, organization: &Name) -> Result<u64, PortError> {
        let settings = self.catalog(organization).organization().await?;
        let days = settings.body["retention_days"].as_u64().unwrap_or(RETENTION_DAYS.into());
        Ok(days * 24 * 3600)
    }

    /// The objects of any bucket that the function may read.
    ///
    /// # Errors
    /// The bucket's name is none.
    pub fn files(&self, bucket: &str) -> Result<AwsFiles, PortError> {
        self.aws.files(bucket)
    }

    /// Queries, and the objects that their rows are put into.
    ///
    /// # Errors
    /// The bucket's name is none.
    pub fn athena(&self) -> Result<(AwsAthena, AwsFiles), PortError> {
        Ok((self.aws.athena(), self.aws.files(&self.bucket)?))
    }

    /// What sends the requests of one destination: connections are never shared between destinations.
    ///
    /// # Errors
    /// The machine's certificates cannot be read.
    pub fn transport(&self, destination: &Destination) -> Result<HttpTransport, String> {
        let policy = AddressPolicy { allow_private: false, ranges: self.ranges.clone(), allow_http: destination.allow_http };
        HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() })
    }

    /// What sends requests that go to no destination.
    ///
    /// # Errors
    /// The machine's certificates cannot be read.
    pub fn transport_elsewhere(&self) -> Result<HttpTransport, String> {
        let policy = AddressPolicy { allow_private: false, ranges: self.ranges.clone(), allow_http: false };
        HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() })
    }

    /// Whether each attempt is to have its line (`PENSTOCK_LOG`), not failures alone.
    pub fn tells_attempts(&self) -> bool {
        self.tells_attempts
    }

    /// Asks whoever plans. What is lost on the way is found within a minute.
    pub async fn ask(&self, tasks: &[Task]) {
        if tasks.is_empty() {
            return;
        }
        if let Err(error) = self.plan_queue.send(tasks.iter().map(Task::message).collect()).await {
            trouble("tasks could not be sent; the next minute finds the work", &[("error", &error.to_string())]);
        }
    }

    /// Says that a lane has work, after so many seconds. What is lost on the way is found by its bell.
    pub async fn ticket(&self, lane: &LaneName, delay_seconds: u64) {
        if let Err(error) = self.deliver_queue.send(vec![Ticket::of(lane).message(delay_seconds)]).await {
            let fields = [("lane", lane.partition()), ("error", error.to_string())];
            trouble("a ticket could not be sent; the bell finds the work", &fields.each_ref().map(|(key, value)| (*key, value.as_str())));
        }
    }
}

fn empty(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("{} cannot be emptied: {error}", folder.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(folder).map_err(|e| format!("{} cannot be made: {e}", folder.display()))
}
