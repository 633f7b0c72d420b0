//! Reads `rules`. It must not look at events.

use super::action::Reader;
use super::destination::{Draft, flag};
use super::keys::{DELIVER, FETCH, RULE, STEP};
use super::nearest;
use super::place::{Object, Place, Problems, path_of_key};
use super::templates::check_path;
use super::values::{reference, text_templates};
use crate::event::single_brackets;
use crate::model::action::{Action, ActionName};
use crate::model::name::Name;
use crate::model::rule::{Deliver, Fetch, OnFailure, Ordering, Rule, Step};
use crate::model::status::StatusSet;

/// Whose an event is, unless a rule says otherwise.
const KEY: &str = "data.contact.id || data.contact.msisdn || data.contact.email || data.contact.ecom_email || data.contact.phone \
                   || data.id || data.msisdn || data.email || data.ecom_email || data.phone";

/// Most steps of a rule.
const MOST_STEPS: usize = 20;

/// What a rule may refer to.
pub(super) struct Known<'d, 'a> {
    /// The event types.
    pub(super) event_types: Vec<&'d str>,
    /// The requests' names.
    pub(super) requests: Vec<&'d str>,
    /// The destinations' names, those with problems included.
    pub(super) destinations: Vec<&'d str>,
    /// The destinations that could be looked into.
    pub(super) drafts: &'d [Draft<'a>],
    /// Where problems go.
    pub(super) problems: &'a Problems,
}

/// One rule (VX-08); `None` if something about it is wrong and was reported.
pub(super) fn rule<'a>(id: &Name, place: &Place<'a>, known: &Known<'_, 'a>) -> Option<Rule> {
    let object = place.object(&RULE)?;
    let name = object.given("name").and_then(|place| place.filled_text()).unwrap_or(id.as_str()).to_string();
    let enabled = flag(&object, "enabled", true);
    let on = object.required("on").and_then(|place| event_type(&place, &known.event_types));
    let when = object.given("when").map(|place| path(&place));
    let key = object.given("key").map_or_else(|| Some(KEY.to_string()), |place| path(&place));
    let ordering = object.given("ordering").map_or(Some(true), |place| place.choice(&[("per_key", true), ("none", false)], &[]));
    let steps = object.required("steps").and_then(|place| steps(&place, known));
    let when = match when {
        Some(when) => Some(when?),
        None => None,
    };
    let ordering = match ordering? {
        true => Ordering::PerKey(key?),
        false => Ordering::Free,
    };
    Some(Rule { id: id.clone(), name, on: on?, when, ordering, enabled, steps: steps? })
}

fn event_type(place: &Place<'_>, known: &[&str]) -> Option<String> {
    let text = place.text()?;
    if !known.contains(&text) {
        place.problem(format!("there is no event type `{text}`; {}", nearest::suggestion(text, known)));
        return None;
    }
    Some(text.to_string())
}

fn path(place: &Place<'_>) -> Option<String> {
    let text = place.filled_text()?;
    check_path(text).map_err(|message| place.problem(message)).ok()?;
    Some(text.to_string())
}

fn steps<'a>(place: &Place<'a>, known: &Known<'_, 'a>) -> Option<Vec<Step>> {
    let items = place.list()?;
    if items.len() > MOST_STEPS {
        place.problem(format!("has {} steps, and {MOST_STEPS} are the most; make two rules of them", items.len()));
    }
    let mut outputs: Vec<&str> = Vec::new();
    let mut delivers = false;
    let mut steps = Vec::with_capacity(items.len());
    for item in &items {
        let Some(object) = item.object(&STEP) else { continue };
        match (object.given("fetch"), object.given("deliver")) {
            (Some(place), None) => steps.push(fetch(&place, known, &mut outputs).map(Step::Fetch)),
            (None, Some(place)) => {
                delivers = true;
                steps.push(deliver(&place, known).map(|deliver| Step::Deliver(Box::new(deliver))));
            }
            _ => item.problem("must be either `fetch` or `deliver`, as in `{deliver: {destination: crm, action: add}}`"),
        }
    }
    if !delivers {
        place.problem("has no `deliver`, so nothing would be sent; add one, as in `{deliver: {destination: crm, action: add}}`");
    }
    (steps.len() == items.len()).then(|| steps.into_iter().collect()).flatten()
}

/// LP-10, LP-22.
fn fetch<'a>(place: &Place<'a>, known: &Known<'_, 'a>, outputs: &mut Vec<&'a str>) -> Option<Fetch> {
    let object = place.object(&FETCH)?;
    let request = object.required("request").and_then(|place| reference(&place, "request", &known.requests));
    let output = object.required("output").and_then(|place| {
        let text = place.text()?;
        let sound = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= 64
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !sound {
            place.problem(format!("`{text}` is not an output key; use 1 to 64 of a-z, 0-9 and _, starting with a letter"));
            return None;
        }
        if outputs.contains(&text) {
            place.problem(format!("two fetches of this rule go to `{text}`; give one of them another key"));
            return None;
        }
        outputs.push(text);
        Some(text.to_string())
    });
    let choices = [("stop", OnFailure::Stop), ("continue", OnFailure::Continue)];
    let on_failure = object.given("on_failure").map_or(Some(OnFailure::Stop), |place| place.choice(&choices, &[]));
    Some(Fetch { request: request?, output: output?, on_failure: on_failure? })
}

/// VX-09 to VX-11.
fn deliver<'a>(place: &Place<'a>, known: &Known<'_, 'a>) -> Option<Deliver> {
    let object = place.object(&DELIVER)?;
    let destination = object.required("destination").and_then(|place| reference(&place, "destination", &known.destinations));
    let words = ActionName::ALL.map(|name| (name.as_str(), name));
    let action = object.required("action").and_then(|place| place.choice(&words, &[]));
    let variables = object.given("variables").map(|place| text_templates(&place)).unwrap_or_default();
    let (destination, action) = (destination?, action?);
    let request = action_of(&object, known, &destination, action)?;
    for name in single_brackets(&request.url).1 {
        if !variables.iter().any(|(own, _)| *own == name) {
            let path = path_of_key(&path_of_key(place.path(), "variables"), &name);
            let message =
                format!("the URL of `{destination}` holds `{{{name}}}`; bind it, as in `variables: {{{name}: \"{{{{contact.id}}}}\"}}`");
            place.problems().add(&path, message);
        }
    }
    Some(Deliver { destination, action, request, variables })
}

/// The destination's own action.
fn action_of<'a>(object: &Object<'a>, known: &Known<'_, 'a>, destination: &Name, action: ActionName) -> Option<Action> {
    let draft = known.drafts.iter().find(|draft| draft.id == *destination)?;
    let success = draft.success.clone().unwrap_or_else(StatusSet::two_hundreds);
    let path = path_of_key(&path_of_key("destinations", destination.as_str()), "actions");
    match (Reader { draft: Some(draft), success, path, problems: known.problems }.single(action), object.given("action")) {
        (Ok(found), _) => found,
        (Err(()), place) => {
            let message = format!("`{}` of destination `{destination}` is off; switch it on there", action.as_str());
            place.into_iter().for_each(|place| place.problem(message.clone()));
            None
        }
    }
}
