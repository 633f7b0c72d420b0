//! Looking back: runs, deliveries and attempts, read from the log and the plans. It must not change anything.

mod delivery;
mod filter;

pub use delivery::{Attempt, Delivery, DeliveryStatus};
pub use filter::{Filter, LookError, PageOf, RunFilter};

use crate::deliver::order::{delivery_id, parse_delivery_id};
use crate::judge::Class;
use crate::keys;
use crate::model::name::Name;
use crate::plan::block::{self, Directory, PlannedRow};
use crate::port::{Index, Objects, PortError, Store, Stored};
use crate::record::page::{self, Line};
use crate::record::segment::{AttemptRecord, Segment};
use crate::run::document::{self, Run};
use delivery::{attempt, status_of};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;

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

struct Opened {
    run: Run,
    directory: Directory,
    file: File,
}

impl<S: Store, O: Objects> Lookback<'_, S, O> {
    /// Runs that the filter lets through, the newest first: at most `limit`, from behind the place `after`.
    pub async fn runs(&self, filter: &RunFilter, after: Option<&str>, limit: usize) -> Result<PageOf<Run>, LookError> {
        let (index, partition) = match (&filter.export, &filter.destination) {
            (Some(export), _) => (Index::First, keys::runs_of_export(self.organization, export)),
            (None, Some(destination)) => (Index::Second, keys::runs_of_destination(self.organization, destination)),
            (None, None) => (Index::Third, keys::runs(self.organization)),
        };
        let mut runs = Vec::new();
        for listed in self.store.list_index(index, &partition, ""..after.unwrap_or("~"), true, limit, self.now).await? {
            if let Some((run, _)) = document::read(self.store, self.organization, &listed.key.sort, self.now).await? {
                runs.push(run);
            }
        }
        Ok(PageOf { items: runs, next: None })
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, PortError> {
        Ok(document::read(self.store, self.organization, id, self.now).await?.map(|(run, _)| run))
    }

    /// Deliveries that the filter lets through: at most `limit`, from behind the place `after`.
    pub async fn deliveries(&self, filter: &Filter, after: Option<&str>, limit: usize) -> Result<PageOf<Delivery>, LookError> {
        let mut found = Vec::new();
        let runs = match &filter.run {
            Some(run) => self.run(run).await?.into_iter().collect(),
            None => {
                let of = RunFilter { export: filter.export.clone(), ..RunFilter::default() };
                self.runs(&of, None, usize::MAX).await?.items
            }
        };
        for run in runs {
            let fits = filter.export.as_ref().is_none_or(|export| *export == run.export)
                && filter.destination.as_ref().is_none_or(|destination| *destination == run.destination);
            if !fits || run.parcels == 0 {
                continue;
            }
            found.extend(self.of_run(run, filter, usize::MAX).await?);
        }
        let from = after.and_then(|after| found.iter().position(|delivery| delivery.id == after)).map_or(0, |place| place + 1);
        let mut items: Vec<Delivery> = found.into_iter().skip(from).take(limit.saturating_add(1)).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(PageOf { next: items.last().filter(|_| more).map(|delivery| delivery.id.clone()), items })
    }

    async fn of_run(&self, run: Run, filter: &Filter, limit: usize) -> Result<Vec<Delivery>, PortError> {
        let mut attempts: BTreeMap<(u32, u32), Vec<(Class, AttemptRecord)>> = BTreeMap::new();
        for stored in self.segments(&run.id, keys::ALL_SEGMENTS).await? {
            let Some(parcel) = keys::parcel_of_segment(&stored.key.sort) else { continue };
            let segment = Segment::decode(&stored.body).map_err(PortError::Failed)?;
            for record in segment.attempts {
                attempts.entry((parcel, record.index)).or_default().push((segment.class, record));
            }
        }
        let mut opened = self.open(run).await?;
        let wants_untried = (filter.run.is_some() || filter.row.is_some()) && filter.class.is_none() && filter.since_ms.is_none();
        let mut places: Vec<(u32, u32)> = match wants_untried {
            true => opened.directory.parcels.iter().flat_map(|place| (0..place.deliveries).map(|index| (place.number, index))).collect(),
            false => attempts.keys().copied().collect(),
        };
        if !wants_untried {
            places.sort_by_key(|place| std::cmp::Reverse(attempts[place].iter().map(|(_, record)| record.started_ms).max()));
        }
        let mut found = Vec::new();
        let mut blocks: HashMap<u32, Vec<Vec<PlannedRow>>> = HashMap::new();
        for (parcel, index) in places {
            if found.len() >= limit {
                break;
            }
            let mut of_delivery = attempts.remove(&(parcel, index)).unwrap_or_default();
            of_delivery.sort_by_key(|(_, record)| (record.number, record.started_ms));
            let fits = filter.class.is_none_or(|class| of_delivery.iter().any(|(other, _)| *other == class))
                && filter.since_ms.is_none_or(|since| of_delivery.iter().any(|(_, record)| record.started_ms >= since))
                && filter.until_ms.is_none_or(|until| of_delivery.iter().any(|(_, record)| record.started_ms < until))
                && filter
                    .status
                    .is_none_or(|status| status == status_of(&of_delivery, &opened.run, self.paused.contains(&opened.run.destination)));
            if !fits {
                continue;
            }
            if !blocks.contains_key(&parcel) {
                // Deliveries come mostly parcel by parcel; a few unpacked ones are enough.
                if blocks.len() > 8 {
                    blocks.clear();
                }
                blocks.insert(parcel, opened.rows_of(parcel)?);
            }
            let Some(rows) = blocks[&parcel].get(index as usize) else { continue };
            if filter.row.as_ref().is_some_and(|key| !rows.iter().any(|row| row.key == *key)) {
                continue;
            }
            found.push(opened.delivery(parcel, index, rows, &of_delivery));
        }
        Ok(found)
    }

    /// One delivery with its request as rendered and all responses.
    pub async fn delivery(&self, id: &str) -> Result<Option<Delivery>, PortError> {
        let Some((run, parcel, index)) = parse_delivery_id(id) else { return Ok(None) };
        let Some(run) = self.run(&run).await? else { return Ok(None) };
        let mut opened = self.open(run).await?;
        if opened.directory.parcels.get(parcel as usize).is_none_or(|place| index >= place.deliveries) {
            return Ok(None);
        }
        let (first, behind) = keys::segments_of(parcel);
        let mut of_delivery = Vec::new();
        let mut lines: BTreeMap<u32, Line<'static>> = BTreeMap::new();
        for stored in self.segments(&opened.run.id, (&first, &behind)).await? {
            let segment = Segment::decode(&stored.body).map_err(PortError::Failed)?;
            let own: Vec<AttemptRecord> = segment.attempts.iter().filter(|record| record.index == index).cloned().collect();
            if own.is_empty() {
                continue;
            }
            let page = match &segment.page {
                Some(name) => self.objects.get(name, None).await.ok(),
                None => (!segment.inline_page.is_empty()).then_some(segment.inline_page),
            };
            for record in own {
                if let Some(line) = page.as_ref().and_then(|page| page::find(page, parcel, index, record.number).ok().flatten()) {
                    lines.insert(record.number, line);
                }
                of_delivery.push((segment.class, record));
            }
        }
        of_delivery.sort_by_key(|(_, record)| (record.number, record.started_ms));
        let rows = opened.rows_of(parcel)?;
        let mut delivery = opened.delivery(parcel, index, &rows[index as usize], &of_delivery);
        for attempt in &mut delivery.attempts {
            if let Some(line) = lines.get(&attempt.number) {
                attempt.response = line.response.as_ref().and_then(|response| serde_json::to_value(response).ok());
                attempt.error = line.error.as_ref().map(|error| error.to_string());
            }
        }
        delivery.request = lines.values().next_back().and_then(|line| serde_json::to_value(&line.request).ok());
        Ok(Some(delivery))
    }

    async fn segments(&self, run: &str, range: (&str, &str)) -> Result<Vec<Stored>, PortError> {
        let partition = keys::run_partition(self.organization, run);
        self.store.list(&partition, range.0..range.1, usize::MAX, self.now).await
    }

    async fn open(&self, run: Run) -> Result<Opened, PortError> {
        let path = self.objects.local(&run.object).await?;
        let mut file = File::open(path).map_err(|e| PortError::Failed(format!("the plan of {} cannot be opened: {e}", run.id)))?;
        let directory = block::read_directory(&mut file).map_err(PortError::Failed)?;
        Ok(Opened { run, directory, file })
    }
}

