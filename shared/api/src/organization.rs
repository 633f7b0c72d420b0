//! `/v1/organization`: the settings of the caller's own. Which one that is comes from the token.

use crate::answer::Answer;
use crate::call::Call;
use crate::definition;
use crate::definitions::{catalog, precondition, refused};
use crate::example;
use crate::office::Office;
use crate::operation::{Body, Chapter, Content, Good, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::Problem;
use engine::catalog::Settings;
use engine::time::rfc3339;
use engine::token::Scope;
use serde::Serialize;
use serde_json::Value;
use std::rc::Rc;
use utoipa::ToSchema;

/// The caller's organization.
#[derive(Serialize, ToSchema)]
pub(crate) struct Organization {
    /// Its name in documents; fixed.
    #[schema(example = "acme")]
    id: String,
    /// 0 as long as nobody has put any settings; its `ETag` in quotes.
    revision: u64,
    /// RFC 3339; null as long as nobody has put any.
    #[schema(format = DateTime)]
    updated_at: Option<String>,
    /// As it was put, or what holds unless it is.
    #[schema(value_type = definition::Organization)]
    definition: Value,
}

fn answer(settings: Settings) -> Answer {
    let Settings { revision, mut body, updated_at, .. } = settings;
    let id = match body.as_object_mut().and_then(|body| body.remove("id")) {
        Some(Value::String(id)) => id,
        _ => String::new(),
    };
    let updated_at = (revision > 0).then(|| rfc3339(updated_at));
    Answer::json(200, &Organization { id, revision, updated_at, definition: body }).header("etag", format!("\"{revision}\""))
}

const ETAG: &[(&str, &str)] = &[("ETag", "The revision in quotes.")];

pub(crate) static GET: Operation = Operation {
    id: "getOrganization",
    summary: "Read the organization",
    scope: Some(Scope::Read),
    good: &[Good { headers: ETAG, ..Good::json(200, "The organization.", of::<Organization>, example::ORGANIZATION) }],
    ..Operation::new(Verb::Get, "/v1/organization", Chapter::Organization)
};

pub(crate) async fn get<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    Ok(answer(catalog(&*office, &call)?.organization().await?))
}

pub(crate) static PUT: Operation = Operation {
    id: "putOrganization",
    summary: "Change the organization",
    scope: Some(Scope::Write),
    parameters: &[&p::IF_MATCH, &p::IF_NONE_MATCH],
    body: Some(Body {
        content: Content::Json(of::<definition::Organization>),
        required: true,
        about: "Its settings, whole.",
        example: r#"{"name": "Acme", "retention_days": 30}"#,
    }),
    good: &[Good { headers: ETAG, ..Good::json(200, "The organization.", of::<Organization>, example::ORGANIZATION) }],
    ..Operation::new(Verb::Put, "/v1/organization", Chapter::Organization)
};

pub(crate) async fn put<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let body = call.json()?.unwrap_or_default();
    let organization = call.organization()?;
    let put = catalog(&*office, &call)?.put_organization(body, precondition(&call)?).await?;
    let settings = put.map_err(|refused| self::refused(refused, "organization", organization.as_str()))?;
    office.refresh(organization, None).await?;
    Ok(answer(settings))
}
