//! Reads `destinations`, all but their actions, which mean something only together with an export's.

use super::keys::{DESTINATION, RATE_LIMIT, RETRY};
use super::place::{Object, Place};
use super::values::{duration, header_name, header_templates, reference, secret_headers, status, success};
use crate::model::credential::{Credential, CredentialKind, KeyPlace};
use crate::model::destination::Destination;
use crate::model::limit::{LimitMode, RateLimit};
use crate::model::name::Name;
use crate::model::retry::RetryPolicy;
use crate::model::status::StatusSet;
use std::collections::BTreeMap;

/// `spread_seconds` at most: an hour.
const LONGEST_SPREAD: u64 = 3600;
/// A limit's `requests` at most.
const MOST_REQUESTS: u64 = 10_000_000;

/// What a destination says to the exports that use it.
pub(super) struct Draft<'a> {
    /// Its name.
    pub(super) id: Name,
    /// The destination, if it could be read. Problems were reported.
    pub(super) destination: Option<Destination>,
    /// Its actions as written.
    pub(super) actions: Option<Place<'a>>,
    /// Its statuses that count as success.
    pub(super) success: Option<StatusSet>,
    /// Headers that an action may not set itself: the name in lower case, and who sets it.
    pub(super) taken_headers: Vec<(String, &'static str)>,
    /// Whether requests to it carry a credential or secret headers.
    pub(super) has_secrets: bool,
    /// Where it is.
    pub(super) base_url: Option<url::Url>,
}

/// Reads a destination as far as it can be read.
pub(super) fn draft<'a>(id: &Name, place: &Place<'a>, credentials: &BTreeMap<Name, Option<Credential>>) -> Option<Draft<'a>> {
    let object = place.object(&DESTINATION)?;
    let base_url = object.required("base_url").and_then(|place| base_url(&place));
    let known: Vec<&str> = credentials.keys().map(Name::as_str).collect();
    let reference = object.given("credential").and_then(|place| reference(&place, "credential", &known));
    let credential = reference.as_ref().and_then(|name| credentials.get(name)).and_then(Option::clone);
    if let (Some(credential), Some(url), Some(place)) = (&credential, &base_url, object.given("credential"))
        && !credential.origins.is_empty()
        && !credential.origins.contains(&url.origin().ascii_serialization())
    {
        place.problem(format!("the credential `{}` may not be sent to this base_url: it is not among its `origins`", credential.id));
    }
    let headers = object.given("headers").map(|place| header_templates(&place)).unwrap_or_default();
    let secrets = object.given("secret_headers").map(|place| secret_headers(&place)).unwrap_or_default();
    let idempotency_header = idempotency_header(&object);
    let success = object.given("success").and_then(|place| success(&place));
    object.given("engine").and_then(|place| place.choice(&[("handlebars", ())], &["liquid", "jmespath"]));

    let mut taken_headers: Vec<(String, &'static str)> = Vec::new();
    let mut take = |name: &str, by| taken_headers.push((name.to_ascii_lowercase(), by));
    credential.as_ref().and_then(credential_headers).into_iter().flatten().for_each(|name| take(&name, "the credential"));
    secrets.iter().for_each(|(name, _)| take(name, "secret_headers"));
    idempotency_header.iter().for_each(|name| take(name, "idempotency_header"));
    clashes(&object, &taken_headers);
    if let (Some(name), Some(written)) = (&idempotency_header, object.given("idempotency_header")) {
        report_clash(name, &written, taken_headers.iter().filter(|(_, by)| *by != "idempotency_header"));
    }

    let name = object.given("name").and_then(|place| place.filled_text()).unwrap_or(id.as_str());
    let has_secrets = reference.is_some() || !secrets.is_empty();
    // Everything is read before what is missing is looked at, so that no problem hides another.
    let allow_http = flag(&object, "allow_http", false);
    let timeout_seconds = object.given("timeout_seconds").and_then(|place| place.number(0.1, 3600.0)).unwrap_or(30.0);
    let rate_limits = rate_limits(object.given("rate_limit"));
    let concurrency = object.given("concurrency").and_then(|place| place.integer(1, 10_000)).map_or(100, |number| number as u32);
    let retry = object.given("retry").and_then(|place| retry(&place)).unwrap_or_default();
    let sync_frequency_seconds = object.given("sync_frequency").and_then(|place| duration(&place));
    let destination = base_url.clone().map(|base_url| Destination {
        id: id.clone(),
        name: name.to_string(),
        base_url,
        allow_http,
        credential,
        headers,
        secret_headers: secrets,
        timeout_seconds,
        rate_limits,
        concurrency,
        idempotency_header,
        retry,
        sync_frequency_seconds,
    });
    Some(Draft { id: id.clone(), destination, actions: object.given("actions"), success, taken_headers, has_secrets, base_url })
}

