//! Rules: what is sent where when an event of a type comes.

use super::action::{Action, ActionName};
use super::name::Name;
use serde::{Deserialize, Serialize};

/// An event type, conditions, and ordered steps (VX-08).
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name in documents.
    pub id: Name,
    /// Its label for people.
    pub name: String,
    /// The type of events that it is for.
    pub on: String,
    /// JMESPath over the event: it goes on where that is true; `None`: always.
    pub when: Option<String>,
    /// What tells whose events must stay in order.
    pub ordering: Ordering,
    /// One that is off does nothing.
    pub enabled: bool,
    /// In order; at least one of them delivers.
    pub steps: Vec<Step>,
}

/// Which events must not overtake each other on their way to one destination.
#[derive(Clone, Debug, PartialEq)]
pub enum Ordering {
    /// Those with the same key: what this JMESPath finds in them. Those without a key are in nobody's way.
    PerKey(String),
    /// None.
    Free,
}

/// A step of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Runs a request and keeps its JSON.
    Fetch(Fetch),
    /// Sends one request to a destination.
    Deliver(Box<Deliver>),
}

/// Runs a request and keeps its JSON under an output key (LP-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The request.
    pub request: Name,
    /// Templates of later steps see the JSON as `workflow.<output>`.
    pub output: String,
    /// What its failure means.
    pub on_failure: OnFailure,
}

/// What the failure of a fetch means (LP-22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Nothing further is sent; the delivery fails.
    Stop,
    /// Later steps go on without the output.
    Continue,
}

/// Sends one request to a destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Deliver {
    /// The destination.
    pub destination: Name,
    /// Which of its actions.
    pub action: ActionName,
    /// That action, as the destination has it.
    pub request: Action,
    /// Templates whose values the destination's templates see as `variables.<name>`, and its URL as `{name}` (VX-05).
    pub variables: Vec<(String, String)>,
}
