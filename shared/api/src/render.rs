//! `POST /v1/render`: a preview of an action, or of a template alone, against sample rows. Sends nothing.

use crate::answer::Answer;
use crate::call::Call;
use crate::destinations::{self, export, first_action, project};
use crate::example;
use crate::members::Members;
use crate::office::Office;
use crate::operation::{self, Chapter, Content, Good, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::Problem;
use crate::view::RequestView;
use engine::deliver::attach::Attachments;
use engine::model::action::Body;
use engine::sample::Sample;
use engine::time::rfc3339;
use engine::token::Scope;
use serde::Serialize;
use serde_json::{Map, Value};
use std::rc::Rc;
use utoipa::ToSchema;

/// The longest template that is tried out.
const LONGEST_TEMPLATE: usize = 64 * 1024;

/// What to render: an action of an export (`export`, perhaps `action`), or a template (`template`, perhaps the others).
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema; `Members` reads it, with every problem")]
pub(crate) struct Preview {
    /// An export; the request is the one that its action would send.
    #[schema(required = false)]
    export: Option<String>,
    /// Which of its actions; unless given, the first that is on.
    #[schema(required = false)]
    action: Option<crate::view::ActionWord>,
    /// A template of a body, in the place of an export.
    #[schema(required = false, max_length = 65536)]
    template: Option<String>,
    /// What the template renders to; `json` unless given.
    #[schema(required = false)]
    content: Option<PreviewContent>,
    /// Whether the template sees all rows as `users`, or one as `user`; false unless given.
    #[schema(required = false)]
    batched: Option<bool>,
    /// Whether a missing variable is an error; false unless given.
    #[schema(required = false)]
    strict: Option<bool>,
    /// Sample rows under the names that templates use.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 100)]
    rows: Vec<Map<String, Value>>,
}

/// What a template renders to.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there for its schema; the words are compared as text")]
pub(crate) enum PreviewContent {
    Json,
    Text,
}

/// What was rendered.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rendered {
    /// The request, secrets redacted; null if no row renders. Of a template alone only its body means something.
    request: Option<RequestView>,
    /// Rows that do not render, and why.
    invalid: Vec<Unrendered>,
}

/// A row that does not render.
#[derive(Serialize, ToSchema)]
pub(crate) struct Unrendered {
    /// Its place in the list, from 0.
    row: u32,
    /// What is wrong.
    reason: String,
    /// The body as far as it was rendered, where it does not parse.
    body: Option<String>,
}

pub(crate) static RENDER: Operation = Operation {
    id: "render",
    summary: "Preview a request",
    about: "Renders sample rows as a delivery would, and says of each row that does not render why. Sends nothing.",
    scope: Some(Scope::Read),
    parameters: &[&p::IDEMPOTENCY_KEY],
    body: Some(operation::Body {
        content: Content::Json(of::<Preview>),
        required: true,
        about: "What to render.",
        example: r#"{"template": "{\"email\": \"{{user.email}}\"}", "rows": [{"email": "ada@example.com"}]}"#,
    }),
    good: &[Good::json(200, "What was rendered.", of::<Rendered>, example::RENDERED)],
    ..Operation::new(Verb::Post, "/v1/render", Chapter::Render)
};

pub(crate) async fn render<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    const KNOWN: &[&str] = &["export", "action", "template", "content", "batched", "strict", "rows"];
    let mut members = Members::of(call.json()?, KNOWN)?;
    let (wanted, action) = (members.text("export", 64), destinations::action(&mut members));
    let template = members.text("template", LONGEST_TEMPLATE);
    let content = members.text("content", 20);
    let (batched, strict) = (members.flag("batched"), members.flag("strict"));
    let rows = destinations::rows(&mut members);
    match (&wanted, &template) {
        (Some(_), Some(_)) => members.wrong("template", "goes without `export`: keep one of them"),
        (None, None) => members.missing_one("`export` or `template` is missing: say what to render"),
        (Some(_), None) if content.is_some() || batched.is_some() || strict.is_some() => {
            members.wrong("export", "has its own content, batch and strictness: leave those away");
        }
        (None, Some(_)) if action.is_some() => members.wrong("action", "goes with `export` only"),
        _ => {}
    }
    if content.as_deref().is_some_and(|content| !matches!(content, "json" | "text")) {
        members.wrong("content", "must be `json` or `text`");
    }
    members.done()?;
    let (sample, attachments) = match wanted {
        Some(wanted) => {
            let project = project(&*office, &call).await?;
            let export = export(&project, &wanted)?;
            let action = action.unwrap_or_else(|| first_action(export));
            let sample = Sample::of_export(&project, export, action, &rows).map_err(Problem::invalid)?;
            (sample, project.destinations.get(&export.destination).map_or_else(Attachments::none, Attachments::of))
        }
        None => {
            let template = template.unwrap_or_default();
            let body = if content.as_deref() == Some("text") { Body::Text(template) } else { Body::Json(template) };
            let sample = Sample::of_body(body, batched.unwrap_or(false), strict.unwrap_or(false), &rows).map_err(Problem::invalid)?;
            (sample, Attachments::none())
        }
    };
    let order = sample.order(&office.fresh_name("dlv_sample"), &rfc3339(office.now().wall));
    let invalid = order.unsent.iter().map(|(row, why)| Unrendered {
        row: *row,
        reason: attachments.shown_text(&why.reason),
        body: why.body.as_ref().map(|body| attachments.shown_text(body)),
    });
    let invalid = invalid.collect();
    let request = order.rendered.as_ref().map(|rendered| RequestView::of(&attachments.shown(rendered)));
    Ok(Answer::json(200, &Rendered { request, invalid }))
}
