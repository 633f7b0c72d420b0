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
use std::path::{Path, PathBuf};

/// Where rows lie, and what is needed to get at them.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a, S, O> {
    /// The folder that relative paths of sources start from.
    pub folder: &'a Path,
    /// Whose models they are.
    pub organization: &'a Name,
    /// Documents.
    pub store: &'a S,
    /// Objects.
    pub objects: &'a O,
    /// A folder for files that vanish with the process.
    pub scratch: &'a Path,
    /// Unix microseconds.
    pub wall: u64,
}

/// The source of a model's rows as they stand now.
pub async fn source<S: Store, O: Objects>(place: Place<'_, S, O>, model: &Model) -> Result<rows::Source, PlanError> {
    if let Some(source) = outside(place.folder, model) {
        return Ok(source);
    }
    let Place { organization, store, objects, scratch, wall, .. } = place;
    let fresh = chance::fresh_name("fold", wall);
    let folding = Folding { to: scratch.join(format!("{fresh}.ndjson.zst")) };
    let rows = current(store, objects, organization, model, &fresh, &folding, wall / 1_000_000).await?;
    let Some(rows) = rows else {
        return Err(PlanError::other(format!(
            "model {}: no rows were pushed yet; push some to `penstock serve`, then run again",
            model.id
        )));
    };
    Ok(rows::Source::Pushed(objects.local(&rows.object).await?))
}

/// Where a model's rows lie; relative paths start from the project's folder. `None`: they are pushed, and lie in the data directory.
pub fn outside(folder: &std::path::Path, model: &Model) -> Option<rows::Source> {
    match &model.source {
        Source::File { path, format } => {
            let format = format.map(|format| match format {
                FileFormat::Csv => Format::Csv,
                FileFormat::Ndjson => Format::Ndjson,
                FileFormat::Parquet => Format::Parquet,
            });
            Some(rows::Source::File(FileSource { path: folder.join(path), format }))
        }
        Source::Postgres { dsn, query } => Some(rows::Source::Postgres(PostgresSource { dsn: dsn.clone(), query: query.clone() })),
        Source::Push => None,
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
