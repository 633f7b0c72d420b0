//! Rows of a query on a real server: their types, their number, and whole runs.

use super::server::{Database, Server, until};
use crate::journey::stage::{Stage, keep, one_by_one, project};
use engine::model::change::{Change, ChangeKind};
use engine::model::credential::Secret;
use rows::{Diff, DiffRequest, FieldMapping, PostgresSource, Source, SourceError};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tests::receiver::{Action, Always};

/// The diff of a query's rows with nothing, and its changes.
pub fn try_diff(dsn: &str, query: &str, change: impl FnOnce(&mut DiffRequest)) -> Result<(Diff, Vec<Change>), SourceError> {
    let scratch = tempfile::tempdir().unwrap();
    let mut request = DiffRequest {
        source: source(dsn, query),
        primary_key: vec!["id".to_owned()],
        fields: Vec::new(),
        ignore: Vec::new(),
        hash_seed: 3,
        snapshot: Vec::new(),
        want_previous: false,
        resend_all: false,
        share: rows::Share::WHOLE,
        most_keys: usize::MAX,
        scratch: scratch.path().to_owned(),
        threads: 2,
        spool_memory: 1 << 20,
    };
    change(&mut request);
    let mut diff = rows::diff(&request, &|_, _| {})?;
    let changes = diff.changes.by_ref().collect::<Result<Vec<_>, _>>()?;
    Ok((diff, changes))
}

/// A query as a source.
pub fn source(dsn: &str, query: &str) -> Source {
    Source::Postgres(PostgresSource { dsn: Secret::new(dsn), query: query.to_owned() })
}

fn diff(database: &Database<'_>, query: &str) -> (Diff, Vec<Change>) {
    try_diff(&database.dsn("owner"), query, |_| {}).unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[test]
fn values_keep_their_types() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("CREATE DOMAIN price AS numeric(12, 2); CREATE TYPE mood AS ENUM ('glad', 'sad')");
    let values = [
        ("9007199254740993::int8", json!(9_007_199_254_740_993_i64)),
        ("-7::int2", json!(-7)),
        ("12.340::numeric(10, 3)", json!(12.34)),
        ("99.90::price", json!(99.9)),
        ("100.00::numeric", json!(100)),
        ("12345678901234567890.123::numeric", json!("12345678901234567890.123")),
        ("100000000000000000000000::numeric", json!("100000000000000000000000")),
        ("'NaN'::numeric", json!("NaN")),
        ("0.1::float8", json!(0.1)),
        ("0.1::float4", json!(0.1)),
        ("'infinity'::float8", json!("Infinity")),
        ("E'O''Brien \"é\"\\n\\t\\\\ \\u2028'::text", json!("O'Brien \"é\"\n\t\\ \u{2028}")),
        ("''::text", json!("")),
        ("'ab '::char(5)", json!("ab   ")),
        ("true", json!(true)),
        ("NULL::text", json!(null)),
        ("'2024-03-01 12:30:00.5+02'::timestamptz", json!("2024-03-01T10:30:00.5+00:00")),
        ("'2024-03-01 12:30:00'::timestamp", json!("2024-03-01T12:30:00")),
        ("'2024-03-01'::date", json!("2024-03-01")),
        ("'1 day 2 hours'::interval", json!("P1DT2H")),
        ("'{\"b\": [1, 2.50, null], \"a\": {}}'::jsonb", json!({"a": {}, "b": [1, 2.5, null]})),
        ("E'{\"b\" :\\n\\n [1,\\r\\n2]}'::json", json!({"b": [1, 2]})),
        ("ARRAY[[1, 2], [3, NULL]]", json!([[1, 2], [3, null]])),
        ("ARRAY['x', NULL, 'y,\"z']", json!(["x", null, "y,\"z"])),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("'\\x00ff'::bytea", json!("\\x00ff")),
        ("'glad'::mood", json!("glad")),
        ("ROW(1, 'x')", json!({"f1": 1, "f2": "x"})),
        ("'10.0.0.0/8'::inet", json!("10.0.0.0/8")),
    ];
    let columns: Vec<String> = values.iter().enumerate().map(|(at, (sql, _))| format!("{sql} AS \"c {at}\"")).collect();
    // What a session may be set to by its owner must not matter.
    database.sql(&format!(
        "ALTER DATABASE \"{name}\" SET TimeZone = 'America/New_York'; ALTER DATABASE \"{name}\" SET bytea_output = 'escape'; \
         ALTER DATABASE \"{name}\" SET DateStyle = 'German'; ALTER DATABASE \"{name}\" SET extra_float_digits = -3",
        name = database.sql("SELECT current_database()")
    ));
    let (diff, changes) = diff(&database, &format!("SELECT 1 AS id, {}", columns.join(", ")));
    assert_eq!((diff.rows, diff.invalid_rows, diff.source_version), (1, 0, None));
    assert_eq!((&*diff.field_names[0], &*diff.field_names[1]), ("id", "c 0"));
    for ((sql, expected), found) in values.iter().zip(&changes[0].fields[1..]) {
        assert_eq!(found, expected, "{sql}");
    }
}

