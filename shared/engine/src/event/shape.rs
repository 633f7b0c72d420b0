//! What shapes the requests of a rule: pinned when an event comes, compiled once, rendered for each errand (semantics.md 10).
//!
//! Limits, retries, timeouts of the destination, credentials and secret headers are not here: those are the current ones.

use super::errand::Errand;
use super::scope::View;
use super::single_brackets;
use crate::keys;
use crate::model::action::{Action, ActionName, BatchMode};
use crate::model::name::Name;
use crate::model::project::Project;
use crate::model::request::Request;
use crate::model::rule::{OnFailure, Rule, Step};
use crate::port::{Document, Expect, PortError, Store};
use crate::shape::{CompiledAction, Rendered, Unrendered};
use crate::template::{Content, Template};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The pinned part of a rule, its requests and its destinations. Holds no secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleShape {
    /// The rule.
    pub rule: Name,
    /// What templates see as `team`.
    pub team: Team,
    /// In order.
    pub steps: Vec<PinnedStep>,
}

/// The organization, as templates see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Team {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub attributes: Map<String, Value>,
}

impl Team {
    /// Of a project.
    pub fn of(project: &Project) -> Team {
        let organization = &project.organization;
        Team { id: organization.id.to_string(), name: organization.name.clone(), attributes: organization.attributes.clone() }
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinnedStep {
    /// Runs a request.
    Fetch {
        /// The request.
        request: Request,
        /// Where its JSON is kept.
        output: String,
        /// What its failure means.
        on_failure: OnFailure,
    },
    /// Sends one.
    Deliver(PinnedDelivery),
}

/// A request to a destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PinnedDelivery {
    /// Where to.
    pub destination: Name,
    /// Which action.
    pub name: ActionName,
    /// That action.
    pub action: Action,
    /// The destination's base URL.
    pub base_url: url::Url,
    /// Headers of every request there.
    pub headers: Vec<(String, String)>,
    /// Where the idempotency key goes.
    pub idempotency_header: Option<String>,
    /// Names and templates.
    pub variables: Vec<(String, String)>,
}

impl RuleShape {
    /// Of a rule as the project has it.
    pub fn of(project: &Project, rule: &Rule) -> RuleShape {
        let steps = rule.steps.iter().map(|step| match step {
            Step::Fetch(fetch) => PinnedStep::Fetch {
                request: project.requests[&fetch.request].clone(),
                output: fetch.output.clone(),
                on_failure: fetch.on_failure,
            },
            Step::Deliver(deliver) => {
                let destination = &project.destinations[&deliver.destination];
                PinnedStep::Deliver(PinnedDelivery {
                    destination: deliver.destination.clone(),
                    name: deliver.action,
                    action: deliver.request.clone(),
                    base_url: destination.base_url.clone(),
                    headers: destination.headers.clone(),
                    idempotency_header: destination.idempotency_header.clone(),
                    variables: deliver.variables.clone(),
                })
            }
        });
        RuleShape { rule: rule.id.clone(), team: Team::of(project), steps: steps.collect() }
    }

    /// Changes with anything that shapes requests.
    pub fn version(&self) -> String {
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&serde_json::to_vec(self).expect("plain data always serializes")))
    }

    /// The steps that deliver, by their places.
    pub fn deliveries(&self) -> impl Iterator<Item = (u32, &PinnedDelivery)> {
        self.steps.iter().enumerate().filter_map(|(at, step)| match step {
            PinnedStep::Deliver(delivery) => Some((at as u32, delivery)),
            PinnedStep::Fetch { .. } => None,
        })
    }
}

