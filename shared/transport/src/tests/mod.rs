//! Exchanges over real sockets: a scripted server on loopback, byte by byte.

mod address;
mod policy;
mod tls;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::port::{Exchange, FailureReason, Method, Outgoing, Response, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{AddressPolicy, HttpTransport, TransportOptions};

/// A server whose script gets each connection with its number, from 0.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Scripted {
    pub(crate) async fn start<F, Fut>(script: F) -> Scripted
    where
        F: Fn(usize, TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(number, stream));
            }
        });
        Scripted { address, connections }
    }

    /// Answers every request on every connection with these bytes.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Scripted {
        let answer = Arc::new(answer.into());
        Scripted::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                while read_request(&mut stream).await.is_some() {
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request, head and body; `None` if the connection ended first.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(bytes) => request.extend_from_slice(&buffer[..bytes]),
        }
    }
}

/// Closes with RST instead of FIN.
pub(crate) fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(crate) fn transport() -> HttpTransport {
    with_policy(AddressPolicy { allow_private: true, ..AddressPolicy::default() })
}

pub(crate) fn with_policy(policy: AddressPolicy) -> HttpTransport {
    HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() }).unwrap()
}

pub(crate) fn post(url: &str, body: &str) -> Outgoing {
    Outgoing {
        method: Method::Post,
        url: url.parse().unwrap(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: Some(body.as_bytes().to_vec()),
        timeout: 10_000_000,
        keep_limit: 64 * 1024,
        read_limit: 1024 * 1024,
    }
}

/// The response, or a panic that shows the failure.
pub(crate) fn response(exchange: Exchange) -> Response {
    match exchange {
        Exchange::Response(response) => response,
        failure => panic!("no response: {failure:?}"),
    }
}

/// Reason and `maybe_sent`, after checking that the message is one line that is fit for a person.
pub(crate) fn failure(exchange: Exchange) -> (FailureReason, bool, String) {
    match exchange {
        Exchange::Failure { reason, message, maybe_sent } => {
            assert!(!message.is_empty() && !message.contains(['\r', '\n']) && !message.contains("secret"), "{message}");
            (reason, maybe_sent, message)
        }
        Exchange::Response(response) => panic!("a response: {response:?}"),
    }
}

/// Sends one request to a server with this script; the URL, a header and the body hold the word that must not be shown.
pub(crate) async fn fate<F, Fut>(script: F, change: impl FnOnce(&mut Outgoing)) -> Exchange
where
    F: Fn(usize, TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let server = Scripted::start(script).await;
    let mut request = post(&server.url("/a?token=secret"), "{\"password\":\"secret\"}");
    request.headers.push(("authorization".into(), "Bearer secret".into()));
    change(&mut request);
    let exchange = transport().send(request).await;
    assert!(server.connections() <= 1, "{} connections for one request", server.connections());
    exchange
}

pub(crate) const SHORT: Duration = Duration::from_millis(300);
