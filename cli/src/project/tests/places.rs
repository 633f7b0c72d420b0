//! Where problems are said to stand, and what text is read at all.

use super::{assert_line, lines, load_text, sound};
use crate::project::{LoadError, load_with};
use serde_json::json;

const SOUND: &str = r#"credentials:
  crm: {type: bearer, token: "${TOKEN}"}
destinations:
  crm:
    base_url: https://api.example.com
    credential: crm
    actions:
      add:
        url: /members
        body: |
          {"id": "{{user.id}}"}
models:
  people:
    primary_key: [id]
    source: {type: file, path: rows.csv}
exports:
  people:
    model: people
    destination: crm
"#;

#[test]
fn a_sound_file_is_loaded_with_its_folder_and_environment() {
    let loaded = sound(SOUND);
    assert!(loaded.folder.is_absolute());
    let credential = loaded.project.credentials.values().next().unwrap();
    assert_eq!(credential.kind, engine::model::credential::CredentialKind::Bearer(engine::model::credential::Secret::new("t0k3n")));
}

#[test]
fn every_problem_stands_at_the_line_and_column_of_its_key() {
    let text = SOUND
        .replace("url: /members", "ulr: /members")
        .replace("[id]", "[id, id]")
        .replace("model: people", "model: poeple")
        .replace("type: file,", "type: file, frmat: csv,")
        .replace("|\n          {\"id\"", "|\n          {{#if}}{\"id\"");
    let found = lines(&text);
    let starts: Vec<&str> = found.iter().map(|line| line.split_once(": ").map_or(line.as_str(), |(start, _)| start)).collect();
    assert_eq!(
        starts,
        [
            "8:7  destinations.crm.actions.add.url",
            "9:9  destinations.crm.actions.add.ulr",
            "10:9  destinations.crm.actions.add.body",
            "14:23  models.people.primary_key[1]",
            "15:26  models.people.source.frmat",
            "18:5  exports.people.model",
            "6 problems",
        ]
    );
    assert!(found[2].contains("line 1, column"), "{}", found[2]);
}

#[test]
fn a_missing_variable_is_named_with_its_place_and_nothing_else_is_said_about_it() {
    let text = SOUND.replace("${TOKEN}", "${NO_SUCH}");
    let found = lines(&text);
    assert_eq!(
        found,
        ["2:23  credentials.crm.token: the environment variable NO_SUCH is not set; set it before you start penstock", "1 problem"]
    );
}

#[test]
fn duplicate_keys_are_refused_with_both_lines() {
    let text = SOUND.replace("        url: /members\n", "        url: /members\n        method: PUT\n        url: /other\n");
    assert_line(&text, "11:9  `url` stands here twice, first in line 9; keep one", "");
    assert_line("a: 1\n\"a\": 2\nb: 1\nb: 2\n", "2:1  ", "`a` stands here twice, first in line 1");
    assert_line("a: 1\n\"a\": 2\nb: 1\nb: 2\n", "4:1  ", "`b` stands here twice, first in line 3");
    assert_line("{\"a\": 1,\n \"\\u0061\": 2}", "2:2  ", "`a` stands here twice, first in line 1");
}

#[test]
fn syntax_errors_have_line_and_column() {
    for (text, start) in [
        ("a:\n\tb: 1\n", "2:"),
        ("a: 1\n b: 2\n", "2:"),
        ("a: [1, 2\nb: 3\n", "2:"),
        ("a: \"open\n", ""),
        ("{\"a\": 1,\n \"b\": }x", "2:"),
        ("a: *nowhere\n", "1:4"),
    ] {
        assert_line(text, start, "is not YAML");
    }
    assert_line("a:\n\tb: 1\n", "2:", "indent with spaces");
}

#[test]
fn what_a_project_has_no_use_for_is_refused() {
    assert_line("a: 1\n---\nb: 2\n", "2:1  ", "a second document begins here");
    assert_line("a: !thing 1\n", "1:", "the tag !thing is not known");
    assert_line("a: !thing {b: 1}\n", "1:", "the tag !thing is not known");
    assert_line("? [a, b]\n: 1\n", "1:", "cannot be a key");
    assert_line("base: &b {x: 1}\nother:\n  <<: *b\n", "3:3  ", "merge keys (<<)");
    assert_line(&format!("a: {}1{}", "[".repeat(80), "]".repeat(80)), "1:", "nests deeper than 64 levels");
    assert_line(&format!("{{\"a\": {}1{}}}", "[".repeat(80), "]".repeat(80)), "1:", "nests deeper than 64 levels");
    assert_line("", "1:1  ", "the project file is empty");
    assert_line("# nothing\n", "1:1  ", "the project file is empty");
    assert_line("just a text\n", "1:1  ", "expected an object; found a text");
}

