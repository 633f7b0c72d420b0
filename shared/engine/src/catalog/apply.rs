//! Applying a whole project: what it says becomes what is defined, checked all together. It must not write anything that was not.

use super::change::{Filled, fill, problems_of, too_large};
use super::journal::{Entry, Held, Pending, Whole};
use super::{Catalog, Kind, Refused, Settings, TRIES, origin};
use crate::configure::path_of_key;
use crate::model::name::Name;
use crate::model::project::Problem;
use crate::port::{PortError, Secrets, Store};
use serde_json::{Map, Value, json};

/// One write of the journal holds so many bytes of definitions; a larger change is made in several, each sound for what it refers to.
const WRITTEN_AT_ONCE: usize = 256 * 1024;

/// What becomes of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Create,
    /// It is another one than before.
    Update,
    /// The project does not have it.
    Delete,
    /// It is as it was.
    None,
}

impl Change {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Create => "create",
            Change::Update => "update",
            Change::Delete => "delete",
            Change::None => "none",
        }
    }
}

/// What becomes of one definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// `organization`, or the word for one of its kind.
    pub kind: &'static str,
    /// Its name.
    pub id: String,
    /// What becomes of it.
    pub change: Change,
}

impl Applied {
    /// Whether anything becomes of it.
    pub fn is_change(&self) -> bool {
        self.change != Change::None
    }
}

/// One definition on its way.
struct Step {
    kind: Kind,
    id: Name,
    /// `None`: it goes.
    filled: Option<Filled>,
    applied: Applied,
}

