//! A whole snapshot as an upload: parts in any order, then a commit that checks all of it and puts it in the place of everything before.
//! A torn upload changes nothing. It must not hold more than a part and a chunk.

use super::changes::pack;
use super::state::{self, Base, Pushed, TRIES};
use super::{MOST_LINE_BYTES, Problems, line, others_first};
use crate::keys;
use crate::model::name::Name;
use crate::model::project::Problem;
use crate::model::source::Model;
use crate::port::{Document, Expect, Objects, PortError, Store};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An upload and its parts are kept so long from its beginning, seconds.
pub const UPLOAD_SECONDS: u64 = 24 * 3600;
/// Parts of an upload; they are numbered from 1.
pub const MOST_PARTS: u32 = 10_000;
/// The longest part, bytes.
pub const MOST_PART_BYTES: usize = 64 << 20;
/// Bytes of rows that become an object of the base.
const CHUNK_BYTES: usize = 16 << 20;
/// Bytes that are checked before others have their turn.
const TURN_BYTES: usize = 1 << 20;

/// A snapshot that is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// How many rows.
    pub rows: u64,
    /// The version of the model's rows since then.
    pub version: u64,
}

/// Why an upload cannot be gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such upload; it may have expired.
    Unknown,
    /// It was committed; with other values, if a commit is refused so.
    Committed,
    /// A part's number or length is out of bounds, or what was uploaded is not what the commit says. At `part`, `parts`, `rows`, `sha256`
    /// or `line 17`; nothing has changed.
    Wrong(Vec<Problem>),
}

/// The document of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Upload {
    began_at: u64,
    committed: Option<Done>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    rows: u64,
    sha256: String,
    version: u64,
}

impl Upload {
    fn document(&self) -> Document {
        let body = serde_json::to_vec(self).expect("plain data always serializes");
        Document { body, expires_at: Some(self.began_at + UPLOAD_SECONDS), ..Document::default() }
    }
}

/// Begins an upload under a fresh name of letters, digits, `_` and `-`. What earlier ones left is cleared.
pub async fn begin_upload<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Name,
    upload: &str,
    now: u64,
) -> Result<(), PortError> {
    if !is_upload_name(upload) {
        return Err(PortError::Failed(format!("{upload:?} cannot name an upload: letters, digits, `_` and `-` can")));
    }
    state::sweep(store, objects, organization, model, now).await?;
    let document = Upload { began_at: now, committed: None }.document();
    store.put(&keys::upload(organization, model, upload), document, Expect::Absent, now).await.map(drop)
}

fn is_upload_name(upload: &str) -> bool {
    (1..=100).contains(&upload.len()) && upload.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

async fn read<S: Store>(store: &S, organization: &Name, model: &Name, upload: &str, now: u64) -> Result<Option<Upload>, PortError> {
    if !is_upload_name(upload) {
        return Ok(None);
    }
    let Some(stored) = store.get(&keys::upload(organization, model, upload), now).await? else { return Ok(None) };
    let read = serde_json::from_slice(&stored.body);
    read.map(Some).map_err(|e| PortError::Failed(format!("upload {upload} cannot be read: {e}")))
}

fn folder(organization: &Name, model: &Name, upload: &str) -> String {
    format!("uploads/{organization}/{model}/{upload}/")
}

/// The object that a part of an upload becomes, if the upload takes parts: for those who put it there themselves.
pub async fn part_object<S: Store>(
    store: &S,
    organization: &Name,
    model: &Name,
    upload: &str,
    number: u32,
    now: u64,
) -> Result<Result<String, Refused>, PortError> {
    if !(1..=MOST_PARTS).contains(&number) {
        let message = format!("{number} is no number of a part; they go from 1 to {MOST_PARTS}");
        return Ok(Err(Refused::Wrong(vec![Problem { path: "part".to_string(), message }])));
    }
    Ok(match read(store, organization, model, upload, now).await? {
        None => Err(Refused::Unknown),
        Some(Upload { committed: Some(_), .. }) => Err(Refused::Committed),
        Some(_) => Ok(part_name(&folder(organization, model, upload), number)),
    })
}

fn part_name(folder: &str, number: u32) -> String {
    format!("{folder}{number:05}")
}

/// Keeps a part; another one under the same number is replaced. Parts are cut anywhere, also within a row.
#[allow(clippy::too_many_arguments, reason = "each is one thing that the caller has at hand")]
pub async fn put_part<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Name,
    upload: &str,
    number: u32,
    bytes: Vec<u8>,
    now: u64,
) -> Result<Result<(), Refused>, PortError> {
    if bytes.len() > MOST_PART_BYTES {
        let message = format!("has {} bytes; a part has at most {MOST_PART_BYTES}, so cut it in several", bytes.len());
        return Ok(Err(Refused::Wrong(vec![Problem { path: "part".to_string(), message }])));
    }
    match part_object(store, organization, model, upload, number, now).await? {
        Ok(object) => objects.put(&object, bytes).await.map(Ok),
        Err(refused) => Ok(Err(refused)),
    }
}

