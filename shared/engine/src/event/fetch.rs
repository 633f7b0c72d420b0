//! Making an errand ready: the requests before its step are run once, and what they gave is kept, so that every attempt sends the same
//! bytes. It must not take permits of the destination: a fetch goes elsewhere.

use super::errand::{self, Errand};
use super::shape::{self, CompiledFetch, CompiledStep, Surroundings};
use crate::deliver::attach::Attachments;
use crate::judge::{self, Class, SuccessRule, Verdict};
use crate::keys;
use crate::model::export::OnPartial;
use crate::model::name::Name;
use crate::model::retry::RetryPolicy;
use crate::model::rule::OnFailure;
use crate::port::{Clock, Document, Exchange, Expect, Objects, Outgoing, PortError, Store, Transport};
use crate::record::page::{LoggedRequest, LoggedResponse};
use crate::shape::{Rendered, Unrendered};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Outputs up to this length lie in a document, longer ones in an object.
const INLINE_BYTES: usize = 64 * 1024;
/// So many compiled steps are kept.
const MOST_COMPILED: usize = 256;

/// An errand that can be rendered.
#[derive(Debug)]
pub struct Loaded {
    /// The errand.
    pub errand: Errand,
    /// Its step.
    pub step: Rc<CompiledStep>,
    /// What its templates see.
    pub around: Surroundings,
    /// What was fetched.
    pub outputs: Map<String, Value>,
}

/// A fetch that ends its errand.
#[derive(Debug)]
pub struct Failed {
    /// The errand.
    pub errand: Errand,
    /// The request as it went.
    pub request: LoggedRequest,
    /// What came back.
    pub response: Option<LoggedResponse>,
    /// What it means.
    pub verdict: Verdict,
    /// When it went, Unix microseconds, and how long it took, microseconds.
    pub took: (u64, u64),
}

/// What making ready came to.
#[derive(Debug)]
pub enum Prepared {
    /// It can be rendered.
    Ready(Box<Loaded>),
    /// A fetch failed, and its step says to stop.
    Failed(Box<Failed>),
    /// There is no such errand, or what it pinned cannot be used.
    Lost(String),
}

/// Steps that were compiled, by rule version and place.
#[derive(Debug, Default)]
pub struct Compiled(RefCell<HashMap<(Name, String, u32), Rc<CompiledStep>>>);

impl Compiled {
    async fn step<S: Store>(
        &self,
        store: &S,
        organization: &Name,
        errand: &Errand,
        now: u64,
    ) -> Result<Result<Rc<CompiledStep>, String>, PortError> {
        let key = (errand.rule.clone(), errand.version.clone(), errand.step);
        if let Some(step) = self.0.borrow().get(&key) {
            return Ok(Ok(Rc::clone(step)));
        }
        let pinned = match shape::read(store, organization, errand, now).await {
            Ok(pinned) => pinned,
            Err(PortError::Missing(what)) => return Ok(Err(format!("{what} is not there any more"))),
            Err(error) => return Err(error),
        };
        let step = match CompiledStep::new(&pinned, errand.step) {
            Ok(step) => Rc::new(step),
            Err(why) => return Ok(Err(format!("what {} pinned cannot be used: {why}", errand.id))),
        };
        let mut known = self.0.borrow_mut();
        if known.len() >= MOST_COMPILED {
            known.clear();
        }
        known.insert(key, Rc::clone(&step));
        Ok(Ok(step))
    }
}

/// Reads an errand and what it fetched, or fetches it.
pub async fn prepare<S: Store, O: Objects, T: Transport, C: Clock>(
    ports: crate::deliver::Ports<'_, S, O, T, C>,
    organization: &Name,
    id: &str,
    delivery: &str,
    compiled: &Compiled,
) -> Result<Prepared, PortError> {
    let now = ports.clock.now().wall / 1_000_000;
    let Some(errand) = errand::read(ports.store, organization, id, now).await? else {
        return Ok(Prepared::Lost(format!("{id} is not there any more")));
    };
    let step = match compiled.step(ports.store, organization, &errand, now).await? {
        Ok(step) => step,
        Err(why) => return Ok(Prepared::Lost(why)),
    };
    let around = step.surroundings(&errand, delivery);
    if step.fetches.is_empty() {
        return Ok(Prepared::Ready(Box::new(Loaded { errand, step, around, outputs: Map::new() })));
    }
    if let Some(outputs) = read_outputs(ports.store, ports.objects, organization, id, now).await? {
        return Ok(Prepared::Ready(Box::new(Loaded { errand, step, around, outputs })));
    }
    let mut outputs = Map::new();
    for fetch in &step.fetches {
        let begun = ports.clock.now();
        let Fetched { request, response, result } = run(ports.transport, fetch, &around, &outputs, begun.wall).await;
        match (result, fetch.on_failure) {
            (Ok(value), _) => drop(outputs.insert(fetch.output.clone(), value)),
            (Err(_), OnFailure::Continue) => {}
            (Err(verdict), OnFailure::Stop) => {
                let took = (begun.wall, ports.clock.now().mono.saturating_sub(begun.mono));
                let error = verdict.error.unwrap_or_default();
                let verdict = Verdict { error: Some(format!("fetch of {}: {error}", fetch.request.id)), ..verdict };
                return Ok(Prepared::Failed(Box::new(Failed { errand, request, response, verdict, took })));
            }
        }
    }
    let outputs = keep_outputs(ports.store, ports.objects, organization, id, outputs, now).await?;
    Ok(Prepared::Ready(Box::new(Loaded { errand, step, around, outputs })))
}

