//! From an event of API Gateway to a request, and from the response back. It must not decide anything.

use crate::first;
use crate::office::StackOffice;
use aws_lambda_events::event::apigw::ApiGatewayV2httpRequest;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::ticket::Task;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lambda_runtime::Error;
use serde_json::{Map, Value, json};
use std::rc::Rc;
use tower::ServiceExt;

/// Lambda takes answers of 6 MB, base64 and JSON around them included.
const LONGEST_ANSWER: usize = 6_000_000;

/// Answers a request that came through API Gateway, or a command of whoever may invoke the function.
pub async fn handle(office: &Rc<StackOffice>, router: &Router, event: Value) -> Result<Value, Error> {
    office.stack.objects.release();
    if let Some(command) = event.get("penstock") {
        return first::command(office, command).await;
    }
    let request = request(serde_json::from_value(event)?)?;
    let response = router.clone().oneshot(request).await?;
    let answer = answer(response).await?;
    // The function stands still once it has answered, so others are asked before.
    for lane in office.take_lanes() {
        office.stack.ticket(&lane, 0).await;
    }
    if office.take_woken() {
        office.stack.ask(&[Task::Look]).await;
    }
    Ok(answer)
}

fn request(event: ApiGatewayV2httpRequest) -> Result<Request<Body>, Error> {
    let path = event.raw_path.unwrap_or_else(|| "/".to_string());
    // A stage other than `$default` stands before the path.
    let stage = event.request_context.stage.filter(|stage| stage != "$default").map(|stage| format!("/{stage}"));
    let path = stage.and_then(|stage| path.strip_prefix(stage.as_str()).map(str::to_string)).unwrap_or(path);
    let query = event.raw_query_string.filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default();
    let body = event.body.unwrap_or_default();
    let body = if event.is_base64_encoded { STANDARD.decode(body)? } else { body.into_bytes() };
    let mut request = Request::builder().method(event.request_context.http.method).uri(format!("{path}{query}")).body(Body::from(body))?;
    *request.headers_mut() = event.headers;
    Ok(request)
}

async fn answer(response: Response<Body>) -> Result<Value, Error> {
    let (parts, body) = response.into_parts();
    // What is longer than all of an answer is not held.
    let bytes = match Limited::new(body, LONGEST_ANSWER).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(too_large()),
        Err(error) => return Err(error),
    };
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in &parts.headers {
        join(&mut headers, name, value);
    }
    let (body, encoded) = match std::str::from_utf8(&bytes) {
        Ok(text) => (text.to_string(), false),
        Err(_) => (STANDARD.encode(&bytes), true),
    };
    let answer = json!({"statusCode": parts.status.as_u16(), "headers": headers, "body": body, "isBase64Encoded": encoded});
    // Quotation marks within it are two bytes each.
    if answer.to_string().len() > LONGEST_ANSWER { Ok(too_large()) } else { Ok(answer) }
}

fn too_large() -> Value {
    let problem = json!({
        "type": "about:blank", "title": "Answer too large", "status": 413, "code": "answer_too_large",
        "detail": "the answer is longer than a function can give: ask for less at a time (`limit`, filters)",
    });
    let headers = json!({"content-type": "application/problem+json"});
    json!({"statusCode": 413, "headers": headers, "body": problem.to_string(), "isBase64Encoded": false})
}

/// Values of a header that comes more than once are one list (RFC 9110 section 5.3).
fn join(headers: &mut Map<String, Value>, name: &HeaderName, value: &HeaderValue) {
    let value = String::from_utf8_lossy(value.as_bytes());
    let joined = match headers.get(name.as_str()).and_then(Value::as_str) {
        Some(before) => format!("{before}, {value}"),
        None => value.into_owned(),
    };
    headers.insert(name.to_string(), joined.into());
}
