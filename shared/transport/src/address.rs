//! Which addresses may be connected to.
//!
//! Deny by default: only global unicast is public, minus every range that is special in the IANA registries or that carries an
//! IPv4 address inside an IPv6 one. It must not resolve names or open sockets; it judges one address and port at a time.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

/// What it takes to connect to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Global unicast: free, on the ports that [`AddressPolicy`] lets through.
    Public,
    /// Loopback and private networks: with `allow_private` or a named range.
    Private,
    /// Link-local, cloud metadata, documentation and the like: with a named range only.
    Named,
    /// Multicast, unspecified, reserved, and IPv6 forms that carry an IPv4 address: never, whatever is named.
    Never,
}

use Standing::{Named, Never, Private, Public};

/// The first entry that contains an address decides, so narrow ranges stand before the wide ones around them.
/// Sources: IANA special-purpose registries (RFC 6890 and its updates) and the metadata addresses of the large clouds.
const RANGES: &[(&str, Standing, &str)] = &[
    ("0.0.0.0/8", Never, "a this-network address"),
    ("10.0.0.0/8", Private, "a private address"),
    ("100.100.100.200/32", Named, "a cloud metadata address"),
    ("100.64.0.0/10", Private, "a carrier-grade NAT address"),
    ("127.0.0.0/8", Private, "a loopback address"),
    ("168.63.129.16/32", Named, "a cloud platform address"),
    ("169.254.0.0/16", Named, "a link-local or metadata address"),
    ("172.16.0.0/12", Private, "a private address"),
    ("192.0.0.0/24", Named, "an IETF protocol address"),
    ("192.0.2.0/24", Named, "a documentation address"),
    ("192.88.99.0/24", Named, "a 6to4 relay address"),
    ("192.168.0.0/16", Private, "a private address"),
    ("198.18.0.0/15", Named, "a benchmarking address"),
    ("198.51.100.0/24", Named, "a documentation address"),
    ("203.0.113.0/24", Named, "a documentation address"),
    ("224.0.0.0/4", Never, "a multicast address"),
    ("240.0.0.0/4", Never, "a reserved address"),
    ("::/128", Never, "the unspecified address"),
    ("::1/128", Private, "a loopback address"),
    ("::/96", Never, "an IPv4-compatible address"),
    ("::ffff:0:0:0/96", Never, "an IPv4-translated address"),
    ("64:ff9b::/96", Never, "a NAT64 address"),
    ("64:ff9b:1::/48", Never, "a local NAT64 address"),
    ("100::/64", Named, "a discard address"),
    ("2001::/32", Never, "a Teredo address"),
    ("2001::/23", Named, "an IETF protocol address"),
    ("2001:db8::/32", Named, "a documentation address"),
    ("2002::/16", Never, "a 6to4 address"),
    ("3fff::/20", Named, "a documentation address"),
    ("5f00::/16", Named, "a segment-routing address"),
    ("fd00:ec2::/32", Named, "a cloud metadata address"),
    ("fc00::/7", Private, "a private address"),
    ("fe80::/10", Named, "a link-local address"),
    ("fec0::/10", Named, "a site-local address"),
    ("ff00::/8", Never, "a multicast address"),
];

static PARSED: LazyLock<Vec<(IpNet, Standing, &'static str)>> = LazyLock::new(|| {
    let parse = |(net, standing, name): &(&str, Standing, &'static str)| {
        (net.parse().expect("the ranges of the table are written as networks"), *standing, *name)
    };
    RANGES.iter().map(parse).collect()
});

/// The standing of an address and, for a person, what kind of address it is ("a loopback address").
/// An IPv4-mapped IPv6 address is judged as the IPv4 address that it means.
pub fn classify(address: IpAddr) -> (Standing, &'static str) {
    let address = address.to_canonical();
    if let IpAddr::V6(v6) = address
        && is_isatap(v6)
    {
        return (Never, "an ISATAP address");
    }
    if let Some((_, standing, name)) = PARSED.iter().find(|(net, ..)| net.contains(&address)) {
        return (*standing, name);
    }
    match address {
        IpAddr::V6(v6) if v6.segments()[0] & 0xe000 != 0x2000 => (Named, "an address outside global unicast"),
        _ => (Public, "a public address"),
    }
}

/// RFC 5214: the interface identifier `0000:5efe` or `0200:5efe` is followed by an IPv4 address.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [.., high, low, _, _] = address.segments();
    high & 0xfdff == 0 && low == 0x5efe
}

/// Ports above 1023 that speak something else than HTTP and that take a stray line as a command, or that hold data with no
/// password by default: a request to them is an attack on a neighbour rather than a delivery.
const REFUSED_PORTS: &[u16] = &[
    1080, 1433, 1521, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 4369, 5060, 5061, 5432, 5672, 5900, 5984, 6000, 6379,
    6380, 6443, 6660, 6665, 6666, 6667, 6668, 6669, 6697, 8086, 8125, 9042, 9092, 9200, 9300, 10250, 10255, 10259, 11211, 25672, 26379,
    27017, 27018, 28017, 50070, 61613, 61616,
];

