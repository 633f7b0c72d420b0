//! Keys, values and invalid rows, format by format.

mod support;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use engine::model::change::{Change, ChangeKind};
use rows::{Diff, ErrorKind};
use serde_json::json;
use std::sync::Arc;
use support::{Bench, Wanted};

fn keys(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|c| c.key.as_str()).collect()
}

fn reasons(diff: &Diff) -> Vec<(String, String)> {
    let short = |place: &str| place.rsplit('/').next().unwrap().to_owned();
    diff.invalid.iter().map(|i| (short(&i.place), i.reason.clone())).collect()
}

/// HT-02
#[test]
fn a_csv_cell_is_text_and_an_empty_one_is_null() {
    let bench = Bench::new();
    let path = bench.put("a.csv", "\u{feff}id,name,age\r\n1,\"\",30\r\n2,Zoë,\r\n");
    let (diff, changes) = bench.diff(&Wanted::of(&path));
    assert_eq!(&*diff.field_names, ["id", "name", "age"]);
    assert_eq!(changes[0].fields, [json!("1"), json!(null), json!("30")]);
    assert_eq!(changes[1].fields, [json!("2"), json!("Zoë"), json!(null)]);
    assert_eq!((diff.rows, diff.added, diff.invalid_rows), (2, 2, 0));
}

#[test]
fn ndjson_keeps_its_types() {
    let bench = Bench::new();
    let path = bench.put("a.ndjson", "{\"id\":1,\"n\":1.50,\"b\":true,\"x\":{\"a\":[1,null]},\"t\":\"\\u00e9\\n\"}\n\n");
    let (diff, changes) = bench.diff(&Wanted::of(&path));
    assert_eq!(&*diff.field_names, ["id", "n", "b", "x", "t"]);
    assert_eq!(changes[0].fields, [json!(1), json!(1.5), json!(true), json!({"a": [1, null]}), json!("é\n")]);
    assert_eq!(diff.rows, 1);
}

#[test]
fn a_key_is_the_same_key_in_every_format() {
    let bench = Bench::new();
    let csv = bench.deliver(&Wanted::of(&bench.put("a.csv", "id,name\n1,Ana\n2,Bo\n")), "one.snapshot");
    let ndjson = bench.put("a.ndjson", "{\"id\":1,\"name\":\"Ana\"}\n{\"id\":2.0,\"name\":\"Bo\"}\n");
    let (diff, changes) = bench.diff(&Wanted::of(&ndjson).fields(&[("name", "name")]).against(std::slice::from_ref(&csv)));
    assert_eq!((diff.added, diff.removed), (0, 0));
    assert!(changes.iter().all(|c| c.kind == ChangeKind::Changed), "the id is a field of the snapshot, so the hashes differ");
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![2, 1])) as ArrayRef),
        ("name", Arc::new(StringArray::from(vec!["Bo", "Ana"]))),
    ]);
    let parquet = bench.put_parquet("a.parquet", &batch.unwrap());
    let snapshot = bench.deliver(&Wanted::of(&ndjson), "two.snapshot");
    let (diff, _) = bench.diff(&Wanted::of(&parquet).against(&[snapshot]));
    assert_eq!((diff.unchanged, diff.added, diff.changed, diff.removed), (2, 0, 0, 0));
}

#[test]
fn the_spelling_of_numbers_and_the_order_of_columns_are_no_change() {
    let bench = Bench::new();
    let one = bench.put("one.ndjson", "{\"id\":\"a\",\"n\":1,\"o\":{\"x\":1,\"y\":2}}\n");
    let snapshot = bench.deliver(&Wanted::of(&one), "s");
    let two = bench.put("two.ndjson", "{\"o\":{\"y\":2.0,\"x\":1e0},\"n\":1.0,\"id\":\"a\",\"new\":null}\n");
    let (diff, _) = bench.diff(&Wanted::of(&two).against(&[snapshot]));
    assert_eq!((diff.unchanged, diff.changed), (1, 0), "a member that is null is as good as none");
}

