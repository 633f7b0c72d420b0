//! Objects as files of one folder: a file appears under its name whole and synced, or not at all.
//!
//! Our own rather than the `object_store` crate's local store: that one syncs only if asked, knows neither [`Objects::adopt`]
//! nor [`Objects::local`], and would bring the S3 side's dependencies into the executable, for the five system calls here.
//!
//! It must not keep anything in memory between calls: other processes read and write the same folder. Unfinished files lie in a
//! folder of their own, so that listing never meets them and opening the directory clears them without a walk over everything.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::object_name;
use engine::port::{Objects, PortError};

use crate::DataDir;
use crate::data_dir::{file_error, make_folder, sync_folder};

/// Where unfinished files lie, within the folder of the objects so that a rename never leaves the file system.
const PARTIAL: &str = "~partial";

/// Distinguishes the unfinished files of one process.
static NEXT_PARTIAL: AtomicU64 = AtomicU64::new(0);

/// The objects of a data directory. Clones share it.
#[derive(Clone, Debug)]
pub struct EmbeddedObjects {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    /// Keeps the directory marked as in use, so that no other process clears our unfinished files away.
    dir: DataDir,
}

impl EmbeddedObjects {
    pub(crate) fn open(dir: &DataDir) -> Result<EmbeddedObjects, PortError> {
        let root = dir.path().join("objects");
        make_folder(&root.join(PARTIAL)).map_err(|e| file_error("make", &root.join(PARTIAL), &e))?;
        Ok(EmbeddedObjects { folder: Arc::new(Folder { root, dir: dir.clone() }) })
    }

    /// Runs file work where it does not hold up the tasks of a runtime.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let folder = Arc::clone(&self.folder);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => match runtime.spawn_blocking(move || work(&folder)).await {
                Ok(result) => result,
                Err(e) => Err(PortError::Failed(format!("work on the objects was broken off: {e}"))),
            },
            // Without a runtime there is no other task to hold up.
            Err(_) => work(&folder),
        }
    }
}

