//! A listener at run time: what it answers whatever is asked.

use super::Answer;
use crate::config::listener::ListenerConfig;
use crate::forwarded::Client;
use http::{HeaderMap, HeaderName};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A port on which clients are served.
#[derive(Debug)]
pub struct Listener {
    /// What the config says; `proxy_protocol_from` has those that it means.
    pub config: ListenerConfig,
    to_https: Option<Answer>,
}

impl Listener {
    pub(super) fn build(config: ListenerConfig) -> Self {
        Self { to_https: config.redirect_https.as_ref().map(Answer::to_https), config }
    }

    /// Where a request is sent in place of being served; none for one that a trusted proxy has got by https.
    pub fn redirect(&self, client: &Client, headers: &HeaderMap) -> Option<&Answer> {
        let to_https = self.to_https.as_ref()?;
        let came_by = headers.get(X_FORWARDED_PROTO).map_or(&b""[..], |proto| proto.as_bytes());
        (!client.peer_is_trusted || !came_by.eq_ignore_ascii_case(b"https")).then_some(to_https)
    }
}
