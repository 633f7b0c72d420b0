//! Changes that are pushed: all lines are checked, then all take place at once. It must not touch the base.

use super::line::{self, Word};
use super::state::{self, Changes, Pushed, TRIES};
use super::{MOST_LINE_BYTES, Problems, others_first};
use crate::model::name::Name;
use crate::model::project::Problem;
use crate::model::source::Model;
use crate::port::{Objects, PortError, Store};

/// Small pushes are joined up to this length, so that their number stays small.
const JOINED_BYTES: u64 = 8 << 20;
/// More objects with changes than this wait for nobody: their list must fit into a document.
const MOST_CHANGES: usize = 1_500;
/// Bytes that are checked before others have their turn.
const TURN_BYTES: usize = 1 << 20;

/// A push that took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// How many rows it set.
    pub upserts: u64,
    /// How many keys it removed.
    pub removals: u64,
    /// The version of the model's rows since then.
    pub version: u64,
}

/// Takes NDJSON of `{"upsert": {…}}` and `{"remove": {key}}`, all of it or, if a line is wrong, nothing; then every problem is told, at
/// `line 17`. `name` is the caller's own for this push: the same one again within a day is the same push and changes nothing more.
pub async fn changes<S: Store, O: Objects>(
    store: &S,
    objects: &O,
    organization: &Name,
    model: &Model,
    ndjson: &[u8],
    name: &str,
    now: u64,
) -> Result<Result<Accepted, Vec<Problem>>, PortError> {
    let (upserts, removals, lines) = match check(ndjson, &model.primary_key).await {
        Ok(checked) => checked,
        Err(problems) => return Ok(Err(problems)),
    };
    let name = state::name_hash(name);
    for attempt in 0..TRIES {
        let (before, expect) = state::read_versioned(store, organization, &model.id, now).await?;
        if let Some(recent) = before.recent(&name) {
            return Ok(Ok(Accepted { upserts: recent.upserts, removals: recent.removals, version: recent.version }));
        }
        if lines.is_empty() {
            return Ok(Ok(Accepted { upserts, removals, version: before.version }));
        }
        let joined = joinable(&before, lines.len() as u64);
        if before.changes.len() - joined >= MOST_CHANGES {
            return Ok(Err(vec![Problem { path: "rows".to_string(), message: too_many(model) }]));
        }
        let mut after = before.clone();
        let tail = after.changes.split_off(before.changes.len() - joined);
        let Some(body) = join(objects, &tail, &lines).await? else { continue };
        let prefix = state::object_prefix(organization, &model.id, &format!("{name} {attempt}"), now);
        let object = format!("{prefix}.ndjson.zst");
        let packed = pack(&body)?;
        objects.put(&object, packed).await?;
        let sum = |count: fn(&Changes) -> u64| tail.iter().map(count).sum::<u64>();
        let bytes = body.len() as u64;
        let changes =
            Changes { object: object.clone(), bytes, upserts: upserts + sum(|c| c.upserts), removals: removals + sum(|c| c.removals) };
        after.changes.push(changes);
        let version = after.note(name.clone(), upserts, removals, now);
        if state::write(store, objects, organization, &model.id, after, expect, now).await? {
            state::delete(objects, tail.into_iter().map(|changes| changes.object)).await?;
            return Ok(Ok(Accepted { upserts, removals, version }));
        }
        objects.delete(&object).await?;
    }
    Err(PortError::Failed(format!("what was pushed to model {} changes without end: push again", model.id)))
}

fn too_many(model: &Model) -> String {
    format!("{MOST_CHANGES} large pushes wait; run an export of model {}, or upload a whole snapshot, then push again", model.id)
}

/// Counts upserts and removals, and gives the lines as they are kept.
async fn check(ndjson: &[u8], primary_key: &[String]) -> Result<(u64, u64, Vec<u8>), Vec<Problem>> {
    let (mut upserts, mut removals, mut kept) = (0, 0, Vec::with_capacity(ndjson.len() + 1));
    let mut problems = Problems::default();
    let mut turn = 0;
    for (index, line) in ndjson.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        turn += line.len();
        if turn > TURN_BYTES {
            turn = 0;
            others_first().await;
        }
        let checked = match line.len() > MOST_LINE_BYTES {
            true => Err(vec![format!("is longer than {} MiB", MOST_LINE_BYTES >> 20)]),
            false => line::change(line, primary_key),
        };
        match checked {
            Ok(Word::Upsert) => upserts += 1,
            Ok(Word::Remove) => removals += 1,
            Err(wrong) => wrong.into_iter().for_each(|message| problems.add(format!("line {}", index + 1), message)),
        }
        kept.extend_from_slice(line);
        kept.push(b'\n');
    }
    if problems.is_empty() { Ok((upserts, removals, kept)) } else { Err(problems.into_list()) }
}

/// How many of the last objects are joined with a push of so many bytes: those that are not much longer than what is joined already,
/// so that each line is written again a few times only.
fn joinable(pushed: &Pushed, bytes: u64) -> usize {
    let mut sum = bytes;
    let free = pushed.changes.iter().skip(pushed.sealed).rev();
    free.take_while(|changes| {
        let joins = changes.bytes <= 2 * sum && changes.bytes + sum <= JOINED_BYTES;
        sum += changes.bytes;
        joins
    })
    .count()
}

/// The lines of these objects and the new ones; `None` if one of them is gone, since somebody else has joined or folded it.
async fn join<O: Objects>(objects: &O, tail: &[Changes], lines: &[u8]) -> Result<Option<Vec<u8>>, PortError> {
    let mut body = Vec::new();
    for changes in tail {
        let packed = match objects.get(&changes.object, None).await {
            Ok(packed) => packed,
            Err(PortError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let unpacked = zstd::stream::decode_all(packed.as_slice());
        body.extend(unpacked.map_err(|e| PortError::Failed(format!("object {} cannot be unpacked: {e}", changes.object)))?);
    }
    body.extend_from_slice(lines);
    Ok(Some(body))
}

/// Compresses lines.
pub(super) fn pack(lines: &[u8]) -> Result<Vec<u8>, PortError> {
    zstd::bulk::compress(lines, 3).map_err(|e| PortError::Failed(format!("the rows cannot be compressed: {e}")))
}
