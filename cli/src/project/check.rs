//! `penstock validate`: the project file, then whether its rows are there and have the columns that it uses. It must not read rows
//! itself: who reads them comes as an argument.

use super::{LoadError, Loaded, load};
use engine::configure::{path_of_item, path_of_key};
use engine::model::name::Name;
use engine::model::project::{Problem, Project};
use engine::model::source::Model;
use serde_json::json;
use std::path::Path;

/// A column that the project uses, and where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnUse {
    /// The column of the model's source.
    pub column: String,
    /// The path in the project file, as in `exports.people.fields[2].from`.
    pub path: String,
}

/// What `validate` found when nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// How many of each there are.
    pub credentials: usize,
    /// See `credentials`.
    pub destinations: usize,
    /// See `credentials`.
    pub models: usize,
    /// See `credentials`.
    pub exports: usize,
}

impl Sound {
    fn of(project: &Project) -> Sound {
        let Project { credentials, destinations, models, exports, .. } = project;
        Sound { credentials: credentials.len(), destinations: destinations.len(), models: models.len(), exports: exports.len() }
    }

    /// What `--json` prints.
    pub fn to_json(self) -> serde_json::Value {
        json!({"problems": [], "destinations": self.destinations, "models": self.models, "exports": self.exports, "credentials": self.credentials})
    }

    /// The line for people: `penstock.yaml is sound: 1 destination, 1 model, 1 export`.
    pub fn sentence(self, file: &Path) -> String {
        let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (destinations, models, exports) =
            (counted(self.destinations, "destination"), counted(self.models, "model"), counted(self.exports, "export"));
        format!("{} is sound: {destinations}, {models}, {exports}", file.display())
    }
}

/// Checks a project file and its rows. `look` is asked once for each model: it gets the folder that relative paths start from, the
/// model and the columns that the project uses of it, and answers with problems at the paths of those columns, or at
/// `models.<name>.source.path` where the rows cannot be read.
///
/// # Errors
/// Everything that is wrong with the file; or, where it is sound, with the rows.
pub fn validate(path: &Path, look: impl FnMut(&Path, &Model, &[ColumnUse]) -> Vec<Problem>) -> Result<Sound, LoadError> {
    let loaded = load(path)?;
    check_rows(&loaded, look)?;
    Ok(Sound::of(&loaded.project))
}

/// The second half of [`validate`], for a project that is loaded already.
pub fn check_rows(loaded: &Loaded, mut look: impl FnMut(&Path, &Model, &[ColumnUse]) -> Vec<Problem>) -> Result<(), LoadError> {
    let problems: Vec<Problem> =
        loaded.project.models.values().flat_map(|model| look(&loaded.folder, model, &columns_used(&loaded.project, model))).collect();
    if problems.is_empty() { Ok(()) } else { Err(LoadError::Problems(loaded.places.report(problems))) }
}

/// The columns of a model that the project names: its key, and what its exports map and ignore.
fn columns_used(project: &Project, model: &Model) -> Vec<ColumnUse> {
    let at = |kind: &str, id: &Name, key: &str| path_of_key(&path_of_key(kind, id.as_str()), key);
    let listed = |list: &[String], path: String| -> Vec<ColumnUse> {
        let place = |(index, column): (usize, &String)| ColumnUse { column: column.clone(), path: path_of_item(&path, index) };
        list.iter().enumerate().map(place).collect()
    };
    let mut uses = listed(&model.primary_key, at("models", &model.id, "primary_key"));
    for export in project.exports.values().filter(|export| export.model == model.id) {
        let fields = at("exports", &export.id, "fields");
        uses.extend(
            export
                .fields
                .iter()
                .enumerate()
                .map(|(index, field)| ColumnUse { column: field.from.clone(), path: path_of_key(&path_of_item(&fields, index), "from") }),
        );
        uses.extend(listed(&export.ignore_in_diff, at("exports", &export.id, "ignore_in_diff")));
    }
    uses
}
