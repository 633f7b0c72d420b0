//! Queries and connections that are wrong: each is named with its place and its reason, nothing is written, and no password is shown.

use super::postgres::{query_project, try_diff};
use super::server::{Database, PASSWORD, Server};
use crate::journey::stage::{Stage, assert_says, keep};
use rows::{ErrorKind, SourceError};
use serde_json::Value;
use tests::receiver::{Action, Always};

fn refused(database: &Database<'_>, query: &str) -> SourceError {
    match try_diff(&database.dsn("owner"), query, |_| {}) {
        Err(error) => error,
        Ok((diff, _)) => panic!("{query} gave {} rows", diff.rows),
    }
}

#[test]
fn a_query_that_is_wrong_is_told_with_its_line_and_column() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("CREATE TABLE people (id int, email text)");
    for (query, said) in [
        (
            "SELECT id,\n  emial FROM people",
            "the query, line 2, column 3: column \"emial\" does not exist; Perhaps you meant to reference the column \"people.email\" (42703)",
        ),
        ("SELEC 1 AS id", "the query, line 1, column 1: syntax error at or near \"SELEC\" (42601)"),
        ("SELECT 'é' AS id,\n\n   FROM people", "the query, line 3, column 4: syntax error"),
        ("SELECT id FROM persons", "the query, line 1, column 16: relation \"persons\" does not exist (42P01)"),
        ("SELECT 1 AS id; SELECT 2 AS id", "the query: holds several statements; write one SELECT"),
        ("SELECT id FROM people WHERE id = $1", "the query: holds a placeholder such as $1"),
        (" ; ", "the query: is empty; write one SELECT"),
        ("-- nothing", "the query: gives no columns"),
        ("SELECT FROM people", "the query: gives no columns"),
        ("SET timezone = 'UTC'", "the query: gives no columns"),
        ("SHOW timezone", "the query: must be one SELECT"),
        ("SELECT 1 AS id; -- done", "the query: must be one SELECT, or VALUES, TABLE or WITH … SELECT, without another `;`"),
        ("SELECT 1) AS q; DROP TABLE people; --", "the query, line 1, column 9: syntax error at or near \")\""),
    ] {
        let error = refused(&database, query);
        assert_eq!(error.kind, ErrorKind::Query, "{query}: {error}");
        assert!(error.to_string().starts_with(said), "{query}: {error}");
    }
    let midway = refused(&database, "SELECT n AS id, 1 / (7000 - n) AS x FROM generate_series(1, 9000) n");
    assert_eq!(midway.kind, ErrorKind::Torn);
    assert_eq!(midway.to_string(), format!("{}: the query failed after 5000 rows: division by zero (22012)", database.place()));
    let slow = try_diff(
        &database.dsn_with("owner", PASSWORD, "sslmode=disable&options=-c%20statement_timeout%3D200"),
        "SELECT 1 AS id, pg_sleep(60)",
        |_| {},
    );
    let slow = slow.unwrap_err().to_string();
    assert_says(&slow, &["the query was canceled after 0 rows", "statement timeout", "57014"]);
}

/// Each way to write that a query could take, and the table as it was.
#[test]
fn a_query_can_only_read() {
    let Some(server) = Server::shared() else { return };
    let database = server.database(
        "CREATE TABLE people (id int); INSERT INTO people VALUES (1); CREATE SEQUENCE numbers; \
         CREATE FUNCTION add() RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO people VALUES (2) RETURNING id'",
    );
    for query in [
        "SELECT add() AS id",
        "SELECT nextval('numbers') AS id",
        "SELECT set_config('transaction_read_only', 'off', true), add() AS id",
        "SELECT id FROM people FOR UPDATE",
        "INSERT INTO people VALUES (3) RETURNING id",
        "WITH added AS (INSERT INTO people VALUES (3) RETURNING id) SELECT id FROM added",
        "DELETE FROM people RETURNING id",
        "SELECT id INTO copied FROM people",
        "SELECT 1 AS id; COMMIT; INSERT INTO people VALUES (4)",
    ] {
        let error = refused(&database, query);
        assert!(matches!(error.kind, ErrorKind::Query | ErrorKind::Torn), "{query}: {error}");
        assert!(!error.message.is_empty());
    }
    assert_says(&refused(&database, "SELECT add() AS id").to_string(), &["the query may only read", "read-only transaction (25006)"]);
    // Older servers let this one pass; it is taken back with everything else.
    drop(try_diff(&database.dsn("owner"), "SELECT lo_create(0)::int AS id", |_| {}));
    let left = database.sql("SELECT string_agg(id::text, ','), (SELECT last_value FROM numbers), (SELECT count(*) FROM pg_largeobject_metadata), to_regclass('copied') FROM people");
    assert_eq!(left, "1|1|0|");
}

