//! From a host name to an open connection: resolve, check every address, connect, TLS.
//!
//! Addresses are checked here and nowhere else, on the values that are handed to `connect`; a name whose answers hold one
//! address that is not allowed is refused as a whole. It must not send a byte of a request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use engine::port::FailureReason;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use crate::address::{AddressPolicy, looks_numeric};
use crate::failure::{Failure, chain};

/// A look-up in place of the system's, by host name.
type FixedAnswers = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Who answers for host names.
#[derive(Clone, Default)]
pub enum Resolver {
    /// The operating system (`getaddrinfo` on a blocking thread).
    #[default]
    System,
    /// A function, for tests and for hosts that are pinned.
    Fixed(Arc<FixedAnswers>),
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Resolver::System => "System",
            Resolver::Fixed(_) => "Fixed",
        })
    }
}

impl Resolver {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        match self {
            Resolver::System => Ok(tokio::net::lookup_host((host, port)).await?.map(|address| address.ip()).collect()),
            Resolver::Fixed(answers) => answers(host),
        }
    }
}

/// Scheme, host and port of a URL: what a connection belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) https: bool,
    host: Host<String>,
    port: u16,
}

impl Endpoint {
    /// Takes the place from a URL. Scheme and host come from this one parser only: others read `0x7f.1` as a name.
    pub(crate) fn new(url: &Url) -> Result<Endpoint, Failure> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(Failure::unsent(FailureReason::Policy, format!("scheme {other} is not sent to: use https"))),
        };
        let host = url.host().ok_or_else(|| Failure::unsent(FailureReason::Unsendable, "the URL has no host: write https://HOST/PATH"))?;
        if let Host::Domain(name) = host
            && looks_numeric(name)
        {
            return Err(Failure::unsent(FailureReason::Policy, format!("host {name} is a number, not a name: write the address in full")));
        }
        let port = url.port_or_known_default().unwrap_or(if https { 443 } else { 80 });
        Ok(Endpoint { https, host: host.to_owned(), port })
    }

    fn server_name(&self) -> Result<ServerName<'static>, Failure> {
        match &self.host {
            Host::Ipv4(address) => Ok(ServerName::from(IpAddr::V4(*address))),
            Host::Ipv6(address) => Ok(ServerName::from(IpAddr::V6(*address))),
            Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| Failure::unsent(FailureReason::Tls, format!("host {name} cannot be the name in a certificate"))),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The answers of a look-up, remembered for moments so that a hundred connections opened at once ask once.
/// They are judged anew for every connection.
#[derive(Default)]
pub(crate) struct Names {
    last: tokio::sync::Mutex<Option<(Instant, Answers)>>,
}

/// The addresses of a name, or why there are none.
type Answers = Result<Vec<IpAddr>, String>;

/// Short against any TTL that matters.
const NAMES_LAST: Duration = Duration::from_secs(2);

impl Names {
    async fn addresses(&self, endpoint: &Endpoint, resolver: &Resolver) -> Result<Vec<IpAddr>, Failure> {
        let name = match &endpoint.host {
            Host::Ipv4(address) => return Ok(vec![IpAddr::V4(*address)]),
            Host::Ipv6(address) => return Ok(vec![IpAddr::V6(*address)]),
            Host::Domain(name) => name,
        };
        let failed = |message| Failure::unsent(FailureReason::Dns, message);
        let mut last = self.last.lock().await;
        if let Some((at, answers)) = &*last
            && at.elapsed() < NAMES_LAST
        {
            return answers.clone().map_err(failed);
        }
        let answers = match resolver.look_up(name, endpoint.port).await {
            Ok(answers) if answers.is_empty() => Err(format!("{name} has no address: check the host name")),
            Ok(answers) => Ok(answers),
            Err(error) => Err(format!("{name} does not resolve: {}", chain(&error))),
        };
        *last = Some((Instant::now(), answers.clone()));
        answers.map_err(failed)
    }
}

/// A fresh connection.
pub(crate) struct Dialed {
    pub(crate) wire: Wire,
    pub(crate) http2: bool,
}

