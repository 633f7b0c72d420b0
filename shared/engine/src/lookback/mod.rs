//! Looking back: runs, deliveries and attempts, read from the log and the plans. It must not change anything.
//!
//! However much there is, a page is a bounded number of index ranges, segments and parts of plans: see `list`.

mod cursor;
mod delivery;
mod errands;
mod filter;
mod list;
mod merge;
mod reading;
mod source;

pub use delivery::{Attempt, Delivery, DeliveryStatus};
pub use filter::{Filter, LookError, PageOf, RunFilter};

use crate::deliver::order::parse_delivery_id;
use crate::keys;
use crate::model::name::Name;
use crate::port::{Index, Objects, PortError, Store};
use crate::record::page::{self, Line};
use crate::record::segment::Segment;
use crate::run::document::{self, Listing, Run};
use cursor::Cursor;
use delivery::Owed;
use reading::{Reading, Tried};
use source::Source;
use std::collections::{BTreeMap, BTreeSet};

/// The longest page.
const LONGEST_PAGE: usize = 1000;
/// So many runs are read of a list at once, and so many are looked at for one page.
const RUNS_AT_ONCE: usize = 200;
const MOST_RUNS: usize = 4000;

/// Reads the log of one organization.
#[derive(Debug)]
pub struct Lookback<'a, S, O> {
    /// Documents.
    pub store: &'a S,
    /// Pages and plans.
    pub objects: &'a O,
    /// Whose.
    pub organization: &'a Name,
    /// Destinations that are paused now: what waits for them is held.
    pub paused: &'a BTreeSet<Name>,
    /// Unix seconds.
    pub now: u64,
}

impl<S, O> Clone for Lookback<'_, S, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, O> Copy for Lookback<'_, S, O> {}