#[test]
fn who_is_not_let_in_is_told_so_and_no_password_is_shown() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("CREATE TABLE people (id int)");
    let cases = [
        (
            database.dsn_with("owner", "hush-wrong", "sslmode=disable"),
            "does not let us in: password authentication failed for user \"owner\" (28P01)",
        ),
        (database.dsn("nobody"), "does not let us in: password authentication failed for user \"nobody\" (28P01)"),
        (database.dsn("owner").replace("/shop_", "/hush_"), "does not exist (3D000)"),
        (format!("postgres://owner:{PASSWORD}@127.0.0.1:1/shop?sslmode=disable"), "cannot be connected to"),
        (database.dsn_with("owner", PASSWORD, "sslmode=require"), "cannot be connected to"),
        (
            format!("postgres://owner@127.0.0.1:{}/shop?sslmode=disable", server.port),
            "cannot be connected to: invalid configuration: password missing",
        ),
        (format!("postgres://owner:{PASSWORD}@127.0.0.1/shop?sslmod=disable"), "the dsn: cannot be read; write one like postgres://"),
    ];
    for (dsn, said) in cases {
        let error = try_diff(&dsn, "SELECT id FROM people", |_| {}).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Connect, "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(said) && !text.contains("hush-"), "{text}");
    }
    let reader = try_diff(&database.dsn("reader"), "SELECT id FROM people", |_| {}).unwrap_err();
    assert_eq!(reader.kind, ErrorKind::Query);
    assert_eq!(reader.to_string(), format!("{}: the query is refused: permission denied for table people (42501)", database.place()));
}

#[test]
fn a_project_with_a_wrong_query_or_dsn_is_refused_before_anything_happens() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("CREATE TABLE people (id int, email text, name text)");
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let check = |query: &str, dsn: &str, path: &str, said: &str| {
        let stage = Stage::new(&query_project(&receiver.url(), query)).with_variable("PG_DSN", dsn);
        let problems = stage.penstock(&["validate", "--json"]).expect(2).json();
        let problem: &Value = &problems["problems"][0];
        assert_eq!(problem["path"], path, "{problems:#}");
        assert_says(problem["message"].as_str().unwrap(), &[said]);
        stage
    };
    let dsn = database.dsn("owner");
    let stage =
        check("SELECT id, emial FROM people", &dsn, "models.people.source.query", "line 1, column 12: column \"emial\" does not exist");
    let ended = stage.penstock(&["run", "news"]).expect(2);
    assert_says(&ended.stderr, &["the query, line 1, column 12"]);
    check("SELECT 1 AS id", &database.dsn_with("owner", "hush-wrong", "sslmode=disable"), "models.people.source.dsn", "does not let us in");
    check("SELECT email FROM people", &dsn, "models.people.source.query", "has no column \"id\"");
    let mut project = query_project(&receiver.url(), "SELECT id, email FROM people");
    project["exports"]["news"]["fields"] = serde_json::json!([{"from": "emial", "to": "email"}]);
    let stage = Stage::new(&project).with_variable("PG_DSN", &dsn);
    let problems = stage.penstock(&["validate", "--json"]).expect(2).json();
    assert_eq!(problems["problems"][0]["path"], "exports.news.fields[0].from", "{problems:#}");
    let ended = stage.penstock(&["run", "news"]).expect(2);
    assert_says(&ended.stderr, &["has no column \"emial\"; did you mean \"email\"?"]);
    assert_eq!(receiver.connections(), 0);
    let all = format!("{problems} {}", ended.all());
    assert!(!all.contains("hush"), "{all}");
}

#[test]
fn tls_is_spoken_with_a_server_whose_certificate_is_trusted_and_with_no_other() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let started = Server::start(&["ssl=on"], |data| {
        std::fs::write(data.join("server.crt"), &certificate).unwrap();
        std::fs::write(data.join("server.key"), key.serialize_pem()).unwrap();
        Server::give_to_server_user(&data.join("server.key"));
    });
    let Some(server) = started else { return };
    let database = server.database("CREATE TABLE people (id int, email text, name text); INSERT INTO people VALUES (1, 'a', 'b')");
    database.sql("REVOKE ALL ON DATABASE postgres FROM PUBLIC");
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    // Rows only over TLS.
    let query = "SELECT people.* FROM people WHERE (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())";
    let stage = |parameters: &str| {
        Stage::new(&query_project(&receiver.url(), query)).with_variable("PG_DSN", &database.dsn_with("owner", PASSWORD, parameters))
    };
    for parameters in ["sslmode=require", "sslmode=verify-full", "sslmode=prefer", ""] {
        let untrusted = stage(parameters);
        let ended = untrusted.penstock(&["run", "news"]).expect(1);
        assert_says(&ended.stderr, &["cannot be connected to", "certificate", "SSL_CERT_FILE", "sslmode=disable does without TLS"]);
        let trusted = stage(parameters);
        trusted.write("ca.pem", &certificate);
        let path = trusted.path("ca.pem").display().to_string();
        let trusted = trusted.with_variable("SSL_CERT_FILE", &path);
        assert_eq!(trusted.run_well(&[])["changes"]["added"], 1, "{parameters}");
    }
    assert_eq!(stage("sslmode=disable").run_well(&[])["changes"]["added"], 0);
}
