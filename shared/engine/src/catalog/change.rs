//! Putting and deleting definitions: what is checked, and in which order. It must not write anything that was not checked together with
//! everything else.

use super::journal::{Entry, Held, MOST_DEFINITIONS, Pending, Whole};
use super::secret::{Spot, belongs, spots, take_out};
use super::{Catalog, Definition, Kind, LARGEST_DEFINITION, Precondition, REDACTED, Refused, Settings, TRIES, origin};
use crate::configure::{self, path_of_key};
use crate::model::name::Name;
use crate::model::project::Problem;
use crate::port::{PortError, Secrets, Store};
use serde_json::{Value, json};

/// Most secrets of a definition.
const MOST_SECRETS: usize = 100;

/// What a put came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    /// The definition as it is now.
    pub definition: Definition,
    /// Whether there was none before.
    pub created: bool,
    /// Whether it is another one than before; if not, its revision stays.
    pub changed: bool,
}

/// A change that was checked.
struct Checked {
    writes: Vec<Pending>,
    put: Put,
}

/// What is put, with the secrets that it keeps.
pub(super) struct Filled {
    pub(super) body: Value,
    /// Whether some secret is kept.
    pub(super) keeps: bool,
    /// Places that ask to keep what cannot be kept.
    pub(super) problems: Vec<Problem>,
}

