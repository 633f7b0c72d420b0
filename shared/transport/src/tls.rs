//! The TLS side: which authorities are trusted and who we are.
//!
//! rustls with ring, TLS 1.2 and 1.3, the system's authorities plus the destination's own. There is no way to turn
//! verification off, and no fallback to plain text.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A destination's own authority and client certificate, as PEM text. Certificates belong to one transport, so that a pooled
/// connection that proved one identity is never used for another.
#[derive(Clone, Default)]
pub struct TlsIdentity {
    /// Authorities that are trusted beside the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Our certificate, followed by its chain. Needs the key.
    pub client_cert_pem: Option<Vec<u8>>,
    /// The key of our certificate: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub client_key_pem: Option<Vec<u8>>,
}

impl TlsIdentity {
    /// Whether nothing is set, so that what the system trusts is all there is.
    pub fn is_empty(&self) -> bool {
        self.ca_pem.is_none() && self.client_cert_pem.is_none() && self.client_key_pem.is_none()
    }
}

// By hand: a key must not end up in a log line.
impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("ca_pem", &self.ca_pem.is_some())
            .field("client_cert_pem", &self.client_cert_pem.is_some())
            .field("client_key_pem", &self.client_key_pem.is_some())
            .finish()
    }
}

/// The system's authorities, read once a process: some 140 certificates, several milliseconds.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

/// Builds the client's configuration. Errors say which of the three PEM texts is wrong, and how.
pub(crate) fn config(identity: &TlsIdentity) -> Result<Arc<ClientConfig>, String> {
    let mut roots = system_roots().clone();
    if let Some(pem) = &identity.ca_pem {
        for certificate in certificates(pem, "the authority (ca_pem)")? {
            roots.add(certificate).map_err(|error| format!("the authority (ca_pem) holds a certificate that cannot be used: {error}"))?;
        }
    }
    if roots.is_empty() {
        return Err("this system trusts no certificate authority: install its CA certificates, or set SSL_CERT_FILE or ca_pem".into());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots);
    let mut config = match (&identity.client_cert_pem, &identity.client_key_pem) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "the client certificate (client_cert_pem)")?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| format!("the client key (client_key_pem) is not an unencrypted PEM key: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("the client certificate and its key do not work: {error}"))?
        }
        (Some(_), None) => return Err("a client certificate needs its key: add client_key_pem".into()),
        (None, Some(_)) => return Err("a client key needs its certificate: add client_cert_pem".into()),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| format!("{what} is not PEM: {error}"))?;
    if all.is_empty() {
        return Err(format!("{what} holds no certificate: it must have a BEGIN CERTIFICATE block"));
    }
    Ok(all)
}
