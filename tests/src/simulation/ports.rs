//! The store and the objects as a host meets them: far away, slow at times, and failing between any two calls, before or after
//! having done what was asked. What was asked once happens in the world, whether the host lives to hear of it or not.

use super::Simulation;
use super::chance::{Chance, mix};
use super::host::Session;
use super::workload::CrashAt;
use super::world::{Reply, SECOND};
use engine::lane::lease::Tokens;
use engine::port::{Document, Expect, Index, Key, Listed, Objects, PortError, Store, Stored, Write};
use futures_util::FutureExt;
use std::cell::RefCell;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lot {
    /// It is done and answered.
    Fine,
    /// Nothing is done.
    Refused,
    /// It is done, and the answer is lost.
    Unheard,
    /// Of many writes some are done, and the answer is lost.
    Torn,
    /// Of many writes some fail, each by itself.
    Patchy,
}

struct Course {
    lot: Lot,
    out: u64,
    back: u64,
    seed: u64,
}

/// How calls of one host fare.
struct Line {
    simulation: Rc<Simulation>,
    session: Option<Rc<Session>>,
    chance: RefCell<Chance>,
}

impl Line {
    fn course(&self, what: &'static str, writes: usize) -> Course {
        let (world, faults) = (&self.simulation.world, &self.simulation.workload.faults);
        let mut chance = self.chance.borrow_mut();
        // Whoever plans is near the store: so that all of a beginning fits between two calls of a host that leaves.
        let usual = self.simulation.workload.call_time / if self.session.is_some() { 2 } else { 40 };
        let mut course =
            Course { lot: Lot::Fine, out: 500 + chance.spread(usual, 0.5), back: 500 + chance.spread(usual, 0.5), seed: chance.number() };
        let Some(session) = &self.session else { return course };
        let call = self.simulation.calls.get() + 1;
        self.simulation.calls.set(call);
        world.note(what, session.number, call);
        match self.simulation.workload.crash_at {
            Some(CrashAt::Call { call: last, done }) if last == call => {
                session.doomed.set(true);
                course.lot = if done { Lot::Fine } else { Lot::Refused };
                return course;
            }
            _ => {}
        }
        if world.is_calm() {
            return course;
        }
        if chance.happens(faults.slow_calls) {
            world.strikes("slow call");
            let wait = chance.between(SECOND / 5, 8 * SECOND);
            if chance.happens(0.5) { course.out += wait } else { course.back += wait }
        }
        let throttled = self.simulation.throttled_until.get() > world.now();
        let (lot, fault) = if throttled && chance.happens(0.7) {
            (Lot::Refused, "throttled call")
        } else if chance.happens(faults.refused_calls) {
            (Lot::Refused, "refused call")
        } else if chance.happens(faults.unheard_calls) {
            match writes {
                0 | 1 => (Lot::Unheard, "unheard call"),
                _ => *chance.pick(&[(Lot::Unheard, "unheard call"), (Lot::Torn, "torn writes"), (Lot::Patchy, "patchy writes")]),
            }
        } else {
            return course;
        };
        world.strikes(fault);
        course.lot = lot;
        course
    }

    async fn call<T: 'static>(&self, course: Course, act: impl FnOnce(Lot, u64) -> Result<T, PortError> + 'static) -> Result<T, PortError> {
        let Course { lot, out, back, seed } = course;
        let reply = Reply::new();
        let told = reply.clone();
        self.simulation.world.after(out, move |world| {
            let failed = || Err(PortError::Failed("the store did not answer".to_string()));
            let result = match lot {
                Lot::Refused => failed(),
                Lot::Fine | Lot::Patchy => act(lot, seed),
                Lot::Unheard | Lot::Torn => {
                    drop(act(lot, seed));
                    failed()
                }
            };
            world.after(back, move |_| told.tell(result));
        });
        reply.told().await
    }
}

/// In memory everything is done when it is first polled.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a store in memory does not wait")
}

/// Documents, from afar.
pub(super) struct HostStore(Line);

impl HostStore {
    /// Of a session; without one calls take their time and never fail.
    pub(super) fn new(simulation: &Rc<Simulation>, session: Option<&Rc<Session>>, chance: Chance) -> HostStore {
        HostStore(Line { simulation: Rc::clone(simulation), session: session.cloned(), chance: RefCell::new(chance) })
    }

    /// What a write of the lane's document says of the session that has it written.
    fn watch_tokens(&self, key: &Key, document: &Document) -> impl FnOnce(bool) + use<> {
        let claim = match (&self.0.session, *key == self.0.simulation.lane.tokens()) {
            (Some(session), true) => {
                let tokens: Tokens = serde_json::from_slice(&document.body).expect("the lane's document can be read");
                (tokens.owner == Some(session.owner())).then(|| (Rc::clone(session), tokens.generation))
            }
            _ => None,
        };
        let simulation = Rc::clone(&self.0.simulation);
        move |written| {
            if let (true, Some((session, generation))) = (written, claim) {
                simulation.owns(&session, generation);
            }
        }
    }
}