#[test]
fn aliases_are_expanded_and_their_problems_stand_where_the_anchor_does() {
    let loaded = sound(&format!(
        "{SOUND}  again: &again\n    model: people\n    destination: crm\n    guard: &guard {{max_removed: 5}}\n  third:\n    model: people\n    destination: crm\n    guard: *guard\n"
    ));
    assert_eq!(loaded.project.exports.len(), 3);
    let text = format!(
        "{SOUND}    guard: &guard\n      max_removed: many\n  third:\n    model: people\n    destination: crm\n    guard: *guard\n"
    );
    assert_line(&text, "21:7  exports.people.guard.max_removed", "expected a whole number");
    assert_line(&text, "21:7  exports.third.guard.max_removed", "expected a whole number");
}

#[test]
fn aliases_that_would_grow_without_bound_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
    for level in 1..9 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    assert_line(&text, "", "with its aliases written out the file has more than 100000 values");
    assert_line("a: &a [1, *a]\n", "1:11  ", "an alias stands inside what it names");
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    let values = |text: &str| crate::project::yaml::read(text).unwrap().to_value();
    assert_eq!(
        values("[1, -2, +3, 0x1F, 0o17, 1.5, .5, 1e3, 18446744073709551615, 007]"),
        json!([1, -2, 3, 31, 15, 1.5, 0.5, 1000.0, 18446744073709551615_u64, 7])
    );
    assert_eq!(values("[~, null, Null, '', true, FALSE, yes, on, 1_000, 1.2.3, 12:30, .inf]"), {
        json!([null, null, null, "", true, false, "yes", "on", "1_000", "1.2.3", "12:30", ".inf"])
    });
    assert_eq!(values("- '1'\n- \"true\"\n- !!str 5\n- |-\n  a\n  b\n"), json!(["1", "true", "5", "a\nb"]));
    assert_eq!(values("{on: 1, 5: a, null: b, : c}")["on"], json!(1));
}

#[test]
fn json_is_accepted_with_all_its_escapes_and_has_places_too() {
    let text = "{\n\t\"organization\": {\"name\": \"\\ud83d\\ude00 \\/ \\u00e9\"},\n\t\"models\": {\"a b\": {}},\r\n\t\"n\": -1.5e3, \"é\": [true, false, null]\n}";
    let node = crate::project::json::read(text).unwrap().unwrap();
    assert_eq!(node.to_value(), serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_line(text, "3:13  models[\"a b\"]", "is not a name");
    assert_line(text, "4:2  n: ", "unknown key");
    assert_line(text, "4:15  é: ", "unknown key");
}

#[test]
fn a_file_that_cannot_be_read_says_so_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("penstock.yaml");
    let message = |error: LoadError| error.to_string();
    let none = |_: &str| None;
    let gone = message(load_with(&path, &none).unwrap_err());
    assert!(gone.contains("no project file at") && gone.contains("run `penstock init`"), "{gone}");
    std::fs::write(&path, vec![b' '; 1024 * 1024 + 1]).unwrap();
    assert!(message(load_with(&path, &none).unwrap_err()).contains("larger than 1 MiB"));
    std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert!(message(load_with(&path, &none).unwrap_err()).contains("not UTF-8 text in line 2"));
    assert!(message(load_with(folder.path(), &none).unwrap_err()).contains("is a folder"));
    std::fs::write(&path, b"\xef\xbb\xbforganization: {}\n").unwrap();
    assert!(load_with(&path, &none).is_ok(), "a byte order mark is skipped");
}

#[test]
fn the_report_for_machines_has_path_line_column_and_message() {
    let error = load_text("colour: red\n").unwrap_err();
    let message = "unknown key `colour`; use `organization`, `credentials`, `destinations`, `models`, `exports`, `requests`, `rules` or `event_types`";
    assert_eq!(error.to_json(), json!({"problems": [{"path": "colour", "line": 1, "column": 1, "message": message}]}));
}