impl Opened {
    fn rows_of(&mut self, parcel: u32) -> Result<Vec<Vec<PlannedRow>>, PortError> {
        let missing = || PortError::Missing(format!("parcel {parcel} of {}", self.run.id));
        let place = self.directory.parcels.get(parcel as usize).ok_or_else(missing)?;
        let block = block::read_block(&mut self.file, place.offset, place.length).map_err(PortError::Failed)?;
        block::unpack(&block).map_err(PortError::Failed)
    }

    fn delivery(&self, parcel: u32, index: u32, rows: &[PlannedRow], attempts: &[(Class, AttemptRecord)]) -> Delivery {
        let id = delivery_id(&self.run.id, parcel, index);
        Delivery {
            run: self.run.id.clone(),
            export: self.run.export.to_string(),
            destination: self.run.destination.to_string(),
            action: self.directory.parcels[parcel as usize].action,
            status: status_of(attempts, &self.run, false),
            rows: rows.len() as u64,
            row_keys: rows.iter().map(|row| row.key.replace('\u{1f}', "|")).collect(),
            idempotency_key: id.clone(),
            request: None,
            attempts: attempts.iter().map(|(class, record)| attempt(&id, *class, record)).collect(),
            created_at: self.run.started_at_text(),
            id,
        }
    }
}
