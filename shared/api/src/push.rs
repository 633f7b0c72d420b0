//! Rows that are pushed: changes, or a whole snapshot as an upload. Rows go through as bytes; the engine checks them.

use crate::answer::Answer;
use crate::call::Call;
use crate::definitions::catalog;
use crate::example;
use crate::members::Members;
use crate::office::Office;
use crate::operation::{Body, Chapter, Content, Good, Link, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::{Code, Problem};
use engine::catalog::Kind;
use engine::configure;
use engine::model::source::{Model, Source};
use engine::push::{self, Refused, UPLOAD_SECONDS};
use engine::time::rfc3339;
use engine::token::Scope;
use serde::Serialize;
use serde_json::json;
use std::rc::Rc;
use utoipa::ToSchema;

/// A line of changes: one of the two members.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema; the engine reads the lines")]
pub(crate) struct ChangeLine {
    /// A row, whole: it is added, or takes the place of the one with its key.
    #[schema(value_type = Object, required = false)]
    upsert: Option<serde_json::Value>,
    /// The key of a row that is gone: the model's primary key columns.
    #[schema(value_type = Object, required = false)]
    remove: Option<serde_json::Value>,
}

/// What was taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Rows that were added or replaced.
    upserts: u64,
    /// Keys that are gone.
    removals: u64,
    /// Counts the changes of the model's rows.
    version: u64,
}

/// An upload that takes parts.
#[derive(Serialize, ToSchema)]
pub(crate) struct Upload {
    /// The upload.
    #[schema(pattern = "^upl_[0-9a-z_]+$")]
    id: String,
    /// Its model.
    model: String,
    /// Nothing of it is left from then on (RFC 3339).
    #[schema(format = DateTime)]
    expires_at: String,
    /// The longest part, bytes.
    part_bytes: u64,
}

/// Where a part goes.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartUrl {
    /// Where it is to be `PUT`: a URL, or a path of this API.
    url: String,
    /// Whether the URL itself says that it may be put there: then no token is sent along.
    presigned: bool,
    /// The URL holds until then at most (RFC 3339).
    #[schema(format = DateTime, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// The longest part that may go there, bytes.
    part_bytes: u64,
}

/// What an upload must come to.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema; `Members` reads it, with every problem")]
pub(crate) struct Commit {
    /// How many rows its parts hold together.
    rows: u64,
    /// SHA-256 of its parts, one behind the other, in hexadecimal.
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    sha256: String,
}

/// A snapshot that is in place.
#[derive(Serialize, ToSchema)]
pub(crate) struct Committed {
    /// How many rows it has.
    rows: u64,
    /// Counts the changes of the model's rows.
    version: u64,
}

/// The model of the path, which must take pushed rows.
async fn model<O: Office>(office: &O, call: &Call) -> Result<Model, Problem> {
    let name = call.name("model")?;
    let definition = catalog(office, call)?.get(Kind::Model, &name).await?;
    let definition = definition.ok_or_else(|| Problem::missing("model", name.as_str()))?;
    // Another source's secret is not in the definition as it is shown, so that one is not parsed.
    let kind = definition.body.pointer("/source/type").and_then(|kind| kind.as_str());
    if kind != Some(Source::Push.type_name()) {
        let message = format!("model `{name}` reads its rows elsewhere: `source: {{type: push}}` takes pushed ones");
        return Err(Problem::new(Code::NotPushed, message));
    }
    let alone = json!({"models": {name.as_str(): definition.body}});
    let project = configure::parse(&alone).map_err(Problem::invalid)?;
    project.models.get(&name).cloned().ok_or_else(|| Problem::missing("model", name.as_str()))
}

