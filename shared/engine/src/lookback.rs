//! Looking back: runs, deliveries and attempts, read from the log and the plans. It must not change anything.

use crate::deliver::order::{delivery_id, parse_delivery_id};
use crate::judge::Class;
use crate::keys;
use crate::model::action::ActionName;
use crate::model::name::Name;
use crate::plan::block::{self, Directory, PlannedRow};
use crate::port::{Index, Objects, PortError, Store, Stored};
use crate::record::page::{self, Line};
use crate::record::segment::{AttemptRecord, Segment};
use crate::run::document::{self, Run, Status};
use crate::run::outcome::{self, Outcome};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;

/// Which deliveries are asked for; all that are given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this run.
    pub run: Option<String>,
    /// Of this export.
    pub export: Option<Name>,
    /// To this destination.
    pub destination: Option<Name>,
    /// Some attempt had this outcome class.
    pub class: Option<Class>,
    /// The delivery stands so now.
    pub status: Option<DeliveryStatus>,
    /// Some attempt started at this Unix millisecond or later.
    pub since_ms: Option<u64>,
    /// Some attempt started before this Unix millisecond.
    pub until_ms: Option<u64>,
    /// The delivery carries the row of this key (needs `run` or `export`).
    pub row: Option<String>,
}

/// Where a delivery stands (contract.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Not tried yet.
    Pending,
    /// Tried, and to be tried again.
    Retrying,
    /// Accepted.
    Succeeded,
    /// Refused, or never sendable.
    Failed,
    /// Its retries are used up.
    Exhausted,
    /// Taken back before it was tried to its end.
    Canceled,
}

impl DeliveryStatus {
    /// The words of contract.md.
    pub const WORDS: [(&'static str, DeliveryStatus); 6] = [
        ("pending", DeliveryStatus::Pending),
        ("retrying", DeliveryStatus::Retrying),
        ("succeeded", DeliveryStatus::Succeeded),
        ("failed", DeliveryStatus::Failed),
        ("exhausted", DeliveryStatus::Exhausted),
        ("canceled", DeliveryStatus::Canceled),
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        DeliveryStatus::WORDS.iter().find(|(_, status)| *status == self).map_or("", |(word, _)| word)
    }
}

/// An attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// `att_…`
    pub id: String,
    /// 1 for the first.
    pub number: u32,
    /// Its outcome class.
    pub class: Class,
    /// The status, if a response came.
    pub status_code: Option<u16>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub completed_at: String,
    /// Milliseconds.
    pub duration_ms: u64,
    /// What came back; only where details were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<serde_json::Value>,
    /// What went wrong, for a person; only where details were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip)]
    started_ms: u64,
}

/// A delivery with its attempts.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// `dlv_…`
    pub id: String,
    /// Its run.
    pub run: String,
    /// Its export.
    pub export: String,
    /// Its destination.
    pub destination: String,
    /// Its action.
    pub action: ActionName,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many rows it carries.
    pub rows: u64,
    /// Their keys.
    pub row_keys: Vec<String>,
    /// Stays the same over all attempts.
    pub idempotency_key: String,
    /// The request as rendered; only where details were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<serde_json::Value>,
    /// All attempts, the first one first.
    pub attempts: Vec<Attempt>,
    /// The run's start, RFC 3339.
    pub created_at: String,
}

/// Reads the log of one organization.
#[derive(Debug)]
pub struct Lookback<'a, S, O> {
    /// Documents.
    pub store: &'a S,
    /// Pages and plans.
    pub objects: &'a O,
    /// Whose.
    pub organization: &'a Name,
    /// Unix seconds.
    pub now: u64,
}

struct Opened {
    run: Run,
    directory: Directory,
    file: File,
}

impl<S: Store, O: Objects> Lookback<'_, S, O> {
    /// The newest runs of the exports, newest first.
    pub async fn runs(&self, exports: &[Name], limit: usize) -> Result<Vec<Run>, PortError> {
        let mut runs = Vec::new();
        for export in exports {
            let partition = format!("{}#runs#{export}", self.organization);
            for listed in self.store.list_index(Index::First, &partition, "".."~", true, limit, self.now).await? {
                if let Some((run, _)) = document::read(self.store, self.organization, &listed.key.sort, self.now).await? {
                    runs.push(run);
                }
            }
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.started_at));
        runs.truncate(limit);
        Ok(runs)
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, PortError> {
        Ok(document::read(self.store, self.organization, id, self.now).await?.map(|(run, _)| run))
    }

    /// Deliveries that were tried and that the filter lets through, the newest first, at most `limit`. With a run or a row, those
    /// that were never tried too.
    pub async fn deliveries(&self, filter: &Filter, exports: &[Name], limit: usize) -> Result<Vec<Delivery>, PortError> {
        let mut found = Vec::new();
        let runs = match (&filter.run, &filter.export) {
            (Some(run), _) => self.run(run).await?.into_iter().collect(),
            (None, Some(export)) => self.runs(std::slice::from_ref(export), usize::MAX).await?,
            (None, None) => self.runs(exports, usize::MAX).await?,
        };
        for run in runs {
            let fits = filter.export.as_ref().is_none_or(|export| *export == run.export)
                && filter.destination.as_ref().is_none_or(|destination| *destination == run.destination);
            if !fits || run.parcels == 0 {
                continue;
            }
            found.extend(self.of_run(run, filter, limit - found.len()).await?);
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
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
                && filter.status.is_none_or(|status| status == status_of(&of_delivery, &opened.run));
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
            status: status_of(attempts, &self.run),
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

fn attempt(delivery: &str, class: Class, record: &AttemptRecord) -> Attempt {
    Attempt {
        id: format!("att_{}_{}", delivery.strip_prefix("dlv_").unwrap_or(delivery), record.number),
        number: record.number,
        class,
        status_code: record.status,
        started_at: crate::time::rfc3339(record.started_ms * 1000),
        completed_at: crate::time::rfc3339((record.started_ms + record.duration_ms) * 1000),
        duration_ms: record.duration_ms,
        response: None,
        error: None,
        started_ms: record.started_ms,
    }
}

impl Attempt {
    /// Unix milliseconds.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }
}

fn status_of(attempts: &[(Class, AttemptRecord)], run: &Run) -> DeliveryStatus {
    let delivering = run.status == Status::Delivering;
    let segments = attempts.iter().map(|(class, record)| Segment {
        class: *class,
        attempts: vec![AttemptRecord { index: 0, ..record.clone() }],
        unsent: vec![],
        page: None,
        inline_page: vec![],
    });
    let last = attempts.last().is_some_and(|(_, record)| record.last);
    match outcome::recount(1, segments.collect()).deliveries[0] {
        Outcome::Delivered(_) => DeliveryStatus::Succeeded,
        _ if delivering && attempts.is_empty() => DeliveryStatus::Pending,
        _ if delivering && !last => DeliveryStatus::Retrying,
        Outcome::Untried => DeliveryStatus::Canceled,
        Outcome::Failed { .. } if !last => DeliveryStatus::Canceled,
        // What no policy tries again has used up nothing.
        Outcome::Failed { .. } if attempts.len() == 1 && !is_retried(attempts[0].0) => DeliveryStatus::Failed,
        Outcome::Failed { .. } => DeliveryStatus::Exhausted,
        Outcome::Rejected { .. } | Outcome::Unsendable => DeliveryStatus::Failed,
    }
}

fn is_retried(class: Class) -> bool {
    !matches!(class, Class::PolicyError | Class::ResponseError | Class::AuthConfigError | Class::InternalError)
}
