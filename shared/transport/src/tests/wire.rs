//! What goes over the wire, what comes back, and every way in which it breaks.

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use super::*;
use FailureReason::{Broken, Connect, Timeout, TooLarge, Unsendable};

#[tokio::test]
async fn a_request_arrives_as_it_was_given_and_its_answer_comes_back_whole() {
    let seen = Arc::new(Mutex::new(String::new()));
    let keep = seen.clone();
    let server = Scripted::start(move |_, mut stream| {
        let keep = keep.clone();
        async move {
            *keep.lock().unwrap() = read_request(&mut stream).await.unwrap();
            let answer = "HTTP/1.1 201 Created\r\nX-One: 1\r\nX-One: 2\r\nX-Odd: \u{e9}\r\ncontent-length: 4\r\n\r\n";
            stream.write_all(&[answer.as_bytes(), b"\xff\x00ok"].concat()).await.unwrap();
        }
    })
    .await;
    let mut request = post(&server.url("/lists/7/members?x=%20a&y={1|2}#part"), "{\"id\":1}");
    request.headers.push(("X-Name".into(), "Zoë".into()));
    let response = response(transport().send(request).await);
    let expected = format!(
        "POST /lists/7/members?x=%20a&y={{1|2}} HTTP/1.1\r\ncontent-type: application/json\r\nx-name: Zoë\r\n\
         user-agent: penstock/{}\r\naccept: */*\r\nhost: {}\r\ncontent-length: 8\r\n\r\n{{\"id\":1}}",
        env!("CARGO_PKG_VERSION"),
        server.address
    );
    assert_eq!(*seen.lock().unwrap(), expected);
    let headers = [("x-one", "1"), ("x-one", "2"), ("x-odd", "é"), ("content-length", "4")];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    assert_eq!(response, Response { status: 201, headers, body: b"\xff\x00ok".to_vec(), truncated: false });
}

