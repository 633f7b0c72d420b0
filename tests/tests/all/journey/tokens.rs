//! API tokens and the keys of secrets, from the command line.

use super::secrets::assert_clean;
use super::stage::{Stage, assert_says, files_below, project};
use serde_json::Value;

fn stage() -> Stage {
    Stage::new(&project("http://127.0.0.1:9"))
}

#[test]
fn a_token_is_printed_once_listed_without_its_text_and_revoked() {
    let stage = stage();
    let made = stage.penstock(&["token", "create", "--name", "nightly import", "--scopes", "write,read", "--expires", "90d"]).expect(0);
    let text = made.stdout.trim_end().to_owned();
    assert!(text.starts_with("pst_") && text.len() == 47, "{made:?}");
    assert_says(&made.stderr, &["tok_", "default", "read, write", "until", "not shown again"]);
    assert!(!made.stderr.contains(&text));
    let other = stage.penstock(&["token", "create", "--name", "other", "--json"]).expect(0).json();
    assert_eq!(other["scopes"], serde_json::json!(["read", "write", "send"]));
    assert_eq!(other["expires_at"], Value::Null);
    let texts = [text.as_str(), other["token"].as_str().unwrap()];

    let listed = stage.penstock(&["token", "list"]).expect(0);
    assert_says(&listed.stdout, &["nightly import", "read, write, until 20"]);
    let listed_json = stage.penstock(&["token", "list", "--json"]).expect(0);
    let tokens = listed_json.json()["tokens"].as_array().unwrap().clone();
    assert_eq!(tokens.len(), 2);
    assert!(tokens[0]["name"] == "nightly import" && tokens[1]["id"] == other["id"], "{tokens:?}");
    assert_clean(&texts, "token list", format!("{}{}", listed.all(), listed_json.all()).as_bytes());
    for path in files_below(&stage.path(".penstock")) {
        assert_clean(&texts, &path.display().to_string(), &std::fs::read(&path).unwrap());
    }

    let id = tokens[0]["id"].as_str().unwrap();
    stage.penstock(&["token", "revoke", id, "--organization", "another"]).expect(2);
    assert_says(&stage.penstock(&["token", "revoke", id]).expect(0).stdout, &[id, "revoked"]);
    assert_says(&stage.penstock(&["token", "revoke", id]).expect(2).stderr, &["no token", id, "token list"]);
    assert_eq!(stage.penstock(&["token", "list", "--json"]).expect(0).json()["tokens"].as_array().unwrap().len(), 1);
}

#[test]
fn a_token_belongs_to_the_organization_that_is_named_or_to_the_projects() {
    let mut acme = project("http://127.0.0.1:9");
    acme["organization"] = serde_json::json!({"id": "acme"});
    let stage = Stage::new(&acme);
    let make = |more: &[&str]| {
        let words = [&["token", "create", "--name", "x", "--json"], more].concat();
        stage.penstock(&words).expect(0).json()["organization"].as_str().unwrap().to_owned()
    };
    assert_eq!(make(&[]), "acme");
    assert_eq!(make(&["--organization", "other"]), "other");
    // A server's data directory needs no project file.
    assert_eq!(make(&["--project", "nowhere.yaml", "--data-dir", ".penstock"]), "default");
    let listed = stage.penstock(&["token", "list", "--organization", "other", "--json"]).expect(0).json();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_with_a_wanted_token_is_said() {
    let stage = stage();
    for (words, parts) in [
        (["--name", "x", "--scopes", "admin"].as_slice(), ["--scopes", "`admin`"]),
        (&["--name", "x", "--scopes", ","], ["--scopes", "no scope"]),
        (&["--name", " "], ["--name", "empty"]),
        (&["--name", "x", "--expires", "soon"], ["--expires", "`soon`"]),
        (&["--name", "x", "--expires", "2020-01-01T00:00:00Z"], ["--expires", "over already"]),
        (&["--name", "x", "--organization", "A B"], ["--organization", "`A B`"]),
        (&[], ["--name", "required"]),
    ] {
        let ended = stage.penstock(&[&["token", "create"], words].concat()).expect(2);
        assert_says(&ended.stderr, &parts);
    }
    assert_says(&stage.penstock(&["token", "list"]).expect(0).stdout, &["no tokens"]);
}

#[test]
fn keys_are_rotated_and_changed_over_from_the_command_line() {
    let stage = stage();
    let key = stage.path(".penstock/secret.key");
    assert_says(&stage.penstock(&["key", "rotate"]).expect(0).stdout, &["new key file", "secret.key"]);
    let first = std::fs::read(&key).unwrap();
    stage.penstock(&["key", "rotate", "--data-keys", "--json"]).expect(0);
    assert_ne!(std::fs::read(&key).unwrap(), first);

    // Without a passphrase there is nothing to change over to.
    assert_says(&stage.penstock(&["key", "rotate", "--to", "passphrase"]).expect(2).stderr, &["PENSTOCK_NEW_PASSPHRASE"]);
    stage.write("phrase", "correct horse battery\n");
    let stage = stage.with_variable("PENSTOCK_NEW_PASSPHRASE_FILE", "phrase");
    let ended = stage.penstock(&["key", "rotate", "--to", "passphrase", "--json"]).expect(0);
    assert_eq!(ended.json()["protection"], "passphrase");
    assert!(!key.exists());
    assert_says(&stage.penstock(&["key", "rotate"]).expect(1).stderr, &["PENSTOCK_PASSPHRASE"]);

    let stage = stage.with_variable("PENSTOCK_PASSPHRASE", "wrong horse battery");
    let wrong = stage.penstock(&["key", "rotate"]).expect(1);
    assert_says(&wrong.stderr, &["the passphrase is wrong"]);
    assert!(!wrong.all().contains("horse"));
    let stage = stage.with_variable("PENSTOCK_PASSPHRASE", "correct horse battery");
    stage.penstock(&["key", "rotate"]).expect(0);
    stage.penstock(&["key", "rotate", "--to", "key-file"]).expect(0);
    assert!(key.exists());
    // A passphrase that protects nothing is not passed over in silence.
    assert_says(&stage.penstock(&["key", "rotate", "--to", "key-file"]).expect(1).stderr, &["key file", "passphrase was given"]);
    let stage = stage.with_variable("PENSTOCK_PASSPHRASE_FILE", "phrase");
    assert_says(&stage.penstock(&["key", "rotate"]).expect(2).stderr, &["both set"]);
}
