//! Turns a project file, as a JSON tree, into types that cannot be wrong, or into every problem that it has, each with its path. One
//! parser for penstock.yaml and for the API. It must not read files, the environment or the clock, and must not show a secret.
//!
//! `keys` lists every key there is; `place` walks the document; `merge` lays an export's actions over its destination's; the others
//! read a kind of definition each.

mod action;
mod credential;
mod destination;
mod event_type;
mod export;
pub mod keys;
mod merge;
mod nearest;
mod place;
pub mod reference;
mod request;
mod rule;
mod schedule;
mod templates;
mod values;

#[cfg(test)]
mod tests;

pub use keys::{is_secret, takes_environment};
pub use nearest::suggestion;
pub use place::{path_of_item, path_of_key};

use crate::model::event_type as types;
use crate::model::name::Name;
use crate::model::project::{Organization, Problem, Project, RETENTION_DAYS};
use crate::model::status::StatusSet;
use action::Reader;
use destination::Draft;
use export::Known;
use keys::{ORGANIZATION, TOP};
use place::{Object, Place, Problems, path_of_key as join};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use values::definitions;

/// Reads a whole project. `${NAME}` must have been replaced before, where [`takes_environment`] allows it.
///
/// # Errors
/// Every problem there is, each once, in the order of the document's kinds (credentials, destinations, models, exports, requests, event types, rules).
pub fn parse(document: &Value) -> Result<Project, Vec<Problem>> {
    let problems = Problems::default();
    let project = read(document, &problems);
    let list = problems.into_list();
    match project {
        Some(project) if list.is_empty() => Ok(project),
        _ => Err(list),
    }
}

fn read(document: &Value, problems: &Problems) -> Option<Project> {
    let top = Place::top(document, problems);
    if top.is_null() {
        top.problem("the project file is empty; `penstock init` writes one to start from");
        return None;
    }
    let object = top.object(&TOP)?;
    let organization = object.given("organization");
    let organization = organization.map_or_else(|| Some(default_organization()), |place| self::organization(&place));

    let credentials: BTreeMap<Name, _> =
        definitions(object.given("credentials")).into_iter().map(|(id, place)| (id.clone(), credential::credential(&id, &place))).collect();
    let destinations = definitions(object.given("destinations"));
    let mut drafts: Vec<Draft<'_>> = destinations.iter().filter_map(|(id, place)| destination::draft(id, place, &credentials)).collect();
    let models = definitions(object.given("models"));
    let sound_models: BTreeMap<Name, _> = models.iter().filter_map(|(id, place)| Some((id.clone(), export::model(id, place)?))).collect();
    let known = Known {
        models: models.iter().map(|(id, _)| id.as_str()).collect(),
        destinations: destinations.iter().map(|(id, _)| id.as_str()).collect(),
        drafts: &drafts,
    };
    let exports = definitions(object.given("exports"));
    let sound_exports: BTreeMap<Name, _> =
        exports.iter().filter_map(|(id, place)| Some((id.clone(), export::export(id, place, &known)?))).collect();
    look_through_unused(&object, &drafts, problems);

    let requests = definitions(object.given("requests"));
    let sound_requests: BTreeMap<Name, _> =
        requests.iter().filter_map(|(id, place)| Some((id.clone(), request::request(id, place)?))).collect();
    let own_types = event_type::event_types(object.given("event_types"));
    let mut event_types: BTreeMap<String, _> = types::built_in().into_iter().map(|known| (known.id.clone(), known)).collect();
    event_types.extend(own_types.iter().filter_map(|(id, place)| Some((id.clone(), event_type::event_type(id, place)?))));
    let known = rule::Known {
        event_types: event_types.keys().map(String::as_str).chain(own_types.iter().map(|(id, _)| id.as_str())).collect(),
        requests: requests.iter().map(|(id, _)| id.as_str()).collect(),
        destinations: destinations.iter().map(|(id, _)| id.as_str()).collect(),
        drafts: &drafts,
        problems,
    };
    let rules = definitions(object.given("rules"));
    let sound_rules: BTreeMap<Name, _> =
        rules.iter().filter_map(|(id, place)| Some((id.clone(), rule::rule(id, place, &known)?))).collect();

    Some(Project {
        organization: organization?,
        credentials: credentials.into_iter().filter_map(|(id, credential)| Some((id, credential?))).collect(),
        destinations: drafts.iter_mut().filter_map(|draft| Some((draft.id.clone(), draft.destination.take()?))).collect(),
        models: sound_models,
        exports: sound_exports,
        requests: sound_requests,
        rules: sound_rules,
        event_types,
    })
}

/// Actions mean something together with an export's; those of a destination that none uses are still worth a look.
fn look_through_unused<'a>(object: &Object<'a>, drafts: &[Draft<'a>], problems: &'a Problems) {
    let used: HashSet<&str> = definitions(object.given("exports"))
        .into_iter()
        .filter(|(_, place)| place.is_object())
        .filter_map(|(_, place)| place.map()?.into_iter().find(|(name, _)| *name == "destination"))
        .filter_map(|(_, destination)| destination.as_text())
        .collect();
    for draft in drafts.iter().filter(|draft| !used.contains(draft.id.as_str())) {
        let path = join(&join(&join("", "destinations"), draft.id.as_str()), "actions");
        let success = draft.success.clone().unwrap_or_else(StatusSet::two_hundreds);
        Reader { draft: Some(draft), success, path, problems }.look_through();
    }
}

fn default_organization() -> Organization {
    let id = Name::new("default").expect("the word is a name");
    Organization { name: id.to_string(), id, retention_days: RETENTION_DAYS, attributes: Map::new() }
}

fn organization(place: &Place<'_>) -> Option<Organization> {
    let object = place.object(&ORGANIZATION)?;
    let id = match object.given("id") {
        None => Some(default_organization().id),
        Some(place) => place.text().and_then(|text| Name::new(text).map_err(|message| place.problem(message)).ok()),
    };
    let name = object.given("name").map(|place| place.filled_text());
    let retention_days = object.given("retention_days").map_or(Some(RETENTION_DAYS.into()), |place| place.integer(1, 3650));
    let attributes = object.given("attributes").and_then(|place| place.map());
    let attributes =
        attributes.unwrap_or_default().into_iter().filter_map(|(name, place)| Some((name.to_string(), place.value()?.clone())));
    let id = id?;
    let name = name.map_or(Some(id.as_str()), |name| name)?.to_string();
    Some(Organization { id, name, retention_days: retention_days? as u32, attributes: attributes.collect() })
}
