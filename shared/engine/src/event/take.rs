//! Taking events: what was handed in is claimed by its id, matched with rules and owed, before anybody is told that it was taken. It must
//! not send anything.
//!
//! Order matters: what rules pinned, then the claim of each event's id, which says what is owed for it, then errands and parcels, then
//! the bells. Who is cut short has not been told that the event was taken, so it is handed in again: the claim is found, and what it
//! says is owed is written once more, under the same names. What was sent already is known by its attempts.

use super::errand::{Errand, Identity};
use super::shape::{self, RuleShape};
use super::{Event, line};
use crate::keys::{self, LaneName};
use crate::lane::bell;
use crate::model::name::Name;
use crate::model::project::{Problem, Project};
use crate::model::rule::{Ordering, Rule};
use crate::port::{Document, Expect, PortError, Store, Write};
use crate::run::retention;
use crate::success_path::JmesPath;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How long the same id is the same event, seconds.
pub const SAME_EVENT_SECONDS: u64 = 24 * 3600;

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Events that are new.
    pub events: u64,
    /// Events that were taken before, or stood there twice.
    pub duplicates: u64,
    /// Deliveries that are owed for the new ones.
    pub deliveries: u64,
    /// Rules that could not be asked about an event, so that they did not match it: the rule, the event and why.
    pub unasked: Vec<Unasked>,
    /// The lanes that have work now.
    pub lanes: BTreeSet<LaneName>,
}

/// A rule whose condition or key could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// The rule.
    pub rule: Name,
    /// The event's id.
    pub event: String,
    /// Why.
    pub reason: String,
}

/// So many of them are told.
const MOST_UNASKED: usize = 20;

/// Most deliveries that one event may be owed.
const MOST_DELIVERIES: usize = 200;

/// An event's id is taken, and this is owed for it.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    /// Unix microseconds.
    taken_at: u64,
    event: Event,
    /// Each without its event.
    errands: Vec<Errand>,
}

impl Claim {
    /// The errands, whole.
    fn owed(self) -> impl Iterator<Item = Errand> {
        let event = self.event;
        self.errands.into_iter().map(move |errand| Errand { event: event.clone(), ..errand })
    }
}

/// A rule that is on, ready to be asked.
struct Ready<'a> {
    rule: &'a Rule,
    when: Option<JmesPath>,
    key: Option<JmesPath>,
    shape: RuleShape,
    version: String,
}

