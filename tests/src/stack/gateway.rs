//! The HTTP API before `configure`: requests become events of format 2.0 and answers become responses, as
//! docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html has it. It must not look into them.

use super::function::Function;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// API Gateway takes 10 MB, Lambda 6 MB of it, base64 included.
const LARGEST_BODY: usize = 6_000_000;

/// The gateway, for as long as it lives.
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Gateway {
    /// Starts it on a port of its own.
    pub fn start(configure: Arc<Function>) -> Gateway {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(pass).with_state(configure);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Gateway { address, runtime: Some(runtime) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn pass(State(configure): State<Arc<Function>>, parts: Parts, body: Bytes) -> Response<Body> {
    let event = event(&parts, &body);
    if event.to_string().len() > LARGEST_BODY {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    }
    let answer = tokio::task::spawn_blocking(move || configure.invoke(&event)).await.expect("a call does not panic");
    match answer {
        Ok(answer) => response(&answer),
        Err(ended) => plain(StatusCode::BAD_GATEWAY, &format!("Internal Server Error: {ended:?}")),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    Response::builder().status(status).body(Body::from(text.to_owned())).expect("a response")
}

fn event(parts: &Parts, body: &Bytes) -> Value {
    let mut headers = Map::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = headers.get(name.as_str()).and_then(Value::as_str).map(|before| format!("{before},{value}"));
        headers.insert(name.to_string(), joined.unwrap_or_else(|| value.into_owned()).into());
    }
    let (text, encoded) = match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (STANDARD.encode(body), true),
    };
    let path = parts.uri.path();
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": parts.uri.query().unwrap_or_default(),
        "headers": headers, "isBase64Encoded": encoded, "body": if body.is_empty() { Value::Null } else { text.into() },
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "domainName": "api.example.com", "domainPrefix": "api",
            "http": {"method": parts.method.as_str(), "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test"},
            "requestId": "request", "routeKey": "$default", "stage": "$default", "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1767225600000u64,
        },
    })
}

fn response(answer: &Value) -> Response<Body> {
    let status = answer["statusCode"].as_u64().and_then(|status| StatusCode::from_u16(status as u16).ok());
    let mut response = Response::builder().status(status.unwrap_or(StatusCode::BAD_GATEWAY));
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        response = response.header(name, value.as_str().unwrap_or_default());
    }
    let text = answer["body"].as_str().unwrap_or_default();
    let body = match answer["isBase64Encoded"].as_bool() {
        Some(true) => STANDARD.decode(text).expect("base64"),
        _ => text.as_bytes().to_vec(),
    };
    // The server says how long it is.
    let mut built = response.body(Body::from(body)).expect("a response");
    built.headers_mut().remove("content-length");
    built
}
