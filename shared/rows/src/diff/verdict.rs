//! What a row's presence or absence means, given what the snapshot remembers of it. Nothing else; it must not see rows.

use engine::model::change::{ChangeKind, EntryState};

/// The change that a present row is, if any; `same`: its fields are those that the entry speaks of.
pub(crate) fn present(state: EntryState, same: bool) -> Option<ChangeKind> {
    use EntryState::*;
    match state {
        Delivered | Skipped | GivenUpChange => (!same).then_some(ChangeKind::Changed),
        // What was tried last may have arrived or not: it is sent again either way.
        UncertainChange => Some(ChangeKind::Changed),
        UncertainAdd | UncertainRemove | GivenUpRemove | Gone => Some(ChangeKind::Added),
        GivenUpAdd => (!same).then_some(ChangeKind::Added),
    }
}

/// Whether an absent row is to be removed; `uncertain`: whether fields of an attempt with an unknown outcome are there.
pub(crate) fn absent(state: EntryState, uncertain: bool) -> bool {
    use EntryState::*;
    match state {
        Delivered | Skipped | UncertainAdd | UncertainChange | UncertainRemove | GivenUpChange => true,
        GivenUpAdd => uncertain,
        GivenUpRemove | Gone => false,
    }
}

/// Whether whoever handles the change needs the fields that the snapshot holds.
pub(crate) fn needs_fields(state: EntryState, kind: ChangeKind, want_previous: bool) -> bool {
    use EntryState::*;
    match state {
        Delivered | Skipped => want_previous && kind == ChangeKind::Changed,
        _ => true,
    }
}
