//! The desk: how requests, which any thread may take, reach the one thread that owns the [`Office`]. It must not know what a job does.

use crate::office::Office;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// So many jobs run at once; what comes beyond is turned away rather than kept waiting in memory.
const MOST_JOBS: usize = 256;

/// Work for the thread that owns the office.
pub type Job<O> = Box<dyn FnOnce(Rc<O>) -> LocalBoxFuture<'static, ()> + Send>;

/// Why a job gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Too many are at work.
    Busy,
    /// The office is no longer served.
    Gone,
    /// The job ended without a result: it panicked, or the office stopped in the middle of it.
    Broken,
}

/// A handle that any thread can hold: hands jobs to the thread that owns the office.
pub struct Desk<O> {
    jobs: mpsc::UnboundedSender<Job<O>>,
    places: Arc<Semaphore>,
}

impl<O> Clone for Desk<O> {
    fn clone(&self) -> Desk<O> {
        Desk { jobs: self.jobs.clone(), places: self.places.clone() }
    }
}

impl<O> std::fmt::Debug for Desk<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("free", &self.places.available_permits()).finish()
    }
}

impl<O: Office> Desk<O> {
    /// A desk, and what [`clerk`] serves.
    pub fn new() -> (Desk<O>, mpsc::UnboundedReceiver<Job<O>>) {
        let (jobs, waiting) = mpsc::unbounded_channel();
        (Desk { jobs, places: Arc::new(Semaphore::new(MOST_JOBS)) }, waiting)
    }

    /// Has a job done and waits for its result. A job goes on to its end where nobody waits any more.
    ///
    /// # Errors
    /// [`Closed`]: the job was not begun, or broke off.
    pub async fn ask<R, F>(&self, job: impl FnOnce(Rc<O>) -> F + Send + 'static) -> Result<R, Closed>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        let (reply, result) = oneshot::channel();
        self.post(move |office| {
            let work = job(office);
            async move { drop(reply.send(work.await)) }
        })?;
        result.await.map_err(|_| Closed::Broken)
    }

    /// Has a job done without waiting for it.
    ///
    /// # Errors
    /// [`Closed::Busy`] or [`Closed::Gone`]: the job was not begun.
    pub fn post<F>(&self, job: impl FnOnce(Rc<O>) -> F + Send + 'static) -> Result<(), Closed>
    where
        F: Future<Output = ()> + 'static,
    {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Closed::Busy)?;
        let job: Job<O> = Box::new(move |office| {
            let work = job(office);
            Box::pin(async move {
                work.await;
                drop(place);
            })
        });
        self.jobs.send(job).map_err(|_| Closed::Gone)
    }
}

/// Serves jobs until the last [`Desk`] is gone and every job has ended; runs on one thread, many at once.
pub async fn clerk<O: Office>(mut jobs: mpsc::UnboundedReceiver<Job<O>>, office: Rc<O>) {
    let mut running = FuturesUnordered::new();
    let mut open = true;
    loop {
        tokio::select! {
            job = jobs.recv(), if open => match job {
                // One broken request must not take the others, nor the deliveries of this thread, with it.
                Some(job) => running.push(AssertUnwindSafe(begin(job, office.clone())).catch_unwind()),
                None => open = false,
            },
            Some(_) = running.next(), if !running.is_empty() => {}
            else => return,
        }
    }
}

async fn begin<O: Office>(job: Job<O>, office: Rc<O>) {
    job(office).await;
}
