//! One request for a JWK set, bounded in time and size.

use crate::dial::{self, words};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

/// For all of it: name, connection, answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A set of a hundred RSA keys with their certificates is a fifth of it.
const MAX_DOCUMENT: usize = 1 << 20;

const AGENT: &str = concat!("mini-gateway/", env!("CARGO_PKG_VERSION"));

type Https = legacy::Client<dial::Connector, Empty<Bytes>>;

/// Trusts the certificate authorities of the machine, which are read when the first set is fetched.
pub(super) struct Client {
    https: OnceLock<Result<Https, String>>,
    timeout: Duration,
}

/// What an issuer has answered.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) document: Bytes,
    /// For how long, if it says so.
    pub(super) max_age: Option<Duration>,
}

impl Default for Client {
    fn default() -> Self {
        Self::with_timeout(TIMEOUT)
    }
}

impl Client {
    pub(super) const fn with_timeout(timeout: Duration) -> Self {
        Self { https: OnceLock::new(), timeout }
    }

    /// The document, or in words for an operator why there is none.
    pub(super) async fn fetch(&self, url: &Uri) -> Result<Fetched, String> {
        match tokio::time::timeout(self.timeout, self.get(url)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn get(&self, url: &Uri) -> Result<Fetched, String> {
        let client = self
            .https
            .get_or_init(|| https().map_err(|error| words(&error)))
            .as_ref()
            .map_err(Clone::clone)?;
        let request = Request::get(url)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, AGENT)
            .body(Empty::new())
            .map_err(|error| words(&error))?;
        let response = client.request(request).await.map_err(|error| words(&error))?;
        let status = response.status();
        if status != StatusCode::OK {
            let hint = if status.is_redirection() { ", and redirects are not followed" } else { "" };
            return Err(format!("status {}{hint}", status.as_u16()));
        }
        let max_age = max_age(response.headers());
        let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
        let document = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => "the answer is larger than 1 MiB".to_owned(),
            false => words(&*error),
        })?;
        Ok(Fetched { document: document.to_bytes(), max_age })
    }
}

fn https() -> io::Result<Https> {
    let connector = dial::connector()?;
    // a set is fetched every few minutes at most: no connection is worth keeping
    Ok(legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}

/// `max-age` of RFC 9111 §5.2.2.1; zero where an answer must not be kept.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = values.flat_map(|value| value.split(',')).map(str::trim);
    directives.find_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "max-age" => value.trim_matches('"').parse().ok().map(Duration::from_secs),
            "no-store" | "no-cache" => Some(Duration::ZERO),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_issuer_says_how_long_its_keys_are_good() {
        let age = |text: &'static str| {
            max_age(&HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(text))]))
        };
        assert_eq!(age("public, max-age=3600, must-revalidate"), Some(Duration::from_secs(3600)));
        assert_eq!(age("Max-Age=\"60\""), Some(Duration::from_secs(60)));
        assert_eq!(age("no-store"), Some(Duration::ZERO));
        assert_eq!(age("max-age=soon"), None);
        assert_eq!(age("s-maxage=5"), None);
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