impl Store for HostStore {
    async fn get(&self, key: &Key, now: u64) -> Result<Option<Stored>, PortError> {
        let (documents, key) = (self.0.simulation.documents.clone(), key.clone());
        let course = self.0.course("get", 0);
        self.0.call(course, move |_, _| at_once(documents.get(&key, now))).await
    }

    async fn put(&self, key: &Key, document: Document, expect: Expect, now: u64) -> Result<u64, PortError> {
        let (documents, key) = (self.0.simulation.documents.clone(), key.clone());
        let watch = self.watch_tokens(&key, &document);
        let course = self.0.course("put", 1);
        let put = move |_, _| {
            let result = at_once(documents.put(&key, document, expect, now));
            watch(result.is_ok());
            result
        };
        self.0.call(course, put).await
    }

    async fn delete(&self, key: &Key, expect: Expect, now: u64) -> Result<(), PortError> {
        let (documents, key) = (self.0.simulation.documents.clone(), key.clone());
        let course = self.0.course("delete", 1);
        self.0.call(course, move |_, _| at_once(documents.delete(&key, expect, now))).await
    }

    async fn write(&self, writes: Vec<Write>, now: u64) -> Result<Vec<Result<u64, PortError>>, PortError> {
        let documents = self.0.simulation.documents.clone();
        let course = self.0.course("write", writes.len());
        let write = move |lot, seed: u64| {
            let mut answers = Vec::with_capacity(writes.len());
            for (place, write) in writes.into_iter().enumerate() {
                let coin = mix(seed ^ place as u64);
                let done = lot == Lot::Fine || lot == Lot::Unheard || coin & 1 == 0;
                let answer = match done {
                    true => at_once(documents.write(vec![write], now))?.remove(0),
                    false => Err(PortError::Failed("this write did not take place".to_string())),
                };
                // Of a patchy call even what was done may be answered as if it were not.
                let answer = if lot == Lot::Patchy && coin & 2 == 0 { Err(PortError::Failed("no answer".to_string())) } else { answer };
                answers.push(answer);
            }
            Ok(answers)
        };
        self.0.call(course, write).await
    }

    async fn list(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        let (documents, partition) = (self.0.simulation.documents.clone(), partition.to_string());
        let (start, end) = (range.start.to_string(), range.end.to_string());
        let course = self.0.course("list", 0);
        self.0.call(course, move |_, _| at_once(documents.list(&partition, &start..&end, limit, now))).await
    }

    async fn list_index(
        &self,
        index: Index,
        partition: &str,
        range: Range<&str>,
        newest_first: bool,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Listed>, PortError> {
        let (documents, partition) = (self.0.simulation.documents.clone(), partition.to_string());
        let (start, end) = (range.start.to_string(), range.end.to_string());
        let course = self.0.course("list index", 0);
        self.0.call(course, move |_, _| at_once(documents.list_index(index, &partition, &start..&end, newest_first, limit, now))).await
    }
}

/// Objects, from afar.
pub(super) struct HostObjects(Line);

impl HostObjects {
    /// Of a session; without one calls take their time and never fail.
    pub(super) fn new(simulation: &Rc<Simulation>, session: Option<&Rc<Session>>, chance: Chance) -> HostObjects {
        HostObjects(Line { simulation: Rc::clone(simulation), session: session.cloned(), chance: RefCell::new(chance) })
    }
}

impl Objects for HostObjects {
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        let (objects, name) = (self.0.simulation.objects.clone(), name.to_string());
        let course = self.0.course("put object", 1);
        self.0.call(course, move |_, _| at_once(objects.put(&name, bytes))).await
    }

    async fn adopt(&self, name: &str, file: &Path) -> Result<(), PortError> {
        let (objects, name, file) = (self.0.simulation.objects.clone(), name.to_string(), file.to_path_buf());
        let course = self.0.course("adopt object", 1);
        self.0.call(course, move |_, _| at_once(objects.adopt(&name, &file))).await
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, PortError> {
        let (objects, name) = (self.0.simulation.objects.clone(), name.to_string());
        let course = self.0.course("get object", 0);
        self.0.call(course, move |_, _| at_once(objects.get(&name, range))).await
    }

    async fn local(&self, name: &str) -> Result<PathBuf, PortError> {
        let (objects, name) = (self.0.simulation.objects.clone(), name.to_string());
        let course = self.0.course("local object", 0);
        self.0.call(course, move |_, _| at_once(objects.local(&name))).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        let (objects, prefix) = (self.0.simulation.objects.clone(), prefix.to_string());
        let course = self.0.course("list objects", 0);
        self.0.call(course, move |_, _| at_once(objects.list(&prefix))).await
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        let (objects, name) = (self.0.simulation.objects.clone(), name.to_string());
        let course = self.0.course("delete object", 1);
        self.0.call(course, move |_, _| at_once(objects.delete(&name))).await
    }
}
