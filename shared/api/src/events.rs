//! Events handed in: one, or many as lines. The engine checks and takes them.

use crate::answer::Answer;
use crate::call::Call;
use crate::destinations::project;
use crate::office::Office;
use crate::operation::{Body, Chapter, Content, Good, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use engine::event::take as engine_take;
use engine::token::Scope;
use serde::Serialize;
use serde_json::{Map, Value};
use std::rc::Rc;
use std::sync::Arc;
use utoipa::ToSchema;

/// Something that happened.
#[derive(ToSchema)]
#[schema(as = Event)]
#[expect(dead_code, reason = "it is there for its schema; the engine reads the lines")]
pub(crate) struct EventLine {
    /// Tells it from all others: the same id within 24 hours is the same event.
    #[schema(min_length = 1, max_length = 128)]
    id: String,
    /// Its type: one that comes built in, or that was put.
    r#type: String,
    /// When it happened (RFC 3339); unless given, when it is taken.
    #[schema(format = DateTime)]
    time: Option<String>,
    /// What is known of it: `contact`, or the contact's attributes themselves.
    data: Option<Map<String, Value>>,
}

/// What was taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct TakenEvents {
    /// Events that are new.
    events: u64,
    /// Events that were taken before, or stood there twice.
    duplicates: u64,
    /// Deliveries that are owed for the new ones.
    deliveries: u64,
    /// Rules that could not be asked about an event, and so were taken as not matching; at most twenty.
    unasked: Vec<UnaskedRule>,
}

/// A rule whose `when` or `key` could not be evaluated.
#[derive(Serialize, ToSchema)]
pub(crate) struct UnaskedRule {
    /// The rule.
    rule: String,
    /// The event's id.
    event: String,
    /// Why.
    reason: String,
}

pub(crate) static TAKE: Operation = Operation {
    id: "takeEvents",
    summary: "Hand in events",
    about: "All of them are taken, or, if a line is wrong, none. What rules owe for them is on disk when this answers; it is sent as the \
            destinations' limits allow. At most 1,000 events and 8 MiB a call, 64 KiB an event.",
    scope: Some(Scope::Send),
    parameters: &[&p::IDEMPOTENCY_KEY],
    body: Some(Body {
        content: Content::OneOrLines(of::<EventLine>),
        required: true,
        about: "One event, or one a line.",
        example: r#"{"id": "evt-1", "type": "contact.subscribed", "time": "2026-01-01T08:00:00Z", "data": {"contact": {"id": "42", "ecom_email": "ada@example.com"}, "source": "form"}}"#,
    }),
    good: &[Good::json(202, "They were taken.", of::<TakenEvents>, r#"{"events": 1, "duplicates": 0, "deliveries": 1, "unasked": []}"#)],
    codes: &[Code::Invalid],
    ..Operation::new(Verb::Post, "/v1/events", Chapter::Events)
};

pub(crate) async fn take<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let project = match office.project(call.organization()?).await {
        Ok(project) => project,
        // Read once more for every problem that they have.
        Err(_) => Arc::new(project(&*office, &call).await?),
    };
    let taken = engine_take::take(office.store(), &project, &call.body, office.now().wall).await?.map_err(Problem::invalid)?;
    for lane in &taken.lanes {
        office.look(lane);
    }
    let unasked = taken.unasked.into_iter().map(|one| UnaskedRule { rule: one.rule.to_string(), event: one.event, reason: one.reason });
    let answer =
        TakenEvents { events: taken.events, duplicates: taken.duplicates, deliveries: taken.deliveries, unasked: unasked.collect() };
    Ok(Answer::json(202, &answer))
}
