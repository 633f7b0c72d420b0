//! What the API asks of this function. Lanes are worked off by other functions, so it rings and waits for their answer.

use api::{Office, Probed};
use backend_aws::{AwsObjects, AwsSecrets, AwsStore};
use engine::deliver::Ports;
use engine::deliver::attach::Attachments;
use engine::deliver::ear;
use engine::deliver::once::{Once, once};
use engine::deliver::owner::Claim;
use engine::keys::LaneName;
use engine::lane::lease::Predecessor;
use engine::model::destination::Destination;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::port::{Clock, Now, Outgoing, PortError, Transport};
use engine::run::document;
use engine::schedule;
use engine::shape::Rendered;
use process::chance;
use ring::rand::{SecureRandom, SystemRandom};
use stack::Stack;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// API Gateway waits 30 s; a test waits so long for its turn and its answer.
const PROBE_WAIT: Duration = Duration::from_secs(25);
/// A lane that is held is asked for again so often.
const HELD_WAIT: Duration = Duration::from_millis(500);
/// Whoever works on a lane hears within a second; so long it may take to stop, microseconds.
const PATIENCE: u64 = 20_000_000;

/// What the API asks of this function.
pub struct StackOffice {
    /// The stack.
    pub stack: Stack,
    random: SystemRandom,
    woken: Cell<bool>,
    lanes: RefCell<BTreeSet<LaneName>>,
}

impl StackOffice {
    /// Of a stack.
    pub fn new(stack: Stack) -> StackOffice {
        StackOffice { stack, random: SystemRandom::new(), woken: Cell::new(false), lanes: RefCell::default() }
    }

    /// Whether work was added since this was asked last.
    pub fn take_woken(&self) -> bool {
        self.woken.take()
    }

    /// The lanes that got work since this was asked last.
    pub fn take_lanes(&self) -> BTreeSet<LaneName> {
        self.lanes.take()
    }

    /// What holds for a lane has changed: resolves when nobody goes by what held before.
    async fn tell(&self, lane: &LaneName) -> Result<(), PortError> {
        match ear::tell(&self.stack.store, &self.stack.clock, lane, PATIENCE).await? {
            true => Ok(()),
            false => {
                let what = "it is stored, but whoever works on the lane did not answer in time: ask again";
                Err(PortError::Failed(format!("{} {what}", lane.destination)))
            }
        }
    }
}

impl Office for StackOffice {
    type Store = AwsStore;
    type Objects = AwsObjects;
    type Secrets = AwsSecrets;

    fn store(&self) -> &AwsStore {
        &self.stack.store
    }

    fn objects(&self) -> &AwsObjects {
        &self.stack.objects
    }

    fn secrets(&self) -> &AwsSecrets {
        &self.stack.secrets
    }

    fn now(&self) -> Now {
        self.stack.clock.now()
    }

    fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes).expect("the operating system gives random bytes");
        bytes
    }

    fn fresh_name(&self, kind: &str) -> String {
        chance::fresh_name(kind, self.stack.clock.now().wall)
    }

    /// Lambda takes calls of 6 MB, in which a body is base64.
    fn part_bytes(&self) -> usize {
        4 << 20
    }

    async fn presigned(&self, object: &str, seconds: u64) -> Result<Option<String>, PortError> {
        self.stack.objects.presigned(object, Duration::from_secs(seconds)).await.map(Some)
    }

    async fn project(&self, organization: &Name) -> Result<Arc<Project>, PortError> {
        self.stack.project(organization).await.map_err(PortError::Failed)
    }

    fn look(&self, lane: &LaneName) {
        self.lanes.borrow_mut().insert(lane.clone());
    }

    fn wake(&self) {
        self.woken.set(true);
    }

    async fn halt(&self, organization: &Name, run: &str) -> Result<(), PortError> {
        if let Some((run, _)) = document::read(&self.stack.store, organization, run, self.stack.clock.seconds()).await? {
            self.tell(&LaneName::first(organization, &run.destination)).await?;
        }
        self.wake();
        Ok(())
    }

    async fn refresh(&self, organization: &Name, destination: Option<&Name>) -> Result<(), PortError> {
        let Ok(project) = self.stack.project(organization).await else { return Ok(()) };
        schedule::settle(&self.stack.store, &project, self.stack.clock.now().wall).await?;
        let wanted = project.destinations.keys().filter(|name| destination.is_none_or(|wanted| wanted == *name));
        let lanes: Vec<LaneName> = wanted.map(|name| LaneName::first(organization, name)).collect();
        futures_util::future::try_join_all(lanes.iter().map(|lane| self.tell(lane))).await?;
        self.wake();
        Ok(())
    }

    async fn probe(&self, lane: &LaneName, destination: &Destination, rendered: Rendered) -> Result<Probed, PortError> {
        let Ok(transport) = self.stack.transport(destination) else { return Ok(Probed::Busy) };
        let attachments = Attachments::of(destination);
        let owner = self.fresh_name("own");
        let claim = Claim {
            lane,
            owner: &owner,
            predecessor: Predecessor::Unknown,
            limits: &destination.rate_limits,
            timeout: attachments.timeout(),
            canary: None,
        };
        let ports = Ports { store: &self.stack.store, objects: &self.stack.objects, transport: &transport, clock: &self.stack.clock };
        let sent = tokio::time::timeout(PROBE_WAIT, async {
            loop {
                match once(ports, claim, &attachments, &rendered).await? {
                    Once::Done(exchange, duration) => return Ok::<_, PortError>(Probed::Done(exchange, duration)),
                    Once::Held(_) => tokio::time::sleep(HELD_WAIT).await,
                }
            }
        });
        // Who waited in vain leaves permits that count as used, as after a crash.
        sent.await.unwrap_or(Ok(Probed::Busy))
    }

    async fn pull(&self, outgoing: Outgoing) -> Result<Probed, PortError> {
        let transport = self.stack.transport_elsewhere().map_err(PortError::Failed)?;
        let begun = self.stack.clock.now();
        let exchange = transport.send(outgoing).await;
        Ok(Probed::Done(exchange, self.stack.clock.now().mono.saturating_sub(begun.mono)))
    }

    fn metrics(&self) -> String {
        "# a stack counts in CloudWatch: see its dashboard\n".to_string()
    }

    fn failed(&self, request: &str, message: &str) {
        stack::trouble("a call could not be answered", &[("request", request), ("error", message)]);
    }
}
