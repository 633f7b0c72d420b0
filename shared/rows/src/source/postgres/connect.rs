//! The way to a database: what a DSN means, TLS, patience. It must not let a password into any text.

use super::failure::Failure;
use crate::error::{ErrorKind, SourceError};
use ::postgres::config::{Host, SslMode};
use ::postgres::{Client, Config, NoTls};
use engine::model::credential::Secret;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a connection may take, unless the DSN says.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent connection is asked after so long whether the other side is still there, unless the DSN says.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// The client's own value for that.
const CLIENTS_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// A database that can be connected to.
pub(super) struct Target {
    config: Config,
    /// `postgres at db.example.com:5432/shop`
    pub(super) place: String,
}

/// Reads a DSN. The error shows nothing of it, since the parser's own might show a part of a password.
pub(super) fn target(dsn: &Secret) -> Result<Target, SourceError> {
    const FORM: &str = "write one like postgres://user:password@host:5432/database, the password percent-encoded";
    let unreadable = |what: &str| SourceError::new(ErrorKind::Connect, "the dsn", format!("{what}; {FORM}"));
    let mut config = parse(dsn.reveal()).ok_or_else(|| unreadable("cannot be read"))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(unreadable("names no host"));
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_keepalives_idle() == CLIENTS_KEEPALIVE_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(Duration::from_secs(10)).keepalives_retries(6);
    }
    if config.get_application_name().is_none() {
        config.application_name("penstock");
    }
    let place = place(&config);
    Ok(Target { config, place })
}

/// Reads a DSN. Certificates are always checked in full, so the three modes that ask for TLS are one.
fn parse(dsn: &str) -> Option<Config> {
    let text = ["verify-full", "verify-ca"].iter().fold(dsn.to_owned(), |text, mode| {
        text.replace(&format!("sslmode={mode}"), "sslmode=require").replace(&format!("sslmode='{mode}'"), "sslmode=require")
    });
    text.parse().ok()
}

/// Whether a DSN leads to a socket of this machine rather than to a host.
pub fn names_socket(dsn: &str) -> bool {
    parse(dsn).is_some_and(|config| config.get_hosts().iter().any(|host| !matches!(host, Host::Tcp(_))))
}

fn place(config: &Config) -> String {
    let port = |at: usize| config.get_ports().get(at).or(config.get_ports().last()).copied().unwrap_or(5432);
    let host = |(at, host): (usize, &Host)| match host {
        Host::Tcp(name) => format!("{name}:{}", port(at)),
        #[cfg(unix)]
        Host::Unix(path) => format!("{}:{}", path.display(), port(at)),
    };
    let mut hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    if hosts.is_empty() {
        hosts = config.get_hostaddrs().iter().enumerate().map(|(at, address)| format!("{address}:{}", port(at))).collect();
    }
    let database = config.get_dbname().or(config.get_user()).map(|name| format!("/{name}")).unwrap_or_default();
    format!("postgres at {}{database}", hosts.join(","))
}

impl Target {
    /// Connects. Must not be called on a thread of a runtime.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        if self.config.get_ssl_mode() == SslMode::Disable {
            return self.config.connect(NoTls).map_err(Failure::Connecting);
        }
        let tls = MakeRustlsConnect::new(tls().map_err(Failure::Tls)?);
        self.config.connect(tls).map_err(Failure::Connecting)
    }
}

/// TLS that trusts whom this machine trusts. Without an authority only `sslmode=prefer` can work, and only without TLS.
fn tls() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read is one that nobody is trusted by; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(|e| format!("TLS cannot be set up: {e}"))?.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_database_names_no_user_and_no_password() {
        for (dsn, place) in [
            ("postgres://reader:hush@db.example.com:6432/shop?sslmode=verify-full", "postgres at db.example.com:6432/shop"),
            ("host=db port=5433 user=reader password=hush dbname=shop sslmode='verify-ca'", "postgres at db:5433/shop"),
            ("postgresql://reader:hush@a,b/shop", "postgres at a:5432,b:5432/shop"),
        ] {
            let target = target(&Secret::new(dsn)).unwrap();
            assert_eq!(target.place, place);
            assert_eq!(target.config.get_ssl_mode() == SslMode::Require, dsn.contains("verify"), "{dsn}");
        }
    }

    #[test]
    fn a_dsn_that_cannot_be_read_is_not_shown() {
        for dsn in ["postgres://reader:x@db/shop?a=hush", "host=db hush", "hush", "", "password=hush", "postgres://reader:hush@db:x/shop"] {
            let error = target(&Secret::new(dsn)).err().expect(dsn);
            assert_eq!(error.kind, ErrorKind::Connect);
            assert!(!error.to_string().contains("hush") && error.to_string().contains("postgres://"), "{error}");
        }
    }
}