#[tokio::test]
async fn every_method_goes_out_under_its_name_and_a_missing_body_sends_none() {
    let server = Scripted::start(|_, mut stream| async move {
        while let Some(request) = read_request(&mut stream).await {
            let line = request.lines().next().unwrap().to_owned() + if request.contains("transfer-encoding") { " chunked" } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let transport = transport();
    for method in [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete] {
        for body in [None, Some(b"x".to_vec())] {
            let answer = transport.send(Outgoing { method, body, ..post(&server.url("/"), "") }).await;
            assert_eq!(response(answer).body, format!("{} / HTTP/1.1", method.as_str()).into_bytes());
        }
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let server = Scripted::answering(OK).await;
    let transport = transport();
    for _ in 0..20 {
        assert_eq!(response(transport.send(post(&server.url("/"), "{}")).await).body, b"ok");
    }
    assert_eq!(server.connections(), 1);
    let all = (0..8).map(|_| transport.send(post(&server.url("/"), "{}")));
    assert!(futures_util::future::join_all(all).await.iter().all(|exchange| matches!(exchange, Exchange::Response(_))));
    assert!(server.connections() <= 8);
    transport.close_idle();
    response(transport.send(post(&server.url("/"), "{}")).await);
    assert!(server.connections() >= 2, "a closed connection was used");
}

#[tokio::test]
async fn a_connection_that_is_too_old_is_not_used_again() {
    let server = Scripted::answering(OK).await;
    let policy = AddressPolicy { allow_private: true, ..AddressPolicy::default() };
    let options = TransportOptions { policy, max_age: Duration::ZERO, ..TransportOptions::default() };
    let transport = HttpTransport::new(options).unwrap();
    for _ in 0..3 {
        response(transport.send(post(&server.url("/"), "{}")).await);
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_refused_connection_was_certainly_not_sent_to() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (reason, maybe_sent, message) = failure(transport().send(post(&format!("http://{closed}/?token=secret"), "")).await);
    assert_eq!((reason, maybe_sent), (Connect, false));
    assert!(message.starts_with(&format!("{closed}: no connection: ")) && message.contains("refused"), "{message}");
}

#[tokio::test]
async fn a_reset_before_the_request_is_read_breaks_the_exchange() {
    let exchange = fate(|_, stream| async { reset(stream) }, |_| {}).await;
    assert_eq!(failure(exchange).0, Broken);
}

#[tokio::test]
async fn a_reset_in_the_middle_of_the_request_may_have_been_sent() {
    let script = |_, mut stream: TcpStream| async move {
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        reset(stream);
    };
    let exchange = fate(script, |request| request.body = Some(vec![b'a'; 16 << 20])).await;
    let (reason, maybe_sent, _) = failure(exchange);
    assert_eq!((reason, maybe_sent), (Broken, true));
}

#[tokio::test]
async fn a_connection_that_ends_after_the_request_may_have_been_sent() {
    for with_reset in [true, false] {
        let script = move |_, mut stream: TcpStream| async move {
            read_request(&mut stream).await.unwrap();
            if with_reset {
                reset(stream);
            }
        };
        let (reason, maybe_sent, _) = failure(fate(script, |_| {}).await);
        assert_eq!((reason, maybe_sent), (Broken, true));
    }
}

#[tokio::test]
async fn a_response_that_is_not_http_or_not_whole_is_broken() {
    let answers = [
        "nonsense\r\n\r\n",
        "<html>HTTP/0.9</html>",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok",
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ];
    for answer in answers {
        let script = move |_, mut stream: TcpStream| async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (reason, maybe_sent, message) = failure(fate(script, |_| {}).await);
        assert_eq!((reason, maybe_sent), (Broken, true), "{answer:?}: {message}");
    }
}

#[tokio::test]
async fn a_header_block_without_end_is_broken_and_not_kept_in_memory() {
    let script = |_, mut stream: TcpStream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while stream.write_all(format!("x-filler: {}\r\n", "a".repeat(1000)).as_bytes()).await.is_ok() {}
    };
    assert_eq!(failure(fate(script, |_| {}).await).0, Broken);
}

#[tokio::test]
async fn interim_responses_are_passed_over() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let server = Scripted::answering(format!("{interim}{OK}")).await;
    let transport = transport();
    for _ in 0..2 {
        assert_eq!(response(transport.send(post(&server.url("/"), "{}")).await).status, 200);
    }
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_a_status_and_ends_the_connection() {
    let server = Scripted::answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    let transport = transport();
    for count in 1..=2 {
        assert_eq!(response(transport.send(post(&server.url("/"), "{}")).await).status, 101);
        assert_eq!(server.connections(), count);
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_counts_and_its_connection_is_not_used_again() {
    let server = Scripted::start(|number, mut stream| async move {
        if number == 0 {
            stream.read_exact(&mut [0; 100]).await.unwrap();
            stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            // Neither reads on nor closes: the transport has to.
            std::future::pending::<()>().await;
        } else if read_request(&mut stream).await.is_some() {
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let transport = transport();
    let large = Outgoing { body: Some(vec![b'a'; 16 << 20]), ..post(&server.url("/"), "") };
    assert_eq!(response(transport.send(large).await).status, 413);
    assert_eq!(response(transport.send(post(&server.url("/"), "{}")).await).status, 200);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn bytes_after_a_response_do_not_become_the_next_one() {
    let server = Scripted::start(|number, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        let forged = if number == 0 { "HTTP/1.1 500 Forged\r\ncontent-length: 0\r\n\r\n" } else { "" };
        stream.write_all(format!("{OK}{forged}").as_bytes()).await.unwrap();
        let _ = read_request(&mut stream).await;
    })
    .await;
    let transport = transport();
    for _ in 0..2 {
        assert_eq!(response(transport.send(post(&server.url("/"), "{}")).await).status, 200);
    }
    assert_eq!(server.connections(), 2);
}

/// VX-30, E1: the timeout covers everything up to the last byte.
#[tokio::test]
async fn the_timeout_ends_a_response_that_stalls_or_drips() {
    for drip in [false, true] {
        let script = move |_, mut stream: TcpStream| async move {
            read_request(&mut stream).await.unwrap();
            if drip {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
            }
            let mut beat = tokio::time::interval(Duration::from_millis(20));
            while !drip || stream.write_all(b"x").await.is_ok() {
                beat.tick().await;
            }
        };
        let start = Instant::now();
        let (reason, maybe_sent, message) = failure(fate(script, |request| request.timeout = SHORT.as_micros() as u64).await);
        assert_eq!((reason, maybe_sent), (Timeout, true));
        assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT * 20, "{:?}", start.elapsed());
        assert!(message.contains("no whole response within"), "{message}");
    }
}

#[tokio::test]
async fn a_timeout_before_the_handshake_ends_was_certainly_not_sent() {
    let server = Scripted::start(|_, mut stream| async move {
        let mut everything = Vec::new();
        let _ = stream.read_to_end(&mut everything).await;
    })
    .await;
    let mut request = post(&format!("https://{}/", server.address), "{}");
    request.timeout = SHORT.as_micros() as u64;
    let (reason, maybe_sent, message) = failure(transport().send(request).await);
    assert_eq!((reason, maybe_sent), (Timeout, false));
    assert!(message.contains("no connection within"), "{message}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off_and_its_connection_closed() {
    let (closed, noticed) = tokio::sync::oneshot::channel();
    let closed = Arc::new(Mutex::new(Some(closed)));
    let script = move |_, mut stream: TcpStream| {
        let closed = closed.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            while stream.write_all(format!("1000\r\n{}\r\n", "x".repeat(4096)).as_bytes()).await.is_ok() {}
            let _ = closed.lock().unwrap().take().unwrap().send(());
        }
    };
    let (reason, maybe_sent, message) = failure(fate(script, |_| {}).await);
    assert_eq!((reason, maybe_sent), (TooLarge, true));
    assert!(message.ends_with("the response body is longer than 1048576 bytes"), "{message}");
    tokio::time::timeout(Duration::from_secs(10), noticed).await.expect("the connection is closed").unwrap();
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_long_is_not_read() {
    let script = |_, mut stream: TcpStream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n").await.unwrap();
        let _ = read_request(&mut stream).await;
    };
    assert_eq!(failure(fate(script, |_| {}).await).0, TooLarge);
}

#[tokio::test]
async fn a_body_over_the_keep_limit_is_read_to_its_end_and_shown_cut() {
    let server = Scripted::answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").await;
    let transport = transport();
    for (keep_limit, truncated) in [(0, true), (9, true), (10, false), (11, false)] {
        let answer = response(transport.send(Outgoing { keep_limit, ..post(&server.url("/"), "") }).await);
        assert_eq!((answer.body.len(), answer.truncated), (keep_limit.min(10), truncated));
    }
    assert_eq!(server.connections(), 1);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn gzip_answer(body: Vec<u8>) -> Exchange {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
    let server = Scripted::answering([head.into_bytes(), body].concat()).await;
    transport().send(post(&server.url("/"), "")).await
}

#[tokio::test]
async fn a_gzip_body_is_decoded_and_a_wrong_one_is_broken() {
    assert_eq!(response(gzip_answer(gzip(b"hello")).await).body, b"hello");
    assert_eq!(response(gzip_answer([gzip(b"hello "), gzip(b"again")].concat()).await).body, b"hello again");
    assert_eq!(response(gzip_answer(Vec::new()).await).body, b"");
    let whole = gzip(b"hello");
    assert_eq!(failure(gzip_answer(whole[..whole.len() - 3].to_vec()).await).0, Broken);
    assert_eq!(failure(gzip_answer(b"hello".to_vec()).await).0, Broken);
}

#[tokio::test]
async fn a_small_body_that_inflates_is_counted_after_decoding() {
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    assert_eq!(failure(gzip_answer(bomb).await).0, TooLarge);
}

/// VX-25, S7: redirects are statuses; HTTP clients' cookies are off.
#[tokio::test]
async fn redirects_are_not_followed_and_cookies_not_kept() {
    let canary = Scripted::answering(OK).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (keep, location) = (seen.clone(), canary.url("/elsewhere"));
    let server = Scripted::start(move |_, mut stream| {
        let (keep, location) = (keep.clone(), location.clone());
        async move {
            while let Some(request) = read_request(&mut stream).await {
                keep.lock().unwrap().push(request);
                let answer =
                    format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\nset-cookie: a=1\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let transport = transport();
    for _ in 0..2 {
        assert_eq!(response(transport.send(post(&server.url("/"), "{}")).await).status, 307);
    }
    assert_eq!(canary.connections(), 0);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(!seen[1].contains("cookie"), "{}", seen[1]);
}

/// D6, E7: what arrives is what was sent, also when the server closes the connection that the next request goes out on.
#[tokio::test]
async fn nothing_is_sent_twice_when_the_server_closes_idle_connections() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let counter = arrived.clone();
    let server = Scripted::start(move |number, mut stream| {
        let counter = counter.clone();
        async move {
            // Connection after connection: closes after the answer, or takes one more request and closes without one.
            for place in 0.. {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                if place == 1 {
                    return;
                }
                stream.write_all(OK.as_bytes()).await.unwrap();
                if number % 2 == 0 {
                    return;
                }
            }
        }
    })
    .await;
    let transport = transport();
    let (mut answered, mut lost, mut unsent) = (0, 0, 0);
    for _ in 0..300 {
        match transport.send(post(&server.url("/"), "{}")).await {
            Exchange::Response(_) => answered += 1,
            Exchange::Failure { reason: Broken, maybe_sent: true, .. } => lost += 1,
            Exchange::Failure { reason: Broken, maybe_sent: false, .. } => unsent += 1,
            other => panic!("{other:?}"),
        }
    }
    let arrived = arrived.load(Ordering::SeqCst);
    assert_eq!(answered + lost + unsent, 300);
    assert!((answered..=answered + lost).contains(&arrived), "{arrived} arrived: {answered} answered, {lost} lost, {unsent} unsent");
    assert!(lost > 50 && answered > 100, "{answered} answered, {lost} lost: the race did not take place");
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_noticed_before_the_next_request() {
    let server = Scripted::start(|_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let transport = transport();
    for count in 1..=5 {
        assert_eq!(response(transport.send(post(&server.url("/"), "{}")).await).status, 200);
        assert_eq!(server.connections(), count);
        // The server dropped its end before its answer was read; one round through another connection lets the news arrive.
        let other = Scripted::answering(OK).await;
        response(transport.send(post(&other.url("/"), "{}")).await);
    }
}

#[tokio::test]
async fn dropping_the_exchange_closes_its_connection() {
    let (closed, noticed) = tokio::sync::oneshot::channel();
    let closed = Arc::new(Mutex::new(Some(closed)));
    let server = Scripted::start(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            assert!(read_request(&mut stream).await.is_none());
            let _ = closed.lock().unwrap().take().unwrap().send(());
        }
    })
    .await;
    let transport = transport();
    let sending = transport.send(post(&server.url("/"), "{}"));
    assert!(tokio::time::timeout(SHORT, sending).await.is_err());
    tokio::time::timeout(Duration::from_secs(10), noticed).await.expect("the connection is closed").unwrap();
}

/// S10, S11: a header cannot smuggle another one, and those that frame the message are the transport's.
#[tokio::test]
async fn headers_that_cannot_or_must_not_be_sent_stop_the_request() {
    let server = Scripted::answering(OK).await;
    let bad = [
        ("x-a", "secret\r\nx-b: 1"),
        ("x-a", "secret\nx-b: 1"),
        ("x-a", "secret\0"),
        ("x-a\r\nx-b", "secret"),
        ("x a", "secret"),
        ("", "secret"),
        ("Host", "secret"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "secret"),
        ("Expect", "100-continue"),
        ("Keep-Alive", "timeout=5"),
        ("Trailer", "x-a"),
        (":authority", "secret"),
    ];
    let transport = transport();
    for (name, value) in bad {
        let mut request = post(&server.url("/"), "{}");
        request.headers.push((name.into(), value.into()));
        let (reason, maybe_sent, message) = failure(transport.send(request).await);
        assert_eq!((reason, maybe_sent), (Unsendable, false), "{name:?}: {message}");
        assert!(message.starts_with("header") || message.starts_with("the value of header"), "{message}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_user_name_in_the_url_is_not_sent() {
    let server = Scripted::answering(OK).await;
    let request = post(&server.url("/").replace("//", "//me:secret@"), "{}");
    assert_eq!(failure(transport().send(request).await).0, Unsendable);
    assert_eq!(server.connections(), 0);
}

/// S8: a proxy named by the environment is never used. Runs itself again with one named, since the environment of this
/// process belongs to all its tests.
#[tokio::test]
async fn proxies_from_the_environment_are_not_used() {
    const TARGET: &str = "PENSTOCK_TEST_PROXY_TARGET";
    if let Ok(url) = std::env::var(TARGET) {
        assert_eq!(response(transport().send(post(&url, "{}")).await).status, 200);
        return;
    }
    let (server, canary) = (Scripted::answering(OK).await, Scripted::answering("HTTP/1.1 502 Proxied\r\ncontent-length: 0\r\n\r\n").await);
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "tests::wire::proxies_from_the_environment_are_not_used", "--test-threads", "1"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        again.env(name, canary.url(""));
    }
    again.env(TARGET, server.url("/")).env_remove("NO_PROXY").env_remove("no_proxy");
    let output = tokio::task::spawn_blocking(move || again.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!((server.connections(), canary.connections()), (1, 0));
}