impl<S: Store, K: Secrets> Catalog<'_, S, K> {
    /// Makes a project file's content (`organization` and the sections of all kinds) what is defined. `prune`
    /// deletes what it does not have; `dry_run` only tells. All of it is checked together before anything is written, and nothing is
    /// written where nothing changes.
    ///
    /// # Errors
    /// Inside: every problem, with whole paths; nothing was written then.
    pub async fn apply(&self, document: &Value, prune: bool, dry_run: bool) -> Result<Result<Vec<Applied>, Refused>, PortError> {
        let mut told: Option<Vec<Applied>> = None;
        for _ in 0..TRIES {
            let mut whole = self.read_whole().await?;
            for entry in &mut whole.entries {
                // A secret that cannot be opened any more counts as another one.
                let _ = self.open(entry).await;
            }
            let steps = match self.steps(&whole, document, prune) {
                Ok(steps) => steps,
                Err(problems) => return Ok(Err(Refused::Invalid(problems))),
            };
            let settings = self.settings_step(&whole, document);
            let writes = match self.writes(&whole, &steps).await? {
                Ok(writes) => writes,
                Err(problems) => return Ok(Err(Refused::Invalid(problems))),
            };
            let all = settings.iter().map(|(applied, _)| applied.clone()).chain(steps.into_iter().map(|step| step.applied));
            let told = told.get_or_insert_with(|| all.collect());
            let mut pending: Vec<Pending> = writes;
            if let Some((applied, held)) = settings
                && applied.is_change()
            {
                pending.insert(0, self.writing_settings(&whole, held));
            }
            if dry_run || pending.is_empty() {
                return Ok(Ok(std::mem::take(told)));
            }
            let (now, later) = split(pending);
            // What is left is found again by comparing once more.
            if self.commit(&whole, now).await? && !later {
                return Ok(Ok(std::mem::take(told)));
            }
        }
        Err(self.changes_without_end())
    }

    /// What becomes of each definition, in the order of kinds; what goes comes last, users before what they use.
    fn steps(&self, whole: &Whole, document: &Value, prune: bool) -> Result<Vec<Step>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut steps = Vec::new();
        let mut after = self.document(whole);
        for kind in Kind::ALL {
            let empty = Map::new();
            let wanted = document.get(kind.section()).and_then(Value::as_object).unwrap_or(&empty);
            if prune {
                after[kind.section()] = json!({});
            }
            for (id, body) in wanted {
                let path = path_of_key(kind.section(), id);
                // A name that is none is a problem of the parser's.
                after[kind.section()][id] = body.clone();
                let Ok(name) = kind.name(id) else { continue };
                if let Some(problem) = too_large(body) {
                    problems.push(Problem { path, message: problem.message });
                    continue;
                }
                let current = whole.position(kind, &name).map(|at| &whole.entries[at]);
                let mut filled = fill(kind, body, current.map(|entry| &entry.body));
                let own = std::mem::take(&mut filled.problems);
                problems.extend(own.into_iter().map(|problem| Problem { path: format!("{path}.{}", problem.path), ..problem }));
                after[kind.section()][id] = filled.body.clone();
                let change = match current {
                    None => Change::Create,
                    Some(current) if current.body == filled.body => Change::None,
                    Some(_) => Change::Update,
                };
                let applied = Applied { kind: kind.as_str(), id: id.clone(), change };
                steps.push(Step { kind, id: name, filled: Some(filled), applied });
            }
        }
        for (key, value) in document.as_object().into_iter().flatten() {
            if Kind::of_section(key).is_none() || !value.is_object() {
                after[key] = value.clone();
            }
        }
        let wrong: Vec<String> = problems.iter().map(|problem| problem.path.clone()).collect();
        problems.extend(problems_of(&after).into_iter().filter(|problem| !wrong.contains(&problem.path)));
        if let Some(id) = document["organization"]["id"].as_str().filter(|id| *id != self.organization.as_str()) {
            let message = format!("is `{id}`, and the token belongs to `{}`; use that organization's token", self.organization);
            problems.push(Problem { path: "organization.id".to_string(), message });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if prune {
            let gone = whole.entries.iter().rev().filter(|entry| document[entry.kind.section()].get(entry.id.as_str()).is_none());
            steps.extend(gone.map(|entry| Step {
                kind: entry.kind,
                id: entry.id.clone(),
                filled: None,
                applied: Applied { kind: entry.kind.as_str(), id: entry.id.to_string(), change: Change::Delete },
            }));
        }
        Ok(steps)
    }

    /// What becomes of the organization's settings, if the project says anything of them.
    fn settings_step(&self, whole: &Whole, document: &Value) -> Option<(Applied, Held)> {
        let wanted = Settings::stored(document.get("organization").filter(|wanted| wanted.is_object())?.clone());
        let before = whole.settings.as_ref().map(|(held, _)| held);
        let change = match before {
            Some(before) if before.definition == wanted => Change::None,
            None if wanted.as_object().is_some_and(Map::is_empty) => Change::None,
            Some(_) => Change::Update,
            None => Change::Create,
        };
        let held = Held {
            revision: whole.changes + 1,
            created_at: before.map_or(self.now, |before| before.created_at),
            updated_at: self.now,
            definition: wanted,
            sealed: None,
            origins: None,
            gone: false,
        };
        Some((Applied { kind: "organization", id: self.organization.to_string(), change }, held))
    }

    /// The writes of the steps. Where a secret may go is judged by how things stand after all of them.
    async fn writes(&self, whole: &Whole, steps: &[Step]) -> Result<Result<Vec<Pending>, Vec<Problem>>, PortError> {
        let after = self.after(whole, steps);
        let mut problems = Vec::new();
        let mut credentials: Vec<(Name, Held)> = Vec::new();
        let mut writes = Vec::new();
        let revision = whole.changes + 1;
        for step in steps {
            let Step { kind, id, filled, .. } = step;
            let current = whole.position(*kind, id).map(|at| &whole.entries[at]);
            let Some(Filled { body, keeps, .. }) = filled else {
                writes.push(self.writing(whole, *kind, id, Held::mark(revision, self.now)));
                continue;
            };
            let path = path_of_key(kind.section(), id.as_str());
            let whole_path = |problem: Problem| Problem { path: format!("{path}.{}", problem.path), ..problem };
            let mut origins = None;
            if *kind == Kind::Credential {
                let kept = current.filter(|_| *keeps).map(|entry| &entry.held);
                match origin::of_credential(body, kept, origin::naming(&after, id.as_str())) {
                    Ok(found) => origins = found,
                    Err(problem) => problems.push(whole_path(problem)),
                }
            }
            let held = match current {
                Some(current) if current.body == *body => Held { origins, ..current.held.clone() },
                _ => self.seal(*kind, id, body.clone(), origins, current, revision).await?,
            };
            match kind {
                Kind::Credential => credentials.push((id.clone(), held)),
                _ if current.is_none_or(|current| current.held != held) => writes.push(self.writing(whole, *kind, id, held)),
                _ => {}
            }
            if *kind == Kind::Destination
                && let Some(named) = body.get("credential").and_then(Value::as_str)
                && let Some(credential) = after.entries.iter().find(|entry| entry.kind == Kind::Credential && entry.id.as_str() == named)
            {
                let put = credentials.iter().position(|(name, _)| *name == credential.id);
                let held = put.map_or(&credential.held, |at| &credentials[at].1).clone();
                let entry = Entry { kind: Kind::Credential, id: credential.id.clone(), held, version: 0, body: Value::Null };
                match (origin::of_first_use(current.map(|entry| &entry.body), body, &entry), put) {
                    (Ok(None), _) => {}
                    (Ok(Some(held)), Some(at)) => credentials[at].1 = held,
                    (Ok(Some(held)), None) => credentials.push((credential.id.clone(), held)),
                    (Err(problem), _) => problems.push(whole_path(problem)),
                }
            }
        }
        if !problems.is_empty() {
            return Ok(Err(problems));
        }
        let changed = |(id, held): &(Name, Held)| whole.position(Kind::Credential, id).is_none_or(|at| whole.entries[at].held != *held);
        let mut all: Vec<Pending> =
            credentials.into_iter().filter(changed).map(|(id, held)| self.writing(whole, Kind::Credential, &id, held)).collect();
        all.append(&mut writes);
        Ok(Ok(all))
    }

    /// How things stand after the steps, as far as that matters for where secrets may go.
    fn after(&self, whole: &Whole, steps: &[Step]) -> Whole {
        let stays = |entry: &&Entry| !steps.iter().any(|step| step.kind == entry.kind && step.id == entry.id);
        let entry = |kind, id: &Name, held: Held, body: &Value| Entry { kind, id: id.clone(), held, version: 0, body: body.clone() };
        let kept = whole.entries.iter().filter(stays).map(|old| entry(old.kind, &old.id, old.held.clone(), &old.body));
        let put = steps.iter().filter_map(|step| {
            let body = &step.filled.as_ref()?.body;
            let held = match whole.position(step.kind, &step.id) {
                Some(at) => whole.entries[at].held.clone(),
                None => Held { gone: false, ..Held::mark(0, self.now) },
            };
            Some(entry(step.kind, &step.id, held, body))
        });
        Whole::of(kept.chain(put).collect())
    }
}

/// As much as one journal holds, and whether something is left.
fn split(mut writes: Vec<Pending>) -> (Vec<Pending>, bool) {
    let mut bytes = 0;
    let fits = writes
        .iter()
        .take_while(|write| {
            let first = bytes == 0;
            bytes += serde_json::to_vec(write).map_or(0, |bytes| bytes.len());
            first || bytes <= WRITTEN_AT_ONCE
        })
        .count();
    let left = fits < writes.len();
    writes.truncate(fits);
    (writes, left)
}
