//! `/v1/tokens`: made, listed, revoked. A token's text is in the answer to its making and nowhere else.

use crate::answer::Answer;
use crate::call::Call;
use crate::definitions::Page;
use crate::document;
use crate::example;
use crate::members::Members;
use crate::office::Office;
use crate::operation::{Body, Chapter, Content, Good, Link, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use engine::time::rfc3339;
use engine::token::{self, Scope, Token, Wanted};
use serde::Serialize;
use std::rc::Rc;
use utoipa::ToSchema;

/// A scope.
#[derive(ToSchema)]
#[schema(as = Scope, rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there for its schema; the engine's words are sent, and a test compares them")]
pub(crate) enum ScopeWord {
    Read,
    Write,
    Send,
}

/// A token, all but its text.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenView {
    /// The token's id; not what callers present.
    #[schema(pattern = "^tok_[0-9a-z]+$")]
    id: String,
    /// What it is for.
    name: String,
    /// What it allows: `read` looks, `write` changes definitions, rows and tokens, `send` makes requests go out.
    #[schema(value_type = Vec<ScopeWord>)]
    scopes: Vec<&'static str>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339; null: it does not end.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// A token just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshToken {
    /// The token.
    #[serde(flatten)]
    #[schema(inline)]
    token: TokenView,
    /// What callers present. It is shown this once: only its hash is stored.
    #[schema(example = "pst_9QbLq0mS3cG7yqv0JZr6k2d1mE8nqkP4w5x6y7z8A9B")]
    text: String,
}

/// What a new token is to be.
#[derive(ToSchema)]
#[schema(as = NewToken)]
#[expect(dead_code, reason = "it is there for its schema; `Members` reads it, with every problem")]
pub(crate) struct NewToken {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it allows; not more than the token that makes it.
    #[schema(value_type = Vec<ScopeWord>, min_items = 1)]
    scopes: Vec<String>,
    /// After so many days it is refused; null: it does not end.
    #[schema(minimum = 1, maximum = 3650, required = false)]
    expires_in_days: Option<u64>,
}

impl TokenView {
    fn of(token: &Token) -> TokenView {
        TokenView {
            id: token.id.clone(),
            name: token.name.clone(),
            scopes: token.scopes.iter().map(|scope| scope.as_str()).collect(),
            created_at: rfc3339(token.created_at),
            expires_at: token.expires_at.map(rfc3339),
        }
    }
}

pub(crate) static LIST: Operation = Operation {
    id: "listTokens",
    summary: "List tokens",
    about: "Those that have not ended, the oldest first.",
    scope: Some(Scope::Read),
    parameters: &[&p::LIMIT, &p::AFTER],
    good: &[Good::json(200, "The tokens.", |schemas| document::page_of(of::<TokenView>, schemas), "")],
    ..Operation::new(Verb::Get, "/v1/tokens", Chapter::Tokens)
};

pub(crate) async fn list<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let limit = call.number("limit", p::ITEMS) as usize;
    let mut tokens = token::list(office.store(), call.organization()?, call.parameter("after"), limit + 1, office.now().wall).await?;
    let more = tokens.len() > limit;
    tokens.truncate(limit);
    let next = tokens.last().filter(|_| more).map(|token| token.id.clone());
    Ok(Answer::json(200, &Page { items: tokens.iter().map(TokenView::of).collect(), next }))
}

pub(crate) static CREATE: Operation = Operation {
    id: "createToken",
    summary: "Make a token",
    about: "It belongs to the organization of the token that makes it. Kept for repeated requests, the answer is sealed.",
    scope: Some(Scope::Write),
    parameters: &[&p::IDEMPOTENCY_KEY],
    body: Some(Body {
        content: Content::Json(of::<NewToken>),
        required: true,
        about: "What it is to be.",
        example: r#"{"name": "nightly import", "scopes": ["read", "write"], "expires_in_days": 90}"#,
    }),
    good: &[Good {
        headers: &[("Location", "Where it can be revoked.")],
        links: &[Link { name: "revokeToken", operation: "revokeToken", parameters: &[("id", "$response.body#/id")] }],
        ..Good::json(201, "The token, with its text.", of::<FreshToken>, example::TOKEN)
    }],
    secret: true,
    ..Operation::new(Verb::Post, "/v1/tokens", Chapter::Tokens)
};

pub(crate) async fn create<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let mut members = Members::of(call.json()?, &["name", "scopes", "expires_in_days"])?;
    let name = members.text("name", 100);
    let name = members.required("name", name, "\"nightly import\"");
    let words = members.texts("scopes");
    let words = members.required("scopes", words, "[\"read\", \"write\"]");
    let days = members.number("expires_in_days", 1, 3650);
    let scopes: Vec<Scope> = words.iter().flatten().filter_map(|word| Scope::parse(word)).collect();
    for word in words.iter().flatten().filter(|word| Scope::parse(word).is_none()) {
        members.wrong("scopes", format!("there is no scope `{word}`: use read, write and send"));
    }
    members.done()?;
    let own = call.token()?;
    if let Some(scope) = scopes.iter().find(|scope| !own.scopes.contains(scope)) {
        let detail = format!("this token lacks the scope `{}`, and cannot make one that has it", scope.as_str());
        let challenge = format!("Bearer realm=\"penstock\", error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
        return Err(Problem::new(Code::Forbidden, detail).header("www-authenticate", challenge));
    }
    let now = office.now().wall;
    // What ends makes nothing that outlives it.
    let wished = days.map(|days| now + days * 86_400 * 1_000_000);
    let expires_at = match (wished, own.expires_at) {
        (Some(wished), Some(own)) => Some(wished.min(own)),
        (wished, own) => wished.or(own),
    };
    let name = name.unwrap_or_default();
    let wanted = Wanted { organization: call.organization()?, name: &name, scopes: &scopes, expires_at };
    let fresh = token::create(office.store(), wanted, office.random(), now).await?.map_err(Problem::invalid)?;
    let location = format!("/v1/tokens/{}", fresh.token.id);
    let answer = FreshToken { token: TokenView::of(&fresh.token), text: fresh.text.reveal().to_string() };
    Ok(Answer::json(201, &answer).header("location", location))
}

pub(crate) static REVOKE: Operation = Operation {
    id: "revokeToken",
    summary: "Revoke a token",
    about: "It is refused from now on. A token may revoke itself.",
    scope: Some(Scope::Write),
    parameters: &[&p::TOKEN],
    good: &[Good::nothing("It is revoked.")],
    ..Operation::new(Verb::Delete, "/v1/tokens/{id}", Chapter::Tokens)
};

pub(crate) async fn revoke<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let id = call.id("id");
    match token::revoke(office.store(), call.organization()?, id, office.now().wall).await? {
        true => Ok(Answer::nothing()),
        false => Err(Problem::missing("token", id)),
    }
}
