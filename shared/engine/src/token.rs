//! API tokens: made, recognised, listed, revoked. The text of a token is shown once and stored as a hash; whose it is and what it allows
//! stands in its document and nowhere else. It must not know HTTP, nor make chance of its own.

use crate::keys;
use crate::model::credential::Secret;
use crate::model::name::Name;
use crate::model::project::Problem;
use crate::port::{Document, Expect, Index, IndexEntry, PortError, Store};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What every token's text begins with, so that scanners for lost secrets find it.
const PREFIX: &str = "pst_";
/// 32 bytes as base64url without padding.
const DIGITS: usize = 43;
/// The longest name, characters.
const LONGEST_NAME: usize = 100;
/// Most tokens of a list.
pub const MOST_LISTED: usize = 1000;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Looking at everything that is no secret.
    Read,
    /// Changing definitions, rows and tokens.
    Write,
    /// Whatever makes requests: runs, tests, redelivery.
    Send,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Write, Scope::Send];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Send => "send",
        }
    }

    /// The scope of a word.
    pub fn parse(word: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    /// Scopes from a list like `read,write`, each once, in the order of [`Scope::ALL`]. The error is a fragment for a person.
    pub fn parse_list(text: &str) -> Result<Vec<Scope>, String> {
        let mut scopes = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            scopes.push(Scope::parse(word).ok_or_else(|| format!("there is no scope `{word}`: use read, write and send"))?);
        }
        if scopes.is_empty() {
            return Err("no scope is named: use read, write and send, as in read,write".to_string());
        }
        Ok(sorted(&scopes))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token, all but its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// `tok_…`, in the order of time.
    pub id: String,
    /// Whose documents it opens.
    pub organization: Name,
    /// What it is for, in its maker's words.
    pub name: String,
    /// What it allows; at least one, each once, in the order of [`Scope::ALL`].
    pub scopes: Vec<Scope>,
    /// Unix microseconds.
    pub created_at: u64,
    /// Unix microseconds from which it is refused; `None`: it does not end.
    pub expires_at: Option<u64>,
}

impl Token {
    /// Whether it allows that.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// What a new token is to be.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose documents it opens.
    pub organization: &'a Name,
    /// What it is for; 1 to 100 characters, none of them a control character.
    pub name: &'a str,
    /// What it allows.
    pub scopes: &'a [Scope],
    /// Unix microseconds from which it is refused.
    pub expires_at: Option<u64>,
}

/// A token just made.
#[derive(Debug)]
pub struct Fresh {
    /// What is stored of it.
    pub token: Token,
    /// Its text, which nobody can be shown again.
    pub text: Secret,
}

/// Makes a token out of 32 bytes that nobody can guess. `now` is in Unix microseconds.
///
/// # Errors
/// Inside: everything that is wrong with what is wanted, at `name`, `scopes` or `expires_at`.
pub async fn create<S: Store>(store: &S, wanted: Wanted<'_>, random: [u8; 32], now: u64) -> Result<Result<Fresh, Vec<Problem>>, PortError> {
    let problems = problems(&wanted, now);
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let hash = hash(&text);
    let token = Token {
        id: id(&hash, now),
        organization: wanted.organization.clone(),
        name: wanted.name.to_string(),
        scopes: sorted(wanted.scopes),
        created_at: now,
        expires_at: wanted.expires_at,
    };
    let entry =
        IndexEntry { index: Index::First, partition: keys::tokens(&token.organization), sort: token.id.clone(), summary: String::new() };
    let document = Document {
        body: serde_json::to_vec(&token).expect("plain data always serializes"),
        // Rounded up: the time itself is checked when it is presented.
        expires_at: token.expires_at.map(|at| at.div_ceil(1_000_000)),
        index: vec![entry],
    };
    match store.put(&keys::token(&hash), document, Expect::Absent, now / 1_000_000).await {
        Ok(_) => Ok(Ok(Fresh { token, text: Secret::new(text) })),
        Err(PortError::Conflict) => Err(PortError::Failed("the random bytes for a token came twice: look at their source".to_string())),
        Err(error) => Err(error),
    }
}

