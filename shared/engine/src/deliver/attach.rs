//! Credentials and secret headers: put on a request when it is sent, shown as `[redacted]` everywhere else.

use crate::model::credential::{CredentialKind, KeyPlace, Secret};
use crate::model::destination::Destination;
use crate::port::{Exchange, FailureReason, Outgoing};
use crate::record::page::{LoggedRequest, LoggedResponse};
use crate::record::redact::{REDACTED, Redactor};
use crate::shape::Rendered;
use base64::Engine as _;

/// Of a response body this much is read for `success_path` and kept in the log.
pub const KEPT_RESPONSE_BYTES: usize = 64 * 1024;
/// A longer response is an error.
pub const LONGEST_RESPONSE_BYTES: usize = 1024 * 1024;

/// What a destination puts on every request, and how to keep it out of the log.
#[derive(Debug)]
pub struct Attachments {
    headers: Vec<(String, Secret)>,
    query: Vec<(String, Secret)>,
    redactor: Redactor,
    timeout: u64,
    /// Where the secrets may go.
    origin: url::Origin,
}

impl Attachments {
    /// Of a destination as it is now.
    pub fn of(destination: &Destination) -> Attachments {
        let mut headers = destination.secret_headers.clone();
        let mut query = Vec::new();
        match destination.credential.as_ref().map(|credential| &credential.kind) {
            None => {}
            Some(CredentialKind::Headers(own)) => headers.extend(own.iter().cloned()),
            Some(CredentialKind::Basic { username, password }) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.reveal()));
                headers.push(("Authorization".to_string(), Secret::new(format!("Basic {pair}"))));
            }
            Some(CredentialKind::Bearer(token)) => {
                headers.push(("Authorization".to_string(), Secret::new(format!("Bearer {}", token.reveal()))));
            }
            Some(CredentialKind::ApiKey { name, value, place: KeyPlace::Header }) => headers.push((name.clone(), value.clone())),
            Some(CredentialKind::ApiKey { name, value, place: KeyPlace::Query }) => query.push((name.clone(), value.clone())),
        }
        let redactor = Redactor::new(secrets_of(destination, &headers, &query).iter().map(String::as_str));
        let timeout = (destination.timeout_seconds * 1e6) as u64;
        Attachments { headers, query, redactor, timeout, origin: destination.base_url.origin() }
    }

    /// Of nothing: for what has no destination.
    pub fn none() -> Attachments {
        let origin = url::Origin::new_opaque();
        Attachments { headers: Vec::new(), query: Vec::new(), redactor: Redactor::new([]), timeout: 0, origin }
    }

    /// The request as it goes on the wire.
    ///
    /// # Errors
    /// What becomes of it instead: a run's URLs are those of when it began, and the secrets those of now. Where the destination has moved
    /// to another host in between, they are not for the old one (faults.md S16).
    pub fn attach(&self, rendered: Rendered) -> Result<Outgoing, Exchange> {
        let Rendered { method, mut url, mut headers, body } = rendered;
        let has_secrets = !self.headers.is_empty() || !self.query.is_empty();
        if has_secrets && url.origin() != self.origin {
            return Err(Exchange::Failure {
                reason: FailureReason::Policy,
                message: format!(
                    "the run began before the destination moved to {}, and its secrets must not go to {}; run the export again",
                    self.origin.ascii_serialization(),
                    url.origin().ascii_serialization()
                ),
                maybe_sent: false,
            });
        }
        for (name, value) in &self.query {
            url.query_pairs_mut().append_pair(name, value.reveal());
        }
        // A secret header takes the place of a plain one of its name.
        headers.retain(|(name, _)| !self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_string())));
        let (timeout, keep_limit, read_limit) = (self.timeout, KEPT_RESPONSE_BYTES, LONGEST_RESPONSE_BYTES);
        Ok(Outgoing { method, url, headers, body, timeout, keep_limit, read_limit })
    }

    /// The request as it may be shown.
    pub fn shown(&self, rendered: &Rendered) -> LoggedRequest {
        let mut url = self.redactor.text(rendered.url.as_str()).into_owned();
        for (name, _) in &self.query {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.extend([name.as_str(), "=", REDACTED]);
        }
        let mut headers: Vec<(String, String)> = rendered
            .headers
            .iter()
            .filter(|(name, _)| !self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)))
            .map(|(name, value)| (name.clone(), self.redactor.text(value).into_owned()))
            .collect();
        headers.extend(self.headers.iter().map(|(name, _)| (name.clone(), REDACTED.to_string())));
        let body = rendered.body.as_ref().map(|body| self.redactor.text(&String::from_utf8_lossy(body)).into_owned());
        LoggedRequest { method: rendered.method.as_str().to_string(), url, headers, body }
    }

    /// A response as it may be shown: a receiver that echoes a secret does not get it into the log.
    pub fn shown_response(&self, response: &crate::port::Response) -> LoggedResponse {
        let headers = response.headers.iter().map(|(name, value)| (name.clone(), self.redactor.text(value).into_owned())).collect();
        let body = String::from_utf8_lossy(&response.body);
        let body = if response.truncated { self.redactor.text_cut_short(&body) } else { self.redactor.text(&body).into_owned() };
        LoggedResponse { status: response.status, headers, body, truncated: response.truncated }
    }

    /// Text for a person without secrets.
    pub fn shown_text(&self, text: &str) -> String {
        self.redactor.text(text).into_owned()
    }

    /// The longest a request may take, microseconds.
    pub fn timeout(&self) -> u64 {
        self.timeout
    }
}

