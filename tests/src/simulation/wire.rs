//! The network between a host and the receiver. A request that was sent is on its way, whether its host lives or not; it arrives
//! before its deadline or not at all.

use super::Simulation;
use super::chance::Chance;
use super::host::Session;
use super::receiver::delivery_of;
use super::world::{Reply, SECOND, World};
use engine::port::{Exchange, FailureReason, Outgoing, Transport};
use futures_util::future::{Either, select};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;

/// A host's way to the receiver.
pub(super) struct Wire {
    simulation: Rc<Simulation>,
    session: Rc<Session>,
    chance: RefCell<Chance>,
}

impl Wire {
    pub(super) fn new(simulation: &Rc<Simulation>, session: &Rc<Session>, chance: Chance) -> Wire {
        Wire { simulation: Rc::clone(simulation), session: Rc::clone(session), chance: RefCell::new(chance) }
    }

    /// Until a request arrives, or an answer does; `None`: never.
    fn way(&self, stalls: f64) -> Option<u64> {
        let (world, faults) = (&self.simulation.world, &self.simulation.workload.faults);
        let mut chance = self.chance.borrow_mut();
        let way = 15_000 + chance.spread(6_000, 0.7);
        if world.is_calm() {
            return Some(way);
        }
        if chance.happens(faults.lost_packets) {
            world.strikes("lost packet");
            return None;
        }
        if chance.happens(stalls) {
            world.strikes("wire stall");
            return Some(way + chance.between(SECOND * 3 / 10, 2 * SECOND));
        }
        Some(way)
    }

    fn set_out(&self, request: Outgoing, deadline: u64, reply: &Reply<Exchange>) {
        let world = &self.simulation.world;
        let stalls = self.simulation.workload.faults.wire_stalls;
        let refuses = !world.is_calm() && self.chance.borrow_mut().happens(self.simulation.workload.faults.refused_connections);
        if refuses {
            world.strikes("refused connection");
            let message = "connection refused".to_string();
            let refused = Exchange::Failure { reason: FailureReason::Connect, message, maybe_sent: false };
            let reply = reply.clone();
            return world.after(20_000, move |_| reply.tell(refused));
        }
        let Some(way) = self.way(stalls).filter(|way| world.now() + way < deadline) else { return };
        let back = self.way(stalls);
        let (receiver, session, reply) = (Rc::clone(&self.simulation.receiver), Rc::clone(&self.session), reply.clone());
        world.after(way, move |world: &Rc<World>| {
            if session.gone.get() {
                return world.note("never arrives", session.number, 0);
            }
            let reaction = receiver.arrive(&request);
            let closes = match reaction.exchange {
                Some(_) => reaction.after.min(deadline - world.now()),
                None => deadline - world.now(),
            };
            let closed = Rc::new(Cell::new(false));
            session.open.borrow_mut().retain(|closed| !closed.get());
            session.open.borrow_mut().push(Rc::clone(&closed));
            world.after(closes, move |world| {
                if !closed.replace(true) {
                    receiver.close();
                }
                if let (Some(exchange), Some(back)) = (reaction.exchange, back) {
                    world.after(back, move |_| reply.tell(exchange));
                }
            });
        });
    }
}

impl Transport for Wire {
    async fn send(&self, request: Outgoing) -> Exchange {
        let world = &self.simulation.world;
        let deadline = world.now() + request.timeout;
        let delivery = delivery_of(&request);
        // What was granted before the answer was heard goes at the same instant.
        let (heard, until) = self.session.asked_to_wait.get();
        if heard < world.now() && world.now() < until {
            world.violated(|| format!("GL-19: {delivery} is sent while Retry-After asks to wait"));
        }
        if world.now() < self.simulation.paused_until.get() {
            world.violated(|| format!("GL-19: {delivery} is sent while Retry-After asks to wait, as an owner before has heard"));
        }
        self.simulation.sends.set(self.simulation.sends.get() + 1);
        let reply = Reply::new();
        self.set_out(request, deadline, &reply);
        let (told, timeout) = (pin!(reply.told()), pin!(world.sleep_until(deadline)));
        let exchange = match select(told, timeout).await {
            Either::Left((exchange, _)) => exchange,
            Either::Right(_) => {
                let message = "no answer in time".to_string();
                Exchange::Failure { reason: FailureReason::Timeout, message, maybe_sent: true }
            }
        };
        let status = match &exchange {
            Exchange::Response(response) => {
                let wait = response.headers.iter().find(|(name, _)| name == "Retry-After");
                if let Some(wait) = wait.and_then(|(_, value)| value.parse::<u64>().ok()) {
                    // A clock that goes too fast ends the wait a little early.
                    let until = world.now() + wait * SECOND - wait * SECOND / 1000;
                    if until > self.session.asked_to_wait.get().1 {
                        self.session.asked_to_wait.set((world.now(), until));
                    }
                }
                Some(response.status)
            }
            Exchange::Failure { .. } => None,
        };
        world.tell(|| format!("session {} learns {delivery} {status:?}", self.session.number));
        self.session.returned.borrow_mut().push((delivery, status));
        exchange
    }
}
