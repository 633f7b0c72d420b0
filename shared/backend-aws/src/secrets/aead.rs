//! AES-256-GCM with random nonces, and keys that are wiped. It must not know what is sealed, nor where keys lie.
//!
//! A key seals far fewer than 2^32 values, up to which random nonces of 96 bits are sound (NIST SP 800-38D, 8.3).

use engine::port::{Belongs, PortError};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// 256 bits, wiped when dropped. No `Debug`.
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// The key of so many bytes, if they are as many as it takes.
    pub(super) fn from_slice(slice: &[u8]) -> Option<Key> {
        let mut bytes = Zeroizing::new([0; 32]);
        (slice.len() == bytes.len()).then(|| bytes.copy_from_slice(slice))?;
        Some(Key(bytes))
    }

    /// Nonce, ciphertext and tag.
    pub(super) fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, PortError> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        // With room for all, so that no copy of the value is left behind by growing.
        let mut sealed = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(plain);
        let done = self.cipher()?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed);
        done.map_err(|_| PortError::Failed("a value could not be sealed".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed with this context; `None` if it was sealed otherwise.
    pub(super) fn open(&self, sealed: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.cipher().ok()?.open_in_place(nonce, Aad::from(context), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }

    fn cipher(&self) -> Result<LessSafeKey, PortError> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.as_ref());
        key.map(LessSafeKey::new).map_err(|_| PortError::Failed("a key has the wrong length".to_owned()))
    }
}

/// What a value is sealed together with: parts that cannot be cut elsewhere, each with its length before it.
pub(super) fn context(of: Belongs<'_>) -> Vec<u8> {
    let mut context = b"penstock".to_vec();
    for part in [b"value".as_slice(), of.organization.as_bytes(), of.document.as_bytes(), &of.version.to_be_bytes()] {
        context.extend((part.len() as u64).to_be_bytes());
        context.extend_from_slice(part);
    }
    context
}

/// A new name for a key: 16 digits.
pub(super) fn id() -> Result<String, PortError> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn fill(bytes: &mut [u8]) -> Result<(), PortError> {
    SystemRandom::new().fill(bytes).map_err(|_| PortError::Failed("the operating system gives no random bytes".to_owned()))
}
