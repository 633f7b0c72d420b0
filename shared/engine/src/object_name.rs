//! Which names objects may have, whatever holds them: those that are keys of S3 and, segment by segment, folders and a file on a disk.
//! It must not know what an object is for.

use crate::port::PortError;

/// Longest name, in bytes; S3 has 1,024 for its prefix and this.
const NAME_LIMIT: usize = 900;
/// Longest segment of a name, in bytes; file systems have 255.
const SEGMENT_LIMIT: usize = 200;

/// Refuses what is no name.
///
/// # Errors
/// `Failed`, with the reason.
pub fn check(name: &str) -> Result<(), PortError> {
    if name.len() > NAME_LIMIT {
        return Err(PortError::Failed(format!("object name of {} bytes: at most {NAME_LIMIT}", name.len())));
    }
    name.split('/').try_for_each(check_segment).map_err(|why| refused(name, why))
}

/// Refuses what no name starts with.
///
/// # Errors
/// `Failed`, with the reason.
pub fn check_prefix(prefix: &str) -> Result<(), PortError> {
    let (folder, rest) = match prefix.rsplit_once('/') {
        Some((folder, rest)) => (Some(folder), rest),
        None => (None, prefix),
    };
    if let Some(folder) = folder {
        folder.split('/').try_for_each(check_segment).map_err(|why| refused(prefix, why))?;
    }
    // The start of a segment may be empty, `.` or `..`; it is only compared, never opened.
    if rest.bytes().all(is_name_byte) { Ok(()) } else { Err(refused(prefix, "only A-Z, a-z, 0-9, `_`, `.` and `-` are allowed")) }
}

/// Refuses what is no segment of a name; the error is a fragment.
///
/// # Errors
/// The reason.
pub fn check_segment(segment: &str) -> Result<(), &'static str> {
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

fn refused(name: &str, why: &str) -> PortError {
    PortError::Failed(format!("object name {name:?}: {why}"))
}
