//! Definitions of every kind: the same four operations on each. What may be put stands in the engine's catalog.

use crate::answer::Answer;
use crate::call::{Call, Preconditions};
use crate::office::Office;
use crate::operation::{Body, Chapter, Content, Good, Link, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use crate::{definition, document};
use engine::catalog::{Catalog, Definition, Kind, Precondition, Refused};
use engine::keys::LaneName;
use engine::lane::pause;
use engine::model::name::Name;
use engine::model::project::Problem as Found;
use engine::run::claim;
use engine::time::rfc3339;
use engine::token::Scope;
use serde::Serialize;
use serde_json::Value;
use std::rc::Rc;
use utoipa::ToSchema;

macro_rules! stored {
    ($($kind:ident, $definition:ident;)*) => { $(
        /// A definition as it is stored, with what is known of it besides.
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "it is there for its schema; `Stored` is what is sent")]
        pub(crate) struct $kind {
            /// Its name.
            #[schema(example = "crm")]
            id: String,
            /// Counts its changes, from 1; its `ETag` in quotes.
            #[schema(minimum = 1)]
            revision: u64,
            /// RFC 3339.
            #[schema(format = DateTime)]
            created_at: String,
            /// RFC 3339.
            #[schema(format = DateTime)]
            updated_at: String,
            /// Since when its deliveries are held back (RFC 3339); of a destination that is paused only.
            #[schema(format = DateTime, required = false)]
            paused_at: Option<String>,
            /// As it was put, secrets as `[redacted]`. Put it back as it is, and nothing changes.
            definition: definition::$definition,
        }
    )* };
}

stored! {
    StoredCredential, Credential;
    StoredDestination, Destination;
    StoredModel, Model;
    StoredExport, Export;
    StoredRequest, Request;
    StoredEventType, EventType;
    StoredRule, Rule;
}

/// What is sent.
#[derive(Serialize)]
struct Stored {
    id: String,
    revision: u64,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_at: Option<String>,
    definition: Value,
}

/// A part of a list.
#[derive(Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

const ETAG: &[(&str, &str)] = &[("ETag", "The revision in quotes: give it as `If-Match` to change just that.")];

const ABOUT_PUT: &str = "Creates it, or replaces it whole. Every problem is reported, also those that the change would make elsewhere. \
                         `[redacted]` in the place of a secret keeps the one that is stored. Putting what is there already changes nothing.";

/// A stored definition as an answer shows it.
macro_rules! example {
    ($name:literal, $shown:literal) => {
        concat!(
            r#"{"id": ""#,
            $name,
            r#"", "revision": 12, "created_at": "2026-01-01T08:00:00.000Z", "updated_at": "2026-01-02T08:00:00.000Z", "definition": "#,
            $shown,
            "}"
        )
    };
}

