//! A scripted receiver: an HTTP server on a thread of its own that answers, stalls, resets and remembers what arrived.
//!
//! It is the other side of every process test. It must not know what should have been sent: tests compare what it saw.

mod members;
mod script;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

pub use members::{Keeping, Members};
pub use script::{Action, Always, Chance, Mixed, Reply, ResetBeforeReading, Script, Sequence};

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The how-manieth request of this receiver, from 0.
    pub number: usize,
    /// When its head had arrived, microseconds since the receiver started, monotonic.
    pub at: u64,
    /// `POST`, say.
    pub method: String,
    /// `/members?list=1`, as on the wire.
    pub path_and_query: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body; empty if the script acted before it was read.
    pub body: Bytes,
}

impl Received {
    /// The value of the first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// The most arrivals in any half-open window `[t, t + window)`. Arrivals are microseconds, in any order.
pub fn max_in_window(arrivals: &[u64], window: Duration) -> usize {
    let mut arrivals = arrivals.to_vec();
    arrivals.sort_unstable();
    let length = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
    let mut first = 0;
    let mut most = 0;
    for (last, at) in arrivals.iter().enumerate() {
        while at - arrivals[first] >= length {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most
}

/// A running receiver. Dropping it closes its port and every connection.
pub struct Receiver {
    address: SocketAddr,
    log: Arc<Log>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Log {
    start: Instant,
    kept: Mutex<Kept>,
    script: Mutex<Box<dyn Script>>,
}

#[derive(Default)]
struct Kept {
    requests: Vec<Received>,
    connections: usize,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(script: impl Script) -> Receiver {
        Receiver::start_at("127.0.0.1:0".parse().expect("an address"), script)
    }

    /// Listens on `address`, for tests in which a receiver comes back where another was. Needs no runtime.
    ///
    /// Panics if the address is taken: a test without its receiver has nothing to say.
    pub fn start_at(address: SocketAddr, script: impl Script) -> Receiver {
        let listener = std::net::TcpListener::bind(address).unwrap_or_else(|error| panic!("{address} is taken: {error}"));
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let address = listener.local_addr().expect("a bound listener has an address");
        let log = Arc::new(Log { start: Instant::now(), kept: Mutex::default(), script: Mutex::new(Box::new(script)) });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn({
            let log = log.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
                runtime.block_on(accept(listener, log, stopped));
            }
        });
        Receiver { address, log, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that arrived so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Received> {
        lock(&self.log.kept).requests.clone()
    }

    /// How many requests arrived so far.
    pub fn count(&self) -> usize {
        lock(&self.log.kept).requests.len()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        lock(&self.log.kept).connections
    }

    /// The most arrivals in any window of this length so far.
    pub fn max_in_window(&self, window: Duration) -> usize {
        let arrivals: Vec<u64> = lock(&self.log.kept).requests.iter().map(|received| received.at).collect();
        max_in_window(&arrivals, window)
    }

    /// Decides by another script from the next request on.
    pub fn change_script(&self, script: impl Script) {
        *lock(&self.log.script) = Box::new(script);
    }

    /// Waits until `count` requests have arrived. Panics after `patience`, saying how many did.
    pub async fn wait_for(&self, count: usize, patience: Duration) {
        let start = Instant::now();
        while self.count() < count {
            assert!(start.elapsed() < patience, "{} of {count} requests arrived within {patience:?}", self.count());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed; here it would hide the test's own failure.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, log: Arc<Log>, mut stopped: oneshot::Receiver<()>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    lock(&log.kept).connections += 1;
                    // An error here shows on the sender's side.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(connection(stream, log.clone()));
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, log: Arc<Log>) {
    let reset = Arc::new(AtomicBool::new(false));
    let socket = Socket { stream, reset: reset.clone() };
    let service = service_fn(|request| {
        let (log, reset) = (log.clone(), reset.clone());
        async move { serve(request, &log, &reset).await }
    });
    // Errors are what the script asked for, or the sender's doing.
    drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
}

async fn serve(request: Request<Incoming>, log: &Log, reset: &AtomicBool) -> Result<Response<Answer>, io::Error> {
    let (head, body) = request.into_parts();
    let mut received = log.arrived(&head);
    let early = lock(&log.script).before_reading(&received);
    let mut action = match early {
        Some(action) => action,
        None => {
            received.body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            lock(&log.kept).requests[received.number].body = received.body.clone();
            lock(&log.script).answer(&received)
        }
    };
    loop {
        match action {
            Action::Wait(time, then) => {
                tokio::time::sleep(time).await;
                action = *then;
            }
            Action::Respond(reply) => return Ok(response(reply, false)),
            Action::CutShort(reply) => return Ok(response(reply, true)),
            Action::Stall => match pending::<Infallible>().await {},
            Action::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
            Action::Reset => {
                reset.store(true, Ordering::Relaxed);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        };
    }
}

impl Log {
    fn arrived(&self, head: &hyper::http::request::Parts) -> Received {
        let headers = head.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let mut received = Received {
            number: 0,
            at: 0,
            method: head.method.as_str().to_owned(),
            path_and_query: head.uri.to_string(),
            headers: headers.collect(),
            body: Bytes::new(),
        };
        let mut kept = lock(&self.kept);
        received.number = kept.requests.len();
        received.at = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        kept.requests.push(received.clone());
        received
    }
}

fn response(reply: Reply, cut: bool) -> Response<Answer> {
    let mut response = Response::new(Answer { promised: reply.body.len() as u64, left: Some(reply.body), cut, flushed: false });
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("scripts use valid statuses");
    for (name, value) in reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("scripts use valid header names");
        response.headers_mut().append(name, HeaderValue::from_str(&value).expect("scripts use valid header values"));
    }
    response
}

/// A body that is sent whole, or breaks off after half of what it promised.
struct Answer {
    promised: u64,
    left: Option<Bytes>,
    cut: bool,
    /// Whether the half that was given was left the time to go out before the break.
    flushed: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let cut = self.cut;
        if cut && self.left.is_none() && !std::mem::replace(&mut self.flushed, true) {
            // hyper flushes when a body is not ready, and throws away what is unsent when a body fails.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match self.left.take() {
            Some(whole) if cut => Some(Ok(Frame::data(whole.slice(..whole.len() / 2)))),
            Some(whole) if !whole.is_empty() => Some(Ok(Frame::data(whole))),
            None if cut => Some(Err(io::ErrorKind::ConnectionAborted.into())),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.left.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}

/// A socket that can be made to reset its connection when it is dropped.
struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Without lingering, closing discards what is unsent and sends RST.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn ask(receiver: &Receiver, request: &str) -> io::Result<String> {
        let mut stream = std::net::TcpStream::connect(receiver.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    }

    const POST: &str = "POST /members?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\nConnection: close\r\n\r\n{\"id\":1}";

    #[tokio::test]
    async fn what_arrived_is_remembered_and_answered_by_the_script() {
        let receiver = Receiver::start(Sequence::new([Action::Respond(Reply::new(429, "later").with_header("retry-after", 7))])).await;
        let first = ask(&receiver, POST).unwrap();
        assert!(first.starts_with("HTTP/1.1 429 ") && first.contains("retry-after: 7") && first.ends_with("later"), "{first}");
        assert!(ask(&receiver, POST).unwrap().starts_with("HTTP/1.1 200 "));
        let seen = receiver.requests();
        assert_eq!((seen.len(), receiver.connections()), (2, 2));
        assert_eq!(
            (seen[1].method.as_str(), seen[1].path_and_query.as_str(), seen[1].json()["id"].as_u64()),
            ("POST", "/members?x=1", Some(1))
        );
        assert!(seen[0].at <= seen[1].at);
    }

    #[tokio::test]
    async fn a_reset_is_a_reset_and_a_close_is_an_end() {
        let receiver = Receiver::start(Sequence::new([Action::Reset, Action::Close])).await;
        assert_eq!(ask(&receiver, POST).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(ask(&receiver, POST).unwrap(), "");
        assert_eq!(receiver.requests()[0].body, r#"{"id":1}"#);
    }

    #[tokio::test]
    async fn a_reset_before_reading_leaves_the_body_unread() {
        let receiver = Receiver::start(ResetBeforeReading(1)).await;
        assert_eq!(ask(&receiver, POST).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(receiver.requests()[0].body, "");
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_short_promises_more_than_comes() {
        let receiver = Receiver::start(Always(Action::CutShort(Reply::new(200, "0123456789")))).await;
        let answer = ask(&receiver, POST).unwrap();
        assert!(answer.contains("content-length: 10") && answer.ends_with("\r\n\r\n01234"), "{answer}");
    }

    #[test]
    fn a_window_is_open_at_its_end() {
        assert_eq!(max_in_window(&[], Duration::from_secs(1)), 0);
        assert_eq!(max_in_window(&[0, 1_000_000], Duration::from_secs(1)), 1);
        assert_eq!(max_in_window(&[999_999, 0, 1_000_001], Duration::from_secs(1)), 2);
    }
}
