//! What the engine asks of the world: narrow, conditional, free of meaning.
//!
//! Leases, attempts and rate-limit tokens are pure functions on documents; nothing here knows of them.

use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a port could not do what it was asked.
#[derive(Debug)]
pub enum PortError {
    /// The expectation of a put or delete did not hold; nothing was written.
    Conflict,
    /// There is no such object.
    Missing(String),
    /// No space is left; nothing was written.
    Full(String),
    /// Anything else; whether a write took place is not known.
    Failed(String),
}

impl std::fmt::Display for PortError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PortError::Conflict => write!(f, "the document was changed by someone else"),
            PortError::Missing(what) => write!(f, "{what} does not exist"),
            PortError::Full(what) => write!(f, "no space left: {what}"),
            PortError::Failed(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for PortError {}

/// A document's place: all documents of a partition are listed together, in the order of their sort keys (bytewise).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The partition.
    pub partition: String,
    /// The place within it.
    pub sort: String,
}

impl Key {
    /// The key of `sort` within `partition`.
    pub fn new(partition: impl Into<String>, sort: impl Into<String>) -> Key {
        Key { partition: partition.into(), sort: sort.into() }
    }
}

/// One of the three sparse indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// i1
    First,
    /// i2
    Second,
    /// i3
    Third,
}

/// An index entry of a document. Index partitions and sort keys are free; entries with equal keys are all kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Which index.
    pub index: Index,
    /// The partition within the index.
    pub partition: String,
    /// The place within it.
    pub sort: String,
    /// At most 150 bytes that a list shows without reading the document.
    pub summary: String,
}

/// A document to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The content, at most 380,000 bytes.
    pub body: Vec<u8>,
    /// Unix seconds after which readers no longer see it.
    pub expires_at: Option<u64>,
    /// At most three, one for each index.
    pub index: Vec<IndexEntry>,
}

/// A document as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its place.
    pub key: Key,
    /// Its content.
    pub body: Vec<u8>,
    /// Changes with every write; never used twice for one key.
    pub version: u64,
}

/// What must hold for a put or delete to take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No document is there (an expired one counts as absent).
    Absent,
    /// The document is there at this version.
    At(u64),
    /// Anything.
    Any,
}

/// One write of a [`Store::write`].
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Put a document.
    Put(Key, Document, Expect),
    /// Delete a document; deleting what is absent with `Expect::Any` is fine.
    Delete(Key, Expect),
}

/// An index entry as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The document it belongs to.
    pub key: Key,
    /// The entry's sort key.
    pub sort: String,
    /// The entry's summary.
    pub summary: String,
}

/// Documents under (partition, sort), with conditional writes. Reads and lists are strong.
pub trait Store {
    /// The document, unless absent or expired at `now` (Unix seconds).
    fn get(&self, key: &Key, now: u64) -> impl Future<Output = Result<Option<Stored>, PortError>>;

    /// Writes one document and returns its new version. `Conflict` if the expectation does not hold.
    fn put(&self, key: &Key, document: Document, expect: Expect, now: u64) -> impl Future<Output = Result<u64, PortError>>;

    /// Deletes one document. `Conflict` if the expectation does not hold.
    fn delete(&self, key: &Key, expect: Expect, now: u64) -> impl Future<Output = Result<(), PortError>>;

    /// Writes many documents: each by itself is whole or absent, together they are durable when this returns. There is no
    /// order between them and no atomicity over them; the answers stand in the order asked.
    fn write(&self, writes: Vec<Write>, now: u64) -> impl Future<Output = Result<Vec<Result<u64, PortError>>, PortError>>;

    /// Documents of a partition with `range.start <= sort < range.end`, ascending, at most `limit`, none expired at `now`.
    fn list(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> impl Future<Output = Result<Vec<Stored>, PortError>>;

    /// Index entries with `range.start <= sort < range.end`, ascending (or descending if `newest_first`), at most `limit`.
    /// For lists and the sweep only, never for a decision: entries may lag on some backends.
    fn list_index(
        &self,
        index: Index,
        partition: &str,
        range: Range<&str>,
        newest_first: bool,
        limit: usize,
        now: u64,
    ) -> impl Future<Output = Result<Vec<Listed>, PortError>>;
}

/// Whole objects under names like `plans/run_1/rows`: segments of `[A-Za-z0-9_.-]+` joined by `/`.
/// Written whole or not at all, and durable when a call returns; an object is never changed once it is there, only replaced or deleted.
pub trait Objects {
    /// Writes an object.
    fn put(&self, name: &str, bytes: Vec<u8>) -> impl Future<Output = Result<(), PortError>>;

    /// Moves a finished local file into the store. The file is gone afterwards.
    fn adopt(&self, name: &str, file: &Path) -> impl Future<Output = Result<(), PortError>>;

    /// Reads an object, or the bytes of a range of it. `Missing` if it is not there or shorter than the range.
    fn get(&self, name: &str, range: Option<Range<u64>>) -> impl Future<Output = Result<Vec<u8>, PortError>>;

