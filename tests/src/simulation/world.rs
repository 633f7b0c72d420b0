//! The world that everything happens in: virtual time, tasks polled one at a time in an order drawn from the seed, and what is to
//! happen later. It must not look at a real clock and must not know what is simulated.

use super::chance::{Chance, mix};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A second, in microseconds.
pub(crate) const SECOND: u64 = 1_000_000;
/// So many polls at one instant mean that something spins.
const MOST_POLLS_AT_ONCE: u64 = 200_000;

type Deed = Box<dyn FnOnce(&Rc<World>)>;
type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Time, tasks, timers, and the record of what happened.
pub(crate) struct World {
    now: Cell<u64>,
    chance: RefCell<Chance>,
    later: RefCell<BinaryHeap<Reverse<Later>>>,
    count: Cell<u64>,
    tasks: RefCell<Vec<Option<Task>>>,
    wakers: RefCell<Vec<Arc<TaskWaker>>>,
    ready: Arc<Mutex<Vec<usize>>>,
    trace: Cell<u64>,
    steps: Cell<u64>,
    fired: RefCell<BTreeMap<&'static str, u64>>,
    violations: RefCell<Vec<String>>,
    calm: Cell<bool>,
    told: bool,
}

/// What happens at a time; equal times are ordered by chance.
struct Later {
    at: u64,
    tie: u64,
    count: u64,
    what: What,
}

enum What {
    Ring(Rc<Alarm>),
    Do(Deed),
}

impl Later {
    fn place(&self) -> (u64, u64, u64) {
        (self.at, self.tie, self.count)
    }
}

impl PartialEq for Later {
    fn eq(&self, other: &Later) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Later) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Later) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

struct TaskWaker {
    task: usize,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
        }
    }
}

impl World {
    /// An empty world at time 0. `told`: every step of the trace is printed.
    pub(crate) fn new(seed: u64, told: bool) -> Rc<World> {
        Rc::new(World {
            now: Cell::new(0),
            chance: RefCell::new(Chance::new(seed)),
            later: RefCell::default(),
            count: Cell::new(0),
            tasks: RefCell::default(),
            wakers: RefCell::default(),
            ready: Arc::default(),
            trace: Cell::new(seed),
            steps: Cell::new(0),
            fired: RefCell::default(),
            violations: RefCell::default(),
            calm: Cell::new(false),
            told,
        })
    }

    /// True time, microseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// A stream of chance of its own.
    pub(crate) fn fork(&self) -> Chance {
        self.chance.borrow_mut().fork()
    }

    /// Notes a step: all of them together make the hash by which two runs of a seed are compared.
    pub(crate) fn note(&self, what: &str, one: u64, two: u64) {
        if self.told {
            eprintln!("{:>14.6} {what} {one} {two}", self.now.get() as f64 / SECOND as f64);
        }
        let hash = what.bytes().fold(self.trace.get() ^ self.now.get(), |hash, byte| mix(hash ^ u64::from(byte)));
        self.trace.set(mix(mix(hash ^ one) ^ two));
        self.steps.set(self.steps.get() + 1);
    }

