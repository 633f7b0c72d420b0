//! Cutting changes into deliveries and deliveries into parcels, in one pass with bounded memory.

use super::block::{self, PlannedRow};
use super::layout::{self, Directory, HEAD_BYTES, Place};
use super::rows_by_key::{Chunk, Found, Gathered, ROW_BYTES};
use super::{DEADLINE_SECONDS, PARCEL_BYTES, PARCEL_DELIVERIES, PARCEL_SECONDS};
use crate::model::action::{ActionName, BatchMode};
use crate::model::change::{Change, ChangeKind, DeltaRow, Entry, EntryState};
use crate::shape::{Compiled, Occasion};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, Seek, Write};

/// Rows that wait in unfinished groups, all groups together; beyond it all are sent as they are.
const GROUPED_ROWS: usize = 100_000;
/// Settled rows of a block.
const SETTLED_ROWS: usize = 10_000;

/// What a plan holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows by kind of change, those of actions that are on only (HT-19).
    pub added: u64,
    /// Likewise.
    pub changed: u64,
    /// Likewise.
    pub removed: u64,
    /// Requests.
    pub deliveries: u64,
    /// Rows that are taken as they are, without being sent.
    pub settled: u64,
    /// Rows that the limits leave no time for; the next run finds them again.
    pub left: u64,
}

impl Totals {
    /// All rows that change something.
    pub fn rows(&self) -> u64 {
        self.added + self.changed + self.removed
    }

    /// Adds what another plan holds.
    pub fn add(&mut self, other: &Totals) {
        self.added += other.added;
        self.changed += other.changed;
        self.removed += other.removed;
        self.deliveries += other.deliveries;
        self.settled += other.settled;
        self.left += other.left;
    }
}

/// How a plan is cut.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The run's id and start; the delivery part is filled in.
    pub run: &'a str,
    /// RFC 3339.
    pub started_at: &'a str,
    /// Requests a second that the limits allow; `None`: unlimited.
    pub rate: Option<f64>,
    /// Of how many plans that are joined this is one: what the limits leave time for is divided among them.
    pub parts: u32,
    /// Take all changes as delivered (`--adopt`, `first_run: skip`).
    pub settle_all: bool,
}

/// Cuts changes as they come; writes blocks to `out` as they fill.
pub struct Cutter<'a, W> {
    compiled: &'a Compiled,
    names: &'a [String],
    options: Options<'a>,
    out: W,
    offset: u64,
    lots: [Lot; 3],
    settled: Vec<DeltaRow>,
    settled_blocks: Vec<(u64, u64)>,
    by_key: Gathered,
    chunks: Vec<Chunk>,
    totals: Totals,
    most_deliveries: u64,
    parcel_deliveries: usize,
}

/// What is open of one action.
#[derive(Default)]
struct Lot {
    open: Vec<Vec<PlannedRow>>,
    open_bytes: usize,
    open_rows: u64,
    /// Unfinished groups, each with its number in the order of first rows, so that the plan is the same each time.
    groups: HashMap<String, (u64, Vec<PlannedRow>)>,
    groups_begun: u64,
    grouped_rows: usize,
    places: Vec<Place>,
}

