//! TLS: what serves clients, and what both sides of the gateway need of it.

mod certificate;
pub(crate) mod file;
mod followed;
mod material;
mod maybe;
mod resolver;
mod stamp;
mod terminator;
mod watch;

pub(crate) use certificate::client_certificate;
pub(crate) use followed::{Followed, Reloaded};
pub(crate) use material::Serving;
pub(crate) use maybe::MaybeTls;
pub(crate) use terminator::Terminator;
pub(crate) use watch::watch;

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// HTTP/2 in ALPN (RFC 9113 §3.2).
pub(crate) const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301 §6).
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The one crypto library of the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
