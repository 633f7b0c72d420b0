//! Rows that only a stack gets at: objects in S3, and queries on Athena. Athena itself is not here: moto says that a query succeeded, and this
//! test writes the Parquet that Athena would have written, where the statement says.

use crate::journey::stage::{People, Stage, assert_holds, assert_says, keep, project};
use crate::serve::server::{Place, Server, no_wish};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use std::sync::Arc;
use tests::aws::{Fault, moto};
use tests::receiver::{Action, Always};

fn parquet(people: &People) -> Vec<u8> {
    let column = |values: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let ids = column(people.0.keys().map(u32::to_string).collect());
    let emails = column(people.0.values().map(|[email, _]| email.clone()).collect());
    let names = column(people.0.values().map(|[_, name]| name.clone()).collect());
    let batch = RecordBatch::try_from_iter([("id", ids), ("email", emails), ("name", names)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn rows_are_read_from_all_objects_whose_keys_begin_so() {
    if !super::is_here() {
        return;
    }
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let stage = Stage::new(&project(&receiver.url()));
    let server = Server::start_on(Place::Stack, &stage);
    let stack = server.stack();
    let mut people = People::new(30);
    let (mut first, mut second) = (people.clone(), people.clone());
    (1..=10).for_each(|id| second.remove(id));
    (11..=30).for_each(|id| first.remove(id));
    let put = |key: &str, bytes: Vec<u8>| stack.put_object(moto().unwrap(), key, bytes);
    put("day/one/part.csv", first.csv().into_bytes());
    put("day/two/part.csv", second.csv().into_bytes());
    // The marks of whoever writes objects are no rows.
    put("day/_SUCCESS", Vec::new());
    put("day/two/.part.csv.crc", b"crc".to_vec());
    let source = |path: &str| json!({"primary_key": ["id"], "source": {"type": "file", "path": format!("s3://{}/{path}", stack.parts.names.bucket)}});
    server.put("/v1/models/people", source("day/"));
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    // What is gone from the objects is removed.
    second.remove(30);
    people.remove(30);
    put("day/two/part.csv", second.csv().into_bytes());
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["changes"], json!({"added": 0, "changed": 0, "removed": 1}), "{run:#}");
    assert_holds(&held, &people);
    // What is not there empties nothing.
    server.put("/v1/models/people", source("night/"));
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_says(run["reason"].as_str().unwrap_or_default(), &["night/", "no objects"]);
    assert_holds(&held, &people);
}

#[test]
fn a_query_runs_on_athena_and_its_rows_are_read_from_s3() {
    if super::is_here() {
        query(None);
    }
}

/// All parts read what one query was answered with.
#[test]
fn a_query_whose_rows_are_too_many_for_one_function_runs_once_for_all_parts() {
    if super::is_here() {
        query(Some("10"));
    }
}

fn query(part_keys: Option<&str>) {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 2);
    let mut project = project(&receiver.url());
    let query = "SELECT id, email, name FROM people WHERE country = 'DE'";
    project["models"]["people"]["source"] = json!({"type": "athena", "database": "shop", "query": query});
    let stage = Stage::new(&project);
    let people = People::new(25);
    let (proxy, mut setting) = super::behind_a_proxy();
    setting.environment.extend(part_keys.map(|keys| ("PENSTOCK_PART_KEYS".to_owned(), keys.to_owned())));
    let rows = parquet(&people);
    let athena = move |request: &mut Value| {
        let statement = request["QueryString"].as_str().expect("a statement").to_owned();
        let rest = statement.strip_prefix(&format!("UNLOAD ({query}) TO 's3://")).unwrap_or_else(|| panic!("{statement}"));
        let (place, with) = rest.split_once("' WITH ").expect("a place and a format");
        assert_eq!(with, "(format = 'PARQUET', compression = 'SNAPPY')");
        let (bucket, prefix) = place.split_once('/').expect("a bucket and a prefix");
        tests::aws::put_object(moto().unwrap().address(), bucket, &format!("{prefix}20260101_0001_part"), rows.clone());
        json!({})
    };
    proxy.rule("AmazonAthena.StartQueryExecution", 0, 1, Fault::Part(Arc::new(athena)));
    let server = Server::of_stack(&stage, setting);
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_holds(&held, &people);
    assert_eq!(proxy.seen("AmazonAthena.StartQueryExecution").len(), 1);
    let started = &proxy.seen("AmazonAthena.StartQueryExecution")[0];
    let started: Value = serde_json::from_slice(&started.body).unwrap();
    assert_eq!((&started["WorkGroup"], &started["QueryExecutionContext"]["Database"]), (&json!("primary"), &json!("shop")));
    // What Athena wrote is gone again.
    assert!(proxy.seen("S3 DELETE").iter().any(|seen| seen.name.contains("20260101_0001_part")));
    // A query that finds nothing empties nothing.
    let run = server.ended(&server.run("news", no_wish()));
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_says(run["reason"].as_str().unwrap_or_default(), &["no rows"]);
    assert_holds(&held, &people);
}
