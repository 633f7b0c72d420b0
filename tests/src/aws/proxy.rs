//! A proxy in front of moto: what passes it can be lost, refused, held up or done in part, by rules. It must not check or sign anything, and
//! keeps what passed for tests to look at.
//!
//! A call is named by its `X-Amz-Target` (`DynamoDB_20120810.PutItem`), one of S3 by `S3 PUT /bucket/name?query`. A rule takes calls whose
//! name contains its text; of several the first one that is not used up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Changes a request before moto gets it, and gives members for moto's answer.
type Part = dyn Fn(&mut Value) -> Value + Send + Sync;

/// What happens to a call.
#[derive(Clone)]
pub enum Fault {
    /// moto does it, and nobody hears of it: the connection closes.
    LoseAnswer,
    /// moto does not get it: the connection closes.
    LoseRequest,
    /// moto does not get it; this error is answered: status and AWS's code.
    Refuse(u16, &'static str),
    /// moto gets it so much later.
    Delay(Duration),
    /// moto gets what this makes of the request (JSON), and its answer gets the members that this gives.
    Part(Arc<Part>),
}

impl Fault {
    /// DynamoDB throttles.
    pub fn throttle() -> Fault {
        Fault::Refuse(400, "ThrottlingException")
    }

    /// `BatchWriteItem` does all but the last `count` writes of each table.
    pub fn unprocessed(count: usize) -> Fault {
        Fault::Part(Arc::new(move |request| {
            let mut undone = serde_json::Map::new();
            for (table, writes) in request["RequestItems"].as_object_mut().into_iter().flatten() {
                let Some(writes) = writes.as_array_mut() else { continue };
                let kept = writes.len().saturating_sub(count);
                undone.insert(table.clone(), Value::Array(writes.split_off(kept)));
            }
            if let Some(tables) = request["RequestItems"].as_object_mut() {
                tables.retain(|_, writes| writes.as_array().is_some_and(|writes| !writes.is_empty()));
            }
            json!({ "UnprocessedItems": undone })
        }))
    }

    /// `SendMessageBatch` fails the last `count` messages; by the sender's fault or not.
    pub fn failed_messages(count: usize, sender_fault: bool) -> Fault {
        Fault::Part(Arc::new(move |request| {
            let Some(entries) = request["Entries"].as_array_mut() else { return json!({}) };
            let failed = entries.split_off(entries.len().saturating_sub(count));
            let failed: Vec<Value> = failed
                .iter()
                .map(|entry| json!({ "Id": entry["Id"], "SenderFault": sender_fault, "Code": "InternalError", "Message": "by a rule" }))
                .collect();
            json!({ "Failed": failed })
        }))
    }
}

/// A call that passed, or did not.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its name, as above.
    pub name: String,
    /// The request's body.
    pub body: Bytes,
    /// Whether moto got it, in whole or in part.
    pub reached: bool,
}

