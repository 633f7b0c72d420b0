//! The process itself: health, metrics, and the description of the API. Needs no token, and so must not show anything of anybody's.

use crate::answer::Answer;
use crate::call::Call;
use crate::office::Office;
use crate::operation::{Chapter, Content, Good, Operation, Verb};
use crate::problem::Problem;
use crate::{document, page};
use engine::keys;
use engine::port::Store;
use serde::Serialize;
use std::rc::Rc;
use std::sync::LazyLock;
use utoipa::ToSchema;

/// Whether the process answers and its store does.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`: what is not is answered with a problem.
    #[schema(example = "ok")]
    status: &'static str,
    /// Of Penstock.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

pub(crate) static HEALTH: Operation = Operation {
    id: "health",
    summary: "Whether the process works",
    about: "Reads the store once. Answers 200 as long as the process can do its work.",
    good: &[Good::json(200, "It works.", crate::operation::of::<Health>, r#"{"status": "ok", "version": "0.1.0"}"#)],
    ..Operation::new(Verb::Get, "/healthz", Chapter::Process)
};

pub(crate) async fn health<O: Office>(office: Rc<O>, _call: Call) -> Result<Answer, Problem> {
    let now = office.now().wall / 1_000_000;
    office.store().list(keys::WORK, "".."~", 1, now).await?;
    Ok(Answer::json(200, &Health { status: "ok", version: env!("CARGO_PKG_VERSION") }))
}

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) static METRICS: Operation = Operation {
    id: "metrics",
    summary: "Counters and gauges for Prometheus",
    about: "In the OpenMetrics text format. Names no rows and no secrets.",
    good: &[Good { status: 200, about: "The metrics.", content: Some(Content::Text(METRICS_TYPE)), example: "", headers: &[], links: &[] }],
    ..Operation::new(Verb::Get, "/metrics", Chapter::Process)
};

pub(crate) async fn metrics<O: Office>(office: Rc<O>, _call: Call) -> Result<Answer, Problem> {
    Ok(Answer::text(METRICS_TYPE, office.metrics()))
}

/// Any OpenAPI document.
fn any_object(_: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    utoipa::openapi::RefOr::T(utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::Object).build().into())
}

pub(crate) static OPENAPI: Operation = Operation {
    id: "openapi",
    summary: "This description",
    about: "OpenAPI 3.1, made from the same tables that requests are checked by.",
    good: &[Good::json(200, "The document.", any_object, "")],
    ..Operation::new(Verb::Get, "/v1/openapi.json", Chapter::Process)
};

pub(crate) async fn openapi<O: Office>(_office: Rc<O>, _call: Call) -> Result<Answer, Problem> {
    static TEXT: LazyLock<String> = LazyLock::new(document::document_text);
    Ok(Answer::text("application/json", TEXT.as_str()))
}

const HTML: &str = "text/html; charset=utf-8";

pub(crate) static DOCS: Operation = Operation {
    id: "docs",
    summary: "This description, to be read",
    about: "One page without scripts.",
    good: &[Good { status: 200, about: "The page.", content: Some(Content::Text(HTML)), example: "", headers: &[], links: &[] }],
    ..Operation::new(Verb::Get, "/docs", Chapter::Process)
};

pub(crate) async fn docs<O: Office>(_office: Rc<O>, _call: Call) -> Result<Answer, Problem> {
    static PAGE: LazyLock<String> = LazyLock::new(page::page);
    // Nothing is loaded and nothing runs, so nothing that anybody wrote into the page could.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    Ok(Answer::text(HTML, PAGE.as_str()).header("content-security-policy", policy))
}