pub(crate) static CHANGES: Operation = Operation {
    id: "pushChanges",
    summary: "Push changes of rows",
    about: "All of them take place, or, if a line is wrong, none. Of several lines with one key the last counts.",
    scope: Some(Scope::Write),
    parameters: &[&p::MODEL, &p::MODE, &p::IDEMPOTENCY_KEY],
    body: Some(Body {
        content: Content::Lines(of::<ChangeLine>),
        required: true,
        about: "At most 8 MiB.",
        example: "{\"upsert\": {\"id\": 1, \"email\": \"ada@example.com\"}}\n{\"remove\": {\"id\": 2}}\n",
    }),
    good: &[Good::json(200, "The changes took place.", of::<Accepted>, r#"{"upserts": 1, "removals": 1, "version": 7}"#)],
    codes: &[Code::NotPushed],
    ..Operation::new(Verb::Post, "/v1/models/{id}/rows", Chapter::Models)
};

pub(crate) async fn changes<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let model = model(&*office, &call).await?;
    // Under the caller's key the same push is one, even where its first answer was lost with the process.
    let name = call.key.clone().unwrap_or_else(|| office.fresh_name("push"));
    let now = office.now().wall / 1_000_000;
    let organization = call.organization()?;
    let pushed = push::changes(office.store(), office.objects(), organization, &model, &call.body, &name, now).await?;
    let accepted = pushed.map_err(Problem::invalid)?;
    Ok(Answer::json(200, &Accepted { upserts: accepted.upserts, removals: accepted.removals, version: accepted.version }))
}

const OF_UPLOAD: &[(&str, &str)] = &[("id", "$request.path.id"), ("upload", "$response.body#/id")];

pub(crate) static BEGIN: Operation = Operation {
    id: "beginUpload",
    summary: "Begin an upload",
    about: "Of a whole snapshot: what is committed takes the place of all rows of the model. Nothing changes before.",
    scope: Some(Scope::Write),
    parameters: &[&p::MODEL, &p::IDEMPOTENCY_KEY],
    good: &[Good {
        headers: &[("Location", "The upload.")],
        links: &[
            Link { name: "commitUpload", operation: "commitUpload", parameters: OF_UPLOAD },
            Link { name: "abortUpload", operation: "abortUpload", parameters: OF_UPLOAD },
        ],
        ..Good::json(201, "The upload.", of::<Upload>, example::UPLOAD)
    }],
    codes: &[Code::NotPushed],
    ..Operation::new(Verb::Post, "/v1/models/{id}/uploads", Chapter::Models)
};

pub(crate) async fn begin<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let model = model(&*office, &call).await?;
    let upload = office.fresh_name("upl");
    let now = office.now().wall / 1_000_000;
    push::begin_upload(office.store(), office.objects(), call.organization()?, &model.id, &upload, now).await?;
    let location = format!("/v1/models/{}/uploads/{upload}", model.id);
    let expires_at = rfc3339((now + UPLOAD_SECONDS) * 1_000_000);
    let answer = Upload { id: upload, model: model.id.to_string(), expires_at, part_bytes: office.part_bytes() as u64 };
    Ok(Answer::json(201, &answer).header("location", location))
}

pub(crate) static PART: Operation = Operation {
    id: "putPart",
    summary: "Put a part of an upload",
    about: "NDJSON, a row a line; parts may be cut anywhere, come in any order and be put again until the commit.",
    scope: Some(Scope::Write),
    parameters: &[&p::MODEL, &p::UPLOAD, &p::PART],
    body: Some(Body {
        content: Content::Bytes,
        required: true,
        about: "At most `part_bytes` of the upload's beginning: 8 MiB, on a stack 4 MiB.",
        example: "{\"id\": 1, \"email\": \"ada@example.com\"}\n",
    }),
    good: &[Good::nothing("It is kept.")],
    codes: &[Code::NotPushed, Code::UploadClosed, Code::UploadTorn],
    ..Operation::new(Verb::Put, "/v1/models/{id}/uploads/{upload}/parts/{number}", Chapter::Models)
};

/// The part of the path.
fn number(call: &Call) -> Result<u32, Problem> {
    let number = call.id("number");
    let parsed = number.parse().ok().filter(|number| (1..=push::MOST_PARTS).contains(number));
    parsed.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no part `{number}`: parts go from 1 to {}", push::MOST_PARTS)))
}

/// A presigned URL holds so long, seconds.
const PRESIGNED_SECONDS: u64 = 3600;

pub(crate) static PART_URL: Operation = Operation {
    id: "presignPart",
    summary: "Ask where a part of an upload goes",
    about: "On a stack a URL of S3 to which the part is `PUT` as it is, past the API, whose calls are small there; on one machine the \
            path of the part. Each answer is another URL.",
    scope: Some(Scope::Write),
    parameters: &[&p::MODEL, &p::UPLOAD, &p::PART],
    good: &[Good::json(200, "Where it goes.", of::<PartUrl>, example::PART_URL)],
    codes: &[Code::NotPushed, Code::UploadClosed, Code::UploadTorn],
    ..Operation::new(Verb::Get, "/v1/models/{id}/uploads/{upload}/parts/{number}/url", Chapter::Models)
};

