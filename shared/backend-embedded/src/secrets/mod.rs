//! Sealing on one machine: values under data keys, data keys under a master key, the master key in a file of its own or made from a
//! passphrase.
//!
//! A value is sealed with AES-256-GCM under its organization's data key, together with what it belongs to, so that it opens nowhere
//! else. Data keys lie in `DIR/keyring`, wrapped by the master key. The master key is `DIR/secret.key`, or comes from a passphrase by
//! Argon2id. To rotate the master key means to wrap the data keys anew; to rotate data keys means to make new ones for what is sealed
//! from then on. Nothing here may print a key or a value, and a crash between any two steps must leave everything readable.

mod aead;
mod key_file;
mod keyring;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::port::{Belongs, PortError, Secrets};
use zeroize::Zeroizing;

use self::aead::Key;
use self::key_file::Step;
use self::keyring::{DataKey, Keyring, Protection, Stamp};
use crate::DataDir;
use crate::data_dir::{file_error, lock_file};

/// What sealed texts begin with: which of the ways to seal this is.
const PREFIX: &str = "pk1";
/// The shortest new passphrase, characters.
const SHORTEST_PASSPHRASE: usize = 8;

/// A passphrase. It is wiped when it is dropped, and has no `Display`.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Wraps a text as it is; whoever reads it from a file takes the line feed off.
    pub fn new(text: impl Into<String>) -> Passphrase {
        Passphrase(Zeroizing::new(text.into()))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where the master key comes from.
#[derive(Clone, Debug)]
pub enum Unlock {
    /// From `DIR/secret.key`, which only the owner may read.
    KeyFile,
    /// From a passphrase.
    Passphrase(Passphrase),
}

/// The sealing of a data directory. Clones share it; several processes may use it at once.
#[derive(Clone)]
pub struct EmbeddedSecrets {
    inner: Arc<Inner>,
}

struct Inner {
    dir: DataDir,
    state: Mutex<State>,
}

/// What is known of the keyring on the disk, which another process may replace at any time.
struct State {
    unlock: Unlock,
    keyring: Keyring,
    stamp: Stamp,
    /// The master key, and the id under which the keyring knows it.
    master: (String, Key),
    /// Data keys unwrapped so far, by id.
    opened: BTreeMap<String, Key>,
}

impl std::fmt::Debug for EmbeddedSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EmbeddedSecrets").field(&self.inner.dir.path()).finish()
    }
}

/// The right to change the files of keys; one process at a time has it.
struct Turn {
    _lock: File,
}

impl EmbeddedSecrets {
    /// Opens the keys of a data directory, making them where there are none.
    pub(crate) fn open(dir: &DataDir, unlock: Unlock) -> Result<EmbeddedSecrets, PortError> {
        Self::open_in_steps(dir, unlock, &mut || Ok(()))
    }

    fn open_in_steps(dir: &DataDir, unlock: Unlock, step: Step<'_>) -> Result<EmbeddedSecrets, PortError> {
        let root = dir.path();
        let turn = turn(root)?;
        if keyring::stamp(root)?.is_none() {
            dir.health().check()?;
            make(dir, &turn, &unlock, step)?;
        }
        let (keyring, stamp) = keyring::read(root)?;
        tidy(dir, &turn, &keyring, step)?;
        let master = master(root, &keyring, &unlock)?;
        let state = State { unlock, keyring, stamp, master, opened: BTreeMap::new() };
        Ok(EmbeddedSecrets { inner: Arc::new(Inner { dir: dir.clone(), state: Mutex::new(state) }) })
    }

    /// Makes a new master key, in the key file or from a passphrase, and wraps all data keys with it. What was sealed stays as it is.
    /// From then on only the new one unlocks.
    ///
    /// # Errors
    /// As for a write; the old master key or the new one is in force then, and opening says which by taking it.
    pub fn rotate(&self, to: Unlock) -> Result<(), PortError> {
        self.rotate_in_steps(to, &mut || Ok(()))
    }

