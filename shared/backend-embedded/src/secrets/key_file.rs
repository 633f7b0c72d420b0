//! Files that hold keys: `secret.key`, and how any such file is replaced whole or not at all. It must not know what is under a key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::port::PortError;
use zeroize::Zeroizing;

use super::aead::Key;
use crate::DataDir;
use crate::data_dir::{file_error, sync_folder};

/// The master key in force.
pub(super) const NAME: &str = "secret.key";
/// The next one, while it is being put in force.
pub(super) const NEXT: &str = "secret.key.next";

const FIRST_LINE: &str = "penstock secret key, format 1";
/// A key file has some hundred bytes.
const LONGEST: u64 = 4096;

/// Called between any two changes to the disk; an error there is a crash, as far as the disk can tell.
pub(super) type Step<'a> = &'a mut dyn FnMut() -> Result<(), PortError>;

/// The key in a file, with its id. `None` if there is no such file.
///
/// # Errors
/// `Failed` if anyone but the owner of the data directory could have read or written it, or if it holds no key.
pub(super) fn read(root: &Path, name: &str) -> Result<Option<(String, Key)>, PortError> {
    let path = root.join(name);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(file_error("read", &path, &e)),
    };
    check_access(root, &path, &file)?;
    // With room for all, so that no copy of the key is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize));
    io::Read::by_ref(&mut file).take(LONGEST).read_to_string(&mut text).map_err(|e| file_error("read", &path, &e))?;
    let found = parse(&text).ok_or_else(|| PortError::Failed(format!("{} holds no key as it should: restore it", path.display())))?;
    Ok(Some(found))
}

fn parse(text: &str) -> Option<(String, Key)> {
    let mut lines = text.lines();
    (lines.next()? == FIRST_LINE).then_some(())?;
    let id = lines.next()?.strip_prefix("id ")?.to_owned();
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(lines.next()?.strip_prefix("key ")?).ok()?);
    Some((id, Key::from_slice(&bytes)?))
}

fn text(id: &str, key: &Key) -> Zeroizing<String> {
    let digits = Zeroizing::new(URL_SAFE_NO_PAD.encode(key.bytes()));
    Zeroizing::new(format!("{FIRST_LINE}\nid {id}\nkey {}\n", digits.as_str()))
}

/// Writes the first key of a directory.
pub(super) fn write(dir: &DataDir, id: &str, key: &Key, step: Step<'_>) -> Result<(), PortError> {
    replace(dir, NAME, text(id, key).as_bytes(), step)
}

/// Writes the key that is to be in force next.
pub(super) fn write_next(dir: &DataDir, id: &str, key: &Key, step: Step<'_>) -> Result<(), PortError> {
    replace(dir, NEXT, text(id, key).as_bytes(), step)
}

/// Puts the next key in the place of the one that was in force.
pub(super) fn promote(dir: &DataDir, step: Step<'_>) -> Result<(), PortError> {
    let root = dir.path();
    step()?;
    fs::rename(root.join(NEXT), root.join(NAME)).map_err(|e| file_error("rename", &root.join(NEXT), &e))?;
    step()?;
    sync(dir)
}

/// Removes a key file. Fine if it is not there.
pub(super) fn remove(dir: &DataDir, name: &str, step: Step<'_>) -> Result<(), PortError> {
    let path = dir.path().join(name);
    if !path.exists() {
        return Ok(());
    }
    step()?;
    fs::remove_file(&path).map_err(|e| file_error("remove", &path, &e))?;
    step()?;
    sync(dir)
}

/// Gives a file this content, whole or not at all; only the owner may read it. For who has the turn.
pub(super) fn replace(dir: &DataDir, name: &str, content: &[u8], step: Step<'_>) -> Result<(), PortError> {
    let root = dir.path();
    let partial = root.join(format!("{name}.partial"));
    // What a crash has left may have another mode.
    match fs::remove_file(&partial) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(file_error("remove", &partial, &e)),
        _ => {}
    }
    step()?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial).map_err(|e| file_error("make", &partial, &e))?;
    step()?;
    file.write_all(content).map_err(|e| file_error("write", &partial, &e))?;
    step()?;
    file.sync_all().map_err(|e| file_error("sync", &partial, &e))?;
    step()?;
    fs::rename(&partial, root.join(name)).map_err(|e| file_error("rename", &partial, &e))?;
    step()?;
    sync(dir)
}

/// A name that may or may not be on the disk is grave: what was wrapped anew could be lost with it.
fn sync(dir: &DataDir) -> Result<(), PortError> {
    sync_folder(dir.path()).map_err(|e| match file_error("sync", dir.path(), &e) {
        PortError::Failed(message) => dir.health().stop(message),
        full => full,
    })
}

/// Whether only the owner of the data directory can have read or written a file.
#[cfg(unix)]
fn check_access(root: &Path, path: &Path, file: &File) -> Result<(), PortError> {
    use std::os::unix::fs::MetadataExt;
    let about = file.metadata().map_err(|e| file_error("read", path, &e))?;
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PortError::Failed(format!(
            "{} may be used by others than its owner (mode {mode:04o}): `chmod 600` it, and rotate the key if others have seen it",
            path.display()
        )));
    }
    let owner = fs::metadata(root).map_err(|e| file_error("read", root, &e))?.uid();
    if about.uid() != owner {
        return Err(PortError::Failed(format!(
            "{} belongs to user {}, and the data directory to user {owner}: give it to the owner of the directory",
            path.display(),
            about.uid()
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_access(_root: &Path, _path: &Path, _file: &File) -> Result<(), PortError> {
    Ok(())
}
