//! Requests that may come twice: the first claims a key, its answer is kept under it for a day, and the same request again is given that
//! answer. It must not know what an answer says.

use crate::keys;
use crate::model::name::Name;
use crate::port::{Document, Expect, Key, PortError, Store};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How long an answer is kept.
pub const KEPT_SECONDS: u64 = 24 * 3600;
/// After so long a request that was never answered counts as lost: its process died.
pub const LOST_SECONDS: u64 = 120;
/// Longer answers are not kept; the request may then be done again.
const LONGEST_BODY: usize = 300_000;

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The HTTP status.
    pub status: u16,
    /// Headers that belong to the answer.
    pub headers: Vec<(String, String)>,
    /// The body's type, if there is a body.
    pub kind: Option<String>,
    /// The body, sealed by the caller where it holds a secret.
    pub body: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    fingerprint: String,
    answer: Option<Recorded>,
}

/// The right to answer for a key.
#[derive(Debug)]
pub struct Claim {
    key: Key,
    version: u64,
    fingerprint: String,
}

impl Claim {
    /// Where the answer will lie: what a sealed one belongs to.
    pub fn place(&self) -> String {
        format!("{}/{}", self.key.partition, self.key.sort)
    }
}

/// What is known of a key.
#[derive(Debug)]
pub enum Begun {
    /// Nothing: do it, then [`finish`] or [`withdraw`].
    First(Claim),
    /// It was done; where the answer lies (see [`Claim::place`]), and the answer.
    Again(String, Recorded),
    /// It is being done.
    Running,
    /// The key belongs to another request.
    Reused,
}

/// What tells one request from another.
pub fn fingerprint(parts: &[&str], body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in parts.iter().map(|part| part.as_bytes()).chain([body]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Claims `key` for an organization's `route`, or says what is known of it. `now`: Unix seconds.
///
/// # Errors
/// The store's.
pub async fn begin<S: Store>(
    store: &S,
    organization: &Name,
    route: &str,
    key: &str,
    fingerprint: &str,
    now: u64,
) -> Result<Begun, PortError> {
    let key = keys::idempotency(organization, &self::fingerprint(&[route, key], &[]));
    // Twice: what is there may expire between the two calls.
    for _ in 0..2 {
        let entry = Entry { fingerprint: fingerprint.to_string(), answer: None };
        match store.put(&key, document(&entry, now + LOST_SECONDS), Expect::Absent, now).await {
            Ok(version) => return Ok(Begun::First(Claim { key, version, fingerprint: fingerprint.to_string() })),
            Err(PortError::Conflict) => {}
            Err(error) => return Err(error),
        }
        let Some(stored) = store.get(&key, now).await? else { continue };
        let entry: Entry = serde_json::from_slice(&stored.body)
            .map_err(|e| PortError::Failed(format!("what is kept under an idempotency key cannot be read: {e}")))?;
        return Ok(match entry.answer {
            _ if entry.fingerprint != fingerprint => Begun::Reused,
            Some(answer) => Begun::Again(format!("{}/{}", key.partition, key.sort), answer),
            None => Begun::Running,
        });
    }
    Ok(Begun::Running)
}

/// Keeps the answer for a day.
///
/// # Errors
/// The store's. A claim that was lost meanwhile is none: somebody else's answer is kept then.
pub async fn finish<S: Store>(store: &S, claim: Claim, answer: Recorded, now: u64) -> Result<(), PortError> {
    if answer.body.len() > LONGEST_BODY {
        return withdraw(store, claim, now).await;
    }
    let entry = Entry { fingerprint: claim.fingerprint, answer: Some(answer) };
    match store.put(&claim.key, document(&entry, now + KEPT_SECONDS), Expect::At(claim.version), now).await {
        Ok(_) | Err(PortError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives the key back: nothing was answered that should be kept.
///
/// # Errors
/// The store's.
pub async fn withdraw<S: Store>(store: &S, claim: Claim, now: u64) -> Result<(), PortError> {
    match store.delete(&claim.key, Expect::At(claim.version), now).await {
        Ok(()) | Err(PortError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

fn document(entry: &Entry, expires_at: u64) -> Document {
    let body = serde_json::to_vec(entry).expect("plain data always serializes");
    Document { body, expires_at: Some(expires_at), index: Vec::new() }
}
