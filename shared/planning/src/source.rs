//! Where a model's rows are read from, those that were pushed included: what was pushed since is folded in first. It must not read rows
//! itself.

use crate::PlanError;
use engine::model::export::Export;
use engine::model::name::Name;
use engine::model::source::{FileFormat, Model, Source};
use engine::port::{Objects, PortError, Store};
use engine::push::{FoldRows, current};
use process::chance;
use rows::{FieldMapping, FileSource, Format, PostgresSource};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

/// A future that borrows what it works with.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, PlanError>> + 'a>>;

/// Gets at rows that only a stack gets at: objects in S3, queries on Athena.
pub trait Remote {
    /// Has a model's rows put where they can be brought from, more than once and by others; where that is, if they are not there in any
    /// case. Whoever asks for it has to forget it.
    fn stage<'a>(&'a self, model: &'a Model) -> Doing<'a, Option<String>>;

    /// Brings a model's rows into a folder, and says where they are read there.
    fn bring<'a>(&'a self, model: &'a Model, staged: Option<&'a str>, folder: &'a Path) -> Doing<'a, rows::Source>;

    /// Removes what it has staged; of a place that is none of its own it leaves alone what is there.
    fn forget<'a>(&'a self, staged: &'a str) -> Doing<'a, ()>;
}

/// Gets at nothing: a machine of one's own has files, databases and pushed rows.
#[derive(Clone, Copy, Debug)]
pub struct NoRemote;

impl NoRemote {
    fn refusal(model: &Model) -> PlanError {
        let what = if matches!(model.source, Source::Athena { .. }) { "a query on Athena" } else { "s3://" };
        PlanError::other(format!(
            "model {}: {what} is read by a stack on AWS only: `penstock apply --url` brings the project there; here, use files, postgres or push",
            model.id
        ))
    }
}

impl Remote for NoRemote {
    fn stage<'a>(&'a self, model: &'a Model) -> Doing<'a, Option<String>> {
        Box::pin(async move { Err(NoRemote::refusal(model)) })
    }

    fn bring<'a>(&'a self, model: &'a Model, _: Option<&'a str>, _: &'a Path) -> Doing<'a, rows::Source> {
        Box::pin(async move { Err(NoRemote::refusal(model)) })
    }

    fn forget<'a>(&'a self, _: &'a str) -> Doing<'a, ()> {
        Box::pin(async move { Ok(()) })
    }
}

/// Where rows lie, and what is needed to get at them.
#[derive(Clone, Copy)]
pub struct Place<'a, S, O> {
    /// The folder that relative paths of sources start from.
    pub folder: &'a Path,
    /// Whose models they are.
    pub organization: &'a Name,
    /// Documents.
    pub store: &'a S,
    /// Objects.
    pub objects: &'a O,
    /// Gets at what lies elsewhere.
    pub remote: &'a dyn Remote,
    /// A folder for files that vanish with the process.
    pub scratch: &'a Path,
    /// Unix microseconds.
    pub wall: u64,
}

/// Has a model's rows put where all who read them for the same run find them, and gives where that is: pushed rows are folded, a query on
/// Athena is answered. `None`: they are where they are, and each read is of its own moment.
pub async fn stage<S: Store, O: Objects>(place: Place<'_, S, O>, model: &Model) -> Result<Option<String>, PlanError> {
    match model.source {
        Source::S3 { .. } | Source::Athena { .. } => place.remote.stage(model).await,
        Source::Push => pushed(place, model).await.map(Some),
        Source::File { .. } | Source::Postgres { .. } => Ok(None),
    }
}

/// The source of a model's rows as they stand now, or as they were staged.
pub async fn source<S: Store, O: Objects>(place: Place<'_, S, O>, model: &Model, staged: Option<&str>) -> Result<rows::Source, PlanError> {
    if let Some(source) = outside(place.folder, model) {
        return Ok(source);
    }
    match (&model.source, staged) {
        (Source::Push, Some(object)) => Ok(rows::Source::Pushed(place.objects.local(object).await?)),
        (Source::Push, None) => Ok(rows::Source::Pushed(place.objects.local(&pushed(place, model).await?).await?)),
        _ => place.remote.bring(model, staged, place.scratch).await,
    }
}

/// The object with the rows that were pushed to a model, those that came since the last time folded in.
async fn pushed<S: Store, O: Objects>(place: Place<'_, S, O>, model: &Model) -> Result<String, PlanError> {
    let Place { organization, store, objects, scratch, wall, .. } = place;
    let fresh = chance::fresh_name("fold", wall);
    let folding = Folding { to: scratch.join(format!("{fresh}.ndjson.zst")) };
    let rows = current(store, objects, organization, model, &fresh, &folding, wall / 1_000_000).await?;
    rows.map(|rows| rows.object).ok_or_else(|| {
        PlanError::other(format!("model {}: no rows were pushed yet; push some to `penstock serve`, then run again", model.id))
    })
}

/// Where a model's rows lie, if in files of this machine or in a database; relative paths start from the project's folder.
pub fn outside(folder: &std::path::Path, model: &Model) -> Option<rows::Source> {
    match &model.source {
        Source::File { path, format } => Some(rows::Source::File(FileSource { path: folder.join(path), format: format.map(read_as) })),
        Source::Postgres { dsn, query } => Some(rows::Source::Postgres(PostgresSource { dsn: dsn.clone(), query: query.clone() })),
        Source::S3 { .. } | Source::Athena { .. } | Source::Push => None,
    }
}

/// A format, as `rows` names it.
pub fn read_as(format: FileFormat) -> Format {
    match format {
        FileFormat::Csv => Format::Csv,
        FileFormat::Ndjson => Format::Ndjson,
        FileFormat::Parquet => Format::Parquet,
    }
}

/// The field mapping of an export, as `rows` takes it.
pub fn fields(export: &Export) -> Vec<FieldMapping> {
    export.fields.iter().map(|field| FieldMapping { from: field.from.clone(), to: field.to.clone() }).collect()
}

/// Folds into a file of the scratch folder.
struct Folding {
    to: PathBuf,
}

impl FoldRows for Folding {
    fn fold(&self, base: &[PathBuf], changes: &[PathBuf], primary_key: &[String]) -> Result<(PathBuf, u64), PortError> {
        match rows::fold(base, changes, primary_key, &self.to) {
            Ok(folded) => Ok((self.to.clone(), folded.rows)),
            Err(error) => {
                // Half a base is no use; if it cannot be removed it goes with the rest of the scratch folder.
                let _ = std::fs::remove_file(&self.to);
                match error.kind {
                    rows::ErrorKind::Full => Err(PortError::Full(error.to_string())),
                    _ => Err(PortError::Failed(error.to_string())),
                }
            }
        }
    }
}
