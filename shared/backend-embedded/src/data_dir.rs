//! The data directory: its layout, its format, and the lock of the one process that delivers.
//!
//! The locks are the operating system's (`flock`), so they end with the process that holds them, however it ends; nothing here
//! may judge by age or by process id whether a holder is alive.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::port::PortError;

use crate::health::Health;
use crate::{EmbeddedObjects, EmbeddedSecrets, EmbeddedStore, Unlock};

/// The one line of `DIR/format`: what this build reads and writes.
const FORMAT: &str = "penstock data directory, format 1";
const FORMAT_PREFIX: &str = "penstock data directory, format ";

/// Longest command line kept in the lock file, in characters.
const COMMAND_LIMIT: usize = 200;

/// An open data directory. Clones share it; several processes may have it open.
#[derive(Clone, Debug)]
pub struct DataDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    health: Arc<Health>,
    /// Held shared while the directory is open: who gets it exclusively knows that no one else has unfinished files in it.
    _users: File,
}

impl DataDir {
    /// Opens the directory, laying it out (mode 0700) if it is absent or empty.
    ///
    /// # Errors
    /// `Failed` if the directory holds something else, was written in a newer format, or cannot be used; `Full` if there is no
    /// room for the layout.
    pub fn open(path: impl AsRef<Path>) -> Result<DataDir, PortError> {
        let path = path.as_ref();
        let root = std::path::absolute(path).map_err(|e| file_error("find", path, &e))?;
        let known = match fs::read_to_string(root.join("format")) {
            Ok(line) => Some(line),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(file_error("read", &root.join("format"), &e)),
        };
        match known {
            Some(line) => check_format(&root, &line)?,
            None => lay_out(&root)?,
        }
        let users = lock_file(&root.join("users.lock"))?;
        let alone = users.try_lock().is_ok();
        if alone {
            crate::objects::remove_partial(&root)?;
            users.unlock().map_err(|e| file_error("unlock", &root.join("users.lock"), &e))?;
        }
        users.lock_shared().map_err(|e| file_error("lock", &root.join("users.lock"), &e))?;
        Ok(DataDir { inner: Arc::new(Inner { root, health: Arc::default(), _users: users }) })
    }

    /// The directory, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.inner.root
    }

    /// The store in it. Open it once and clone it: each call starts threads of its own.
    ///
    /// # Errors
    /// `Failed` if the file is damaged, newer than this build, or cannot be opened; `Full` if there is no room for it.
    pub fn store(&self) -> Result<EmbeddedStore, PortError> {
        EmbeddedStore::open(self)
    }

    /// The objects in it.
    ///
    /// # Errors
    /// `Failed` or `Full` if the folder cannot be made.
    pub fn objects(&self) -> Result<EmbeddedObjects, PortError> {
        EmbeddedObjects::open(self)
    }

    /// The sealing of its secrets. Keys are made where there are none yet.
    ///
    /// # Errors
    /// `Failed` if the keys are under something else than `unlock` (another passphrase, say), are damaged or gone, or could be read by
    /// others than their owner; `Full` if there is no room for new ones.
    pub fn secrets(&self, unlock: Unlock) -> Result<EmbeddedSecrets, PortError> {
        EmbeddedSecrets::open(self, unlock)
    }

    /// Becomes the one process that delivers from this directory, until the lock is dropped or the process ends. Does not wait.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that delivers already.
    pub fn lock_delivering(&self) -> Result<DeliveryLock, LockError> {
        let path = self.inner.root.join("deliver.lock");
        let mut file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(read_holder(&mut file, &path)?)),
            Err(TryLockError::Error(e)) => return Err(file_error("lock", &path, &e).into()),
        }
        let lock = DeliveryLock { file };
        lock.write_holder().map_err(|e| file_error("write", &path, &e))?;
        Ok(lock)
    }

    pub(crate) fn health(&self) -> &Arc<Health> {
        &self.inner.health
    }
}

/// Proof that this process is the one that delivers from a data directory. The right ends when it is dropped.
#[derive(Debug)]
pub struct DeliveryLock {
    file: File,
}

