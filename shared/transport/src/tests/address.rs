//! The classifier, on both sides of every border, and ranges as text.

use std::net::IpAddr;

use crate::Standing::{self, Named, Never, Private, Public};
use crate::address::looks_numeric;
use crate::{AddressPolicy, Grant, classify, parse_range};

// The first and last address of every special range and their neighbours outside. Python's `ipaddress.is_global` agrees with
// every address called public here; it calls a few global that are refused: those that carry an IPv4 address, platform
// addresses of a cloud, and what lies outside 2000::/3.
const PUBLIC: &str = "\
    1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17 \
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.1.255 192.0.3.0 192.88.98.255 \
    192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 \
    223.255.255.255 2000:: 2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2001:200:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff \
    2001:db9:: 2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2003:: 3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff 3fff:1000:: \
    3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
const PRIVATE: &str = "\
    10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.199 100.100.100.201 100.127.255.255 127.0.0.0 127.255.255.255 172.16.0.0 \
    172.31.255.255 192.168.0.0 192.168.255.255 ::1 fc00:: fd00:ec1:ffff:ffff:ffff:ffff:ffff:ffff fd00:ec3:: \
    fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
const NAMED: &str = "\
    100.100.100.200 168.63.129.16 169.254.0.0 169.254.255.255 192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0 \
    192.88.99.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 ::1:0:0 \
    ::fffe:ffff:ffff:ffff ::ffff:1:0:0 64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff 64:ff9b::1:0:0 \
    64:ff9b:0:ffff:ffff:ffff:ffff:ffff 64:ff9b:2:: ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 100:: 100::ffff:ffff:ffff:ffff \
    100:0:0:1:: 1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2001:1:: 2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff 2001:db8:: \
    2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 3fff:: 3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff 4000:: \
    5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 5f00:: 5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff 5f01:: \
    fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fd00:ec2:: fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff fe00:: \
    fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff fe80:: febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff fec0:: \
    feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
const NEVER: &str = "\
    0.0.0.0 0.255.255.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 :: ::2 ::ffff:ffff ::ffff:0:0:0 \
    ::ffff:0:ffff:ffff 64:ff9b:: 64:ff9b::ffff:ffff 64:ff9b:1:: 64:ff9b:1:ffff:ffff:ffff:ffff:ffff 2001:: \
    2001:0:ffff:ffff:ffff:ffff:ffff:ffff 2002:: 2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff ff00:: \
    ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
}

fn table() -> impl Iterator<Item = (IpAddr, Standing)> {
    let all = [(PUBLIC, Public), (PRIVATE, Private), (NAMED, Named), (NEVER, Never)];
    all.into_iter().flat_map(|(addresses, standing)| addresses.split_whitespace().map(move |address| (ip(address), standing)))
}

/// S1.
#[test]
fn each_side_of_every_border_has_its_standing() {
    assert_eq!(table().count(), 124);
    for (address, standing) in table() {
        assert_eq!(classify(address).0, standing, "{address}");
    }
}

/// S1: an IPv4 address is no more allowed for being written as IPv6.
#[test]
fn a_mapped_address_is_judged_as_the_address_it_means() {
    for (address, standing) in table() {
        if let IpAddr::V4(v4) = address {
            assert_eq!(classify(IpAddr::V6(v4.to_ipv6_mapped())).0, standing, "{address}");
        }
    }
}

/// S1: forms that carry an IPv4 address are refused even when that address is public, and whatever is allowed.
#[test]
fn an_embedded_address_is_never_connected_to() {
    let everything = AddressPolicy {
        allow_private: true,
        allow_http: true,
        ranges: vec![parse_range("::/0").unwrap(), parse_range("0.0.0.0/0").unwrap()],
    };
    let forms = ["::8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::10.0.0.1", "2002:808:808::1", "2001:0:1::1", "::ffff:0:8.8.8.8"];
    let isatap = ["2001:4860::5efe:10.0.0.1", "2001:4860::200:5efe:10.0.0.1", "fe80::5efe:10.0.0.1", "fd00::5efe:8.8.8.8"];
    for address in forms.into_iter().chain(isatap).chain(["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1"]) {
        assert_eq!(classify(ip(address)).0, Never, "{address}");
        let refusal = everything.judge(ip(address), 443).unwrap_err();
        assert!(refusal.contains("never connected to"), "{refusal}");
    }
}

#[test]
fn allowing_private_addresses_allows_nothing_else() {
    let policy = AddressPolicy { allow_private: true, ..AddressPolicy::default() };
    for (address, standing) in table() {
        let expected = match standing {
            Public => Some(Grant { plain: false }),
            Private => Some(Grant { plain: true }),
            Named | Never => None,
        };
        assert_eq!(policy.judge(address, 443).ok(), expected, "{address}");
    }
}

