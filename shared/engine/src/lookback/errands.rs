//! Lists that go errand by errand, the newest event first: those of one event, and what waits. The attempts' indexes do not know what was
//! never tried.

use super::cursor::{Cursor, Within};
use super::filter::Filter;
use super::list::List;
use super::source::{Source, wants_errand};
use crate::keys;
use crate::port::{Index, Objects, PortError, Store};

/// So many errands are read of a list at once.
const ERRANDS_AT_ONCE: usize = 100;

impl<S: Store, O: Objects> List<'_, S, O> {
    /// Deliveries errand by errand, from behind the place `from`.
    pub(super) async fn errands(&mut self, from: Option<String>) -> Result<(), PortError> {
        let organization = self.reading.look.organization;
        let (index, partition) = match &self.filter.event {
            Some(event) => (Index::Second, keys::errands_of_event(organization, event)),
            None => (Index::Third, keys::errands(organization)),
        };
        let mut end = from.unwrap_or_else(|| keys::BEHIND_ALL.to_string());
        loop {
            let listed = self.reading.index(index, &partition, ""..&end, ERRANDS_AT_ONCE).await?;
            let is_last = listed.len() < ERRANDS_AT_ONCE;
            for entry in listed {
                if may_fit(self.filter, &entry.summary) {
                    self.errand(&entry.key.sort, &entry.sort).await?;
                }
                if self.gathered.is_over() {
                    return Ok(());
                }
                if self.reading.is_spent() {
                    self.gathered.pause = Some(Cursor { run: None, within: Within::Errand(entry.sort) });
                    return Ok(());
                }
                end = entry.sort;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn errand(&mut self, id: &str, place: &str) -> Result<(), PortError> {
        let Some(errand) = self.reading.errand(id).await?.filter(|errand| wants_errand(self.filter, errand)) else { return Ok(()) };
        let tried = self.reading.attempts(id, 0, 0).await?;
        let timed = self.filter.class.is_some() || self.filter.since_ms.is_some() || self.filter.until_ms.is_some();
        if timed && !tried.iter().any(|tried| self.fits(tried)) {
            return Ok(());
        }
        let cursor = Cursor { run: None, within: Within::Errand(place.to_string()) };
        self.gather(&Source::Errand(errand), (0, 0), &tried, cursor).await
    }
}

/// Whether an errand can fit, as far as its index entry tells.
fn may_fit(filter: &Filter, summary: &str) -> bool {
    let Some((rule, destination)) = summary.split_once(' ') else { return true };
    filter.rule.as_ref().is_none_or(|wanted| wanted.as_str() == rule)
        && filter.destination.as_ref().is_none_or(|wanted| wanted.as_str() == destination)
}