#[test]
fn a_query_may_be_written_in_any_way_that_gives_rows() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people VALUES (1), (2)");
    for query in [
        "SELECT id FROM people",
        "  select id\nfrom people ;;\n ",
        "TABLE people",
        "VALUES (1), (2)",
        "WITH p AS (SELECT * FROM people) SELECT * FROM p -- all of them",
        "SELECT id FROM people ORDER BY id DESC LIMIT 2 /* ; */",
        "SELECT 1 AS id UNION ALL SELECT 2",
        "(SELECT id FROM people)",
        "SELECT id FROM people WHERE ';' <> '$1'",
    ] {
        let key = if query.starts_with("VALUES") { "column1" } else { "id" };
        let (diff, _) = try_diff(&database.dsn("owner"), query, |request| request.primary_key = vec![key.to_owned()])
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!((diff.rows, diff.added), (2, 2), "{query}");
    }
}

#[test]
fn columns_are_known_before_any_row_is_read() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("CREATE TABLE people (id int, email text, \"Full Name\" text)");
    let dsn = database.dsn("owner");
    let empty = diff(&database, "SELECT * FROM people").0;
    assert_eq!((empty.rows, &*empty.field_names), (0, ["id", "email", "Full Name"].map(String::from).as_slice()));
    let map = |from: &str| vec![FieldMapping { from: from.to_owned(), to: "x".to_owned() }];
    let missing = try_diff(&dsn, "SELECT * FROM people", |request| request.fields = map("e_mail")).unwrap_err();
    assert_eq!(missing.to_string(), format!("{}: has no column \"e_mail\"; did you mean \"email\"?", database.place()));
    let twice = try_diff(&dsn, "SELECT id, email, email FROM people", |_| {}).unwrap_err();
    assert!(twice.to_string().ends_with("has two columns named \"email\"; rename one of them"), "{twice}");
    // Described only: this one would fail at its first row.
    let sample = rows::sample(&source(&dsn, "SELECT 1 AS id, 1 / 0 AS n"), &["id".to_owned()], &[], 0).unwrap();
    assert_eq!((sample.columns, sample.rows.len()), (vec!["id".to_owned(), "n".to_owned()], 0));
    let sample =
        rows::sample(&source(&dsn, "SELECT n AS id, NULL AS x FROM generate_series(1, 100000) n"), &["id".to_owned()], &[], 2).unwrap();
    assert_eq!(sample.rows, [("1".to_owned(), vec![json!(1), json!(null)]), ("2".to_owned(), vec![json!(2), json!(null)])]);
}

#[test]
fn an_invalid_row_is_named_by_its_number() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("");
    let (diff, changes) = diff(&database, "SELECT * FROM (VALUES (1), (2), (NULL), (2)) AS people(id)");
    let listed: Vec<(&str, &str)> = diff.invalid.iter().map(|row| (row.place.as_str(), row.reason.as_str())).collect();
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert_eq!(listed[0], ("row 2 of the query", "its key stands 2 times in the source; also: row 4 of the query"));
    assert_eq!(listed[1], ("row 3 of the query", "the key column \"id\" is empty"));
    assert_eq!(changes.len(), 1);
    assert!(diff.removals_wait);
}

