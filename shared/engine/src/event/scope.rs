//! What the templates of a rule see: the event, whom it is about, and what was fetched. It must not hold a secret.

use super::errand::Errand;
use super::shape::Team;
use crate::template::{Row, Scope};
use serde_json::{Map, Value, json};

/// The trees of one errand.
#[derive(Debug)]
pub(super) struct View {
    event: Value,
    contact: Value,
    team: Value,
    campaign: Value,
    node: Value,
    rule: Value,
    delivery: Value,
    organization_name: Value,
    /// The contact as a row.
    names: Vec<String>,
    values: Vec<Value>,
}

impl View {
    /// Of an errand that goes under the delivery's id `delivery`.
    pub(super) fn of(errand: &Errand, team: &Team, delivery: &str) -> View {
        let contact = errand.event.contact().clone();
        let (names, values) = contact.as_object().cloned().unwrap_or_default().into_iter().unzip();
        let member = |name: &str| errand.event.data.get(name).cloned().unwrap_or(Value::Null);
        View {
            event: errand.event.to_value(),
            contact,
            team: json!({"id": team.id, "name": team.name, "custom_attributes": team.attributes}),
            campaign: member("campaign"),
            node: member("node"),
            rule: json!({"id": errand.rule.as_str()}),
            delivery: json!({"id": delivery, "idempotency_key": delivery}),
            organization_name: json!(team.name),
            names,
            values,
        }
    }

    /// Renders with what is known so far. `individual`: the contact's own members stand at the top level too.
    pub(super) fn with<T>(
        &self,
        workflow: &Map<String, Value>,
        variables: &Map<String, Value>,
        individual: bool,
        render: impl FnOnce(&Scope) -> T,
    ) -> T {
        let (workflow, variables) = (Value::Object(workflow.clone()), Value::Object(variables.clone()));
        let roots = [
            ("event", &self.event),
            ("contact", &self.contact),
            ("team", &self.team),
            ("workspace", &self.team),
            ("campaign", &self.campaign),
            ("node", &self.node),
            ("variables", &variables),
            ("workflow", &workflow),
            ("rule", &self.rule),
            ("delivery", &self.delivery),
            ("organization_name", &self.organization_name),
        ];
        let row = [Row::new(&self.names, &self.values)];
        render(&Scope { rows: &row, individual, previous: None, roots: &roots })
    }
}
