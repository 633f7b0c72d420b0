//! What an operation of the API is: one description that the router serves by, the checks go by and the document is made from, so
//! that none of them can say something that the others do not.

use crate::answer::Answer;
use crate::call::Call;
use crate::office::Office;
use crate::problem::{Code, Problem};
use engine::catalog::Kind;
use engine::token::Scope;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

/// Bodies of JSON.
pub(crate) const JSON_BYTES: usize = 1024 * 1024;
/// Rows, and parts of uploads.
pub(crate) const ROWS_BYTES: usize = 8 * 1024 * 1024;

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    /// As the document writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Put => "put",
            Verb::Post => "post",
            Verb::Delete => "delete",
        }
    }
}

/// The chapters of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chapter {
    Organization,
    Tokens,
    Credentials,
    Destinations,
    Models,
    Exports,
    Requests,
    EventTypes,
    Rules,
    Events,
    Plans,
    Runs,
    Deliveries,
    Render,
    Process,
}

impl Chapter {
    /// All, in the order of the page, with what they are about.
    pub(crate) const ALL: [(Chapter, &'static str, &'static str); 15] = [
        (Chapter::Organization, "Organization", "Whose all of it is; a token belongs to one."),
        (Chapter::Tokens, "Tokens", "What callers identify themselves with; the text is shown once."),
        (Chapter::Credentials, "Credentials", "Named, reusable secrets. What is secret is write-only and shown as `[redacted]`."),
        (Chapter::Destinations, "Destinations", "HTTP APIs that rows are sent to."),
        (Chapter::Models, "Models", "Named sets of rows with a primary key, and the push of rows."),
        (Chapter::Exports, "Exports", "Which model goes to which destination."),
        (Chapter::Requests, "Requests", "Reusable pulls of JSON that rules run."),
        (Chapter::EventTypes, "Event types", "Events that rules may name, besides the two that come built in."),
        (Chapter::Rules, "Rules", "What is sent when an event comes."),
        (Chapter::Events, "Events", "What happened, handed in."),
        (Chapter::Plans, "Plans", "What a run would do; sends nothing."),
        (Chapter::Runs, "Runs", "Executions of exports."),
        (Chapter::Deliveries, "Deliveries", "Requests that were owed, with every attempt."),
        (Chapter::Render, "Render", "Previews of templates."),
        (Chapter::Process, "The process", "Health, metrics, and this description."),
    ];

    pub(crate) fn title(self) -> &'static str {
        Chapter::ALL.iter().find(|(chapter, ..)| *chapter == self).map_or("", |(_, title, _)| title)
    }
}

/// Puts the schemas of a type into the list of components and gives what refers to it.
pub(crate) type Collect = fn(&mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema>;

/// The schema of a named type.
pub(crate) fn of<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    T::schemas(schemas);
    let name = T::name().to_string();
    schemas.push((name.clone(), T::schema()));
    utoipa::openapi::Ref::from_schema_name(name).into()
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

/// What a parameter's value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// A definition's name.
    Name,
    /// An event type's.
    EventType,
    /// The id of a run, a delivery, a plan, an upload or a token, by its first letters.
    Id(&'static str),
    /// Some text of at most so many characters.
    Text(usize),
    /// A whole number.
    Number(u64, u64),
    /// True or false.
    Boolean,
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// A point in time.
    Time,
    /// An entity tag.
    Tag,
    /// 1 to 255 visible ASCII characters.
    Key,
}

/// A parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) value: Value,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
    /// An example.
    pub(crate) example: &'static str,
}

/// What a body may be.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// JSON of this schema.
    Json(Collect),
    /// A JSON object a line.
    Lines(Collect),
    /// A JSON object, or one a line.
    OneOrLines(Collect),
    /// Bytes as they are.
    Bytes,
    /// Some text of this type.
    Text(&'static str),
}

/// The body of a request.
pub(crate) struct Body {
    pub(crate) content: Content,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
    /// JSON, or NDJSON.
    pub(crate) example: &'static str,
}

/// An answer that is no problem.
pub(crate) struct Good {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    pub(crate) content: Option<Content>,
    /// JSON; empty: none.
    pub(crate) example: &'static str,
    /// Headers with what they say.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// What can be asked next.
    pub(crate) links: &'static [Link],
}

