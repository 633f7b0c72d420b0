//! Lays an export's actions over its destination's (semantics.md 17). It must not know what an action means.

use super::keys::{ACTION, ACTIONS};
use super::place::{Object, Place};

/// What is written about one action once both are laid together.
#[derive(Clone)]
pub(super) enum Wish<'a> {
    /// Nothing.
    Unwritten,
    /// Null: without this action.
    Off,
    /// `same_as_add`.
    SameAsAdd(Place<'a>),
    /// An object.
    Written(Place<'a>),
    /// Something else; it was reported.
    Wrong,
}

/// The three actions.
pub(super) struct Wishes<'a> {
    pub(super) add: Wish<'a>,
    pub(super) update: Wish<'a>,
    pub(super) remove: Wish<'a>,
}

/// Lays `top` (the export's `actions`) over `base` (the destination's).
pub(super) fn merge<'a>(base: Option<&Place<'a>>, top: Option<&Place<'a>>) -> Wishes<'a> {
    let base = base.and_then(|place| place.object(&ACTIONS));
    let top = top.and_then(|place| place.object(&ACTIONS));
    let wish = |name: &str| {
        let read = |object: &Option<Object<'a>>| object.as_ref().and_then(|object| object.written(name)).map_or(Wish::Unwritten, written);
        match (read(&base), read(&top)) {
            (base, Wish::Unwritten) => base,
            (Wish::Written(base), Wish::Written(top)) => Wish::Written(over(&base, &top, Level::Action)),
            (_, top) => top,
        }
    };
    Wishes { add: wish("add"), update: wish("update"), remove: wish("remove") }
}

fn written(place: Place<'_>) -> Wish<'_> {
    if place.is_null() {
        return Wish::Off;
    }
    match place.as_text() {
        Some("same_as_add") => Wish::SameAsAdd(place),
        Some(_) => {
            place.problem("expected an object, or the word `same_as_add` for update");
            Wish::Wrong
        }
        // Each side is looked through on its own, since a key that the other side replaces may be unknown too.
        None => place.object(&ACTION).map_or(Wish::Wrong, |object| Wish::Written(object.place().clone())),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    /// An action's own keys.
    Action,
    /// The keys of its `batch` and `query`.
    Inner,
    /// The names in its `headers`, whose case does not matter.
    Headers,
}

/// An object of both entries; null in `top` takes one away. It stands where `top` stands.
fn over<'a>(base: &Place<'a>, top: &Place<'a>, level: Level) -> Place<'a> {
    let same = |a: &str, b: &str| if level == Level::Headers { a.eq_ignore_ascii_case(b) } else { a == b };
    let mut entries = base.map().unwrap_or_default();
    for (name, value) in top.map().unwrap_or_default() {
        let at = entries.iter().position(|(other, _)| same(other, name));
        match at {
            Some(at) if value.is_null() => {
                entries.remove(at);
            }
            Some(at) => entries[at] = (name, inner(level, name, &entries[at].1, value)),
            None if value.is_null() => {}
            None => entries.push((name, value)),
        }
    }
    top.merged(entries)
}

/// Lists and bodies count as a whole; headers, query and batch are laid over each other key by key.
fn inner<'a>(level: Level, name: &str, base: &Place<'a>, top: Place<'a>) -> Place<'a> {
    let deeper = match (level, name) {
        (Level::Action, "headers") => Level::Headers,
        (Level::Action, "query" | "batch") => Level::Inner,
        _ => return top,
    };
    if base.is_object() && top.is_object() { over(base, &top, deeper) } else { top }
}