    fn rotate_in_steps(&self, to: Unlock, step: Step<'_>) -> Result<(), PortError> {
        let (dir, root) = (&self.inner.dir, self.inner.dir.path());
        dir.health().check()?;
        // The state first, always, so that two threads never wait for each other.
        let mut state = self.state();
        let turn = turn(root)?;
        state.refresh(root)?;
        state.need_master(root)?;
        tidy(dir, &turn, &state.keyring, step)?;
        let retired = match &state.keyring.protection {
            Protection::KeyFile => Some(state.keyring.master.clone()),
            Protection::Passphrase(_) => None,
        };
        let master = (aead::id()?, Key::random()?);
        let (protection, master) = match &to {
            Unlock::KeyFile => {
                key_file::write_next(dir, &master.0, &master.1, step)?;
                (Protection::KeyFile, master)
            }
            Unlock::Passphrase(passphrase) => {
                let (parameters, key) = keyring::derive_new(check_length(passphrase)?)?;
                (Protection::Passphrase(parameters), (master.0, key))
            }
        };
        let mut keys = Vec::with_capacity(state.keyring.keys.len());
        for old in state.keyring.keys.clone() {
            let key = old.unwrap(&state.master.0, &state.master.1)?;
            keys.push(DataKey::wrap(&old.id, &old.organization, &key, &master.0, &master.1)?);
            // Whichever master key is in force after an error, this process goes on with what it has.
            state.opened.insert(old.id, key);
        }
        let keyring = Keyring::new(protection, &master.0, &master.1, keys, retired)?;
        let stamp = keyring::write(dir, &keyring, step)?;
        // From here on the new master key is in force, whatever happens.
        (state.keyring, state.stamp, state.master, state.unlock) = (keyring, stamp, master, to);
        tidy(dir, &turn, &state.keyring, step)
    }

    /// Makes a new data key for each organization. What is sealed from now on is sealed under it; the old ones stay, to open.
    ///
    /// # Errors
    /// As for a write.
    pub fn rotate_data_keys(&self) -> Result<(), PortError> {
        self.rotate_data_keys_in_steps(&mut || Ok(()))
    }

    fn rotate_data_keys_in_steps(&self, step: Step<'_>) -> Result<(), PortError> {
        let organizations: Vec<String> = {
            let mut state = self.state();
            state.refresh(self.inner.dir.path())?;
            let organizations: std::collections::BTreeSet<_> = state.keyring.keys.iter().map(|key| key.organization.clone()).collect();
            organizations.into_iter().collect()
        };
        self.add_data_keys(&mut self.state(), &organizations, false, step)
    }

