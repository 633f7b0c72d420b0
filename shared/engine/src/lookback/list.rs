//! The list of deliveries: which index answers a filter, and what of it fits.
//!
//! A delivery that was tried stands in the list once, at its newest attempt that fits; the newest comes first. Asked for a run, those
//! that were never tried follow, in the order of sending. What waits (`pending`, `retrying`, `held`) is listed run by run, the newest
//! run first, and so is what carried a row.

use super::cursor::{Cursor, LATEST_MS, Position, Within};
use super::delivery::{self, Delivery, DeliveryStatus, Owed};
use super::filter::{Filter, LookError};
use super::merge::{Merge, Reached, Step};
use super::reading::{Reading, Tried};
use super::source::{Source, wants_errand};
use crate::judge::Class;
use crate::keys;
use crate::model::name::Name;
use crate::port::{Index, Objects, PortError, Store};
use crate::run::document::{Listing, Run, Status};
use std::sync::Arc;

/// Clocks of planner and sender may differ by this much, microseconds.
const CLOCK_MARGIN: u64 = 60_000_000;
/// So many runs are read of a list at once.
const RUNS_AT_ONCE: usize = 200;
/// After so many runs that are not asked for, the page ends.
const MOST_RUNS: usize = 4000;

/// What a page has gathered.
pub(super) struct Gathered {
    limit: usize,
    found: Vec<(Cursor, Delivery)>,
    /// Where the list goes on, if the page ended before it was full.
    pub pause: Option<Cursor>,
}

impl Gathered {
    fn new(limit: usize) -> Gathered {
        Gathered { limit, found: Vec::new(), pause: None }
    }

    /// One more than asked for says that more follows.
    pub fn is_over(&self) -> bool {
        self.found.len() > self.limit || self.pause.is_some()
    }

    /// The deliveries, and where the list goes on.
    fn end(mut self) -> (Vec<Delivery>, Option<Cursor>) {
        let more = self.found.len() > self.limit;
        self.found.truncate(self.limit);
        let next = match more {
            true => self.found.last().map(|(cursor, _)| cursor.clone()),
            false => self.pause,
        };
        (self.found.into_iter().map(|(_, delivery)| delivery).collect(), next)
    }
}

/// A list that is being read for one page.
pub(super) struct List<'a, S, O> {
    pub reading: Reading<'a, S, O>,
    pub filter: &'a Filter,
    pub gathered: Gathered,
}

/// Deliveries behind `from`, at most `limit`, and where the list goes on.
pub(super) async fn page<S: Store, O: Objects>(
    reading: Reading<'_, S, O>,
    filter: &Filter,
    from: Cursor,
    limit: usize,
) -> Result<(Vec<Delivery>, Option<Cursor>), LookError> {
    let Filter { run, export, destination, status, row, rule, event, .. } = filter;
    if row.is_some() && run.is_none() && export.is_none() && destination.is_none() {
        return Err(LookError::Refused("`row` needs `run`, `export` or `destination`".to_string()));
    }
    let mut list = List { reading, filter, gathered: Gathered::new(limit) };
    match (run, status) {
        (_, Some(DeliveryStatus::Sending)) => {}
        (Some(run), _) => {
            if let Some(run) = list.reading.run(run).await?.filter(|run| wants(filter, run)) {
                list.of_run(&run, None, from.within).await?;
            }
        }
        (None, status) if event.is_some() || row.is_some() || status.is_some_and(waits) => list.one_by_one(from).await?,
        (None, _) => {
            let scope = match (export, rule, destination) {
                (Some(export), ..) => Scope::Export(export),
                (None, Some(rule), _) => Scope::Rule(rule),
                (None, None, Some(destination)) => Scope::Destination(destination),
                (None, None, None) => Scope::All,
            };
            list.tried(scope, None, None, from.within).await?;
        }
    }
    Ok(list.gathered.end())
}

