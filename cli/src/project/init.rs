//! `penstock init`: a starter project that validates, and runs against `penstock receive`. It must not overwrite anything.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const PROJECT: &str = include_str!("starter/penstock.yaml");
const ROWS: &str = include_str!("starter/newsletter.csv");

/// What is written: the path under the project's folder, and the content.
const FILES: [(&str, &str); 2] = [("penstock.yaml", PROJECT), ("rows/newsletter.csv", ROWS)];

/// A starter project that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starter {
    /// Its files.
    pub files: Vec<PathBuf>,
    folder: PathBuf,
}

/// Writes a starter project into a folder, which is made if it is not there.
///
/// # Errors
/// A file is there already (then nothing is written), or cannot be written; a lowercase fragment that names it.
pub fn init(folder: &Path) -> Result<Starter, String> {
    for (name, _) in FILES {
        let path = folder.join(name);
        // A link that leads nowhere counts as there: writing would go through it.
        if path.symlink_metadata().is_ok() {
            return Err(format!(
                "{} is there already and stays as it is; choose another folder, as in `penstock init my-project`",
                path.display()
            ));
        }
    }
    let mut files = Vec::new();
    for (name, content) in FILES {
        let path = folder.join(name);
        write_new(&path, content)
            .map_err(|error| format!("{} cannot be written: {error}; check the folder's permissions", path.display()))?;
        files.push(path);
    }
    Ok(Starter { files, folder: folder.to_path_buf() })
}

fn write_new(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

impl std::fmt::Display for Starter {
    /// What was written and what to do next.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for file in &self.files {
            writeln!(f, "wrote {}", file.display())?;
        }
        writeln!(f, "\nnext:")?;
        let here = self.folder.as_os_str().is_empty() || self.folder == Path::new(".");
        if !here {
            writeln!(f, "  cd {}", self.folder.display())?;
        }
        writeln!(f, "  penstock validate                          check the project")?;
        writeln!(f, "  penstock receive --listen 127.0.0.1:8080   a receiver to try it with, in another terminal")?;
        writeln!(f, "  penstock plan newsletter                   what a run would send")?;
        write!(f, "  penstock run newsletter --allow-private    send it; run it again after changing rows/newsletter.csv")
    }
}
