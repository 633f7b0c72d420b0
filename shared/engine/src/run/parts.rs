//! A run whose model has more keys than one process may hold: its plan is made in parts, each of one share of the keys' hashes, side by
//! side, by whoever takes a part in hand. When all are there they are joined to one plan, and the run goes on as any other.
//!
//! What a part needs stands in the run's document, what it found in a document of its own, its rows in an object. A part that was begun
//! for an earlier round counts for nothing.

use super::document::{self, InvalidRow, LISTED_INVALID_ROWS, Run};
use super::work::{self, Part, Work};
use crate::keys;
use crate::model::export::Export;
use crate::model::name::Name;
use crate::model::project::Project;
use crate::plan::cut::Totals;
use crate::plan::guard::Counted;
use crate::port::{Document, Expect, Objects, PortError, Store, Write};
use crate::shape::Shape;
use serde::{Deserialize, Serialize};

/// The parts of the first round.
pub const FIRST: u32 = 4;
/// A round that turns out too coarse is followed by one of so many times as many parts.
pub const FINER: u32 = 4;
/// Never more parts than these.
pub const MOST: u32 = 256;

/// How a run's plan is split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Counts how often it was split.
    pub round: u32,
    /// How many parts there are.
    pub of: u32,
    /// The snapshot that all parts are compared with.
    pub snapshot: Vec<String>,
    /// The definitions that all parts are made of (see [`definitions`]).
    pub definitions: String,
    /// Where the rows lie that were staged for all parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
    /// With how many parts the next plan begins, once all are there; `None`: with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// What was found in the rows, by a part or in all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The names of the rows' fields.
    pub field_names: Vec<String>,
    /// Rows that the destination has, as far as is known.
    pub snapshot_rows: u64,
    /// Rows read.
    pub rows: u64,
    /// Rows that are new.
    pub added: u64,
    /// Rows that differ.
    pub changed: u64,
    /// Rows that are gone.
    pub removed: u64,
    /// Rows that cannot be used.
    pub invalid_rows: u64,
    /// Some of them: the first ones of each part.
    pub invalid: Vec<InvalidRow>,
    /// Whether removals were left out, since the key of some invalid row cannot be read.
    pub removals_wait: bool,
    /// Order-free sum of key and row hashes.
    #[serde(with = "hex")]
    pub checksum: u128,
    /// What the source was when it was read.
    pub source_version: Option<String>,
    /// What its plan holds.
    pub totals: Totals,
    /// The object with it.
    pub object: String,
}

impl Found {
    /// What guards look at.
    pub fn counted(&self) -> Counted {
        Counted { snapshot: self.snapshot_rows, rows: self.rows, removed: self.removed, invalid: self.invalid_rows }
    }

    /// What all of them found together. An error: they did not read the same source.
    pub fn together(parts: Vec<Found>) -> Result<Found, String> {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { return Ok(Found::default()) };
        for part in parts {
            if part.field_names != all.field_names {
                return Err("the rows' fields changed while they were read; run again".to_string());
            }
            all.snapshot_rows += part.snapshot_rows;
            all.rows += part.rows;
            all.added += part.added;
            all.changed += part.changed;
            all.removed += part.removed;
            all.invalid_rows += part.invalid_rows;
            all.invalid.extend(part.invalid);
            all.removals_wait |= part.removals_wait;
            all.checksum = all.checksum.wrapping_add(part.checksum);
            // Read at several times, a source is as it was at one of them only if it was the same at all.
            all.source_version = all.source_version.filter(|version| part.source_version.as_ref() == Some(version));
            all.totals.add(&part.totals);
        }
        all.invalid.truncate(LISTED_INVALID_ROWS);
        Ok(all)
    }
}

/// Changes with whatever decides what a part of an export's plan holds. Parts of different definitions are never joined.
pub fn definitions(project: &Project, export: &Export) -> String {
    let Export { first_run, ignore_in_diff, model, .. } = export;
    let model = &project.models[model];
    // Two secrets look alike here: with another password the rows are the same.
    let beside = format!("{first_run:?} {ignore_in_diff:?} {:?} {:?}", model.source, model.primary_key);
    format!("{}-{:016x}", Shape::of(project, export).version(), crate::plan::rows_by_key::hash(&beside))
}

/// With how many parts a plan of so many keys begins, where one holds `most`: one and a quarter times as many as fit exactly, since shares
/// differ. `None`: one is enough.
pub fn enough(keys: u64, most: usize) -> Option<u32> {
    let most = most as u64;
    let fits = |of: u32| keys + keys / 4 <= most.saturating_mul(of.into());
    if fits(1) {
        return None;
    }
    let mut of = FIRST;
    while !fits(of) && of < MOST {
        of *= FINER;
    }
    Some(of)
}

