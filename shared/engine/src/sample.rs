//! A request made of sample rows: what rendering and testing show before anything real is sent. It must not read a model's rows.

use crate::deliver::order::{self, Order};
use crate::model::action::{Action, ActionName, Actions, BatchMode, Body};
use crate::model::export::{Export, OnError, OnPartial};
use crate::model::project::{Problem, Project};
use crate::model::status::StatusSet;
use crate::plan::block::PlannedRow;
use crate::port::Method;
use crate::shape::{Compiled, Occasion, Shape};
use serde_json::{Map, Value};

/// So many rows at most.
pub const MOST_ROWS: usize = 100;

/// An action with its sample rows.
#[derive(Debug)]
pub struct Sample {
    /// The export's shape, or that of a template alone.
    pub compiled: Compiled,
    /// The action.
    pub action: ActionName,
    names: Vec<String>,
    rows: Vec<PlannedRow>,
}

impl Sample {
    /// One action of an export. `rows` are under the names that templates use.
    ///
    /// # Errors
    /// What is wrong with the choice or the rows, at `action` or `rows[2].name`.
    pub fn of_export(project: &Project, export: &Export, action: ActionName, rows: &[Map<String, Value>]) -> Result<Sample, Vec<Problem>> {
        let problem = |path: &str, message: String| vec![Problem { path: path.to_string(), message }];
        let Some(configured) = export.actions.get(action) else {
            return Err(problem("action", format!("{} of export `{}` is off", action.as_str(), export.id)));
        };
        let known: Vec<String> = export.fields.iter().map(|field| field.to.clone()).collect();
        let rows = plan_rows(rows, &known, configured.batch)?;
        let compiled = Compiled::new(Shape::of(project, export)).map_err(|message| problem("", message))?;
        Ok(Sample { compiled, action, names: rows.0, rows: rows.1 })
    }

    /// A body alone, rendered as it would be in a request. With `batched` templates see `users`, else `user`.
    ///
    /// # Errors
    /// What is wrong with the template or the rows.
    pub fn of_body(body: Body, batched: bool, strict: bool, rows: &[Map<String, Value>]) -> Result<Sample, Vec<Problem>> {
        let batch = if batched { BatchMode::Batched(MOST_ROWS as u32) } else { BatchMode::Individual };
        let (names, rows) = plan_rows(rows, &[], batch)?;
        let action = Action {
            method: Method::Post,
            url: "/".to_string(),
            query: Vec::new(),
            headers: Vec::new(),
            body,
            batch,
            success: StatusSet::two_hundreds(),
            success_path: None,
            strict,
        };
        let shape = Shape {
            export: "sample".to_string(),
            audience_name: "Sample".to_string(),
            audience_id: "sample".to_string(),
            organization_name: "Sample".to_string(),
            base_url: url::Url::parse("https://sample.invalid").expect("it is a URL"),
            headers: Vec::new(),
            idempotency_header: None,
            actions: Actions { add: Some(action), update: None, remove: None },
            fields: Vec::new(),
            primary_key: Vec::new(),
            on_partial: OnPartial::NextRun,
            on_error: OnError::NextRun,
        };
        let compiled = Compiled::new(shape).map_err(|message| {
            let message = message.strip_prefix("actions.add: body: ").unwrap_or(&message).to_string();
            vec![Problem { path: "template".to_string(), message }]
        })?;
        Ok(Sample { compiled, action: ActionName::Add, names, rows })
    }

    /// The request. `delivery` is a fresh id; `started_at` RFC 3339.
    pub fn order(&self, delivery: &str, started_at: &str) -> Order {
        let occasion = Occasion { run: "run_sample", started_at, delivery };
        order::order(&self.compiled, self.action, &self.names, &self.rows, occasion)
    }
}

/// Rows under the names of their fields; those not known are refused where the fields are fixed.
fn plan_rows(rows: &[Map<String, Value>], known: &[String], batch: BatchMode) -> Result<(Vec<String>, Vec<PlannedRow>), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut problem = |path: String, message: String| problems.push(Problem { path, message });
    let most = if batch == BatchMode::Individual { 1 } else { MOST_ROWS };
    match rows.len() {
        0 => problem("rows".to_string(), "there is no row; write one, as in `[{\"id\": 1}]`".to_string()),
        count if count > most && most == 1 => {
            problem("rows".to_string(), format!("there are {count} rows; this action sends one at a time"))
        }
        count if count > most => problem("rows".to_string(), format!("there are {count} rows; at most {most} are taken")),
        _ => {}
    }
    let mut names = known.to_vec();
    for (index, row) in rows.iter().enumerate() {
        for name in row.keys().filter(|name| !known.contains(name)) {
            if !known.is_empty() {
                problem(format!("rows[{index}].{name}"), format!("the export has no such field; it has {}", known.join(", ")));
            } else if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let planned = rows.iter().enumerate().map(|(index, row)| {
        let fields: Vec<Value> = names.iter().map(|name| row.get(name).cloned().unwrap_or(Value::Null)).collect();
        PlannedRow { key: format!("sample {}", index + 1), key_hash: 0, row_hash: 0, previous: Some(fields.clone()), fields }
    });
    let planned = planned.collect();
    Ok((names, planned))
}
