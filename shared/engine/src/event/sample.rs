//! A request tried with a sample event. It must not send anything.

use super::Event;
use super::errand::Errand;
use super::shape::{self, Surroundings, Team};
use crate::configure::suggestion;
use crate::model::action::ActionName;
use crate::model::name::Name;
use crate::model::project::{Problem, Project};
use crate::model::request::Request;
use crate::shape::Rendered;
use serde_json::{Map, Value};

/// What templates see of it.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The event's type; `contact.subscribed` unless given.
    pub kind: Option<&'a str>,
    /// Its data; the samples of its type unless given.
    pub data: Option<Map<String, Value>>,
    /// What earlier fetches gave.
    pub workflow: Map<String, Value>,
    /// Its time, RFC 3339.
    pub time: String,
}

impl Sample<'_> {
    /// Renders a request.
    ///
    /// # Errors
    /// What is wrong, with the path of what can be edited.
    pub fn render(&self, project: &Project, request: &Request) -> Result<Rendered, Problem> {
        let kind = self.kind.unwrap_or("contact.subscribed");
        let Some(event_type) = project.event_types.get(kind) else {
            let known: Vec<&str> = project.event_types.keys().map(String::as_str).collect();
            let shown: String = kind.chars().take(80).collect();
            let message = format!("there is no event type `{shown}`; {}", suggestion(&shown, &known));
            return Err(Problem { path: "type".to_string(), message });
        };
        let data = self.data.clone().map_or_else(|| event_type.sample(), Value::Object);
        let event = Event { id: "sample".to_string(), kind: kind.to_string(), time: self.time.clone(), data };
        let sample = Name::new("sample").map_err(|message| Problem { path: String::new(), message })?;
        let errand = Errand {
            id: "evt_sample".to_string(),
            event,
            rule: sample.clone(),
            version: String::new(),
            step: 0,
            destination: sample,
            action: ActionName::Add,
            ordered: false,
            key: None,
            created_at: 0,
        };
        let around = Surroundings::of(&errand, &Team::of(project), "dlv_sample");
        let wrong = |message: String| Problem { path: "data".to_string(), message };
        let call = shape::compile_request(request).map_err(wrong)?;
        shape::render_request(&call, &around, &self.workflow).map_err(|unrendered| wrong(unrendered.reason))
    }
}
