//! Connections that are kept: per scheme, host and port, for seconds.
//!
//! An idle HTTP/1 connection is polled by whoever takes it, not by a task of its own: that saves two wake-ups a request, and
//! dropping the request's future drops its connection. An HTTP/2 connection is shared and driven by one task. It must not
//! send a request twice: a connection that turns out to be closed is only replaced before a request was handed to it.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use engine::port::FailureReason;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;
use url::{Position, Url};

use crate::connect::{Dialed, Endpoint, Names, Wire};
use crate::failure::{Failure, chain};

/// The body that is sent.
pub(crate) type Payload = Full<Bytes>;

/// One HTTP/1 connection: in the pool, or with the one request that uses it.
pub(crate) struct Http1 {
    pub(crate) sender: http1::SendRequest<Payload>,
    connection: Option<Box<http1::Connection<Wire, Payload>>>,
    written: Arc<AtomicU64>,
    born: Instant,
    idle_since: Instant,
}

impl Http1 {
    async fn new(wire: Wire, endpoint: &Endpoint) -> Result<Http1, Failure> {
        let written = wire.written();
        let (sender, connection) = http1::Builder::new()
            .handshake(wire)
            .await
            .map_err(|error| Failure::unsent(FailureReason::Connect, format!("{endpoint}: {}", chain(&error))))?;
        let now = Instant::now();
        Ok(Http1 { sender, connection: Some(Box::new(connection)), written, born: now, idle_since: now })
    }

    /// Moves bytes in both directions as far as they go.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            // What it ended with reaches the request through its own future, which the drop makes sure of.
            self.connection = None;
        }
    }

    /// Bytes of requests that were handed to the socket so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether another request can be sent: the last exchange is over in both directions and nobody has closed.
    pub(crate) async fn is_reusable(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(())
        })
        .await;
        self.connection.is_some() && self.sender.is_ready()
    }
}

struct Http2 {
    sender: http2::SendRequest<Payload>,
    born: Instant,
}

/// A connection to send one request on.
pub(crate) enum Checkout {
    Http1(Http1),
    Http2(http2::SendRequest<Payload>),
}

/// What is known of a place after its first connection.
#[derive(Clone, Copy, Default, PartialEq)]
enum Protocol {
    /// Nothing yet: connections are opened one after the other, since the first may turn out to serve all.
    #[default]
    Unknown,
    /// Each request needs its own connection, opened side by side.
    Http1,
    /// One connection serves all.
    Http2,
}

#[derive(Default)]
struct State {
    idle: Vec<Http1>,
    shared: Option<Http2>,
    protocol: Protocol,
}

/// A place and its connections.
pub(crate) struct Origin {
    pub(crate) endpoint: Endpoint,
    pub(crate) names: Names,
    state: Mutex<State>,
    first: tokio::sync::Mutex<()>,
}

/// How long connections are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) max_idle_per_host: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_age: Duration,
}

impl Keeping {
    fn is_fresh(&self, connection: &Http1, now: Instant) -> bool {
        now.duration_since(connection.idle_since) < self.idle_timeout && now.duration_since(connection.born) < self.max_age
    }
}

impl Origin {
    /// A kept connection that is still open, the youngest first; stale ones are closed on the way.
    pub(crate) async fn take_kept(&self, keeping: &Keeping) -> Option<Checkout> {
        loop {
            let mut connection = {
                let mut state = lock(&self.state);
                let now = Instant::now();
                if let Some(shared) = &state.shared {
                    if !shared.sender.is_closed() && now.duration_since(shared.born) < keeping.max_age {
                        return Some(Checkout::Http2(shared.sender.clone()));
                    }
                    state.shared = None;
                }
                let connection = state.idle.pop()?;
                if !keeping.is_fresh(&connection, now) {
                    // The others were put back earlier, but may be younger: each is looked at.
                    continue;
                }
                connection
            };
            if connection.is_reusable().await {
                return Some(Checkout::Http1(connection));
            }
        }
    }

