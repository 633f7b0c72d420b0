//! Where requests may go: the transport refuses before it connects.

use std::net::IpAddr;
use std::sync::Mutex;

use super::*;
use crate::{Resolver, parse_range};
use FailureReason::{Connect, Dns, Policy};

fn fixed(policy: AddressPolicy, answers: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> HttpTransport {
    let resolver = Resolver::Fixed(Arc::new(answers));
    HttpTransport::new(TransportOptions { policy, resolver, ..TransportOptions::default() }).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allowing(range: &str) -> AddressPolicy {
    AddressPolicy { ranges: vec![parse_range(range).unwrap()], ..AddressPolicy::default() }
}

/// S1, S2, S4: every spelling of a forbidden address is refused before anything is connected to or resolved.
#[tokio::test]
async fn no_spelling_of_loopback_gets_through() {
    let server = Scripted::answering(OK).await;
    let looked_up = Arc::new(AtomicUsize::new(0));
    let counter = looked_up.clone();
    let transport = fixed(AddressPolicy { allow_http: true, ..AddressPolicy::default() }, move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(vec![ip("127.0.0.1")])
    });
    let hosts = [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0.0.1",
        "017700000001",
        "0177.0.0.01",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "\u{ff11}\u{ff12}\u{ff17}.\u{ff10}.\u{ff10}.\u{ff11}",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "%31%32%37.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0",
        "0.0.0.0",
        "[::]",
    ];
    for host in hosts {
        let request = post(&format!("http://{host}:{}/?token=secret", server.address.port()), "{}");
        let (reason, maybe_sent, message) = failure(transport.send(request).await);
        assert_eq!((reason, maybe_sent), (Policy, false), "{host}: {message}");
    }
    assert_eq!((server.connections(), looked_up.load(Ordering::SeqCst)), (0, 0));
}

/// S5: what a cloud serves to its own machines.
#[tokio::test]
async fn metadata_services_are_refused_even_where_private_addresses_are_allowed() {
    let transport = with_policy(AddressPolicy { allow_private: true, ..AddressPolicy::default() });
    for host in
        ["169.254.169.254", "169.254.170.2", "169.254.170.23", "[fd00:ec2::254]", "[fd00:ec2::23]", "100.100.100.200", "168.63.129.16"]
    {
        let (reason, maybe_sent, _) = failure(transport.send(post(&format!("http://{host}/latest/meta-data"), "")).await);
        assert_eq!((reason, maybe_sent), (Policy, false), "{host}");
    }
}

/// S3: one forbidden address among the answers refuses the name; it is not just left out.
#[tokio::test]
async fn a_name_with_one_forbidden_address_is_refused_as_a_whole() {
    let server = Scripted::answering(OK).await;
    for answers in [["93.184.215.14", "127.0.0.1"], ["127.0.0.1", "93.184.215.14"], ["2606:2800::1", "::ffff:127.0.0.1"]] {
        let transport = fixed(AddressPolicy { allow_http: true, ..AddressPolicy::default() }, move |_| Ok(answers.map(ip).to_vec()));
        let url = format!("http://example.com:{}/?token=secret", server.address.port());
        let (reason, maybe_sent, message) = failure(transport.send(post(&url, "")).await);
        assert_eq!((reason, maybe_sent), (Policy, false));
        assert!(message.contains("example.com") && message.contains("127.0.0.1 is a loopback address"), "{message}");
    }
    assert_eq!(server.connections(), 0);
}

/// S3: each new connection is judged by the answer it uses.
#[tokio::test]
async fn an_answer_that_turns_forbidden_is_refused_at_the_next_connection() {
    let server = Scripted::start(|_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let answer = Arc::new(Mutex::new(ip("127.0.0.1")));
    let current = answer.clone();
    let transport = fixed(allowing("127.0.0.1/32"), move |_| Ok(vec![*current.lock().unwrap()]));
    let url = format!("http://example.com:{}/", server.address.port());
    assert_eq!(response(transport.send(post(&url, "")).await).status, 200);
    *answer.lock().unwrap() = ip("127.0.0.2");
    transport.close_idle();
    assert_eq!(failure(transport.send(post(&url, "")).await).0, Policy);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_named_range_lets_its_port_through_over_plain_http_and_nothing_else() {
    let server = Scripted::answering(OK).await;
    let port = server.address.port();
    let transport = with_policy(allowing(&format!("127.0.0.1/32:{port}")));
    assert_eq!(response(transport.send(post(&server.url("/"), "{}")).await).status, 200);
    let other = Scripted::answering(OK).await;
    assert_eq!(failure(transport.send(post(&other.url("/"), "{}")).await).0, Policy);
    assert_eq!(failure(transport.send(post(&format!("http://127.0.0.2:{port}/"), "")).await).0, Policy);
    assert_eq!(other.connections(), 0);
}

/// Semantics 22: plain http goes to allowed private targets, or anywhere once it is allowed.
#[tokio::test]
async fn plain_http_to_a_public_address_needs_permission() {
    // Not reached in either case: the first is refused, the second would connect to a host that does not answer here.
    let public = |_: &str| Ok(vec![ip("93.184.215.14")]);
    let refused = fixed(AddressPolicy { allow_private: true, ..AddressPolicy::default() }, public);
    let (reason, maybe_sent, message) = failure(refused.send(post("http://example.com/", "")).await);
    assert_eq!((reason, maybe_sent), (Policy, false));
    assert!(message.contains("use https"), "{message}");
    let policy = AddressPolicy { allow_http: true, ..AddressPolicy::default() };
    assert_eq!(policy.judge(ip("93.184.215.14"), 80).map(|grant| grant.plain), Ok(true));
}

#[tokio::test]
async fn a_name_that_is_allowed_is_connected_to_at_the_address_that_was_checked() {
    let server = Scripted::answering(OK).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let policy = AddressPolicy { allow_private: true, ..AddressPolicy::default() };
    let transport = fixed(policy, move |host| {
        log.lock().unwrap().push(host.to_owned());
        Ok(vec![ip("127.0.0.1")])
    });
    let url = format!("http://crm.test:{}/", server.address.port());
    let all = (0..20).map(|_| transport.send(post(&url, "{}")));
    assert!(futures_util::future::join_all(all).await.into_iter().all(|exchange| response(exchange).status == 200));
    assert_eq!(*asked.lock().unwrap(), ["crm.test"], "twenty connections at once ask once");
}

/// RFC 8305: an address that does not answer costs a head start, not the request.
#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let server = Scripted::answering(OK).await;
    let policy = AddressPolicy { allow_private: true, ..AddressPolicy::default() };
    let transport = fixed(policy, |_| Ok(vec![ip("::1"), ip("127.0.0.2"), ip("127.0.0.1")]));
    assert_eq!(response(transport.send(post(&format!("http://crm.test:{}/", server.address.port()), "{}")).await).status, 200);
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (reason, maybe_sent, message) = failure(transport.send(post(&format!("http://crm.test:{nowhere}/"), "{}")).await);
    assert_eq!((reason, maybe_sent), (Connect, false));
    assert!(message.contains("[::1]") && message.contains("127.0.0.2") && message.contains("127.0.0.1"), "{message}");
}

/// VX-29, E5.
#[tokio::test]
async fn a_name_without_an_address_is_a_dns_failure() {
    for answers in [Err("no such host"), Ok(())] {
        let transport = fixed(AddressPolicy::default(), move |_| answers.map(|()| Vec::new()).map_err(std::io::Error::other));
        let (reason, maybe_sent, message) = failure(transport.send(post("https://nowhere.test/?token=secret", "")).await);
        assert_eq!((reason, maybe_sent), (Dns, false));
        assert!(message.starts_with("nowhere.test "), "{message}");
    }
}

#[tokio::test]
async fn the_system_resolves_localhost_to_what_is_refused() {
    let (reason, maybe_sent, message) = failure(with_policy(AddressPolicy::default()).send(post("https://localhost/", "")).await);
    assert_eq!((reason, maybe_sent), (Policy, false), "{message}");
}

/// S9: other schemes are not spoken.
#[tokio::test]
async fn other_schemes_are_refused() {
    for url in ["ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "data:,secret"] {
        let (reason, maybe_sent, _) = failure(transport().send(post(url, "")).await);
        assert_eq!((reason, maybe_sent), (Policy, false), "{url}");
    }
}
