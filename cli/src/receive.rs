//! `penstock receive`: a local receiver that prints and records what arrives, for trying things out.
//!
//! A record is in its file before its answer goes out, so who has an answer can read the record. It must not know of
//! projects, data directories or deliveries: it is the other side.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

/// The flags of `penstock receive`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReceiveArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Append each request to this file, as one line of JSON
    #[arg(long, value_name = "FILE", conflicts_with = "no_record")]
    pub record: Option<PathBuf>,
    /// Record nothing, not even on standard output with --json
    #[arg(long)]
    pub no_record: bool,
    /// Answer every request with this status
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: u16,
    /// Answer every request with this body
    #[arg(long, value_name = "TEXT", default_value = r#"{"ok":true}"#)]
    pub body: String,
    /// Wait this long before each answer, milliseconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub delay_ms: u64,
}

/// Where records go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Record {
    /// Nowhere.
    #[default]
    Nothing,
    /// Standard output.
    StandardOutput,
    /// The end of a file, which is created if need be.
    File(PathBuf),
}

/// How [`serve`] answers and what it keeps.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    /// Where records go.
    pub record: Record,
    /// Whether to print a line per request to standard error.
    pub print: bool,
    /// The status of every answer.
    pub status: u16,
    /// The body of every answer; `application/json` if it is JSON, else `text/plain`.
    pub body: String,
    /// Waited before every answer.
    pub delay: Duration,
}

impl Default for ReceiveOptions {
    fn default() -> ReceiveOptions {
        ReceiveOptions { record: Record::Nothing, print: true, status: 200, body: r#"{"ok":true}"#.into(), delay: Duration::ZERO }
    }
}

impl ReceiveArgs {
    /// The options that these flags mean together with the global `--json` and `--quiet`.
    pub fn options(&self, json: bool, quiet: bool) -> ReceiveOptions {
        let record = match &self.record {
            _ if self.no_record => Record::Nothing,
            Some(file) => Record::File(file.clone()),
            None if json => Record::StandardOutput,
            None => Record::Nothing,
        };
        ReceiveOptions { record, print: !quiet, status: self.status, body: self.body.clone(), delay: Duration::from_millis(self.delay_ms) }
    }
}

/// Listens until Ctrl-C. The first line on standard error is `listening on http://ADDRESS:PORT`.
/// The error is a lowercase fragment: the address is taken, or a record could not be written.
pub fn run(args: &ReceiveArgs, json: bool, quiet: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the receiver cannot start: {error}"))?;
    runtime.block_on(async {
        let bind = TcpListener::bind(args.listen).await;
        let listener = bind.map_err(|error| format!("cannot listen on {}: {error}; choose another address with --listen", args.listen))?;
        let address = listener.local_addr().map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
        eprintln!("listening on http://{address}");
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        serve(listener, args.options(json, quiet), interrupted).await
    })
}

/// Answers requests until `shutdown` is ready; connections that are open then are closed.
/// The error is a lowercase fragment about the record that could not be written.
pub async fn serve(listener: TcpListener, options: ReceiveOptions, shutdown: impl Future<Output = ()>) -> Result<(), String> {
    let receiver = Arc::new(Receiver::new(options)?);
    let mut shutdown = pin!(shutdown);
    let mut writer = pin!(receiver.journal.write_out());
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => {
                eprintln!("{}", receiver.traffic.summary());
                return receiver.journal.flush();
            }
            failed = &mut writer => return Err(failed),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Answers are small and whole; without this they may wait for the acknowledgement of the one before.
                    if stream.set_nodelay(true).is_ok() {
                        connections.spawn(connection(stream, receiver.clone()));
                    }
                }
                // Out of file descriptors, most likely: what is open goes on, and closes some day.
                Err(error) => {
                    eprintln!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, receiver: Arc<Receiver>) {
    let service = service_fn(|request| {
        let receiver = receiver.clone();
        async move { Ok::<_, Infallible>(receiver.answer(request).await) }
    });
    let serving = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await
        && receiver.options.print
    {
        receiver.journal.say(&format!("{} connection broken: {error}\n", clock(Timestamp::now())));
    }
}

/// A request body longer than this is answered with 413 and not recorded.
const LONGEST_BODY: usize = 256 * 1024 * 1024;

struct Receiver {
    options: ReceiveOptions,
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    journal: Journal,
    traffic: Traffic,
}

/// How much came in, for the last line.
#[derive(Default)]
struct Traffic {
    requests: AtomicU64,
    /// Unix microseconds.
    first: AtomicU64,
    last: AtomicU64,
}

impl Traffic {
    fn count(&self, at: Timestamp) {
        let micros = at.as_microsecond().max(1) as u64;
        if self.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.store(micros, Ordering::Relaxed);
        }
        self.last.store(micros, Ordering::Relaxed);
    }

    fn summary(&self) -> String {
        let requests = self.requests.load(Ordering::Relaxed);
        let seconds = (self.last.load(Ordering::Relaxed) - self.first.load(Ordering::Relaxed)) as f64 / 1e6;
        match seconds > 0.0 {
            true => format!("received {requests} requests in {seconds:.3} s, {:.0} a second", (requests - 1) as f64 / seconds),
            false => format!("received {requests} requests"),
        }
    }
}