#[test]
fn null_the_empty_text_and_types_are_told_apart() {
    let bench = Bench::new();
    let lines = ["null", "\"\"", "\"1\"", "1", "true", "[]", "{}"];
    for (i, a) in lines.iter().enumerate() {
        let snapshot = bench.deliver(&Wanted::of(&bench.put("a.ndjson", format!("{{\"id\":1,\"v\":{a}}}\n"))), "s");
        for (j, b) in lines.iter().enumerate() {
            let path = bench.put("b.ndjson", format!("{{\"id\":1,\"v\":{b}}}\n"));
            let (diff, _) = bench.diff(&Wanted::of(&path).against(std::slice::from_ref(&snapshot)));
            assert_eq!(diff.changed, u64::from(i != j), "{a} then {b}");
        }
    }
}

#[test]
fn an_ignored_column_is_sent_but_its_change_is_none() {
    let bench = Bench::new();
    let snapshot = bench.deliver(&Wanted::of(&bench.put("a.csv", "id,at,v\n1,x,1\n2,x,2\n")).ignore(&["at"]), "s");
    let path = bench.put("b.csv", "id,at,v\n1,y,1\n2,y,3\n");
    let (diff, changes) = bench.diff(&Wanted::of(&path).ignore(&["at"]).against(&[snapshot]));
    assert_eq!((diff.unchanged, diff.changed), (1, 1));
    assert_eq!(changes[0].fields, [json!("2"), json!("y"), json!("3")]);
}

/// GL-70, HT-34
#[test]
fn only_mapped_fields_are_read_and_they_have_their_own_names_and_order() {
    let bench = Bench::new();
    for (name, content) in [("a.csv", "x,email_address,id\n1,e,7\n"), ("a.ndjson", "{\"x\":\"1\",\"email_address\":\"e\",\"id\":\"7\"}\n")]
    {
        let wanted = Wanted::of(&bench.put(name, content)).fields(&[("email_address", "email"), ("id", "id")]);
        let (diff, changes) = bench.diff(&wanted);
        assert_eq!(&*diff.field_names, ["email", "id"]);
        assert_eq!(changes[0].fields, [json!("e"), json!("7")]);
    }
}

/// A5 of the faults: a mapped column that is not there stops everything, with the nearest name.
#[test]
fn a_missing_column_is_an_error_with_the_nearest_name() {
    let bench = Bench::new();
    let files = [("a.csv", "id,email\n1,e\n"), ("a.ndjson", "{\"id\":1,\"email\":\"e\"}\n")];
    for (name, content) in files {
        let path = bench.put(name, content);
        let e = bench.try_diff(&Wanted::of(&path).fields(&[("emial", "email")])).unwrap_err();
        assert_eq!(e.kind, ErrorKind::Column);
        assert!(e.message.contains("\"emial\"") && e.message.contains("did you mean \"email\"?"), "{e}");
        assert_eq!(bench.try_diff(&Wanted::of(&path).key(&["ident"])).unwrap_err().kind, ErrorKind::Column);
    }
    let batch = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let path = bench.put_parquet("a.parquet", &batch);
    assert_eq!(bench.try_diff(&Wanted::of(&path).fields(&[("no", "no")])).unwrap_err().kind, ErrorKind::Column);
}

#[test]
fn an_ndjson_member_that_only_some_rows_have_is_a_column() {
    let bench = Bench::new();
    let path = bench.put("a.ndjson", "{\"id\":1}\n{\"late\":5,\"id\":2}\n{\"id\":3,\"later\":6}\n");
    let (diff, changes) = bench.diff(&Wanted::of(&path));
    assert_eq!(&*diff.field_names, ["id", "late", "later"]);
    assert_eq!(changes[0].fields, [json!(1), json!(null), json!(null)]);
    assert_eq!(changes[2].fields, [json!(3), json!(null), json!(6)]);
    let (diff, changes) = bench.diff(&Wanted::of(&path).fields(&[("late", "late"), ("id", "id")]));
    assert_eq!((diff.added, &changes[1].fields), (3, &vec![json!(5), json!(2)]));
}

#[test]
fn members_without_end_are_refused_unless_the_fields_are_named() {
    let bench = Bench::new();
    let text: String = (0..2500).map(|i| format!("{{\"id\":{i},\"v\":1,\"m{i}\":1}}\n")).collect();
    let path = bench.put("a.ndjson", text);
    let e = bench.try_diff(&Wanted::of(&path)).unwrap_err();
    assert!(e.kind == ErrorKind::Format && e.message.contains("2000 different members; list the fields"), "{e}");
    assert_eq!(bench.diff(&Wanted::of(&path).fields(&[("v", "v")])).0.added, 2500);
}

