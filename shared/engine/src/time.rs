//! Points in time as text.

/// Unix microseconds as RFC 3339 in UTC with milliseconds, so that texts sort as times do.
pub fn rfc3339(micros: u64) -> String {
    match jiff::Timestamp::from_microsecond(micros as i64) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => format!("{micros} microseconds after 1970"),
    }
}

/// The Unix microseconds of a point in time as RFC 3339 writes it, with any offset; `None` if it is none, or before 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    // The parser takes more than RFC 3339 does: a blank, a missing second, a named zone.
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20 && bytes[10] == b'T' && bytes[13] == b':' && bytes[16] == b':' && !text.contains('[');
    let offset = text.ends_with('Z') || (text.len() > 25 || text.len() == 25) && matches!(bytes[text.len() - 6], b'+' | b'-');
    let timestamp: jiff::Timestamp = (shape && offset).then(|| text.parse().ok()).flatten()?;
    u64::try_from(timestamp.as_microsecond()).ok()
}
