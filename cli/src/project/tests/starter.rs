//! The starter project, and `validate` with its look at the rows.

use crate::project::check::Sound;
use crate::project::{ColumnUse, LoadError, init, load, validate};
use engine::model::action::BatchMode;
use engine::model::project::Problem;
use engine::model::source::Source;
use std::path::Path;

/// Validates a project whose rows have these columns.
fn validate_columns(file: &Path, names: &[&str]) -> Result<Sound, LoadError> {
    validate(file, |_, _, uses| {
        let missing = uses.iter().filter(|used| !names.contains(&used.column.as_str()));
        missing.map(|ColumnUse { column, path }| Problem { path: path.clone(), message: format!("no column `{column}`") }).collect()
    })
}

/// A starter project with one text replaced.
fn changed(from: &str, to: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path()).unwrap();
    let file = folder.path().join("penstock.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    (folder, file)
}

/// The line of the first place where a text stands.
fn line_of(file: &Path, text: &str) -> usize {
    std::fs::read_to_string(file).unwrap().lines().position(|line| line.contains(text)).unwrap() + 1
}

const COLUMNS: [&str; 4] = ["id", "email_address", "full_name", "city"];

#[test]
fn the_starter_project_is_sound_and_its_rows_have_the_columns_it_uses() {
    let folder = tempfile::tempdir().unwrap();
    let starter = init(folder.path()).unwrap();
    assert_eq!(starter.files.len(), 2);
    let file = folder.path().join("penstock.yaml");
    let mut asked = 0;
    let sound = validate(&file, |at, model, uses| {
        asked += 1;
        let Source::File { path, .. } = &model.source else { panic!("{:?}", model.source) };
        let rows = std::fs::read_to_string(at.join(path)).unwrap();
        assert_eq!(rows.lines().count(), 21, "a header and twenty rows");
        let columns: Vec<&str> = rows.lines().next().unwrap().split(',').collect();
        assert_eq!(columns, COLUMNS);
        assert!(uses.iter().all(|used| columns.contains(&used.column.as_str())), "{uses:?}");
        Vec::new()
    })
    .unwrap();
    assert_eq!(asked, 1);
    assert_eq!(sound.sentence(Path::new("penstock.yaml")), "penstock.yaml is sound: 1 destination, 1 model, 1 export");
    assert_eq!(sound.warnings.problems(), []);
    let loaded = load(&file).unwrap();
    let actions = &loaded.project.exports.values().next().unwrap().actions;
    assert_eq!(actions.add.as_ref().unwrap().batch, BatchMode::Batched(100));
    assert!(actions.update == actions.add && actions.remove.is_some());
    let destination = loaded.project.destinations.values().next().unwrap();
    assert_eq!(destination.base_url.as_str(), "http://127.0.0.1:8080/", "where `penstock receive` listens by default");
    assert!(starter.to_string().contains("penstock run newsletter"));
}

