//! Points in time as text.

/// Unix microseconds as RFC 3339 in UTC with milliseconds, so that texts sort as times do.
pub fn rfc3339(micros: u64) -> String {
    match jiff::Timestamp::from_microsecond(micros as i64) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => format!("{micros} microseconds after 1970"),
    }
}