impl<'a, W: Write + Seek> Cutter<'a, W> {
    /// A cutter that writes to `out`, which is at its beginning.
    pub fn new(compiled: &'a Compiled, names: &'a [String], options: Options<'a>, out: W) -> Cutter<'a, W> {
        let within = |seconds: f64, most: usize| options.rate.map_or(most, |rate| ((rate * seconds) as usize).clamp(1, most));
        Cutter {
            compiled,
            names,
            options,
            out,
            offset: 0,
            lots: Default::default(),
            settled: Vec::new(),
            settled_blocks: Vec::new(),
            by_key: Gathered::default(),
            chunks: Vec::new(),
            totals: Totals::default(),
            most_deliveries: options.rate.map_or(u64::MAX, |rate| ((rate * DEADLINE_SECONDS) as u64 / u64::from(options.parts)).max(1)),
            parcel_deliveries: within(PARCEL_SECONDS, PARCEL_DELIVERIES),
        }
    }

    /// Takes a change.
    pub fn push(&mut self, change: Change) -> io::Result<()> {
        let action = match change.kind {
            ChangeKind::Added => ActionName::Add,
            ChangeKind::Changed => ActionName::Update,
            ChangeKind::Removed => ActionName::Remove,
        };
        let Some(compiled) = self.compiled.action(action).filter(|_| !self.options.settle_all) else {
            return self.settle(change);
        };
        if self.totals.deliveries >= self.most_deliveries {
            self.totals.left += 1;
            return Ok(());
        }
        match change.kind {
            ChangeKind::Added => self.totals.added += 1,
            ChangeKind::Changed => self.totals.changed += 1,
            ChangeKind::Removed => self.totals.removed += 1,
        }
        let row = PlannedRow {
            key: change.key,
            key_hash: change.key_hash,
            row_hash: change.row_hash,
            fields: change.fields,
            previous: (change.kind == ChangeKind::Changed).then_some(change.before.and_then(|entry| entry.fields)).flatten(),
        };
        let size = match compiled.action.batch {
            BatchMode::Individual => return self.deliver(action, vec![row]),
            BatchMode::Batched(size) => size as usize,
        };
        let group = match compiled.groups {
            false => String::new(),
            true => {
                let occasion = Occasion { run: self.options.run, started_at: self.options.started_at, delivery: "" };
                match self.compiled.group_of(action, self.names, &row, occasion) {
                    Ok(group) => group,
                    // It stands alone, so that only it is found invalid when it is rendered.
                    Err(_) => return self.deliver(action, vec![row]),
                }
            }
        };
        self.group(action, group, row, size)
    }

    fn group(&mut self, action: ActionName, group: String, row: PlannedRow, size: usize) -> io::Result<()> {
        let lot = &mut self.lots[action as usize];
        lot.grouped_rows += 1;
        let begun = &mut lot.groups_begun;
        let (_, rows) = lot.groups.entry(group.clone()).or_insert_with(|| {
            *begun += 1;
            (*begun, Vec::new())
        });
        rows.push(row);
        if rows.len() >= size {
            let rows = lot.groups.remove(&group).map(|(_, rows)| rows).unwrap_or_default();
            lot.grouped_rows -= rows.len();
            return self.deliver(action, rows);
        }
        if lot.grouped_rows > GROUPED_ROWS {
            return self.end_groups(action);
        }
        Ok(())
    }

    fn end_groups(&mut self, action: ActionName) -> io::Result<()> {
        let lot = &mut self.lots[action as usize];
        lot.grouped_rows = 0;
        let mut groups: Vec<(u64, Vec<PlannedRow>)> = std::mem::take(&mut lot.groups).into_values().collect();
        groups.sort_by_key(|(number, _)| *number);
        groups.into_iter().try_for_each(|(_, rows)| self.deliver(action, rows))
    }

    fn deliver(&mut self, action: ActionName, rows: Vec<PlannedRow>) -> io::Result<()> {
        let bytes: usize = rows.iter().map(weight).sum();
        if self.lots[action as usize].open_bytes + bytes > PARCEL_BYTES {
            self.end_parcel(action)?;
        }
        let lot = &mut self.lots[action as usize];
        lot.open_bytes += bytes;
        lot.open_rows += rows.len() as u64;
        lot.open.push(rows);
        self.totals.deliveries += 1;
        if lot.open.len() >= self.parcel_deliveries {
            self.end_parcel(action)?;
        }
        Ok(())
    }

    fn end_parcel(&mut self, action: ActionName) -> io::Result<()> {
        let lot = &mut self.lots[action as usize];
        if lot.open.is_empty() {
            return Ok(());
        }
        let block = block::pack(&lot.open);
        let open = std::mem::take(&mut lot.open);
        let parcel = lot.places.len() as u32;
        let rows = std::mem::take(&mut lot.open_rows);
        lot.open_bytes = 0;
        let offset = self.write(&block)?;
        let place = Place { number: 0, action, offset, length: block.len() as u64, deliveries: open.len() as u32, rows };
        self.lots[action as usize].places.push(place);
        for (index, row) in open.iter().zip(0..).flat_map(|(rows, index)| rows.iter().map(move |row| (index, row))) {
            if let Some(list) = self.by_key.push(&row.key, Found { action, parcel, index }) {
                self.end_chunk(&list)?;
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self, list: &[u8]) -> io::Result<()> {
        let offset = self.write(list)?;
        self.chunks.push(Chunk { offset, rows: list.len() as u64 / ROW_BYTES });
        Ok(())
    }

    /// Writes a block and gives its place. The head's place stays free until the end.
    fn write(&mut self, block: &[u8]) -> io::Result<u64> {
        if self.offset == 0 {
            self.out.write_all(&[0; HEAD_BYTES as usize])?;
            self.offset = HEAD_BYTES;
        }
        let offset = self.offset;
        self.out.write_all(block)?;
        self.offset += block.len() as u64;
        Ok(offset)
    }

    /// Takes a change as it is: the snapshot has it from now on, nothing is sent (semantics.md 3).
    fn settle(&mut self, change: Change) -> io::Result<()> {
        let removed = change.kind == ChangeKind::Removed;
        let state = if removed { EntryState::Gone } else { EntryState::Skipped };
        let fields = (!removed).then_some(change.fields);
        let entry = Entry { state, row_hash: change.row_hash, fields, uncertain: None };
        self.settled.push(DeltaRow { key_hash: change.key_hash, key: change.key, entry });
        self.totals.settled += 1;
        if self.settled.len() >= SETTLED_ROWS { self.end_settled() } else { Ok(()) }
    }

    fn end_settled(&mut self) -> io::Result<()> {
        if self.settled.is_empty() {
            return Ok(());
        }
        let block = block::pack_settled(&self.settled);
        self.settled.clear();
        let offset = self.write(&block)?;
        self.settled_blocks.push((offset, block.len() as u64));
        Ok(())
    }

    /// Ends the plan: writes what is open and the directory, and numbers the parcels in the order of sending.
    pub fn finish(mut self) -> io::Result<(W, Directory, Totals)> {
        for action in ActionName::ALL {
            self.end_groups(action)?;
            self.end_parcel(action)?;
        }
        self.end_settled()?;
        if let Some(list) = self.by_key.take() {
            self.end_chunk(&list)?;
        }
        let end = self.write(&[])?;
        let mut parcels: Vec<Place> = self.lots.into_iter().flat_map(|lot| lot.places).collect();
        parcels.iter_mut().enumerate().for_each(|(number, place)| place.number = number as u32);
        let directory = Directory { field_names: self.names.to_vec(), parcels, settled: self.settled_blocks };
        layout::write_directory(&mut self.out, end, &directory, &self.chunks)?;
        Ok((self.out, directory, self.totals))
    }
}

/// Roughly the bytes that a row takes unpacked.
fn weight(row: &PlannedRow) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len() + 3,
            Value::Array(items) => items.iter().map(of).sum::<usize>() + 2,
            Value::Object(members) => members.iter().map(|(name, value)| name.len() + 4 + of(value)).sum::<usize>() + 2,
            _ => 6,
        }
    }
    let previous: usize = row.previous.iter().flatten().map(of).sum();
    80 + row.key.len() + row.fields.iter().map(of).sum::<usize>() + previous
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::action::{Action, Actions, Body};
    use crate::model::export::{FieldMapping, OnError, OnPartial};
    use crate::model::status::StatusSet;
    use crate::port::Method;
    use crate::shape::Shape;
    use serde_json::json;
    use std::io::Cursor;

