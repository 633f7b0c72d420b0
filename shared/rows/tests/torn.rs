//! Files that end too early, are damaged, or change while they are read: an error, never a shorter list of rows.

mod support;

use engine::model::change::Fields;
use rows::{DiffRequest, ErrorKind, SourceError};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Bench, Wanted, pack};

fn error(bench: &Bench, path: &Path) -> SourceError {
    bench.try_diff(&Wanted::of(path)).unwrap_err()
}

/// A1 of the faults. A cut is only ever accepted where what is left is a list of complete records.
#[test]
fn a_text_file_cut_anywhere_is_an_error_or_ends_with_a_complete_record() {
    let bench = Bench::new();
    let csv = "id,v,w\n1,\"a,b\",x\n2,\"line\nfeed\",y\n3,,z\n";
    let ndjson = "{\"id\":\"1\",\"v\":\"a\"}\n{\"id\":\"2\",\"v\":[1,2]}\n";
    for (name, text, header) in [("a.csv", csv, 7), ("a.ndjson", ndjson, 0)] {
        for cut in header..text.len() {
            let left = &text[..cut];
            let path = bench.put(name, left);
            match bench.try_diff(&Wanted::of(&path)) {
                Err(e) => assert_eq!(e.kind, ErrorKind::Torn, "{left:?}: {e}"),
                Ok((diff, changes)) => {
                    assert_eq!(diff.invalid_rows, 0, "{left:?}");
                    let records = if name == "a.csv" {
                        csv::Reader::from_reader(left.as_bytes()).records().collect::<Result<Vec<_>, _>>().unwrap().len()
                    } else {
                        left.lines().filter(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()).count()
                    };
                    assert_eq!(changes.len(), records, "{left:?}");
                }
            }
        }
    }
}

#[test]
fn a_torn_last_line_stops_the_run() {
    let bench = Bench::new();
    let e = error(&bench, &bench.put("a.csv", "id,v,w\n1,a,b\n2,a"));
    assert_eq!(e.kind, ErrorKind::Torn);
    assert!(e.place.ends_with("a.csv line 3"), "{e}");
    let e = error(&bench, &bench.put("b.csv", "id,v\n1,a\n\n2,\"open\n3,c\n"));
    assert!(e.kind == ErrorKind::Torn && e.place.ends_with("b.csv line 4"), "{e}");
    let e = error(&bench, &bench.put("c.ndjson", "{\"id\":1}\n{\"id\":2"));
    assert!(e.kind == ErrorKind::Torn && e.place.ends_with("c.ndjson line 2"), "{e}");
}

#[test]
fn a_complete_last_line_needs_no_line_feed() {
    let bench = Bench::new();
    for (name, text) in [("a.csv", "id,v\n1,a\n2,b"), ("b.csv", "id,v\n1,a\n2,\"b\""), ("c.ndjson", "{\"id\":1}\n{\"id\":2}")] {
        assert_eq!(bench.diff(&Wanted::of(&bench.put(name, text))).1.len(), 2, "{name}");
    }
}

/// A9 and A1 of the faults: packed files say where they end.
#[test]
fn a_packed_file_cut_anywhere_is_torn() {
    let bench = Bench::new();
    let text: String = (0..50).map(|i| format!("{i},value {i}\n")).collect();
    for extension in ["csv.gz", "csv.zst"] {
        let whole = pack(format!("id,v\n{text}").as_bytes(), extension);
        for cut in 0..whole.len() {
            let path = bench.put(&format!("a.{extension}"), &whole[..cut]);
            assert_eq!(error(&bench, &path).kind, ErrorKind::Torn, "{extension} cut at {cut}");
        }
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xff;
        assert!(bench.try_diff(&Wanted::of(&bench.put(&format!("b.{extension}"), &damaged))).is_err() || extension.ends_with("zst"));
    }
}

#[test]
fn a_parquet_file_cut_anywhere_is_an_error() {
    let bench = Bench::new();
    let rows: Vec<Fields> = (0..200).map(|i| vec![json!(format!("{i}")), json!(format!("value {i}"))]).collect();
    let path = bench.write("a", "parquet", &["id".to_owned(), "v".to_owned()], &rows);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(bench.diff(&Wanted::of(&path)).1.len(), 200);
    for cut in 0..whole.len() {
        assert_eq!(error(&bench, &bench.put("b.parquet", &whole[..cut])).kind, ErrorKind::Torn, "cut at {cut}");
    }
}