impl Receiver {
    fn new(options: ReceiveOptions) -> Result<Receiver, String> {
        let status = StatusCode::from_u16(options.status).map_err(|_| format!("{} is not a status: use 200 to 599", options.status))?;
        let json = serde_json::from_str::<serde_json::Value>(&options.body).is_ok();
        let content_type = HeaderValue::from_static(if json { "application/json" } else { "text/plain; charset=utf-8" });
        let body = Bytes::from(options.body.clone());
        let journal = Journal::new(&options.record)?;
        Ok(Receiver { options, status, content_type, body, journal, traffic: Traffic::default() })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let at = Timestamp::now();
        self.traffic.count(at);
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, LONGEST_BODY).collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(error) => {
                let status = if error.is::<LengthLimitError>() { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
                self.journal.say(&format!("{} {} {}: {error}\n", clock(at), head.method, head.uri));
                return self.respond(status);
            }
        };
        if self.options.print {
            let line = format!("{} {} {} {} {} bytes\n", clock(at), head.method, head.uri, self.options.status, body.len());
            self.journal.say(&line);
        }
        self.journal.record(|line| write_record(line, at, head.method.as_str(), &head.uri.to_string(), &head.headers, &body)).await;
        if !self.options.delay.is_zero() {
            tokio::time::sleep(self.options.delay).await;
        }
        self.respond(self.status)
    }

    fn respond(&self, status: StatusCode) -> Response<Full<Bytes>> {
        let bodyless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut response = Response::new(Full::new(if bodyless { Bytes::new() } else { self.body.clone() }));
        *response.status_mut() = status;
        if !bodyless {
            response.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        }
        response
    }
}

fn clock(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%H:%M:%S%.3f")
}

