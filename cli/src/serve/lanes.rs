//! The delivery thread: one task a lane works it off whenever it has work, and hears what the rest of the process asks of it.
//! What is sent and when is decided in `engine::deliver`.

use super::house::House;
use engine::deliver::Ports;
use engine::deliver::attach::Attachments;
use engine::deliver::command::{Command, Probe};
use engine::deliver::drive::{End, Job, Thrift, drive};
use engine::deliver::once::{Once, once};
use engine::deliver::owner::Claim;
use engine::keys::LaneName;
use engine::lane::lease::Predecessor;
use engine::model::destination::Destination;
use engine::port::{Clock, Exchange};
use engine::shape::Rendered;
use futures_util::stream::Stream;
use process::SystemClock;
use process::chance::{self, Chance};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use transport::HttpTransport;

/// After the store has failed a lane is tried again so much later, doubling up to [`LAST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What is asked of one lane.
pub enum Order {
    /// It may have work.
    Look,
    /// What holds for it has changed: the answer comes when nothing is sent by the old rules any more.
    Refresh(oneshot::Sender<()>),
    /// A run was canceled: the answer comes when nothing of it can start any more.
    Withdraw(String, oneshot::Sender<()>),
    /// Send this beside the deliveries.
    Probe(Box<(Destination, Rendered)>, oneshot::Sender<(Exchange, u64)>),
    /// End: the sender is dropped when what was on its way is recorded.
    Leave(oneshot::Sender<()>),
}

/// Every lane of this process, as the other threads see it.
#[derive(Clone)]
pub struct Lanes {
    orders: UnboundedSender<(LaneName, Order)>,
}

/// What [`Lanes`] ask, as the delivery thread takes it.
pub struct Orders(UnboundedReceiver<(LaneName, Order)>);

impl Lanes {
    /// The two ends.
    pub fn new() -> (Lanes, Orders) {
        let (orders, receiver) = unbounded_channel();
        (Lanes { orders }, Orders(receiver))
    }

    /// A lane may have work.
    pub fn look(&self, lane: &LaneName) {
        // A process that is ending looks at nothing.
        let _ = self.orders.send((lane.clone(), Order::Look));
    }

    /// What holds for a lane has changed; resolves when nothing is sent by the old rules any more.
    pub async fn refresh(&self, lane: &LaneName) {
        self.ask(lane, Order::Refresh).await;
    }

    /// A run was canceled; resolves when nothing of it can start any more.
    pub async fn withdraw(&self, lane: &LaneName, run: &str) {
        self.ask(lane, |done| Order::Withdraw(run.to_string(), done)).await;
    }

    /// Sends one request through a lane; `None`: the lane had other things to do.
    pub async fn probe(&self, lane: &LaneName, destination: &Destination, rendered: Rendered) -> Option<(Exchange, u64)> {
        let (done, answer) = oneshot::channel();
        let sample = Box::new((destination.clone(), rendered));
        self.orders.send((lane.clone(), Order::Probe(sample, done))).ok()?;
        answer.await.ok()
    }

    async fn ask(&self, lane: &LaneName, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, answer) = oneshot::channel();
        if self.orders.send((lane.clone(), order(done))).is_ok() {
            // A lane that has ended does nothing any more, which is what was asked for.
            let _ = answer.await;
        }
    }
}

/// Works lanes off until `leaving` resolves; then waits for what is on its way. Runs inside a `LocalSet`.
pub async fn work(house: Arc<House>, orders: Orders, mut leaving: tokio::sync::watch::Receiver<bool>) {
    let Orders(mut orders) = orders;
    let mut lanes: HashMap<LaneName, UnboundedSender<Order>> = HashMap::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((name, order)) = order else { break };
                let inbox = lanes.entry(name.clone()).or_insert_with(|| {
                    let (sender, inbox) = unbounded_channel();
                    let lane = Lane { house: Arc::clone(&house), name, inbox, leaving: None, transport: None };
                    tokio::task::spawn_local(lane.live());
                    sender
                });
                let _ = inbox.send(order);
            }
            _ = leaving.wait_for(|leaving| *leaving) => break,
        }
    }
    let mut left = Vec::new();
    for inbox in lanes.into_values() {
        let (done, gone) = oneshot::channel();
        if inbox.send(Order::Leave(done)).is_ok() {
            left.push(gone);
        }
    }
    for gone in left {
        let _ = gone.await;
    }
}

/// A lane of this process.
struct Lane {
    house: Arc<House>,
    name: LaneName,
    inbox: UnboundedReceiver<Order>,
    leaving: Option<oneshot::Sender<()>>,
    /// Connections stay open between two works, for as long as the address rules stay the same.
    transport: Option<(bool, HttpTransport)>,
}

impl Lane {
    async fn live(mut self) {
        let mut retry = FIRST_RETRY;
        while self.leaving.is_none() {
            match self.idle().await {
                Idle::Work => {}
                Idle::Over => return,
            }
            // What was asked for while it works makes it work again.
            loop {
                match self.work().await {
                    Ok(Worked::Again) => retry = FIRST_RETRY,
                    Ok(Worked::Rest) => {
                        retry = FIRST_RETRY;
                        break;
                    }
                    Err(error) => {
                        self.house.log.trouble("the work on a lane stopped", &[("lane", &self.name.partition()), ("error", &error)]);
                        tokio::time::sleep(retry).await;
                        retry = (retry * 2).min(LAST_RETRY);
                    }
                }
                if self.leaving.is_some() {
                    break;
                }
            }
        }
    }