/// A switch with what holds when it is not written.
pub(super) fn flag(object: &Object<'_>, name: &str, default: bool) -> bool {
    object.given(name).and_then(|place| place.boolean()).unwrap_or(default)
}

/// HT-04. The text may come from the environment, so no problem shows it.
fn base_url(place: &Place<'_>) -> Option<url::Url> {
    let text = place.filled_text()?;
    let url = match url::Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            place.problem(format!("is not a URL ({error}); write one like https://api.example.com"));
            return None;
        }
    };
    let wrong = if !matches!(url.scheme(), "http" | "https") {
        "must begin with https:// (or http://)"
    } else if !url.has_host() {
        "has no host; write one like https://api.example.com"
    } else if !url.username().is_empty() || url.password().is_some() {
        "holds a user name or password; put them into a credential of type basic"
    } else if url.query().is_some() {
        "holds a query; put it into the `query` of the actions, or into a credential of type api_key"
    } else if url.fragment().is_some() {
        "holds a fragment (#…), which is never sent; take it out"
    } else if text.contains("{{") {
        "holds a template; templates belong into the `url` of the actions"
    } else {
        return Some(url);
    };
    place.problem(wrong);
    None
}

fn idempotency_header(object: &Object<'_>) -> Option<String> {
    let Some(written) = object.written("idempotency_header") else {
        return Some("Idempotency-Key".to_string());
    };
    if written.is_null() {
        return None;
    }
    let name = written.text()?;
    header_name(name).map_err(|message| written.problem(format!("{message}; or write null to send none"))).ok()?;
    Some(name.to_string())
}

/// The names of the headers that a credential sets, if it sets any.
fn credential_headers(credential: &Credential) -> Option<Vec<String>> {
    match &credential.kind {
        CredentialKind::Headers(headers) => Some(headers.iter().map(|(name, _)| name.clone()).collect()),
        CredentialKind::Basic { .. } | CredentialKind::Bearer(_) => Some(vec!["Authorization".to_string()]),
        CredentialKind::ApiKey { name, place: KeyPlace::Header, .. } => Some(vec![name.clone()]),
        CredentialKind::ApiKey { place: KeyPlace::Query, .. } => None,
    }
}

/// Reports headers that would be set twice; which of the two is meant nobody could tell.
fn clashes(object: &Object<'_>, taken: &[(String, &'static str)]) {
    for key in ["headers", "secret_headers"] {
        let Some(place) = object.given(key).filter(Place::is_object) else { continue };
        for (name, value) in place.map().unwrap_or_default() {
            report_clash(name, &value, taken.iter().filter(|(_, by)| *by != key));
        }
    }
}

/// Reports a header that another place sets too.
pub(super) fn report_clash<'t>(name: &str, value: &Place<'_>, mut taken: impl Iterator<Item = &'t (String, &'static str)>) {
    match taken.find(|(other, _)| other.eq_ignore_ascii_case(name)) {
        Some((_, "idempotency_header")) => {
            value.problem(format!(
                "`{name}` is the destination's idempotency_header too; take it out here, or write `idempotency_header: null`"
            ));
        }
        Some((_, by)) => value.problem(format!("`{name}` comes from {by} too; keep one of them")),
        None => {}
    }
}