/// Opens a connection. Whatever fails here, no byte of a request went out.
pub(crate) async fn dial<'a>(
    endpoint: &Endpoint,
    names: &Names,
    resolver: &Resolver,
    policy: &AddressPolicy,
    tls: impl FnOnce() -> Result<&'a Arc<ClientConfig>, String>,
) -> Result<Dialed, Failure> {
    let addresses = names.addresses(endpoint, resolver).await?;
    vet(endpoint, &addresses, policy)?;
    let stream = connect_any(endpoint, &addresses).await?;
    // Requests are written whole, so waiting for more to put in a packet only delays.
    stream.set_nodelay(true).map_err(|error| Failure::unsent(FailureReason::Connect, format!("{endpoint}: {}", chain(&error))))?;
    let written = Arc::new(AtomicU64::new(0));
    if !endpoint.https {
        return Ok(Dialed { wire: Wire { stream: Stream::Plain(TokioIo::new(stream)), written }, http2: false });
    }
    let failed = |message: String| Failure::unsent(FailureReason::Tls, format!("{endpoint}: {message}"));
    let connector = TlsConnector::from(tls().map_err(failed)?.clone());
    let stream = connector
        .connect(endpoint.server_name()?, stream)
        .await
        .map_err(|error| failed(format!("the TLS handshake failed: {}", chain(&error))))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Dialed { wire: Wire { stream: Stream::Tls(TokioIo::new(Box::new(stream))), written }, http2 })
}

/// Refuses unless every address is allowed: one bad answer among good ones is what an attack looks like.
fn vet(endpoint: &Endpoint, addresses: &[IpAddr], policy: &AddressPolicy) -> Result<(), Failure> {
    let by_name = matches!(endpoint.host, Host::Domain(_));
    for address in addresses {
        let grant = policy.judge(*address, endpoint.port).map_err(|refusal| {
            let message = if by_name { format!("{endpoint} resolves to an address that is not allowed: {refusal}") } else { refusal };
            Failure::unsent(FailureReason::Policy, message)
        })?;
        if !endpoint.https && !grant.plain {
            return Err(Failure::unsent(
                FailureReason::Policy,
                format!("{endpoint} is public and the URL is plain http: use https, or allow http"),
            ));
        }
    }
    Ok(())
}

/// Connects to the first address that answers, starting the next one when the last has failed or is slow (RFC 8305).
async fn connect_any(endpoint: &Endpoint, addresses: &[IpAddr]) -> Result<TcpStream, Failure> {
    const HEAD_START: Duration = Duration::from_millis(250);
    const MOST: usize = 8;
    let mut waiting = alternate(addresses).into_iter().take(MOST);
    let mut running = FuturesUnordered::new();
    let mut errors: Vec<String> = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            let target = SocketAddr::new(address, endpoint.port);
            running.push(async move { TcpStream::connect(target).await.map_err(|error| (target, error)) });
        } else if running.is_empty() {
            return Err(Failure::unsent(FailureReason::Connect, format!("{endpoint}: no connection: {}", errors.join("; "))));
        }
        let patience = async { if waiting.len() > 0 { tokio::time::sleep(HEAD_START).await } else { std::future::pending().await } };
        tokio::select! {
            done = running.next() => match done {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err((target, error))) => errors.push(format!("{target} {}", chain(&error))),
                None => {}
            },
            () = patience => {}
        }
    }
}

/// IPv6 and IPv4 in turn, in the order of the answers, so that a broken family costs one head start.
fn alternate(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv6() == first_is_v6);
    let longest = first.len().max(second.len());
    (0..longest).flat_map(|i| [first.get(i).copied(), second.get(i).copied()]).flatten().collect()
}

enum Stream {
    Plain(TokioIo<TcpStream>),
    // Boxed: the state of a TLS session is larger than a kilobyte.
    Tls(TokioIo<Box<TlsStream<TcpStream>>>),
}

/// A connection that counts the bytes it was given to send, so that "nothing went out" is a fact and not a guess.
pub(crate) struct Wire {
    stream: Stream,
    written: Arc<AtomicU64>,
}

impl Wire {
    /// Bytes of plain text handed over so far, for as long as the connection lives.
    pub(crate) fn written(&self) -> Arc<AtomicU64> {
        self.written.clone()
    }

    fn count(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = outcome {
            self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        outcome
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Stream::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Stream::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        };
        self.count(outcome)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Stream::Tls(io) => Pin::new(io).poll_write_vectored(cx, slices),
        };
        self.count(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(io) => io.is_write_vectored(),
            Stream::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
