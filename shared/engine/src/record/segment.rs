//! A segment: many attempts of one parcel and one outcome class, packed to some two bytes each.
//!
//! Columns of variable-length integers, compressed with zstd. It must not hold anything that a secret could be in: what was
//! rendered and answered lies in pages (see `page`), named here or held inline where short.

use crate::judge::Class;
use serde::{Deserialize, Serialize};

/// One attempt, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The delivery's place in its parcel.
    pub index: u32,
    /// 1 for the first attempt.
    pub number: u32,
    /// The status, if a response came.
    pub status: Option<u16>,
    /// Unix milliseconds at which the request started.
    pub started_ms: u64,
    /// Milliseconds until the end of the response, or until we knew that none would come.
    pub duration_ms: u64,
    /// No further attempt follows by itself.
    pub last: bool,
    /// The request may have taken effect although it did not succeed.
    pub uncertain: bool,
    /// A person asked for it (redeliver).
    pub by_hand: bool,
    /// How many rows succeeded, where that is fewer than were sent although the attempt succeeded.
    pub succeeded: Option<u32>,
}

/// A row of a delivery that was not sent because it did not render.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsentRow {
    /// The delivery's place in its parcel.
    #[serde(rename = "d")]
    pub index: u32,
    /// The row's place in its delivery.
    #[serde(rename = "r")]
    pub row: u32,
    /// Why, for a person.
    #[serde(rename = "w")]
    pub reason: String,
}

/// Many attempts of one parcel and class.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Their outcome class.
    pub class: Class,
    /// The attempts.
    pub attempts: Vec<AttemptRecord>,
    /// Rows that did not render.
    pub unsent: Vec<UnsentRow>,
    /// The object that holds what went over the wire, unless it is inline.
    pub page: Option<String>,
    /// The page itself, compressed, where it is short.
    pub inline_page: Vec<u8>,
}

const FORMAT: u8 = 1;
const LAST: u8 = 1;
const UNCERTAIN: u8 = 2;
const BY_HAND: u8 = 4;

#[derive(Serialize, Deserialize, Default)]
struct Extras {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unsent: Vec<UnsentRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<String>,
    /// (place in `attempts`, rows that succeeded)
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    succeeded: Vec<(u32, u32)>,
}

impl Segment {
    /// The packed form.
    pub fn encode(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(64 + self.attempts.len() * 6);
        plain.extend([FORMAT, self.class as u8]);
        put(&mut plain, self.attempts.len() as u64);
        put_deltas(&mut plain, self.attempts.iter().map(|a| u64::from(a.index)));
        put_deltas(&mut plain, self.attempts.iter().map(|a| u64::from(a.number)));
        put_deltas(&mut plain, self.attempts.iter().map(|a| u64::from(a.status.unwrap_or(0))));
        put_deltas(&mut plain, self.attempts.iter().map(|a| a.started_ms));
        put_deltas(&mut plain, self.attempts.iter().map(|a| a.duration_ms));
        plain.extend(
            self.attempts.iter().map(|a| u8::from(a.last) * LAST + u8::from(a.uncertain) * UNCERTAIN + u8::from(a.by_hand) * BY_HAND),
        );
        let succeeded = self.attempts.iter().enumerate().filter_map(|(i, a)| a.succeeded.map(|n| (i as u32, n))).collect();
        let extras = Extras { unsent: self.unsent.clone(), page: self.page.clone(), succeeded };
        let extras = serde_json::to_vec(&extras).expect("plain data always serializes");
        put(&mut plain, extras.len() as u64);
        plain.extend(extras);
        let packed = zstd::bulk::compress(&plain, 3).expect("compressing to memory cannot fail");
        let mut body = Vec::with_capacity(packed.len() + self.inline_page.len() + 12);
        put(&mut body, plain.len() as u64);
        put(&mut body, packed.len() as u64);
        body.extend(packed);
        body.extend(&self.inline_page);
        body
    }

