//! Credentials: what proves who we are. Attached when a request is sent, never rendered, stored or shown.

use super::name::Name;

/// A secret value. It has no `Display` and no `Serialize`; its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value, for the one place that puts it on the wire and for redaction.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A named, reusable secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// Its name.
    pub id: Name,
    /// What it holds.
    pub kind: CredentialKind,
    /// The only origins that it may be sent to, as in `https://api.example.com`; empty: any.
    pub origins: Vec<String>,
}

/// The kinds of credentials.
#[derive(Clone, Debug, PartialEq)]
pub enum CredentialKind {
    /// Any headers.
    Headers(Vec<(String, Secret)>),
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// Without a colon.
        username: String,
        /// The password.
        password: Secret,
    },
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(Secret),
    /// A key under a name.
    ApiKey {
        /// The header's or query parameter's name.
        name: String,
        /// The key.
        value: Secret,
        /// Where it goes.
        place: KeyPlace,
    },
}

/// Where an API key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// A header.
    Header,
    /// The URL's query.
    Query,
}

impl CredentialKind {
    /// The word that penstock.yaml uses.
    pub fn type_name(&self) -> &'static str {
        match self {
            CredentialKind::Headers(_) => "headers",
            CredentialKind::Basic { .. } => "basic",
            CredentialKind::Bearer(_) => "bearer",
            CredentialKind::ApiKey { .. } => "api_key",
        }
    }
}
