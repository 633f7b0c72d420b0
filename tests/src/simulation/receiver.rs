//! The receiver: an API that keeps rows by key, so that the same request twice does what it does once. It counts what arrives against
//! the limits of its owner's contract, and answers as badly as the seed wants.

use super::chance::{Chance, fingerprint};
use super::workload::ReceiverFaults;
use super::world::{SECOND, World};
use engine::model::destination::Destination;
use engine::port::{Exchange, FailureReason, Outgoing, Response};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;

/// The whole receiver.
pub(super) struct Receiver {
    world: Rc<World>,
    faults: ReceiverFaults,
    chance: RefCell<Chance>,
    /// Rows by key.
    pub(super) rows: RefCell<BTreeMap<String, String>>,
    windows: RefCell<Vec<Window>>,
    concurrency: u32,
    open: Cell<u32>,
    /// The most that were open at once.
    pub(super) most_open: Cell<u32>,
    /// What each idempotency key came with.
    keys: RefCell<HashMap<String, u64>>,
    /// Deliveries that were done.
    done: RefCell<HashSet<String>>,
    /// Deliveries that were answered with success, and the keys of the rows in them.
    pub(super) accepted: RefCell<BTreeMap<String, BTreeSet<String>>>,
    /// Deliveries, and the statuses they were answered with.
    pub(super) answered: RefCell<HashMap<String, Vec<u16>>>,
    /// Requests that arrived.
    pub(super) arrivals: Cell<u64>,
    mood: Cell<(Mood, u64)>,
}

/// What a receiver is like for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Failing,
    Silent,
}

/// A limit, and the arrivals that its window holds.
struct Window {
    requests: usize,
    length: u64,
    arrivals: VecDeque<u64>,
}

/// What a request meets.
pub(super) struct Reaction {
    /// How long until it is answered.
    pub(super) after: u64,
    /// The answer; `None`: none will come.
    pub(super) exchange: Option<Exchange>,
}

/// The idempotency key of a request, which is its delivery's id.
pub(super) fn delivery_of(request: &Outgoing) -> String {
    let key = request.headers.iter().find(|(name, _)| name == "Idempotency-Key");
    key.map(|(_, value)| value.clone()).unwrap_or_default()
}

impl Receiver {
    pub(super) fn new(world: &Rc<World>, destination: &Destination, faults: ReceiverFaults) -> Receiver {
        let windows = destination.rate_limits.iter().map(|limit| Window {
            requests: limit.requests as usize,
            length: u64::from(limit.window_seconds) * SECOND,
            arrivals: VecDeque::new(),
        });
        Receiver {
            world: Rc::clone(world),
            faults,
            chance: RefCell::new(world.fork()),
            rows: RefCell::default(),
            windows: RefCell::new(windows.collect()),
            concurrency: destination.concurrency,
            open: Cell::new(0),
            most_open: Cell::new(0),
            keys: RefCell::default(),
            done: RefCell::default(),
            accepted: RefCell::default(),
            answered: RefCell::default(),
            arrivals: Cell::new(0),
            mood: Cell::new((Mood::Well, 0)),
        }
    }

    /// Makes it fail, or say nothing, until a time.
    pub(super) fn set_mood(&self, mood: Mood, until: u64) {
        self.mood.set((mood, until));
    }