    /// Waits for something to do.
    async fn idle(&mut self) -> Idle {
        loop {
            let Some(order) = self.inbox.recv().await else { return Idle::Over };
            match order {
                Order::Look => return Idle::Work,
                Order::Refresh(done) => {
                    let _ = done.send(());
                    return Idle::Work;
                }
                Order::Withdraw(run, done) => {
                    // Nothing of it is on its way here, and nothing can start before its parcels are looked at again.
                    let _ = done.send(());
                    self.house.planner.finish(&self.name, &run);
                }
                Order::Probe(sample, done) => self.probe(*sample, done).await,
                Order::Leave(done) => {
                    self.leaving = Some(done);
                    return Idle::Over;
                }
            }
        }
    }

    async fn work(&mut self) -> Result<Worked, String> {
        let house = Arc::clone(&self.house);
        let name = self.name.clone();
        let Some(destination) = house.destination(&name).await? else {
            // Its exports cannot be worked on without it; whoever puts it back has the lane look again.
            return Ok(Worked::Rest);
        };
        let transport = self.transport(&destination)?;
        let watch = house.watch(&name);
        let owner = chance::fresh_name("own", house.clock.now().wall);
        let job = Job {
            lane: &name,
            destination: &destination,
            owner: &owner,
            // The lock on the data directory proves that nobody else works on it.
            predecessor: Predecessor::Dead,
            thrift: Thrift::MACHINE,
            ends_when_dead: false,
            canary: None,
        };
        let ports = Ports { store: &house.store, objects: &house.objects, transport: &transport, clock: &house.clock };
        let mut chance = Chance::new();
        let inbox = Inbox { orders: &mut self.inbox, leaving: &mut self.leaving };
        let ended = drive(ports, job, &watch, &mut || chance.draw(), inbox).await;
        self.transport = Some((destination.allow_http, transport));
        match ended {
            Ok(End::Empty | End::Paused | End::Dead) => Ok(Worked::Rest),
            // Something has changed, or is about to.
            Ok(End::Stopped) => Ok(Worked::Again),
            // The process stood still for too long, or a clock was set: the lock still says that nobody else is here.
            Ok(End::Lost | End::Held { .. } | End::Resting { .. }) => Ok(Worked::Again),
            Err(error) => Err(error.to_string()),
        }
    }

    fn transport(&mut self, destination: &Destination) -> Result<HttpTransport, String> {
        match self.transport.take() {
            Some((allow_http, transport)) if allow_http == destination.allow_http => Ok(transport),
            _ => self.house.transport(destination),
        }
    }

    /// One request while the lane rests; a pause does not keep a person from testing.
    async fn probe(&mut self, (destination, rendered): (Destination, Rendered), mut done: oneshot::Sender<(Exchange, u64)>) {
        let Ok(transport) = self.transport(&destination) else { return };
        let house = &self.house;
        let attachments = Attachments::of(&destination);
        let owner = chance::fresh_name("own", house.clock.now().wall);
        let claim = Claim {
            lane: &self.name,
            owner: &owner,
            predecessor: Predecessor::Dead,
            limits: &destination.rate_limits,
            timeout: attachments.timeout(),
            canary: None,
        };
        let ports: Ports<'_, _, _, _, SystemClock> =
            Ports { store: &house.store, objects: &house.objects, transport: &transport, clock: &house.clock };
        let sent = tokio::select! {
            sent = once(ports, claim, &attachments, &rendered) => sent,
            // Who asked has gone: the permits that were reserved count as used, as they do after a crash.
            () = done.closed() => return,
        };
        self.transport = Some((destination.allow_http, transport));
        match sent {
            Ok(Once::Done(exchange, duration)) => drop(done.send((exchange, duration))),
            Ok(Once::Held(_)) => {}
            Err(error) => self.house.log.trouble("a test could not be sent", &[("error", &error.to_string())]),
        }
    }
}

/// Tells whoever asked, if anybody still waits.
fn answer(done: oneshot::Sender<()>) {
    let _ = done.send(());
}

enum Idle {
    Work,
    Over,
}

enum Worked {
    Again,
    Rest,
}

/// The orders of a lane as commands of the loop.
struct Inbox<'a> {
    orders: &'a mut UnboundedReceiver<Order>,
    leaving: &'a mut Option<oneshot::Sender<()>>,
}

impl Stream for Inbox<'_> {
    type Item = Command;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Command>> {
        let Poll::Ready(Some(order)) = self.orders.poll_recv(context) else { return Poll::Pending };
        Poll::Ready(Some(match order {
            Order::Look => Command::Look,
            Order::Refresh(done) => {
                // The loop stops sending in this very step.
                let _ = done.send(());
                Command::Stop
            }
            Order::Withdraw(run, done) => Command::Withdraw { run, halted: Box::new(move || answer(done)) },
            Order::Probe(sample, done) => Command::Probe(Probe {
                rendered: sample.1,
                done: Box::new(move |exchange, duration| drop(done.send((exchange, duration)))),
            }),
            Order::Leave(done) => {
                *self.leaving = Some(done);
                Command::Stop
            }
        }))
    }
}