/// Ends an upload without any effect; one that is not there is fine. A committed one cannot be taken back.
pub async fn abort<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Name,
    upload: &str,
    now: u64,
) -> Result<Result<(), Refused>, PortError> {
    match read(store, organization, model, upload, now).await? {
        None => return Ok(Ok(())),
        Some(Upload { committed: Some(_), .. }) => return Ok(Err(Refused::Committed)),
        Some(_) => {}
    }
    store.delete(&keys::upload(organization, model, upload), Expect::Any, now).await?;
    let parts = objects.list(&folder(organization, model, upload)).await?;
    state::delete(objects, parts.into_iter()).await?;
    Ok(Ok(()))
}

/// Puts an upload in the place of all rows of the model, if it holds so many rows and its parts, one behind the other, have this SHA-256
/// (hexadecimal). The same commit again within a day gives the same answer. `fresh` is a text that no other call has.
#[allow(clippy::too_many_arguments, reason = "each is one thing that the caller has at hand")]
pub async fn commit<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Model,
    upload: &str,
    rows: u64,
    sha256: &str,
    fresh: &str,
    now: u64,
) -> Result<Result<Committed, Refused>, PortError> {
    let sha256 = sha256.to_ascii_lowercase();
    let Some(found) = read(store, organization, &model.id, upload, now).await? else { return Ok(Err(Refused::Unknown)) };
    if let Some(done) = found.committed {
        return Ok(match done.rows == rows && done.sha256 == sha256 {
            true => Ok(Committed { rows, version: done.version }),
            false => Err(Refused::Committed),
        });
    }
    let folder = folder(organization, &model.id, upload);
    let mut parts = objects.list(&folder).await?;
    parts.sort();
    if let Some(problem) = gap(&parts, &folder) {
        return Ok(Err(Refused::Wrong(vec![problem])));
    }
    let prefix = state::object_prefix(organization, &model.id, fresh, now);
    let mut taking = Taking::new(objects, &model.primary_key, prefix);
    for (part, number) in parts.iter().zip(1..) {
        match objects.get(part, None).await {
            Ok(bytes) if bytes.len() <= MOST_PART_BYTES => taking.take(&bytes).await?,
            Err(PortError::Missing(_)) => {
                taking.discard().await?;
                // Somebody else has committed or aborted it meanwhile.
                let now_done = read(store, organization, &model.id, upload, now).await?.and_then(|upload| upload.committed);
                return Ok(match now_done {
                    Some(done) if done.rows == rows && done.sha256 == sha256 => Ok(Committed { rows, version: done.version }),
                    Some(_) => Err(Refused::Committed),
                    None => Err(Refused::Unknown),
                });
            }
            Err(error) if !is_too_long(objects, part).await => return Err(error),
            Ok(_) | Err(_) => {
                taking.discard().await?;
                let message = format!("part {number} has more than {MOST_PART_BYTES} bytes; cut it in several");
                return Ok(Err(Refused::Wrong(vec![Problem { path: "parts".to_string(), message }])));
            }
        }
    }
    let base = match taking.finish(rows, &sha256).await? {
        Ok(base) => base,
        Err(problems) => return Ok(Err(Refused::Wrong(problems))),
    };
    let version = put_in_place(store, objects, organization, &model.id, upload, base, now).await?;
    let done = Upload { began_at: found.began_at, committed: Some(Done { rows, sha256, version }) };
    store.put(&keys::upload(organization, &model.id, upload), done.document(), Expect::Any, now).await?;
    state::delete(objects, parts.into_iter()).await?;
    Ok(Ok(Committed { rows, version }))
}

/// Whether a part is too long: who puts one in its place himself is held back by nobody.
async fn is_too_long<O: Objects>(objects: &O, part: &str) -> bool {
    let behind = MOST_PART_BYTES as u64;
    objects.get(part, Some(behind..behind + 1)).await.is_ok()
}

/// What is missing among the parts, which are numbered from 1 without a gap.
fn gap(parts: &[String], folder: &str) -> Option<Problem> {
    let numbers = parts.iter().map(|name| name[folder.len()..].parse::<u32>().unwrap_or_default());
    let missing = numbers.zip(1..).find(|(found, expected)| found != expected).map(|(_, expected)| expected)?;
    let message = format!("part {missing} is missing; put it, then commit again");
    Some(Problem { path: "parts".to_string(), message })
}

