//! What shapes an export's requests: pinned when a run begins, compiled once, rendered for each delivery.
//!
//! Limits, retries, timeouts, credentials and secret headers are not here: those are the current ones, not the run's.

use crate::model::action::{Action, ActionName, Actions, BatchMode, Body};
use crate::model::export::{Export, FieldMapping, OnError, OnPartial};
use crate::model::project::Project;
use crate::plan::block::PlannedRow;
use crate::port::Method;
use crate::success_path::SuccessPath;
use crate::template::{Content, RenderError, RenderProblem, Row, Scope, Template, UrlTemplate};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The pinned part of an export and its destination. Holds no secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// The export.
    pub export: String,
    /// `{{audience_name}}`
    pub audience_name: String,
    /// `{{audience_id}}`
    pub audience_id: String,
    /// `{{organization_name}}`
    pub organization_name: String,
    /// The destination's base URL.
    pub base_url: url::Url,
    /// Headers of every request; values are templates.
    pub headers: Vec<(String, String)>,
    /// Where the idempotency key goes.
    pub idempotency_header: Option<String>,
    /// The merged actions.
    pub actions: Actions,
    /// Empty: all columns.
    pub fields: Vec<FieldMapping>,
    /// The model's key.
    pub primary_key: Vec<String>,
    /// What fewer rows than sent means.
    pub on_partial: OnPartial,
    /// What used-up retries mean.
    pub on_error: OnError,
}

impl Shape {
    /// Of an export as the project has it.
    pub fn of(project: &Project, export: &Export) -> Shape {
        let destination = &project.destinations[&export.destination];
        let model = &project.models[&export.model];
        Shape {
            export: export.id.to_string(),
            audience_name: model.name.clone(),
            audience_id: model.id.to_string(),
            organization_name: project.organization.name.clone(),
            base_url: destination.base_url.clone(),
            headers: destination.headers.clone(),
            idempotency_header: destination.idempotency_header.clone(),
            actions: export.actions.clone(),
            fields: export.fields.clone(),
            primary_key: model.primary_key.clone(),
            on_partial: export.on_partial,
            on_error: export.on_error,
        }
    }

    /// Changes with anything that shapes requests.
    pub fn version(&self) -> String {
        hash_of(&serde_json::to_vec(self).expect("plain data always serializes"))
    }

    /// Changes with the fields or the key: then the snapshot's hashes no longer compare.
    pub fn mapping_version(&self) -> String {
        hash_of(&serde_json::to_vec(&(&self.fields, &self.primary_key)).expect("plain data always serializes"))
    }
}

fn hash_of(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

/// An action, ready to render.
#[derive(Debug)]
pub struct CompiledAction {
    /// As configured.
    pub action: Action,
    /// GL-54.
    pub success_path: Option<SuccessPath>,
    url: UrlTemplate,
    headers: Vec<(String, Template)>,
    body: Option<Template>,
    /// Whether rows of one batch could differ in URL, query or headers.
    pub groups: bool,
}

/// A shape, ready to render.
#[derive(Debug)]
pub struct Compiled {
    /// As pinned.
    pub shape: Shape,
    add: Option<CompiledAction>,
    update: Option<CompiledAction>,
    remove: Option<CompiledAction>,
    organization_name: Value,
    audience_name: Value,
    audience_id: Value,
    export: Value,
    /// Whether any template reads `run` or `delivery`: they are made for each request.
    reads_occasion: bool,
}

/// What a delivery is, besides its rows.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The run.
    pub run: &'a str,
    /// The run's start, as `{{run.started_at}}` and the frozen "now".
    pub started_at: &'a str,
    /// The delivery's id, which is its idempotency key.
    pub delivery: &'a str,
}

/// A request without its secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: url::Url,
    /// Headers, the idempotency key among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Vec<u8>>,
}