/// Every value that must not be seen: what is attached, and the parts it is made of.
fn secrets_of(destination: &Destination, headers: &[(String, Secret)], query: &[(String, Secret)]) -> Vec<String> {
    let mut secrets: Vec<String> = headers.iter().chain(query).map(|(_, value)| value.reveal().to_string()).collect();
    match destination.credential.as_ref().map(|credential| &credential.kind) {
        Some(CredentialKind::Basic { password, .. }) => secrets.push(password.reveal().to_string()),
        Some(CredentialKind::Bearer(token)) => secrets.push(token.reveal().to_string()),
        _ => {}
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::Name;
    use crate::port::Method;
    use serde_json::json;

    fn attachments(credential: Option<&str>) -> Attachments {
        let document = json!({
            "credentials": {"c": {"type": "bearer", "token": "t0k3n"}, "q": {"type": "api_key", "name": "key", "value": "t0k3n", "in": "query"}},
            "destinations": {"d": {"base_url": "https://new.example.com/v1", "credential": credential}},
        });
        let project = crate::configure::parse(&document).expect("a sound project");
        Attachments::of(&project.destinations[&Name::new("d").expect("a name")])
    }

    /// S16: checked once more where secrets are put on a request, since the definition may have changed since it was rendered.
    #[test]
    fn secrets_go_on_requests_to_their_own_origin_only() {
        let to = |url: &str| Rendered { method: Method::Post, url: url::Url::parse(url).expect("a URL"), headers: Vec::new(), body: None };
        for (url, own) in [
            ("https://new.example.com/v1/members", true),
            ("https://new.example.com:443/", true),
            ("https://old.example.com/v1/members", false),
            ("http://new.example.com/v1/members", false),
            ("https://new.example.com:8443/v1/members", false),
        ] {
            for credential in ["c", "q"] {
                match attachments(Some(credential)).attach(to(url)) {
                    Ok(outgoing) => {
                        let shown = format!("{} {:?}", outgoing.url, outgoing.headers);
                        assert!(own && shown.contains("t0k3n"), "{url}");
                    }
                    Err(Exchange::Failure { reason, message, maybe_sent }) => {
                        assert!(!own && reason == FailureReason::Policy && !maybe_sent, "{url}");
                        assert!(message.contains("https://new.example.com") && !message.contains("t0k3n"), "{message}");
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            // Where there is no secret there is nothing to guard.
            assert!(attachments(None).attach(to(url)).is_ok());
        }
    }
}