impl Objects for EmbeddedObjects {
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        object_name::check(name)?;
        let name = name.to_owned();
        self.blocking(move |folder| folder.put(&name, &bytes)).await
    }

    async fn adopt(&self, name: &str, file: &Path) -> Result<(), PortError> {
        object_name::check(name)?;
        let (name, file) = (name.to_owned(), file.to_owned());
        self.blocking(move |folder| folder.adopt(&name, &file)).await
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, PortError> {
        object_name::check(name)?;
        let name = name.to_owned();
        self.blocking(move |folder| folder.get(&name, range)).await
    }

    async fn local(&self, name: &str) -> Result<PathBuf, PortError> {
        object_name::check(name)?;
        let path = self.folder.root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(file) if file.is_file() => Ok(path),
            Ok(_) => Err(missing(name)),
            Err(e) if is_absence(&e) => Err(missing(name)),
            Err(e) => Err(file_error("read", &path, &e)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        object_name::check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.blocking(move |folder| folder.list(&prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        object_name::check(name)?;
        let name = name.to_owned();
        self.blocking(move |folder| folder.delete(&name)).await
    }
}

impl Folder {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), PortError> {
        self.dir.health().check()?;
        let partial = self.partial()?;
        let written = File::create_new(&partial).and_then(|mut file| file.write_all(bytes).map(|()| file));
        let published = match written {
            Ok(file) => self.publish(&file, &partial, name),
            Err(e) => Err(file_error("write", &partial, &e)),
        };
        discard_unless(published, &partial)
    }

    fn adopt(&self, name: &str, file: &Path) -> Result<(), PortError> {
        self.dir.health().check()?;
        let opened = File::open(file).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => PortError::Missing(file.display().to_string()),
            _ => file_error("open", file, &e),
        })?;
        if !opened.metadata().map_err(|e| file_error("read", file, &e))?.is_file() {
            return Err(PortError::Failed(format!("{} is not a file: only a whole file can become an object", file.display())));
        }
        let partial = self.partial()?;
        match fs::rename(file, &partial) {
            Ok(()) => {
                let published = self.publish(&opened, &partial, name);
                if published.is_err() {
                    // The caller still has its file when it is told that nothing took place.
                    let _ = fs::rename(&partial, file);
                }
                published
            }
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                let copied = fs::copy(file, &partial).and_then(|_| File::open(&partial));
                let published = match copied {
                    Ok(copy) => self.publish(&copy, &partial, name),
                    Err(e) => Err(file_error("write", &partial, &e)),
                };
                discard_unless(published, &partial)?;
                fs::remove_file(file).map_err(|e| file_error("remove", file, &e))
            }
            Err(e) => Err(file_error("move", file, &e)),
        }
    }

    /// Gives a finished file its name: its content is durable before the name is, and the name before this returns.
    fn publish(&self, file: &File, partial: &Path, name: &str) -> Result<(), PortError> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        file.sync_all().map_err(|e| self.sync_error(partial, &e))?;
        // Deleting may take an emptied folder away just after it was made here, so a second try.
        let mut tries = 0;
        loop {
            tries += 1;
            make_folder(folder).map_err(|e| match e.kind() {
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => in_the_way(name),
                _ => file_error("make", folder, &e),
            })?;
            match fs::rename(partial, &path) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound && tries < 10 => {}
                Err(e) if e.kind() == io::ErrorKind::IsADirectory => return Err(in_the_way(name)),
                Err(e) => return Err(file_error("write", &path, &e)),
            }
        }
        sync_folder(folder).map_err(|e| self.sync_error(folder, &e))
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, PortError> {
        let path = self.root.join(name);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if is_absence(&e) => return Err(missing(name)),
            Err(e) => return Err(file_error("read", &path, &e)),
        };
        let about = file.metadata().map_err(|e| file_error("read", &path, &e))?;
        if about.is_dir() {
            return Err(missing(name));
        }
        let range = range.unwrap_or(0..about.len());
        if range.start > range.end {
            return Err(PortError::Failed(format!("object {name}: the range {}..{} ends before it starts", range.start, range.end)));
        }
        if range.end > about.len() {
            return Err(PortError::Missing(format!("bytes {}..{} of object {name} ({} bytes)", range.start, range.end, about.len())));
        }
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| PortError::Failed(format!("object {name} does not fit into memory: read it in ranges")))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| PortError::Failed(format!("object {name}: no memory for {length} bytes")))?;
        let read = file.seek(SeekFrom::Start(range.start)).and_then(|_| file.take(length as u64).read_to_end(&mut bytes));
        read.map_err(|e| file_error("read", &path, &e))?;
        if bytes.len() < length {
            return Err(PortError::Failed(format!(
                "{} became shorter while it was read: nothing but penstock may write there",
                path.display()
            )));
        }
        Ok(bytes)
    }

    /// Walks only the folder that the prefix names.
    fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        let base = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
        let mut names = Vec::new();
        let mut folders = vec![base.to_owned()];
        while let Some(folder) = folders.pop() {
            let path = self.root.join(&folder);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                // Gone since it was listed, or never there.
                Err(e) if is_absence(&e) => continue,
                Err(e) => return Err(file_error("list", &path, &e)),
            };
            for entry in entries {
                let entry = entry.map_err(|e| file_error("list", &path, &e))?;
                let Ok(segment) = entry.file_name().into_string() else { continue };
                if object_name::check_segment(&segment).is_err() {
                    continue;
                }
                let name = if folder.is_empty() { segment } else { format!("{folder}/{segment}") };
                let kind = entry.file_type().map_err(|e| file_error("read", &path.join(&name), &e))?;
                if kind.is_dir() {
                    let within = format!("{name}/");
                    if within.starts_with(prefix) || prefix.starts_with(&within) {
                        folders.push(name);
                    }
                } else if kind.is_file() && name.starts_with(prefix) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), PortError> {
        self.dir.health().check()?;
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if is_absence(&e) => return Ok(()),
            Err(_) if path.is_dir() => return Ok(()),
            Err(e) => return Err(file_error("delete", &path, &e)),
        }
        let mut folder = path.parent().unwrap_or(&self.root);
        // Folders that are empty now would pile up, one a run. `remove_dir` refuses one that is not empty.
        while folder != self.root && fs::remove_dir(folder).is_ok() {
            folder = folder.parent().unwrap_or(&self.root);
        }
        match sync_folder(folder) {
            // Another delete took the emptied folder away meanwhile, and syncs the one above.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| self.sync_error(folder, &e)),
        }
    }

    /// A new place for an unfinished file.
    fn partial(&self) -> Result<PathBuf, PortError> {
        let folder = self.root.join(PARTIAL);
        make_folder(&folder).map_err(|e| file_error("make", &folder, &e))?;
        Ok(folder.join(format!("{}-{}", std::process::id(), NEXT_PARTIAL.fetch_add(1, Ordering::Relaxed))))
    }

    fn sync_error(&self, path: &Path, error: &io::Error) -> PortError {
        match file_error("sync", path, error) {
            PortError::Failed(message) => self.dir.health().stop(message),
            full => full,
        }
    }
}

/// Clears what killed processes have left. Only for who has the directory to itself.
pub(crate) fn remove_partial(root: &Path) -> Result<(), PortError> {
    let folder = root.join("objects").join(PARTIAL);
    match fs::remove_dir_all(&folder) {
        Err(e) if !is_absence(&e) => Err(file_error("clear", &folder, &e)),
        _ => Ok(()),
    }
}

fn discard_unless(published: Result<(), PortError>, partial: &Path) -> Result<(), PortError> {
    if published.is_err() {
        // It takes room and nothing else; the next opening clears what is left.
        let _ = fs::remove_file(partial);
    }
    published
}

/// Absent, or below something that is a file and so no folder.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn in_the_way(name: &str) -> PortError {
    PortError::Failed(format!("object {name}: a name cannot be both an object and the start of another one's path"))
}

fn missing(name: &str) -> PortError {
    PortError::Missing(format!("object {name}"))
}
