//! Reads an export's three actions, merged over its destination's. It must not look at rows.

use super::destination::{Draft, flag, report_clash};
use super::keys::{ACTION, BATCH, BODY};
use super::merge::{Wish, merge};
use super::place::{Object, Place, Problems, path_of_key};
use super::templates::{Part, check, check_success_path, check_url};
use super::values::{header_templates, query_templates, success};
use crate::model::action::{Action, ActionName, Actions, BatchMode, Body};
use crate::model::status::StatusSet;
use crate::port::Method;

/// The five methods (GL-47, GL-61, HT-22).
pub(super) const METHODS: [(&str, Method); 5] =
    [("GET", Method::Get), ("POST", Method::Post), ("PUT", Method::Put), ("PATCH", Method::Patch), ("DELETE", Method::Delete)];

/// Whose actions are read.
pub(super) struct Reader<'d, 'a> {
    /// The destination that they go to; unknown where the reference to it is wrong.
    pub(super) draft: Option<&'d Draft<'a>>,
    /// Statuses that count as success where an action says nothing.
    pub(super) success: StatusSet,
    /// The path to `actions`, for what is missing.
    pub(super) path: String,
    /// Where problems go.
    pub(super) problems: &'a Problems,
}

/// An action as far as it can be read.
struct Reading {
    on: bool,
    /// `None` if something is wrong with it.
    action: Option<Action>,
}

impl<'a> Reader<'_, 'a> {
    /// The actions of an export; `top` is what it writes itself. GL-45, GL-59, HT-18.
    pub(super) fn read(&self, top: Option<&Place<'a>>) -> Option<Actions> {
        let wishes = merge(self.draft.and_then(|draft| draft.actions.as_ref()), top);
        let add = match &wishes.add {
            Wish::Written(place) => self.action(ActionName::Add, place, true),
            Wish::Unwritten => Some(self.unwritten_add()),
            Wish::Off | Wish::Wrong => None,
            Wish::SameAsAdd(place) => same_as_itself(place),
        };
        let add_is_on = add.as_ref().is_some_and(|reading| reading.on);
        let update = match (&wishes.update, &wishes.add) {
            (Wish::Written(place), _) => self.action(ActionName::Update, place, true),
            (Wish::SameAsAdd(_), Wish::Written(add)) => {
                let entries = add.map().unwrap_or_default().into_iter().filter(|(name, _)| *name != "enabled");
                // What an add that is on lacks is add's problem, and said once.
                let blamed = if add_is_on { ActionName::Add } else { ActionName::Update };
                self.action(blamed, &add.merged(entries.collect()), true)
            }
            (Wish::SameAsAdd(place), Wish::Unwritten | Wish::Off) => {
                place.problem("there is no `add` that it could be the same as; write one (it may say `enabled: false`)");
                None
            }
            // What is wrong with `add` was reported there.
            (Wish::SameAsAdd(_) | Wish::Unwritten | Wish::Off | Wish::Wrong, _) => None,
        };
        let remove = match &wishes.remove {
            Wish::Written(place) => self.action(ActionName::Remove, place, false),
            Wish::SameAsAdd(place) => same_as_itself(place),
            Wish::Unwritten | Wish::Off | Wish::Wrong => None,
        };
        let wrong = [&wishes.add, &wishes.update, &wishes.remove].iter().any(|wish| matches!(wish, Wish::Wrong | Wish::SameAsAdd(_)));
        let all_off = [&add, &update, &remove].iter().all(|reading| reading.as_ref().is_none_or(|reading| !reading.on));
        if all_off && !wrong {
            self.problems.add(&self.path, "no action is on; switch on at least one of add, update and remove");
        }
        let switched_on = |reading: Option<Reading>| reading.filter(|reading| reading.on).and_then(|reading| reading.action);
        Some(Actions { add: switched_on(add), update: switched_on(update), remove: switched_on(remove) })
    }

    /// One action of the destination alone, as a rule uses it. `Err`: it is off; `Ok(None)`: something is wrong with it and was reported.
    pub(super) fn single(&self, name: ActionName) -> Result<Option<Action>, ()> {
        let wishes = merge(self.draft.and_then(|draft| draft.actions.as_ref()), None);
        let wish = match name {
            ActionName::Add => &wishes.add,
            ActionName::Update => &wishes.update,
            ActionName::Remove => &wishes.remove,
        };
        let reading = match (wish, &wishes.add) {
            (Wish::Written(place), _) => self.action(name, place, name != ActionName::Remove),
            (Wish::SameAsAdd(_), Wish::Written(add)) if name == ActionName::Update => {
                let entries = add.map().unwrap_or_default().into_iter().filter(|(name, _)| *name != "enabled");
                self.action(ActionName::Update, &add.merged(entries.collect()), true)
            }
            (Wish::Unwritten | Wish::Off, _) => return Err(()),
            (Wish::SameAsAdd(_) | Wish::Wrong, _) => None,
        };
        match reading {
            Some(reading) if !reading.on => Err(()),
            reading => Ok(reading.and_then(|reading| reading.action)),
        }
    }

    /// Looks through the actions of a destination that no export uses.
    pub(super) fn look_through(&self) {
        let wishes = merge(self.draft.and_then(|draft| draft.actions.as_ref()), None);
        for (name, wish, on) in
            [(ActionName::Add, wishes.add, true), (ActionName::Update, wishes.update, true), (ActionName::Remove, wishes.remove, false)]
        {
            match wish {
                Wish::Written(place) => drop(self.action(name, &place, on)),
                Wish::SameAsAdd(place) if name != ActionName::Update => drop(same_as_itself(&place)),
                _ => {}
            }
        }
    }

    /// GL-44, GL-45: add is on by default and needs a URL.
    fn unwritten_add(&self) -> Reading {
        let path = path_of_key(&path_of_key(&self.path, "add"), "url");
        self.problems.add(&path, "add is on unless switched off, and needs a `url`; write one, or `add: {enabled: false}`");
        Reading { on: true, action: None }
    }

    fn action(&self, name: ActionName, place: &Place<'a>, on_by_default: bool) -> Option<Reading> {
        let object = place.object(&ACTION)?;
        let on = flag(&object, "enabled", on_by_default);
        let url = match object.given("url") {
            Some(url) => self.url(&url),
            None if on => {
                let path = path_of_key(place.path(), "url");
                self.problems.add(&path, format!("{} is on and needs a `url`, as in `url: /members`", name.as_str()));
                None
            }
            None => None,
        };
        let headers = object.given("headers");
        if let (Some(headers), Some(draft)) = (headers.as_ref().filter(|place| place.is_object()), self.draft) {
            for (name, value) in headers.map().unwrap_or_default() {
                report_clash(name, &value, draft.taken_headers.iter());
            }
        }
        let method = object.given("method").map_or(Some(Method::Post), |place| place.choice(&METHODS, &[]));
        let query = object.given("query").map(|place| query_templates(&place)).unwrap_or_default();
        let headers = headers.map(|place| header_templates(&place)).unwrap_or_default();
        let body = object.given("body").map_or(Some(Body::Empty), |place| body(&place));
        let batch = object.given("batch").map_or(Some(BatchMode::Individual), |place| batch(&place));
        let success = object.given("success").map_or_else(|| Some(self.success.clone()), |place| success(&place));
        let success_path = object.given("success_path").and_then(|place| success_path(&place));
        let strict = flag(&object, "strict", false);
        let built = || {
            let (method, url, body, batch, success) = (method?, url?, body?, batch?, success?);
            Some(Action { method, url, query, headers, body, batch, success, success_path, strict })
        };
        Some(Reading { on, action: built() })
    }

    /// A whole URL may lead elsewhere, but secrets go only to the origin that they were given for (faults.md S16).
    fn url(&self, place: &Place<'_>) -> Option<String> {
        let text = place.filled_text()?;
        let base = self.draft.and_then(|draft| draft.base_url.as_ref());
        let stand_in = url::Url::parse("https://base.invalid").ok()?;
        let origin = match check_url(text, base.unwrap_or(&stand_in)) {
            Ok(url) => url.origin(),
            Err(message) => {
                place.problem(message);
                return None;
            }
        };
        if base.is_some_and(|base| base.origin() != origin) && self.draft.is_some_and(|draft| draft.has_secrets) {
            place.problem(
                "leads to another host than base_url, where this destination's credential and secret headers must not go; \
                 make it a destination of its own",
            );
        }
        Some(text.to_string())
    }
}