#[test]
fn a_named_range_allows_what_lies_in_it_and_nothing_else() {
    let policy = AddressPolicy {
        ranges: vec![parse_range("10.1.0.0/16").unwrap(), parse_range("169.254.170.2:80").unwrap()],
        ..AddressPolicy::default()
    };
    let plain = Ok(Grant { plain: true });
    assert_eq!(policy.judge(ip("10.1.0.0"), 22), plain);
    assert_eq!(policy.judge(ip("::ffff:10.1.255.255"), 6379), plain);
    assert_eq!(policy.judge(ip("169.254.170.2"), 80), plain);
    for (address, port) in
        [("10.0.255.255", 443), ("10.2.0.0", 443), ("127.0.0.1", 443), ("169.254.170.2", 443), ("64:ff9b::a01:1", 443), ("::10.1.0.1", 443)]
    {
        assert!(policy.judge(ip(address), port).is_err(), "{address}");
    }
    assert_eq!(policy.judge(ip("8.8.8.8"), 443), Ok(Grant { plain: false }));
}

#[test]
fn a_refusal_says_what_the_address_is_and_what_to_name() {
    let refusal = AddressPolicy::default().judge(ip("::ffff:10.0.0.1"), 8080).unwrap_err();
    assert_eq!(refusal, "10.0.0.1 is a private address: allow private addresses or name its range, 10.0.0.1/32:8080, to connect to it");
    let refusal = AddressPolicy::default().judge(ip("fe80::1"), 443).unwrap_err();
    assert_eq!(refusal, "fe80::1 is a link-local address: name its range, [fe80::1/128]:443, to connect to it");
    assert!(parse_range("[fe80::1/128]:443").is_ok());
}

/// S9.
#[test]
fn public_addresses_are_reached_on_ports_that_speak_http() {
    let policy = AddressPolicy::default();
    for port in [80, 443, 1024, 3000, 8000, 8080, 8443, 9000, 65535] {
        assert!(policy.judge(ip("8.8.8.8"), port).is_ok(), "{port}");
    }
    for port in [0, 1, 22, 25, 53, 79, 81, 442, 444, 465, 587, 1023, 2049, 3306, 5432, 6379, 9200, 11211, 27017] {
        assert!(policy.judge(ip("8.8.8.8"), port).is_err(), "{port}");
        assert!(
            AddressPolicy { ranges: vec![parse_range("8.8.8.8").unwrap()], ..AddressPolicy::default() }.judge(ip("8.8.8.8"), port).is_ok()
        );
    }
}

#[test]
fn ranges_are_read_in_every_form() {
    let good = [
        ("10.0.0.0/8", "10.0.0.0/8", None),
        ("127.0.0.1/32:8080", "127.0.0.1/32", Some(8080)),
        ("127.0.0.1", "127.0.0.1/32", None),
        ("127.0.0.1:80", "127.0.0.1/32", Some(80)),
        ("::1", "::1/128", None),
        ("[::1]", "::1/128", None),
        ("[::1]:443", "::1/128", Some(443)),
        ("fd00::/8", "fd00::/8", None),
        ("fd00::/8:443", "fd00::/8", Some(443)),
        ("[fd00::/8]:65535", "fd00::/8", Some(65535)),
        ("0.0.0.0/0", "0.0.0.0/0", None),
    ];
    for (text, net, port) in good {
        assert_eq!(parse_range(text), Ok((net.parse().unwrap(), port)), "{text}");
    }
}

#[test]
fn a_range_that_cannot_be_read_is_named_with_what_to_write() {
    let bad = [
        ("", "is not CIDR"),
        ("localhost", "is not CIDR"),
        ("10.0.0.0/", "is not CIDR"),
        ("10.0.0.0/33", "is not CIDR"),
        ("10.0.0.0/+8", "is not CIDR"),
        ("10.0.0/8", "is not CIDR"),
        ("[::1", "is not CIDR"),
        ("[::1]443", "is not CIDR"),
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("10.0.0.0/8:0", "write 1 to 65535"),
        ("10.0.0.0/8:65536", "write 1 to 65535"),
        ("10.0.0.0/8:http", "write 1 to 65535"),
        ("::ffff:10.0.0.0/104", "write the IPv4 range"),
        ("224.0.0.0/4", "never connected to"),
        ("64:ff9b::/96", "never connected to"),
    ];
    for (text, expected) in bad {
        let problem = parse_range(text).unwrap_err();
        assert!(problem.contains(expected) && problem.contains(&format!("{text:?}")), "{text}: {problem}");
    }
}

/// S2: names that a C library reads as numbers.
#[test]
fn a_number_is_not_taken_for_a_name() {
    for number in ["127.1", "0x7f.1", "0X7F", "017700000001", "1.2.3.4.5", "0x.1", "1..2", "127.0.0.1."] {
        assert!(looks_numeric(number), "{number}");
    }
    for name in ["cafe.de", "dead.beef", "a1.example.com", "1.example", "0xg.1", "x-1"] {
        assert!(!looks_numeric(name), "{name}");
    }
}
