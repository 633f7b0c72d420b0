//! Sealing on AWS: values under data keys, one an organization, data keys under a key of KMS that never leaves it.
//!
//! A value is sealed with AES-256-GCM together with what it belongs to, so that it opens nowhere else. A data key comes from KMS, bound to
//! the organization by its encryption context, and lies wrapped in the store (`org#key`/`current`). KMS is asked once for a data key and
//! process. Nothing here may print a key or a value.

mod aead;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_kms::Client;
use aws_sdk_kms::operation::decrypt::DecryptError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::port::{Belongs, Document, Expect, PortError, Secrets, Store};
use zeroize::Zeroizing;

use self::aead::Key;
use crate::failure::failed;
use crate::store::AwsStore;

/// What sealed texts begin with: which of the ways to seal this is.
const PREFIX: &str = "pa1";
/// Data keys that a process holds unwrapped; beyond that it begins anew.
const HELD: usize = 1000;

/// Sealing with KMS. Clones share the data keys that were unwrapped.
#[derive(Clone)]
pub struct AwsSecrets {
    inner: Arc<Inner>,
}

struct Inner {
    kms: Client,
    key: String,
    store: AwsStore,
    /// By organization.
    held: Mutex<BTreeMap<String, Held>>,
}

/// A data key, unwrapped.
#[derive(Clone)]
struct Held {
    id: Arc<str>,
    key: Arc<Key>,
}

impl std::fmt::Debug for AwsSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AwsSecrets").field(&self.inner.key).finish()
    }
}

impl AwsSecrets {
    pub(crate) fn new(kms: Client, key: &str, store: AwsStore) -> AwsSecrets {
        AwsSecrets { inner: Arc::new(Inner { kms, key: key.to_owned(), store, held: Mutex::default() }) }
    }

    /// The data key of an organization; with `make` a new one where there is none.
    async fn data_key(&self, organization: &str, make: bool) -> Result<Option<Held>, PortError> {
        if let Some(held) = self.held().get(organization) {
            return Ok(Some(held.clone()));
        }
        let place = engine::port::Key::new(format!("{organization}#key"), "current");
        // Twice at most: another process may make one at the same time, and then that one counts.
        for _ in 0..2 {
            let found = self.inner.store.get(&place, 0).await?;
            let expect = found.as_ref().map_or(Expect::Absent, |found| Expect::At(found.version));
            match found {
                Some(found) => match self.unwrap(organization, &found.body).await? {
                    // A copy of another stack's table: what is sealed under that key is lost here, what is sealed from now on is not.
                    None if make => {}
                    None => return Err(self.foreign(organization)),
                    held => return Ok(held),
                },
                None if !make => return Ok(None),
                None => {}
            }
            let (document, held) = self.generate(organization).await?;
            match self.inner.store.put(&place, document, expect, 0).await {
                Ok(_) => return Ok(Some(self.hold(organization, held))),
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(PortError::Failed(format!("the data key of organization {organization} comes and goes: nothing may delete it")))
    }

    /// A new data key from KMS, and the document that keeps it wrapped.
    async fn generate(&self, organization: &str) -> Result<(Document, Held), PortError> {
        let call = self.inner.kms.generate_data_key().key_id(&self.inner.key).key_spec(DataKeySpec::Aes256);
        let made = call.encryption_context("organization", organization).send().await;
        let made = made.map_err(|error| failed(&self.call("GenerateDataKey"), &error))?;
        let wrapped = made.ciphertext_blob.ok_or_else(|| self.nothing())?;
        let held = Held { id: aead::id()?.into(), key: Arc::new(self.key_of(made.plaintext)?) };
        let kept = serde_json::json!({ "id": &*held.id, "wrapped": URL_SAFE_NO_PAD.encode(wrapped) });
        Ok((Document { body: kept.to_string().into_bytes(), ..Document::default() }, held))
    }

    /// The data key that a document keeps; `None`: it was wrapped by another key than this stack's.
    async fn unwrap(&self, organization: &str, kept: &[u8]) -> Result<Option<Held>, PortError> {
        let damaged = || PortError::Failed(format!("the data key of organization {organization} is damaged: restore it from a backup"));
        let kept: serde_json::Value = serde_json::from_slice(kept).map_err(|_| damaged())?;
        let id: Arc<str> = kept["id"].as_str().ok_or_else(damaged)?.into();
        let wrapped = kept["wrapped"].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or_else(damaged)?;
        let call = self.inner.kms.decrypt().key_id(&self.inner.key).ciphertext_blob(Blob::new(wrapped));
        let opened = call.encryption_context("organization", organization).send().await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) if error.as_service_error().is_some_and(DecryptError::is_incorrect_key_exception) => return Ok(None),
            Err(error) => return Err(failed(&self.call("Decrypt"), &error)),
        };
        let key = Arc::new(self.key_of(opened.plaintext)?);
        Ok(Some(self.hold(organization, Held { id, key })))
    }

    fn foreign(&self, organization: &str) -> PortError {
        PortError::Failed(format!(
            "the secrets of organization {organization} were sealed under another stack's key than {}: put each of them again",
            self.inner.key
        ))
    }

    /// The key that KMS gave. Its bytes are wiped here; what the SDK copied on the way is out of reach.
    fn key_of(&self, plain: Option<Blob>) -> Result<Key, PortError> {
        let bytes = Zeroizing::new(plain.ok_or_else(|| self.nothing())?.into_inner());
        Key::from_slice(&bytes).ok_or_else(|| self.nothing())
    }

    fn hold(&self, organization: &str, held: Held) -> Held {
        let mut all = self.held();
        if all.len() >= HELD {
            all.clear();
        }
        all.insert(organization.to_owned(), held.clone());
        held
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        // Each change is whole before the next call that could panic.
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, operation: &str) -> String {
        format!("KMS {operation} with key {}", self.inner.key)
    }

    fn nothing(&self) -> PortError {
        PortError::Failed(format!("KMS gave no data key under key {}", self.inner.key))
    }
}

impl Secrets for AwsSecrets {
    async fn seal(&self, plain: &[u8], of: Belongs<'_>) -> Result<String, PortError> {
        let held = self.data_key(of.organization, true).await?;
        let held = held.ok_or_else(|| PortError::Failed("a data key that was just made is not in the store".to_owned()))?;
        let sealed = held.key.seal(plain, &aead::context(of))?;
        Ok(format!("{PREFIX}.{}.{}", held.id, URL_SAFE_NO_PAD.encode(sealed)))
    }

    async fn open(&self, sealed: &str, of: Belongs<'_>) -> Result<Vec<u8>, PortError> {
        let none = || PortError::Failed("what should be a sealed value is none".to_owned());
        let mut parts = sealed.split('.');
        let (Some(PREFIX), Some(id), Some(text), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(none());
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| none())?;
        let held = self.data_key(of.organization, false).await?.filter(|held| &*held.id == id);
        let held = held.ok_or_else(|| {
            PortError::Failed(format!("the sealed value needs a data key that organization {} does not have: restore it", of.organization))
        })?;
        held.key.open(&bytes, &aead::context(of)).ok_or_else(|| {
            PortError::Failed("the sealed value belongs to another document or another version of it, or was changed".to_owned())
        })
    }
}