#[test]
fn the_rows_of_one_query_are_those_of_one_moment() {
    let Some(server) = Server::shared() else { return };
    let database = server.database(
        "CREATE TABLE people (id int PRIMARY KEY, v text); INSERT INTO people SELECT n, repeat('x', 2000) FROM generate_series(1, 30000) n",
    );
    let scratch = tempfile::tempdir().unwrap();
    let request = DiffRequest {
        source: source(&database.dsn("owner"), "SELECT * FROM people ORDER BY id"),
        primary_key: vec!["id".to_owned()],
        fields: vec![FieldMapping { from: "id".to_owned(), to: "id".to_owned() }],
        ignore: Vec::new(),
        hash_seed: 3,
        snapshot: Vec::new(),
        want_previous: false,
        resend_all: false,
        share: rows::Share::WHOLE,
        most_keys: usize::MAX,
        scratch: scratch.path().to_owned(),
        threads: 1,
        spool_memory: 1 << 20,
    };
    let calls = AtomicU64::new(0);
    let diff = rows::diff(&request, &|_, _| {
        // After the first block, far from the end, all rows go and others come.
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            database.sql("DELETE FROM people WHERE id > 20000; INSERT INTO people SELECT n, '' FROM generate_series(50000, 60000) n");
        }
    });
    assert_eq!(diff.unwrap().rows, 30_000);
    assert_eq!(database.sql("SELECT count(*) FROM people"), "30001");
}

/// The highest resident memory of a process so far, KiB.
fn peak_memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn two_hundred_thousand_rows_are_streamed_with_bounded_memory() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("");
    let mut project =
        query_project("http://127.0.0.1:9", "SELECT n AS id, repeat(md5(n::text), 30) AS text FROM generate_series(1, 200000) n");
    // The rows are read whole, and each is compared; what is kept of them is a number.
    project["exports"]["news"]["fields"] = json!([{"from": "id", "to": "id"}]);
    project["destinations"]["crm"]["actions"]["add"]["body"] = json!("{\"users\": [{{#each users}}{\"id\": \"{{id}}\"},{{/each}}]}");
    let stage = Stage::new(&project).with_variable("PG_DSN", &database.dsn("reader"));
    let running = stage.start(&["plan", "news", "--json"]);
    let id = running.id();
    let peak = std::thread::scope(|scope| {
        let watching = scope.spawn(move || {
            let mut peak = 0;
            while let Some(memory) = peak_memory(id) {
                peak = peak.max(memory);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            peak
        });
        let plan = running.end().expect(0).json();
        assert_eq!((&plan["rows"], &plan["changes"]["added"], &plan["invalid"]), (&json!(200_000), &json!(200_000), &json!(0)));
        watching.join().unwrap()
    });
    // The rows have 190 MB.
    assert!(peak > 0 && peak < 95 << 10, "{peak} KiB at the peak");
}

/// The project of the journeys with a query for a source.
pub fn query_project(url: &str, query: &str) -> Value {
    let mut project = project(url);
    project["models"]["people"]["source"] = json!({"type": "postgres", "dsn": "${PG_DSN}", "query": query});
    project
}

#[test]
fn an_export_follows_what_a_query_gives() {
    let Some(server) = Server::shared() else { return };
    let database = server.database(
        "CREATE TABLE people (id int PRIMARY KEY, email text, name text); \
         INSERT INTO people SELECT n, 'p' || n || '@example.com', 'Person ' || n FROM generate_series(1, 25) n; \
         GRANT SELECT ON people TO reader",
    );
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = query_project(&receiver.url(), "SELECT id, email, name FROM people ORDER BY id;");
    one_by_one(&mut project);
    let stage = Stage::new(&project).with_variable("PG_DSN", &database.dsn("reader"));
    let sound = stage.penstock(&["validate"]).expect(0);
    assert!(sound.stdout.contains("is sound"), "{sound:?}");
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 25, "changed": 0, "removed": 0}));
    database.sql("UPDATE people SET email = 'new@example.com' WHERE id = 3; DELETE FROM people WHERE id IN (4, 5); INSERT INTO people VALUES (26, 'p26@example.com', NULL)");
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 1, "changed": 1, "removed": 2}));
    // Nobody can tell that a query gives what it gave: it is read again, and nothing is sent.
    let sent = receiver.count();
    let third = stage.run_well(&[]);
    assert_eq!((&third["changes"], receiver.count()), (&json!({"added": 0, "changed": 0, "removed": 0}), sent));
    let plan = stage.penstock(&["plan", "news", "--json"]).expect(0).json();
    assert_eq!((&plan["unread"], &plan["rows"]), (&json!(false), &json!(24)));
    let held = held.lock().unwrap();
    assert_eq!(held.members.len(), 24);
    assert_eq!((&held.members["3"]["email"], &held.members["26"]["name"]), (&json!("new@example.com"), &json!("")));
    let shown = stage.penstock(&["render", "news.add", "--row", "3"]).expect(0);
    assert!(shown.stdout.contains("new@example.com"), "{shown:?}");
}

