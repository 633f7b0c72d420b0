//! The router: from HTTP to a checked [`Call`] and from an [`Answer`] back to HTTP. What every operation has in common is done here and
//! nowhere else: who asks, what may be asked, limits, request ids, answers to repeated requests. It must not know what a call does.

use crate::answer::{Answer, Content};
use crate::call::Call;
use crate::check;
use crate::desk::{Closed, Desk};
use crate::office::Office;
use crate::operation::{self, Operation, Route, Verb};
use crate::problem::{Code, Problem};
use crate::repeat;
use crate::routes::routes;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use engine::token::{self, Token};
use futures_util::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A body must have come, an answer must have begun and a piece of it must have been taken within so long. API Gateway waits for 30 s.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// The API: everything below `/v1`, `/docs`, `/healthz` and `/metrics`.
pub fn router<O: Office>(desk: Desk<O>) -> Router {
    let mut paths: Vec<(&'static str, MethodRouter)> = Vec::new();
    for route in routes::<O>() {
        let desk = desk.clone();
        let filter = match route.operation.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Put => MethodFilter::PUT,
            Verb::Post => MethodFilter::POST,
            Verb::Delete => MethodFilter::DELETE,
        };
        let handler = move |request: Request| {
            let desk = desk.clone();
            async move { handle(desk, route, request).await }
        };
        match paths.iter_mut().find(|(path, _)| *path == route.operation.path) {
            Some((_, methods)) => *methods = std::mem::take(methods).on(filter, handler),
            None => paths.push((route.operation.path, on(filter, handler))),
        }
    }
    let router = paths.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router.fallback(unknown_path).method_not_allowed_fallback(unknown_method)
}

async fn unknown_path(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    finish(refused(Problem::new(Code::NotFound, format!("there is no path `{path}`: /docs lists them"))), &request_id(request.headers()))
}

async fn unknown_method(request: Request) -> Response {
    let detail = format!("{} is not known here: `Allow` lists what is", request.method());
    finish(refused(Problem::new(Code::MethodNotAllowed, detail)), &request_id(request.headers()))
}

/// The caller's `X-Request-Id` if it is a sound one, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let sound = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    given.filter(sound).map_or_else(|| format!("req_{:016x}", RandomState::new().build_hasher().finish()), str::to_string)
}

async fn handle<O: Office>(desk: Desk<O>, route: Route<O>, request: Request) -> Response {
    let request_id = request_id(request.headers());
    let reply = match prepare(&desk, route.operation, request, &request_id).await {
        Ok(call) => match ask(&desk, route, call).await {
            Ok(reply) => reply,
            Err(closed) => refused(unanswered(closed)),
        },
        Err(problem) => {
            if let Some(cause) = problem.cause.clone() {
                let id = request_id.clone();
                // Where not even this can be handed over there is nobody to tell.
                let _told = desk.post(move |office| async move { office.failed(&id, &cause) });
            }
            refused(problem)
        }
    };
    finish(reply, &request_id)
}

/// Checks a request: who asks first, then what is asked, then the body.
async fn prepare<O: Office>(desk: &Desk<O>, operation: &'static Operation, request: Request, request_id: &str) -> Result<Call, Problem> {
    let (mut parts, body) = request.into_parts();
    let token = match operation.scope {
        None => None,
        Some(scope) => {
            let token = authenticate(desk, &parts.headers).await?;
            if !token.scopes.contains(&scope) {
                let detail = format!("this needs a token with the scope `{}`", scope.as_str());
                let challenge = format!("Bearer realm=\"penstock\", error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
                return Err(Problem::new(Code::Forbidden, detail).header("www-authenticate", challenge));
            }
            Some(token)
        }
    };
    let path = path_parameters(&mut parts).await?;
    let parameters = check::parameters(operation, &path, parts.uri.query())?;
    let preconditions = check::preconditions(operation, &parts.headers)?;
    let key = if operation.verb == Verb::Post { check::idempotency_key(&parts.headers)? } else { None };
    let body = match &operation.body {
        None => Bytes::new(),
        Some(expected) => {
            let limit = match expected.content {
                operation::Content::Json(_) => operation::JSON_BYTES,
                _ => operation::ROWS_BYTES,
            };
            let bytes = read(body, limit, &parts.headers).await?;
            if !bytes.is_empty() || expected.required {
                check::content_type(expected.content, &parts.headers)?;
            }
            bytes
        }
    };
    Ok(Call { operation, request: request_id.to_string(), token, parameters, preconditions, key, body })
}

async fn path_parameters(parts: &mut Parts) -> Result<Vec<(String, String)>, Problem> {
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(parameters) => Ok(parameters.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()),
        Err(_) => Err(Problem::new(Code::NotFound, "there is no such path: it is not UTF-8")),
    }
}