/// The name of an object for the plan of a part. `by` is a name that nobody else has: where two make the same part, neither writes what
/// the other's document tells of.
pub fn object(organization: &Name, run: &str, part: Part, by: &str) -> String {
    format!("{}{}.{}.{by}", keys::part_objects(organization, run), part.round, part.number)
}

/// Splits a run whose document is at `version`, and notes its parts as under way. `Conflict`: it was changed meanwhile.
pub async fn split<S: Store>(
    store: &S,
    organization: &Name,
    run: &mut Run,
    version: u64,
    split: Split,
    wall: u64,
) -> Result<(), PortError> {
    run.split = Some(split);
    document::write(store, organization, run, Expect::At(version), wall / 1_000_000).await?;
    note(store, organization, run, &missing(run, &[]), wall).await
}

/// Notes parts as under way, unless they are.
pub async fn note<S: Store>(store: &S, organization: &Name, run: &Run, parts: &[Part], wall: u64) -> Result<(), PortError> {
    let writes = parts.iter().map(|part| {
        let work = Work { part: Some(*part), ..Work::new(organization, &run.export, &run.id, wall) };
        Write::Put(work.key(), work.document(), Expect::Absent)
    });
    for answer in store.write(writes.collect(), wall / 1_000_000).await? {
        match answer {
            Ok(_) | Err(PortError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Keeps what a part found. Where two make the same part, the later one counts.
pub async fn keep<S: Store>(store: &S, organization: &Name, run: &str, part: Part, found: &Found, now: u64) -> Result<(), PortError> {
    let body = serde_json::to_vec(found).expect("plain data always serializes");
    store.put(&keys::part(organization, run, part), Document { body, ..Document::default() }, Expect::Any, now).await.map(drop)
}

/// What the parts of a run's round have found so far.
pub async fn found<S: Store>(store: &S, organization: &Name, run: &Run, now: u64) -> Result<Vec<(Part, Found)>, PortError> {
    let Some(split) = &run.split else { return Ok(Vec::new()) };
    let (from, to) = keys::parts_of_round(split.round);
    let stored = store.list(&keys::run_partition(organization, &run.id), from.as_str()..&to, usize::MAX, now).await?;
    let mut all = Vec::with_capacity(stored.len());
    for stored in stored {
        let wrong = || PortError::Failed(format!("a part of the plan of {} cannot be read", run.id));
        let part = keys::parse_part(&stored.key.sort).ok_or_else(wrong)?;
        all.push((part, serde_json::from_slice(&stored.body).map_err(|_| wrong())?));
    }
    Ok(all)
}

/// The parts of a run's round that have found nothing yet.
pub fn missing(run: &Run, found: &[(Part, Found)]) -> Vec<Part> {
    let Some(split) = &run.split else { return Vec::new() };
    let all = (0..split.of).map(|number| Part { round: split.round, number });
    all.filter(|part| !found.iter().any(|(there, _)| there == part)).collect()
}

/// Deletes what one part kept: it came too late.
pub async fn drop_one<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    run: &str,
    part: Part,
    found: &Found,
    now: u64,
) -> Result<(), PortError> {
    store.delete(&keys::part(organization, run, part), Expect::Any, now).await?;
    objects.delete(&found.object).await
}

/// Deletes what the parts of a run left, of all rounds.
pub async fn forget<S: Store, O: Objects>(store: &S, objects: &O, organization: &Name, run: &Run, now: u64) -> Result<(), PortError> {
    if run.split.is_none() {
        return Ok(());
    }
    let (from, to) = keys::ALL_PARTS;
    let stored = store.list(&keys::run_partition(organization, &run.id), from..to, usize::MAX, now).await?;
    let parts: Vec<Part> = stored.iter().filter_map(|stored| keys::parse_part(&stored.key.sort)).collect();
    let notes = parts.iter().map(|part| keys::work(organization, &work::name(&run.id, Some(*part))));
    let keys: Vec<_> = stored.iter().map(|stored| stored.key.clone()).chain(notes).collect();
    for name in objects.list(&keys::part_objects(organization, &run.id)).await? {
        objects.delete(&name).await?;
    }
    for answer in store.write(keys.into_iter().map(|key| Write::Delete(key, Expect::Any)).collect(), now).await? {
        answer?;
    }
    Ok(())
}

/// JSON has no numbers of 128 bits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(number: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(from)?, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_begins_with_as_many_parts_as_hold_its_keys() {
        let table = [(0, None), (80, None), (81, Some(4)), (320, Some(4)), (321, Some(16)), (5_121, Some(256)), (u64::MAX / 2, Some(256))];
        for (keys, parts) in table {
            assert_eq!(enough(keys, 100), parts, "{keys} keys");
        }
    }
}
