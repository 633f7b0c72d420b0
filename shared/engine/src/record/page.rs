//! Pages: what went over the wire, one line of JSON an attempt, zstd-compressed; short ones lie in their segment, others in the
//! object store. Secrets are taken out before anything gets here.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A page of at most this many compressed bytes lies in its segment.
pub const INLINE_BYTES: usize = 8 * 1024;

/// A request as rendered, secrets redacted (VX-17, VX-18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedRequest {
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The body; what is not UTF-8 is shown lossily.
    pub body: Option<String>,
}

/// A response, secrets redacted (VX-22).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedResponse {
    /// The status code.
    pub status: u16,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The body; what is not UTF-8 is shown lossily.
    pub body: String,
    /// Whether the body was longer.
    pub truncated: bool,
}

/// One attempt's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line<'a> {
    /// The parcel's number.
    #[serde(rename = "p")]
    pub parcel: u32,
    /// The delivery's place in it.
    #[serde(rename = "d")]
    pub index: u32,
    /// The attempt's number.
    #[serde(rename = "n")]
    pub number: u32,
    /// What was sent, as rendered.
    #[serde(rename = "q")]
    pub request: Cow<'a, LoggedRequest>,
    /// What came back.
    #[serde(rename = "r")]
    pub response: Option<Cow<'a, LoggedResponse>>,
    /// What went wrong, for a person.
    #[serde(rename = "e")]
    pub error: Option<Cow<'a, str>>,
}

/// Appends a line to a page that is being filled.
pub fn append(page: &mut Vec<u8>, line: &Line) {
    serde_json::to_writer(&mut *page, line).expect("writing plain data to memory cannot fail");
    page.push(b'\n');
}

/// The stored form: the plain length (8 bytes, little endian), then zstd.
pub fn compress(page: &[u8]) -> Vec<u8> {
    let mut out = (page.len() as u64).to_le_bytes().to_vec();
    out.extend(zstd::bulk::compress(page, 1).expect("compressing to memory cannot fail"));
    out
}

/// The line of one attempt in a stored page; `Ok(None)` if it is not there.
pub fn find(stored: &[u8], parcel: u32, index: u32, number: u32) -> Result<Option<Line<'static>>, String> {
    let (length, packed) = stored.split_at_checked(8).ok_or("a page ends early")?;
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    if length > 1 << 30 {
        return Err("a page claims to be longer than 1 GiB".to_string());
    }
    let plain = zstd::bulk::decompress(packed, length).map_err(|e| format!("a page does not decompress: {e}"))?;
    let start = format!("{{\"p\":{parcel},\"d\":{index},\"n\":{number},");
    plain
        .split(|b| *b == b'\n')
        .find(|line| line.starts_with(start.as_bytes()))
        .map(|line| serde_json::from_slice(line).map_err(|e| format!("a page's line does not parse: {e}")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempts_line_is_found_again() {
        let request = LoggedRequest {
            method: "POST".into(),
            url: "https://api.example.com/x".into(),
            headers: vec![("Authorization".into(), "[redacted]".into())],
            body: Some("{\"a\":\"line\\nbreak\"}\n".into()),
        };
        let mut page = Vec::new();
        for number in 1..=3 {
            let line = Line { parcel: 7, index: 1, number, request: Cow::Borrowed(&request), response: None, error: Some("late".into()) };
            append(&mut page, &line);
        }
        let stored = compress(&page);
        let line = find(&stored, 7, 1, 2).unwrap().unwrap();
        assert_eq!((line.number, line.request.as_ref()), (2, &request));
        assert!(find(&stored, 7, 1, 4).unwrap().is_none());
        assert!(find(&stored[..12], 7, 1, 1).is_err());
    }
}