#[test]
fn columns_of_many_blocks_stand_in_the_order_of_their_first_appearance() {
    let bench = Bench::new();
    let mut text = String::new();
    for i in 0..40_000 {
        text.push_str(&format!("{{\"id\":{i},\"pad\":\"{}\",\"m{}\":{i}}}\n", "x".repeat(60), i / 1000));
    }
    let path = bench.put("a.ndjson", text);
    let mut wanted = Wanted::of(&path);
    wanted.spool_memory = 100_000;
    for threads in [1, 4] {
        wanted.threads = threads;
        let (diff, changes) = bench.diff(&wanted);
        let mut names = vec!["id".to_owned(), "pad".to_owned()];
        names.extend((0..40).map(|m| format!("m{m}")));
        assert_eq!(&*diff.field_names, names);
        assert_eq!(changes.len(), 40_000);
        for (i, change) in changes.iter().enumerate() {
            assert_eq!(change.key, i.to_string());
            assert_eq!(change.fields[2 + i / 1000], json!(i));
        }
    }
}

/// A null key is no key: whatever row it was, its removal waits.
#[test]
fn rows_whose_key_cannot_be_read_are_invalid_and_hold_removals() {
    let bench = Bench::new();
    let snapshot = bench.deliver(&Wanted::of(&bench.put("a.ndjson", "{\"id\":\"gone\"}\n")), "s");
    let path = bench.put(
        "b.ndjson",
        "{\"id\":null}\n{\"v\":1}\n{\"id\":\"\"}\n{\"id\":1.5}\n{\"id\":true}\n{\"id\":[1]}\n{\"id\":\"a\\u001fb\"}\n[1]\nnonsense\n{\"id\":12345678901234567890123}\n{\"id\":\"ok\",\"v\":1}\n",
    );
    let (diff, changes) = bench.diff(&Wanted::of(&path).against(&[snapshot]));
    assert!(diff.removals_wait);
    assert_eq!((diff.rows, diff.invalid_rows, diff.added, diff.removed), (11, 10, 1, 0));
    assert_eq!(keys(&changes), ["ok"]);
    let reasons = reasons(&diff);
    assert_eq!(reasons[0], ("b.ndjson line 1".into(), "the key column \"id\" is empty".into()));
    assert!(reasons[3].1.contains("fraction"), "{reasons:?}");
    assert!(reasons[6].1.contains("U+001F"));
    assert!(reasons[7].1.contains("not a JSON object"));
    assert!(reasons[8].1.contains("not valid JSON"));
    assert!(reasons[9].1.contains("beyond 64 bits; send it as text"));
    assert!(diff.invalid.iter().all(|i| i.key.is_none()));
}

#[test]
fn an_invalid_row_whose_key_can_be_read_holds_its_key_alone() {
    let bench = Bench::new();
    let snapshot = bench.deliver(
        &Wanted::of(&bench.put("a.ndjson", "{\"id\":1,\"v\":1}\n{\"id\":2,\"v\":1}\n{\"id\":3,\"v\":1}\n{\"id\":4,\"v\":1}\n")),
        "s",
    );
    let path = bench.put(
        "b.ndjson",
        "{\"id\":1,\"v\":99999999999999999999}\n{\"id\":2,\"v\":1,\"v\":2}\n{\"v\":{\"a\":1,\"a\":2},\"id\":3}\n{\"id\":5,\"v\":\"\\ud800\"}\n{\"id\":6,\"v\":1e400}\n{\"id\":7,\"v\":[18446744073709551616]}\n",
    );
    let (diff, changes) = bench.diff(&Wanted::of(&path).against(&[snapshot]));
    assert_eq!((diff.invalid_rows, diff.removed, diff.removals_wait), (6, 1, false));
    assert_eq!(keys(&changes), ["4"], "only the key that is really gone");
    let known: Vec<_> = diff.invalid.iter().map(|i| i.key.clone().unwrap()).collect();
    assert_eq!(known, ["1", "2", "3", "5", "6", "7"]);
    assert!(diff.invalid[1].reason.contains("stands twice"));
    assert!(diff.invalid[2].reason.contains("two members \"a\""));
}

