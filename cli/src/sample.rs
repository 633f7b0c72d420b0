//! `penstock render` and `penstock test`: one action with a sample row, shown or sent.

use crate::args::Global;
use crate::failure::{FAILED, Failure};
use crate::plan::shorten;
use crate::site::{self, Site};
use engine::deliver::Ports;
use engine::deliver::attach::Attachments;
use engine::deliver::once::{Once, once};
use engine::deliver::order::{self, Order};
use engine::deliver::owner::Claim;
use engine::judge::{SuccessRule, judge};
use engine::lane::lease::Predecessor;
use engine::model::action::{ActionName, BatchMode};
use engine::model::change::Fields;
use engine::model::export::Export;
use engine::plan::block::PlannedRow;
use engine::port::{Clock, Exchange};
use engine::record::page::LoggedRequest;
use engine::shape::{Compiled, Occasion, Shape};
use process::chance;
use serde_json::{Value, json};
use std::path::Path;

/// Rows looked through for the one of a key.
const LOOKED_THROUGH: usize = 100_000;
/// A batch shows so many rows.
const BATCH_ROWS: usize = 2;

/// One action with its sample rows.
struct Sample {
    compiled: Compiled,
    action: ActionName,
    names: Vec<String>,
    rows: Vec<PlannedRow>,
}

/// `penstock render EXPORT.ACTION`
pub async fn render(global: &Global, target: &str, row: Option<&str>, file: Option<&Path>) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    let (export, action) =
        target.rsplit_once('.').ok_or_else(|| Failure::usage(format!("`{target}` is not EXPORT.ACTION: write it like newsletter.add")))?;
    let export = site.export(export)?;
    let sample = Sample::new(&site, export, parse_action(action)?, row, file).await?;
    let attachments = Attachments::of(site.destination_of(export));
    let order = sample.order(&site);
    let Some(rendered) = order.rendered else { return Err(unrendered(&order)) };
    show_request(global, &attachments.shown(&rendered));
    Ok(0)
}

/// `penstock test DESTINATION`
pub async fn test(
    global: &Global,
    destination: &str,
    file: Option<&Path>,
    export: Option<&str>,
    action: Option<&str>,
) -> Result<u8, Failure> {
    let site = Site::open(global)?;
    let destination = site.destination(destination)?;
    let export = match export {
        Some(name) => site.export(name)?,
        None => site.loaded.project.exports.values().find(|export| export.destination == destination.id).ok_or_else(|| {
            Failure::usage(format!("no export goes to `{}`: add one, since its actions and fields make the sample", destination.id))
        })?,
    };
    if export.destination != destination.id {
        return Err(Failure::usage(format!("export {} goes to `{}`, not to `{}`", export.id, export.destination, destination.id)));
    }
    let action = match action {
        Some(action) => parse_action(action)?,
        None => ActionName::ALL.into_iter().find(|name| export.actions.get(*name).is_some()).unwrap_or(ActionName::Add),
    };
    let sample = Sample::new(&site, export, action, None, file).await?;
    let order = sample.order(&site);
    let Some(rendered) = &order.rendered else { return Err(unrendered(&order)) };
    let attachments = Attachments::of(destination);
    let transport = site::transport(global, destination)?;
    let _lock = site.lock()?;
    let lane = site.lane(&destination.id);
    let owner = chance::fresh_name("own", site.clock.now().wall);
    let claim = Claim {
        lane: &lane,
        owner: &owner,
        predecessor: Predecessor::Dead,
        limits: &destination.rate_limits,
        timeout: attachments.timeout(),
        canary: None,
    };
    let ports = Ports { store: &site.store, objects: &site.objects, transport: &transport, clock: &site.clock };
    let (exchange, duration) = match once(ports, claim, &attachments, rendered).await? {
        Once::Done(exchange, duration) => (exchange, duration),
        Once::Held(owner) => return Err(Failure::new(format!("the lane of {} is held by {owner}", destination.id))),
    };
    let compiled = sample.compiled.action(action).expect("it has just been rendered");
    let rule = SuccessRule::of(&compiled.action, compiled.success_path.as_ref(), export.on_partial);
    let verdict = judge(&exchange, order.rows, &rule, &destination.retry, site.clock.now().wall);
    let response = match &exchange {
        Exchange::Response(response) => Some(attachments.shown_response(response)),
        Exchange::Failure { .. } => None,
    };
    let error = verdict.error.as_deref().map(|error| attachments.shown_text(error));
    let ok = verdict.class == engine::judge::Class::Success;
    if global.json {
        let request = attachments.shown(rendered);
        let result = json!({"request": request, "response": response, "class": verdict.class, "error": error, "duration_ms": duration.div_ceil(1000)});
        say!("{result}");
    } else {
        show_request(global, &attachments.shown(rendered));
        say!("");
        if let Some(response) = &response {
            say!("{}", response.status);
            for (name, value) in &response.headers {
                say!("{name}: {value}");
            }
            say!("\n{}", shorten(&response.body, 4000));
            say!("");
        }
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        say!("{} in {} ms{why}", verdict.class.as_str(), duration.div_ceil(1000));
    }
    Ok(if ok { 0 } else { FAILED })
}