fn same_as_itself(place: &Place<'_>) -> Option<Reading> {
    place.problem("`same_as_add` is for update only; write an object");
    None
}

/// A JSON template, an object, or null.
pub(super) fn body(place: &Place<'_>) -> Option<Body> {
    if let Some(text) = place.as_text() {
        return template(place, text, Part::Json).map(Body::Json);
    }
    if !place.is_object() {
        return place.expected("a text that holds a template, or an object with `content` and `template`");
    }
    let object = place.object(&BODY)?;
    object.given("engine").and_then(|place| place.choice(&[("handlebars", ())], &["liquid", "jmespath"]));
    let contents = [("json", Some(Part::Json)), ("text", Some(Part::Text)), ("empty", None)];
    let content = object.given("content").map_or(Some(Some(Part::Json)), |place| place.choice(&contents, &["xml", "form"]))?;
    let Some(part) = content else {
        if let Some(template) = object.given("template") {
            template.problem("an empty body has no template; take it out, or change `content`");
        }
        return Some(Body::Empty);
    };
    // A body that asks for what comes later was reported; that its template is missing too would mislead.
    if object.given("template").is_none() && (object.given("column").is_some() || object.given("fields").is_some()) {
        return None;
    }
    let written = object.required("template")?;
    let text = template(&written, written.text()?, part)?;
    Some(if part == Part::Text { Body::Text(text) } else { Body::Json(text) })
}

fn template(place: &Place<'_>, text: &str, part: Part) -> Option<String> {
    if part == Part::Json && text.trim().is_empty() {
        place.problem("is empty, which is not JSON; write `body: null` to send none");
        return None;
    }
    match check(text, part) {
        Ok(()) => Some(text.to_string()),
        Err(message) => {
            place.problem(message);
            None
        }
    }
}

/// GL-51 to GL-53, HT-21: batching must be switched on; 100 rows unless said otherwise.
fn batch(place: &Place<'_>) -> Option<BatchMode> {
    let object: Object<'_> = place.object(&BATCH)?;
    let size = object.given("size").map_or(Some(100), |place| place.integer(1, 10_000));
    match object.given("mode") {
        Some(mode) => {
            let batched = BatchMode::Batched(size.unwrap_or(100) as u32);
            mode.choice(&[("individual", BatchMode::Individual), ("batched", batched)], &[])
        }
        None => {
            if let Some(size) = object.given("size") {
                size.problem("a size acts in batched mode only; add `mode: batched`");
            }
            Some(BatchMode::Individual)
        }
    }
}

fn success_path(place: &Place<'_>) -> Option<String> {
    let text = place.filled_text()?;
    check_success_path(text).map_err(|message| place.problem(message)).ok()?;
    Some(text.to_string())
}