impl<S: Store, K: Secrets> Catalog<'_, S, K> {
    /// Creates or replaces a definition. [`REDACTED`] in the place of a secret keeps the one that is stored, as long as it may (see
    /// `origin`). A put of what is there already changes nothing.
    ///
    /// # Errors
    /// Inside: why it was refused; nothing was written then.
    pub async fn put(&self, kind: Kind, id: &Name, body: Value, precondition: Precondition) -> Result<Result<Put, Refused>, PortError> {
        if let Some(problem) = too_large(&body) {
            return Ok(Err(Refused::Invalid(vec![problem])));
        }
        for _ in 0..TRIES {
            let mut whole = self.read_whole().await?;
            let current = whole.position(kind, id);
            let held = precondition.holds(current.map(|at| whole.entries[at].held.revision));
            for (at, entry) in whole.entries.iter_mut().enumerate() {
                match self.open(entry).await {
                    // A secret that cannot be opened any more is entered again by a put, of this one or of another.
                    Err(error) if held.is_ok() && Some(at) == current && keeps_some(kind, &body) => return Err(error),
                    _ => {}
                }
            }
            let checked = match self.check(&whole, kind, id, &body).await? {
                Ok(checked) => checked,
                Err(refused) => return Ok(Err(refused)),
            };
            // What would be refused in any case is refused for that (RFC 9110 section 13.2.1).
            if let Err(refused) = held {
                return Ok(Err(refused));
            }
            if checked.writes.is_empty() || self.commit(&whole, checked.writes).await? {
                return Ok(Ok(checked.put));
            }
        }
        Err(self.changes_without_end())
    }

    /// Deletes a definition, unless others refer to it.
    ///
    /// # Errors
    /// Inside: why it was refused; nothing was written then.
    pub async fn delete(&self, kind: Kind, id: &Name, precondition: Precondition) -> Result<Result<(), Refused>, PortError> {
        for _ in 0..TRIES {
            let whole = self.read_whole().await?;
            let Some(at) = whole.position(kind, id) else { return Ok(Err(Refused::Missing)) };
            if let Err(refused) = precondition.holds(Some(whole.entries[at].held.revision)) {
                return Ok(Err(refused));
            }
            let users = users(&whole, kind, id);
            if !users.is_empty() {
                return Ok(Err(Refused::InUse(users)));
            }
            let mark = Held::mark(whole.changes + 1, self.now);
            let write = self.writing(&whole, kind, id, mark);
            if self.commit(&whole, vec![write]).await? {
                return Ok(Ok(()));
            }
        }
        Err(self.changes_without_end())
    }

    /// Replaces the organization's settings: `name` and `retention_days`; `id` may stand there as it is.
    ///
    /// # Errors
    /// Inside: why it was refused; nothing was written then.
    pub async fn put_organization(&self, body: Value, precondition: Precondition) -> Result<Result<Settings, Refused>, PortError> {
        if let Some(problem) = too_large(&body) {
            return Ok(Err(Refused::Invalid(vec![problem])));
        }
        for _ in 0..TRIES {
            let whole = self.read_whole().await?;
            let before = whole.settings.as_ref().map(|(held, _)| held);
            let mut problems = inside("organization", problems_of(&json!({"organization": body})));
            if problems.is_empty() && body.get("id").is_some_and(|id| *id != json!(self.organization.as_str())) {
                let message = format!("is fixed: it is `{}`, and tokens belong to it; take it out", self.organization);
                problems.push(Problem { path: "id".to_string(), message });
            }
            if !problems.is_empty() {
                return Ok(Err(Refused::Invalid(problems)));
            }
            if let Err(refused) = precondition.holds(Some(before.map_or(0, |held| held.revision))) {
                return Ok(Err(refused));
            }
            let definition = Settings::stored(body.clone());
            if let Some(before) = before.filter(|before| before.definition == definition) {
                return Ok(Ok(self.settings(Some(before))));
            }
            let held = Held {
                revision: whole.changes + 1,
                created_at: before.map_or(self.now, |before| before.created_at),
                updated_at: self.now,
                definition,
                sealed: None,
                origins: None,
                gone: false,
            };
            let settings = self.settings(Some(&held));
            let write = self.writing_settings(&whole, held);
            if self.commit(&whole, vec![write]).await? {
                return Ok(Ok(settings));
            }
        }
        Err(self.changes_without_end())
    }

    /// Checks a put against everything else, and says what is to be written.
    async fn check(&self, whole: &Whole, kind: Kind, id: &Name, body: &Value) -> Result<Result<Checked, Refused>, PortError> {
        let current = whole.position(kind, id).map(|at| &whole.entries[at]);
        let filled = fill(kind, body, current.map(|entry| &entry.body));
        let mut problems = filled.problems;
        if spots(kind, body).len() > MOST_SECRETS {
            let message = format!("holds more than {MOST_SECRETS} secrets; take some out");
            problems.push(Problem { path: String::new(), message });
        }
        let unfilled: Vec<String> = problems.iter().map(|problem| problem.path.clone()).collect();
        problems.extend(self.problems_with(whole, kind, id, &filled.body).into_iter().filter(|problem| !unfilled.contains(&problem.path)));
        if current.is_none() && whole.entries.iter().filter(|entry| entry.kind == kind).count() >= MOST_DEFINITIONS {
            let message = format!("there are {MOST_DEFINITIONS} {} already, which is the most; delete one first", kind.section());
            problems.push(Problem { path: String::new(), message });
        }
        if !problems.is_empty() {
            return Ok(Err(Refused::Invalid(problems)));
        }
        let (origins, credential) = match self.origins(whole, kind, id, &filled.body, filled.keeps) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(Refused::Invalid(vec![problem]))),
        };
        let held = match current {
            Some(current) if current.body == filled.body => Held { origins, ..current.held.clone() },
            _ => self.seal(kind, id, filled.body, origins, current, whole.changes + 1).await?,
        };
        let changed = current.is_none_or(|current| current.held.revision != held.revision);
        let put = Put { definition: held.clone().shown(kind, id.clone()), created: current.is_none(), changed };
        let mut writes = Vec::new();
        if current.is_none_or(|current| current.held != held) {
            writes.push(self.writing(whole, kind, id, held));
        }
        writes.extend(credential.map(|(name, held)| self.writing(whole, Kind::Credential, &name, held)));
        Ok(Ok(Checked { writes, put }))
    }

    /// What would be wrong with the project if this were put: in it, and what it breaks elsewhere.
    fn problems_with(&self, whole: &Whole, kind: Kind, id: &Name, body: &Value) -> Vec<Problem> {
        let before = self.document(whole);
        let mut after = before.clone();
        after[kind.section()][id.as_str()] = body.clone();
        let found = problems_of(&after);
        let path = path_of_key(kind.section(), id.as_str());
        if found.is_empty() {
            return found;
        }
        // What is wrong elsewhere already is not this change's fault.
        let known = problems_of(&before);
        let (mut own, elsewhere): (Vec<_>, Vec<_>) = found.into_iter().partition(|problem| relative(&path, &problem.path).is_some());
        own = inside(&path, own);
        own.extend(elsewhere.into_iter().filter(|problem| !known.contains(problem)));
        own
    }

    /// Where the secret of a credential may go from now on; or the credential that has found its first destination.
    #[allow(clippy::type_complexity, reason = "one of the two, and no name would say more than this sentence")]
    fn origins(
        &self,
        whole: &Whole,
        kind: Kind,
        id: &Name,
        body: &Value,
        keeps: bool,
    ) -> Result<(Option<Vec<String>>, Option<(Name, Held)>), Problem> {
        let current = whole.position(kind, id).map(|at| &whole.entries[at]);
        match kind {
            Kind::Credential => {
                let kept = current.filter(|_| keeps).map(|entry| &entry.held);
                let naming = origin::naming(whole, id.as_str());
                Ok((origin::of_credential(body, kept, naming)?, None))
            }
            Kind::Destination => {
                let named = body.get("credential").and_then(Value::as_str).and_then(|name| Name::new(name).ok());
                let credential = named.and_then(|name| whole.position(Kind::Credential, &name)).map(|at| &whole.entries[at]);
                let Some(credential) = credential else { return Ok((None, None)) };
                let held = origin::of_first_use(current.map(|entry| &entry.body), body, credential)?;
                Ok((None, held.map(|held| (credential.id.clone(), held))))
            }
            Kind::Model | Kind::Export | Kind::Request | Kind::EventType | Kind::Rule => Ok((None, None)),
        }
    }

    pub(super) async fn seal(
        &self,
        kind: Kind,
        id: &Name,
        mut body: Value,
        origins: Option<Vec<String>>,
        current: Option<&Entry>,
        revision: u64,
    ) -> Result<Held, PortError> {
        let document = format!("{kind}/{id}");
        let sealed = match take_out(kind, &mut body) {
            None => None,
            Some(taken) => Some(self.secrets.seal(&taken, belongs(self.organization, &document, revision)).await?),
        };
        let created_at = current.map_or(self.now, |current| current.held.created_at);
        Ok(Held { revision, created_at, updated_at: self.now, definition: body, sealed, origins, gone: false })
    }
}

