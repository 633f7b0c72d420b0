//! The project file: reading it with the places of what it says, checking it against its rows, and writing a starter. The rules of what
//! it may say stand in `engine::configure`. It must not send anything.

mod check;
mod environment;
mod fields;
mod init;
mod json;
mod report;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

pub use check::{ColumnUse, validate};
pub use init::init;
pub use report::LoadError;

use engine::model::project::{Problem, Project};
use report::{Located, Report};
use std::io::Read;
use std::path::{Path, PathBuf};
use tree::Node;

/// The largest project file, bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A project that is sound as far as its file can tell.
#[derive(Debug)]
pub struct Loaded {
    /// What the file says.
    pub project: Project,
    /// The folder that relative paths in it start from.
    pub folder: PathBuf,
    /// Where in the file everything stands.
    pub places: Places,
}

/// Where in a project file everything stands.
#[derive(Debug)]
pub struct Places {
    /// The file, as the user named it.
    file: String,
    root: Node,
}

impl Places {
    /// Whether something is written at a path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.has(path)
    }

    /// The problems with their places, sorted by them.
    pub fn report(&self, problems: Vec<Problem>) -> Report {
        let locate = |Problem { path, message }: Problem| Located { at: self.root.position_of(&path), path, message };
        Report::new(self.file.clone(), problems.into_iter().map(locate).collect())
    }
}

/// Reads a project file, YAML or JSON, with the process's environment.
///
/// # Errors
/// The file cannot be read, or everything that is wrong with it.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    load_with(path, &|name| std::env::var(name).ok())
}

/// What a project file says, as a JSON tree with the environment's values in it, once it is known to be sound.
///
/// # Errors
/// As [`load`].
pub fn document(path: &Path) -> Result<serde_json::Value, LoadError> {
    read(path, &|name| std::env::var(name).ok()).map(|(document, _)| document)
}

/// As [`load`], with other variables than the process's.
pub fn load_with(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, LoadError> {
    read(path, variable).map(|(_, loaded)| loaded)
}

fn read(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<(serde_json::Value, Loaded), LoadError> {
    let text = read_file(path)?;
    let file = path.display().to_string();
    let root = json::read(&text).unwrap_or_else(|| yaml::read(&text)).map_err(|flaws| {
        let located = flaws.into_iter().map(|flaw| Located { at: flaw.at, path: String::new(), message: flaw.message });
        LoadError::Problems(Report::new(file.clone(), located.collect()))
    })?;
    let mut document = root.to_value();
    let places = Places { file, root };
    let mut problems = environment::replace(&mut document, variable);
    // What a missing variable leaves behind may be wrong as well; saying so twice would not help.
    let missing: Vec<String> = problems.iter().map(|problem| problem.path.clone()).collect();
    match engine::configure::parse(&document) {
        Ok(project) if problems.is_empty() => {
            let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
            Ok((document, Loaded { project, folder, places }))
        }
        Ok(_) => Err(LoadError::Problems(places.report(problems))),
        Err(found) => {
            problems.extend(found.into_iter().filter(|problem| !missing.contains(&problem.path)));
            Err(LoadError::Problems(places.report(problems)))
        }
    }
}

fn read_file(path: &Path) -> Result<String, LoadError> {
    let fail = |message: String| LoadError::File { file: path.display().to_string(), message };
    let shown = path.display();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(fail(format!("no project file at {shown}; run `penstock init`, or name another one with --project")));
        }
        Err(error) => return Err(fail(format!("the project file {shown} cannot be opened: {error}"))),
    };
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(fail(format!("{shown} is a folder; name the project file in it, as in {}", path.join("penstock.yaml").display())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("the project file {shown} cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(fail(format!("the project file {shown} is larger than 1 MiB; is it the right file?")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        fail(format!("the project file {shown} is not UTF-8 text in line {line}; save it as UTF-8"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}
