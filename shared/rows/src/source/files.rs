//! Which files a source means, and whether they are still the same ones. It must not read their content.

use crate::error::{ErrorKind, SourceError};
use crate::request::{BroughtFiles, FileSource, Format, Source};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;
use xxhash_rust::xxh3::xxh3_128;

/// Limits that only a mistaken pattern or a loop of links can reach.
const MAX_FILES: usize = 100_000;
const MAX_ENTRIES: usize = 1_000_000;
const MAX_DEPTH: usize = 32;

/// How a file's bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What tells a file from another one under the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub size: u64,
    /// Modification time in nanoseconds, inode, change time: what the system has of them.
    marks: Vec<i128>,
}

/// What people are told of where a row stands: `rows/people.csv line 3`, `row 3 of the query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// Lines of the file.
    Lines,
    /// Rows of the file.
    Rows,
    /// Rows of what has no file that people know.
    RowsOf(&'static str),
}

/// Rows that come from elsewhere than a file, as NDJSON; they can be taken once.
#[derive(Clone)]
pub(crate) struct Stream(Arc<Mutex<Option<Box<dyn Read + Send>>>>);

impl Stream {
    pub fn new(reader: impl Read + Send + 'static) -> Stream {
        Stream(Arc::new(Mutex::new(Some(Box::new(reader)))))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// One file of a source, or the stream that stands for it.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    pub path: PathBuf,
    /// The path, or the place of the stream, as people see it.
    pub shown: String,
    pub numbering: Numbering,
    pub format: Format,
    pub compression: Compression,
    pub stamp: Stamp,
    pub stream: Option<Stream>,
}

impl SourceFile {
    /// What stands for a stream of NDJSON; errors that the stream gives are [`SourceError`]s.
    pub fn of_stream(stream: Stream, shown: String, numbering: Numbering) -> SourceFile {
        SourceFile {
            path: PathBuf::new(),
            shown,
            numbering,
            format: Format::Ndjson,
            compression: Compression::None,
            stamp: Stamp { size: 0, marks: Vec::new() },
            stream: Some(stream),
        }
    }

    /// The bytes as they are packed.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, SourceError> {
        let Some(Stream(stream)) = &self.stream else {
            let file = File::open(&self.path).map_err(|e| SourceError::io(&self.path, "be read", &e))?;
            return Ok(Box::new(file));
        };
        let taken = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| SourceError::new(ErrorKind::Io, &self.shown, "was read before, and can be read once only; run again"))
    }

    /// What comes before and behind a row's number in its place.
    pub fn around_number(&self) -> (String, &'static str) {
        match &self.numbering {
            Numbering::Lines => (format!("{} line ", self.shown), ""),
            Numbering::Rows => (format!("{} row ", self.shown), ""),
            Numbering::RowsOf(what) => ("row ".to_owned(), what),
        }
    }

    /// `rows/newsletter.csv line 17`; `number` counts from 1.
    pub fn place(&self, number: u64) -> String {
        let (before, behind) = self.around_number();
        format!("{before}{number}{behind}")
    }

    /// Fails if the file is no longer the one that was listed. A stream tells by itself whether it came to its end.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        if self.stream.is_some() {
            return Ok(());
        }
        let now = fs::metadata(&self.path).map_err(|e| SourceError::io(&self.path, "be read", &e))?;
        if stamp(&now) == self.stamp {
            return Ok(());
        }
        Err(SourceError::new(
            ErrorKind::Torn,
            &self.shown,
            "changed while it was read; write it under another name and rename it when it is complete, then run again",
        ))
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    let mut marks = Vec::new();
    if let Some(since) = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()) {
        marks.push(since.as_nanos() as i128);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // Reading changes neither; a rewrite within one tick of the clock changes at least one of them on most systems.
        marks.extend([i128::from(metadata.ino()), i128::from(metadata.ctime()), i128::from(metadata.ctime_nsec())]);
    }
    Stamp { size: metadata.len(), marks }
}

/// A cheap identity of the source's files: names, sizes, times. Equal identities mean that a run would read the same rows; `None` means
/// that nobody can tell: the system does not, or the rows are those of a query.
///
/// # Errors
/// As for listing the files: missing, unknown format, unreadable.
pub fn source_version(source: &Source) -> Result<Option<String>, SourceError> {
    match source {
        Source::File(source) => Ok(version_of(&list(source)?)),
        Source::Pushed(path) => Ok(version_of(&pushed(path)?)),
        // A copy is another file each time.
        Source::Brought(_) | Source::Postgres(_) => Ok(None),
    }
}

