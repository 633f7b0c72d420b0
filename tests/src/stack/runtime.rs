//! The Lambda Runtime API for one process of a function, as docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html has it: the next event,
//! its answer, its error. It must not start the process.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

/// An event on its way to the process.
pub struct Invocation {
    /// Its id.
    pub id: String,
    /// The event.
    pub event: Vec<u8>,
    /// Unix milliseconds at which Lambda would end the process.
    pub deadline_ms: u64,
    /// The answer, or the error that the process reported.
    pub reply: Reply,
}

/// Takes the answer to a call.
pub type Reply = oneshot::Sender<Result<Value, String>>;

/// What the handlers share.
struct Api {
    events: Mutex<mpsc::UnboundedReceiver<Invocation>>,
    open: std::sync::Mutex<Option<(String, Reply)>>,
}

/// The Runtime API of one process.
pub struct RuntimeApi {
    /// What `AWS_LAMBDA_RUNTIME_API` says.
    pub address: SocketAddr,
    /// Events for the process.
    pub events: mpsc::UnboundedSender<Invocation>,
}

impl RuntimeApi {
    /// Serves one on a port of its own, for as long as the runtime lives.
    pub async fn serve() -> RuntimeApi {
        let (events, waiting) = mpsc::unbounded_channel();
        let api = Arc::new(Api { events: Mutex::new(waiting), open: std::sync::Mutex::default() });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(api);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        RuntimeApi { address, events }
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    let Some(invocation) = api.events.lock().await.recv().await else { return StatusCode::GONE.into_response() };
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.id.clone()),
        ("lambda-runtime-deadline-ms", invocation.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:test".to_owned()),
        ("lambda-runtime-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    *api.open.lock().expect("no handler panicked") = Some((invocation.id, invocation.reply));
    (headers, invocation.event).into_response()
}

fn close(api: &Api, id: &str, result: Result<Value, String>) -> StatusCode {
    match api.open.lock().expect("no handler panicked").take() {
        Some((open, reply)) if open == id => {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(result);
            StatusCode::ACCEPTED
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

async fn response(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    // Lambda takes an empty answer or null from an SQS handler for success (C5), and so it is passed on as it came.
    let answer = serde_json::from_slice(&body).map_err(|error| format!("the answer is not JSON: {error}"));
    close(&api, &id, answer)
}

async fn error(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    close(&api, &id, Err(String::from_utf8_lossy(&body).into_owned()))
}

async fn init_error(body: Bytes) -> StatusCode {
    eprintln!("a function did not start: {}", String::from_utf8_lossy(&body));
    StatusCode::ACCEPTED
}