macro_rules! operations {
    ($kind:expr, $chapter:expr, $one:literal, $the:literal, $many:literal, $path:literal, $schema:ty, $stored:ty, $id:expr, $example:literal, $name:literal, $shown:literal,
     $list:ident $get:ident $put:ident $delete:ident, $listed:literal $got:literal $putted:literal $deleted:literal) => {
        pub(crate) static $list: Operation = Operation {
            id: $listed,
            summary: concat!("List ", $many),
            about: "In the order of their names.",
            scope: Some(Scope::Read),
            kind: Some($kind),
            parameters: &[&p::LIMIT, &p::AFTER],
            good: &[Good {
                links: &[
                    Link { name: $got, operation: $got, parameters: &[("id", "$response.body#/items/0/id")] },
                    Link { name: $putted, operation: $putted, parameters: &[("id", "$response.body#/items/0/id")] },
                ],
                ..Good::json(
                    200,
                    concat!("The ", $many, "."),
                    |schemas| document::page_of(of::<$stored>, schemas),
                    concat!(r#"{"items": ["#, example!($name, $shown), r#"], "next": null}"#),
                )
            }],
            ..Operation::new(Verb::Get, concat!("/v1/", $path), $chapter)
        };

        pub(crate) static $get: Operation = Operation {
            id: $got,
            summary: concat!("Read ", $one),
            scope: Some(Scope::Read),
            kind: Some($kind),
            parameters: &[$id],
            good: &[Good { headers: ETAG, ..Good::json(200, $the, of::<$stored>, example!($name, $shown)) }],
            ..Operation::new(Verb::Get, concat!("/v1/", $path, "/{id}"), $chapter)
        };

        pub(crate) static $put: Operation = Operation {
            id: $putted,
            summary: concat!("Create or replace ", $one),
            about: ABOUT_PUT,
            scope: Some(Scope::Write),
            kind: Some($kind),
            parameters: &[$id, &p::IF_MATCH, &p::IF_NONE_MATCH],
            body: Some(Body { content: Content::Json(of::<$schema>), required: true, about: $the, example: $example }),
            good: &[
                Good {
                    headers: ETAG,
                    links: &[
                        Link { name: $got, operation: $got, parameters: &[("id", "$response.body#/id")] },
                        Link { name: $deleted, operation: $deleted, parameters: &[("id", "$response.body#/id")] },
                    ],
                    ..Good::json(200, "It was replaced, or was the same already.", of::<$stored>, example!($name, $shown))
                },
                Good {
                    headers: ETAG,
                    links: &[
                        Link { name: $got, operation: $got, parameters: &[("id", "$response.body#/id")] },
                        Link { name: $putted, operation: $putted, parameters: &[("id", "$response.body#/id")] },
                        Link { name: $deleted, operation: $deleted, parameters: &[("id", "$response.body#/id")] },
                    ],
                    ..Good::json(201, "It was created.", of::<$stored>, example!($name, $shown))
                },
            ],
            ..Operation::new(Verb::Put, concat!("/v1/", $path, "/{id}"), $chapter)
        };

        pub(crate) static $delete: Operation = Operation {
            id: $deleted,
            summary: concat!("Delete ", $one),
            about: "Refused while something refers to it.",
            scope: Some(Scope::Write),
            kind: Some($kind),
            parameters: &[$id, &p::IF_MATCH],
            good: &[Good::nothing("It is gone.")],
            codes: if matches!($kind, Kind::Export) { &[Code::InUse, Code::ExportBusy] } else { &[Code::InUse] },
            ..Operation::new(Verb::Delete, concat!("/v1/", $path, "/{id}"), $chapter)
        };
    };
}

operations!(
    Kind::Credential, Chapter::Credentials, "a credential", "The credential.", "credentials", "credentials", definition::Credential, StoredCredential, &p::CREDENTIAL,
    r#"{"type": "bearer", "token": "eyJhbGciOi"}"#, "crm", r#"{"type": "bearer", "token": "[redacted]"}"#,
    LIST_CREDENTIALS GET_CREDENTIAL PUT_CREDENTIAL DELETE_CREDENTIAL,
    "listCredentials" "getCredential" "putCredential" "deleteCredential"
);
operations!(
    Kind::Destination, Chapter::Destinations, "a destination", "The destination.", "destinations", "destinations", definition::Destination, StoredDestination,
    &p::DESTINATION,
    r#"{"base_url": "https://api.example.com", "rate_limit": {"requests": 3600, "per": "hour"}, "actions": {"add": {"url": "/members", "body": "{\"id\": \"{{user.id}}\"}"}}}"#,
    "crm", r#"{"base_url": "https://api.example.com", "rate_limit": {"requests": 3600, "per": "hour"}, "actions": {"add": {"url": "/members", "body": "{\"id\": \"{{user.id}}\"}"}}}"#,
    LIST_DESTINATIONS GET_DESTINATION PUT_DESTINATION DELETE_DESTINATION,
    "listDestinations" "getDestination" "putDestination" "deleteDestination"
);
operations!(
    Kind::Model, Chapter::Models, "a model", "The model.", "models", "models", definition::Model, StoredModel, &p::MODEL,
    r#"{"name": "Newsletter", "primary_key": ["id"], "source": {"type": "push"}}"#,
    "newsletter", r#"{"name": "Newsletter", "primary_key": ["id"], "source": {"type": "push"}}"#,
    LIST_MODELS GET_MODEL PUT_MODEL DELETE_MODEL,
    "listModels" "getModel" "putModel" "deleteModel"
);
operations!(
    Kind::Export, Chapter::Exports, "an export", "The export.", "exports", "exports", definition::Export, StoredExport, &p::EXPORT,
    r#"{"model": "newsletter", "destination": "crm", "fields": [{"from": "id"}, {"from": "email_address", "to": "email"}], "schedule": {"every": "1h"}}"#,
    "newsletter", r#"{"model": "newsletter", "destination": "crm", "fields": [{"from": "id"}, {"from": "email_address", "to": "email"}], "schedule": {"every": "1h"}}"#,
    LIST_EXPORTS GET_EXPORT PUT_EXPORT DELETE_EXPORT,
    "listExports" "getExport" "putExport" "deleteExport"
);

operations!(
    Kind::Request, Chapter::Requests, "a request", "The request.", "requests", "requests", definition::Request, StoredRequest, &p::REQUEST,
    r#"{"url": "https://profiles.example.com/v1/{{contact.id}}", "timeout_seconds": 5}"#,
    "customer_profile", r#"{"url": "https://profiles.example.com/v1/{{contact.id}}", "timeout_seconds": 5}"#,
    LIST_REQUESTS GET_REQUEST PUT_REQUEST DELETE_REQUEST,
    "listRequests" "getRequest" "putRequest" "deleteRequest"
);
operations!(
    Kind::EventType, Chapter::EventTypes, "an event type", "The event type.", "event types", "event-types", definition::EventType, StoredEventType,
    &p::EVENT_TYPE,
    r#"{"name": "Order placed", "attributes": [{"key": "total", "type": "number", "samples": [42.5]}]}"#,
    "order.placed", r#"{"name": "Order placed", "attributes": [{"key": "total", "type": "number", "samples": [42.5]}]}"#,
    LIST_EVENT_TYPES GET_EVENT_TYPE PUT_EVENT_TYPE DELETE_EVENT_TYPE,
    "listEventTypes" "getEventType" "putEventType" "deleteEventType"
);
operations!(
    Kind::Rule, Chapter::Rules, "a rule", "The rule.", "rules", "rules", definition::Rule, StoredRule, &p::RULE,
    r#"{"on": "contact.subscribed", "when": "data.source == 'form'", "steps": [{"deliver": {"destination": "crm", "action": "add"}}]}"#,
    "welcome", r#"{"on": "contact.subscribed", "when": "data.source == 'form'", "steps": [{"deliver": {"destination": "crm", "action": "add"}}]}"#,
    LIST_RULES GET_RULE PUT_RULE DELETE_RULE,
    "listRules" "getRule" "putRule" "deleteRule"
);

/// The catalog of the caller's organization.
pub(crate) fn catalog<'a, O: Office>(office: &'a O, call: &'a Call) -> Result<Catalog<'a, O::Store, O::Secrets>, Problem> {
    Ok(Catalog { store: office.store(), secrets: office.secrets(), organization: call.organization()?, now: office.now().wall })
}

/// The lane of a destination.
pub(crate) fn lane(organization: &Name, destination: &Name) -> LaneName {
    LaneName { organization: organization.clone(), destination: destination.clone(), share: 0 }
}

fn kind(call: &Call) -> Result<Kind, Problem> {
    call.operation.kind.ok_or_else(|| Problem::internal(format!("{} names no kind of definitions", call.operation.id)))
}

/// The definition that the path names. What is no name names nothing.
fn named(call: &Call, kind: Kind) -> Result<Name, Problem> {
    let id = call.id("id");
    kind.name(id).map_err(|_| Problem::missing(kind.as_str(), id))
}

async fn stored<O: Office>(office: &O, call: &Call, definition: Definition) -> Result<Stored, Problem> {
    let paused_at = match definition.kind {
        Kind::Destination => {
            let lane = lane(call.organization()?, &definition.id);
            pause::read(office.store(), &lane, office.now().wall / 1_000_000).await?.map(|pause| rfc3339(pause.since))
        }
        _ => None,
    };
    Ok(Stored {
        id: definition.id.to_string(),
        revision: definition.revision,
        created_at: rfc3339(definition.created_at),
        updated_at: rfc3339(definition.updated_at),
        paused_at,
        definition: definition.body,
    })
}

fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

pub(crate) async fn list<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let limit = call.number("limit", p::ITEMS) as usize;
    let catalog = catalog(&*office, &call)?;
    let mut definitions = catalog.list(kind(&call)?, call.parameter("after"), limit + 1).await?;
    let more = definitions.len() > limit;
    definitions.truncate(limit);
    let next = definitions.last().filter(|_| more).map(|definition| definition.id.to_string());
    let mut items = Vec::with_capacity(definitions.len());
    for definition in definitions {
        items.push(stored(&*office, &call, definition).await?);
    }
    Ok(Answer::json(200, &Page { items, next }))
}

