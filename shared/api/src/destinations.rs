//! What can be done with a destination besides changing it: test it, pause it, let it go on.

use crate::answer::Answer;
use crate::call::Call;
use crate::definitions::{self, StoredDestination, catalog, lane};
use crate::example;
use crate::members::Members;
use crate::office::{Office, Probed};
use crate::operation::{Body, Chapter, Content, Good, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use crate::view::{OutcomeClass, RequestView, ResponseView, public_error};
use engine::catalog::Kind;
use engine::deliver::attach::Attachments;
use engine::event::fetch;
use engine::judge::{Class, SuccessRule, judge};
use engine::lane::{bell, pause};
use engine::model::action::ActionName;
use engine::model::export::Export;
use engine::model::name::Name;
use engine::model::project::{Problem as Found, Project};
use engine::port::Exchange;
use engine::sample::Sample;
use engine::shape::Rendered;
use engine::time::rfc3339;
use engine::token::Scope;
use serde::Serialize;
use serde_json::{Map, Value};
use std::rc::Rc;
use utoipa::ToSchema;

/// All definitions of the caller's organization, secrets opened.
pub(crate) async fn project<O: Office>(office: &O, call: &Call) -> Result<Project, Problem> {
    catalog(office, call)?.project().await?.map_err(Problem::invalid)
}

/// What to test with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema; `Members` reads it, with every problem")]
pub(crate) struct Trial {
    /// Whose fields and actions make the request; unless given, the first export that goes to this destination.
    #[schema(required = false)]
    export: Option<String>,
    /// Which action; unless given, the first that is on.
    #[schema(required = false)]
    action: Option<crate::view::ActionWord>,
    /// Sample rows under the names that templates use; more than one for an action that sends batches only.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 100)]
    rows: Vec<Map<String, Value>>,
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tested {
    /// As it was sent, secrets redacted.
    request: RequestView,
    /// What came back, if anything did.
    response: Option<ResponseView>,
    /// What a delivery with this answer would count as.
    #[schema(value_type = OutcomeClass)]
    class: Class,
    /// Why it is no success.
    error: Option<String>,
    /// Milliseconds.
    duration_ms: u64,
}

impl Tested {
    /// Of a request of no destination's; with what only the log may say of its failure.
    pub(crate) fn of_request(rendered: &Rendered, exchange: &Exchange, duration: u64, wall: u64) -> (Tested, Option<String>) {
        let attachments = Attachments::none();
        let request = RequestView::of(&attachments.shown(rendered));
        let response = match exchange {
            Exchange::Response(response) => Some(ResponseView::of(&attachments.shown_response(response))),
            Exchange::Failure { .. } => None,
        };
        let (class, error) = match fetch::read(exchange, wall) {
            Ok(_) => (Class::Success, None),
            Err(verdict) => (verdict.class, verdict.error),
        };
        let public = error.as_deref().map(|error| public_error(class, error, &request.url));
        let told = error.filter(|error| public.as_ref() != Some(error));
        (Tested { request, response, class, error: public, duration_ms: duration.div_ceil(1000) }, told)
    }
}

pub(crate) static TEST: Operation = Operation {
    id: "testDestination",
    summary: "Send one sample",
    about: "A real request: it goes through the destination's lane, takes a permit of its limit and carries its secrets. Waits 25 seconds at \
            most. Nothing of it is recorded.",
    scope: Some(Scope::Send),
    parameters: &[&p::DESTINATION, &p::IDEMPOTENCY_KEY],
    body: Some(Body {
        content: Content::Json(of::<Trial>),
        required: true,
        about: "What to test with.",
        example: r#"{"export": "newsletter", "action": "add", "rows": [{"id": 1, "email": "ada@example.com"}]}"#,
    }),
    good: &[Good::json(200, "The request and what came back, success or not.", of::<Tested>, example::TESTED)],
    codes: &[Code::LaneBusy],
    ..Operation::new(Verb::Post, "/v1/destinations/{id}/test", Chapter::Destinations)
};

/// Reads sample rows: a list of objects.
pub(crate) fn rows(members: &mut Members) -> Vec<Map<String, Value>> {
    let list = members.list("rows");
    let list = members.required("rows", list, "[{\"id\": 1}]").unwrap_or_default();
    let mut rows = Vec::with_capacity(list.len());
    for item in list {
        match item {
            Value::Object(row) => rows.push(row),
            _ => members.wrong("rows", "a row must be an object of fields"),
        }
    }
    rows
}

/// Reads the name of an action.
pub(crate) fn action(members: &mut Members) -> Option<ActionName> {
    let word = members.text("action", 20)?;
    let found = ActionName::ALL.into_iter().find(|action| action.as_str() == word);
    if found.is_none() {
        members.wrong("action", format!("there is no action `{word}`: use add, update or remove"));
    }
    found
}

/// The export of that name in a project, or a problem at `export`.
pub(crate) fn export<'a>(project: &'a Project, name: &str) -> Result<&'a Export, Problem> {
    let found = Name::new(name).ok().and_then(|name| project.exports.get(&name));
    found.ok_or_else(|| {
        let message = format!("there is no export `{name}`");
        Problem::invalid(vec![Found { path: "export".to_string(), message }])
    })
}

/// The first action that is on.
pub(crate) fn first_action(export: &Export) -> ActionName {
    ActionName::ALL.into_iter().find(|name| export.actions.get(*name).is_some()).unwrap_or(ActionName::Add)
}