pub(crate) fn version_of(files: &[SourceFile]) -> Option<String> {
    if files.iter().any(|f| f.stamp.marks.is_empty()) {
        return None;
    }
    let text: String = files.iter().map(|f| format!("{:?} {:?}\n", f.path.display().to_string(), f.stamp)).collect();
    Some(format!("files-{:032x}", xxh3_128(text.as_bytes())))
}

/// The one file that pushed rows were folded into.
pub(crate) fn pushed(path: &Path) -> Result<Vec<SourceFile>, SourceError> {
    let metadata = fs::metadata(path).map_err(|e| SourceError::io(path, "be read", &e))?;
    Ok(vec![SourceFile {
        path: path.to_owned(),
        shown: "the pushed rows".to_owned(),
        numbering: Numbering::RowsOf(" of the pushed rows"),
        format: Format::Ndjson,
        compression: Compression::Zstd,
        stamp: stamp(&metadata),
        stream: None,
    }])
}

/// The files of a source, sorted by name; all have the same format.
pub(crate) fn list(source: &FileSource) -> Result<Vec<SourceFile>, SourceError> {
    let shown = source.path.display().to_string();
    let paths = match fs::metadata(&source.path) {
        Ok(m) if m.is_dir() => {
            let paths = folder(&source.path)?;
            if paths.is_empty() {
                return Err(SourceError::new(ErrorKind::Missing, shown, "holds no files; put the rows there or correct the path"));
            }
            paths
        }
        Ok(_) => vec![source.path.clone()],
        Err(_) if shown.contains(['*', '?', '[', '{']) => {
            let paths = glob(&source.path)?;
            if paths.is_empty() {
                return Err(SourceError::new(ErrorKind::Missing, shown, "matches no file; correct the pattern or put the rows there"));
            }
            paths
        }
        Err(e) => return Err(SourceError::io(&source.path, "be read", &e)),
    };
    let named = paths.into_iter().map(|path| (path.clone(), path.display().to_string())).collect();
    listed(named, source.format)
}

/// The files that were brought.
pub(crate) fn brought(source: &BroughtFiles) -> Result<Vec<SourceFile>, SourceError> {
    listed(source.files.clone(), source.format)
}

fn listed(named: Vec<(PathBuf, String)>, given: Option<Format>) -> Result<Vec<SourceFile>, SourceError> {
    let mut files = Vec::with_capacity(named.len());
    for (path, shown) in named {
        let metadata = fs::metadata(&path).map_err(|e| SourceError::io(&path, "be read", &e))?;
        let (format, compression) = kind(&shown, given)?;
        let numbering = if format == Format::Parquet { Numbering::Rows } else { Numbering::Lines };
        files.push(SourceFile { path, shown, numbering, format, compression, stamp: stamp(&metadata), stream: None });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(other) = files.iter().find(|f| f.format != files[0].format) {
        let message = format!("has another format than {}; all files of a source must have the same", files[0].shown);
        return Err(SourceError::format(&other.shown, message));
    }
    Ok(files)
}

fn kind(name: &str, given: Option<Format>) -> Result<(Format, Compression), SourceError> {
    let lower = name.to_lowercase();
    let (stem, compression) = match (lower.strip_suffix(".gz"), lower.strip_suffix(".zst")) {
        (Some(stem), _) => (stem, Compression::Gzip),
        (_, Some(stem)) => (stem, Compression::Zstd),
        _ => (lower.as_str(), Compression::None),
    };
    let by_name = match stem.rsplit_once('.').map(|(_, extension)| extension) {
        Some("csv") => Some(Format::Csv),
        Some("ndjson" | "jsonl") => Some(Format::Ndjson),
        Some("parquet") => Some(Format::Parquet),
        _ => None,
    };
    match given.or(by_name) {
        None => Err(SourceError::format(name, "has none of the extensions .csv .ndjson .jsonl .parquet; set the source's format")),
        Some(Format::Parquet) if compression != Compression::None => {
            Err(SourceError::format(name, "is a packed Parquet file; unpack it (Parquet is compressed inside)"))
        }
        Some(format) => Ok((format, compression)),
    }
}

/// Files that jobs leave beside their output (`_SUCCESS`, `.part.crc`) are not rows.
fn hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.to_string_lossy().starts_with(['.', '_']))
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let fail = |e: &std::io::Error| SourceError::io(path, "be listed", e);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| fail(&e))? {
        let path = entry.map_err(|e| fail(&e))?.path();
        if !hidden(&path) && path.is_file() {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(SourceError::format(
                path_shown(&files[0]),
                format!("stands in a folder of more than {MAX_FILES} files; narrow the path"),
            ));
        }
    }
    Ok(files)
}

