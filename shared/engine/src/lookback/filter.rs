//! What is asked for when looking back, and how answers are paged. It must not read anything.

use super::delivery::DeliveryStatus;
use crate::judge::Class;
use crate::model::name::Name;
use crate::port::PortError;
use crate::run::document::Status;
use serde::Serialize;

/// Which deliveries are asked for; all that are given must hold.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Filter {
    /// Of this run.
    pub run: Option<String>,
    /// Of this export; it need not exist.
    pub export: Option<Name>,
    /// To this destination; it need not exist.
    pub destination: Option<Name>,
    /// Owed by this rule; it need not exist.
    pub rule: Option<Name>,
    /// Owed for the event of this id.
    pub event: Option<String>,
    /// Some attempt had this outcome class.
    pub class: Option<Class>,
    /// The delivery stands so now.
    pub status: Option<DeliveryStatus>,
    /// Some attempt (of the class, if one is given) started at this Unix millisecond or later.
    pub since_ms: Option<u64>,
    /// That attempt started before this Unix millisecond.
    pub until_ms: Option<u64>,
    /// The delivery carries the row of this key (needs `run`, `export` or `destination`).
    pub row: Option<String>,
}

impl Filter {
    /// What is sent again when it is asked for: what fits and has the status, or, without one, what came to nothing. The lists of
    /// these filters have nothing in common.
    pub fn to_send_again(&self) -> Vec<Filter> {
        const STATUSES: [DeliveryStatus; 3] = [DeliveryStatus::Failed, DeliveryStatus::Exhausted, DeliveryStatus::Canceled];
        match self.status {
            Some(_) => vec![self.clone()],
            None => STATUSES.into_iter().map(|status| Filter { status: Some(status), ..self.clone() }).collect(),
        }
    }
}

/// Which runs are asked for; all that are given must hold.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunFilter {
    /// Of this export; it need not exist.
    pub export: Option<Name>,
    /// To this destination; it need not exist.
    pub destination: Option<Name>,
    /// The run stands so now.
    pub status: Option<Status>,
    /// Started at this Unix millisecond or later.
    pub since_ms: Option<u64>,
    /// Started before this Unix millisecond.
    pub until_ms: Option<u64>,
}

/// A part of a list. It may be shorter than asked for, even empty, although more follows: a call does a bounded piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct PageOf<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// What to ask `after` for the rest; `None`: nothing follows.
    pub next: Option<String>,
}

/// Why a list is not given.
#[derive(Debug)]
pub enum LookError {
    /// What was asked for makes no sense; for who asked.
    Refused(String),
    /// A port failed.
    Port(PortError),
}

impl std::fmt::Display for LookError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LookError::Refused(why) => write!(f, "{why}"),
            LookError::Port(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LookError {}

impl From<PortError> for LookError {
    fn from(error: PortError) -> LookError {
        LookError::Port(error)
    }
}
