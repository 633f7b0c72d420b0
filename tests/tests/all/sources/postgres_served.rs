//! A query's rows under `penstock serve`, where its model comes through the API.

use super::postgres::query_project;
use super::server::{PASSWORD, Server as Postgres};
use crate::journey::stage::{Stage, assert_says, files_below, keep};
use crate::serve::server::{Server, no_wish};
use serde_json::json;
use tests::receiver::{Action, Always};

#[test]
fn a_query_that_came_through_the_api_is_run_and_its_password_is_nowhere() {
    let Some(postgres) = Postgres::shared() else { return };
    let database = postgres.database(
        "CREATE TABLE people (id int PRIMARY KEY, email text, name text); \
         INSERT INTO people SELECT n, 'p' || n || '@example.com', 'Person ' || n FROM generate_series(1, 40) n",
    );
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&query_project(&receiver.url(), "SELECT 1 AS id")).with_variable("PG_DSN", &database.dsn("reader"));
    let server = Server::start(&stage);
    let model = |dsn: &str, query: &str| json!({"primary_key": ["id"], "source": {"type": "postgres", "dsn": dsn, "query": query}});
    server.put("/v1/models/people", model(&database.dsn("owner"), "SELECT id, email, name FROM people"));
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!((&run["status"], &run["changes"]["added"]), (&json!("succeeded"), &json!(40)), "{run:#}");
    assert_eq!(held.lock().unwrap().members.len(), 40);
    let shown = server.get("/v1/models/people");
    assert!(shown.to_string().contains("[redacted]"), "{shown:#}");
    // What is redacted is kept; the query may change without it.
    server.put("/v1/models/people", model("[redacted]", "SELECT id, email, name FROM people WHERE id > 1"));
    database.sql("UPDATE people SET email = 'new@example.com' WHERE id = 3");
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["changes"], json!({"added": 0, "changed": 1, "removed": 1}), "{run:#}");
    let lines = b"{\"remove\": {\"id\": 1}}\n".to_vec();
    let ndjson = [("content-type", "application/x-ndjson")];
    let pushed = server.send(&server.token, "POST", "/v1/models/people/rows?mode=changes", &ndjson, lines).expect(409).json();
    assert_eq!(pushed["code"], "not_a_push_model", "{pushed:#}");
    server.put("/v1/models/people", model(&database.dsn("nobody"), "SELECT id, email, name FROM people"));
    let failed = server.ended(&server.run("news", no_wish()));
    assert_eq!(failed["status"], "failed", "{failed:#}");
    assert_says(failed["reason"].as_str().unwrap(), &[&database.place(), "does not let us in", "28P01"]);
    let said = format!("{shown} {run} {pushed} {failed}");
    let (_, log) = server.stop();
    assert!(!said.contains(PASSWORD) && !log.contains(PASSWORD));
    for file in files_below(&stage.path(".penstock")) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(memchr::memmem::find(&bytes, PASSWORD.as_bytes()).is_none(), "{} holds the password", file.display());
    }
}