fn path_shown(path: &Path) -> String {
    path.display().to_string()
}

fn glob(pattern: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let shown = path_shown(pattern);
    let matcher = globset::GlobBuilder::new(&shown)
        .literal_separator(true)
        .build()
        .map_err(|e| SourceError::format(&shown, format!("is no pattern: {}", e.kind())))?
        .compile_matcher();
    let is_pattern = |c: &Component<'_>| c.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']);
    let base: PathBuf = pattern.components().take_while(|c| !is_pattern(c)).collect();
    let below = pattern.components().skip_while(|c| !is_pattern(c)).count();
    let depth = if shown.contains("**") || shown.contains('{') { MAX_DEPTH } else { below };
    let mut found = Vec::new();
    let mut entries = 0;
    let mut folders = vec![(base, depth)];
    while let Some((folder, depth)) = folders.pop() {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        let Ok(listing) = fs::read_dir(here) else { continue };
        for entry in listing {
            let entry = entry.map_err(|e| SourceError::io(here, "be listed", &e))?;
            let path = folder.join(entry.file_name());
            entries += 1;
            if entries > MAX_ENTRIES || found.len() > MAX_FILES {
                return Err(SourceError::format(
                    shown,
                    format!("means more than {MAX_FILES} files or looks at more than {MAX_ENTRIES}; narrow the pattern"),
                ));
            }
            if hidden(&path) {
                continue;
            }
            if path.is_dir() {
                if depth > 1 {
                    folders.push((path, depth - 1));
                }
            } else if matcher.is_match(&path) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: PathBuf) -> FileSource {
        FileSource { path, format: None }
    }

    fn listed(path: PathBuf) -> Vec<String> {
        list(&source(path)).unwrap().iter().map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_folders_and_patterns_are_listed_by_name_without_hidden_ones() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv.gz", "_SUCCESS", ".a.csv.crc"] {
            fs::write(dir.path().join(name), "id\n").unwrap();
        }
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/c.csv"), "id\n").unwrap();
        assert_eq!(listed(dir.path().join("b.csv")), ["b.csv"]);
        assert_eq!(listed(dir.path().to_owned()), ["a.csv.gz", "b.csv"]);
        assert_eq!(listed(dir.path().join("*.csv")), ["b.csv"]);
        assert_eq!(listed(dir.path().join("**/*.csv")), ["b.csv", "c.csv"]);
        assert_eq!(listed(dir.path().join("{a,b}.csv*")), ["a.csv.gz", "b.csv"]);
    }

    #[test]
    fn what_matches_nothing_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("*.csv"), dir.path().join("a.csv"), dir.path().join("no/**/x.csv")] {
            assert_eq!(list(&source(path)).unwrap_err().kind, ErrorKind::Missing);
        }
    }

    #[test]
    fn unknown_mixed_and_packed_formats_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.csv", "b.txt", "c.parquet.gz", "d.ndjson"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        for name in ["b.txt", "c.parquet.gz", "{a,d}.*"] {
            assert_eq!(list(&source(dir.path().join(name))).unwrap_err().kind, ErrorKind::Format, "{name}");
        }
        let given = FileSource { path: dir.path().join("b.txt"), format: Some(Format::Ndjson) };
        assert_eq!(list(&given).unwrap()[0].format, Format::Ndjson);
    }

    #[test]
    fn the_version_changes_with_the_content_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, "id\n1\n").unwrap();
        let version = || source_version(&Source::File(source(path.clone()))).unwrap();
        let one = version();
        assert_eq!(one, version());
        fs::write(&path, "id\n1\n2\n").unwrap();
        assert_ne!(one, version());
    }
}