/// Why rows cannot be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Unrendered {
    /// What is wrong, for a person.
    pub reason: String,
    /// The body as rendered, where it did not parse.
    pub body: Option<String>,
    /// Whether it is the body that is wrong, so that halving a batch finds the rows.
    pub in_body: bool,
}

impl Compiled {
    /// Compiles what was pinned. The error says which template does not compile any more.
    pub fn new(shape: Shape) -> Result<Compiled, String> {
        let compile = |name: ActionName| {
            let action = shape.actions.get(name).cloned();
            action
                .map(|a| CompiledAction::new(&shape.base_url, &shape.headers, a).map_err(|e| format!("actions.{}: {e}", name.as_str())))
                .transpose()
        };
        let (add, update, remove) = (compile(ActionName::Add)?, compile(ActionName::Update)?, compile(ActionName::Remove)?);
        let reads_occasion = [&add, &update, &remove].into_iter().flatten().any(|action| action.uses("run") || action.uses("delivery"));
        Ok(Compiled {
            add,
            update,
            remove,
            reads_occasion,
            organization_name: json!(shape.organization_name),
            audience_name: json!(shape.audience_name),
            audience_id: json!(shape.audience_id),
            export: json!({"id": shape.export}),
            shape,
        })
    }

    /// The action of that name, if it is on.
    pub fn action(&self, name: ActionName) -> Option<&CompiledAction> {
        match name {
            ActionName::Add => self.add.as_ref(),
            ActionName::Update => self.update.as_ref(),
            ActionName::Remove => self.remove.as_ref(),
        }
    }

    /// Whether any template reads `previous`, so that changed rows need their last delivered fields.
    pub fn wants_previous(&self) -> bool {
        self.update.as_ref().is_some_and(|action| action.uses("previous"))
    }

    /// What tells which rows may share a request: the rendered URL, query and headers of one row.
    pub fn group_of(&self, name: ActionName, names: &[String], row: &PlannedRow, occasion: Occasion) -> Result<String, Unrendered> {
        let rendered = self.render_head(name, names, std::slice::from_ref(row), occasion)?;
        let mut group = rendered.url.to_string();
        for (name, value) in rendered.headers {
            group.extend(["\n", &name, ":", &value]);
        }
        Ok(group)
    }

    /// Renders a delivery. `names` are the fields' names of all rows.
    pub fn render(&self, name: ActionName, names: &[String], rows: &[PlannedRow], occasion: Occasion) -> Result<Rendered, Unrendered> {
        let rendered = self.render_head(name, names, rows, occasion)?;
        let action = self.action(name).expect("a delivery's action is on");
        let individual = action.action.batch == BatchMode::Individual;
        self.with_scope(names, rows, individual, occasion, |scope| action.complete(rendered, scope))
    }

    /// URL, query and headers, as the first row makes them.
    fn render_head(&self, name: ActionName, names: &[String], rows: &[PlannedRow], occasion: Occasion) -> Result<Rendered, Unrendered> {
        let action = self.action(name).expect("a delivery's action is on");
        let idempotency = self.shape.idempotency_header.as_deref().map(|header| (header, occasion.delivery));
        self.with_scope(names, &rows[..1], true, occasion, |scope| action.head(scope, idempotency))
    }

    fn with_scope<T>(
        &self,
        names: &[String],
        rows: &[PlannedRow],
        individual: bool,
        occasion: Occasion,
        render: impl FnOnce(&Scope) -> T,
    ) -> T {
        let views: Vec<Row> = rows.iter().map(|row| Row::new(names, &row.fields)).collect();
        let previous = rows.first().and_then(|row| row.previous.as_ref()).map(|fields| Row::new(names, fields));
        let (run, delivery) = match self.reads_occasion {
            true => (
                json!({"id": occasion.run, "started_at": occasion.started_at}),
                json!({"id": occasion.delivery, "idempotency_key": occasion.delivery}),
            ),
            false => (Value::Null, Value::Null),
        };
        let roots = [
            ("audience_name", &self.audience_name),
            ("audience_id", &self.audience_id),
            ("organization_name", &self.organization_name),
            ("run", &run),
            ("export", &self.export),
            ("delivery", &delivery),
        ];
        render(&Scope { rows: &views, individual, previous, roots: &roots })
    }
}

