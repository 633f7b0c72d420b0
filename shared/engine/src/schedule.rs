//! Schedules: when exports run by themselves. One small document an export says when it fires next, and stands in an index by that
//! time. It must not plan a run.

use crate::keys;
use crate::lane::SECOND;
use crate::model::destination::Destination;
use crate::model::export::{Export, Schedule};
use crate::model::name::Name;
use crate::model::project::Project;
use crate::port::{Document, Expect, Index, IndexEntry, PortError, Store};
use crate::run::document::{Trigger, Wish};
use crate::run::request::{self, Ask, Refused};
use crate::run::work::Work;
use serde::{Deserialize, Serialize};

/// The index of firings is split, so that no part of a big table grows hot.
const PARTITIONS: u64 = 8;
/// So often a conditional write that was refused is tried again.
const TRIES: usize = 64;

/// The `firing` document of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// What it follows from.
    pub schedule: Schedule,
    /// Unix microseconds.
    pub next_at: u64,
}

/// An export that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose.
    pub organization: Name,
    /// The export.
    pub export: Name,
}

/// GL-09, GL-10: the export's own schedule, else as often as its destination says, else none.
pub fn schedule_of(export: &Export, destination: &Destination) -> Option<Schedule> {
    export.schedule.clone().or_else(|| destination.sync_frequency_seconds.map(Schedule::Every))
}

/// The first time after `now` at which a schedule fires that last fired (or began) at `last`; `None`: never again. Firings that were
/// missed between the two are not made up for one by one. All are Unix microseconds.
///
/// # Errors
/// The schedule cannot be read.
pub fn next_after(schedule: &Schedule, last: u64, now: u64) -> Result<Option<u64>, String> {
    match schedule {
        Schedule::Every(seconds) => {
            let every = seconds.max(&1) * SECOND;
            let missed = now.saturating_sub(last) / every;
            Ok(Some(last + (missed + 1) * every))
        }
        Schedule::Cron { expression, timezone } => {
            let cron = cronexpr::parse_crontab(&format!("{expression} {timezone}")).map_err(|e| e.to_string())?;
            let from = cronexpr::MakeTimestamp::from_second((now / SECOND) as i64).map_err(|e| e.to_string())?;
            // An expression that no date fits (February 30th) never fires.
            Ok(cron.find_next(from).ok().and_then(|next| u64::try_from(next.timestamp().as_microsecond()).ok()))
        }
    }
}

/// When an export fires next.
pub async fn read<S: Store>(store: &S, organization: &Name, export: &Name, now: u64) -> Result<Option<(Firing, u64)>, PortError> {
    let Some(stored) = store.get(&keys::firing(organization, export), now).await? else { return Ok(None) };
    let firing = serde_json::from_slice(&stored.body)
        .map_err(|e| PortError::Failed(format!("the schedule of export {export} cannot be read: {e}")))?;
    Ok(Some((firing, stored.version)))
}

/// Brings the firings of all exports of a project up to date: a schedule that is new or has changed begins now, so that it fires for the
/// first time one interval from now, or at the next time that its cron expression names; one that is as it was goes on.
pub async fn settle<S: Store>(store: &S, project: &Project, wall: u64) -> Result<(), PortError> {
    for export in project.exports.values() {
        let wanted = schedule_of(export, &project.destinations[&export.destination]);
        settle_one(store, &project.organization.id, &export.id, wanted, wall).await?;
    }
    Ok(())
}

async fn settle_one<S: Store>(store: &S, organization: &Name, export: &Name, wanted: Option<Schedule>, wall: u64) -> Result<(), PortError> {
    for _ in 0..TRIES {
        let found = read(store, organization, export, wall / SECOND).await?;
        let expect = found.as_ref().map_or(Expect::Absent, |(_, version)| Expect::At(*version));
        if found.as_ref().map(|(firing, _)| &firing.schedule) == wanted.as_ref() {
            return Ok(());
        }
        match put(store, organization, export, wanted.clone(), wall, wall, expect).await {
            Err(PortError::Conflict) => continue,
            other => return other,
        }
    }
    Err(PortError::Failed(format!("the schedule of export {export} changes without end")))
}