impl DeliveryLock {
    /// Names this process in the lock file: pid, Unix seconds, command line, a line each. Written over in place, since the lock
    /// is on this very file and would not follow a renamed one.
    fn write_holder(&self) -> io::Result<()> {
        let command: String = command_line().chars().take(COMMAND_LIMIT).collect();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let text = format!("{}\n{since}\n{command}\n", std::process::id());
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for DeliveryLock {
    fn drop(&mut self) {
        // A holder that left in good order leaves no name behind. If that fails, the next holder writes its own over it.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

/// Who delivers already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its process id; 0 if it could not be read.
    pub pid: u32,
    /// Since when, Unix seconds; 0 if it could not be read.
    pub since: u64,
    /// Its command line, shortened; empty if it could not be read.
    pub command: String,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pid == 0 {
            return write!(f, "another process delivers from this data directory: wait for its end, or stop it");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        write!(
            f,
            "`{}` (process {}) has delivered from this data directory for {} s: wait for its end, or stop it",
            self.command,
            self.pid,
            now.saturating_sub(self.since)
        )
    }
}

/// Why the delivery lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process (or another handle of this one) holds it.
    Held(Held),
    /// The lock file could not be used.
    Port(PortError),
}

impl From<PortError> for LockError {
    fn from(error: PortError) -> LockError {
        LockError::Port(error)
    }
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockError::Held(held) => held.fmt(f),
            LockError::Port(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

/// Makes the directory and says in it what it is. A directory that holds something else is left alone.
fn lay_out(root: &Path) -> Result<(), PortError> {
    make_folder(root).map_err(|e| file_error("make", root, &e))?;
    for entry in fs::read_dir(root).map_err(|e| file_error("list", root, &e))? {
        let name = entry.map_err(|e| file_error("list", root, &e))?.file_name();
        let name = name.to_string_lossy();
        // What a process killed while it laid the directory out has left.
        if name.starts_with("format.") {
            continue;
        }
        // Another process may have laid it out meanwhile; its other files may be listed before that one.
        return match fs::read_to_string(root.join("format")) {
            Ok(line) => check_format(root, &line),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(PortError::Failed(format!("{} holds `{name}` and is no data directory: choose a new or an empty one", root.display())))
            }
            Err(e) => Err(file_error("read", &root.join("format"), &e)),
        };
    }
    restrict_to_owner(root).map_err(|e| file_error("restrict to its owner", root, &e))?;
    let unfinished = root.join(format!("format.{}", std::process::id()));
    let written = (|| {
        let mut file = File::create(&unfinished)?;
        file.write_all(FORMAT.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&unfinished, root.join("format"))?;
        sync_folder(root)
    })();
    written.map_err(|e| file_error("write", &root.join("format"), &e))
}

fn check_format(root: &Path, line: &str) -> Result<(), PortError> {
    let line = line.trim_end();
    if line == FORMAT {
        return Ok(());
    }
    let place = root.join("format");
    Err(PortError::Failed(match line.strip_prefix(FORMAT_PREFIX) {
        Some(format) => format!(
            "{} has format {format}, and this penstock knows format 1: use the penstock that wrote it, or another data directory",
            root.display()
        ),
        None => format!("{} does not say what it should (`{FORMAT}`): choose another data directory", place.display()),
    }))
}

/// Reads who holds the lock. A holder that has just taken it may not have written its name yet, and the name of one that was
/// killed may still stand there, so a name that cannot be right is looked at again for a moment; it only serves the message.
fn read_holder(file: &mut File, path: &Path) -> Result<Held, PortError> {
    let mut held = Held { pid: 0, since: 0, command: String::new() };
    for _ in 0..20 {
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        read.map_err(|e| file_error("read", path, &e))?;
        let mut lines = text.lines();
        if let (Some(Ok(pid)), Some(Ok(since)), Some(command)) = (lines.next().map(str::parse), lines.next().map(str::parse), lines.next())
        {
            held = Held { pid, since, command: command.to_owned() };
            if process_may_be_alive(pid) {
                return Ok(held);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(held)
}

fn process_may_be_alive(pid: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new(&format!("/proc/{pid}")).exists()
}

fn command_line() -> String {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    let rest: Vec<String> = words.collect();
    let line = if rest.is_empty() { program } else { format!("{program} {}", rest.join(" ")) };
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Opens a file that is there to be locked, making it if absent.
pub(crate) fn lock_file(path: &Path) -> Result<File, PortError> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(|e| file_error("open", path, &e))
}

/// Makes a folder that only its owner can enter, and the folders above it, durably. Fine if it is there.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    match parent.map_or(Ok(()), sync_folder) {
        // A folder that may be entered but not read cannot be synced; ours inside of it can.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

fn restrict_to_owner(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Makes what happened to a folder's entries durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    // Only Unix lets a folder be opened and synced; elsewhere the file system journals its entries.
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// An error on one file or folder as the port says it: `cannot VERB PATH: why`.
pub(crate) fn file_error(verb: &str, path: &Path, error: &io::Error) -> PortError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            PortError::Full(format!("cannot {verb} {}: free some space, or choose another data directory", path.display()))
        }
        _ => PortError::Failed(format!("cannot {verb} {}: {error}", path.display())),
    }
}
