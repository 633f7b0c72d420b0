//! One request, one response: what [`HttpTransport`] does for each [`Outgoing`].
//!
//! It must not repeat, follow or decide: whatever happens comes back as an [`Exchange`].

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use engine::port::{Exchange, FailureReason, Method, Outgoing, Response, Transport, is_forbidden_header};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use hyper::header::{ACCEPT, CONTENT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};
use url::Position;

use crate::address::AddressPolicy;
use crate::body::{Collector, Refusal};
use crate::connect::{Endpoint, Resolver, dial};
use crate::failure::{Failure, chain, is_tls};
use crate::pool::{Checkout, Http1, Keeping, Origin, Payload, Pool};
use crate::tls::{self, TlsIdentity};

/// How a transport connects. Two destinations with different certificates need two transports.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// Which addresses may be connected to.
    pub policy: AddressPolicy,
    /// The destination's own authority and client certificate.
    pub tls: TlsIdentity,
    /// Connections kept open per scheme, host and port while nobody uses them.
    pub max_idle_per_host: usize,
    /// A connection that was idle for longer is not used again.
    pub idle_timeout: Duration,
    /// A connection that is older is not used again, so that a changed DNS answer takes effect.
    pub max_age: Duration,
    /// At most this long for look-up, connect and TLS handshake; the request's own timeout also covers them.
    pub connect_timeout: Duration,
    /// Sent where the request has no `User-Agent` of its own.
    pub user_agent: String,
    /// Who answers for host names.
    pub resolver: Resolver,
}

impl Default for TransportOptions {
    fn default() -> TransportOptions {
        TransportOptions {
            policy: AddressPolicy::default(),
            tls: TlsIdentity::default(),
            max_idle_per_host: 1_000,
            idle_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            user_agent: concat!("penstock/", env!("CARGO_PKG_VERSION")).to_owned(),
            resolver: Resolver::System,
        }
    }
}

/// Sends requests over HTTP/1.1 and HTTP/2 and keeps connections alive between them. Clones share their connections.
#[derive(Clone)]
pub struct HttpTransport {
    inner: Arc<Inner>,
}

struct Inner {
    policy: AddressPolicy,
    identity: TlsIdentity,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    keeping: Keeping,
    connect_timeout: Duration,
    user_agent: HeaderValue,
    resolver: Resolver,
    pool: Pool,
}

impl HttpTransport {
    /// A transport with an empty pool. The error is a lowercase fragment about the certificates or the user agent.
    pub fn new(options: TransportOptions) -> Result<HttpTransport, String> {
        let user_agent = HeaderValue::from_str(&options.user_agent)
            .map_err(|_| format!("user agent {:?} cannot be a header: use visible ASCII", options.user_agent))?;
        let inner = Inner {
            policy: options.policy,
            identity: options.tls,
            tls: OnceLock::new(),
            keeping: Keeping { max_idle_per_host: options.max_idle_per_host, idle_timeout: options.idle_timeout, max_age: options.max_age },
            connect_timeout: options.connect_timeout,
            user_agent,
            resolver: options.resolver,
            pool: Pool::default(),
        };
        // A wrong certificate is found now; the system's authorities are read only when https is first used.
        if !inner.identity.is_empty() {
            inner.tls_config()?;
        }
        Ok(HttpTransport { inner: Arc::new(inner) })
    }

    /// Closes the connections that have been idle for longer than `idle_timeout`.
    pub fn close_stale(&self) {
        self.inner.pool.drop_stale(&self.inner.keeping);
    }

    /// Closes every connection that is not in use: for a host that was frozen, whose clock may have stood still meanwhile.
    pub fn close_idle(&self) {
        self.inner.pool.clear();
    }
}

impl Transport for HttpTransport {
    async fn send(&self, request: Outgoing) -> Exchange {
        match self.inner.exchange(request).await {
            Ok(response) => Exchange::Response(response),
            Err(failure) => failure.into(),
        }
    }
}