    /// Says more about a step, to who reads along.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            eprintln!("{:>14.6}   {}", self.now.get() as f64 / SECOND as f64, what());
        }
    }

    /// The hash of all steps, and how many there were.
    pub(crate) fn trace(&self) -> (u64, u64) {
        (self.trace.get(), self.steps.get())
    }

    /// Notes that a fault struck.
    pub(crate) fn strikes(&self, fault: &'static str) {
        *self.fired.borrow_mut().entry(fault).or_default() += 1;
        self.note(fault, 0, 0);
    }

    /// How often each fault struck.
    pub(crate) fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.fired.borrow().clone()
    }

    /// Notes that an invariant does not hold.
    pub(crate) fn violated(&self, what: impl FnOnce() -> String) {
        let mut violations = self.violations.borrow_mut();
        if violations.len() < 20 {
            violations.push(format!("at {:.6} s: {}", self.now.get() as f64 / SECOND as f64, what()));
        }
    }

    /// What did not hold.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }

    /// Whether no further faults strike.
    pub(crate) fn is_calm(&self) -> bool {
        self.calm.get()
    }

    /// Ends the faults, or lets them strike again.
    pub(crate) fn set_calm(&self, calm: bool) {
        self.calm.set(calm);
    }

    /// Does something after a while, whoever lives then.
    pub(crate) fn after(&self, wait: u64, what: impl FnOnce(&Rc<World>) + 'static) {
        self.at(self.now() + wait, What::Do(Box::new(what)));
    }

    fn at(&self, at: u64, what: What) {
        let tie = self.chance.borrow_mut().number();
        self.count.set(self.count.get() + 1);
        self.later.borrow_mut().push(Reverse(Later { at, tie, count: self.count.get(), what }));
    }

    /// Waits until a true time.
    pub(crate) fn sleep_until(self: &Rc<Self>, at: u64) -> Sleep {
        Sleep { world: Rc::clone(self), at, alarm: None }
    }

    /// Waits.
    pub(crate) fn sleep(self: &Rc<Self>, wait: u64) -> Sleep {
        self.sleep_until(self.now() + wait)
    }

    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut wakers = self.wakers.borrow_mut();
        let waker = Arc::new(TaskWaker { task: wakers.len(), queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) });
        wakers.push(Arc::clone(&waker));
        self.tasks.borrow_mut().push(Some(Box::pin(task)));
        waker.wake();
    }

    /// Runs until `main` has ended; what else goes on is dropped then.
    pub(crate) fn run(self: &Rc<Self>, main: impl Future<Output = ()> + 'static) {
        let ended = Rc::new(Cell::new(false));
        let end = Rc::clone(&ended);
        self.spawn(async move {
            main.await;
            end.set(true);
        });
        let mut polls_at_once = 0;
        while !ended.get() {
            if let Some(task) = self.draw() {
                polls_at_once += 1;
                if polls_at_once > MOST_POLLS_AT_ONCE {
                    self.violated(|| "something spins: time does not go on".to_string());
                    break;
                }
                self.poll(task);
                continue;
            }
            let Some(Reverse(later)) = self.later.borrow_mut().pop() else {
                self.violated(|| "everyone waits, and for nothing".to_string());
                break;
            };
            if later.at > self.now() {
                polls_at_once = 0;
                self.now.set(later.at);
            }
            match later.what {
                What::Ring(alarm) => alarm.ring(),
                What::Do(what) => what(self),
            }
        }
        // Tasks and timers hold the world: without this none of it would ever be freed.
        let (tasks, later) = (self.tasks.take(), self.later.take());
        drop((tasks, later));
    }

    fn draw(&self) -> Option<usize> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        match ready.len() {
            0 => None,
            1 => ready.pop(),
            many => Some(ready.swap_remove(self.chance.borrow_mut().below(many))),
        }
    }

    fn poll(&self, task: usize) {
        let waker = Arc::clone(&self.wakers.borrow()[task]);
        waker.queued.store(false, Ordering::Relaxed);
        let Some(mut future) = self.tasks.borrow_mut()[task].take() else { return };
        let waker = Waker::from(waker);
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut()[task] = Some(future);
        }
    }
}

#[derive(Default)]
struct Alarm {
    canceled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Alarm {
    fn ring(&self) {
        if let (false, Some(waker)) = (self.canceled.get(), self.waker.take()) {
            waker.wake();
        }
    }
}

/// Waits for a true time.
pub(crate) struct Sleep {
    world: Rc<World>,
    at: u64,
    alarm: Option<Rc<Alarm>>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.at {
            return Poll::Ready(());
        }
        let alarm = match &self.alarm {
            Some(alarm) => Rc::clone(alarm),
            None => {
                let alarm = Rc::new(Alarm::default());
                self.world.at(self.at, What::Ring(Rc::clone(&alarm)));
                self.alarm = Some(Rc::clone(&alarm));
                alarm
            }
        };
        alarm.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.canceled.set(true);
        }
    }
}

/// Something that one part of the world tells another, once.
pub(crate) struct Reply<T>(Rc<Told<T>>);

struct Told<T> {
    value: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Clone for Reply<T> {
    fn clone(&self) -> Reply<T> {
        Reply(Rc::clone(&self.0))
    }
}

impl<T> Reply<T> {
    pub(crate) fn new() -> Reply<T> {
        Reply(Rc::new(Told { value: RefCell::new(None), waker: RefCell::new(None) }))
    }

    /// Tells it; what was told first stands.
    pub(crate) fn tell(&self, value: T) {
        self.0.value.borrow_mut().get_or_insert(value);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    /// Waits for it.
    pub(crate) async fn told(&self) -> T {
        std::future::poll_fn(|context| match self.0.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.0.waker.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}
