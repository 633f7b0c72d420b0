//! The stage of the API's tests: a router over an office on memory, served on this thread, and requests that go straight into it.

use super::promise;
use api::{Desk, clerk, router};
use bytes::Bytes;
use engine::model::name::Name;
use engine::run::state;
use engine::token::{self, Scope, Wanted};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;
use tests::office::MemoryOffice;
use tower::ServiceExt;

/// A router, the office behind it, and who asks.
pub struct Stage {
    /// What is behind the router.
    pub office: Rc<MemoryOffice>,
    router: axum::Router,
    tokens: Cell<u8>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answered {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The code of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_string()
    }
}

/// A request being put together.
pub struct Asking<'a> {
    stage: &'a Stage,
    request: hyper::http::request::Builder,
    body: Bytes,
}

impl Asking<'_> {
    /// With a token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With a header.
    pub fn header(self, name: &str, value: &str) -> Self {
        Asking { request: self.request.header(name, value), ..self }
    }

    /// With a body of JSON.
    pub fn json(self, body: &Value) -> Self {
        let asking = self.header("content-type", "application/json");
        Asking { body: body.to_string().into(), ..asking }
    }

    /// With a body of that type.
    pub fn body(self, kind: &str, body: impl Into<Bytes>) -> Self {
        let asking = self.header("content-type", kind);
        Asking { body: body.into(), ..asking }
    }

    /// With these bytes as its body.
    pub fn raw(self, body: impl Into<Bytes>) -> Self {
        Asking { body: body.into(), ..self }
    }

    /// The answer, which must be one that the description promises.
    pub async fn send(self) -> Answered {
        let request: Request<Full<Bytes>> = self.request.body(Full::new(self.body)).expect("a sound request");
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        let response = self.stage.router.clone().oneshot(request).await.expect("the router always answers");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the answer is whole").to_bytes();
        let answered = Answered { status: parts.status.as_u16(), headers: parts.headers, body };
        promise::hold(&method, &path, &answered);
        answered
    }
}

impl Stage {
    /// A request.
    pub fn ask(&self, method: &str, path: &str) -> Asking<'_> {
        Asking { stage: self, request: Request::builder().method(method).uri(path), body: Bytes::new() }
    }

    /// A token of an organization.
    pub async fn token(&self, organization: &str, scopes: &[Scope]) -> String {
        self.tokens.set(self.tokens.get() + 1);
        let organization = Name::new(organization).expect("a name");
        let wanted = Wanted { organization: &organization, name: "test", scopes, expires_at: None };
        let random = [self.tokens.get(); 32];
        let fresh = token::create(&self.office.store, wanted, random, self.office.wall.get()).await.expect("stored").expect("sound");
        fresh.text.reveal().to_string()
    }

    /// A token of `acme` that may do everything.
    pub async fn owner(&self) -> String {
        self.token("acme", &Scope::ALL).await
    }

    /// Gives `newsletter` free, as whoever plans does when a guard holds a run.
    pub async fn free_export(&self, organization: &str) {
        let (organization, export) = (Name::new(organization).expect("a name"), Name::new("newsletter").expect("a name"));
        let now = self.office.wall.get() / 1_000_000;
        let freed = state::change(&self.office.store, &organization, &export, now, |state| {
            state.current = None;
            Ok::<(), ()>(())
        });
        freed.await.expect("memory does not fail").expect("nothing is refused");
    }

    /// Puts a definition that must be sound.
    pub async fn put(&self, token: &str, path: &str, body: &Value) -> Answered {
        let answered = self.ask("PUT", path).token(token).json(body).send().await;
        assert!(matches!(answered.status, 200 | 201), "{path}: {}", answered.text());
        answered
    }
}

/// Runs a test with a stage.
pub fn on_stage(test: impl AsyncFnOnce(Stage)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let office = Rc::new(MemoryOffice::new());
        let (desk, jobs) = Desk::new();
        tokio::task::spawn_local(clerk(jobs, office.clone()));
        test(Stage { office, router: router(desk), tokens: Cell::new(0) }).await;
    });
}
