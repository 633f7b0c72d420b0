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
    let offset = || text.ends_with('Z') || (bytes.len() >= 25 && matches!(bytes[bytes.len() - 6], b'+' | b'-'));
    let shape = shape && offset();
    let timestamp: jiff::Timestamp = shape.then(|| text.parse().ok()).flatten()?;
    u64::try_from(timestamp.as_microsecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read_as_rfc_3339_writes_them_and_not_otherwise() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-01-01T00:00:00.250Z", Some(1_767_225_600_250_000)),
            ("2026-01-01T01:00:00+01:00", Some(1_767_225_600_000_000)),
            ("2025-12-31T19:00:00.5-05:00", Some(1_767_225_600_500_000)),
            ("2026-01-01", None),
            ("2026-01-01T00:00Z", None),
            ("2026-01-01 00:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-01T00:00:00+01:00[Europe/Berlin]", None),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
            ("ü026-01-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(parse_rfc3339(text), micros, "{text}");
        }
        assert_eq!(parse_rfc3339(&rfc3339(1_767_225_600_250_000)), Some(1_767_225_600_250_000));
    }
}
