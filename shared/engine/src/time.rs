//! Points in time as text.

/// Unix microseconds as RFC 3339 in UTC.
pub fn rfc3339(micros: u64) -> String {
    match jiff::Timestamp::from_microsecond(micros as i64) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{micros} microseconds after 1970"),
    }
}
