//! Why rows could not be read: always with the file and the place in it. It must not decide what a run does about it.

use std::io;
use std::path::Path;

/// What kind of thing went wrong; callers decide on this, people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such file, or a folder or pattern that matches nothing.
    Missing,
    /// A column that is mapped or part of the key is not in the source, or stands twice.
    Column,
    /// The file ends too early; nothing that was read of it may be used.
    Torn,
    /// The file is not what its format says, or breaks a limit.
    Format,
    /// The database cannot be reached, or does not let us in.
    Connect,
    /// The database refuses the query as it stands.
    Query,
    /// There are more keys than [`crate::DiffRequest::most_keys`].
    TooMany,
    /// No space is left where scratch files or snapshots are written.
    Full,
    /// Anything else the operating system refused.
    Io,
}

/// A failure of the whole read. Rows that are merely wrong are [`crate::InvalidRow`]s instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// The file, with line, row or byte where there is one.
    pub place: String,
    /// A lowercase fragment: what is wrong and what to do.
    pub message: String,
}

impl SourceError {
    pub(crate) fn new(kind: ErrorKind, place: impl Into<String>, message: impl Into<String>) -> SourceError {
        SourceError { kind, place: place.into(), message: message.into() }
    }

    pub(crate) fn format(place: impl Into<String>, message: impl Into<String>) -> SourceError {
        SourceError::new(ErrorKind::Format, place, message)
    }

    /// An operating-system error on `path` while `doing` ("read", "write").
    pub(crate) fn io(path: &Path, doing: &str, error: &io::Error) -> SourceError {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            _ => ErrorKind::Io,
        };
        let message = match kind {
            ErrorKind::Missing => "does not exist".to_owned(),
            ErrorKind::Full => format!("cannot {doing}: no space is left; free some or name another directory"),
            _ => format!("cannot {doing}: {error}"),
        };
        SourceError::new(kind, path.display().to_string(), message)
    }
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for SourceError {}

/// A failure met while reading blocks in parallel: its line is known only once all earlier blocks are counted.
#[derive(Debug)]
pub(crate) struct Fault {
    pub kind: ErrorKind,
    /// Index into the list of source files.
    pub file: u32,
    /// The block, and the line (or row) within it, counted from 0.
    pub at: Option<(u32, u32)>,
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let of = |kind: io::ErrorKind| SourceError::io(Path::new("/data"), "be written", &kind.into());
        assert_eq!(of(io::ErrorKind::StorageFull).kind, ErrorKind::Full);
        assert_eq!(of(io::ErrorKind::QuotaExceeded).kind, ErrorKind::Full);
        assert_eq!(of(io::ErrorKind::NotFound).to_string(), "/data: does not exist");
        assert_eq!(of(io::ErrorKind::PermissionDenied).to_string(), "/data: cannot be written: permission denied");
    }
}