/// Where an allowed address was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whether plain http is fine there: `allow_http`, or the operator named the address by `allow_private` or a range.
    pub plain: bool,
}

/// What the operator allows beyond public addresses over https.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Lets loopback and private networks through (not link-local, not cloud metadata: those need a range).
    pub allow_private: bool,
    /// Networks that are let through whatever they are, on one port or on any. [`parse_range`] reads them from text.
    pub ranges: Vec<(IpNet, Option<u16>)>,
    /// Lets plain http through to public addresses.
    pub allow_http: bool,
}

impl AddressPolicy {
    /// Whether `address` may be connected to on `port`; the error is a lowercase fragment that says what it is and what to do.
    pub fn judge(&self, address: IpAddr, port: u16) -> Result<Grant, String> {
        let address = address.to_canonical();
        let (standing, name) = classify(address);
        let named = self.ranges.iter().any(|(net, only)| net.contains(&address) && only.is_none_or(|only| only == port));
        match standing {
            Never => Err(format!("{address} is {name}, which is never connected to: use the host's own unicast address")),
            Public | Private | Named if named => Ok(Grant { plain: true }),
            Private if self.allow_private => Ok(Grant { plain: true }),
            Private => {
                Err(format!("{address} is {name}: allow private addresses or name its range, {}, to connect to it", example(address, port)))
            }
            Named => Err(format!("{address} is {name}: name its range, {}, to connect to it", example(address, port))),
            Public if !is_public_port(port) => Err(format!(
                "port {port} of {address} is not for HTTP: use 443, 80 or another port, or name the range {}",
                example(address, port)
            )),
            Public => Ok(Grant { plain: self.allow_http }),
        }
    }
}

fn example(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(v4) => format!("{v4}/32:{port}"),
        IpAddr::V6(v6) => format!("[{v6}/128]:{port}"),
    }
}

fn is_public_port(port: u16) -> bool {
    matches!(port, 80 | 443) || (port >= 1024 && !REFUSED_PORTS.contains(&port))
}

/// Reads a range: `10.0.0.0/8`, `127.0.0.1/32:8080`, `fd00::/8`, `[fd00::/8]:443`, or one address with or without a port
/// (`127.0.0.1:8080`, `[::1]:8080`). The error is a lowercase fragment that says what is wrong with which text.
pub fn parse_range(text: &str) -> Result<(IpNet, Option<u16>), String> {
    let form = || format!("range {text:?} is not CIDR or CIDR:PORT, as in 10.0.0.0/8, 127.0.0.1/32:8080 or [fd00::/8]:443");
    let (network, port) = split_port(text).ok_or_else(form)?;
    let net: IpNet = match network.split_once('/') {
        Some((_, prefix)) if prefix.is_empty() || prefix.bytes().any(|b| !b.is_ascii_digit()) => return Err(form()),
        Some(_) => network.parse().map_err(|_| form())?,
        None => IpNet::from(network.parse::<IpAddr>().map_err(|_| form())?),
    };
    if net.trunc() != net {
        return Err(format!("range {text:?} has bits set beyond its prefix: write {}", net.trunc()));
    }
    if let IpAddr::V6(v6) = net.addr()
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(format!("range {text:?} is IPv4 written as IPv6: write the IPv4 range"));
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 => Some(number),
            _ => return Err(format!("range {text:?} has no valid port after its network: write 1 to 65535")),
        },
    };
    let ((first, name), (last, _)) = (classify(net.network()), classify(net.broadcast()));
    if first == Never && last == Never && net.prefix_len() > 0 {
        return Err(format!("range {text:?} starts with {name}, which is never connected to: name unicast addresses"));
    }
    Ok((net, port))
}

fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (network, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((network, Some(port))),
            None => after.is_empty().then_some((network, None)),
        };
    }
    match text.split_once('/') {
        Some((address, tail)) => match tail.split_once(':') {
            Some((prefix, port)) => Some((&text[..address.len() + 1 + prefix.len()], Some(port))),
            None => Some((text, None)),
        },
        None if text.matches(':').count() == 1 => text.split_once(':').map(|(address, port)| (address, Some(port))),
        None => Some((text, None)),
    }
}

/// Whether a host that is not an address looks like one to `getaddrinfo` (`0x7f.1`, `2130706433`): every label is a decimal,
/// octal or hexadecimal number. Such a name must never reach the system's resolver, which would turn it into an address.
pub(crate) fn looks_numeric(host: &str) -> bool {
    let number = |label: &str| match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    };
    host.split('.').all(number)
}
