//! `penstock validate`: the project file, then whether its rows are there and have the columns that it uses. It must not read rows
//! itself: who reads them comes as an argument.

use super::{LoadError, Loaded, Report, fields, load};
use engine::configure::{path_of_item, path_of_key};
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

/// What `validate` found where nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// How many destinations there are.
    pub destinations: usize,
    /// How many models there are.
    pub models: usize,
    /// How many exports there are.
    pub exports: usize,
    /// What is allowed and yet hardly meant: templates that read fields that no row has.
    pub warnings: Report,
}

impl Sound {
    /// What `--json` prints.
    pub fn to_json(&self) -> serde_json::Value {
        let Sound { destinations, models, exports, warnings } = self;
        json!({"problems": [], "warnings": warnings.to_json(), "destinations": destinations, "models": models, "exports": exports})
    }

    /// For people: `penstock.yaml is sound: 1 destination, 1 model, 1 export`, and below it the warnings, if there are any.
    pub fn sentence(&self, file: &Path) -> String {
        let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (destinations, models, exports) =
            (counted(self.destinations, "destination"), counted(self.models, "model"), counted(self.exports, "export"));
        let sentence = format!("{} is sound: {destinations}, {models}, {exports}", file.display());
        if self.warnings.problems().is_empty() { sentence } else { format!("{sentence}\n{}", self.warnings) }
    }
}

/// Checks a project file and its rows. `look` is asked once for each model, with the folder that relative paths start from and the
/// columns that the project uses; it answers with problems at the paths of those columns, or below `models.<name>.source` where the
/// rows cannot be read.
///
/// # Errors
/// Everything that is wrong with the file; or, where it is sound, with the rows.
pub fn validate(path: &Path, mut look: impl FnMut(&Path, &Model, &[ColumnUse]) -> Vec<Problem>) -> Result<Sound, LoadError> {
    let loaded = load(path)?;
    let Loaded { project, folder, places } = &loaded;
    let ask = |model| look(folder, model, &columns_used(project, model));
    let problems: Vec<Problem> = project.models.values().flat_map(ask).collect();
    if !problems.is_empty() {
        return Err(LoadError::Problems(places.report(problems)));
    }
    let warnings = project.exports.values().flat_map(|export| fields::unknown(&loaded, export)).collect();
    let (destinations, models, exports) = (project.destinations.len(), project.models.len(), project.exports.len());
    Ok(Sound { destinations, models, exports, warnings: places.report(warnings).of_warnings() })
}

/// The path that these keys make.
pub(super) fn path_to(keys: &[&str]) -> String {
    keys.iter().fold(String::new(), |path, key| path_of_key(&path, key))
}

/// The columns of a model that the project names: its key, and what its exports map and ignore.
fn columns_used(project: &Project, model: &Model) -> Vec<ColumnUse> {
    let listed = |list: &[String], path: String| -> Vec<ColumnUse> {
        let place = |(index, column): (usize, &String)| ColumnUse { column: column.clone(), path: path_of_item(&path, index) };
        list.iter().enumerate().map(place).collect()
    };
    let mut uses = listed(&model.primary_key, path_to(&["models", model.id.as_str(), "primary_key"]));
    for export in project.exports.values().filter(|export| export.model == model.id) {
        let fields = path_to(&["exports", export.id.as_str(), "fields"]);
        uses.extend(
            export
                .fields
                .iter()
                .enumerate()
                .map(|(index, field)| ColumnUse { column: field.from.clone(), path: path_of_key(&path_of_item(&fields, index), "from") }),
        );
        uses.extend(listed(&export.ignore_in_diff, path_to(&["exports", export.id.as_str(), "ignore_in_diff"])));
    }
    uses
}
