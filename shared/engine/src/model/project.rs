//! The whole of a penstock.yaml, as types that cannot be wrong.

use super::event_type::EventType;
use super::{credential::Credential, destination::Destination, export::Export, name::Name, request::Request, rule::Rule, source::Model};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How long deliveries and attempts are kept unless the organization says otherwise, days.
pub const RETENTION_DAYS: u32 = 30;

/// Whose project it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Organization {
    /// Its name in documents; `default` unless given.
    pub id: Name,
    /// Its label; what `{{organization_name}}` shows.
    pub name: String,
    /// How long deliveries and attempts are kept, days.
    pub retention_days: u32,
    /// What templates of rules see as `team.custom_attributes` (VX-12).
    pub attributes: Map<String, Value>,
}

/// A project whose references all hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Whose it is.
    pub organization: Organization,
    /// By name.
    pub credentials: BTreeMap<Name, Credential>,
    /// By name.
    pub destinations: BTreeMap<Name, Destination>,
    /// By name.
    pub models: BTreeMap<Name, Model>,
    /// By name.
    pub exports: BTreeMap<Name, Export>,
    /// By name.
    pub requests: BTreeMap<Name, Request>,
    /// By name.
    pub rules: BTreeMap<Name, Rule>,
    /// By the type that events name, those that come built in among them.
    pub event_types: BTreeMap<String, EventType>,
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: the keys from the top, as in `destinations.crm.actions.add.url`; list places as `fields[2].from`.
    pub path: String,
    /// What is wrong and what to do; a lowercase fragment.
    pub message: String,
}
