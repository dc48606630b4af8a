//! Stands before every service: no call without a token of its file.

use super::renewed::Renewed;
use super::tokens::Tokens;
use http::{Request, Response, header};
use std::sync::Arc;
use tonic::body::Body;
use tower_http::validate_request::ValidateRequest;

/// Health is told to everybody: balancers and supervisors ask without a token.
const OPEN: &str = "/grpc.health.v1.Health/";

/// Lets everything pass where there are no tokens.
#[derive(Debug, Clone)]
pub(crate) struct Guard(pub(crate) Option<Arc<Renewed<Tokens>>>);

impl<B> ValidateRequest<B> for Guard {
    type ResponseBody = Body;

    /// Who asks is in the extensions of the request behind it.
    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<Body>> {
        let Some(tokens) = &self.0 else { return Ok(()) };
        let method = request.uri().path();
        if method.starts_with(OPEN) {
            return Ok(());
        }
        let authorization = request.headers().get(header::AUTHORIZATION);
        match tokens.get().admit(method, authorization.map(|value| value.as_bytes())) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Ok(())
            }
            Err(status) => {
                tracing::warn!(method, code = ?status.code(), reason = status.message(), "call refused");
                Err(status.into_http())
            }
        }
    }
}
