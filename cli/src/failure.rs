//! Why a command ends without its result, and the exit status it ends with.

use crate::project::LoadError;
use engine::lookback::LookError;
use engine::port::PortError;
use serde_json::{Value, json};

/// Failed.
pub const FAILED: u8 = 1;
/// Wrong usage or an invalid project.
pub const USAGE: u8 = 2;
/// A run ended with rows not delivered.
pub const INCOMPLETE: u8 = 3;
/// Held by a guard.
pub const HELD: u8 = 4;
/// Canceled by Ctrl-C.
pub const CANCELED: u8 = 130;

/// Why a command ends without its result.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub status: u8,
    /// For a person.
    pub message: String,
    /// What `--json` prints besides.
    pub details: Option<Value>,
}

impl Failure {
    /// Something failed.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { status: FAILED, message: message.into(), details: None }
    }

    /// The command or the project is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { status: USAGE, ..Failure::new(message) }
    }

    /// What `--json` prints.
    pub fn to_json(&self) -> Value {
        let mut object = json!({"error": self.message});
        if let (Some(Value::Object(details)), Some(object)) = (&self.details, object.as_object_mut()) {
            object.extend(details.clone());
        }
        object
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Failure {
        Failure::new(error.to_string())
    }
}

impl From<LookError> for Failure {
    fn from(error: LookError) -> Failure {
        match error {
            LookError::Refused(why) => Failure::usage(why),
            LookError::Port(error) => Failure::from(error),
        }
    }
}

impl From<rows::SourceError> for Failure {
    fn from(error: rows::SourceError) -> Failure {
        // A column that is not there, or a query that no database would take, is the project's fault, not the machine's.
        match error.kind {
            rows::ErrorKind::Column | rows::ErrorKind::Query => Failure::usage(error.to_string()),
            _ => Failure::new(error.to_string()),
        }
    }
}

impl From<planning::PlanError> for Failure {
    fn from(error: planning::PlanError) -> Failure {
        match error {
            planning::PlanError::Source(error) => Failure::from(error),
            planning::PlanError::Port(error) => Failure::from(error),
            other @ (planning::PlanError::Other(_) | planning::PlanError::TooMany(_)) => Failure::new(other.to_string()),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        Failure { status: USAGE, message: error.to_string(), details: Some(error.to_json()) }
    }
}