    /// Reads the packed form. The error is a fragment that says what is wrong with it.
    pub fn decode(body: &[u8]) -> Result<Segment, String> {
        let mut reader = Reader { bytes: body };
        let plain_length = reader.take()? as usize;
        let packed_length = reader.take()? as usize;
        if plain_length > 64 << 20 {
            return Err("a segment claims to be longer than 64 MiB".to_string());
        }
        let packed = reader.bytes(packed_length)?;
        let inline_page = reader.bytes.to_vec();
        let plain = zstd::bulk::decompress(packed, plain_length).map_err(|e| format!("a segment does not decompress: {e}"))?;
        let mut reader = Reader { bytes: &plain };
        let head = reader.bytes(2)?;
        if head[0] != FORMAT {
            return Err(format!("a segment has format {}, this version reads {FORMAT}", head[0]));
        }
        let class = Class::from_number(head[1]).ok_or("a segment has an unknown class")?;
        let count = reader.take()? as usize;
        if count > plain.len() {
            return Err("a segment is shorter than it claims".to_string());
        }
        let index = reader.deltas(count)?;
        let number = reader.deltas(count)?;
        let status = reader.deltas(count)?;
        let started = reader.deltas(count)?;
        let duration = reader.deltas(count)?;
        let flags = reader.bytes(count)?;
        let mut attempts: Vec<AttemptRecord> = (0..count)
            .map(|i| AttemptRecord {
                index: index[i] as u32,
                number: number[i] as u32,
                status: (status[i] != 0).then_some(status[i] as u16),
                started_ms: started[i],
                duration_ms: duration[i],
                last: flags[i] & LAST != 0,
                uncertain: flags[i] & UNCERTAIN != 0,
                by_hand: flags[i] & BY_HAND != 0,
                succeeded: None,
            })
            .collect();
        let length = reader.take()? as usize;
        let extras: Extras = serde_json::from_slice(reader.bytes(length)?).map_err(|e| format!("a segment's notes do not parse: {e}"))?;
        for (place, rows) in extras.succeeded {
            attempts.get_mut(place as usize).ok_or("a segment's notes name an attempt that is not there")?.succeeded = Some(rows);
        }
        Ok(Segment { class, attempts, unsent: extras.unsent, page: extras.page, inline_page })
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Each value as its difference from the one before, zigzag, so that small steps either way take a byte.
fn put_deltas(out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    let mut before = 0u64;
    for value in values {
        let delta = value.wrapping_sub(before) as i64;
        put(out, ((delta << 1) ^ (delta >> 63)) as u64);
        before = value;
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or("a segment ends early")?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a segment holds a number that is too long".to_string())
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        if count > self.bytes.len() {
            return Err("a segment ends early".to_string());
        }
        let (bytes, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        Ok(bytes)
    }

    fn deltas(&mut self, count: usize) -> Result<Vec<u64>, String> {
        let mut before = 0u64;
        (0..count)
            .map(|_| {
                let zigzag = self.take()?;
                let delta = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                before = before.wrapping_add(delta as u64);
                Ok(before)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attempt() -> impl Strategy<Value = AttemptRecord> {
        (
            any::<u32>(),
            any::<u32>(),
            proptest::option::of(100u16..600),
            any::<u64>(),
            any::<u64>(),
            any::<[bool; 3]>(),
            any::<Option<u32>>(),
        )
            .prop_map(|(index, number, status, started_ms, duration_ms, [last, uncertain, by_hand], succeeded)| AttemptRecord {
                index,
                number,
                status,
                started_ms,
                duration_ms,
                last,
                uncertain,
                by_hand,
                succeeded,
            })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_is_read(attempts in proptest::collection::vec(attempt(), 0..50), inline in any::<Vec<u8>>()) {
            let unsent = vec![UnsentRow { index: 3, row: 9, reason: "it's \"bad\"".into() }];
            let segment = Segment { class: Class::ServerError, attempts, unsent, page: Some("pages/1".into()), inline_page: inline };
            prop_assert_eq!(Segment::decode(&segment.encode()).unwrap(), segment);
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = Segment::decode(&bytes);
        }
    }

    #[test]
    fn a_thousand_attempts_take_some_two_bytes_each() {
        let attempts = (0..1000)
            .map(|i| AttemptRecord {
                index: i,
                number: 1,
                status: Some(200),
                started_ms: 1_800_000_000_000 + u64::from(i) / 10,
                duration_ms: 20 + u64::from(i * 7919 % 13),
                last: true,
                uncertain: false,
                by_hand: false,
                succeeded: None,
            })
            .collect();
        let segment = Segment { class: Class::Success, attempts, unsent: vec![], page: Some("pages/x".into()), inline_page: vec![] };
        let bytes = segment.encode().len();
        assert!(bytes < 2_000, "{bytes}");
    }
}
