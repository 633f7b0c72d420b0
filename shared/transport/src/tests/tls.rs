//! TLS: what is verified, what is refused, and that nothing falls back.

use std::sync::Mutex;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::TlsIdentity;
use FailureReason::{Broken, Tls};

/// An authority of our own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// A certificate for `name` and its key, as PEM.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn server_config((certificate, key): (String, String), clients: Option<&Authority>, protocols: &[&str]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(&authority.pem()).unwrap()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// Answers with the protocol's version, the host asked for and the path; notes each request's path.
async fn tls_server(config: ServerConfig) -> (Scripted, Arc<Mutex<Vec<String>>>) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let server = Scripted::start(move |_, stream| {
        let (acceptor, log) = (acceptor.clone(), log.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
                let host = host.or_else(|| request.uri().authority().map(|authority| authority.to_string()));
                let text = format!("{:?} {} {}", request.version(), host.unwrap_or_default(), request.uri().path());
                log.lock().unwrap().push(request.uri().path().to_owned());
                async move { Ok::<_, std::convert::Infallible>(hyper::Response::new(http_body_util::Full::new(bytes::Bytes::from(text)))) }
            });
            let io = TokioIo::new(stream);
            if http2 {
                drop(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await);
            } else {
                drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
            }
        }
    })
    .await;
    (server, seen)
}

fn trusting(identity: TlsIdentity) -> HttpTransport {
    let policy = AddressPolicy { allow_private: true, ..AddressPolicy::default() };
    HttpTransport::new(TransportOptions { policy, tls: identity, ..TransportOptions::default() }).unwrap()
}

fn authority_only(authority: &Authority) -> TlsIdentity {
    TlsIdentity { ca_pem: Some(authority.pem()), ..TlsIdentity::default() }
}

fn https(server: &Scripted, path: &str) -> Outgoing {
    post(&server.url(path).replace("http://", "https://"), "{}")
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_accepted() {
    let authority = Authority::new("ours");
    let (server, _) = tls_server(server_config(authority.issue("127.0.0.1", |_| {}), None, &["http/1.1"])).await;
    let transport = trusting(authority_only(&authority));
    for path in ["/a", "/b"] {
        let answer = response(transport.send(https(&server, path)).await);
        assert_eq!(String::from_utf8(answer.body).unwrap(), format!("HTTP/1.1 {} {path}", server.address));
    }
    assert_eq!(server.connections(), 1);
}

/// E4, VX-29: a certificate that does not hold stops the request before a byte of it went out.
#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    let cases = [
        (ours.issue("127.0.0.1", expired), "expired"),
        (ours.issue("127.0.0.1", early), "not valid yet"),
        (ours.issue("other.example", |_| {}), "not valid for name"),
        (theirs.issue("127.0.0.1", |_| {}), "UnknownIssuer"),
    ];
    let transport = trusting(authority_only(&ours));
    for (certificate, expected) in cases {
        let (server, seen) = tls_server(server_config(certificate, None, &[])).await;
        let (reason, maybe_sent, message) = failure(transport.send(https(&server, "/?token=secret")).await);
        assert_eq!((reason, maybe_sent), (Tls, false), "{message}");
        assert!(message.contains("the TLS handshake failed") && message.contains(expected), "{message}");
        assert_eq!(seen.lock().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn a_server_that_speaks_plain_text_is_not_spoken_to() {
    let server = Scripted::start(|_, mut stream| async move {
        stream.write_all(OK.as_bytes()).await.unwrap();
        let _ = read_request(&mut stream).await;
    })
    .await;
    let (reason, maybe_sent, _) = failure(transport().send(https(&server, "/")).await);
    assert_eq!((reason, maybe_sent), (Tls, false));
}

/// E4, HT-07 and the client certificate: it is shown where it is asked for, and its lack is a TLS failure.
#[tokio::test]
async fn a_client_certificate_is_shown_and_its_lack_is_a_tls_failure() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (server, seen) = tls_server(server_config(servers.issue("127.0.0.1", |_| {}), Some(&clients), &[])).await;
    let (certificate, key) = clients.issue("penstock", |_| {});
    let identity =
        TlsIdentity { client_cert_pem: Some(certificate.into_bytes()), client_key_pem: Some(key.into_bytes()), ..authority_only(&servers) };
    assert_eq!(response(trusting(identity).send(https(&server, "/with")).await).status, 200);
    let (reason, _, message) = failure(trusting(authority_only(&servers)).send(https(&server, "/without")).await);
    // TLS 1.3 lets the client finish first, so the refusal may come as an alert or as a reset.
    assert!(matches!(reason, Tls | Broken), "{message}");
    let (certificate, key) = servers.issue("penstock", |_| {});
    let stranger =
        TlsIdentity { client_cert_pem: Some(certificate.into_bytes()), client_key_pem: Some(key.into_bytes()), ..authority_only(&servers) };
    assert!(matches!(failure(trusting(stranger).send(https(&server, "/stranger")).await).0, Tls | Broken));
    assert_eq!(*seen.lock().unwrap(), ["/with"]);
}

#[tokio::test]
async fn http2_serves_many_requests_on_one_connection() {
    let authority = Authority::new("ours");
    let (server, seen) = tls_server(server_config(authority.issue("127.0.0.1", |_| {}), None, &["h2", "http/1.1"])).await;
    let transport = trusting(authority_only(&authority));
    let all = (0..50).map(|number| transport.send(https(&server, &format!("/{number}"))));
    for (number, exchange) in futures_util::future::join_all(all).await.into_iter().enumerate() {
        assert_eq!(response(exchange).body, format!("HTTP/2.0 {} /{number}", server.address).into_bytes());
    }
    assert_eq!((server.connections(), seen.lock().unwrap().len()), (1, 50));
}

#[test]
fn certificates_that_cannot_be_used_are_named_before_anything_is_sent() {
    let authority = Authority::new("ours");
    let (certificate, key) = authority.issue("penstock", |_| {});
    let (_, other_key) = authority.issue("other", |_| {});
    let some = |text: &str| Some(text.as_bytes().to_vec());
    let cases = [
        (TlsIdentity { ca_pem: some("nonsense"), ..TlsIdentity::default() }, "ca_pem"),
        (TlsIdentity { client_cert_pem: some(&certificate), ..TlsIdentity::default() }, "add client_key_pem"),
        (TlsIdentity { client_key_pem: some(&key), ..TlsIdentity::default() }, "add client_cert_pem"),
        (TlsIdentity { client_cert_pem: some(&certificate), client_key_pem: some("nonsense"), ca_pem: None }, "not an unencrypted PEM key"),
        (TlsIdentity { client_cert_pem: some(&certificate), client_key_pem: some(&other_key), ca_pem: None }, "do not work"),
    ];
    for (mut identity, expected) in cases {
        // So that the test does not depend on what the system trusts.
        identity.ca_pem.get_or_insert_with(|| authority.pem());
        assert!(!format!("{identity:?}").contains("BEGIN"));
        let problem = HttpTransport::new(TransportOptions { tls: identity, ..TransportOptions::default() }).err().unwrap();
        assert!(problem.contains(expected), "{expected}: {problem}");
    }
}
