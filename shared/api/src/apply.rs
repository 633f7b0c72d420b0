//! `/v1/apply`: a whole project file at once, checked all together.

use crate::answer::Answer;
use crate::call::Call;
use crate::definition::{Credential, Destination, EventType, Export, Model, Organization, Request, Rule};
use crate::definitions::{catalog, refused};
use crate::office::Office;
use crate::operation::{Body, Chapter, Content, Good, Operation, Verb, of};
use crate::parameters as p;
use crate::problem::Problem;
use engine::schedule;
use engine::token::Scope;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;
use utoipa::ToSchema;

/// A project file, `${NAME}` already replaced. What it does not mention stays, unless pruned.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema; the parser reads the document itself")]
pub(crate) struct Project {
    /// The caller's own; its `id`, if given, must be the token's.
    #[schema(value_type = Option<Object>)]
    organization: Option<Organization>,
    /// By name.
    #[schema(value_type = Option<BTreeMap<String, Credential>>)]
    credentials: Option<BTreeMap<String, Credential>>,
    /// By name.
    #[schema(value_type = Option<BTreeMap<String, Destination>>)]
    destinations: Option<BTreeMap<String, Destination>>,
    /// By name.
    #[schema(value_type = Option<BTreeMap<String, Model>>)]
    models: Option<BTreeMap<String, Model>>,
    /// By name.
    #[schema(value_type = Option<BTreeMap<String, Export>>)]
    exports: Option<BTreeMap<String, Export>>,
    /// By name.
    #[schema(value_type = Option<BTreeMap<String, Request>>)]
    requests: Option<BTreeMap<String, Request>>,
    /// By type.
    #[schema(value_type = Option<BTreeMap<String, EventType>>)]
    event_types: Option<BTreeMap<String, EventType>>,
    /// By name.
    #[schema(value_type = Option<BTreeMap<String, Rule>>)]
    rules: Option<BTreeMap<String, Rule>>,
}

/// What becomes of one definition.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppliedDefinition {
    /// `organization`, `credential`, `destination`, `model`, `export`, `request`, `event_type` or `rule`.
    kind: &'static str,
    /// Its name.
    id: String,
    /// `create`, `update`, `delete` or `none`.
    change: &'static str,
}

/// What became, or would become, of the definitions.
#[derive(Serialize, ToSchema)]
pub(crate) struct Applied {
    /// Whether nothing was changed.
    dry_run: bool,
    /// Of every definition that the project mentions, and of those that are pruned.
    changes: Vec<AppliedDefinition>,
}

pub(crate) static APPLY: Operation = Operation {
    id: "apply",
    summary: "Apply a project file",
    about: "Makes a project file's content what is defined, as `penstock apply` does. All of it is checked together first, and nothing is \
            changed where anything is wrong. Exports that stay keep their snapshots.",
    scope: Some(Scope::Write),
    parameters: &[&p::APPLY_DRY_RUN, &p::PRUNE, &p::IDEMPOTENCY_KEY],
    body: Some(Body {
        content: Content::Json(of::<Project>),
        required: true,
        about: "The project.",
        example: r#"{"models": {"newsletter": {"primary_key": ["id"], "source": {"type": "push"}}}}"#,
    }),
    good: &[Good::json(200, "What became of each definition.", of::<Applied>, "")],
    ..Operation::new(Verb::Post, "/v1/apply", Chapter::Organization)
};

pub(crate) async fn apply<O: Office>(office: Rc<O>, call: Call) -> Result<Answer, Problem> {
    let document: Value = call.json()?.unwrap_or_default();
    let organization = call.organization()?;
    let (dry_run, prune) = (call.flag("dry_run", false), call.flag("prune", false));
    let applied = catalog(&*office, &call)?.apply(&document, prune, dry_run).await?;
    let applied = applied.map_err(|refused| self::refused(refused, "organization", organization.as_str()))?;
    if !dry_run && applied.iter().any(|applied| applied.is_change()) {
        for gone in applied.iter().filter(|applied| applied.kind == "export" && applied.change.as_str() == "delete") {
            if let Ok(export) = engine::model::name::Name::new(&gone.id) {
                schedule::forget(office.store(), organization, &export, office.now().wall / 1_000_000).await?;
            }
        }
        for gone in applied.iter().filter(|applied| applied.kind == "model" && applied.change.as_str() == "delete") {
            if let Ok(model) = engine::model::name::Name::new(&gone.id) {
                engine::push::forget(office.store(), office.objects(), organization, &model, office.now().wall / 1_000_000).await?;
            }
        }
        office.refresh(organization, None).await?;
    }
    let changes = applied.into_iter().map(|one| AppliedDefinition { kind: one.kind, id: one.id, change: one.change.as_str() });
    Ok(Answer::json(200, &Applied { dry_run, changes: changes.collect() }))
}