/// The token whose text this is, unless it is unknown, revoked or has ended. `now` is in Unix microseconds.
pub async fn authenticate<S: Store>(store: &S, presented: &str, now: u64) -> Result<Option<Token>, PortError> {
    let digits = presented.strip_prefix(PREFIX).unwrap_or_default();
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if digits.len() != DIGITS || !digits.bytes().all(sound) {
        return Ok(None);
    }
    // Looked up by its hash, so how long it takes says nothing of any token's text.
    let Some(stored) = store.get(&keys::token(&hash(presented)), now / 1_000_000).await? else { return Ok(None) };
    let token = read(&stored.body)?;
    Ok(token.expires_at.is_none_or(|at| now < at).then_some(token))
}

/// An organization's tokens that have not ended, oldest first: those behind the id `after`, at most `limit` (and [`MOST_LISTED`]).
pub async fn list<S: Store>(store: &S, organization: &Name, after: Option<&str>, limit: usize, now: u64) -> Result<Vec<Token>, PortError> {
    let start = after.map(|id| format!("{id}!")).unwrap_or_default();
    let limit = limit.min(MOST_LISTED);
    let entries = store.list_index(Index::First, &keys::tokens(organization), &start..END, false, limit, now / 1_000_000).await?;
    let mut tokens = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(stored) = store.get(&entry.key, now / 1_000_000).await? {
            tokens.extend(Some(read(&stored.body)?).filter(|token| token.expires_at.is_none_or(|at| now < at)));
        }
    }
    Ok(tokens)
}

/// Takes a token back at once. False if the organization has none of that id.
pub async fn revoke<S: Store>(store: &S, organization: &Name, id: &str, now: u64) -> Result<bool, PortError> {
    if !id.starts_with("tok_") || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(false);
    }
    let behind = format!("{id}!");
    let entries = store.list_index(Index::First, &keys::tokens(organization), id..&behind, false, 1, now / 1_000_000).await?;
    let Some(entry) = entries.first() else { return Ok(false) };
    store.delete(&entry.key, Expect::Any, now / 1_000_000).await?;
    Ok(true)
}

/// Behind every id.
const END: &str = "tok`";

fn read(body: &[u8]) -> Result<Token, PortError> {
    serde_json::from_slice(body).map_err(|e| PortError::Failed(format!("the document of a token cannot be read: {e}")))
}

fn problems(wanted: &Wanted<'_>, now: u64) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |path: &str, message: &str| problems.push(Problem { path: path.to_string(), message: message.to_string() });
    if wanted.name.trim().is_empty() {
        problem("name", "is empty; say what the token is for, as in `nightly import`");
    } else if wanted.name.chars().count() > LONGEST_NAME || wanted.name.chars().any(char::is_control) {
        problem("name", "is longer than 100 characters, or holds a control character; shorten it");
    }
    if wanted.scopes.is_empty() {
        problem("scopes", "names no scope; use read, write and send");
    }
    if wanted.expires_at.is_some_and(|at| at <= now) {
        problem("expires_at", "is over already; choose a time to come, or leave it away");
    }
    problems
}

fn sorted(scopes: &[Scope]) -> Vec<Scope> {
    Scope::ALL.into_iter().filter(|scope| scopes.contains(scope)).collect()
}

fn hash(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Time, then what tells tokens of one millisecond apart: of the hash of a hash, so that it says nothing of where the token lies.
fn id(hash: &str, now: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digest: [u8; 32] = Sha256::digest(hash.as_bytes()).into();
    let mark = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let number = (u128::from(now / 1000) << 32) | u128::from(mark);
    let digits: String = (0..16).rev().map(|place| DIGITS[(number >> (place * 5)) as usize & 31] as char).collect();
    format!("tok_{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_from_a_list_of_words_each_once_and_in_order() {
        assert_eq!(Scope::parse_list("send, read,send"), Ok(vec![Scope::Read, Scope::Send]));
        assert_eq!(Scope::parse_list("write"), Ok(vec![Scope::Write]));
        for (wrong, fragment) in [("", "no scope"), (",", "no scope"), ("admin", "`admin`"), ("read;write", "`read;write`")] {
            assert!(Scope::parse_list(wrong).unwrap_err().contains(fragment), "{wrong}");
        }
    }

    #[test]
    fn ids_are_in_the_order_of_time() {
        let ids = [id("a", 0), id("z", 1_000), id("b", 1_700_000_000_000_000), id("a", 1_700_000_000_001_000)];
        assert!(ids.is_sorted() && ids.iter().all(|id| id.len() == 20), "{ids:?}");
    }
}
