//! One HTTP exchange: address vetting, TLS, timeouts, body caps.
//!
//! It must not decide anything: no retries, no redirects, no proxies, no cookies, no reading of statuses. Every request that
//! goes on the wire was asked for by exactly one [`engine::port::Transport::send`], and every address that is connected to
//! was checked by an [`AddressPolicy`] a moment before, on the very value handed to `connect`.

mod address;
mod body;
mod connect;
mod failure;
mod pool;
mod send;
#[cfg(test)]
mod tests;
mod tls;

pub use address::{AddressPolicy, Grant, Standing, classify, parse_range};
pub use connect::Resolver;
pub use send::{HttpTransport, TransportOptions};
pub use tls::TlsIdentity;