/// What one fetch came to.
#[derive(Debug)]
pub struct Fetched {
    /// The request as it went, or would have.
    pub request: LoggedRequest,
    /// What came back.
    pub response: Option<LoggedResponse>,
    /// The JSON, or why there is none.
    pub result: Result<Value, Verdict>,
}

async fn run<T: Transport>(
    transport: &T,
    fetch: &CompiledFetch,
    around: &Surroundings,
    outputs: &Map<String, Value>,
    wall: u64,
) -> Fetched {
    let none =
        || LoggedRequest { method: fetch.request.call.method.as_str().to_string(), url: String::new(), headers: Vec::new(), body: None };
    // A disabled endpoint cannot run (LP-21).
    if !fetch.request.enabled {
        let why = verdict(Class::PolicyError, format!("request {} is switched off", fetch.request.id));
        return Fetched { request: none(), response: None, result: Err(why) };
    }
    match fetch.render(around, outputs) {
        Ok(rendered) => {
            let attachments = Attachments::none();
            let request = attachments.shown(&rendered);
            let exchange = transport.send(outgoing(&fetch.request, rendered)).await;
            let response = match &exchange {
                Exchange::Response(response) => Some(attachments.shown_response(response)),
                Exchange::Failure { .. } => None,
            };
            Fetched { request, response: response.map(cut), result: read(&exchange, wall) }
        }
        Err(Unrendered { reason, .. }) => Fetched { request: none(), response: None, result: Err(verdict(Class::RenderError, reason)) },
    }
}

/// Of a long response the beginning is kept in the log.
fn cut(mut response: LoggedResponse) -> LoggedResponse {
    use crate::deliver::attach::KEPT_RESPONSE_BYTES;
    if response.body.len() > KEPT_RESPONSE_BYTES {
        response.body.truncate(response.body.floor_char_boundary(KEPT_RESPONSE_BYTES));
        response.truncated = true;
    }
    response
}

/// The request as it goes on the wire.
pub fn outgoing(request: &crate::model::request::Request, rendered: Rendered) -> Outgoing {
    let Rendered { method, url, headers, body } = rendered;
    let limit = request.max_response_bytes as usize;
    let timeout = (request.timeout_seconds * 1e6) as u64;
    Outgoing { method, url, headers, body, timeout, keep_limit: limit, read_limit: limit }
}

/// Reads what a request gave: a JSON object or list of a 2xx (LP-17), or what its failure is.
pub fn read(exchange: &Exchange, wall: u64) -> Result<Value, Verdict> {
    let statuses = crate::model::status::StatusSet::two_hundreds();
    let rule = SuccessRule { statuses: &statuses, path: None, on_partial: OnPartial::NextRun };
    let judged = judge::judge(exchange, 1, &rule, &RetryPolicy::default(), wall);
    // The destination of the delivery has no part in it.
    let elsewhere = Verdict { uncertain: false, destination_down: false, retry_after_seconds: None, ..judged };
    let Exchange::Response(response) = exchange else { return Err(elsewhere) };
    if elsewhere.class != Class::Success {
        let error = elsewhere.error.as_ref().map(|_| format!("it answered {}", response.status));
        return Err(Verdict { error, ..elsewhere });
    }
    match serde_json::from_slice::<Value>(&response.body) {
        Ok(value) if value.is_object() || value.is_array() => Ok(value),
        Ok(_) => Err(Verdict {
            status: elsewhere.status,
            ..verdict(Class::ResponseError, "the response is neither a JSON object nor a list".to_string())
        }),
        Err(_) if response.body.iter().all(u8::is_ascii_whitespace) => Err(Verdict {
            status: elsewhere.status,
            ..verdict(Class::ResponseError, "the response is empty, and no JSON object or list".to_string())
        }),
        Err(error) => {
            Err(Verdict { status: elsewhere.status, ..verdict(Class::ResponseError, format!("the response is not JSON: {error}")) })
        }
    }
}

/// A failure that trying again would not change.
fn verdict(class: Class, error: String) -> Verdict {
    Verdict {
        class,
        status: None,
        succeeded: 0,
        uncertain: false,
        retryable: false,
        destination_down: false,
        retry_after_seconds: None,
        error: Some(error),
    }
}

fn outputs_key(organization: &Name, id: &str) -> crate::port::Key {
    crate::port::Key::new(keys::run_partition(organization, id), "outputs")
}

fn outputs_object(organization: &Name, id: &str) -> String {
    format!("{}outputs", keys::pages(organization, id))
}

async fn read_outputs<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    id: &str,
    now: u64,
) -> Result<Option<Map<String, Value>>, PortError> {
    let Some(stored) = store.get(&outputs_key(organization, id), now).await? else { return Ok(None) };
    let body = match stored.body.is_empty() {
        true => objects.get(&outputs_object(organization, id), None).await?,
        false => stored.body,
    };
    serde_json::from_slice(&body).map(Some).map_err(|e| PortError::Failed(format!("what {id} fetched cannot be read: {e}")))
}

/// Keeps what was fetched; what was kept first counts.
async fn keep_outputs<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    id: &str,
    outputs: Map<String, Value>,
    now: u64,
) -> Result<Map<String, Value>, PortError> {
    let text = serde_json::to_vec(&outputs).expect("plain data always serializes");
    let body = match text.len() > INLINE_BYTES {
        true => {
            objects.put(&outputs_object(organization, id), text).await?;
            Vec::new()
        }
        false => text,
    };
    match store.put(&outputs_key(organization, id), Document { body, ..Document::default() }, Expect::Absent, now).await {
        Ok(_) => Ok(outputs),
        Err(PortError::Conflict) => Ok(read_outputs(store, objects, organization, id, now).await?.unwrap_or(outputs)),
        Err(error) => Err(error),
    }
}
