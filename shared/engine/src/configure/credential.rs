//! Reads `credentials`. It must not show a secret in any problem.

use super::keys::{CREDENTIAL_API_KEY, CREDENTIAL_BASIC, CREDENTIAL_BEARER, CREDENTIAL_HEADERS};
use super::place::Place;
use super::values::{header_name, origins, secret, secret_headers};
use crate::model::credential::{Credential, CredentialKind, KeyPlace};
use crate::model::name::Name;

#[derive(Clone, Copy)]
enum Kind {
    Headers,
    Basic,
    Bearer,
    ApiKey,
}

/// One credential; `None` if something about it is wrong and was reported.
pub(super) fn credential(id: &Name, place: &Place<'_>) -> Option<Credential> {
    let kind = kind(place)?;
    // Read first, so that nothing that is wrong with the secret hides what is wrong here.
    let written = place.map()?.into_iter().find(|(name, value)| *name == "origins" && !value.is_null());
    let origins = written.map_or(Some(Vec::new()), |(_, place)| origins(&place));
    let kind = match kind {
        Kind::Headers => {
            let object = place.object(&CREDENTIAL_HEADERS)?;
            let headers = object.required("headers")?;
            let read = secret_headers(&headers);
            if headers.map()?.is_empty() {
                headers.problem("holds no header; write at least one, as in `headers: {X-API-Key: \"${CRM_KEY}\"}`");
            }
            CredentialKind::Headers(read)
        }
        Kind::Basic => basic(place)?,
        Kind::Bearer => {
            let token = place.object(&CREDENTIAL_BEARER)?.required("token")?;
            let secret = secret(&token)?;
            if secret.reveal().contains(char::is_whitespace) {
                token.problem("the token holds a space; write the token alone, without the word Bearer");
                return None;
            }
            CredentialKind::Bearer(secret)
        }
        Kind::ApiKey => api_key(place)?,
    };
    Some(Credential { id: id.clone(), kind, origins: origins? })
}

/// The type decides which keys belong there, so it is read before them.
fn kind(place: &Place<'_>) -> Option<Kind> {
    let entries = place.map()?;
    let Some((_, word)) = entries.iter().find(|(name, value)| *name == "type" && !value.is_null()) else {
        place.problem("`type` is missing; write one of `headers`, `basic`, `bearer` or `api_key`");
        return None;
    };
    let known = [("headers", Kind::Headers), ("basic", Kind::Basic), ("bearer", Kind::Bearer), ("api_key", Kind::ApiKey)];
    word.choice(&known, &["oauth2_client_credentials", "oauth2_authorization_code"])
}

fn basic(place: &Place<'_>) -> Option<CredentialKind> {
    let object = place.object(&CREDENTIAL_BASIC)?;
    let (username, password) = (object.required("username"), object.required("password"));
    let password = password.and_then(|place| secret(&place));
    let username = username?;
    let name = username.filled_text()?;
    if name.contains(':') || name.chars().any(char::is_control) {
        username.problem("the user name holds a colon or a control character, which basic authentication cannot carry (RFC 7617)");
        return None;
    }
    Some(CredentialKind::Basic { username: name.to_string(), password: password? })
}

fn api_key(place: &Place<'_>) -> Option<CredentialKind> {
    let object = place.object(&CREDENTIAL_API_KEY)?;
    let (name, value) = (object.required("name"), object.required("value"));
    let into = match object.given("in") {
        None => Some(KeyPlace::Header),
        Some(word) => word.choice(&[("header", KeyPlace::Header), ("query", KeyPlace::Query)], &[]),
    };
    let value = value.and_then(|place| secret(&place));
    let name = name?;
    let text = name.filled_text()?;
    if into == Some(KeyPlace::Header)
        && let Err(message) = header_name(text)
    {
        name.problem(message);
        return None;
    }
    Some(CredentialKind::ApiKey { name: text.to_string(), value: value?, place: into? })
}