/// Writes when a schedule fires after `wall`, or takes the firing away.
async fn put<S: Store>(
    store: &S,
    organization: &Name,
    export: &Name,
    schedule: Option<Schedule>,
    last: u64,
    wall: u64,
    expect: Expect,
) -> Result<(), PortError> {
    let next = match &schedule {
        Some(schedule) => next_after(schedule, last, wall)
            .map_err(|e| PortError::Failed(format!("the schedule of export {export} cannot be followed: {e}")))?,
        None => None,
    };
    let key = keys::firing(organization, export);
    let (Some(schedule), Some(next_at)) = (schedule, next) else {
        return match expect {
            Expect::Absent => Ok(()),
            expect => store.delete(&key, expect, wall / SECOND).await,
        };
    };
    let name = format!("{organization}#{export}");
    let entry = IndexEntry {
        index: Index::First,
        partition: format!("fire#{}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()) % PARTITIONS),
        sort: format!("{:012}#{name}", next_at / SECOND),
        summary: name,
    };
    let body = serde_json::to_vec(&Firing { schedule, next_at }).expect("plain data always serializes");
    store.put(&key, Document { body, expires_at: None, index: vec![entry] }, expect, wall / SECOND).await.map(drop)
}

/// The exports that are due at `wall`, at most `limit` of each part of the index.
pub async fn due<S: Store>(store: &S, wall: u64, limit: usize) -> Result<Vec<Due>, PortError> {
    let until = format!("{:012}$", wall / SECOND);
    let mut due = Vec::new();
    for part in 0..PARTITIONS {
        let partition = format!("fire#{part}");
        let listed = store.list_index(Index::First, &partition, ""..&until, false, limit, wall / SECOND).await?;
        due.extend(listed.iter().filter_map(|entry| {
            let (organization, export) = entry.summary.split_once('#')?;
            Some(Due { organization: Name::new(organization).ok()?, export: Name::new(export).ok()? })
        }));
    }
    Ok(due)
}

/// What a firing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fired {
    /// This run was asked for.
    Started(Work),
    /// This run of the export is still going on, and is not doubled.
    Busy(String),
    /// There is no such export any more.
    Gone,
}

/// Asks for the run of an export that is due. `export`: as it is defined now; `run`: the run's id.
pub async fn fire<S: Store>(
    store: &S,
    due: &Due,
    export: Option<&Export>,
    run: &str,
    hash_seed: u64,
    wall: u64,
) -> Result<Fired, PortError> {
    let Some(export) = export else {
        forget(store, &due.organization, &due.export, wall / SECOND).await?;
        return Ok(Fired::Gone);
    };
    let wish = Wish { trigger: Trigger::Schedule, ..Wish::default() };
    let ask = Ask { organization: &due.organization, export: &export.id, destination: &export.destination, run, wish, hash_seed };
    match request::start(store, ask, wall).await? {
        Ok(_) => Ok(Fired::Started(Work::new(&due.organization, &export.id, run, wall))),
        Err(Refused::Busy(other)) => Ok(Fired::Busy(other)),
        Err(refused) => Err(PortError::Failed(format!("{run} cannot be started: {refused:?}"))),
    }
}

/// An export that was due has been dealt with at `wall`: it fires again at the next time after that.
pub async fn fired<S: Store>(store: &S, due: &Due, wall: u64) -> Result<(), PortError> {
    let Some((firing, version)) = read(store, &due.organization, &due.export, wall / SECOND).await? else { return Ok(()) };
    if firing.next_at > wall {
        return Ok(());
    }
    let (last, schedule) = (firing.next_at, Some(firing.schedule));
    match put(store, &due.organization, &due.export, schedule, last, wall, Expect::At(version)).await {
        // Someone else has moved it on.
        Err(PortError::Conflict) => Ok(()),
        other => other,
    }
}

/// An export that is gone fires no more.
pub async fn forget<S: Store>(store: &S, organization: &Name, export: &Name, now: u64) -> Result<(), PortError> {
    store.delete(&keys::firing(organization, export), Expect::Any, now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u64 {
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond() as u64
    }

    fn cron(expression: &str, timezone: &str) -> Schedule {
        Schedule::Cron { expression: expression.into(), timezone: timezone.into() }
    }

    #[test]
    fn an_interval_keeps_its_phase_and_a_missed_firing_counts_once() {
        let hourly = Schedule::Every(3600);
        let last = at("2026-03-01T10:05:00Z");
        for (now, next) in [
            ("2026-03-01T10:05:00Z", "2026-03-01T11:05:00Z"),
            ("2026-03-01T11:04:59Z", "2026-03-01T11:05:00Z"),
            ("2026-03-01T11:05:00Z", "2026-03-01T12:05:00Z"),
            ("2026-03-03T00:00:00Z", "2026-03-03T00:05:00Z"),
        ] {
            assert_eq!(next_after(&hourly, last, at(now)), Ok(Some(at(next))), "{now}");
        }
    }

    #[test]
    fn cron_counts_in_its_time_zone_over_the_change_of_clocks() {
        for (schedule, now, next) in [
            (cron("0 * * * *", "UTC"), "2026-03-01T10:05:00Z", "2026-03-01T11:00:00Z"),
            (cron("30 9 * * *", "Europe/Berlin"), "2026-03-28T12:00:00Z", "2026-03-29T07:30:00Z"),
            (cron("30 9 * * *", "Europe/Berlin"), "2026-03-27T12:00:00Z", "2026-03-28T08:30:00Z"),
            (cron("*/15 8-18 * * MON-FRI", "America/New_York"), "2026-07-04T00:00:00Z", "2026-07-06T12:00:00Z"),
        ] {
            assert_eq!(next_after(&schedule, 0, at(now)), Ok(Some(at(next))), "{schedule:?} after {now}");
        }
    }

    #[test]
    fn a_time_zone_that_nobody_knows_is_said() {
        assert!(next_after(&cron("0 * * * *", "Mars/Olympus"), 0, 0).is_err());
    }
}