    /// Adds a data key for each of these organizations; with `only_missing` for those that have none, as another process may have been
    /// faster.
    fn add_data_keys(&self, state: &mut State, organizations: &[String], only_missing: bool, step: Step<'_>) -> Result<(), PortError> {
        let dir = &self.inner.dir;
        dir.health().check()?;
        let _turn = turn(dir.path())?;
        state.refresh(dir.path())?;
        state.need_master(dir.path())?;
        let mut keyring = state.keyring.clone();
        for organization in organizations {
            if only_missing && keyring.current(organization).is_some() {
                continue;
            }
            let (id, key) = (aead::id()?, Key::random()?);
            keyring.keys.push(DataKey::wrap(&id, organization, &key, &state.master.0, &state.master.1)?);
        }
        state.stamp = keyring::write(dir, &keyring, step)?;
        state.keyring = keyring;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole before the next call that could panic.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seal_now(&self, plain: &[u8], of: Belongs<'_>) -> Result<String, PortError> {
        let root = self.inner.dir.path();
        let mut state = self.state();
        state.refresh(root)?;
        if state.keyring.current(of.organization).is_none() {
            self.add_data_keys(&mut state, &[of.organization.to_owned()], true, &mut || Ok(()))?;
        }
        let id = state.keyring.current(of.organization).map(|key| key.id.clone());
        let id = id.ok_or_else(|| PortError::Failed("a data key that was just made is not in the keyring".to_owned()))?;
        let key = state.data_key(root, &id)?;
        let sealed = key.seal(plain, &value_context(of))?;
        Ok(format!("{PREFIX}.{id}.{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    fn open_now(&self, sealed: &str, of: Belongs<'_>) -> Result<Vec<u8>, PortError> {
        let mut parts = sealed.split('.');
        let (Some(PREFIX), Some(id), Some(text), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(PortError::Failed("what should be a sealed value is none".to_owned()));
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| PortError::Failed("what should be a sealed value is none".to_owned()))?;
        let root = self.inner.dir.path();
        let mut state = self.state();
        if !state.opened.contains_key(id) {
            state.refresh(root)?;
        }
        let key = state.data_key(root, id)?;
        key.open(&bytes, &value_context(of)).ok_or_else(|| {
            PortError::Failed("the sealed value belongs to another document or another version of it, or was changed".to_owned())
        })
    }
}

impl Secrets for EmbeddedSecrets {
    async fn seal(&self, plain: &[u8], of: Belongs<'_>) -> Result<String, PortError> {
        self.seal_now(plain, of)
    }

    async fn open(&self, sealed: &str, of: Belongs<'_>) -> Result<Vec<u8>, PortError> {
        self.open_now(sealed, of)
    }
}

impl State {
    /// Reads the keyring again if another process has replaced it.
    fn refresh(&mut self, root: &Path) -> Result<(), PortError> {
        if keyring::stamp(root)?.as_ref() != Some(&self.stamp) {
            (self.keyring, self.stamp) = keyring::read(root)?;
        }
        Ok(())
    }

    /// Makes sure that the master key is the one of the keyring, which another process may have changed.
    fn need_master(&mut self, root: &Path) -> Result<(), PortError> {
        if self.master.0 != self.keyring.master {
            self.master = master(root, &self.keyring, &self.unlock)?;
        }
        Ok(())
    }

    /// A data key, unwrapped when it is first needed: so a process that runs on while the master key changes still opens and seals.
    fn data_key(&mut self, root: &Path, id: &str) -> Result<&Key, PortError> {
        if !self.opened.contains_key(id) {
            let wrapped = self.keyring.keys.iter().find(|key| key.id == id).cloned();
            let missing =
                || format!("the sealed value needs a data key that {} does not hold: restore it", root.join(keyring::NAME).display());
            let wrapped = wrapped.ok_or_else(|| PortError::Failed(missing()))?;
            self.need_master(root)?;
            let key = wrapped.unwrap(&self.master.0, &self.master.1)?;
            self.opened.insert(id.to_owned(), key);
        }
        Ok(&self.opened[id])
    }
}

/// What a value is sealed together with.
fn value_context(of: Belongs<'_>) -> Vec<u8> {
    aead::context(&[b"value", of.organization.as_bytes(), of.document.as_bytes(), &of.version.to_be_bytes()])
}

fn turn(root: &Path) -> Result<Turn, PortError> {
    let path = root.join("secret.lock");
    let lock = lock_file(&path)?;
    lock.lock().map_err(|e| file_error("lock", &path, &e))?;
    Ok(Turn { _lock: lock })
}

fn check_length(passphrase: &Passphrase) -> Result<&Passphrase, PortError> {
    if passphrase.0.chars().count() < SHORTEST_PASSPHRASE {
        return Err(PortError::Failed(format!("the passphrase is shorter than {SHORTEST_PASSPHRASE} characters: choose a longer one")));
    }
    Ok(passphrase)
}

/// The first keys of a directory. The key file comes first: without a keyring it opens nothing, and is found and used if this is cut
/// short.
fn make(dir: &DataDir, _turn: &Turn, unlock: &Unlock, step: Step<'_>) -> Result<(), PortError> {
    let (protection, (id, key)) = match unlock {
        Unlock::KeyFile => {
            let found = match key_file::read(dir.path(), key_file::NAME)? {
                Some(found) => found,
                None => {
                    let made = (aead::id()?, Key::random()?);
                    key_file::write(dir, &made.0, &made.1, step)?;
                    made
                }
            };
            (Protection::KeyFile, found)
        }
        Unlock::Passphrase(passphrase) => {
            let (parameters, key) = keyring::derive_new(check_length(passphrase)?)?;
            (Protection::Passphrase(parameters), (aead::id()?, key))
        }
    };
    keyring::write(dir, &Keyring::new(protection, &id, &key, Vec::new(), None)?, step).map(|_| ())
}

/// Brings a rotation to its end that was cut short after the keyring had taken its new form.
fn tidy(dir: &DataDir, _turn: &Turn, keyring: &Keyring, step: Step<'_>) -> Result<(), PortError> {
    let root = dir.path();
    match &keyring.protection {
        Protection::KeyFile => {
            // A key file that others may read is refused where it is used, with the reason.
            let Ok(current) = key_file::read(root, key_file::NAME) else { return Ok(()) };
            if current.is_some_and(|(id, _)| id == keyring.master) {
                return key_file::remove(dir, key_file::NEXT, step);
            }
            match key_file::read(root, key_file::NEXT)? {
                Some((id, _)) if id == keyring.master => key_file::promote(dir, step),
                _ => Ok(()),
            }
        }
        // Only the key that was given up: another one may be somebody's backup.
        Protection::Passphrase(_) => match (key_file::read(root, key_file::NAME), &keyring.retired) {
            (Ok(Some((id, _))), Some(retired)) if id == *retired => key_file::remove(dir, key_file::NAME, step),
            _ => Ok(()),
        },
    }
}

/// The master key that a keyring asks for.
fn master(root: &Path, keyring: &Keyring, unlock: &Unlock) -> Result<(String, Key), PortError> {
    let key = match (&keyring.protection, unlock) {
        (Protection::KeyFile, Unlock::KeyFile) => {
            let path = root.join(key_file::NAME);
            let mut found = key_file::read(root, key_file::NAME)?;
            let was_there = found.is_some();
            if found.as_ref().is_none_or(|(id, _)| *id != keyring.master) {
                // Between the steps of another process's rotation the new one lies beside.
                found = key_file::read(root, key_file::NEXT)?;
            }
            match found.filter(|(id, _)| *id == keyring.master) {
                Some((_, key)) => key,
                None if was_there => {
                    let message = format!("{} is not the key that the stored secrets are under: restore the right one", path.display());
                    return Err(PortError::Failed(message));
                }
                None => {
                    let message = format!("{} is gone, and without it no stored secret can be opened: restore it", path.display());
                    return Err(PortError::Failed(message));
                }
            }
        }
        (Protection::Passphrase(parameters), Unlock::Passphrase(passphrase)) => parameters.derive(passphrase)?,
        (Protection::Passphrase(_), Unlock::KeyFile) => {
            let message =
                "the stored secrets are under a passphrase: give it in PENSTOCK_PASSPHRASE, or name its file in PENSTOCK_PASSPHRASE_FILE";
            return Err(PortError::Failed(message.to_owned()));
        }
        (Protection::KeyFile, Unlock::Passphrase(_)) => {
            let message = "the stored secrets are under the key file, and a passphrase was given: take it back, or change over with \
                           `penstock key rotate --to passphrase`";
            return Err(PortError::Failed(message.to_owned()));
        }
    };
    if !keyring.is_of(&key) {
        return Err(PortError::Failed(match unlock {
            Unlock::Passphrase(_) => "the passphrase is wrong".to_owned(),
            Unlock::KeyFile => format!("{} or {} is damaged: restore it", root.join(key_file::NAME).display(), keyring::NAME),
        }));
    }
    Ok((keyring.master.clone(), key))
}

#[cfg(test)]
mod tests;
