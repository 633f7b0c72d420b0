//! A plan's requests, as they would go over the wire, to be looked at. It must not send anything, and shows no secret.

use super::block;
use super::layout::{self, Directory};
use crate::deliver::attach::Attachments;
use crate::deliver::order::{self, delivery_id};
use crate::model::name::Name;
use crate::port::{Objects, PortError, Store};
use crate::run::document::{self, Run};
use crate::shape::{Compiled, Occasion};
use serde_json::{Value, json};
use std::fs::File;

/// Where the rows of a run's plan lie.
pub async fn directory<O: Objects>(objects: &O, run: &Run) -> Result<Directory, PortError> {
    layout::directory(objects, &run.object).await
}

async fn open<O: Objects>(objects: &O, run: &Run) -> Result<(Directory, File), PortError> {
    let path = objects.local(&run.object).await?;
    let mut file = File::open(path).map_err(|e| PortError::Failed(format!("the plan of {} cannot be opened: {e}", run.id)))?;
    let directory = layout::read_directory(&mut file).map_err(PortError::Failed)?;
    Ok((directory, file))
}

/// The requests of a plan, in the order of sending; a parcel's at once are in memory.
#[derive(Debug)]
pub struct PlannedRequests {
    run: String,
    started_at: String,
    compiled: Compiled,
    attachments: Option<Attachments>,
    directory: Directory,
    file: File,
    next: usize,
}

impl PlannedRequests {
    /// Of a run that was planned. `attachments`: of its destination as it is now, to show where secrets will stand.
    ///
    /// # Errors
    /// The plan is not there any more, or cannot be read.
    pub async fn open<S: Store, O: Objects>(
        store: &S,
        objects: &O,
        organization: &Name,
        run: &Run,
        attachments: Option<Attachments>,
        now: u64,
    ) -> Result<PlannedRequests, PortError> {
        let shape = document::read_shape(store, organization, run, now).await?;
        let compiled = Compiled::new(shape).map_err(PortError::Failed)?;
        let (directory, file) = open(objects, run).await?;
        Ok(PlannedRequests { run: run.id.clone(), started_at: run.started_at_text(), compiled, attachments, directory, file, next: 0 })
    }

    /// The requests of the next parcel, each an object on a line; `None` after the last.
    ///
    /// # Errors
    /// The plan cannot be read.
    pub fn next_lines(&mut self) -> Result<Option<Vec<u8>>, PortError> {
        let Some(place) = self.directory.parcels.get(self.next) else { return Ok(None) };
        self.next += 1;
        let block = block::read_block(&mut self.file, place.offset, place.length).map_err(PortError::Failed)?;
        let mut lines = Vec::new();
        for (index, rows) in block::unpack(&block).map_err(PortError::Failed)?.iter().enumerate() {
            let id = delivery_id(&self.run, place.number, index as u32);
            let occasion = Occasion { run: &self.run, started_at: &self.started_at, delivery: &id };
            let order = order::order(&self.compiled, place.action, &self.directory.field_names, rows, occasion);
            let keys: Vec<String> = rows.iter().map(|row| row.key.replace('\u{1f}', "|")).collect();
            let shown = |text: &str| self.attachments.as_ref().map_or_else(|| text.to_string(), |own| own.shown_text(text));
            let invalid: Vec<Value> =
                order.unsent.iter().map(|(row, why)| json!({"key": keys.get(*row as usize), "reason": shown(&why.reason)})).collect();
            let request = order.rendered.map(|rendered| match &self.attachments {
                Some(own) => own.shown(&rendered),
                None => Attachments::none().shown(&rendered),
            });
            let mut line = json!({"delivery": id, "action": place.action, "rows": rows.len(), "row_keys": keys, "request": request});
            if !invalid.is_empty() {
                line["invalid"] = Value::Array(invalid);
            }
            serde_json::to_writer(&mut lines, &line).expect("writing plain data to memory cannot fail");
            lines.push(b'\n');
        }
        Ok(Some(lines))
    }
}
