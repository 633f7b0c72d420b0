//! Pages: what went over the wire, one line of JSON an attempt, zstd-compressed; short ones lie in their segment, others in the
//! object store. Secrets are taken out before anything gets here.

use crate::port::{Objects, PortError};
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

/// A frame of a stored page is ended once it is this long unpacked.
const FRAME_BYTES: usize = 64 << 10;
/// The lengths of the list, packed and unpacked, stand first, four bytes each.
const HEAD_BYTES: u64 = 8;
/// What the list says of a line: its frame, parcel, index and number; and of a frame: its length packed and unpacked.
const LINE_BYTES: usize = 16;
const LISTED_BYTES: usize = 8;
/// Neither a list nor a frame is longer than this when unpacked.
const LONGEST: usize = 1 << 30;

/// The stored form: a list of the lines, then frames of whole lines, each compressed by itself, so that one line is read without
/// the others.
pub fn compress(page: &[u8]) -> Vec<u8> {
    let squeeze = |plain: &[u8]| zstd::bulk::compress(plain, 1).expect("compressing to memory cannot fail");
    let (mut lines, mut lengths, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    let (mut start, mut count) = (0, 0u32);
    let mut at = 0;
    while at < page.len() {
        let end = page[at..].iter().position(|b| *b == b'\n').map_or(page.len(), |length| at + length + 1);
        let [parcel, index, number] = place_of(&page[at..end]);
        lines.extend([count, parcel, index, number].into_iter().flat_map(u32::to_le_bytes));
        at = end;
        if at - start >= FRAME_BYTES || at == page.len() {
            let frame = squeeze(&page[start..at]);
            lengths.extend([frame.len() as u32, (at - start) as u32].into_iter().flat_map(u32::to_le_bytes));
            frames.extend(frame);
            (start, count) = (at, count + 1);
        }
    }
    let mut list = count.to_le_bytes().to_vec();
    list.extend(lengths);
    list.extend(lines);
    let packed = squeeze(&list);
    let mut out = (packed.len() as u32).to_le_bytes().to_vec();
    out.extend((list.len() as u32).to_le_bytes());
    out.extend(packed);
    out.extend(frames);
    out
}

/// Parcel, index and number of a line, as `append` writes them.
fn place_of(line: &[u8]) -> [u32; 3] {
    let mut numbers = line.split(|b| !b.is_ascii_digit()).filter(|digits| !digits.is_empty());
    std::array::from_fn(|_| {
        let digits = numbers.next().unwrap_or_default();
        std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX)
    })
}

/// The line of one attempt in a page that is at hand; `Ok(None)` if it is not there.
pub fn find(stored: &[u8], parcel: u32, index: u32, number: u32) -> Result<Option<Line<'static>>, String> {
    let early = || "a page ends early".to_string();
    let (head, rest) = stored.split_at_checked(HEAD_BYTES as usize).ok_or_else(early)?;
    let [packed, plain] = lengths(head);
    let (list, frames) = rest.split_at_checked(packed).ok_or_else(early)?;
    let list = unpack(list, plain)?;
    let Some(frame) = frame_of(&list, [parcel, index, number])? else { return Ok(None) };
    line_in(frames.get(frame.start..frame.start + frame.packed).ok_or_else(early)?, frame.plain, parcel, index, number)
}

/// The same of a page in the object store, in three ranged reads.
pub async fn find_in<O: Objects>(
    objects: &O,
    name: &str,
    parcel: u32,
    index: u32,
    number: u32,
) -> Result<Option<Line<'static>>, PortError> {
    let [packed, plain] = lengths(&objects.get(name, Some(0..HEAD_BYTES)).await?);
    let behind = HEAD_BYTES + packed as u64;
    let list = unpack(&objects.get(name, Some(HEAD_BYTES..behind)).await?, plain).map_err(PortError::Failed)?;
    let Some(frame) = frame_of(&list, [parcel, index, number]).map_err(PortError::Failed)? else { return Ok(None) };
    let start = behind + frame.start as u64;
    let bytes = objects.get(name, Some(start..start + frame.packed as u64)).await?;
    line_in(&bytes, frame.plain, parcel, index, number).map_err(PortError::Failed)
}

struct Frame {
    start: usize,
    packed: usize,
    plain: usize,
}

/// The frame that holds a line, `start` counted from the first frame's.
fn frame_of(list: &[u8], line: [u32; 3]) -> Result<Option<Frame>, String> {
    let early = || "a page's list ends early".to_string();
    let (count, rest) = list.split_first_chunk::<4>().ok_or_else(early)?;
    let (frames, lines) = rest.split_at_checked((u32::from_le_bytes(*count) as usize).saturating_mul(LISTED_BYTES)).ok_or_else(early)?;
    let wanted: Vec<u8> = line.into_iter().flat_map(u32::to_le_bytes).collect();
    let Some(found) = lines.chunks_exact(LINE_BYTES).find(|line| line[4..] == wanted) else { return Ok(None) };
    let place = u32::from_le_bytes(found[..4].try_into().expect("four bytes")) as usize;
    let mut lengths = frames.chunks_exact(LISTED_BYTES).map(lengths);
    let start = lengths.by_ref().take(place).map(|[packed, _]| packed).sum();
    let [packed, plain] = lengths.next().ok_or_else(early)?;
    Ok(Some(Frame { start, packed, plain }))
}

/// Two numbers of four bytes.
fn lengths(bytes: &[u8]) -> [usize; 2] {
    [0, 4].map(|at| bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize))
}

fn unpack(packed: &[u8], plain: usize) -> Result<Vec<u8>, String> {
    if plain > LONGEST {
        return Err("a page claims to be longer than 1 GiB".to_string());
    }
    zstd::bulk::decompress(packed, plain).map_err(|e| format!("a page does not decompress: {e}"))
}

fn line_in(frame: &[u8], plain: usize, parcel: u32, index: u32, number: u32) -> Result<Option<Line<'static>>, String> {
    let start = format!("{{\"p\":{parcel},\"d\":{index},\"n\":{number},");
    unpack(frame, plain)?
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
        for cut in 0..stored.len() {
            assert!(find(&stored[..cut], 7, 1, 1).is_err(), "cut at {cut}");
        }
    }

    /// Long pages lie in several frames, and each line is found in its own.
    #[test]
    fn a_line_of_a_long_page_is_found_in_its_frame() {
        let request = |number: u32| LoggedRequest {
            method: "POST".into(),
            url: format!("https://api.example.com/{number}"),
            headers: Vec::new(),
            body: Some("x".repeat(700)),
        };
        let mut page = Vec::new();
        for number in 0..400 {
            let request = Cow::Owned(request(number));
            append(&mut page, &Line { parcel: number / 7, index: number, number: 1, request, response: None, error: None });
        }
        let stored = compress(&page);
        assert!(stored.len() < page.len() / 5);
        for number in 0..400 {
            let line = find(&stored, number / 7, number, 1).unwrap().unwrap();
            assert_eq!(*line.request, request(number));
        }
        assert!(find(&stored, 0, 8, 1).unwrap().is_none());
    }
}
