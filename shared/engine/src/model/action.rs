//! Actions: the request configured for a kind of change.

use super::status::StatusSet;
use crate::port::Method;
use serde::{Deserialize, Serialize};

/// Which of an export's three actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionName {
    /// For rows that were added.
    Add,
    /// For rows that changed.
    Update,
    /// For rows that were removed.
    Remove,
}

impl ActionName {
    /// In the order in which a run sends them.
    pub const ALL: [ActionName; 3] = [ActionName::Add, ActionName::Update, ActionName::Remove];

    /// The word that penstock.yaml uses.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionName::Add => "add",
            ActionName::Update => "update",
            ActionName::Remove => "remove",
        }
    }
}

/// How many rows a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchMode {
    /// One (GL-51).
    Individual,
    /// At most this many, at least 1 (GL-52, GL-53).
    Batched(u32),
}

/// What a body is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// No body at all (HT-27).
    Empty,
    /// A Handlebars template that renders to JSON; checked before it is sent.
    Json(String),
    /// A Handlebars template that renders to text, sent as `text/plain` unless a header says otherwise.
    Text(String),
}

/// An action that is on. Templates are kept as text; the project file's parser has compiled each once to know that it is sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The method.
    pub method: Method,
    /// A template; a path under the destination's base URL, or a whole URL.
    pub url: String,
    /// Query parameters whose values are templates, appended to the URL's own.
    pub query: Vec<(String, String)>,
    /// Headers whose values are templates; over the destination's of the same name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// How many rows a request carries.
    pub batch: BatchMode,
    /// Statuses that count as success.
    pub success: StatusSet,
    /// GL-54: JMESPath over the response that tells how many rows succeeded.
    pub success_path: Option<String>,
    /// Whether a missing variable in the body is an error.
    pub strict: bool,
}

/// An export's three actions after merging over the destination's; at least one is on (HT-18).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Actions {
    /// For rows that were added; on unless switched off (GL-45).
    pub add: Option<Action>,
    /// For rows that changed; off unless written.
    pub update: Option<Action>,
    /// For rows that were removed; off unless enabled (GL-59).
    pub remove: Option<Action>,
}

impl Actions {
    /// The action of that name, if it is on.
    pub fn get(&self, name: ActionName) -> Option<&Action> {
        match name {
            ActionName::Add => self.add.as_ref(),
            ActionName::Update => self.update.as_ref(),
            ActionName::Remove => self.remove.as_ref(),
        }
    }
}
