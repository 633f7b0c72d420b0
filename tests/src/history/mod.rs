//! Histories of runs that nobody delivered: plans, attempts and run documents written as the product writes them, with known content.

pub mod random;

use engine::deliver::log::{self, Book, Log};
use engine::keys::{self, LaneName};
use engine::model::action::ActionName;
use engine::model::name::Name;
use engine::plan::block::{self, PlannedRow};
use engine::plan::layout::{self, Directory, HEAD_BYTES, Place};
use engine::plan::rows_by_key::{Chunk, Found, Gathered, ROW_BYTES};
use engine::port::{Document, Expect, Objects, PortError, Store};
use engine::run::document::{self, Run, Status};
use engine::run::progress::Progress;
use serde_json::json;
use std::io::Cursor;

/// A run's document. Times are Unix microseconds.
pub fn run(organization: &Name, id: &str, export: &Name, destination: &Name, status: Status, times: (u64, Option<u64>)) -> Run {
    let (started_at, finished_at) = times;
    let document = json!({
        "id": id, "export": export, "destination": destination, "status": status, "started_at": started_at, "finished_at": finished_at,
        "shape_version": "v1", "mapping_version": "m1", "object": format!("plans/{organization}/{id}"), "field_names": ["id"],
        "parcels": 0, "totals": {"added": 0, "changed": 0, "removed": 0, "deliveries": 0, "settled": 0, "left": 0}, "invalid_rows": 0,
        "invalid": [], "reason": null, "rows": {"delivered": 0, "rejected": 0, "invalid": 0, "pending": 0, "given_up": 0},
        "deliveries": {"succeeded": 0, "failed": 0}, "attempts": 0, "source_version": null, "finishes": 0,
    });
    serde_json::from_value(document).expect("a run's document")
}

/// A row with nothing in it but its key.
pub fn row(key: &str) -> PlannedRow {
    PlannedRow { key: key.to_string(), key_hash: 1, row_hash: 2, fields: vec![json!(key)], previous: None }
}

/// A plan's object in the making, parcel by parcel in the order of sending.
pub struct Plan {
    out: Cursor<Vec<u8>>,
    offset: u64,
    parcels: Vec<Place>,
    rows: Gathered,
    chunks: Vec<Chunk>,
}

impl Plan {
    /// Without parcels.
    pub fn new() -> Plan {
        let mut out = Cursor::new(vec![0; HEAD_BYTES as usize]);
        out.set_position(HEAD_BYTES);
        Plan { out, offset: HEAD_BYTES, parcels: Vec::new(), rows: Gathered::default(), chunks: Vec::new() }
    }

    /// Adds a parcel, and gives its number.
    pub fn add(&mut self, deliveries: &[Vec<PlannedRow>]) -> u32 {
        let number = self.parcels.len() as u32;
        let block = block::pack(deliveries);
        let (offset, length) = (self.offset, block.len() as u64);
        self.write(&block);
        for (index, row) in deliveries.iter().zip(0..).flat_map(|(rows, index)| rows.iter().map(move |row| (index, row))) {
            if let Some(list) = self.rows.push(&row.key, Found { action: ActionName::Add, parcel: number, index }) {
                self.list(&list);
            }
        }
        let rows = deliveries.iter().map(|rows| rows.len() as u64).sum();
        self.parcels.push(Place { number, action: ActionName::Add, offset, length, deliveries: deliveries.len() as u32, rows });
        number
    }

    /// Ends the list of keys, as if it were full.
    pub fn end_list(&mut self) {
        if let Some(list) = self.rows.take() {
            self.list(&list);
        }
    }

    fn list(&mut self, list: &[u8]) {
        self.chunks.push(Chunk { offset: self.offset, rows: list.len() as u64 / ROW_BYTES });
        self.write(list);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.out.get_mut().extend(bytes);
        self.offset += bytes.len() as u64;
        self.out.set_position(self.offset);
    }

    /// The object, and how many parcels it has.
    pub fn finish(mut self) -> (Vec<u8>, u32) {
        self.end_list();
        let directory = Directory { field_names: vec!["id".to_string()], parcels: self.parcels, settled: Vec::new() };
        layout::write_directory(&mut self.out, self.offset, &directory, &self.chunks).expect("writing to memory cannot fail");
        (self.out.into_inner(), directory.parcels.len() as u32)
    }
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new()
    }
}

/// Writes a run's document, its plan and its progress.
pub async fn put_run<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    run: &mut Run,
    plan: Plan,
    is_done: impl Fn(u32) -> bool,
) -> Result<(), PortError> {
    let (object, parcels) = plan.finish();
    run.parcels = parcels;
    objects.put(&run.object, object).await?;
    document::write(store, organization, run, Expect::Any, 0).await?;
    let mut progress = Progress::new(parcels);
    (0..parcels).for_each(|parcel| progress.set(parcel, is_done(parcel)));
    let document = Document { body: progress.body(), ..Document::default() };
    store.put(&keys::progress(&lane(organization, run), &run.id), document, Expect::Any, 0).await.map(drop)
}

/// The lane of a run.
pub fn lane(organization: &Name, run: &Run) -> LaneName {
    LaneName { organization: organization.clone(), destination: run.destination.clone(), share: 0 }
}

/// Records what a log has gathered.
pub async fn record<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    lane: &LaneName,
    log: &mut Log,
    generation: u64,
) -> Result<(), PortError> {
    let batch = log.take(Book { lane, generation }, Vec::new());
    log::write(store, objects, lane, &batch, 0).await.map(drop)
}
