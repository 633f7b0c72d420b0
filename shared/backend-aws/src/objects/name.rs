//! Which names objects may have: those that a folder on a disk could hold as well. It must not be more lenient than the embedded backend.

use engine::port::PortError;
use object_store::path::Path as ObjectPath;

/// Longest name, in bytes; S3 has 1,024.
const NAME_LIMIT: usize = 900;
/// Longest segment of a name, in bytes, as where segments are folders.
const SEGMENT_LIMIT: usize = 200;

/// The S3 key of a name.
pub(super) fn path(name: &str) -> Result<ObjectPath, PortError> {
    if name.len() > NAME_LIMIT {
        return Err(PortError::Failed(format!("object name of {} bytes: at most {NAME_LIMIT}", name.len())));
    }
    name.split('/').try_for_each(check_segment).map_err(|why| bad_name(name, why))?;
    ObjectPath::parse(name).map_err(|error| bad_name(name, &error.to_string()))
}

/// Refuses a prefix that no name starts with because it is none.
pub(super) fn check_prefix(prefix: &str) -> Result<(), PortError> {
    let (folder, rest) = match prefix.rsplit_once('/') {
        Some((folder, rest)) => (Some(folder), rest),
        None => (None, prefix),
    };
    if let Some(folder) = folder {
        folder.split('/').try_for_each(check_segment).map_err(|why| bad_name(prefix, why))?;
    }
    // The start of a segment may be empty, `.` or `..`; it is only compared, never opened.
    if rest.bytes().all(is_name_byte) { Ok(()) } else { Err(bad_name(prefix, "only A-Z, a-z, 0-9, `_`, `.` and `-` are allowed")) }
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    match segment {
        "" => Err("a segment is empty"),
        "." | ".." => Err("`.` and `..` are no segments"),
        _ if segment.len() > SEGMENT_LIMIT => Err("a segment is longer than 200 bytes"),
        _ if !segment.bytes().all(is_name_byte) => Err("only A-Z, a-z, 0-9, `_`, `.` and `-` are allowed in segments"),
        _ => Ok(()),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn bad_name(name: &str, why: &str) -> PortError {
    PortError::Failed(format!("object name {name:?}: {why}"))
}
