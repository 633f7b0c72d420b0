//! Times planning: reads a model's current rows, compares them with a snapshot and writes every change as a line of JSON.
//!
//! ```text
//! planning snapshot ROWS SNAPSHOT [--key COLUMN]     writes the snapshot as a first, complete run would leave it
//! planning diff ROWS SNAPSHOT OUT [--key COLUMN] [--share PART/OF]
//!                                                    compares, and prints counts, wall time and peak memory as JSON;
//!                                                    found_s, spooled_s: seconds until the diff is known, until the first removed row
//! ```
//!
//! It is a measuring tool beside `benches/planning.py`; nothing else uses it.

use engine::model::change::{Change, ChangeKind, DeltaRow, Entry, EntryState};
use rows::{DiffRequest, FileSource, Share, Source, SourceError};
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let all: Vec<String> = std::env::args().skip(1).collect();
    let (options, words) = split(&all);
    let mut result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["snapshot", rows, to] => snapshot(rows, Path::new(to), &options)?,
        ["diff", rows, snapshot, out] => compare(rows, Path::new(snapshot), out, &options)?,
        _ => return Err("usage: planning snapshot ROWS SNAPSHOT | planning diff ROWS SNAPSHOT OUT [--key COLUMN]".into()),
    };
    result["wall_s"] = (start.elapsed().as_micros() as f64 / 1e6).into();
    result["peak_mib"] = peak_mib().into();
    println!("{result}");
    Ok(())
}

/// Options (name, value) and the other words.
fn split(all: &[String]) -> (Vec<(String, String)>, Vec<String>) {
    let mut options = Vec::new();
    let mut words = Vec::new();
    let mut rest = all.iter();
    while let Some(word) = rest.next() {
        match word.strip_prefix("--") {
            Some(name) => options.push((name.to_owned(), rest.next().cloned().unwrap_or_default())),
            None => words.push(word.clone()),
        }
    }
    (options, words)
}

fn request(rows: &str, snapshot: Vec<PathBuf>, options: &[(String, String)]) -> DiffRequest {
    let option = |name: &str| options.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    DiffRequest {
        source: Source::File(FileSource { path: rows.into(), format: None }),
        primary_key: vec![option("key").unwrap_or_else(|| "id".to_owned())],
        fields: Vec::new(),
        ignore: Vec::new(),
        hash_seed: 7,
        snapshot,
        want_previous: option("previous").is_some(),
        resend_all: false,
        share: share(option("share")),
        most_keys: usize::MAX,
        scratch: std::env::temp_dir(),
        threads: option("threads")
            .and_then(|t| t.parse().ok())
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        spool_memory: 8 << 20,
    }
}

/// `--share 2/8`: the third of eight parts of the keys.
fn share(option: Option<String>) -> Share {
    let parsed = option.as_deref().and_then(|text| text.split_once('/')).map(|(part, of)| (part.parse(), of.parse()));
    match parsed {
        Some((Ok(part), Ok(of))) => Share { part, of },
        _ => Share::WHOLE,
    }
}

fn snapshot(rows: &str, to: &Path, options: &[(String, String)]) -> Result<serde_json::Value, SourceError> {
    let diff = rows::diff(&request(rows, Vec::new(), options), &|_, _| {})?;
    let names = diff.field_names.clone();
    let mut failed = None;
    let delivered = diff.changes.map_while(|change| match change {
        Ok(change) => Some(DeltaRow {
            key_hash: change.key_hash,
            key: change.key,
            entry: Entry { state: EntryState::Delivered, row_hash: change.row_hash, fields: Some(change.fields), uncertain: None },
        }),
        Err(e) => {
            failed = Some(e);
            None
        }
    });
    let written = rows::write_delta(delivered, &names, to, &std::env::temp_dir())?;
    match failed {
        Some(e) => Err(e),
        None => Ok(serde_json::json!({"rows": written.rows, "bytes": std::fs::metadata(to).map(|m| m.len()).unwrap_or_default()})),
    }
}

fn compare(rows: &str, snapshot: &Path, out: &str, options: &[(String, String)]) -> Result<serde_json::Value, Box<dyn Error>> {
    let start = Instant::now();
    let diff = rows::diff(&request(rows, vec![snapshot.to_owned()], options), &|_, _| {})?;
    let found_s = start.elapsed().as_secs_f64();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(out)?);
    let names: Vec<String> = diff.field_names.iter().map(|n| format!(",{}:", serde_json::Value::from(n.as_str()))).collect();
    let mut lines = 0_u64;
    let mut spooled_s = None;
    for change in diff.changes {
        let change = change?;
        if change.kind == ChangeKind::Removed {
            spooled_s.get_or_insert_with(|| start.elapsed().as_secs_f64());
        }
        write_line(&change, &names, &mut out)?;
        lines += 1;
    }
    out.flush()?;
    Ok(serde_json::json!({
        "rows": diff.rows, "unchanged": diff.unchanged, "added": diff.added, "changed": diff.changed, "removed": diff.removed,
        "invalid": diff.invalid_rows, "lines": lines, "found_s": found_s, "spooled_s": spooled_s,
    }))
}

fn write_line(change: &Change, names: &[String], out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let kind = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Removed => "removed",
    };
    out.write_all(b"{\"op\":\"")?;
    out.write_all(kind.as_bytes())?;
    out.write_all(b"\"")?;
    for (name, value) in names.iter().zip(&change.fields) {
        out.write_all(name.as_bytes())?;
        serde_json::to_writer(&mut *out, value)?;
    }
    out.write_all(b"}\n")?;
    Ok(())
}

/// The most memory that the process ever held, where the system tells.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