#[test]
fn a_damaged_snapshot_is_an_error_and_never_a_short_one() {
    let bench = Bench::new();
    let text: String = (0..300).map(|i| format!("{i},v\n")).collect();
    let path = bench.put("a.csv", format!("id,v\n{text}"));
    let snapshot = bench.deliver(&Wanted::of(&path), "s");
    let whole = std::fs::read(&snapshot).unwrap();
    for cut in (0..whole.len()).step_by(7) {
        let cut = bench.put("cut", &whole[..cut]);
        let e = bench.try_diff(&Wanted::of(&path).against(std::slice::from_ref(&cut))).unwrap_err();
        assert_eq!(e.kind, ErrorKind::Torn, "{e}");
        assert!(rows::snapshot_rows(&[cut]).is_err());
    }
    let other = bench.write("other", "parquet", &["id".to_owned()], &[vec![json!("1")]]);
    assert_eq!(bench.try_diff(&Wanted::of(&path).against(&[other])).unwrap_err().kind, ErrorKind::Format);
    assert_eq!(bench.try_diff(&Wanted::of(&path).against(&[bench.path("none")])).unwrap_err().kind, ErrorKind::Missing);
}

/// A2 of the faults.
#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let bench = Bench::new();
    let text: String = (0..200_000).map(|i| format!("{i},some text to make it long\n")).collect();
    let path = bench.put("a.csv", format!("id,v\n{text}"));
    let request = DiffRequest { threads: 1, ..bench.request(&Wanted::of(&path)) };
    let calls = AtomicU64::new(0);
    let append = |_: u64, _: u64| {
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            use std::io::Write;
            std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"new,row\n").unwrap();
        }
    };
    let e = rows::diff(&request, &append).unwrap_err();
    assert!(calls.load(Ordering::Relaxed) > 1, "there are several blocks");
    assert!(e.kind == ErrorKind::Torn && e.message.contains("changed while it was read"), "{e}");
}

#[test]
fn a_row_without_end_is_refused_instead_of_held_in_memory() {
    let bench = Bench::new();
    let long = "x".repeat(17 << 20);
    for (name, text) in [
        ("a.csv", format!("id,v\n1,{long}\n")),
        ("b.csv", format!("id,v\n1,\"{long}\n")),
        ("c.ndjson", format!("{{\"id\":1,\"v\":\"{long}\"}}\n")),
    ] {
        let e = error(&bench, &bench.put(name, text));
        assert!(matches!(e.kind, ErrorKind::Format | ErrorKind::Torn), "{name}: {e}");
    }
    let fits = "x".repeat(15 << 20);
    let (_, changes) = bench.diff(&Wanted::of(&bench.put("d.csv", format!("id,v\n0,\n1,{fits}\n2,\n"))));
    assert_eq!(changes[1].fields[1].as_str().unwrap().len(), fits.len());
}

/// A9 of the faults: a megabyte that unpacks to a gigabyte is read in bounded memory, or refused.
#[test]
fn a_bomb_is_refused() {
    let bench = Bench::new();
    let zeros = vec![b'0'; 64 << 20];
    for extension in ["csv.gz", "ndjson.zst"] {
        let path = bench.put(&format!("a.{extension}"), pack(&[b"id\n".as_slice(), &zeros].concat(), extension));
        assert_eq!(error(&bench, &path).kind, ErrorKind::Format, "{extension}");
    }
}

#[test]
fn a_scratch_directory_that_cannot_be_written_stops_the_diff() {
    let bench = Bench::new();
    let path = bench.put("a.csv", "id\n1\n");
    let request = DiffRequest { scratch: bench.path("nowhere"), spool_memory: 0, ..bench.request(&Wanted::of(&path)) };
    let e = rows::diff(&request, &|_, _| {}).unwrap_err();
    assert!(e.place.ends_with("nowhere"), "{e}");
}

#[test]
fn rows_that_end_in_the_middle_of_a_block_keep_their_lines() {
    let bench = Bench::new();
    let mut text = String::from("id,v\n");
    for i in 0..60_000 {
        text.push_str(&if i % 1000 == 999 { format!("{i},\"two\nlines\"\n") } else { format!("{i},just some text\n") });
    }
    text.push_str("ragged\n\"a\n\nb\",ok\nragged\n");
    for threads in [1, 4] {
        let mut wanted = Wanted::of(&bench.put("a.csv", &text));
        wanted.threads = threads;
        let (diff, changes) = bench.diff(&wanted);
        let lines: Vec<String> = diff.invalid.iter().map(|i| i.place.rsplit(' ').next().unwrap().to_owned()).collect();
        assert_eq!(lines, ["60062", "60066"]);
        assert_eq!(changes.len(), 60_001);
        assert_eq!(changes[999].fields[1], json!("two\nlines"));
    }
}