/// Whose attempts are looked through.
#[derive(Clone, Copy)]
enum Scope<'a> {
    Destination(&'a Name),
    Export(&'a Name),
    Rule(&'a Name),
    All,
}

impl Scope<'_> {
    fn index(self) -> Index {
        match self {
            Scope::Destination(_) => Index::First,
            Scope::Export(_) | Scope::Rule(_) => Index::Second,
            Scope::All => Index::Third,
        }
    }

    fn partition(self, organization: &Name, (class, last): Kind) -> String {
        match self {
            Scope::Destination(destination) => keys::attempts_of_destination(organization, destination, class, last),
            Scope::Export(export) => keys::attempts_of_export(organization, export.as_str(), class, last),
            Scope::Rule(rule) => keys::attempts_of_rule(organization, rule, class, last),
            Scope::All => keys::attempts(organization, class, last),
        }
    }
}

/// What the partitions of the indexes hold apart: the class, and whether it was the last try.
type Kind = (Class, bool);

/// The kinds that a delivery's newest fitting attempt can have. Where nothing asks for older attempts, that is its newest one.
fn kinds(Filter { class, status, since_ms, until_ms, .. }: &Filter) -> Vec<Kind> {
    let all = || Class::ALL.into_iter().flat_map(|class| [(class, true), (class, false)]);
    match (class, status) {
        (Some(class), _) => vec![(*class, true), (*class, false)],
        (None, None) => all().collect(),
        (None, Some(DeliveryStatus::Succeeded)) if since_ms.is_some() || until_ms.is_some() => all().collect(),
        (None, Some(status)) if until_ms.is_none() => delivery::newest_of(*status).collect(),
        (None, Some(_)) => all().filter(|(class, _)| *class != Class::Success).collect(),
    }
}

/// Whether a delivery with this status is owed by a run that goes on.
fn waits(status: DeliveryStatus) -> bool {
    matches!(status, DeliveryStatus::Pending | DeliveryStatus::Retrying | DeliveryStatus::Held)
}

/// Whether deliveries of a run can fit at all.
fn wants(filter: &Filter, run: &Run) -> bool {
    let Filter { export, destination, status, rule, event, .. } = filter;
    run.parcels > 0
        && rule.is_none()
        && event.is_none()
        && export.as_ref().is_none_or(|export| *export == run.export)
        && destination.as_ref().is_none_or(|destination| *destination == run.destination)
        && may_have(filter, run.started_at, run.finished_at, run.status)
        && match status {
            // What has delivered all its rows has no other delivery.
            Some(DeliveryStatus::Failed | DeliveryStatus::Exhausted | DeliveryStatus::Canceled) => run.status != Status::Succeeded,
            _ => true,
        }
}

fn wants_source(filter: &Filter, source: &Source) -> bool {
    match source {
        Source::Run(run) => wants(filter, run),
        Source::Errand(errand) => wants_errand(filter, errand),
    }
}

/// Whether a run with these times and this status can have attempts of the filter's time, and deliveries of its status.
fn may_have(Filter { status, since_ms, until_ms, .. }: &Filter, started_at: u64, finished_at: Option<u64>, of_run: Status) -> bool {
    let finished_at = finished_at.filter(|_| of_run.has_ended()).unwrap_or(u64::MAX);
    until_ms.is_none_or(|until| started_at.saturating_sub(CLOCK_MARGIN) / 1000 < until)
        && since_ms.is_none_or(|since| finished_at.saturating_add(CLOCK_MARGIN) / 1000 >= since)
        && match status {
            Some(status) if waits(*status) => !of_run.has_ended(),
            Some(DeliveryStatus::Canceled) => of_run.has_ended(),
            _ => true,
        }
}

impl<S: Store, O: Objects> List<'_, S, O> {
    /// Deliveries run by run, then errand by errand; only where there can be some.
    async fn one_by_one(&mut self, from: Cursor) -> Result<(), PortError> {
        let Filter { export, rule, event, row, .. } = self.filter;
        let (runs, errands) = (rule.is_none() && event.is_none(), export.is_none() && row.is_none());
        let from = match from {
            Cursor { within: Within::Errand(place), .. } => Some(place),
            from => {
                if runs {
                    self.run_by_run(from).await?;
                }
                None
            }
        };
        if errands && !self.gathered.is_over() {
            self.errands(from).await?;
        }
        Ok(())
    }

    /// Deliveries run by run, the newest run first.
    async fn run_by_run(&mut self, from: Cursor) -> Result<(), PortError> {
        let organization = self.reading.look.organization;
        let (index, partition) = match (&self.filter.export, &self.filter.destination) {
            (Some(export), _) => (Index::First, keys::runs_of_export(organization, export)),
            (None, Some(destination)) => (Index::Second, keys::runs_of_destination(organization, destination)),
            (None, None) => (Index::Third, keys::runs(organization)),
        };
        // Behind the run that the cursor names, or with it if it was not given to its end.
        let mut end = match (from.run, &from.within) {
            (Some(run), Within::End) => run,
            (Some(run), _) => format!("{run}\0"),
            (None, _) => "~".to_string(),
        };
        let mut within = Some(from.within).filter(|within| *within != Within::End);
        let mut skipped = 0;
        loop {
            let listed = self.reading.index(index, &partition, ""..&end, RUNS_AT_ONCE).await?;
            let is_last = listed.len() < RUNS_AT_ONCE;
            for entry in listed {
                let from = within.take().unwrap_or_default();
                let listing = Listing::parse(&entry.summary);
                let started_at = keys::parse_run_sort(&entry.sort).map_or(0, |(started_at, _)| started_at);
                let may_have =
                    |listing: Listing| listing.parcels > 0 && may_have(self.filter, started_at, listing.finished_at, listing.status);
                if listing.is_none_or(may_have)
                    && let Some(run) = self.reading.run(&entry.key.sort).await?.filter(|run| wants(self.filter, run))
                {
                    self.of_run(&run, Some(&entry.sort), from).await?;
                    skipped = 0;
                }
                if self.gathered.is_over() {
                    return Ok(());
                }
                skipped += 1;
                if self.reading.is_spent() || skipped > MOST_RUNS {
                    self.gathered.pause = Some(Cursor { run: Some(entry.sort), within: Within::End });
                    return Ok(());
                }
                end = entry.sort;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// The deliveries of one run. `place` is where the list of runs has it, if the list goes run by run.
    async fn of_run(&mut self, run: &Arc<Run>, place: Option<&str>, from: Within) -> Result<(), PortError> {
        match from {
            Within::Start | Within::Places(_) if self.filter.row.is_some() => return self.of_row(run, place, from).await,
            Within::Start | Within::Attempt(_) if self.filter.status != Some(DeliveryStatus::Pending) => {
                self.tried(Scope::Export(&run.export), Some(run), place, from).await?;
                if self.gathered.is_over() {
                    return Ok(());
                }
                self.untried(run, place, None).await
            }
            Within::Start | Within::Attempt(_) | Within::Places(_) => self.untried(run, place, None).await,
            Within::Errand(_) => Ok(()),
            Within::Untried(parcel, index) => self.untried(run, place, Some((parcel, index))).await,
            Within::End => Ok(()),
        }
    }

    /// Deliveries that were tried, of one run or of all.
    async fn tried(&mut self, scope: Scope<'_>, run: Option<&Arc<Run>>, place: Option<&str>, from: Within) -> Result<(), PortError> {
        let kinds = kinds(self.filter);
        let partitions = kinds.iter().map(|kind| scope.partition(self.reading.look.organization, *kind)).collect();
        // A run's attempts lie between its start and its end.
        let ended_at = run.filter(|run| run.status.has_ended()).and_then(|run| run.finished_at);
        let latest_ms = ended_at.map_or(LATEST_MS, |at| at.saturating_add(CLOCK_MARGIN) / 1000).min(LATEST_MS);
        let earliest_ms = run.map_or(0, |run| run.started_at.saturating_sub(CLOCK_MARGIN) / 1000);
        let since_ms = self.filter.since_ms.unwrap_or(0).clamp(earliest_ms, LATEST_MS);
        let Some(latest_ms) = self.filter.until_ms.unwrap_or(u64::MAX).checked_sub(1).map(|until| until.min(latest_ms)) else {
            return Ok(());
        };
        let position = match from {
            Within::Attempt(position) => position,
            _ => Position::at_or_before(latest_ms),
        };
        let mut merge = Merge::new(scope.index(), partitions, position, since_ms, run.map(|run| run.id.clone()));
        let filter = self.filter;
        loop {
            let position = match merge.step(&mut self.reading, &|source| wants_source(filter, source)).await? {
                Step::End => return Ok(()),
                Step::Attempt(reached) if reached.position.0 < since_ms => return Ok(()),
                Step::Attempt(reached) => {
                    let position = reached.position.clone();
                    self.reached(reached, &kinds, place).await?;
                    if self.gathered.is_over() {
                        return Ok(());
                    }
                    if !self.reading.is_spent() {
                        continue;
                    }
                    position
                }
                Step::Pause(position) => position,
            };
            self.gathered.pause = Some(Cursor { run: place.map(str::to_string), within: Within::Attempt(position) });
            return Ok(());
        }
    }

    /// Takes the delivery of an attempt, if that is its newest one that fits.
    async fn reached(&mut self, reached: Reached, kinds: &[Kind], place: Option<&str>) -> Result<(), PortError> {
        let Position(_, id, parcel, index, _) = &reached.position;
        let Some(source) = self.reading.source(id).await? else { return Ok(()) };
        let tried = self.reading.attempts(id, *parcel, *index).await?;
        let fitting = tried.iter().filter(|tried| kinds.contains(&(tried.class, tried.record.last)) && self.fits(tried));
        let newest = fitting.map(|tried| (tried.record.started_ms, tried.record.number, &tried.segment)).max();
        if newest != Some((reached.position.0, reached.position.4, &reached.segment)) {
            return Ok(());
        }
        let cursor = Cursor { run: place.map(str::to_string), within: Within::Attempt(reached.position.clone()) };
        self.gather(&source, (*parcel, *index), &tried, cursor).await
    }

    /// Whether an attempt is of the class and the time that are asked for.
    pub(super) fn fits(&self, tried: &Tried) -> bool {
        let Filter { class, since_ms, until_ms, .. } = self.filter;
        class.is_none_or(|class| class == tried.class)
            && since_ms.is_none_or(|since| tried.record.started_ms >= since)
            && until_ms.is_none_or(|until| tried.record.started_ms < until)
    }

    /// Takes a delivery, if it stands as is asked for.
    pub(super) async fn gather(
        &mut self,
        source: &Source,
        (parcel, index): (u32, u32),
        tried: &[Tried],
        cursor: Cursor,
    ) -> Result<(), PortError> {
        let paused = self.reading.look.paused.contains(source.destination());
        if self.filter.status.is_some_and(|status| status != delivery::status_of(tried, source.status(), paused)) {
            return Ok(());
        }
        let delivery = match source {
            Source::Errand(errand) => Delivery::of_errand(errand, paused, tried),
            Source::Run(run) => {
                let Some(keys) = self.reading.row_keys(run, parcel, index).await? else { return Ok(()) };
                let Some(place) = self.reading.place(run, parcel).await? else { return Ok(()) };
                Delivery::of(Owed { run, place: &place, index, keys: &keys, paused }, tried)
            }
        };
        self.gathered.found.push((cursor, delivery));
        Ok(())
    }

    /// Deliveries of a run that were never tried, in the order of sending.
    async fn untried(&mut self, run: &Arc<Run>, place: Option<&str>, from: Option<(u32, u32)>) -> Result<(), PortError> {
        let Filter { class, status, since_ms, until_ms, .. } = self.filter;
        let paused = self.reading.look.paused.contains(&run.destination);
        let fits = class.is_none() && since_ms.is_none() && until_ms.is_none();
        if !fits || status.is_some_and(|status| status != delivery::status_of(&[], run.status, paused)) {
            return Ok(());
        }
        for parcel in self.reading.unfinished(run).await? {
            if from.is_some_and(|(first, _)| parcel < first) {
                continue;
            }
            let Some(deliveries) = self.reading.place(run, parcel).await?.map(|place| place.deliveries) else { return Ok(()) };
            let tried = self.reading.tried(&run.id, parcel, deliveries).await?;
            let cursor = |index| Cursor { run: place.map(str::to_string), within: Within::Untried(parcel, index) };
            for index in (0..deliveries).filter(|index| !tried[*index as usize]) {
                if from.is_some_and(|from| (parcel, index) <= from) {
                    continue;
                }
                self.gather(&Source::Run(Arc::clone(run)), (parcel, index), &[], cursor(index)).await?;
                if self.gathered.is_over() {
                    return Ok(());
                }
            }
            if self.reading.is_spent() {
                self.gathered.pause = Some(cursor(u32::MAX));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Deliveries of a run that carry the row that is asked for, in the order of sending.
    async fn of_row(&mut self, run: &Arc<Run>, place: Option<&str>, from: Within) -> Result<(), PortError> {
        let given = if let Within::Places(given) = from { given } else { 0 };
        let row = self.filter.row.as_deref().unwrap_or_default();
        let timed = self.filter.class.is_some() || self.filter.since_ms.is_some() || self.filter.until_ms.is_some();
        for (count, (parcel, index)) in self.reading.deliveries_of_row(run, row).await?.into_iter().enumerate().skip(given) {
            let tried = self.reading.attempts(&run.id, parcel, index).await?;
            if timed && !tried.iter().any(|tried| self.fits(tried)) {
                continue;
            }
            let cursor = Cursor { run: place.map(str::to_string), within: Within::Places(count + 1) };
            self.gather(&Source::Run(Arc::clone(run)), (parcel, index), &tried, cursor).await?;
            if self.gathered.is_over() {
                return Ok(());
            }
        }
        Ok(())
    }
}
