//! Why no whole response arrived, as a value and as one line for a person.
//!
//! Messages are lowercase fragments; they must never hold a header value, a body or a query.

use std::error::Error;

use engine::port::{Exchange, FailureReason};

/// The failing half of an [`Exchange`], so that `?` works inside this crate.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) reason: FailureReason,
    pub(crate) message: String,
    pub(crate) maybe_sent: bool,
}

impl Failure {
    /// A failure of which it is certain that no byte of the request went out.
    pub(crate) fn unsent(reason: FailureReason, message: impl Into<String>) -> Failure {
        Failure { reason, message: message.into(), maybe_sent: false }
    }
}

impl From<Failure> for Exchange {
    fn from(failure: Failure) -> Exchange {
        Exchange::Failure { reason: failure.reason, message: failure.message, maybe_sent: failure.maybe_sent }
    }
}

/// The error and its sources in one lowercase line; a source whose text already stands there is not repeated.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    const LONGEST: usize = 300;
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
        next = error.source();
    }
    if let Some((cut, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(cut);
    }
    lowercase_start(line)
}

/// Lowers the first letter unless the first word is an abbreviation (`TLS`, `HTTP`).
fn lowercase_start(line: String) -> String {
    let mut letters = line.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(line.chars().skip(1)).collect()
        }
        _ => line,
    }
}

/// Whether TLS is what failed: an alert that comes after the handshake (TLS 1.3 refuses client certificates then).
pub(crate) fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        if error.is::<rustls::Error>() || wrapped.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        next = error.source();
    }
    false
}