    /// A kept connection, or a new one by `dial`.
    pub(crate) async fn open<D>(&self, keeping: &Keeping, dial: D) -> Result<Checkout, Failure>
    where
        D: AsyncFnOnce() -> Result<Dialed, Failure>,
    {
        let side_by_side = !self.endpoint.https || lock(&self.state).protocol == Protocol::Http1;
        let turn = if side_by_side { None } else { Some(self.first.lock().await) };
        if turn.is_some()
            && let Some(kept) = self.take_kept(keeping).await
        {
            return Ok(kept);
        }
        let dialed = dial().await.inspect_err(|_| {
            // A place that cannot be reached must not make those who wait fail one after the other.
            lock(&self.state).protocol = Protocol::Http1;
        })?;
        if !dialed.http2 {
            lock(&self.state).protocol = Protocol::Http1;
            return Ok(Checkout::Http1(Http1::new(dialed.wire, &self.endpoint).await?));
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(dialed.wire)
            .await
            .map_err(|error| Failure::unsent(FailureReason::Connect, format!("{}: {}", self.endpoint, chain(&error))))?;
        // Ends when the last sender is dropped or the other side closes; each request learns of errors by its own future.
        tokio::spawn(async move { drop(connection.await) });
        let mut state = lock(&self.state);
        state.protocol = Protocol::Http2;
        state.shared = Some(Http2 { sender: sender.clone(), born: Instant::now() });
        Ok(Checkout::Http2(sender))
    }

    /// Puts a connection back, if it can be used again.
    pub(crate) async fn give_back(&self, mut connection: Http1, keeping: &Keeping) {
        connection.idle_since = Instant::now();
        if keeping.is_fresh(&connection, connection.idle_since) && connection.is_reusable().await {
            let mut state = lock(&self.state);
            if state.idle.len() < keeping.max_idle_per_host {
                state.idle.push(connection);
            }
        }
    }

    /// Forgets the shared connection, since a request on it got no answer: the next one opens another.
    pub(crate) fn distrust_shared(&self) {
        lock(&self.state).shared = None;
    }

    fn drop_stale(&self, keeping: &Keeping, now: Instant) {
        let mut state = lock(&self.state);
        state.idle.retain(|connection| keeping.is_fresh(connection, now));
        state.shared.take_if(|shared| now.duration_since(shared.born) >= keeping.max_age);
    }

    fn is_unused(&self) -> bool {
        let state = lock(&self.state);
        state.idle.is_empty() && state.shared.is_none()
    }
}

/// All places that were sent to lately.
#[derive(Default)]
pub(crate) struct Pool {
    origins: Mutex<HashMap<String, Arc<Origin>>>,
}

/// Places without a connection are forgotten beyond this many.
const ORIGINS_KEPT: usize = 1_000;

impl Pool {
    /// The place of a URL. The URL must not hold a user name, since that would stand in the key.
    pub(crate) fn origin(&self, url: &Url) -> Result<Arc<Origin>, Failure> {
        let key = &url[..Position::BeforePath];
        let mut origins = lock(&self.origins);
        if let Some(origin) = origins.get(key) {
            return Ok(origin.clone());
        }
        let endpoint = Endpoint::new(url)?;
        if origins.len() >= ORIGINS_KEPT {
            origins.retain(|_, origin| Arc::strong_count(origin) > 1 || !origin.is_unused());
        }
        let origin = Arc::new(Origin { endpoint, names: Names::default(), state: Mutex::default(), first: tokio::sync::Mutex::default() });
        origins.insert(key.to_owned(), origin.clone());
        Ok(origin)
    }

    /// Closes what has been idle too long, at every place.
    pub(crate) fn drop_stale(&self, keeping: &Keeping) {
        let now = Instant::now();
        lock(&self.origins).values().for_each(|origin| origin.drop_stale(keeping, now));
    }

    /// Closes everything that is not in use.
    pub(crate) fn clear(&self) {
        lock(&self.origins).clear();
    }
}

/// The data under these locks is whole between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