impl<'a> Ready<'a> {
    fn of(project: &Project, rule: &'a Rule) -> Result<Ready<'a>, String> {
        let shape = RuleShape::of(project, rule);
        let version = shape.version();
        let when = rule.when.as_deref().map(JmesPath::compile).transpose()?;
        let key = match &rule.ordering {
            Ordering::PerKey(path) => Some(JmesPath::compile(path)?),
            Ordering::Free => None,
        };
        Ok(Ready { rule, when, key, shape, version })
    }

    /// Whether the rule is for this event, and the event's key.
    fn matches(&self, event: &[u8]) -> Result<Option<Option<String>>, String> {
        if let Some(when) = &self.when
            && !is_true(&when.search(event)?)
        {
            return Ok(None);
        }
        let found = self.key.as_ref().map(|key| key.search(event)).transpose()?;
        Ok(Some(found.and_then(|found| match found {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })))
    }
}

/// As JMESPath has it: false, null, and what is empty are not.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Takes events: one JSON object, or one a line. All that is owed for them is durable when this returns.
///
/// # Errors
/// Inside: what is wrong with which line; nothing of the whole was taken then.
pub async fn take<S: Store>(store: &S, project: &Project, body: &[u8], wall: u64) -> Result<Result<Taken, Vec<Problem>>, PortError> {
    let events = match line::read(body, &project.event_types, wall, line::MOST_EVENTS) {
        Ok(events) => events,
        Err(problems) => return Ok(Err(problems)),
    };
    let organization = &project.organization.id;
    let now = wall / 1_000_000;
    let mut rules: BTreeMap<&str, Vec<Ready<'_>>> = BTreeMap::new();
    for rule in project.rules.values().filter(|rule| rule.enabled && events.iter().any(|event| event.kind == rule.on)) {
        let ready = Ready::of(project, rule).map_err(|e| PortError::Failed(format!("rule {} cannot be used: {e}", rule.id)))?;
        shape::pin(store, organization, &ready.shape, &ready.version, now).await?;
        rules.entry(&rule.on).or_default().push(ready);
    }
    retention::note(store, organization, now).await?;
    let mut taken = Taken::default();
    let mut seen = BTreeSet::new();
    let mut claims = Vec::with_capacity(events.len());
    for (place, event) in events.into_iter().enumerate() {
        match seen.insert(event.id.clone()) {
            true => claims.push((event.id.clone(), claim(event, place as u64, &rules, wall, &mut taken.unasked))),
            false => taken.duplicates += 1,
        }
    }
    if let Some((id, claim)) = claims.iter().find(|(_, claim)| claim.errands.len() > MOST_DELIVERIES) {
        let message =
            format!("{} deliveries would be owed for it, and {MOST_DELIVERIES} are the most; switch rules off", claim.errands.len());
        return Ok(Err(vec![Problem { path: format!("event {id}"), message }]));
    }
    let owed = claim_all(store, organization, claims, now, &mut taken).await?;
    put(store, organization, &owed, now).await?;
    taken.lanes = owed.iter().map(|errand| errand.lane(organization)).collect();
    for lane in &taken.lanes {
        bell::ring(store, lane, wall, now).await?;
    }
    Ok(Ok(taken))
}

/// What an event would be owed.
fn claim(event: Event, place: u64, rules: &BTreeMap<&str, Vec<Ready<'_>>>, wall: u64, unasked: &mut Vec<Unasked>) -> Claim {
    let taken_at = wall + place;
    let happened_at = crate::time::parse_rfc3339(&event.time).unwrap_or(wall).min(wall);
    let text = serde_json::to_vec(&event).expect("plain data always serializes");
    let mut errands = Vec::new();
    for ready in rules.get(event.kind.as_str()).into_iter().flatten() {
        let key = match ready.matches(&text) {
            Ok(Some(key)) => key,
            Ok(None) => continue,
            Err(reason) => {
                if unasked.len() < MOST_UNASKED {
                    unasked.push(Unasked { rule: ready.rule.id.clone(), event: event.id.clone(), reason });
                }
                continue;
            }
        };
        for (step, delivery) in ready.shape.deliveries() {
            let identity = Identity {
                event: &event.id,
                rule: &ready.rule.id,
                version: &ready.version,
                step,
                destination: &delivery.destination,
                key: key.as_deref(),
                happened_at,
                taken_at,
            };
            errands.push(Errand {
                id: identity.id(),
                event: Event { id: event.id.clone(), kind: String::new(), time: String::new(), data: Value::Null },
                rule: ready.rule.id.clone(),
                version: ready.version.clone(),
                step,
                destination: delivery.destination.clone(),
                action: delivery.name,
                ordered: ready.key.is_some() && key.is_some(),
                key: key.clone(),
                created_at: taken_at,
            });
        }
    }
    Claim { taken_at, event, errands }
}

/// Claims the ids; of what was taken before the former claim counts. Gives what is owed.
async fn claim_all<S: Store>(
    store: &S,
    organization: &Name,
    claims: Vec<(String, Claim)>,
    now: u64,
    taken: &mut Taken,
) -> Result<Vec<Errand>, PortError> {
    let write = |(id, claim): &(String, Claim)| {
        let body = serde_json::to_vec(claim).expect("plain data always serializes");
        let expires_at = Some(claim.taken_at / 1_000_000 + SAME_EVENT_SECONDS);
        Write::Put(keys::event(organization, id), Document { body, expires_at, ..Document::default() }, Expect::Absent)
    };
    let answers = store.write(claims.iter().map(write).collect(), now).await?;
    let mut owed = Vec::new();
    for ((id, claim), answer) in claims.into_iter().zip(answers) {
        match answer {
            Ok(_) => {
                taken.events += 1;
                taken.deliveries += claim.errands.len() as u64;
                owed.extend(claim.owed());
            }
            Err(PortError::Conflict) => {
                taken.duplicates += 1;
                let stored = store.get(&keys::event(organization, &id), now).await?;
                let Some(stored) = stored else { continue };
                let former: Claim = serde_json::from_slice(&stored.body)
                    .map_err(|e| PortError::Failed(format!("the claim of event {id} cannot be read: {e}")))?;
                owed.extend(former.owed());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(owed)
}

/// Writes errands, then parcels: whoever finds a parcel finds its errand.
async fn put<S: Store>(store: &S, organization: &Name, owed: &[Errand], now: u64) -> Result<(), PortError> {
    if owed.is_empty() {
        return Ok(());
    }
    for answer in store.write(owed.iter().map(|errand| errand.put(organization)).collect(), now).await? {
        match answer {
            Ok(_) | Err(PortError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    let parcels = owed.iter().map(|errand| errand.parcel().put(&errand.lane(organization)));
    for answer in store.write(parcels.collect(), now).await? {
        answer?;
    }
    Ok(())
}