impl Good {
    /// JSON of a type.
    pub(crate) const fn json(status: u16, about: &'static str, schema: Collect, example: &'static str) -> Good {
        Good { status, about, content: Some(Content::Json(schema)), example, headers: &[], links: &[] }
    }

    /// 204.
    pub(crate) const fn nothing(about: &'static str) -> Good {
        Good { status: 204, about, content: None, example: "", headers: &[], links: &[] }
    }
}

/// From an answer to another operation.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) operation: &'static str,
    /// A parameter of it, and where its value stands, as an OpenAPI runtime expression.
    pub(crate) parameters: &'static [(&'static str, &'static str)],
}

/// An operation.
pub(crate) struct Operation {
    /// Stable; what generated clients call it.
    pub(crate) id: &'static str,
    pub(crate) verb: Verb,
    pub(crate) path: &'static str,
    pub(crate) chapter: Chapter,
    pub(crate) summary: &'static str,
    pub(crate) about: &'static str,
    /// `None`: needs no token.
    pub(crate) scope: Option<Scope>,
    /// Which definitions it is about, where one handler serves all kinds.
    pub(crate) kind: Option<Kind>,
    /// Path parameters first, in the order of the path.
    pub(crate) parameters: &'static [&'static Parameter],
    pub(crate) body: Option<Body>,
    pub(crate) good: &'static [Good],
    /// Codes besides those that follow from the rest: see [`Operation::codes`].
    pub(crate) codes: &'static [Code],
    /// Whether an answer holds a secret: it is sealed before it is kept for a repeated request.
    pub(crate) secret: bool,
}

impl Operation {
    /// An operation with nothing but its place, to be filled up.
    pub(crate) const fn new(verb: Verb, path: &'static str, chapter: Chapter) -> Operation {
        Operation {
            id: "",
            verb,
            path,
            chapter,
            summary: "",
            about: "",
            scope: None,
            kind: None,
            parameters: &[],
            body: None,
            good: &[],
            codes: &[],
            secret: false,
        }
    }

    /// Every code that its answers may carry.
    pub(crate) fn codes(&self) -> Vec<Code> {
        let mut codes = vec![Code::InvalidParameter, Code::Internal, Code::Busy];
        if self.scope.is_some() {
            codes.extend([Code::Unauthorized, Code::Forbidden]);
        }
        if self.parameters.iter().any(|parameter| parameter.place == Place::Path) {
            codes.push(Code::NotFound);
        }
        if self.takes("if-match") || self.takes("if-none-match") {
            codes.extend([Code::InvalidHeader, Code::PreconditionFailed]);
        }
        if self.verb != Verb::Get {
            codes.push(Code::StorageFull);
        }
        if self.verb == Verb::Post {
            codes.extend([Code::InvalidHeader, Code::IdempotencyKeyInUse, Code::IdempotencyKeyReused]);
        }
        match self.body.as_ref().map(|body| body.content) {
            None => {}
            Some(Content::Json(_)) => {
                codes.extend([Code::MalformedBody, Code::MalformedJson, Code::TooLarge, Code::UnsupportedMediaType, Code::Invalid]);
            }
            Some(Content::Lines(_) | Content::OneOrLines(_)) => {
                codes.extend([Code::MalformedBody, Code::TooLarge, Code::UnsupportedMediaType, Code::Invalid])
            }
            Some(Content::Bytes | Content::Text(_)) => {
                codes.extend([Code::MalformedBody, Code::TooLarge, Code::UnsupportedMediaType]);
            }
        }
        codes.extend(self.codes);
        codes.sort();
        codes.dedup();
        codes
    }

    /// Whether it has a parameter of this name.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.name.eq_ignore_ascii_case(name))
    }
}

/// What an operation does.
pub(crate) type Serve<O> = fn(Rc<O>, Call) -> LocalBoxFuture<'static, Result<Answer, Problem>>;

/// An operation and what it does.
pub(crate) struct Route<O> {
    pub(crate) operation: &'static Operation,
    pub(crate) serve: Serve<O>,
}

impl<O: Office> Clone for Route<O> {
    fn clone(&self) -> Route<O> {
        *self
    }
}

impl<O: Office> Copy for Route<O> {}
