//! Stands before every service: no call without a token of its file.

use super::renewed::Renewed;
use super::tls::{Visitor, peer};
use super::tokens::Tokens;
use http::{Request, Response, header};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::body::Body;
use tower_http::validate_request::ValidateRequest;

/// Health is told to everybody: balancers and supervisors ask without a token.
const OPEN: &str = "/grpc.health.v1.Health/";
/// Strangers must not fill the log: one line in this time, with the number of those that were left out.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Of what a stranger has asked for, so much is told.
const TOLD: usize = 100;

/// Lets everything pass where there are no tokens.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    tokens: Option<Arc<Renewed<Tokens>>>,
    refused: Arc<Mutex<Refused>>,
}

/// Refusals that were not told yet.
#[derive(Debug, Default)]
struct Refused {
    told: Option<Instant>,
    untold: u64,
}

impl Guard {
    pub(crate) fn new(tokens: Option<Arc<Renewed<Tokens>>>) -> Self {
        Self { tokens, refused: Arc::default() }
    }

    fn tell(&self, status: &Status, method: &str, peer: Option<SocketAddr>) {
        let mut refused = self.refused.lock();
        if refused.told.is_some_and(|told| told.elapsed() < LINE_EVERY) {
            refused.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut refused.untold);
        refused.told = Some(Instant::now());
        let method = &method[..method.floor_char_boundary(TOLD)];
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        tracing::warn!(peer, method, code = ?status.code(), reason = status.message(), untold, "call refused");
    }
}

impl<B> ValidateRequest<B> for Guard {
    type ResponseBody = Body;

    /// Who asks is in the extensions of the request behind it.
    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<Body>> {
        let method = request.uri().path();
        if let Some(tokens) = &self.tokens {
            if method.starts_with(OPEN) {
                return Ok(());
            }
            let authorization = request.headers().get(header::AUTHORIZATION);
            match tokens.get().admit(method, authorization.map(|value| value.as_bytes())) {
                Ok(caller) => drop(request.extensions_mut().insert(caller)),
                Err(status) => {
                    self.tell(&status, method, peer(request.extensions()));
                    return Err(status.into_http());
                }
            }
        }
        if let Some(visitor) = request.extensions().get::<Visitor>() {
            visitor.admit();
        }
        Ok(())
    }
}
