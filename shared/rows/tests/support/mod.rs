//! A folder with files to compare, and the shortest way to compare them.

#![allow(dead_code, missing_docs, reason = "each test binary uses a part of it")]

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use engine::model::change::{Change, DeltaRow, Entry, EntryState, Fields};
use parquet::arrow::ArrowWriter;
use rows::{Diff, DiffRequest, FieldMapping, FileSource, Share, Source, SourceError};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct Bench {
    folder: tempfile::TempDir,
}

/// What a test wants compared; everything else is ordinary.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub path: PathBuf,
    pub key: Vec<String>,
    pub fields: Vec<FieldMapping>,
    pub ignore: Vec<String>,
    pub snapshot: Vec<PathBuf>,
    pub want_previous: bool,
    pub resend_all: bool,
    pub share: Share,
    pub most_keys: usize,
    pub threads: usize,
    pub spool_memory: usize,
}

impl Wanted {
    pub fn of(path: &Path) -> Wanted {
        Wanted {
            path: path.to_owned(),
            key: vec!["id".to_owned()],
            fields: Vec::new(),
            ignore: Vec::new(),
            snapshot: Vec::new(),
            want_previous: false,
            resend_all: false,
            share: Share::WHOLE,
            most_keys: usize::MAX,
            threads: 2,
            spool_memory: 1 << 20,
        }
    }

    pub fn key(mut self, key: &[&str]) -> Wanted {
        self.key = key.iter().map(|s| (*s).to_owned()).collect();
        self
    }

    pub fn fields(mut self, fields: &[(&str, &str)]) -> Wanted {
        self.fields = fields.iter().map(|(from, to)| FieldMapping { from: (*from).to_owned(), to: (*to).to_owned() }).collect();
        self
    }

    pub fn ignore(mut self, columns: &[&str]) -> Wanted {
        self.ignore = columns.iter().map(|s| (*s).to_owned()).collect();
        self
    }

    pub fn against(mut self, snapshot: &[PathBuf]) -> Wanted {
        self.snapshot = snapshot.to_vec();
        self
    }
}

impl Bench {
    pub fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Writes bytes as they are.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes rows in a format that its extension names; values are texts or null.
    pub fn write(&self, name: &str, extension: &str, names: &[String], rows: &[Fields]) -> PathBuf {
        let bytes = match extension.split('.').next().unwrap() {
            "csv" => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                writer.write_record(names).unwrap();
                rows.iter().for_each(|row| writer.write_record(row.iter().map(|v| v.as_str().unwrap_or_default())).unwrap());
                writer.into_inner().unwrap()
            }
            "ndjson" => rows.iter().flat_map(|row| format!("{}\n", object(names, row)).into_bytes()).collect(),
            _ => return self.write_parquet(&format!("{name}.parquet"), names, rows),
        };
        let path = self.path(&format!("{name}.{extension}"));
        std::fs::write(&path, pack(&bytes, extension)).unwrap();
        path
    }

    fn write_parquet(&self, name: &str, names: &[String], rows: &[Fields]) -> PathBuf {
        let column = |i: usize| -> ArrayRef { Arc::new(rows.iter().map(|row| row[i].as_str()).collect::<StringArray>()) };
        let columns = names.iter().enumerate().map(|(i, n)| (n.clone(), column(i), true));
        self.put_parquet(name, &RecordBatch::try_from_iter_with_nullable(columns).unwrap())
    }

    pub fn put_parquet(&self, name: &str, batch: &RecordBatch) -> PathBuf {
        let path = self.path(name);
        let mut writer = ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        path
    }

    pub fn request(&self, wanted: &Wanted) -> DiffRequest {
        DiffRequest {
            source: Source::File(FileSource { path: wanted.path.clone(), format: None }),
            primary_key: wanted.key.clone(),
            fields: wanted.fields.clone(),
            ignore: wanted.ignore.clone(),
            hash_seed: 11,
            snapshot: wanted.snapshot.clone(),
            want_previous: wanted.want_previous,
            resend_all: wanted.resend_all,
            share: wanted.share,
            most_keys: wanted.most_keys,
            scratch: self.folder.path().to_owned(),
            threads: wanted.threads,
            spool_memory: wanted.spool_memory,
        }
    }

    /// The diff without its changes, and the changes.
    pub fn try_diff(&self, wanted: &Wanted) -> Result<(Diff, Vec<Change>), SourceError> {
        let mut diff = rows::diff(&self.request(wanted), &|_, _| {})?;
        let changes = diff.changes.by_ref().collect::<Result<Vec<_>, _>>()?;
        Ok((diff, changes))
    }

    pub fn diff(&self, wanted: &Wanted) -> (Diff, Vec<Change>) {
        self.try_diff(wanted).unwrap()
    }

    /// Everything that the source has, as if it had been delivered.
    pub fn deliver(&self, wanted: &Wanted, name: &str) -> PathBuf {
        let (diff, changes) = self.diff(wanted);
        let to = self.path(name);
        rows::write_delta(changes.into_iter().map(|c| delivered(c, EntryState::Delivered)), &diff.field_names, &to, self.scratch())
            .unwrap();
        to
    }
}

/// The row that a delivered change leaves.
pub fn delivered(change: Change, state: EntryState) -> DeltaRow {
    let entry = Entry { state, row_hash: change.row_hash, fields: Some(change.fields), uncertain: None };
    DeltaRow { key_hash: change.key_hash, key: change.key, entry }
}

pub fn object(names: &[String], row: &[Value]) -> Value {
    names.iter().cloned().zip(row.iter().cloned()).collect::<serde_json::Map<_, _>>().into()
}

/// Packs bytes as the extension says.
pub fn pack(bytes: &[u8], extension: &str) -> Vec<u8> {
    if extension.ends_with("gz") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    } else if extension.ends_with("zst") {
        zstd::encode_all(bytes, 1).unwrap()
    } else {
        bytes.to_vec()
    }
}
