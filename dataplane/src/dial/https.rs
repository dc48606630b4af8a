//! How the gateway itself connects to others by `https`: to issuers of tokens, to collectors.

use crate::tls;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::io;

/// `http` and `https`, HTTP/1.1.
pub(crate) type Connector = HttpsConnector<HttpConnector>;

/// Trusts the certificate authorities of the machine, which are read now.
pub(crate) fn connector() -> io::Result<Connector> {
    let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(tls::provider())?;
    Ok(builder.https_or_http().enable_http1().build())
}

/// For `http` alone: it trusts nobody, and so needs no certificate authorities, which a small container may not have.
pub(crate) fn plain_connector() -> io::Result<Connector> {
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build())
}

/// An error with its causes.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
