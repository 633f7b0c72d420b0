//! Reads `requests`. It must not send anything.

use super::action::{METHODS, body};
use super::destination::flag;
use super::keys::REQUEST;
use super::place::Place;
use super::templates::check_whole_url;
use super::values::{header_templates, query_templates};
use crate::model::action::{Action, BatchMode, Body};
use crate::model::name::Name;
use crate::model::request::{RESPONSE_BYTES, Request, TIMEOUT_SECONDS};
use crate::model::status::StatusSet;
use crate::port::Method;

/// One request (LP-04); `None` if something about it is wrong and was reported.
pub(super) fn request(id: &Name, place: &Place<'_>) -> Option<Request> {
    let object = place.object(&REQUEST)?;
    let name = object.given("name").and_then(|place| place.filled_text()).unwrap_or(id.as_str()).to_string();
    let enabled = flag(&object, "enabled", true);
    let method = object.given("method").map_or(Some(Method::Get), |place| place.choice(&METHODS, &[]));
    let url = object.required("url").and_then(|place| {
        let text = place.filled_text()?;
        check_whole_url(text).map_err(|message| place.problem(message)).ok()?;
        Some(text.to_string())
    });
    let query = object.given("query").map(|place| query_templates(&place)).unwrap_or_default();
    let headers = object.given("headers").map(|place| header_templates(&place)).unwrap_or_default();
    let body = object.given("body").map_or(Some(Body::Empty), |place| body(&place));
    let timeout = object.given("timeout_seconds").map_or(Some(TIMEOUT_SECONDS.0), |place| place.number(0.1, TIMEOUT_SECONDS.1));
    let bytes = object.given("max_response_bytes").map_or(Some(RESPONSE_BYTES.0), |place| place.integer(1, RESPONSE_BYTES.1));
    let call = Action {
        method: method?,
        url: url?,
        query,
        headers,
        body: body?,
        batch: BatchMode::Individual,
        success: StatusSet::two_hundreds(),
        success_path: None,
        strict: false,
    };
    Some(Request { id: id.clone(), name, call, timeout_seconds: timeout?, max_response_bytes: bytes?, enabled })
}