/// A3 of the faults: all rows of a key that stands twice, each with its place, in whatever order and with however many threads.
#[test]
fn a_key_that_stands_twice_makes_all_its_rows_invalid() {
    let bench = Bench::new();
    let snapshot = bench.deliver(&Wanted::of(&bench.put("a.csv", "id,v\nold,1\nkept,1\n")), "s");
    let orders = ["id,v\nold,1\nnew,2\nkept,1\nold,3\nnew,2\nnew,4\n", "id,v\nnew,4\nold,3\nkept,1\nnew,2\nold,1\nnew,2\n"];
    for content in orders {
        for threads in [1, 3] {
            let mut wanted = Wanted::of(&bench.put("b.csv", content)).against(std::slice::from_ref(&snapshot));
            wanted.threads = threads;
            let (diff, changes) = bench.diff(&wanted);
            assert_eq!((diff.rows, diff.unchanged, diff.added, diff.changed, diff.removed, diff.invalid_rows), (6, 1, 0, 0, 0, 5));
            assert!(changes.is_empty() && !diff.removals_wait);
            let listed: Vec<_> = diff.invalid.iter().map(|i| i.key.clone().unwrap()).collect();
            assert_eq!((listed.len(), listed.iter().filter(|k| *k == "new").count()), (5, 3));
        }
    }
    let (diff, _) = bench.diff(&Wanted::of(&bench.put("b.csv", orders[0])).against(&[snapshot]));
    let first = &diff.invalid[0];
    assert!(first.place.ends_with("b.csv line 2"), "{}", first.place);
    assert!(
        first.reason.starts_with("its key stands 2 times in the source; also: ") && first.reason.ends_with("b.csv line 5"),
        "{}",
        first.reason
    );
}

#[test]
fn a_valid_row_beside_an_invalid_one_of_the_same_key_is_invalid_too() {
    let bench = Bench::new();
    let path = bench.put("a.ndjson", "{\"id\":1,\"v\":99999999999999999999}\n{\"id\":1,\"v\":2}\n{\"id\":2,\"v\":2}\n");
    let (diff, changes) = bench.diff(&Wanted::of(&path));
    assert_eq!((diff.rows, diff.invalid_rows, diff.added), (3, 2, 1));
    assert_eq!(keys(&changes), ["2"]);
    assert!(diff.invalid[0].reason.contains("beyond 64 bits") && diff.invalid[1].reason.contains("stands 2 times"));
}

#[test]
fn the_first_thousand_invalid_rows_are_listed_and_all_are_counted() {
    let bench = Bench::new();
    let text: String = (0..3000).map(|i| format!("x,{}\n", if i % 2 == 0 { "1,2" } else { "1" })).collect();
    let (diff, _) = bench.diff(&Wanted::of(&bench.put("a.csv", format!("id,v\n{text}"))));
    assert_eq!((diff.invalid_rows, diff.invalid.len()), (3000, 1000));
    assert!(diff.invalid[999].place.ends_with("line 1001"));
    assert!(diff.removals_wait, "a ragged row's key cannot be read");
}

#[test]
fn the_columns_of_a_composite_key_are_joined_by_the_unit_separator() {
    let bench = Bench::new();
    let path = bench.put("a.csv", "shop,id,v\na,1,x\na,2,x\nb,1,x\n,1,x\n");
    let (diff, changes) = bench.diff(&Wanted::of(&path).key(&["shop", "id"]));
    assert_eq!(keys(&changes), ["a\u{1f}1", "a\u{1f}2", "b\u{1f}1"]);
    assert_eq!(diff.invalid_rows, 1);
}

#[test]
fn parquet_values_that_json_cannot_carry_make_their_row_invalid() {
    let bench = Bench::new();
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef),
        ("n", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
    ]);
    let path = bench.put_parquet("a.parquet", &batch.unwrap());
    let (diff, changes) = bench.diff(&Wanted::of(&path));
    assert_eq!(changes[0].fields, [json!("a"), json!(0.5), json!(true)]);
    assert_eq!(changes[1].fields, [json!("c"), json!(null), json!(false)]);
    assert_eq!(reasons(&diff), [("a.parquet row 2".to_owned(), "the column \"n\" is NaN, which JSON cannot carry".to_owned())]);
    assert_eq!(diff.invalid[0].key.as_deref(), Some("b"));
}

