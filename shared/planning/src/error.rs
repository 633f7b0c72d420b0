//! Why planning ended without a plan.

use engine::port::PortError;
use rows::SourceError;
use std::fmt;

/// Why planning ended without a plan.
#[derive(Debug)]
pub enum PlanError {
    /// The rows cannot be read.
    Source(SourceError),
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