impl<S: Store, O: Objects> Lookback<'_, S, O> {
    /// Runs that the filter lets through, the newest first: at most `limit` (1 to 1,000), from behind the place `after`, which is
    /// the `next` of the page before.
    pub async fn runs(&self, filter: &RunFilter, after: Option<&str>, limit: usize) -> Result<PageOf<Run>, LookError> {
        let limit = limit.clamp(1, LONGEST_PAGE);
        let from: Option<String> = after.map(|after| cursor::read(after, self.organization, filter)).transpose()?;
        let (index, partition) = match (&filter.export, &filter.destination) {
            (Some(export), _) => (Index::First, keys::runs_of_export(self.organization, export)),
            (None, Some(destination)) => (Index::Second, keys::runs_of_destination(self.organization, destination)),
            (None, None) => (Index::Third, keys::runs(self.organization)),
        };
        let start = filter.since_ms.map_or(String::new(), |since| keys::run_sort(since.saturating_mul(1000), ""));
        let until = filter.until_ms.map_or("~".to_string(), |until| keys::run_sort(until.saturating_mul(1000), ""));
        let mut end = from.map_or(until.clone(), |from| from.min(until));
        let mut reading = Reading::new(*self);
        let mut found: Vec<(String, Run)> = Vec::new();
        let (mut looked_at, mut is_last) = (0, false);
        while found.len() <= limit && looked_at < MOST_RUNS && !is_last && !(reading.is_spent() && looked_at > 0) {
            let at_once = RUNS_AT_ONCE.min(limit + 1);
            let listed = reading.index(index, &partition, start.as_str()..&end, at_once).await?;
            is_last = listed.len() < at_once;
            for entry in listed {
                looked_at += 1;
                let status = Listing::parse(&entry.summary).map(|listing| listing.status);
                if filter.status.is_none_or(|wanted| status.is_none_or(|status| status == wanted))
                    && let Some(run) = reading.run(&entry.key.sort).await?
                    && filter.status.is_none_or(|wanted| wanted == run.status)
                    && filter.destination.as_ref().is_none_or(|destination| *destination == run.destination)
                {
                    found.push((entry.sort.clone(), Run::clone(&run)));
                }
                end = entry.sort;
            }
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = match found.last() {
            Some((sort, _)) if more => Some(sort.clone()),
            _ => Some(end).filter(|_| !is_last),
        };
        let next = next.map(|next| cursor::write(&next, self.organization, filter));
        Ok(PageOf { items: found.into_iter().map(|(_, run)| run).collect(), next })
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, PortError> {
        Ok(document::read(self.store, self.organization, id, self.now).await?.map(|(run, _)| run))
    }

    /// Deliveries that the filter lets through: at most `limit` (1 to 1,000), from behind the place `after`, which is the `next` of
    /// the page before.
    ///
    /// A delivery stands in the list once. What was tried comes in the order of its newest attempt that fits, the newest first. With
    /// `run`, what was never tried follows, in the order of sending. What waits (`pending`, `retrying`, `held`) and what carried a
    /// `row` is listed run by run, the newest run first; then, and with `event`, errand by errand, the newest event first.
    pub async fn deliveries(&self, filter: &Filter, after: Option<&str>, limit: usize) -> Result<PageOf<Delivery>, LookError> {
        let from = after.map(|after| cursor::read::<Cursor>(after, self.organization, filter)).transpose()?.unwrap_or_default();
        let (items, next) = list::page(Reading::new(*self), filter, from, limit.clamp(1, LONGEST_PAGE)).await?;
        Ok(PageOf { items, next: next.map(|next| cursor::write(&next, self.organization, filter)) })
    }

    /// One delivery with its request as rendered and all responses.
    pub async fn delivery(&self, id: &str) -> Result<Option<Delivery>, PortError> {
        let Some((run, parcel, index)) = parse_delivery_id(id) else { return Ok(None) };
        let mut reading = Reading::new(*self);
        let Some(source) = reading.source(&run).await? else { return Ok(None) };
        let (tried, lines) = self.lines(&run, parcel, index).await?;
        let paused = self.paused.contains(source.destination());
        let mut delivery = match &source {
            Source::Errand(errand) => Delivery::of_errand(errand, paused, &tried),
            Source::Run(run) => {
                let Some(keys) = reading.row_keys(run, parcel, index).await? else { return Ok(None) };
                let Some(place) = reading.place(run, parcel).await? else { return Ok(None) };
                Delivery::of(Owed { run, place: &place, index, keys: &keys, paused }, &tried)
            }
        };
        for attempt in &mut delivery.attempts {
            if let Some(line) = lines.get(&attempt.number) {
                attempt.response = line.response.as_ref().and_then(|response| serde_json::to_value(response).ok());
                attempt.error = line.error.as_ref().map(|error| error.to_string());
            }
        }
        delivery.request = lines.values().next_back().and_then(|line| serde_json::to_value(&line.request).ok());
        Ok(Some(delivery))
    }

    /// The attempts of a delivery, from the first to the last, and by number what went over the wire.
    async fn lines(&self, run: &str, parcel: u32, index: u32) -> Result<(Vec<Tried>, BTreeMap<u32, Line<'static>>), PortError> {
        let (first, behind) = keys::segments_of(parcel);
        let partition = keys::run_partition(self.organization, run);
        let (mut tried, mut lines) = (Vec::new(), BTreeMap::new());
        for stored in self.store.list(&partition, &first..&behind, usize::MAX, self.now).await? {
            if keys::deliveries_of_segment(&stored.key.sort).is_some_and(|(first, last)| !(first..=last).contains(&index)) {
                continue;
            }
            let segment = Segment::decode(&stored.body).map_err(PortError::Failed)?;
            for record in segment.attempts.into_iter().filter(|record| record.index == index) {
                // A page that is gone or damaged takes nothing from what the log says.
                let line = match &segment.page {
                    Some(name) => page::find_in(self.objects, name, parcel, index, record.number).await.ok().flatten(),
                    None if segment.inline_page.is_empty() => None,
                    None => page::find(&segment.inline_page, parcel, index, record.number).ok().flatten(),
                };
                lines.extend(line.map(|line| (record.number, line)));
                tried.push(Tried { class: segment.class, record, segment: stored.key.sort.clone() });
            }
        }
        tried.sort_by_key(|tried| (tried.record.number, tried.record.started_ms));
        Ok((tried, lines))
    }
}
