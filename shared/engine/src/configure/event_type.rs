//! Reads `event_types`. It must not look at events.

use super::keys::{ATTRIBUTE, EVENT_TYPE};
use super::place::Place;
use crate::model::event_type::{Attribute, AttributeKind, EventType};
use crate::model::name::Name;
use serde_json::Value;

/// Most attributes of a type.
const MOST_ATTRIBUTES: usize = 500;

/// The event types of a document, each with its name; those whose name is wrong are reported and left out.
pub(super) fn event_types<'a>(place: Option<Place<'a>>) -> Vec<(String, Place<'a>)> {
    let entries = place.and_then(|place| place.map()).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, place)| match Name::dotted(name) {
            Ok(name) => Some((name.to_string(), place)),
            Err(message) => {
                place.problem(message);
                None
            }
        })
        .collect()
}

/// One event type; `None` if something about it is wrong and was reported.
pub(super) fn event_type(id: &str, place: &Place<'_>) -> Option<EventType> {
    let object = place.object(&EVENT_TYPE)?;
    let text = |name: &str| object.given(name).and_then(|place| place.filled_text()).map(str::to_string);
    let (name, description) = (text("name").unwrap_or_else(|| id.to_string()), text("description").unwrap_or_default());
    let mut attributes: Vec<Attribute> = Vec::new();
    let items = object.given("attributes").and_then(|place| place.list()).unwrap_or_default();
    if items.len() > MOST_ATTRIBUTES {
        place.problem(format!("has {} attributes, and {MOST_ATTRIBUTES} are the most", items.len()));
    }
    for item in &items {
        let Some(attribute) = attribute(item) else { continue };
        match attributes.iter().any(|other| other.key == attribute.key) {
            true => item.problem(format!("`{}` stands here twice; take one out", attribute.key)),
            false => attributes.push(attribute),
        }
    }
    Some(EventType { id: id.to_string(), name, description, attributes })
}

/// GW-25: title, description, key, type and sample values.
fn attribute(place: &Place<'_>) -> Option<Attribute> {
    let object = place.object(&ATTRIBUTE)?;
    let key = object.required("key").and_then(|place| place.filled_text());
    let kind = object.required("type").and_then(|place| place.choice(&AttributeKind::WORDS, &[]));
    let text = |name: &str| object.given(name).and_then(|place| place.filled_text()).map(str::to_string);
    let (title, description) = (text("title"), text("description").unwrap_or_default());
    let mut samples: Vec<Value> = Vec::new();
    for sample in object.given("samples").and_then(|place| place.list()).unwrap_or_default() {
        let Some(value) = sample.value() else { continue };
        match kind.and_then(|kind| kind.refuses(value)) {
            Some(why) => sample.problem(why),
            None => samples.push(value.clone()),
        }
    }
    let key = key?;
    Some(Attribute { key: key.to_string(), kind: kind?, title: title.unwrap_or_else(|| key.to_string()), description, samples })
}