    fn action(url: &str, batch: BatchMode) -> Action {
        Action {
            method: Method::Post,
            url: url.into(),
            query: vec![],
            headers: vec![],
            body: Body::Json("[{{#each rows}}\"{{id}}\",{{/each}}]".into()),
            batch,
            success: StatusSet::two_hundreds(),
            success_path: None,
            strict: false,
        }
    }

    fn compiled(add: Option<Action>, update: Option<Action>, remove: Option<Action>) -> Compiled {
        Compiled::new(Shape {
            export: "people".into(),
            audience_name: "People".into(),
            audience_id: "people".into(),
            organization_name: "Acme".into(),
            base_url: "https://api.example.com/v1".parse().unwrap(),
            headers: vec![],
            idempotency_header: Some("Idempotency-Key".into()),
            actions: Actions { add, update, remove },
            fields: vec![FieldMapping { from: "id".into(), to: "id".into() }],
            primary_key: vec!["id".into()],
            on_partial: OnPartial::NextRun,
            on_error: OnError::NextRun,
        })
        .unwrap()
    }

    fn change(kind: ChangeKind, number: u32) -> Change {
        let fields = vec![json!(number.to_string())];
        Change { kind, key: number.to_string(), key_hash: u128::from(number), row_hash: 1, fields, before: None }
    }

    type Plan = (Directory, Totals, Vec<Vec<Vec<String>>>);

    /// Cuts changes and reads the plan back: the keys by parcel and delivery.
    fn cut(compiled: &Compiled, rate: Option<f64>, settle_all: bool, changes: Vec<Change>) -> Plan {
        let names = ["id".to_string()];
        let options = Options { run: "run_x", started_at: "2026-01-01T00:00:00Z", rate, parts: 1, settle_all };
        let mut cutter = Cutter::new(compiled, &names, options, Cursor::new(Vec::new()));
        for change in changes {
            cutter.push(change).unwrap();
        }
        let (out, directory, totals) = cutter.finish().unwrap();
        let mut file = out;
        assert_eq!(layout::read_directory(&mut file).unwrap(), directory);
        let parcels = directory
            .parcels
            .iter()
            .map(|place| {
                let block = block::read_block(&mut file, place.offset, place.length).unwrap();
                block::unpack(&block).unwrap().into_iter().map(|rows| rows.into_iter().map(|row| row.key).collect()).collect()
            })
            .collect();
        (directory, totals, parcels)
    }