impl Precondition {
    fn holds(self, current: Option<u64>) -> Result<(), Refused> {
        let holds = match self {
            Precondition::Any => true,
            Precondition::Absent => current.is_none(),
            Precondition::Present => current.is_some(),
            Precondition::At(revision) => current == Some(revision),
        };
        if holds { Ok(()) } else { Err(Refused::Precondition { current }) }
    }
}

/// Fills in the secrets that are to be kept.
pub(super) fn fill(kind: Kind, body: &Value, current: Option<&Value>) -> Filled {
    let mut filled = Filled { body: body.clone(), keeps: false, problems: Vec::new() };
    let why_not = current.and_then(|current| origin::why_not_kept(kind, current, body));
    for Spot { pointer, path } in spots(kind, body) {
        if body.pointer(&pointer).and_then(Value::as_str) != Some(REDACTED) {
            continue;
        }
        // Where it could not be opened, what stands there is no secret.
        let is_secret = |stored: &&Value| stored.as_str().is_some_and(|text| text != REDACTED);
        let stored = current.and_then(|current| current.pointer(&pointer)).filter(is_secret);
        match (stored, &why_not) {
            (_, Some(why_not)) => filled.problems.push(Problem { path, message: why_not.clone() }),
            (None, None) => {
                let message = format!("there is no secret here that `{REDACTED}` could keep; enter one");
                filled.problems.push(Problem { path, message });
            }
            (Some(stored), None) => {
                filled.keeps = true;
                if let Some(value) = filled.body.pointer_mut(&pointer) {
                    *value = stored.clone();
                }
            }
        }
    }
    filled
}

fn keeps_some(kind: Kind, body: &Value) -> bool {
    spots(kind, body).iter().any(|spot| body.pointer(&spot.pointer).and_then(Value::as_str) == Some(REDACTED))
}

pub(super) fn too_large(body: &Value) -> Option<Problem> {
    let length = serde_json::to_vec(body).map_or(0, |bytes| bytes.len());
    (length > LARGEST_DEFINITION).then(|| {
        let message = format!("is {length} bytes long, and a definition may have {LARGEST_DEFINITION} at most; shorten it");
        Problem { path: String::new(), message }
    })
}

pub(super) fn problems_of(document: &Value) -> Vec<Problem> {
    configure::parse(document).err().unwrap_or_default()
}

/// The problems of a definition, with paths from there.
fn inside(path: &str, problems: Vec<Problem>) -> Vec<Problem> {
    let inner = |problem: Problem| Some(Problem { path: relative(path, &problem.path)?.to_string(), message: problem.message });
    problems.into_iter().filter_map(inner).collect()
}

fn relative<'p>(definition: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(definition)?;
    match rest.strip_prefix('.') {
        Some(inner) => Some(inner),
        None => (rest.is_empty() || rest.starts_with('[')).then_some(rest),
    }
}

/// The definitions that name this one.
fn users(whole: &Whole, kind: Kind, id: &Name) -> Vec<String> {
    let names_it = |entry: &&Entry| entry.kind.names(&entry.held.definition, kind, id.as_str());
    whole.entries.iter().filter(names_it).map(|entry| path_of_key(entry.kind.section(), entry.id.as_str())).collect()
}