async fn authenticate<O: Office>(desk: &Desk<O>, headers: &HeaderMap) -> Result<Token, Problem> {
    let refused = |detail: &str, challenge: &str| Problem::new(Code::Unauthorized, detail).header("www-authenticate", challenge);
    let none = || {
        let detail = "this needs a token: `Authorization: Bearer pst_…`; `penstock token create` makes one";
        refused(detail, "Bearer realm=\"penstock\"")
    };
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return Err(none()) };
    let presented = value.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, presented)) = presented else { return Err(none()) };
    let presented = presented.trim().to_string();
    let known = desk.ask(move |office: Rc<O>| async move { token::authenticate(office.store(), &presented, office.now().wall).await });
    match known.await {
        Ok(Ok(Some(token))) => Ok(token),
        Ok(Ok(None)) => Err(refused(
            "the token is unknown, expired or revoked: `penstock token create` makes one",
            "Bearer realm=\"penstock\", error=\"invalid_token\"",
        )),
        Ok(Err(error)) => Err(error.into()),
        Err(closed) => Err(unanswered(closed)),
    }
}

async fn read(body: Body, limit: usize, headers: &HeaderMap) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::TooLarge, format!("the body is larger than the {} MiB that are taken here", limit / 1024 / 1024));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(LONGEST_WAIT, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::MalformedBody, "the body broke off before its end")),
        Err(_) => Err(Problem::new(Code::MalformedBody, "the body took longer than a minute to come")),
    }
}

/// An answer on its way from the office's thread.
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    kind: Option<&'static str>,
    body: ReplyBody,
}

enum ReplyBody {
    Whole(Bytes),
    Pieces(mpsc::Receiver<Bytes>, oneshot::Receiver<()>),
}

async fn ask<O: Office>(desk: &Desk<O>, route: Route<O>, call: Call) -> Result<Reply, Closed> {
    let (send, reply) = oneshot::channel();
    desk.post(move |office| async move {
        let request = call.request.clone();
        let answered = match call.key.clone() {
            Some(key) => repeat::once(&office, route, call, &key).await,
            None => (route.serve)(office.clone(), call).await,
        };
        match answered {
            Ok(answer) => pass_on(&*office, answer, &request, send).await,
            Err(problem) => {
                if let Some(cause) = &problem.cause {
                    office.failed(&request, cause);
                }
                drop(send.send(refused(problem)));
            }
        }
    })?;
    match tokio::time::timeout(LONGEST_WAIT, reply).await {
        Ok(reply) => reply.map_err(|_| Closed::Broken),
        Err(_) => {
            let late = Problem::new(Code::Busy, "this takes longer than a minute and goes on by itself; look again after a moment");
            Ok(refused(late.header("retry-after", "30")))
        }
    }
}

/// Hands an answer over, a long one piece by piece, as fast as it is taken.
async fn pass_on<O: Office>(office: &O, answer: Answer, request: &str, send: oneshot::Sender<Reply>) {
    let Answer { status, headers, content } = answer;
    let whole = |kind, bytes| Reply { status, headers: headers.clone(), kind, body: ReplyBody::Whole(bytes) };
    let (kind, mut pieces) = match content {
        Content::Nothing => return drop(send.send(whole(None, Bytes::new()))),
        Content::Whole(kind, bytes) => return drop(send.send(whole(Some(kind), bytes))),
        Content::Pieces(kind, pieces) => (kind, pieces),
    };
    let (give, take) = mpsc::channel(2);
    let (ended, end) = oneshot::channel();
    if send.send(Reply { status, headers, kind: Some(kind), body: ReplyBody::Pieces(take, end) }).is_err() {
        return;
    }
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(bytes) => match tokio::time::timeout(LONGEST_WAIT, give.send(bytes)).await {
                Ok(Ok(())) => {}
                _ => return,
            },
            Err(problem) => return office.failed(request, problem.cause.as_deref().unwrap_or(&problem.detail)),
        }
    }
    let _taken = ended.send(());
}

fn unanswered(closed: Closed) -> Problem {
    match closed {
        Closed::Busy => Problem::new(Code::Busy, "too much is asked at once; ask again after a moment").header("retry-after", "1"),
        Closed::Gone => Problem::new(Code::Busy, "the server is stopping; ask again after a moment").header("retry-after", "5"),
        Closed::Broken => Problem::internal("a request ended without an answer"),
    }
}

fn refused(problem: Problem) -> Reply {
    let body = serde_json::to_vec(&problem.body()).expect("plain data always serializes");
    Reply {
        status: problem.code.status(),
        headers: problem.headers,
        kind: Some("application/problem+json"),
        body: ReplyBody::Whole(body.into()),
    }
}

fn finish(reply: Reply, request_id: &str) -> Response {
    let body = match reply.body {
        ReplyBody::Whole(bytes) => Body::from(bytes),
        ReplyBody::Pieces(take, end) => Body::from_stream(pieces(take, end)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(kind) = reply.kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let own = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in own.chain([("x-request-id", request_id)]) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Breaks off with an error unless the end was said, so that half an answer never looks whole.
fn pieces(take: mpsc::Receiver<Bytes>, end: oneshot::Receiver<()>) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    futures_util::stream::unfold(Some((take, end)), |state| async move {
        let (mut take, end) = state?;
        match take.recv().await {
            Some(bytes) => Some((Ok(bytes), Some((take, end)))),
            None => match end.await {
                Ok(()) => None,
                Err(_) => Some((Err(std::io::Error::other("the answer broke off")), None)),
            },
        }
    })
}
