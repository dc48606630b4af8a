//! What every exchange gets, even a 404: an id, and for the gateway's own answers who, why and which version.

use crate::body::Content;
use crate::connection::session::Session;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use policy::auth::forward::ForwardAuth;
use policy::grpc::{self, Call};
use policy::headers::unrepeated;
use policy::rejection::{Rejection, Who};

/// The id's header, towards the target and the client.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A new id: UUIDv7 (RFC 9562), so that ids sort by time.
pub(crate) fn request_id(session: &Session) -> HeaderValue {
    let random = fastrand::u128(..).to_ne_bytes();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random[..10]);
    let id = uuid::Builder::from_unix_timestamp_millis(session.worker.unix_millis(session.now()), &tail)
        .into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    unrepeated(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown")))
}

/// The response to a refused request, without the headers that frame it. A call is told the status of a call, in a
/// response without a body.
pub(crate) fn refusal(rejection: &Rejection, who: &Who<'_>, call: Option<Call>) -> Response<String> {
    let mut response = match call {
        None => {
            let mut response = Response::new(rejection.problem(who));
            *response.status_mut() = rejection.status();
            response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
            response
        }
        Some(call) => {
            let mut response = Response::new(String::new());
            *response.headers_mut() = grpc::end(rejection.grpc_status(), rejection.title());
            response.headers_mut().insert(header::CONTENT_TYPE, call.content_type());
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(PROXY_STATUS, rejection.proxy_status(who));
    headers.extend(rejection.advice());
    response
}

/// The same for hyper to send; closes the connection where what follows on it cannot be trusted.
pub(crate) fn framed(
    rejection: &Rejection,
    refusal: Response<String>,
    session: &Session,
) -> Response<Content> {
    let mut response = local(refusal, session);
    if rejection.closes_connection() {
        close(&mut response, session);
    }
    response
}

/// A refusal that is another's: who has passed it on, and why.
pub(crate) fn denied(response: &mut Response<Bytes>, who: &Who<'_>) {
    response.headers_mut().insert(PROXY_STATUS, who.denied(ForwardAuth::REASON));
}

/// An answer of our own; closes the connection where a request body would have to be taken in that nobody reads.
pub(crate) fn local(response: Response<impl Into<Bytes>>, session: &Session) -> Response<Content> {
    let mut response = response.map(|body| Content::Local(Some(body.into())));
    if session.body_pending() {
        close(&mut response, session);
    }
    response
}

/// The last one on its connection, unless that becomes a tunnel.
pub(crate) fn last(response: &mut Response<Content>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

fn close(response: &mut Response<Content>, session: &Session) {
    session.linger();
    last(response);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use policy::grpc::{GRPC_MESSAGE, GRPC_STATUS, GrpcStatus};

    #[test]
    fn every_refusal_of_a_call_is_the_status_of_a_call() {
        let who = Who { instance: "edge-1", version: 7, request_id: "id" };
        for rejection in Rejection::ALL {
            let refusal = refusal(&rejection, &who, Some(Call::Grpc));
            let field = |name: HeaderName| refusal.headers()[name].to_str().unwrap();
            assert_eq!((refusal.status(), refusal.body().as_str()), (StatusCode::OK, ""), "{rejection:?}");
            assert_eq!(GrpcStatus::of(refusal.headers()), Some(rejection.grpc_status()), "{rejection:?}");
            assert_ne!(field(GRPC_STATUS), "0", "{rejection:?}");
            assert_eq!(field(GRPC_MESSAGE), rejection.title(), "{rejection:?}");
            assert_eq!(field(header::CONTENT_TYPE), "application/grpc");
            assert!(field(PROXY_STATUS).contains(rejection.reason()), "{rejection:?}");
        }
    }

    /// The mapping that clients are promised.
    #[test]
    fn the_status_of_a_call_follows_the_status_of_http() {
        for rejection in Rejection::ALL {
            let expected = match rejection.status().as_u16() {
                401 => GrpcStatus::Unauthenticated,
                403 => GrpcStatus::PermissionDenied,
                404 | 405 => GrpcStatus::Unimplemented,
                408 | 504 => GrpcStatus::DeadlineExceeded,
                413 | 414 | 429 | 431 => GrpcStatus::ResourceExhausted,
                502 | 503 => GrpcStatus::Unavailable,
                501 if rejection == Rejection::MethodNotServed => GrpcStatus::Unimplemented,
                400 | 417 | 500 | 501 | 508 => GrpcStatus::Internal,
                other => panic!("{rejection:?} has the status {other}"),
            };
            assert_eq!(rejection.grpc_status(), expected, "{rejection:?}");
        }
    }
}
