//! `/v1/requests/{id}/test`: one request with a sample event, sent at once, and what came back.

use crate::answer::Answer;
use crate::call::Call;
use crate::definitions::catalog;
use crate::destinations::{Tested, project};
use crate::example;
use crate::members::Members;
use crate::office::{Office, Probed};
use crate::operation::{Body, Chapter, Content, Good, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use engine::catalog::Kind;
use engine::event::sample::Sample;
use engine::model::project::Problem as Found;
use engine::port::Outgoing;
use engine::time::rfc3339;
use engine::token::Scope;
use serde_json::{Map, Value};
use std::rc::Rc;
use utoipa::ToSchema;

/// It waits no longer than this, microseconds.
const LONGEST_WAIT: u64 = 25_000_000;

/// What to test with.
#[derive(ToSchema)]
#[schema(as = RequestTrial)]
#[expect(dead_code, reason = "it is there for its schema; `Members` reads it, with every problem")]
pub(crate) struct Trial {
    /// The type of the sample event; `contact.subscribed` unless given.
    #[schema(required = false)]
    r#type: Option<String>,
    /// The sample event's data; unless given, the samples of its type's attributes.
    #[schema(required = false)]
    data: Option<Map<String, Value>>,
    /// What earlier fetches gave, by output key.
    #[schema(required = false)]
    workflow: Option<Map<String, Value>>,
}

pub(crate) static TEST: Operation = Operation {
    id: "testRequest",
    summary: "Send one request",
    about: "A real request, under the same address rules as every other. `class` is `success` if the response is a JSON object or list of a \
            2xx, as a rule's fetch needs it. Waits 25 seconds at most. Nothing of it is recorded.",
    scope: Some(Scope::Send),
    parameters: &[&p::REQUEST, &p::IDEMPOTENCY_KEY],
    body: Some(Body {
        content: Content::Json(of::<Trial>),
        required: true,
        about: "What to test with; `{}` takes the samples of `contact.subscribed`.",
        example: r#"{"data": {"contact": {"id": "42"}}}"#,
    }),
    good: &[Good::json(200, "The request and what came back, success or not.", of::<Tested>, example::TESTED)],
    codes: &[Code::LaneBusy],
    ..Operation::new(Verb::Post, "/v1/requests/{id}/test", Chapter::Requests)
};

pub(crate) async fn test<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let name = call.name("request")?;
    if catalog(&*office, &call)?.get(Kind::Request, &name).await?.is_none() {
        return Err(Problem::missing("request", name.as_str()));
    }
    let mut members = Members::of(call.json()?, &["type", "data", "workflow"])?;
    let (kind, data, workflow) = (members.text("type", 64), members.object("data"), members.object("workflow"));
    members.done()?;
    let project = project(&*office, &call).await?;
    let request = project.requests.get(&name).ok_or_else(|| Problem::missing("request", name.as_str()))?;
    let now = office.now().wall;
    let sample = Sample { kind: kind.as_deref(), data, workflow: workflow.unwrap_or_default(), time: rfc3339(now) };
    let rendered = sample.render(&project, request).map_err(|Found { path, message }| Problem::invalid(vec![Found { path, message }]))?;
    let outgoing = engine::event::fetch::outgoing(request, rendered.clone());
    let outgoing = Outgoing { timeout: outgoing.timeout.min(LONGEST_WAIT), ..outgoing };
    let (exchange, duration) = match office.pull(outgoing).await? {
        Probed::Done(exchange, duration) => (exchange, duration),
        Probed::Busy => {
            let detail = "other tests are on their way already: wait for their end";
            return Err(Problem::new(Code::LaneBusy, detail).header("retry-after", "5"));
        }
    };
    let tested = Tested::of_request(&rendered, &exchange, duration, now);
    let (tested, told) = tested;
    if let Some(told) = told {
        office.failed(&call.request, &format!("a test of request {name}: {told}"));
    }
    Ok(Answer::json(200, &tested))
}