/// Makes a base the model's rows, in one write; gives the version since then.
async fn put_in_place<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Name,
    upload: &str,
    base: Base,
    now: u64,
) -> Result<u64, PortError> {
    let name = state::name_hash(&format!("upload {upload}"));
    for _ in 0..TRIES {
        let (mut pushed, expect) = state::read_versioned(store, organization, model, now).await?;
        if let Some(recent) = pushed.recent(&name) {
            // An earlier call came as far as this, and then was cut short.
            let version = recent.version;
            state::delete(objects, base.objects()).await?;
            return Ok(version);
        }
        pushed.replace(base.clone(), now);
        let covered = std::mem::take(&mut pushed.changes);
        pushed.sealed = 0;
        let version = pushed.note(name.clone(), base.rows, 0, now);
        if state::write(store, objects, organization, model, pushed, expect, now).await? {
            state::delete(objects, covered.into_iter().map(|changes| changes.object)).await?;
            return Ok(version);
        }
    }
    state::delete(objects, base.objects()).await?;
    Err(PortError::Failed(format!("what was pushed to model {model} changes without end: commit again")))
}

/// Parts on their way to be a base: checked, cut into whole lines, packed.
struct Taking<'t, O> {
    objects: &'t O,
    primary_key: &'t [String],
    prefix: String,
    digest: Sha256,
    /// The start of a line whose end is in the next part.
    carry: Vec<u8>,
    /// Whole lines that are no object yet.
    chunk: Vec<u8>,
    chunks: u32,
    line: u64,
    rows: u64,
    turn: usize,
    problems: Problems,
}

impl<'t, O: Objects> Taking<'t, O> {
    fn new(objects: &'t O, primary_key: &'t [String], prefix: String) -> Taking<'t, O> {
        Taking {
            objects,
            primary_key,
            prefix,
            digest: Sha256::new(),
            carry: Vec::new(),
            chunk: Vec::new(),
            chunks: 0,
            line: 0,
            rows: 0,
            turn: 0,
            problems: Problems::default(),
        }
    }

    async fn take(&mut self, part: &[u8]) -> Result<(), PortError> {
        let mut rest = part;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, next) = end.map_or((rest, &rest[rest.len()..]), |end| (&rest[..end], &rest[end + 1..]));
            self.turn += line.len();
            if self.turn > TURN_BYTES {
                self.turn = 0;
                others_first().await;
            }
            self.digest.update(&rest[..rest.len() - next.len()]);
            rest = next;
            if self.carry.len() + line.len() > MOST_LINE_BYTES {
                self.problems.add(format!("line {}", self.line + 1), format!("is longer than {} MiB", MOST_LINE_BYTES >> 20));
                // What comes after it in this line would be a problem again.
                self.carry.truncate(0);
            } else if end.is_none() || !self.carry.is_empty() {
                self.carry.extend_from_slice(line);
            }
            match end {
                None => {}
                Some(_) if self.carry.is_empty() => self.end_line(line).await?,
                Some(_) => {
                    let whole = std::mem::take(&mut self.carry);
                    self.end_line(&whole).await?;
                }
            }
        }
        Ok(())
    }

    async fn end_line(&mut self, line: &[u8]) -> Result<(), PortError> {
        self.line += 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        self.rows += 1;
        if let Err(wrong) = line::row(line, self.primary_key) {
            wrong.into_iter().for_each(|message| self.problems.add(format!("line {}", self.line), message));
        }
        if self.problems.is_empty() {
            self.chunk.extend_from_slice(line);
            self.chunk.push(b'\n');
            if self.chunk.len() >= CHUNK_BYTES {
                self.put_chunk().await?;
            }
        }
        Ok(())
    }

    async fn put_chunk(&mut self) -> Result<(), PortError> {
        let packed = pack(&self.chunk)?;
        self.chunk.clear();
        self.chunks += 1;
        self.objects.put(&state::chunk(&self.prefix, self.chunks), packed).await
    }

    /// Takes back what was written.
    async fn discard(&self) -> Result<(), PortError> {
        let written = (1..=self.chunks).map(|number| state::chunk(&self.prefix, number));
        state::delete(self.objects, written).await
    }

    /// The base, if all is as it should be.
    async fn finish(mut self, rows: u64, sha256: &str) -> Result<Result<Base, Vec<Problem>>, PortError> {
        if !self.carry.is_empty() {
            let last = std::mem::take(&mut self.carry);
            self.end_line(&last).await?;
        }
        let found: String = std::mem::take(&mut self.digest).finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found != sha256 {
            self.problems.add("sha256", format!("the parts have {found}; a part is torn or another one, so put them again"));
        }
        if self.rows != rows {
            self.problems.add("rows", format!("the parts hold {} rows, not {rows}; put what is missing, then commit again", self.rows));
        }
        if !self.problems.is_empty() {
            self.discard().await?;
            return Ok(Err(std::mem::take(&mut self.problems).into_list()));
        }
        if !self.chunk.is_empty() || self.chunks == 0 {
            self.put_chunk().await?;
        }
        Ok(Ok(Base { prefix: self.prefix, chunks: self.chunks, rows }))
    }
}

impl Pushed {
    /// How many rows there are at most: those of the base and those that changes set.
    pub fn most_rows(&self) -> u64 {
        self.base.as_ref().map_or(0, |base| base.rows) + self.changes.iter().map(|changes| changes.upserts).sum::<u64>()
    }
}