impl Sample {
    async fn new(site: &Site, export: &Export, action: ActionName, key: Option<&str>, file: Option<&Path>) -> Result<Sample, Failure> {
        let Some(configured) = export.actions.get(action) else {
            return Err(Failure::usage(format!("action {} of export {} is off", action.as_str(), export.id)));
        };
        let wanted = if configured.batch == BatchMode::Individual { 1 } else { BATCH_ROWS };
        let (names, rows) = match file {
            Some(file) => read_sample(file, export)?,
            None => {
                let model = site.model_of(export);
                let limit = if key.is_some() { LOOKED_THROUGH } else { wanted };
                let scratch = site.scratch()?;
                let place = planning::Place {
                    folder: &site.loaded.folder,
                    remote: &planning::NoRemote,
                    organization: site.organization(),
                    store: &site.store,
                    objects: &site.objects,
                    scratch: &scratch,
                    wall: site.clock.now().wall,
                };
                let source = planning::source(place, model, None).await?;
                let sample = rows::sample(&source, &model.primary_key, &planning::fields(export), limit)?;
                (sample.field_names.to_vec(), sample.rows)
            }
        };
        let rows: Vec<PlannedRow> = rows
            .into_iter()
            .filter(|(own, _)| key.is_none_or(|key| own == key))
            .take(wanted)
            .map(|(key, fields)| PlannedRow { key, key_hash: 0, row_hash: 0, previous: Some(fields.clone()), fields })
            .collect();
        if rows.is_empty() {
            return Err(Failure::usage(match key {
                Some(key) => format!("no row with key `{key}` is among the first {LOOKED_THROUGH} valid rows of model {}", export.model),
                None => format!("model {} has no valid row: give one with --sample FILE", export.model),
            }));
        }
        let compiled = Compiled::new(Shape::of(&site.loaded.project, export)).map_err(Failure::new)?;
        Ok(Sample { compiled, action, names, rows })
    }

    fn order(&self, site: &Site) -> Order {
        let now = site.clock.now().wall;
        let started_at = engine::time::rfc3339(now);
        let occasion = Occasion { run: "run_sample", started_at: &started_at, delivery: &chance::fresh_name("dlv_sample", now) };
        order::order(&self.compiled, self.action, &self.names, &self.rows, occasion)
    }
}

fn parse_action(word: &str) -> Result<ActionName, Failure> {
    let found = ActionName::ALL.into_iter().find(|action| action.as_str() == word);
    found.ok_or_else(|| Failure::usage(format!("there is no action `{word}`: use add, update or remove")))
}

fn unrendered(order: &Order) -> Failure {
    let (reason, body) = order.unsent.first().map_or((String::new(), None), |(_, why)| (why.reason.clone(), why.body.clone()));
    let body = body.map(|body| format!("\nas rendered:\n{body}")).unwrap_or_default();
    Failure::new(format!("the request cannot be made: {reason}{body}"))
}

/// What a row is called, and its fields.
type NamedRow = (String, Fields);

/// A JSON file with a row or a list of rows, under the names that templates use.
fn read_sample(path: &Path, export: &Export) -> Result<(Vec<String>, Vec<NamedRow>), Failure> {
    let wrong = |why: String| Failure::usage(format!("sample {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON: {e}")))?;
    let rows = match value {
        Value::Array(rows) => rows,
        row => vec![row],
    };
    let mut names: Vec<String> = export.fields.iter().map(|field| field.to.clone()).collect();
    for row in &rows {
        let Value::Object(members) = row else { return Err(wrong("a row must be an object of fields".to_string())) };
        for name in members.keys() {
            if names.contains(name) {
                continue;
            }
            if !export.fields.is_empty() {
                return Err(wrong(format!("export {} has no field `{name}`: it has {}", export.id, names.join(", "))));
            }
            names.push(name.clone());
        }
    }
    let fields = |row: &Value| names.iter().map(|name| row.get(name).cloned().unwrap_or(Value::Null)).collect();
    let rows = rows.iter().enumerate().map(|(place, row)| (format!("sample {}", place + 1), fields(row))).collect();
    Ok((names, rows))
}

fn show_request(global: &Global, request: &LoggedRequest) {
    if global.json {
        say!("{}", json!({"request": request}));
        return;
    }
    say!("{} {}", request.method, request.url);
    for (name, value) in &request.headers {
        say!("{name}: {value}");
    }
    if let Some(body) = &request.body {
        say!("\n{body}");
    }
}
