//! Reading project files, and what is said about them.

mod places;
mod reference;
mod starter;

use super::{LoadError, Loaded, load_with};
use std::path::PathBuf;

/// A folder with a project file of this text, and what loading it gives; the environment holds `TOKEN` alone.
fn load_text(text: &str) -> Result<Loaded, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("penstock.yaml");
    std::fs::write(&path, text).unwrap();
    load_with(&path, &|name| (name == "TOKEN").then(|| "t0k3n".to_string()))
}

fn sound(text: &str) -> Loaded {
    load_text(text).unwrap_or_else(|error| panic!("should be sound:\n{error}"))
}

/// The report's lines without the folder's name.
fn lines(text: &str) -> Vec<String> {
    let error = load_text(text).expect_err("should have problems").to_string();
    error.lines().map(|line| line.rsplit_once("penstock.yaml:").map_or(line, |(_, rest)| rest).to_string()).collect()
}

/// Fails unless a line of the report begins and goes on like this.
fn assert_line(text: &str, start: &str, fragment: &str) {
    let lines = lines(text);
    assert!(lines.iter().any(|line| line.starts_with(start) && line.contains(fragment)), "no line {start} … {fragment}: {lines:#?}");
}

/// A path under the repository's root.
fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}