impl CompiledAction {
    /// Of an action under a base URL; `headers` are those of every request there. The error says which template does not compile.
    pub fn new(base_url: &url::Url, headers: &[(String, String)], action: Action) -> Result<CompiledAction, String> {
        let compile = |place: &str, source: &str, content| Template::compile(source, content).map_err(|e| format!("{place}: {e}"));
        let mut sources: Vec<(String, String)> =
            headers.iter().filter(|(name, _)| !action.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))).cloned().collect();
        sources.extend(action.headers.iter().cloned());
        let headers = sources
            .into_iter()
            .map(|(name, source)| compile(&format!("headers.{name}"), &source, Content::Header).map(|t| (name, t)))
            .collect::<Result<Vec<_>, _>>()?;
        let body = match &action.body {
            Body::Empty => None,
            Body::Json(source) => Some(compile("body", source, Content::Json)?.strict(action.strict)),
            Body::Text(source) => Some(compile("body", source, Content::Text)?.strict(action.strict)),
        };
        let mut url = UrlTemplate::compile(&action.url, base_url).map_err(|e| format!("url: {e}"))?;
        for (name, source) in &action.query {
            url = url.parameter(name, source).map_err(|e| format!("query.{name}: {e}"))?;
        }
        let success_path =
            action.success_path.as_deref().map(SuccessPath::compile).transpose().map_err(|e| format!("success_path: {e}"))?;
        let differs = url.depends_on_row() || headers.iter().any(|(_, template)| template.depends_on_row());
        let groups = action.batch != BatchMode::Individual && differs;
        Ok(CompiledAction { action, success_path, url, headers, body, groups })
    }

    /// URL, query and headers; `idempotency` is the header that carries the delivery's key, and the key.
    pub fn head(&self, scope: &Scope, idempotency: Option<(&str, &str)>) -> Result<Rendered, Unrendered> {
        let wrong = |place: String, error: RenderError| Unrendered { reason: format!("{place}: {error}"), body: None, in_body: false };
        let url = self.url.render(scope).map_err(|e| wrong("url".to_string(), e))?;
        let mut headers = Vec::with_capacity(self.headers.len() + 2);
        for (name, template) in &self.headers {
            headers.push((name.clone(), template.render(scope).map_err(|e| wrong(format!("headers.{name}"), e))?));
        }
        headers.extend(idempotency.map(|(header, key)| (header.to_string(), key.to_string())));
        Ok(Rendered { method: self.action.method, url, headers, body: None })
    }

    /// Adds the body, if there is one, and what its type is.
    pub fn complete(&self, mut rendered: Rendered, scope: &Scope) -> Result<Rendered, Unrendered> {
        let Some(body) = &self.body else { return Ok(rendered) };
        let mut out = Vec::with_capacity(256 * scope.rows.len());
        if let Err(error) = body.render_into(&mut out, scope) {
            let broken = (error.problem == RenderProblem::NotJson).then(|| String::from_utf8_lossy(&out).into_owned());
            return Err(Unrendered { reason: format!("body: {error}"), body: broken, in_body: true });
        }
        if !rendered.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            let value = if body.content() == Content::Json { "application/json" } else { "text/plain; charset=utf-8" };
            rendered.headers.push(("Content-Type".to_string(), value.to_string()));
        }
        rendered.body = Some(out);
        Ok(rendered)
    }

    fn uses(&self, name: &str) -> bool {
        let mut templates = self.headers.iter().map(|(_, template)| template).chain(&self.body);
        self.url.uses(name) || templates.any(|template| template.uses(name))
    }
}
