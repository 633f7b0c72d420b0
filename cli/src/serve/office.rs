//! What the API asks of this process.

use super::house::House;
use api::{Office, Probed};
use backend_embedded::{EmbeddedObjects, EmbeddedSecrets, EmbeddedStore};
use engine::keys::LaneName;
use engine::model::destination::Destination;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::port::{Clock, Now, Outgoing, PortError, Transport};
use engine::run::document;
use engine::schedule;
use engine::shape::Rendered;
use process::chance;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use std::time::Duration;

/// A test waits so long for its turn and its answer.
const PROBE_WAIT: Duration = Duration::from_secs(25);

/// So many requests that go to no destination are on their way at once.
const MOST_PULLS: usize = 8;

/// What the API asks of this process.
pub struct ServeOffice {
    house: Arc<House>,
    wake: Arc<tokio::sync::Notify>,
    random: SystemRandom,
    /// Requests that go to no destination, so many at once.
    pulls: tokio::sync::Semaphore,
}

impl ServeOffice {
    /// Of a house.
    pub fn new(house: Arc<House>, wake: Arc<tokio::sync::Notify>) -> ServeOffice {
        ServeOffice { house, wake, random: SystemRandom::new(), pulls: tokio::sync::Semaphore::new(MOST_PULLS) }
    }
}

impl Office for ServeOffice {
    type Store = EmbeddedStore;
    type Objects = EmbeddedObjects;
    type Secrets = EmbeddedSecrets;

    fn store(&self) -> &EmbeddedStore {
        &self.house.store
    }

    fn objects(&self) -> &EmbeddedObjects {
        &self.house.objects
    }

    fn secrets(&self) -> &EmbeddedSecrets {
        &self.house.secrets
    }

    fn now(&self) -> Now {
        self.house.clock.now()
    }

    fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes).expect("the operating system gives random bytes");
        bytes
    }

    fn fresh_name(&self, kind: &str) -> String {
        chance::fresh_name(kind, self.house.clock.now().wall)
    }

    async fn project(&self, organization: &Name) -> Result<Arc<Project>, PortError> {
        self.house.project(organization).await.map_err(PortError::Failed)
    }

    fn look(&self, lane: &LaneName) {
        self.house.lanes.look(lane);
    }

    fn wake(&self) {
        self.wake.notify_one();
    }

    async fn halt(&self, organization: &Name, run: &str) -> Result<(), PortError> {
        let found = document::read(&self.house.store, organization, run, self.house.clock.seconds()).await?;
        if let Some((run, _)) = found {
            let lane = LaneName::first(organization, &run.destination);
            self.house.lanes.withdraw(&lane, &run.id).await;
            self.wake.notify_one();
        }
        Ok(())
    }

    async fn refresh(&self, organization: &Name, destination: Option<&Name>) -> Result<(), PortError> {
        let Ok(project) = self.house.project(organization).await else { return Ok(()) };
        schedule::settle(&self.house.store, &project, self.house.clock.now().wall).await?;
        for name in project.destinations.keys().filter(|name| destination.is_none_or(|wanted| wanted == *name)) {
            self.house.lanes.refresh(&LaneName::first(organization, name)).await;
        }
        self.wake.notify_one();
        Ok(())
    }

    async fn probe(&self, lane: &LaneName, destination: &Destination, rendered: Rendered) -> Result<Probed, PortError> {
        let sent = tokio::time::timeout(PROBE_WAIT, self.house.lanes.probe(lane, destination, rendered)).await;
        Ok(match sent {
            Ok(Some((exchange, duration))) => Probed::Done(exchange, duration),
            Ok(None) | Err(_) => Probed::Busy,
        })
    }

    async fn pull(&self, outgoing: Outgoing) -> Result<Probed, PortError> {
        let Ok(_turn) = self.pulls.try_acquire() else { return Ok(Probed::Busy) };
        let transport = self.house.transport_elsewhere().map_err(PortError::Failed)?;
        let begun = self.house.clock.now();
        let exchange = transport.send(outgoing).await;
        Ok(Probed::Done(exchange, self.house.clock.now().mono.saturating_sub(begun.mono)))
    }

    fn failed(&self, request: &str, message: &str) {
        self.house.log.trouble("a call could not be answered", &[("request", request), ("error", message)]);
    }

    fn metrics(&self) -> String {
        self.house.metrics.text(self.house.log.lost())
    }
}