pub(crate) async fn get<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let kind = kind(&call)?;
    let name = named(&call, kind)?;
    let found = catalog(&*office, &call)?.get(kind, &name).await?;
    let definition = found.ok_or_else(|| Problem::missing(kind.as_str(), name.as_str()))?;
    let revision = definition.revision;
    Ok(Answer::json(200, &stored(&*office, &call, definition).await?).header("etag", etag(revision)))
}

pub(crate) async fn put<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let kind = kind(&call)?;
    let id = call.id("id");
    let name = kind.name(id).map_err(|message| Problem::invalid(vec![Found { path: "id".to_string(), message }]))?;
    let body = call.json()?.unwrap_or_default();
    let catalog = catalog(&*office, &call)?;
    let precondition = precondition(&call)?;
    let put = catalog.put(kind, &name, body, precondition).await?.map_err(|refused| self::refused(refused, kind.as_str(), id))?;
    if put.changed {
        let destination = (kind == Kind::Destination).then_some(&name);
        office.refresh(call.organization()?, destination).await?;
    }
    let revision = put.definition.revision;
    let status = if put.created { 201 } else { 200 };
    Ok(Answer::json(status, &stored(&*office, &call, put.definition).await?).header("etag", etag(revision)))
}

pub(crate) async fn delete<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let kind = kind(&call)?;
    let name = named(&call, kind)?;
    let organization = call.organization()?;
    let catalog = catalog(&*office, &call)?;
    if kind == Kind::Export
        && catalog.get(kind, &name).await?.is_some()
        && let Some(run) = claim::holder(office.store(), organization, &name, office.now().wall / 1_000_000).await?
    {
        return Err(Problem::new(Code::ExportBusy, format!("{run} of export `{name}` has not ended: cancel it, or wait for its end")));
    }
    let precondition = precondition(&call)?;
    let deleted = catalog.delete(kind, &name, precondition).await?;
    deleted.map_err(|refused| self::refused(refused, kind.as_str(), name.as_str()))?;
    if kind == Kind::Model {
        // A model of this name that comes later begins without rows.
        engine::push::forget(office.store(), office.objects(), organization, &name, office.now().wall / 1_000_000).await?;
    }
    let destination = (kind == Kind::Destination).then_some(&name);
    office.refresh(organization, destination).await?;
    Ok(Answer::nothing())
}

