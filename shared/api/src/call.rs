//! A request that passed every check which its operation describes: who asks, with which parameters and what body.

use crate::json;
use crate::operation::Operation;
use crate::problem::{Code, Problem};
use bytes::Bytes;
use engine::model::name::Name;
use engine::model::project::Problem as Found;
use engine::token::Token;
use std::collections::BTreeMap;

/// A checked request.
pub(crate) struct Call {
    pub(crate) operation: &'static Operation,
    /// What the answer carries as `X-Request-Id`.
    pub(crate) request: String,
    /// Who asks; of operations without a scope nobody.
    pub(crate) token: Option<Token>,
    /// Path and query parameters, checked against the operation's.
    pub(crate) parameters: BTreeMap<&'static str, String>,
    pub(crate) preconditions: Preconditions,
    /// `Idempotency-Key`.
    pub(crate) key: Option<String>,
    pub(crate) body: Bytes,
}

/// `If-Match` and `If-None-Match`, as far as they mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preconditions {
    Nothing,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match: "7"`
    At(u64),
    /// `If-Match` with a tag that no revision of ours has: never holds.
    Never,
}

impl Call {
    /// Whose documents are meant. It comes from the token and from nowhere else.
    pub(crate) fn organization(&self) -> Result<&Name, Problem> {
        Ok(&self.token()?.organization)
    }

    /// Who asks.
    pub(crate) fn token(&self) -> Result<&Token, Problem> {
        self.token.as_ref().ok_or_else(|| Problem::internal(format!("{} was served without a token", self.operation.id)))
    }

    /// A path parameter, or a query parameter that was given.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// A path parameter.
    pub(crate) fn id(&self, name: &str) -> &str {
        self.parameter(name).unwrap_or_default()
    }

    /// A definition's name out of the path. What is no name names nothing.
    pub(crate) fn name(&self, kind: &str) -> Result<Name, Problem> {
        let id = self.id("id");
        Name::new(id).map_err(|_| Problem::missing(kind, id))
    }

    /// A query parameter that is a definition's name.
    pub(crate) fn named(&self, name: &str) -> Option<Name> {
        self.parameter(name).and_then(|text| Name::new(text).ok())
    }

    /// A query parameter that is a number, checked before.
    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.parameter(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// A query parameter that is true or false, checked before.
    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.parameter(name).map_or(default, |text| text == "true")
    }

    /// The body as JSON. An empty one is `None` where none is needed.
    pub(crate) fn json(&self) -> Result<Option<serde_json::Value>, Problem> {
        let needed = self.operation.body.as_ref().is_some_and(|body| body.required);
        if self.body.is_empty() && !needed {
            return Ok(None);
        }
        if self.body.is_empty() {
            return Err(Problem::new(Code::MalformedBody, "this needs a body of JSON; none came"));
        }
        json::read(&self.body).map(Some).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or("it does not parse").to_string();
            let found = Found { path: place.clone(), message: what.clone() };
            Problem::listed(Code::MalformedJson, format!("the body is not JSON: {what} at {place}"), vec![found])
        })
    }
}