    /// A local file with the object's content, for readers that need a file (it may be the object itself: do not change it).
    fn local(&self, name: &str) -> impl Future<Output = Result<PathBuf, PortError>>;

    /// Names that start with `prefix`, in no order.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, PortError>>;

    /// Deletes an object; deleting what is absent is fine.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), PortError>>;
}

/// What a sealed value belongs to. It opens for the same and for nothing else, so that who can write documents cannot move a sealed
/// value to where it would be shown or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belongs<'a> {
    /// The organization's name.
    pub organization: &'a str,
    /// The document, as in `credential/crm`.
    pub document: &'a str,
    /// The document's version.
    pub version: u64,
}

/// Sealing values that must not lie open. No error shows anything of a value.
pub trait Secrets {
    /// Seals a value: one word of ASCII, another one each time, at most twice as long as the value and 200 bytes.
    fn seal(&self, plain: &[u8], of: Belongs<'_>) -> impl Future<Output = Result<String, PortError>>;

    /// Opens what was sealed. `Failed` where it belongs to something else, was changed, or its key is not there.
    fn open(&self, sealed: &str, of: Belongs<'_>) -> impl Future<Output = Result<Vec<u8>, PortError>>;
}

/// A message that says where to look. It carries nothing that is not in the store as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Text without control characters (tab and line ends aside), 1 to 200,000 bytes.
    pub body: String,
    /// Not received before so many seconds; at most 900, a longer delay counts as 900.
    pub delay_seconds: u32,
}

/// Messages to other processes. Each may come twice, late, out of order or never: whoever sends one has written to the store first
/// what it says, and a sweep of the store finds it without the message. Receiving belongs to the loop outside.
pub trait Queue {
    /// Sends messages, ten a call. `Err`: some of them may not have been sent.
    fn send(&self, messages: Vec<Message>) -> impl Future<Output = Result<(), PortError>>;
}

/// A point in time on both clocks: the wall clock for what other processes read, the monotonic one for waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Unix time, microseconds.
    pub wall: u64,
    /// Monotonic, microseconds since any fixed point of this process.
    pub mono: u64,
}

/// Time, for the one loop that waits (`deliver::drive`); everything else takes [`Now`] as an argument.
pub trait Clock {
    /// The time.
    fn now(&self) -> Now;

    /// Waits until the monotonic clock reaches `mono`.
    fn sleep_until(&self, mono: u64) -> impl Future<Output = ()>;
}

/// One HTTP request as it goes on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// The whole URL.
    pub url: url::Url,
    /// Name and value, in order; never `Host`, `Content-Length` or hop-by-hop ones.
    pub headers: Vec<(String, String)>,
    /// The body; `None` sends none.
    pub body: Option<Vec<u8>>,
    /// From the first attempt to connect to the last byte of the response, microseconds.
    pub timeout: u64,
    /// At most this many bytes of the response body are kept; reading stops at [`Outgoing::read_limit`].
    pub keep_limit: usize,
    /// A response body longer than this is an error.
    pub read_limit: usize,
}

/// The five methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Method {
    /// The method's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// What became of one request. There is no error type: whatever happened is data, for `judge` to read.
#[derive(Clone, Debug, PartialEq)]
pub enum Exchange {
    /// A whole response arrived.
    Response(Response),
    /// No whole response arrived.
    Failure {
        /// What went wrong.
        reason: FailureReason,
        /// One lowercase fragment for a person, without secrets.
        message: String,
        /// Whether a byte of the request may have reached the other side.
        maybe_sent: bool,
    },
}

/// A whole response.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers in the order they came; values that are not text are shown lossily.
    pub headers: Vec<(String, String)>,
    /// The body, decoded, up to `keep_limit`.
    pub body: Vec<u8>,
    /// Whether the body was longer than what is kept.
    pub truncated: bool,
}

/// Why no whole response arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// The address is not allowed.
    Policy,
    /// The name did not resolve.
    Dns,
    /// No connection: refused, unreachable.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The time was up.
    Timeout,
    /// The connection broke, or what came is not HTTP.
    Broken,
    /// The response is longer than `read_limit`.
    TooLarge,
    /// The request could not be built (a header value with a line feed, say).
    Unsendable,
}

/// Sends one request and reads its response. Decides nothing, repeats nothing, follows nothing.
pub trait Transport {
    /// One HTTP exchange.
    fn send(&self, request: Outgoing) -> impl Future<Output = Exchange>;
}

/// Whether a header of this name is not the user's to set: the transport writes it, or it changes how the message is framed
/// (RFC 9110 section 7.6.1, RFC 9112 section 6, RFC 9113 section 8.2.2) and so opens the way to request smuggling.
/// Case does not matter.
pub fn is_forbidden_header(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    ];
    name.starts_with(':')
        || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("proxy-"))
        || NAMES.iter().any(|forbidden| forbidden.eq_ignore_ascii_case(name))
}
