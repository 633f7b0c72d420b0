//! The starter project, and `validate` with its look at the rows.

use crate::project::{ColumnUse, init, load, validate};
use engine::model::action::BatchMode;
use engine::model::project::Problem;
use engine::model::source::Source;
use std::path::Path;

#[test]
fn the_starter_project_is_sound_and_its_rows_have_the_columns_it_uses() {
    let folder = tempfile::tempdir().unwrap();
    let starter = init(folder.path()).unwrap();
    assert_eq!(starter.files.len(), 2);
    let file = folder.path().join("penstock.yaml");
    let mut asked = 0;
    let sound = validate(&file, |at, model, uses| {
        asked += 1;
        let Source::File { path, .. } = &model.source;
        let rows = std::fs::read_to_string(at.join(path)).unwrap();
        let columns: Vec<&str> = rows.lines().next().unwrap().split(',').collect();
        assert_eq!(rows.lines().count(), 21, "a header and twenty rows");
        for each in uses {
            assert!(columns.contains(&each.column.as_str()), "{each:?}");
        }
        Vec::new()
    })
    .unwrap();
    assert_eq!(asked, 1);
    assert_eq!(sound.sentence(Path::new("penstock.yaml")), "penstock.yaml is sound: 1 destination, 1 model, 1 export");
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
    let folder = tempfile::tempdir().unwrap();
    init(folder.path()).unwrap();
    let file = folder.path().join("penstock.yaml");
    let mut seen: Vec<ColumnUse> = Vec::new();
    let error = validate(&file, |_, _, uses| {
        seen.extend_from_slice(uses);
        vec![
            Problem { path: "exports.newsletter.fields[1].from".into(), message: "the rows have no column `email_address`".into() },
            Problem { path: "models.newsletter.source.path".into(), message: "there is no such file".into() },
        ]
    })
    .unwrap_err();
    let paths: Vec<(&str, &str)> = seen.iter().map(|each| (each.column.as_str(), each.path.as_str())).collect();
    assert_eq!(
        paths,
        [
            ("id", "models.newsletter.primary_key[0]"),
            ("id", "exports.newsletter.fields[0].from"),
            ("email_address", "exports.newsletter.fields[1].from"),
            ("full_name", "exports.newsletter.fields[2].from"),
        ]
    );
    let shown = error.to_string();
    let line = |wanted: &str| std::fs::read_to_string(&file).unwrap().lines().position(|line| line.contains(wanted)).unwrap() + 1;
    assert!(
        shown.contains(&format!("penstock.yaml:{}:10  exports.newsletter.fields[1].from: the rows", line("from: email_address"))),
        "{shown}"
    );
    assert!(shown.contains(&format!("penstock.yaml:{}:26  models.newsletter.source.path: there is", line("path: rows/"))), "{shown}");
    assert!(shown.ends_with("2 problems"), "{shown}");
}