/// One line: `{"at":…,"method":…,"url":…,"headers":{…},"body":…}`. The URL is the path and query as they arrived; headers that
/// came more than once are joined by a comma; a body that is not UTF-8 stands as `{"base64":"…"}`.
fn write_record(line: &mut Vec<u8>, at: Timestamp, method: &str, url: &str, headers: &HeaderMap, body: &[u8]) {
    let text = |line: &mut Vec<u8>, text: &str| serde_json::to_writer(line, text).expect("text is always JSON");
    // Writing to memory cannot fail.
    let _ = write!(line, r#"{{"at":"{}","method":"#, at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"));
    text(line, method);
    line.extend_from_slice(br#","url":"#);
    text(line, url);
    line.extend_from_slice(br#","headers":{"#);
    for (place, name) in headers.keys().enumerate() {
        if place > 0 {
            line.push(b',');
        }
        text(line, name.as_str());
        line.push(b':');
        let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        text(line, &values.join(", "));
    }
    line.extend_from_slice(br#"},"body":"#);
    match std::str::from_utf8(body) {
        Ok(body) => text(line, body),
        Err(_) => {
            line.extend_from_slice(br#"{"base64":"#);
            text(line, &STANDARD.encode(body));
            line.push(b'}');
        }
    }
    line.extend_from_slice(b"}\n");
}

/// What is to be written, collected while requests come in and written in one go when none is at hand: at once when traffic
/// is slow, by group when it is fast.
struct Journal {
    pending: Mutex<Pending>,
    sink: Option<Mutex<Box<dyn Write + Send>>>,
    name: String,
    more: Notify,
    /// How many records are written.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct Pending {
    records: Vec<u8>,
    said: Vec<u8>,
    count: u64,
}

impl Journal {
    fn new(record: &Record) -> Result<Journal, String> {
        let (sink, name): (Option<Box<dyn Write + Send>>, _) = match record {
            Record::Nothing => (None, String::new()),
            Record::StandardOutput => (Some(Box::new(io::stdout())), "standard output".to_owned()),
            Record::File(path) => {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
                let file = file.map_err(|error| format!("cannot record to {}: {error}; choose another file", path.display()))?;
                (Some(Box::new(file)), path.display().to_string())
            }
        };
        let (written, _) = watch::channel(0);
        Ok(Journal { pending: Mutex::default(), sink: sink.map(Mutex::new), name, more: Notify::new(), written })
    }

    /// Prints to standard error, soon.
    fn say(&self, line: &str) {
        lock(&self.pending).said.extend_from_slice(line.as_bytes());
        self.more.notify_one();
    }

    /// Takes a record and waits until it is written. Without a place to record to it does nothing.
    async fn record(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.sink.is_none() {
            return;
        }
        let number = {
            let mut pending = lock(&self.pending);
            write(&mut pending.records);
            pending.count += 1;
            pending.count
        };
        self.more.notify_one();
        // The sender lives as long as this journal.
        let _ = self.written.subscribe().wait_for(|written| *written >= number).await;
    }

    /// Writes groups for ever; returns what went wrong when a record could not be written.
    async fn write_out(&self) -> String {
        loop {
            self.more.notified().await;
            // Those that are ready to run add their lines first.
            yield_once().await;
            if let Err(error) = self.flush() {
                return error;
            }
        }
    }

    fn flush(&self) -> Result<(), String> {
        let Pending { records, said, count } = {
            let mut pending = lock(&self.pending);
            let count = pending.count;
            std::mem::replace(&mut *pending, Pending { count, ..Pending::default() })
        };
        // Nobody may be reading standard error any more; that stops nothing.
        let _ = io::stderr().write_all(&said);
        if let Some(sink) = &self.sink
            && !records.is_empty()
        {
            let mut sink = lock(sink);
            let outcome = sink.write_all(&records).and_then(|()| sink.flush());
            outcome.map_err(|error| format!("cannot record to {}: {error}; make room or choose another file", self.name))?;
            self.written.send_replace(count);
        }
        Ok(())
    }
}

/// Lets every task that is ready run once before this one goes on.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// Serves `options` while `exchange` runs against the address.
    fn while_serving<F: Future<Output = ()>>(options: ReceiveOptions, exchange: impl FnOnce(SocketAddr) -> F) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let serving = serve(listener, options, async { drop(stopped.await) });
            let exchanging = async {
                exchange(address).await;
                drop(stop);
            };
            tokio::join!(serving, exchanging).0
        })
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn quiet(record: Record) -> ReceiveOptions {
        ReceiveOptions { record, print: false, ..ReceiveOptions::default() }
    }

    fn lines(file: &std::path::Path) -> Vec<serde_json::Value> {
        std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_record_is_in_the_file_before_its_answer_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seen.ndjson");
        while_serving(quiet(Record::File(file.clone())), |address| async move {
            let request =
                b"POST /members?x=1 HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{\"a\":1}";
            let answer = ask(address, request).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("{\"ok\":true}"), "{answer}");
            let seen = lines(&folder.path().join("seen.ndjson"));
            assert_eq!(seen.len(), 1);
            assert_eq!(
                (&seen[0]["method"], &seen[0]["url"], &seen[0]["body"]),
                (&"POST".into(), &"/members?x=1".into(), &"{\"a\":1}".into())
            );
            assert_eq!(seen[0]["headers"]["x-two"], "1, 2");
            let at = seen[0]["at"].as_str().unwrap();
            assert!(at.parse::<Timestamp>().is_ok() && at.len() == "2026-01-01T00:00:00.000000Z".len(), "{at}");
        })
        .unwrap();
    }

    #[test]
    fn a_body_that_is_not_text_is_recorded_as_base64() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seen.ndjson");
        while_serving(quiet(Record::File(file.clone())), |address| async move {
            ask(address, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe").await;
        })
        .unwrap();
        assert_eq!(lines(&file)[0]["body"], serde_json::json!({"base64": "//4="}));
    }

    #[test]
    fn a_second_receiver_adds_to_the_records_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seen.ndjson");
        for _ in 0..2 {
            while_serving(quiet(Record::File(file.clone())), |address| async move {
                ask(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            })
            .unwrap();
        }
        assert_eq!(lines(&file).len(), 2);
    }

    #[test]
    fn status_and_body_are_what_was_asked_for() {
        let options = ReceiveOptions { status: 429, body: "slow down".into(), ..quiet(Record::Nothing) };
        while_serving(options, |address| async move {
            let answer = ask(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 429 ") && answer.ends_with("\r\n\r\nslow down"), "{answer}");
            assert!(answer.contains("content-type: text/plain"), "{answer}");
        })
        .unwrap();
    }

    #[test]
    fn an_answer_waits_for_the_delay() {
        let options = ReceiveOptions { delay: Duration::from_millis(60), ..quiet(Record::Nothing) };
        while_serving(options, |address| async move {
            let start = std::time::Instant::now();
            ask(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            assert!(start.elapsed() >= Duration::from_millis(60));
        })
        .unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_stops_the_receiver_before_it_answers() {
        let missing = PathBuf::from("no-such-folder/seen.ndjson");
        let refused = while_serving(quiet(Record::File(missing)), |_| async {}).unwrap_err();
        assert!(refused.starts_with("cannot record to no-such-folder"), "{refused}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_stops_the_receiver_and_gives_no_answer() {
        let refused = while_serving(quiet(Record::File("/dev/full".into())), |address| async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!(answer, b"");
        });
        assert!(refused.unwrap_err().contains("make room"));
    }

    #[test]
    fn json_records_to_standard_output_unless_told_otherwise() {
        let args = ReceiveArgs {
            listen: "127.0.0.1:0".parse().unwrap(),
            record: None,
            no_record: false,
            status: 200,
            body: String::new(),
            delay_ms: 0,
        };
        assert_eq!(args.options(true, false).record, Record::StandardOutput);
        assert_eq!(args.options(false, false).record, Record::Nothing);
        assert_eq!(ReceiveArgs { no_record: true, ..args.clone() }.options(true, true).record, Record::Nothing);
        let to_file = ReceiveArgs { record: Some("a.ndjson".into()), ..args };
        assert_eq!(to_file.options(true, true).record, Record::File("a.ndjson".into()));
    }
}