#[test]
fn a_row_of_a_csv_file_that_is_not_utf_8_is_invalid() {
    let bench = Bench::new();
    let (diff, changes) = bench.diff(&Wanted::of(&bench.put("a.csv", b"id,v\n1,\xff\n2,\xc3\xa9\n")));
    assert_eq!((diff.invalid_rows, changes[0].fields[1].clone()), (1, json!("é")));
    assert!(reasons(&diff)[0].1.contains("UTF-8"));
}

#[test]
fn several_files_are_one_source_and_places_name_theirs() {
    let bench = Bench::new();
    bench.put("in/b.csv", "v,id\nx,2\ny,3,4\n");
    bench.put("in/a.csv", "id,v\n1,x\n");
    bench.put("in/_SUCCESS", "");
    for path in ["in", "in/*.csv"] {
        let (diff, changes) = bench.diff(&Wanted::of(&bench.path(path)));
        assert_eq!(keys(&changes), ["1", "2"]);
        assert_eq!(changes[1].fields, [json!("2"), json!("x")], "columns go by name");
        assert_eq!(reasons(&diff)[0].0, "b.csv line 3");
    }
    bench.put("in/c.csv", "id,v,new\n9,x,y\n");
    assert_eq!(bench.try_diff(&Wanted::of(&bench.path("in"))).unwrap_err().kind, ErrorKind::Column);
    assert_eq!(bench.diff(&Wanted::of(&bench.path("in")).fields(&[("v", "v")])).1.len(), 3);
}

#[test]
fn headers_must_be_there_and_name_each_column_once() {
    let bench = Bench::new();
    assert_eq!(bench.try_diff(&Wanted::of(&bench.put("a.csv", ""))).unwrap_err().kind, ErrorKind::Format);
    assert_eq!(bench.try_diff(&Wanted::of(&bench.put("b.csv", "id,id\n"))).unwrap_err().kind, ErrorKind::Column);
    for content in ["id,v\n", "id,v", "\"id\",\"v\"\r\n"] {
        assert_eq!(bench.diff(&Wanted::of(&bench.put("c.csv", content))).0.rows, 0, "{content:?}");
    }
    assert_eq!(bench.diff(&Wanted::of(&bench.put("d.ndjson", "\n"))).0.rows, 0);
}

#[test]
fn the_checksum_does_not_depend_on_order_or_threads_but_on_every_value() {
    let bench = Bench::new();
    let sum = |name: &str, content: &str, threads: usize| {
        let mut wanted = Wanted::of(&bench.put(name, content));
        wanted.threads = threads;
        bench.diff(&wanted).0.checksum
    };
    let one = sum("a.csv", "id,v\n1,x\n2,y\n", 1);
    assert_eq!(one, sum("b.csv", "v,id\ny,2\nx,1\n", 3));
    assert_ne!(one, sum("c.csv", "id,v\n1,y\n2,x\n", 1), "exchanged values");
    assert_ne!(one, sum("d.csv", "id,v\n1,x\n", 1));
}

#[test]
fn a_sample_shows_the_first_valid_rows_as_they_would_be_sent() {
    let bench = Bench::new();
    let mapping = [rows::FieldMapping { from: "v".into(), to: "value".into() }];
    for (name, content) in
        [("a.csv", "id,v\n,1\n1,x\n2,y\n3,z\n"), ("a.ndjson", "{\"id\":null}\n{\"id\":\"1\",\"v\":\"x\"}\n{\"id\":\"2\",\"v\":\"y\"}\n")]
    {
        let source = rows::Source::File(rows::FileSource { path: bench.put(name, content), format: None });
        let key = ["id".to_owned()];
        let sample = rows::sample(&source, &key, &mapping, 2).unwrap();
        assert_eq!(sample.rows, [("1".to_owned(), vec![json!("x")]), ("2".to_owned(), vec![json!("y")])]);
        assert_eq!(sample.columns, ["id", "v"]);
        assert_eq!(&*sample.field_names, ["value"]);
        assert_eq!(&*rows::sample(&source, &key, &[], 9).unwrap().field_names, ["id", "v"]);
        let wrong = [rows::FieldMapping { from: "w".into(), to: "w".into() }];
        assert_eq!(rows::sample(&source, &key, &wrong, 9).unwrap_err().kind, ErrorKind::Column);
    }
}