#[test]
fn init_overwrites_nothing_and_writes_nothing_beside_it() {
    for existing in ["penstock.yaml", "rows/newsletter.csv"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(existing);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let error = init(folder.path()).unwrap_err();
        assert!(error.contains("is there already and stays as it is"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let files = ["penstock.yaml", "rows/newsletter.csv"].iter().filter(|name| folder.path().join(name).exists()).count();
        assert_eq!(files, 1);
    }
}

#[test]
fn init_makes_the_folder_and_says_when_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    let shown = init(&inner).unwrap().to_string();
    assert!(shown.contains("cd ") && inner.join("rows/newsletter.csv").is_file());
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = init(&folder.path().join("file/x")).unwrap_err();
    assert!(error.contains("cannot be written"), "{error}");
}

#[test]
fn validate_asks_for_every_column_that_the_project_names_and_places_the_answers() {
    let (_folder, file) = changed("guard:", "ignore_in_diff: [town]\n    guard:");
    let mut seen: Vec<(String, String)> = Vec::new();
    validate(&file, |_, _, uses| {
        seen.extend(uses.iter().map(|used| (used.column.clone(), used.path.clone())));
        Vec::new()
    })
    .unwrap();
    let seen: Vec<(&str, &str)> = seen.iter().map(|(column, path)| (column.as_str(), path.as_str())).collect();
    let expected = [
        ("id", "models.newsletter.primary_key[0]"),
        ("id", "exports.newsletter.fields[0].from"),
        ("email_address", "exports.newsletter.fields[1].from"),
        ("full_name", "exports.newsletter.fields[2].from"),
        ("town", "exports.newsletter.ignore_in_diff[0]"),
    ];
    assert_eq!(seen, expected);
    let shown = validate_columns(&file, &[]).unwrap_err().to_string();
    for (place, column, words) in [
        ("primary_key", 19, "models.newsletter.primary_key[0]: no column `id`"),
        ("from: email_address", 10, "exports.newsletter.fields[1].from: no column `email_address`"),
        ("from: full_name", 10, "exports.newsletter.fields[2].from: no column `full_name`"),
        ("[town]", 22, "exports.newsletter.ignore_in_diff[0]: no column `town`"),
    ] {
        let line = format!("penstock.yaml:{}:{column}  {words}", line_of(&file, place));
        assert!(shown.contains(&line), "no {line}: {shown}");
    }
    assert!(shown.ends_with("5 problems"), "{shown}");
}

#[test]
fn validate_says_where_rows_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path()).unwrap();
    let file = folder.path().join("penstock.yaml");
    let gone =
        || Problem { path: "models.newsletter.source.path".to_string(), message: "there is no file rows/newsletter.csv".to_string() };
    let shown = validate(&file, |_, _, _| vec![gone()]).unwrap_err().to_string();
    let line = format!("penstock.yaml:{}:26  models.newsletter.source.path: there is no file", line_of(&file, "path: rows/"));
    assert!(shown.contains(&line), "no {line}: {shown}");
}

#[test]
fn templates_that_read_a_field_no_row_has_are_warned_about_once() {
    let (_folder, file) = changed("\"email\": \"{{email}}\"", "\"email\": \"{{emial}}\"");
    let sound = validate_columns(&file, &COLUMNS).unwrap();
    let shown = sound.warnings.to_string();
    let start = format!(
        "penstock.yaml:{}:9  destinations.crm.actions.add.body: no row of export `newsletter` has a field `emial`",
        line_of(&file, "body:")
    );
    assert!(shown.contains(&start) && shown.contains("line 2, column") && shown.ends_with("did you mean `email`?\n1 warning"), "{shown}");
    assert!(sound.sentence(&file).ends_with(&format!("1 export\n{shown}")));
    assert_eq!(sound.to_json()["warnings"][0]["path"], "destinations.crm.actions.add.body");
    let (_folder, file) = changed("/members/{{user.id}}", "/members/{{user.key}}");
    let sound = validate_columns(&file, &COLUMNS).unwrap();
    assert_eq!(sound.warnings.problems()[0].path, "destinations.crm.actions.remove.url");
}

#[test]
fn an_export_that_maps_no_fields_is_not_warned_about() {
    let mapped = "    fields:\n      - {from: id, to: id}\n      - {from: email_address, to: email}\n      - {from: full_name, to: name}\n";
    let (_folder, file) = changed(mapped, "");
    let sound = validate_columns(&file, &COLUMNS).unwrap();
    assert_eq!(sound.warnings.problems(), [], "its fields are the columns, which are not known here");
}

#[test]
fn a_report_of_many_problems_is_cut_for_people_and_whole_for_machines() {
    let (_folder, file) = changed("id: example", &(0..300).map(|index| format!("key{index}: 1\n  ")).collect::<String>());
    let error = load(&file).unwrap_err();
    let shown = error.to_string();
    assert!(shown.ends_with("… and 100 more\n300 problems"), "{shown}");
    assert_eq!(error.to_json()["problems"].as_array().unwrap().len(), 300);
}