/// HT-38, HT-39, GL-27: absent, the default; `unlimited`, none; of a list all hold.
fn rate_limits(place: Option<Place<'_>>) -> Vec<RateLimit> {
    let Some(place) = place else {
        return vec![RateLimit::default_limit()];
    };
    if let Some(text) = place.as_text() {
        if text != "unlimited" {
            place.problem(format!("`{text}` is no limit; write `unlimited`, or one like `{{requests: 3600, per: hour}}`"));
        }
        return Vec::new();
    }
    if !place.is_list() {
        return rate_limit(&place).into_iter().collect();
    }
    let items = place.list().unwrap_or_default();
    if items.is_empty() {
        place.problem("lists no limit; write one like `{requests: 3600, per: hour}`, or `unlimited`");
    }
    items.iter().filter_map(rate_limit).collect()
}

fn rate_limit(place: &Place<'_>) -> Option<RateLimit> {
    let object = place.object(&RATE_LIMIT)?;
    let (requests, per) = (object.required("requests"), object.required("per"));
    let windows = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];
    let window_seconds = per.and_then(|place| place.choice(&windows, &[]));
    let modes = [("strict", LimitMode::Strict), ("paced", LimitMode::Paced)];
    let mode = object.given("mode").map_or(Some(LimitMode::Strict), |place| place.choice(&modes, &[]));
    let requests = requests.and_then(|place| place.integer(1, MOST_REQUESTS));
    let burst = object.given("burst").and_then(|place| place.integer(1, requests.unwrap_or(MOST_REQUESTS))).map(|number| number as u32);
    let spread_seconds = object.given("spread_seconds").and_then(|place| place.integer(1, LONGEST_SPREAD)).map(|number| number as u32);
    Some(RateLimit { requests: requests? as u32, window_seconds: window_seconds?, mode: mode?, burst, spread_seconds })
}

fn retry(place: &Place<'_>) -> Option<RetryPolicy> {
    let object = place.object(&RETRY)?;
    let default = RetryPolicy::default();
    let (statuses, timeout, network) = match object.given("on") {
        Some(place) => retry_on(&place),
        None => (default.statuses, default.timeout, default.network),
    };
    let delay = |name: &str| object.given(name).and_then(|place| place.number(0.01, 86_400.0));
    let max_attempts = match object.written("max_attempts") {
        None => default.max_attempts,
        Some(place) if place.is_null() => None,
        Some(place) => place.integer(1, 1000).map(|number| number as u32),
    };
    let max_delay_seconds = delay("max_delay_seconds").unwrap_or(default.max_delay_seconds);
    let first_delay_seconds = delay("first_delay_seconds").unwrap_or(default.first_delay_seconds.min(max_delay_seconds));
    if let Some(first) = object.given("first_delay_seconds")
        && first_delay_seconds > max_delay_seconds
    {
        first.problem(format!("is more than max_delay_seconds ({max_delay_seconds}); lower it, or raise that"));
    }
    Some(RetryPolicy {
        enabled: flag(&object, "enabled", default.enabled),
        statuses,
        timeout,
        network,
        max_attempts,
        first_delay_seconds,
        max_delay_seconds,
        give_up_after_seconds: object.given("give_up_after").and_then(|place| duration(&place)).unwrap_or(default.give_up_after_seconds),
    })
}

fn retry_on(place: &Place<'_>) -> (StatusSet, bool, bool) {
    let (mut ranges, mut timeout, mut network) = (Vec::new(), false, false);
    for item in place.list().unwrap_or_default() {
        match item.as_text() {
            Some("timeout") => timeout = true,
            Some("network") => network = true,
            Some(word) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                item.problem(format!("`{word}` is not known here; write `timeout`, `network` or a status like \"429\" or \"500-504\""));
            }
            _ => ranges.extend(status(&item)),
        }
    }
    (StatusSet::new(ranges), timeout, network)
}