/// Pins a rule. The same version has the same content, so it is written once.
pub async fn pin<S: Store>(store: &S, organization: &Name, shape: &RuleShape, version: &str, now: u64) -> Result<(), PortError> {
    let key = keys::pinned_rule(organization, &shape.rule, version);
    if store.get(&key, now).await?.is_some() {
        return Ok(());
    }
    let body = serde_json::to_vec(shape).expect("plain data always serializes");
    match store.put(&key, Document { body, ..Document::default() }, Expect::Absent, now).await {
        Ok(_) | Err(PortError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A step that delivers with the fetches before it, ready to render.
#[derive(Debug)]
pub struct CompiledStep {
    /// The fetches before it, in order.
    pub fetches: Vec<CompiledFetch>,
    /// The action.
    pub action: CompiledAction,
    idempotency_header: Option<String>,
    variables: Vec<(String, Template)>,
    team: Team,
}

/// A fetch, ready to render.
#[derive(Debug)]
pub struct CompiledFetch {
    /// As pinned.
    pub request: Request,
    /// Where its JSON is kept.
    pub output: String,
    /// What its failure means.
    pub on_failure: OnFailure,
    call: CompiledAction,
}

/// What an errand's templates see, as far as it is known.
#[derive(Debug)]
pub struct Surroundings(View);

impl Surroundings {
    /// Of an errand that goes under the delivery's id `delivery`.
    pub fn of(errand: &Errand, team: &Team, delivery: &str) -> Surroundings {
        Surroundings(View::of(errand, team, delivery))
    }
}

/// Reads what an errand pinned.
pub async fn read<S: Store>(store: &S, organization: &Name, errand: &Errand, now: u64) -> Result<RuleShape, PortError> {
    let key = keys::pinned_rule(organization, &errand.rule, &errand.version);
    let stored = store.get(&key, now).await?.ok_or_else(|| PortError::Missing(format!("what {} pinned", errand.id)))?;
    serde_json::from_slice(&stored.body).map_err(|e| PortError::Failed(format!("what {} pinned cannot be read: {e}", errand.id)))
}

impl CompiledStep {
    /// Compiles what was pinned. The error says what does not compile any more.
    pub fn new(shape: &RuleShape, step: u32) -> Result<CompiledStep, String> {
        let Some(PinnedStep::Deliver(delivery)) = shape.steps.get(step as usize) else {
            return Err(format!("step {step} of rule {} does not deliver", shape.rule));
        };
        let mut fetches = Vec::new();
        for step in &shape.steps[..step as usize] {
            if let PinnedStep::Fetch { request, output, on_failure } = step {
                let call = compile_request(request)?;
                fetches.push(CompiledFetch { request: request.clone(), output: output.clone(), on_failure: *on_failure, call });
            }
        }
        let action = Action { url: single_brackets(&delivery.action.url).0, ..delivery.action.clone() };
        let variable = |(name, source): &(String, String)| {
            let template = Template::compile(source, Content::Text).map_err(|e| format!("variables.{name}: {e}"))?;
            Ok::<_, String>((name.clone(), template))
        };
        Ok(CompiledStep {
            fetches,
            action: CompiledAction::new(&delivery.base_url, &delivery.headers, action)?,
            idempotency_header: delivery.idempotency_header.clone(),
            variables: delivery.variables.iter().map(variable).collect::<Result<_, _>>()?,
            team: shape.team.clone(),
        })
    }

    /// What the templates of an errand see.
    pub fn surroundings(&self, errand: &Errand, delivery: &str) -> Surroundings {
        Surroundings::of(errand, &self.team, delivery)
    }

    /// Renders the delivery.
    pub fn render(&self, around: &Surroundings, outputs: &Map<String, Value>, delivery: &str) -> Result<Rendered, Unrendered> {
        let mut variables = Map::new();
        for (name, template) in &self.variables {
            let rendered = around.0.with(outputs, &Map::new(), true, |scope| template.render(scope));
            let wrong = |error| Unrendered { reason: format!("variables.{name}: {error}"), body: None, in_body: false };
            variables.insert(name.clone(), Value::String(rendered.map_err(wrong)?));
        }
        let idempotency = self.idempotency_header.as_deref().map(|header| (header, delivery));
        let rendered = around.0.with(outputs, &variables, true, |scope| self.action.head(scope, idempotency))?;
        let individual = self.action.action.batch == BatchMode::Individual;
        around.0.with(outputs, &variables, individual, |scope| self.action.complete(rendered, scope))
    }
}

impl CompiledFetch {
    /// Renders the request.
    pub fn render(&self, around: &Surroundings, outputs: &Map<String, Value>) -> Result<Rendered, Unrendered> {
        render_request(&self.call, around, outputs)
    }
}

/// Compiles a request. The error says what does not compile.
pub fn compile_request(request: &Request) -> Result<CompiledAction, String> {
    let base = url::Url::parse("https://base.invalid").map_err(|e| e.to_string())?;
    CompiledAction::new(&base, &[], request.call.clone()).map_err(|e| format!("request {}: {e}", request.id))
}

/// Renders a request.
pub fn render_request(call: &CompiledAction, around: &Surroundings, outputs: &Map<String, Value>) -> Result<Rendered, Unrendered> {
    let none = Map::new();
    let rendered = around.0.with(outputs, &none, true, |scope| call.head(scope, None))?;
    around.0.with(outputs, &none, true, |scope| call.complete(rendered, scope))
}