/// What the headers ask for.
pub(crate) fn precondition(call: &Call) -> Result<Precondition, Problem> {
    match call.preconditions {
        Preconditions::Nothing => Ok(Precondition::Any),
        Preconditions::Absent => Ok(Precondition::Absent),
        Preconditions::Present => Ok(Precondition::Present),
        Preconditions::At(revision) => Ok(Precondition::At(revision)),
        Preconditions::Never => Err(conflict(None)),
    }
}

fn conflict(current: Option<u64>) -> Problem {
    match current {
        Some(revision) => {
            let detail = format!("it is at revision {revision} now: read it again, then change that");
            Problem::new(Code::PreconditionFailed, detail).header("etag", etag(revision))
        }
        None => Problem::new(Code::PreconditionFailed, "what the condition asks for is not there: read it again, then change that"),
    }
}

pub(crate) fn refused(refused: Refused, kind: &str, id: &str) -> Problem {
    match refused {
        Refused::Invalid(problems) => Problem::invalid(problems),
        Refused::Precondition { current } => conflict(current),
        Refused::InUse(by) => {
            let problems = by.iter().map(|path| Found { path: path.clone(), message: format!("refers to {kind} `{id}`") }).collect();
            Problem::listed(Code::InUse, format!("{kind} `{id}` is in use: change what refers to it first"), problems)
        }
        Refused::Missing => Problem::missing(kind, id),
    }
}