impl Inner {
    fn tls_config(&self) -> Result<&Arc<ClientConfig>, String> {
        self.tls.get_or_init(|| tls::config(&self.identity)).as_ref().map_err(Clone::clone)
    }

    async fn exchange(&self, request: Outgoing) -> Result<Response, Failure> {
        let start = Instant::now();
        let deadline = start + Duration::from_micros(request.timeout);
        let headers = self.headers(&request)?;
        let origin = self.pool.origin(&request.url)?;
        let checkout = match origin.take_kept(&self.keeping).await {
            Some(kept) => kept,
            None => self.connect(&origin, start, deadline).await?,
        };
        let limits = (request.keep_limit, request.read_limit);
        match checkout {
            Checkout::Http1(mut connection) => {
                let message = message(request, headers, false)?;
                let before = connection.written();
                let outcome = timeout_at(deadline, on_http1(&mut connection, message, limits)).await;
                let outcome = outcome.unwrap_or_else(|_| Err(Interruption::Late));
                let maybe_sent = connection.written() > before;
                if outcome.is_ok() {
                    origin.give_back(connection, &self.keeping).await;
                }
                outcome.map_err(|interruption| interruption.into_failure(&origin.endpoint, start, maybe_sent))
            }
            Checkout::Http2(sender) => {
                let message = message(request, headers, true)?;
                let outcome = timeout_at(deadline, on_http2(sender, message, limits)).await;
                let outcome = outcome.unwrap_or_else(|_| Err(Interruption::Late));
                if matches!(outcome, Err(Interruption::Late | Interruption::Broken(_))) {
                    origin.distrust_shared();
                }
                outcome.map_err(|interruption| interruption.into_failure(&origin.endpoint, start, true))
            }
        }
    }

    async fn connect(&self, origin: &Origin, start: Instant, deadline: Instant) -> Result<Checkout, Failure> {
        self.pool.drop_stale(&self.keeping);
        let connect_deadline = deadline.min(start + self.connect_timeout);
        let dial = async || dial(&origin.endpoint, &origin.names, &self.resolver, &self.policy, || self.tls_config()).await;
        let opened = timeout_at(connect_deadline, origin.open(&self.keeping, dial)).await;
        opened.unwrap_or_else(|_| {
            let message = format!("{}: no connection within {}", origin.endpoint, seconds(start.elapsed()));
            Err(Failure::unsent(FailureReason::Timeout, message))
        })
    }

    /// The request's headers, and ours where it has none.
    fn headers(&self, request: &Outgoing) -> Result<HeaderMap, Failure> {
        let unsendable = |message: String| Failure::unsent(FailureReason::Unsendable, message);
        if !request.url.username().is_empty() || request.url.password().is_some() {
            return Err(unsendable("the URL holds a user name or password: put them into a credential".into()));
        }
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 3);
        for (name, value) in &request.headers {
            if is_forbidden_header(name) {
                return Err(unsendable(format!("header {name:?} is not yours to set: it is written by the transport, so leave it out")));
            }
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| unsendable(format!("header name {name:.60?} is not valid: use letters, digits and dashes")))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| unsendable(format!("the value of header {name:?} holds a line break or control character: remove it")))?;
            headers.try_append(parsed, value).map_err(|_| unsendable("there are too many headers".into()))?;
        }
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, self.user_agent.clone());
        }
        if !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        }
        Ok(headers)
    }
}

/// The message as hyper takes it: HTTP/1 has the path and a `Host`, HTTP/2 the whole address.
fn message(request: Outgoing, mut headers: HeaderMap, http2: bool) -> Result<Request<Payload>, Failure> {
    let unsendable = |what: &str| Failure::unsent(FailureReason::Unsendable, format!("the URL's {what} cannot be sent: percent-encode it"));
    let uri = if http2 {
        Uri::try_from(&request.url[..Position::AfterQuery]).map_err(|_| unsendable("path or query"))?
    } else {
        let host = HeaderValue::from_str(&request.url[Position::BeforeHost..Position::AfterPort]).map_err(|_| unsendable("host"))?;
        headers.insert(HOST, host);
        Uri::try_from(&request.url[Position::BeforePath..Position::AfterQuery]).map_err(|_| unsendable("path or query"))?
    };
    let mut message = Request::new(request.body.map_or_else(Full::default, |body| Full::new(Bytes::from(body))));
    *message.method_mut() = match request.method {
        Method::Get => hyper::Method::GET,
        Method::Post => hyper::Method::POST,
        Method::Put => hyper::Method::PUT,
        Method::Patch => hyper::Method::PATCH,
        Method::Delete => hyper::Method::DELETE,
    };
    *message.uri_mut() = uri;
    *message.headers_mut() = headers;
    Ok(message)
}

