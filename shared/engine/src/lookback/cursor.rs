//! Where a page of a list ends, as text that only this module reads. A cursor of another list is refused.

use super::filter::LookError;
use crate::model::name::Name;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// A place in a list: what comes after it has not been given yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The run that the list has come to, by its place in the list of runs; only where lists go run by run.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// How far within it, or within the whole list.
    #[serde(rename = "w", default)]
    pub within: Within,
}

/// How far a list, or one run of it, has been given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Within {
    /// Not at all.
    #[default]
    #[serde(rename = "s")]
    Start,
    /// To this attempt.
    #[serde(rename = "a")]
    Attempt(Position),
    /// To this delivery that was never tried: parcel and place.
    #[serde(rename = "u")]
    Untried(u32, u32),
    /// So many deliveries of the row.
    #[serde(rename = "p")]
    Places(usize),
    /// To this errand, by its place in the list of errands.
    #[serde(rename = "v")]
    Errand(String),
    /// To its end.
    #[serde(rename = "e")]
    End,
}

/// An attempt's place: lists have the greatest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Position(pub u64, pub String, pub u32, pub u32, pub u32);

impl Position {
    /// Behind everything that started later than this Unix millisecond and before everything else.
    pub fn at_or_before(started_ms: u64) -> Position {
        // `~` is behind every character of a run's id.
        Position(started_ms, "~".to_string(), u32::MAX, u32::MAX, u32::MAX)
    }
}

/// Later than any attempt, and still of the length that sort keys have.
pub(super) const LATEST_MS: u64 = 99_999_999_999_999 / 2;

/// The text. `of` is what the list is of.
pub(super) fn write(cursor: &impl Serialize, organization: &Name, of: &impl Serialize) -> String {
    let text = serde_json::to_vec(&(check(organization, of), cursor)).expect("plain data always serializes");
    URL_SAFE_NO_PAD.encode(text)
}

/// Reads the text of a cursor of the same list.
pub(super) fn read<C: for<'de> Deserialize<'de>>(text: &str, organization: &Name, of: &impl Serialize) -> Result<C, LookError> {
    let broken = || LookError::Refused("`after` is no cursor: take it from the `next` of the page before".to_string());
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| broken())?;
    let (found, cursor): (u32, C) = serde_json::from_slice(&bytes).map_err(|_| broken())?;
    if found != check(organization, of) {
        return Err(LookError::Refused(
            "`after` is a cursor of another list: ask with the same filters as for the page that it came with".to_string(),
        ));
    }
    Ok(cursor)
}

fn check(organization: &Name, of: &impl Serialize) -> u32 {
    let text = serde_json::to_vec(&(organization, of)).expect("plain data always serializes");
    xxhash_rust::xxh3::xxh3_64(&text) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookback::Filter;

    #[test]
    fn a_cursor_is_read_back_and_a_foreign_or_broken_one_is_refused() {
        let (acme, other) = (Name::new("acme").unwrap(), Name::new("other").unwrap());
        let filter = Filter { row: Some("7".into()), ..Filter::default() };
        let cursor = Cursor { run: Some("1#run_1".into()), within: Within::Attempt(Position(7, "run_1".into(), 1, 2, 3)) };
        let text = write(&cursor, &acme, &filter);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        assert_eq!(read::<Cursor>(&text, &acme, &filter).unwrap(), cursor);
        let refused = |result: Result<Cursor, LookError>| matches!(result, Err(LookError::Refused(_)));
        assert!(refused(read(&text, &other, &filter)));
        assert!(refused(read(&text, &acme, &Filter::default())));
        assert!(refused(read(&text[1..], &acme, &filter)));
        assert!(refused(read("", &acme, &filter)));
        assert!(refused(read("%%%", &acme, &filter)));
    }
}
