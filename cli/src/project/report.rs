//! Problems of a project file with their places, for people and for machines. It must not decide what is a problem.

use super::tree::Position;
use serde_json::json;

/// Problems that are shown to people; the rest is counted.
const MOST_LINES: usize = 200;

/// A problem and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The place in the file.
    pub at: Position,
    /// The keys that lead there, as in `destinations.crm.actions.add.url`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// All problems of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    file: String,
    /// What they are called when they are counted.
    word: &'static str,
    problems: Vec<Located>,
}

impl Report {
    /// Sorts the problems by their places.
    pub(super) fn new(file: String, mut problems: Vec<Located>) -> Report {
        problems.sort_by_key(|problem| problem.at);
        Report { file, word: "problem", problems }
    }

    /// The same, not called problems but warnings.
    pub(super) fn of_warnings(self) -> Report {
        Report { word: "warning", ..self }
    }

    /// As `--json` shows them: `[{"path", "line", "column", "message"}]`.
    pub fn to_json(&self) -> serde_json::Value {
        let problem =
            |Located { at, path, message }: &Located| json!({"path": path, "line": at.line, "column": at.column, "message": message});
        self.problems.iter().map(problem).collect()
    }

    /// The problems, by their places.
    pub fn problems(&self) -> &[Located] {
        &self.problems
    }
}

impl std::fmt::Display for Report {
    /// A line each, as in `penstock.yaml:12:5  destinations.crm.actions.add.url: …`, then the count.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Located { at, path, message } in self.problems.iter().take(MOST_LINES) {
            let colon = if path.is_empty() { "" } else { ": " };
            writeln!(f, "{}:{}:{}  {path}{colon}{message}", self.file, at.line, at.column)?;
        }
        if self.problems.len() > MOST_LINES {
            writeln!(f, "… and {} more", self.problems.len() - MOST_LINES)?;
        }
        match self.problems.len() {
            0 => Ok(()),
            1 => write!(f, "1 {}", self.word),
            count => write!(f, "{count} {}s", self.word),
        }
    }
}

/// Why a project could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The file itself could not be read.
    File {
        /// The file, as the user named it.
        file: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// What it says is wrong.
    Problems(Report),
}

impl LoadError {
    /// What `--json` prints: `{"problems": [{"path", "line", "column", "message"}]}`; line and column are null where the file itself
    /// could not be read.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            LoadError::File { message, .. } => json!({"problems": [{"path": "", "line": null, "column": null, "message": message}]}),
            LoadError::Problems(report) => json!({"problems": report.to_json()}),
        }
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::File { message, .. } => f.write_str(message),
            LoadError::Problems(report) => report.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}
