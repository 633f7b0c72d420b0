//! Why planning ended without a plan.

use engine::port::PortError;
use rows::SourceError;
use std::fmt;

/// Why planning ended without a plan.
#[derive(Debug)]
pub enum PlanError {
    /// The rows cannot be read.
    Source(SourceError),
    /// The model has more keys than one process may hold; where its rows lie, if they were brought for this run.
    TooMany(Option<String>),
    /// The store, the objects or the disk failed.
    Port(PortError),
    /// Anything else, as a sentence.
    Other(String),
}

impl PlanError {
    /// A sentence.
    pub fn other(message: impl Into<String>) -> PlanError {
        PlanError::Other(message.into())
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Source(error) => error.fmt(f),
            PlanError::TooMany(_) => f.write_str("the model has more keys than one process may hold"),
            PlanError::Port(error) => error.fmt(f),
            PlanError::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for PlanError {}

impl From<SourceError> for PlanError {
    fn from(error: SourceError) -> PlanError {
        PlanError::Source(error)
    }
}

impl From<PortError> for PlanError {
    fn from(error: PortError) -> PlanError {
        PlanError::Port(error)
    }
}
