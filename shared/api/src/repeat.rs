//! Requests that say they may come twice: the first answer is kept for a day under the caller's `Idempotency-Key`, and a second request
//! gets it instead of doing the work again. It must not store a secret in the clear.

use crate::answer::{Answer, Content};
use crate::call::Call;
use crate::office::Office;
use crate::operation::Route;
use crate::problem::{Code, Problem};
use bytes::Bytes;
use engine::idempotency::{self, Begun, Claim, Recorded};
use engine::port::{Belongs, Secrets};
use std::rc::Rc;

/// Does a call, unless a request with this key did it already.
pub(crate) async fn once<O: Office>(office: &Rc<O>, route: Route<O>, call: Call, key: &str) -> Result<Answer, Problem> {
    let organization = call.organization()?.clone();
    let path: Vec<&str> = call.parameters.values().map(String::as_str).collect();
    let names: Vec<&str> = call.parameters.keys().copied().collect();
    let fingerprint = idempotency::fingerprint(&[route.operation.path, &names.join("\n"), &path.join("\n")], &call.body);
    let now = office.now().wall / 1_000_000;
    let secret = route.operation.secret;
    let claim = match idempotency::begin(office.store(), &organization, route.operation.id, key, &fingerprint, now).await? {
        Begun::First(claim) => claim,
        Begun::Again(place, recorded) => return replay(office, organization.as_str(), &place, recorded, secret).await,
        Begun::Running => {
            let detail = "a request with this Idempotency-Key is still at work; ask again after a moment";
            return Err(Problem::new(Code::IdempotencyKeyInUse, detail).header("retry-after", "1"));
        }
        Begun::Reused => {
            let detail = "this Idempotency-Key was used for another request within the last 24 hours; use a fresh one";
            return Err(Problem::new(Code::IdempotencyKeyReused, detail));
        }
    };
    let answered = (route.serve)(office.clone(), call).await;
    let recorded = match &answered {
        Ok(answer) => record(office, organization.as_str(), &claim, answer, secret).await?,
        Err(problem) if problem.code.status() < 500 => {
            let body = serde_json::to_string(&problem.body()).expect("plain data always serializes");
            let kind = Some("application/problem+json".to_string());
            Some(Recorded { status: problem.code.status(), headers: owned(&problem.headers), kind, body })
        }
        Err(_) => None,
    };
    let now = office.now().wall / 1_000_000;
    match recorded {
        Some(recorded) => idempotency::finish(office.store(), claim, recorded, now).await?,
        None => idempotency::withdraw(office.store(), claim, now).await?,
    }
    answered
}

fn owned(headers: &[(&'static str, String)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

async fn record<O: Office>(
    office: &Rc<O>,
    organization: &str,
    claim: &Claim,
    answer: &Answer,
    secret: bool,
) -> Result<Option<Recorded>, Problem> {
    let (kind, body) = match &answer.content {
        Content::Nothing => (None, String::new()),
        Content::Whole(kind, bytes) => (Some(kind.to_string()), String::from_utf8_lossy(bytes).into_owned()),
        // Nothing that can be asked twice is answered in pieces.
        Content::Pieces(..) => return Ok(None),
    };
    let body = match secret {
        true => office.secrets().seal(body.as_bytes(), belongs(organization, &claim.place())).await?,
        false => body,
    };
    Ok(Some(Recorded { status: answer.status, headers: owned(&answer.headers), kind, body }))
}

fn belongs<'a>(organization: &'a str, place: &'a str) -> Belongs<'a> {
    Belongs { organization, document: place, version: 1 }
}

async fn replay<O: Office>(office: &Rc<O>, organization: &str, place: &str, recorded: Recorded, secret: bool) -> Result<Answer, Problem> {
    // A problem is never sealed: it holds no secret.
    let sealed = secret && recorded.status < 300;
    let body = match sealed {
        true => office.secrets().open(&recorded.body, belongs(organization, place)).await?,
        false => recorded.body.into_bytes(),
    };
    let content = match recorded.kind.as_deref() {
        None => Content::Nothing,
        Some("application/problem+json") => Content::Whole("application/problem+json", Bytes::from(body)),
        Some(_) => Content::Whole("application/json", Bytes::from(body)),
    };
    let mut answer = Answer { status: recorded.status, headers: Vec::new(), content }.header("idempotency-replayed", "true");
    for (name, value) in recorded.headers {
        for known in ["location", "etag", "retry-after"] {
            if known == name {
                answer = answer.header(known, value.clone());
            }
        }
    }
    Ok(answer)
}