struct Rule {
    text: String,
    /// Calls that pass before it takes one.
    pass: usize,
    /// Calls that it still takes.
    left: usize,
    fault: Fault,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

/// The proxy, on a thread of its own until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a port of loopback and passes everything on to `upstream`.
    ///
    /// # Panics
    /// If there is no port or no thread.
    pub fn start(upstream: SocketAddr) -> Proxy {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener of tokio");
                tokio::select! {
                    () = serve(listener, upstream, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Proxy { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets a fault happen to the next `times` calls whose name contains `text`, after `pass` of them went through.
    pub fn rule(&self, text: &str, pass: usize, times: usize, fault: Fault) {
        lock(&self.state).rules.push(Rule { text: text.to_owned(), pass, left: times, fault });
    }

    /// Takes all rules back.
    pub fn clear(&self) {
        lock(&self.state).rules.clear();
    }

    /// Calls whose name contains `text`, in the order they came.
    pub fn seen(&self, text: &str) -> Vec<Seen> {
        lock(&self.state).seen.iter().filter(|seen| seen.name.contains(text)).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and tests see that answers fail.
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, upstream: SocketAddr, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(request, upstream, Arc::clone(&state)));
            // A lost answer ends the connection with an error, as it should.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Closes the connection without a word.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lost by a rule")
    }
}

impl std::error::Error for Lost {}

async fn pass(request: Request<Incoming>, upstream: SocketAddr, state: Arc<Mutex<State>>) -> Result<Response<Full<Bytes>>, Lost> {
    let name = name_of(&request);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let fault = take_fault(&state, &name);
    let reached = !matches!(fault, Some(Fault::LoseRequest | Fault::Refuse(..)));
    lock(&state).seen.push(Seen { name, body: body.clone(), reached });
    let whole = Request::from_parts(parts, body);
    match fault {
        None => forward(whole, upstream).await,
        Some(Fault::LoseRequest) => Err(Lost),
        Some(Fault::LoseAnswer) => {
            forward(whole, upstream).await?;
            Err(Lost)
        }
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            forward(whole, upstream).await
        }
        Some(Fault::Refuse(status, code)) => {
            let body = json!({ "__type": code, "message": "by a rule" }).to_string();
            let answer = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
            answer.body(Full::new(Bytes::from(body))).map_err(|_| Lost)
        }
        Some(Fault::Part(part)) => in_part(whole, upstream, &*part).await,
    }
}

/// Passes on what the rule leaves of a request, and adds what it gives to the answer.
async fn in_part(request: Request<Bytes>, upstream: SocketAddr, part: &Part) -> Result<Response<Full<Bytes>>, Lost> {
    let (parts, body) = request.into_parts();
    let mut asked: Value = serde_json::from_slice(&body).map_err(|_| Lost)?;
    let more = part(&mut asked);
    // Where nothing is left to ask, moto would refuse it.
    let is_empty =
        |name: &str| asked[name].as_array().is_some_and(Vec::is_empty) || asked[name].as_object().is_some_and(|all| all.is_empty());
    let mut answered = if is_empty("Entries") || is_empty("RequestItems") {
        json!({})
    } else {
        let answer = forward(Request::from_parts(parts, Bytes::from(asked.to_string())), upstream).await?;
        let body = answer.into_body().collect().await.map_err(|_| Lost)?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| Lost)?
    };
    if let (Some(answered), Value::Object(more)) = (answered.as_object_mut(), more) {
        answered.extend(more);
    }
    let answer = Response::builder().status(StatusCode::OK).header("content-type", "application/x-amz-json-1.0");
    answer.body(Full::new(Bytes::from(answered.to_string()))).map_err(|_| Lost)
}

fn name_of(request: &Request<Incoming>) -> String {
    match request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()) {
        Some(target) => target.to_owned(),
        None => format!("S3 {} {}", request.method(), request.uri()),
    }
}

fn take_fault(state: &Mutex<State>, name: &str) -> Option<Fault> {
    let mut state = lock(state);
    let rule = state.rules.iter_mut().find(|rule| rule.left > 0 && name.contains(&rule.text))?;
    if rule.pass > 0 {
        rule.pass -= 1;
        return None;
    }
    rule.left -= 1;
    Some(rule.fault.clone())
}

/// One request on a connection of its own.
async fn forward(request: Request<Bytes>, upstream: SocketAddr) -> Result<Response<Full<Bytes>>, Lost> {
    let stream = TcpStream::connect(upstream).await.map_err(|_| Lost)?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Lost)?;
    let driving = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("content-length");
    let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await.map_err(|_| Lost)?;
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    driving.abort();
    // An answer to HEAD keeps its length, which its body does not have.
    if !body.is_empty() {
        parts.headers.remove("content-length");
    }
    parts.headers.remove("transfer-encoding");
    parts.headers.remove("connection");
    Ok(Response::from_parts(parts, Full::new(body)))
}