    fn added(range: std::ops::Range<u32>) -> Vec<Change> {
        range.map(|number| change(ChangeKind::Added, number)).collect()
    }

    /// GL-52, GL-53, HT-20: a batch holds at most its size, and every row is in exactly one.
    #[test]
    fn batches_are_full_but_for_the_last() {
        let compiled = compiled(Some(action("/x", BatchMode::Batched(100))), None, None);
        let (directory, totals, parcels) = cut(&compiled, None, false, added(0..250));
        assert_eq!(parcels[0].iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!((totals.added, totals.deliveries, directory.parcels[0].rows), (250, 3, 250));
        let keys: Vec<&String> = parcels.iter().flatten().flatten().collect();
        assert_eq!(keys, (0..250).map(|n| n.to_string()).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    }

    /// A batch never mixes rows whose rendered URL differs.
    #[test]
    fn rows_are_grouped_by_their_rendered_url() {
        let by_last_digit = compiled(Some(action("/list/{{lookup user.id 0}}{{user.id}}", BatchMode::Batched(2))), None, None);
        let (_, totals, _) = cut(&by_last_digit, None, false, added(0..10));
        assert_eq!(totals.deliveries, 10, "every URL is another");
        let fixed = compiled(Some(action("/list/{{export.id}}", BatchMode::Batched(2))), None, None);
        let (_, totals, _) = cut(&fixed, None, false, added(0..10));
        assert_eq!(totals.deliveries, 5);
    }

    /// GL-51: one request a record; within an export add goes before update before remove.
    #[test]
    fn parcels_are_numbered_add_then_update_then_remove() {
        let each = || Some(action("/x", BatchMode::Individual));
        let compiled = compiled(each(), each(), each());
        let kinds = [ChangeKind::Removed, ChangeKind::Changed, ChangeKind::Added, ChangeKind::Changed];
        let changes = kinds.into_iter().enumerate().map(|(number, kind)| change(kind, number as u32)).collect();
        let (directory, _, parcels) = cut(&compiled, None, false, changes);
        let actions: Vec<ActionName> = directory.parcels.iter().map(|place| place.action).collect();
        assert_eq!(actions, [ActionName::Add, ActionName::Update, ActionName::Remove]);
        assert_eq!(parcels, [vec![vec!["2"]], vec![vec!["1"], vec!["3"]], vec![vec!["0"]]]);
    }

    #[test]
    fn a_parcel_holds_a_thousand_deliveries_or_thirty_seconds_of_the_rate() {
        let compiled = compiled(Some(action("/x", BatchMode::Individual)), None, None);
        let (directory, ..) = cut(&compiled, None, false, added(0..2500));
        assert_eq!(directory.parcels.iter().map(|p| p.deliveries).collect::<Vec<_>>(), [1000, 1000, 500]);
        let (directory, ..) = cut(&compiled, Some(1.0), false, added(0..70));
        assert_eq!(directory.parcels.iter().map(|p| p.deliveries).collect::<Vec<_>>(), [30, 30, 10]);
        let (directory, ..) = cut(&compiled, Some(1.0 / 60.0), false, added(0..2));
        assert_eq!(directory.parcels.iter().map(|p| p.deliveries).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn a_plan_cuts_only_what_a_day_can_take() {
        let compiled = compiled(Some(action("/x", BatchMode::Individual)), None, None);
        let (_, totals, _) = cut(&compiled, Some(10.0 / 86_400.0), false, added(0..25));
        assert_eq!((totals.added, totals.deliveries, totals.left), (10, 10, 15));
    }

    /// GL-46, HT-56: what is off, or skipped on the first run, is settled and neither sent nor counted.
    #[test]
    fn changes_of_actions_that_are_off_are_settled() {
        let compiled = compiled(None, None, Some(action("/x", BatchMode::Individual)));
        let mut changes = added(0..3);
        changes.push(change(ChangeKind::Removed, 9));
        let (directory, totals, parcels) = cut(&compiled, None, false, changes.clone());
        assert_eq!((totals.added, totals.removed, totals.settled, totals.deliveries), (0, 1, 3, 1));
        assert_eq!(parcels, [[["9"]]]);
        assert_eq!(directory.settled.len(), 1);
        let (_, totals, parcels) = cut(&compiled, None, true, changes);
        assert_eq!((totals.rows(), totals.settled, parcels.len()), (0, 4, 0));
    }
}
