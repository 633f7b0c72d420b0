//! What is kept of a response body: the first bytes up to one limit, nothing at all beyond another.
//!
//! Both limits count decoded bytes, so that a small body that inflates is no way around them.

use std::io::{self, Write};

use engine::port::FailureReason;
use flate2::write::MultiGzDecoder;

/// Counts what is written to it and keeps the start.
struct Kept {
    bytes: Vec<u8>,
    total: usize,
    keep_limit: usize,
    read_limit: usize,
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.total += bytes.len();
        if self.total > self.read_limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let room = self.keep_limit.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A response body while it comes in.
pub(crate) struct Collector {
    sink: Sink,
    empty: bool,
}

enum Sink {
    Plain(Kept),
    Gzip(Box<MultiGzDecoder<Kept>>),
}

/// Why a body is not taken: the reason and a fragment for a person.
pub(crate) type Refusal = (FailureReason, String);

impl Collector {
    /// Starts with the length that the response announces, if it does.
    pub(crate) fn new(gzip: bool, announced: Option<u64>, keep_limit: usize, read_limit: usize) -> Result<Collector, Refusal> {
        if announced.is_some_and(|length| length > read_limit as u64) {
            return Err(too_large(read_limit));
        }
        // An announced length is a stranger's word, so not much room is made on it.
        let room = announced.map_or(0, |length| length.min(16 * 1024) as usize).min(keep_limit);
        let kept = Kept { bytes: Vec::with_capacity(room), total: 0, keep_limit, read_limit };
        let sink = if gzip { Sink::Gzip(Box::new(MultiGzDecoder::new(kept))) } else { Sink::Plain(kept) };
        Ok(Collector { sink, empty: true })
    }

    /// Takes the next bytes from the wire.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.empty = false;
        match &mut self.sink {
            Sink::Plain(kept) => kept.write_all(bytes).map_err(|_| too_large(kept.read_limit)),
            Sink::Gzip(decoder) => decoder.write_all(bytes).map_err(|error| refused(&error, decoder.get_ref().read_limit)),
        }
    }

    /// What is kept, and whether there was more.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, bool), Refusal> {
        let kept = match self.sink {
            Sink::Plain(kept) => kept,
            // A 204 may carry the header of an encoding and no body at all.
            Sink::Gzip(_) if self.empty => return Ok((Vec::new(), false)),
            Sink::Gzip(mut decoder) => {
                let limit = decoder.get_ref().read_limit;
                decoder.try_finish().map_err(|error| refused(&error, limit))?;
                decoder.finish().map_err(|error| refused(&error, limit))?
            }
        };
        let truncated = kept.total > kept.bytes.len();
        Ok((kept.bytes, truncated))
    }
}

fn refused(error: &io::Error, limit: usize) -> Refusal {
    match error.kind() {
        io::ErrorKind::FileTooLarge => too_large(limit),
        _ => (FailureReason::Broken, format!("the response body is not the gzip that its header says: {error}")),
    }
}

fn too_large(limit: usize) -> Refusal {
    (FailureReason::TooLarge, format!("the response body is longer than {limit} bytes"))
}