/// What ended an exchange before its last byte.
enum Interruption {
    Late,
    Broken(hyper::Error),
    /// The connection ended before the request was taken from us.
    Untaken(hyper::Error),
    Refused(Refusal),
}

impl Interruption {
    fn into_failure(self, endpoint: &Endpoint, start: Instant, maybe_sent: bool) -> Failure {
        let (reason, message, maybe_sent) = match self {
            Interruption::Late => (FailureReason::Timeout, format!("no whole response within {}", seconds(start.elapsed())), maybe_sent),
            Interruption::Refused((reason, message)) => (reason, message, maybe_sent),
            Interruption::Untaken(error) => (reason_of(&error), chain(&error), false),
            Interruption::Broken(error) => (reason_of(&error), chain(&error), maybe_sent),
        };
        Failure { reason, message: format!("{endpoint}: {message}"), maybe_sent }
    }
}

fn reason_of(error: &hyper::Error) -> FailureReason {
    if is_tls(error) { FailureReason::Tls } else { FailureReason::Broken }
}

fn seconds(elapsed: Duration) -> String {
    if elapsed < Duration::from_secs(10) { format!("{} ms", elapsed.as_millis()) } else { format!("{} s", elapsed.as_secs()) }
}

/// Keep and read limits of a body, bytes.
type Limits = (usize, usize);

async fn on_http1(connection: &mut Http1, message: Request<Payload>, limits: Limits) -> Result<Response, Interruption> {
    let mut answer = pin!(connection.sender.send_request(message));
    let response = poll_fn(|cx| {
        connection.drive(cx);
        answer.as_mut().poll(cx)
    });
    let response = response.await.map_err(Interruption::Broken)?;
    collect(response, limits, |cx| connection.drive(cx)).await
}

async fn on_http2(mut sender: http2::SendRequest<Payload>, message: Request<Payload>, limits: Limits) -> Result<Response, Interruption> {
    let answer = sender.try_send_request(message).await;
    let response = answer.map_err(|mut error| match error.take_message() {
        Some(_) => Interruption::Untaken(error.into_error()),
        None => Interruption::Broken(error.into_error()),
    })?;
    collect(response, limits, |_| {}).await
}

/// Reads the body to its end, moving the connection on with `drive`.
async fn collect(
    response: hyper::Response<Incoming>,
    (keep_limit, read_limit): Limits,
    mut drive: impl FnMut(&mut Context<'_>),
) -> Result<Response, Interruption> {
    let (head, mut body) = response.into_parts();
    let gzip = head.headers.get(CONTENT_ENCODING).is_some_and(|coding| {
        let coding = coding.as_bytes();
        coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip")
    });
    let mut collector = Collector::new(gzip, body.size_hint().exact(), keep_limit, read_limit).map_err(Interruption::Refused)?;
    while !body.is_end_stream() {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending => {
                drive(cx);
                Pin::new(&mut body).poll_frame(cx)
            }
            ready => ready,
        });
        match frame.await {
            None => break,
            Some(Err(error)) => return Err(Interruption::Broken(error)),
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    collector.take(bytes).map_err(Interruption::Refused)?;
                }
            }
        }
    }
    let (body, truncated) = collector.finish().map_err(Interruption::Refused)?;
    let headers =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Ok(Response { status: head.status.as_u16(), headers: headers.collect(), body, truncated })
}
