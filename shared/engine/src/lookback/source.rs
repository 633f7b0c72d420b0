//! What owed a delivery: a run of an export, or an errand of a rule. It must not read anything.

use super::filter::Filter;
use crate::event::errand::Errand;
use crate::model::name::Name;
use crate::run::document::{Run, Status};
use std::sync::Arc;

/// What owed a delivery.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A run.
    Run(Arc<Run>),
    /// An errand.
    Errand(Arc<Errand>),
}

impl Source {
    /// Where its deliveries go.
    pub fn destination(&self) -> &Name {
        match self {
            Source::Run(run) => &run.destination,
            Source::Errand(errand) => &errand.destination,
        }
    }

    /// Where what is not done stands. An errand is owed until it is done.
    pub fn status(&self) -> Status {
        match self {
            Source::Run(run) => run.status,
            Source::Errand(_) => Status::Delivering,
        }
    }
}

/// Whether an errand can fit.
pub(super) fn wants_errand(filter: &Filter, errand: &Errand) -> bool {
    let Filter { run, export, destination, rule, event, row, .. } = filter;
    run.is_none()
        && export.is_none()
        && row.is_none()
        && destination.as_ref().is_none_or(|destination| *destination == errand.destination)
        && rule.as_ref().is_none_or(|rule| *rule == errand.rule)
        && event.as_ref().is_none_or(|event| *event == errand.event.id)
}