pub(crate) async fn part_url<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let (upload, number) = (call.id("upload"), number(&call)?);
    let model = model(&*office, &call).await?;
    let now = office.now().wall / 1_000_000;
    let object = push::part_object(office.store(), call.organization()?, &model.id, upload, number, now).await?;
    let object = object.map_err(|refused| self::refused(refused, upload))?;
    let answer = match office.presigned(&object, PRESIGNED_SECONDS).await? {
        Some(url) => PartUrl {
            url,
            presigned: true,
            expires_at: Some(rfc3339((now + PRESIGNED_SECONDS) * 1_000_000)),
            part_bytes: push::MOST_PART_BYTES as u64,
        },
        None => PartUrl {
            url: format!("/v1/models/{}/uploads/{upload}/parts/{number}", model.id),
            presigned: false,
            expires_at: None,
            part_bytes: office.part_bytes() as u64,
        },
    };
    Ok(Answer::json(200, &answer))
}

pub(crate) async fn part<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let (upload, number) = (call.id("upload"), number(&call)?);
    let model = model(&*office, &call).await?;
    let now = office.now().wall / 1_000_000;
    let organization = call.organization()?;
    let put = push::put_part(office.store(), office.objects(), organization, &model.id, upload, number, call.body.to_vec(), now).await?;
    put.map_err(|refused| self::refused(refused, upload))?;
    Ok(Answer::nothing())
}

pub(crate) static COMMIT: Operation = Operation {
    id: "commitUpload",
    summary: "Commit an upload",
    about: "Checks that no part is missing, the number of rows, the checksum and every line; then the rows take the place of all that \
            were there. The same commit again answers the same.",
    scope: Some(Scope::Write),
    parameters: &[&p::MODEL, &p::UPLOAD, &p::IDEMPOTENCY_KEY],
    body: Some(Body {
        content: Content::Json(of::<Commit>),
        required: true,
        about: "What the parts come to.",
        example: r#"{"rows": 1, "sha256": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"}"#,
    }),
    good: &[Good::json(200, "The rows are in place.", of::<Committed>, r#"{"rows": 1, "version": 8}"#)],
    codes: &[Code::NotPushed, Code::UploadClosed, Code::UploadTorn],
    ..Operation::new(Verb::Post, "/v1/models/{id}/uploads/{upload}/commit", Chapter::Models)
};

pub(crate) async fn commit<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let mut members = Members::of(call.json()?, &["rows", "sha256"])?;
    let rows = members.number("rows", 0, u64::MAX);
    let rows = members.required("rows", rows, "1000");
    let sha256 = members.text("sha256", 64);
    let sha256 = members.required("sha256", sha256, "\"b5bb9d80…\"").unwrap_or_default();
    if !sha256.is_empty() && (sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        members.wrong("sha256", "must be 64 hexadecimal digits");
    }
    members.done()?;
    let model = model(&*office, &call).await?;
    let upload = call.id("upload");
    let now = office.now().wall / 1_000_000;
    let (organization, rows, fresh) = (call.organization()?, rows.unwrap_or_default(), office.fresh_name("base"));
    let committed = push::commit(office.store(), office.objects(), organization, &model, upload, rows, &sha256, &fresh, now).await?;
    let committed = committed.map_err(|refused| self::refused(refused, upload))?;
    Ok(Answer::json(200, &Committed { rows: committed.rows, version: committed.version }))
}

pub(crate) static ABORT: Operation = Operation {
    id: "abortUpload",
    summary: "Drop an upload",
    about: "Nothing of it is left; one that is not there is fine.",
    scope: Some(Scope::Write),
    parameters: &[&p::MODEL, &p::UPLOAD],
    good: &[Good::nothing("It is gone.")],
    codes: &[Code::NotPushed, Code::UploadClosed],
    ..Operation::new(Verb::Delete, "/v1/models/{id}/uploads/{upload}", Chapter::Models)
};

pub(crate) async fn abort<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let model = model(&*office, &call).await?;
    let upload = call.id("upload");
    let now = office.now().wall / 1_000_000;
    let aborted = push::abort(office.store(), office.objects(), call.organization()?, &model.id, upload, now).await?;
    aborted.map_err(|refused| self::refused(refused, upload))?;
    Ok(Answer::nothing())
}

fn refused(refused: Refused, upload: &str) -> Problem {
    match refused {
        Refused::Unknown => Problem::missing("upload", upload),
        Refused::Committed => Problem::new(Code::UploadClosed, format!("upload `{upload}` was committed already: begin another one")),
        Refused::Wrong(problems) => Problem::listed(Code::UploadTorn, "the upload is not whole; nothing was changed", problems),
    }
}
