//! The keyring: which master key is in force, how it is come by, and the data keys that it wraps. It must not hold a key in the clear.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::port::PortError;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Passphrase;
use super::aead::{self, Key};
use super::key_file::{self, Step};
use crate::DataDir;
use crate::data_dir::file_error;

/// Its name in the data directory.
pub(super) const NAME: &str = "keyring";

const FORMAT: u32 = 1;
/// A data key takes some 150 bytes, and an organization has few.
const LONGEST: u64 = 64 << 20;
/// Memory in KiB, passes and lanes: the second recommended choice of RFC 9106, section 4. The tests of crashes derive hundreds of keys.
const NEW: (u32, u32, u32) = if cfg!(test) { (64, 1, 1) } else { (64 * 1024, 3, 4) };
/// No keyring of ours asks for more; another one shall not take the machine.
const MOST: (u32, u32, u32) = (1024 * 1024, 32, 32);

/// `DIR/keyring`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Keyring {
    format: u32,
    /// The id of the master key in force.
    pub(super) master: String,
    /// How it is come by.
    pub(super) protection: Protection,
    /// Sealed with the master key: opens for no other.
    check: String,
    /// The id of the key file that was given up for what is in force.
    pub(super) retired: Option<String>,
    /// The last of an organization's is the one to seal with.
    pub(super) keys: Vec<DataKey>,
}

/// How the master key is come by.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Protection {
    /// It lies in the key file.
    KeyFile,
    /// It is made from a passphrase.
    Passphrase(Parameters),
}

/// Of Argon2id (RFC 9106).
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Parameters {
    salt: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A data key, wrapped.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DataKey {
    pub(super) id: String,
    pub(super) organization: String,
    wrapped: String,
}

/// Tells one keyring file from the one that replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Keyring {
    /// One that this master key opens.
    pub(super) fn new(
        protection: Protection,
        id: &str,
        key: &Key,
        keys: Vec<DataKey>,
        retired: Option<String>,
    ) -> Result<Keyring, PortError> {
        let check = URL_SAFE_NO_PAD.encode(key.seal(b"", &check_context(id))?);
        Ok(Keyring { format: FORMAT, master: id.to_owned(), protection, check, retired, keys })
    }

    /// Whether this is its master key.
    pub(super) fn is_of(&self, key: &Key) -> bool {
        URL_SAFE_NO_PAD.decode(&self.check).is_ok_and(|check| key.open(&check, &check_context(&self.master)).is_some())
    }

    /// The data key that an organization's values are sealed with now.
    pub(super) fn current(&self, organization: &str) -> Option<&DataKey> {
        self.keys.iter().rev().find(|key| key.organization == organization)
    }
}

impl DataKey {
    /// Wraps a data key.
    pub(super) fn wrap(id: &str, organization: &str, key: &Key, master_id: &str, master: &Key) -> Result<DataKey, PortError> {
        let wrapped = master.seal(key.bytes(), &wrap_context(id, organization, master_id))?;
        Ok(DataKey { id: id.to_owned(), organization: organization.to_owned(), wrapped: URL_SAFE_NO_PAD.encode(wrapped) })
    }

    /// The data key itself.
    pub(super) fn unwrap(&self, master_id: &str, master: &Key) -> Result<Key, PortError> {
        let damaged = || PortError::Failed(format!("data key {} in the keyring is damaged: restore {NAME}", self.id));
        let wrapped = URL_SAFE_NO_PAD.decode(&self.wrapped).map_err(|_| damaged())?;
        let bytes = master.open(&wrapped, &wrap_context(&self.id, &self.organization, master_id)).map(Zeroizing::new);
        bytes.and_then(|bytes| Key::from_slice(&bytes)).ok_or_else(damaged)
    }
}

fn check_context(master: &str) -> Vec<u8> {
    aead::context(&[b"master key", master.as_bytes()])
}

fn wrap_context(id: &str, organization: &str, master: &str) -> Vec<u8> {
    aead::context(&[b"data key", id.as_bytes(), organization.as_bytes(), master.as_bytes()])
}

impl Parameters {
    /// The master key that a passphrase makes.
    pub(super) fn derive(&self, passphrase: &Passphrase) -> Result<Key, PortError> {
        let wrong = || PortError::Failed(format!("{NAME} names no sound parameters for the passphrase: restore it"));
        if self.memory_kib > MOST.0 || self.passes > MOST.1 || self.lanes > MOST.2 {
            return Err(wrong());
        }
        let salt = URL_SAFE_NO_PAD.decode(&self.salt).map_err(|_| wrong())?;
        let mut bytes = Zeroizing::new([0; 32]);
        let parameters = Params::new(self.memory_kib, self.passes, self.lanes, Some(bytes.len())).map_err(|_| wrong())?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
        argon.hash_password_into(passphrase.bytes(), &salt, bytes.as_mut()).map_err(|_| wrong())?;
        Ok(Key::new(bytes))
    }
}

/// New parameters, and the master key that a passphrase makes with them.
pub(super) fn derive_new(passphrase: &Passphrase) -> Result<(Parameters, Key), PortError> {
    let mut salt = [0; 16];
    aead::fill(&mut salt)?;
    let (memory_kib, passes, lanes) = NEW;
    let parameters = Parameters { salt: URL_SAFE_NO_PAD.encode(salt), memory_kib, passes, lanes };
    let key = parameters.derive(passphrase)?;
    Ok((parameters, key))
}

/// What tells the keyring file that lies there from others; `None` if there is none.
pub(super) fn stamp(root: &Path) -> Result<Option<Stamp>, PortError> {
    let path = root.join(NAME);
    match fs::metadata(&path) {
        Ok(about) => Ok(Some(stamp_of(&about))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(file_error("read", &path, &e)),
    }
}

fn stamp_of(about: &fs::Metadata) -> Stamp {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(about);
    #[cfg(not(unix))]
    let inode = 0;
    Stamp { length: about.len(), modified: about.modified().ok(), inode }
}

/// Reads the keyring.
pub(super) fn read(root: &Path) -> Result<(Keyring, Stamp), PortError> {
    let path = root.join(NAME);
    let mut file = File::open(&path).map_err(|e| file_error("read", &path, &e))?;
    let stamp = stamp_of(&file.metadata().map_err(|e| file_error("read", &path, &e))?);
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(LONGEST).read_to_end(&mut bytes).map_err(|e| file_error("read", &path, &e))?;
    let keyring: Keyring = serde_json::from_slice(&bytes).map_err(|e| {
        PortError::Failed(format!("{} is damaged, and without it no stored secret can be opened: restore it ({e})", path.display()))
    })?;
    if keyring.format != FORMAT {
        let message = format!(
            "{} has format {}, and this penstock knows format {FORMAT}: use the penstock that wrote it",
            path.display(),
            keyring.format
        );
        return Err(PortError::Failed(message));
    }
    Ok((keyring, stamp))
}

/// Replaces the keyring, whole or not at all. For who has the turn.
pub(super) fn write(dir: &DataDir, keyring: &Keyring, step: Step<'_>) -> Result<Stamp, PortError> {
    let bytes = serde_json::to_vec(keyring).expect("plain data always serializes");
    key_file::replace(dir, NAME, &bytes, step)?;
    stamp(dir.path())?.ok_or_else(|| PortError::Failed(format!("{} vanished while it was written", dir.path().join(NAME).display())))
}