pub(crate) async fn test<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let name = call.name("destination")?;
    if catalog(&*office, &call)?.get(Kind::Destination, &name).await?.is_none() {
        return Err(Problem::missing("destination", name.as_str()));
    }
    let mut members = Members::of(call.json()?, &["export", "action", "rows"])?;
    let (wanted, action, rows) = (members.text("export", 64), self::action(&mut members), rows(&mut members));
    members.done()?;
    let project = project(&*office, &call).await?;
    let destination = project.destinations.get(&name).ok_or_else(|| Problem::missing("destination", name.as_str()))?;
    let wrong = |message: String| Problem::invalid(vec![Found { path: "export".to_string(), message }]);
    let export = match &wanted {
        Some(wanted) => export(&project, wanted)?,
        None => project
            .exports
            .values()
            .find(|export| export.destination == name)
            .ok_or_else(|| wrong(format!("no export goes to `{name}`: put one, since its actions and fields make the sample")))?,
    };
    if export.destination != name {
        return Err(wrong(format!("export `{}` goes to `{}`, not to `{name}`", export.id, export.destination)));
    }
    let action = action.unwrap_or_else(|| first_action(export));
    let sample = Sample::of_export(&project, export, action, &rows).map_err(Problem::invalid)?;
    let attachments = Attachments::of(destination);
    let order = sample.order(&office.fresh_name("dlv_sample"), &rfc3339(office.now().wall));
    let Some(rendered) = order.rendered else {
        let problems = order.unsent.iter().map(|(row, why)| {
            let body = why.body.as_ref().map(|body| format!("; as rendered: {}", attachments.shown_text(body))).unwrap_or_default();
            Found { path: format!("rows[{row}]"), message: format!("{}{body}", attachments.shown_text(&why.reason)) }
        });
        return Err(Problem::invalid(problems.collect()));
    };
    let shown = RequestView::of(&attachments.shown(&rendered));
    let lane = lane(call.organization()?, &name);
    let (exchange, duration) = match office.probe(&lane, destination, rendered).await? {
        Probed::Done(exchange, duration) => (exchange, duration),
        Probed::Busy => {
            let detail = format!("no permit of `{name}` came free within 25 seconds: its limit is used up, or it is paused");
            return Err(Problem::new(Code::LaneBusy, detail).header("retry-after", "30"));
        }
    };
    let compiled = sample.compiled.action(action).ok_or_else(|| Problem::internal("an action that was rendered is not there"))?;
    let rule = SuccessRule::of(&compiled.action, compiled.success_path.as_ref(), export.on_partial);
    let verdict = judge(&exchange, order.rows, &rule, &destination.retry, office.now().wall);
    let response = match &exchange {
        Exchange::Response(response) => Some(ResponseView::of(&attachments.shown_response(response))),
        Exchange::Failure { .. } => None,
    };
    let error = verdict.error.as_deref().map(|error| attachments.shown_text(error));
    let public = error.as_deref().map(|error| public_error(verdict.class, error, &shown.url));
    if public != error {
        office.failed(&call.request, &format!("a test of destination {name}: {}", error.unwrap_or_default()));
    }
    let error = public;
    let tested = Tested { request: shown, response, class: verdict.class, error, duration_ms: duration.div_ceil(1000) };
    Ok(Answer::json(200, &tested))
}

pub(crate) static PAUSE: Operation = Operation {
    id: "pauseDestination",
    summary: "Pause a destination",
    about: "Once this answers nothing more is sent to it; its deliveries are held and stay visible. Pausing again changes nothing.",
    scope: Some(Scope::Write),
    kind: Some(Kind::Destination),
    parameters: &[&p::DESTINATION, &p::IDEMPOTENCY_KEY],
    good: &[Good::json(200, "The destination.", of::<StoredDestination>, "")],
    ..Operation::new(Verb::Post, "/v1/destinations/{id}/pause", Chapter::Destinations)
};

pub(crate) async fn pause<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let (name, lane) = known(&*office, &call).await?;
    pause::pause(office.store(), &lane, office.now().wall).await?;
    office.refresh(call.organization()?, Some(&name)).await?;
    definitions::get(office, call).await
}

pub(crate) static RESUME: Operation = Operation {
    id: "resumeDestination",
    summary: "Let a destination go on",
    about: "What was held is sent, at the destination's rate. Resuming again changes nothing.",
    scope: Some(Scope::Write),
    kind: Some(Kind::Destination),
    parameters: &[&p::DESTINATION, &p::IDEMPOTENCY_KEY],
    good: &[Good::json(200, "The destination.", of::<StoredDestination>, "")],
    ..Operation::new(Verb::Post, "/v1/destinations/{id}/resume", Chapter::Destinations)
};

pub(crate) async fn resume<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let (name, lane) = known(&*office, &call).await?;
    let wall = office.now().wall;
    pause::resume(office.store(), &lane, wall).await?;
    bell::ring(office.store(), &lane, wall, wall / 1_000_000).await?;
    office.refresh(call.organization()?, Some(&name)).await?;
    office.wake();
    definitions::get(office, call).await
}

async fn known<O: Office>(office: &O, call: &Call) -> Result<(Name, engine::keys::LaneName), Problem> {
    let name = call.name("destination")?;
    if catalog(office, call)?.get(Kind::Destination, &name).await?.is_none() {
        return Err(Problem::missing("destination", name.as_str()));
    }
    let lane = lane(call.organization()?, &name);
    Ok((name, lane))
}