    /// A request has arrived. It is open from now on until [`Receiver::close`].
    pub(super) fn arrive(&self, request: &Outgoing) -> Reaction {
        self.count();
        let delivery = delivery_of(request);
        self.world.note("arrives", fingerprint(delivery.as_bytes()), self.arrivals.get());
        let body = request.body.as_deref().unwrap_or_default();
        let bytes =
            fingerprint(format!("{} {} {:?} ", request.method.as_str(), request.url, request.headers).as_bytes()) ^ fingerprint(body);
        if *self.keys.borrow_mut().entry(delivery.clone()).or_insert(bytes) != bytes {
            self.world.violated(|| format!("I7: {delivery} came with other bytes than before"));
        }
        let mut chance = self.chance.borrow_mut();
        let after = 30_000 + chance.spread(60_000, 0.6);
        let (status, applies) = if self.faults.refuses_repeats && self.done.borrow().contains(&delivery) {
            self.world.strikes("refused repeat");
            (Some(422), false)
        } else {
            self.verdict(&mut chance)
        };
        if applies {
            self.done.borrow_mut().insert(delivery.clone());
        }
        self.world.tell(|| format!("{delivery} is answered {status:?}, done: {applies}: {}", String::from_utf8_lossy(body)));
        let Some(status) = status else {
            if applies {
                self.apply(request);
            }
            return Reaction { after, exchange: None };
        };
        if applies {
            let keys = self.apply(request);
            if (200..300).contains(&status) {
                self.accepted.borrow_mut().entry(delivery.clone()).or_default().extend(keys);
            }
        }
        if status == 0 {
            let message = "the connection was reset".to_string();
            let broken = Exchange::Failure { reason: FailureReason::Broken, message, maybe_sent: true };
            return Reaction { after: after.min(chance.between(1, 50_000)), exchange: Some(broken) };
        }
        self.answered.borrow_mut().entry(delivery).or_default().push(status);
        let mut headers = Vec::new();
        if status == 429 && chance.happens(0.8) {
            headers.push(("Retry-After".to_string(), chance.between(1, self.faults.longest_retry_after).to_string()));
        }
        let response = Response { status, headers, body: b"{}".to_vec(), truncated: false };
        Reaction { after, exchange: Some(Exchange::Response(response)) }
    }

    /// A request is no longer open: answered, broken, or past its deadline.
    pub(super) fn close(&self) {
        self.open.set(self.open.get() - 1);
    }

    fn count(&self) {
        let now = self.world.now();
        self.arrivals.set(self.arrivals.get() + 1);
        for window in self.windows.borrow_mut().iter_mut() {
            while window.arrivals.front().is_some_and(|at| at + window.length <= now) {
                window.arrivals.pop_front();
            }
            window.arrivals.push_back(now);
            let (count, most) = (window.arrivals.len(), window.requests);
            if count > most {
                self.world.violated(|| format!("I4: {count} arrivals within {} s, {most} are allowed", window.length / SECOND));
            }
        }
        self.open.set(self.open.get() + 1);
        self.most_open.set(self.most_open.get().max(self.open.get()));
        if self.open.get() > self.concurrency {
            self.world.violated(|| format!("I5: {} requests are open, {} are allowed", self.open.get(), self.concurrency));
        }
    }

    /// The status (0: the connection is reset; none: silence), and whether what was asked is done.
    fn verdict(&self, chance: &mut Chance) -> (Option<u16>, bool) {
        let faults = &self.faults;
        let (mood, until) = self.mood.get();
        if self.world.is_calm() {
            return (Some(200), true);
        }
        if until > self.world.now() {
            match mood {
                Mood::Failing => return (Some(503), false),
                Mood::Silent => return (None, false),
                Mood::Well => {}
            }
        }
        let table = [
            (faults.server_error, "500 before", Some(500), false),
            (faults.server_error, "500 after", Some(500), true),
            (faults.too_many, "429", Some(429), false),
            (faults.rejects, "422", Some(422), false),
            (faults.resets, "reset before", Some(0), false),
            (faults.resets, "reset after", Some(0), true),
            (faults.silence, "silence before", None, false),
            (faults.silence, "silence after", None, true),
        ];
        for (probability, fault, status, applies) in table {
            if chance.happens(probability) {
                self.world.strikes(fault);
                return (status, applies);
            }
        }
        (Some(200), true)
    }

    /// Does what a request asks for, and gives the keys of its rows.
    fn apply(&self, request: &Outgoing) -> Vec<String> {
        let body: Value = match serde_json::from_slice(request.body.as_deref().unwrap_or_default()) {
            Ok(body) => body,
            Err(error) => {
                self.world.violated(|| format!("a body does not parse: {error}"));
                return Vec::new();
            }
        };
        let mut rows = self.rows.borrow_mut();
        let mut keys = Vec::new();
        for row in body["rows"].as_array().into_iter().flatten() {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_string();
            let id = text("id");
            match request.url.path() {
                "/remove" => rows.remove(&id),
                _ => rows.insert(id.clone(), text("v")),
            };
            keys.push(id);
        }
        keys
    }
}
