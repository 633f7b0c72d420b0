//! Plan files: NDJSON, a header, then a request a line with secrets redacted (semantics.md 16). `run --plan` executes exactly what a
//! plan file says, or refuses.

use crate::failure::Failure;
use engine::deliver::attach::Attachments;
use engine::deliver::order::{self, delivery_id};
use engine::model::export::Export;
use engine::plan::block;
use engine::shape::Occasion;
use planning::Planned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// The first line of a plan file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// `plan_…`
    pub plan: String,
    /// The run that executes it, so that ids and idempotency keys are those of the file.
    pub run: String,
    /// The export.
    pub export: String,
    /// Unix microseconds; the frozen "now".
    pub started_at: u64,
    /// The snapshot's files.
    pub snapshot: Vec<String>,
    /// The version of what shapes requests.
    pub definition: String,
    /// Rows of the source.
    pub rows: u64,
    /// Order-free 128-bit sum of key and row hashes, hexadecimal.
    pub checksum: String,
    /// Whether all present rows are sent.
    pub full: bool,
    /// How many request lines follow.
    pub requests: u64,
}

impl Header {
    /// Of a plan.
    pub fn of(planned: &Planned, full: bool) -> Header {
        let run = &planned.run;
        Header {
            plan: run.id.replacen("run_", "plan_", 1),
            run: run.id.clone(),
            export: run.export.to_string(),
            started_at: run.started_at,
            snapshot: planned.run.snapshot.clone(),
            definition: run.shape_version.clone(),
            rows: planned.rows,
            checksum: format!("{:032x}", planned.checksum),
            full,
            requests: run.totals.deliveries,
        }
    }

    /// Whether rows, snapshot and definition are still what they were; else why not.
    pub fn check(&self, rows: u64, checksum: u128, snapshot: &[String], definition: &str) -> Result<(), String> {
        let moved = |what: &str| Err(format!("{what} since this plan was made: make a new one with `penstock plan {} --out`", self.export));
        if self.definition != definition {
            return moved("the export or its destination has changed");
        }
        if self.snapshot != snapshot {
            return moved("the export has run");
        }
        if self.rows != rows || self.checksum != format!("{checksum:032x}") {
            return moved("the model's rows have changed");
        }
        Ok(())
    }
}

/// Reads the header of a plan file of an export.
pub fn read_header(path: &Path, export: &Export) -> Result<Header, Failure> {
    let wrong = |why: String| Failure::usage(format!("{} is not a plan file of `penstock plan --out`: {why}", path.display()));
    let file = File::open(path).map_err(|e| Failure::usage(format!("{} cannot be read: {e}", path.display())))?;
    let mut lines = BufReader::new(file).lines();
    let first = lines.next().transpose().map_err(|e| wrong(e.to_string()))?.unwrap_or_default();
    let header: Header = serde_json::from_str(&first).map_err(|e| wrong(format!("its first line is no header ({e})")))?;
    if header.export != export.id.as_str() {
        return Err(Failure::usage(format!("{} is a plan of export {}, not of {}", path.display(), header.export, export.id)));
    }
    let requests = lines.try_fold(0u64, |count, line| line.map(|_| count + 1)).map_err(|e| wrong(e.to_string()))?;
    if requests != header.requests {
        return Err(wrong(format!("it holds {requests} requests where its header says {}", header.requests)));
    }
    Ok(header)
}

/// Calls `take` with each request of a plan, in the order of sending, until it says stop.
pub fn each_request(
    planned: &Planned,
    attachments: &Attachments,
    mut take: impl FnMut(engine::model::action::ActionName, Value) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let run = &planned.run;
    let started_at = run.started_at_text();
    let mut file = File::open(&planned.file).map_err(|e| Failure::new(format!("the plan cannot be read back: {e}")))?;
    for place in &planned.directory.parcels {
        let block = block::read_block(&mut file, place.offset, place.length).map_err(Failure::new)?;
        for (index, rows) in block::unpack(&block).map_err(Failure::new)?.iter().enumerate() {
            let id = delivery_id(&run.id, place.number, index as u32);
            let occasion = Occasion { run: &run.id, started_at: &started_at, delivery: &id };
            let order = order::order(&planned.compiled, place.action, &planned.directory.field_names, rows, occasion);
            let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
            let invalid: Vec<Value> = order
                .unsent
                .iter()
                .map(|(row, why)| json!({"key": keys.get(*row as usize), "reason": attachments.shown_text(&why.reason)}))
                .collect();
            let request = order.rendered.as_ref().map(|rendered| attachments.shown(rendered));
            let mut line = json!({"delivery": id, "action": place.action, "rows": rows.len(), "row_keys": keys, "request": request});
            if !invalid.is_empty() {
                line["invalid"] = Value::Array(invalid);
            }
            if !take(place.action, line)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Writes a plan file, whole or not at all.
pub fn write(path: &Path, header: &Header, planned: &Planned, attachments: &Attachments) -> Result<(), Failure> {
    let wrong = |e: std::io::Error| Failure::new(format!("{} cannot be written: {e}", path.display()));
    let partial = path.with_extension("partial");
    let mut out = BufWriter::new(File::create(&partial).map_err(wrong)?);
    serde_json::to_writer(&mut out, header).map_err(|e| wrong(e.into()))?;
    out.write_all(b"\n").map_err(wrong)?;
    each_request(planned, attachments, |_, line| {
        serde_json::to_writer(&mut out, &line).map_err(|e| wrong(e.into()))?;
        out.write_all(b"\n").map_err(wrong)?;
        Ok(true)
    })?;
    let file = out.into_inner().map_err(|e| wrong(e.into_error()))?;
    file.sync_all().map_err(wrong)?;
    std::fs::rename(&partial, path).map_err(wrong)
}