#[test]
fn a_server_that_stops_midway_stops_the_run_before_anything_is_sent() {
    let Some(server) = Server::start(&[], |_| {}) else { return };
    let database = server.database("");
    let (receiver, _) = keep(Always(Action::status(200)), 0.0, 1);
    let query = "SELECT n AS id, 'e' AS email, 'n' AS name, pg_sleep(CASE WHEN n > 60000 THEN 0.01 END) FROM generate_series(1, 1000000) n";
    let stage = Stage::new(&query_project(&receiver.url(), query)).with_variable("PG_DSN", &database.dsn("owner"));
    let running = stage.start(&["run", "news"]);
    until("the cursor is being read", || {
        database.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock' AND query LIKE 'FETCH %'") == "1"
    });
    server.stop_at_once();
    let ended = running.end().expect(1);
    let said = ended.all();
    assert!(
        said.contains(&database.place()) && said.contains("the connection was lost after") && said.contains("none of them is used"),
        "{said}"
    );
    assert_eq!(receiver.connections(), 0);
    let gone = stage.penstock(&["run", "news"]).expect(1).all();
    assert!(gone.contains(&format!("{}: cannot be connected to", database.place())), "{gone}");
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn a_dropped_connection_in_the_middle_of_the_rows_is_no_end_of_the_rows() {
    let Some(server) = Server::shared() else { return };
    let database = server.database("");
    let query = "SELECT n AS id, repeat('x', 1000) AS v FROM generate_series(1, 500000) n";
    let scratch = tempfile::tempdir().unwrap();
    let request = DiffRequest {
        source: source(&database.dsn("owner"), query),
        primary_key: vec!["id".to_owned()],
        fields: vec![FieldMapping { from: "id".to_owned(), to: "id".to_owned() }],
        ignore: Vec::new(),
        hash_seed: 3,
        snapshot: Vec::new(),
        want_previous: false,
        resend_all: false,
        share: rows::Share::WHOLE,
        most_keys: usize::MAX,
        scratch: scratch.path().to_owned(),
        threads: 2,
        spool_memory: 1 << 20,
    };
    let (read, stopped) = (AtomicU64::new(0), AtomicU64::new(0));
    let error = rows::diff(&request, &|_, rows| {
        read.fetch_max(rows, Ordering::Relaxed);
        if rows > 20_000 && stopped.fetch_add(1, Ordering::Relaxed) == 0 {
            database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock' AND datname = current_database()");
        }
    });
    let error = error.unwrap_err();
    assert_eq!(error.kind, rows::ErrorKind::Torn);
    assert!(error.to_string().contains("the connection was lost after"), "{error}");
    assert!(read.load(Ordering::Relaxed) < 500_000);
}

#[test]
fn only_what_changed_in_a_table_is_a_change() {
    let Some(server) = Server::shared() else { return };
    let database = server.database(
        "CREATE TABLE t (id int8, price numeric(10, 4), at timestamptz); INSERT INTO t VALUES (1, 1.5, 'epoch'), (2, 2, 'epoch')",
    );
    let (first, changes) = diff(&database, "SELECT * FROM t");
    assert_eq!(first.added, 2);
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("0.parquet");
    let delivered = changes.into_iter().map(|change| {
        let state = engine::model::change::EntryState::Delivered;
        let entry = engine::model::change::Entry { state, row_hash: change.row_hash, fields: Some(change.fields), uncertain: None };
        engine::model::change::DeltaRow { key_hash: change.key_hash, key: change.key, entry }
    });
    rows::write_delta(delivered, &first.field_names, &snapshot, folder.path()).unwrap();
    database.sql("ALTER TABLE t ALTER price TYPE numeric(12, 6); UPDATE t SET price = 2.5 WHERE id = 2");
    let (_, changes) = try_diff(&database.dsn("owner"), "SELECT at, price, id FROM t ORDER BY id DESC", |request| {
        request.snapshot = vec![snapshot.clone()]
    })
    .unwrap();
    let kinds: Vec<(ChangeKind, &str)> = changes.iter().map(|change| (change.kind, change.key.as_str())).collect();
    assert_eq!(kinds, [(ChangeKind::Changed, "2")]);
}
