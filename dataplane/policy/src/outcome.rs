//! How one attempt at a target ended: what breakers, ejection and retries go by.

use crate::grpc::GrpcStatus;
use crate::rejection::Rejection;
use http::StatusCode;

/// The end of an attempt, as far as it says something about the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The head of a final response arrived.
    Response(StatusCode),
    /// The end of a call arrived, before anything else of its response.
    Call(GrpcStatus),
    /// No connection could be made: nothing of the request was sent.
    ConnectFailure,
    /// The connection broke, or what came on it was not HTTP.
    Reset,
    /// A connection, but no response head in time.
    Timeout,
    /// The target refused the stream before it had looked at the request (HTTP/2).
    RefusedStream,
}

impl Outcome {
    /// What the refusal that an attempt ended in says of its target; `None` where the client or the gateway is the
    /// cause.
    pub const fn of(rejection: &Rejection) -> Option<Self> {
        match rejection {
            Rejection::NameUnresolved
            | Rejection::ConnectFailed
            | Rejection::ConnectTimeout
            | Rejection::TlsFailed
            | Rejection::TlsCertificate => Some(Self::ConnectFailure),
            Rejection::StreamRefused => Some(Self::RefusedStream),
            Rejection::UpstreamReset | Rejection::InvalidResponse => Some(Self::Reset),
            Rejection::ResponseTimeout | Rejection::TryTimeout | Rejection::RouteTimeout => {
                Some(Self::Timeout)
            }
            _ => None,
        }
    }

    /// No response, or one that says that the server failed (5xx, or a status of calls that means as much).
    pub fn is_failure(self) -> bool {
        match self {
            Self::Response(status) => status.is_server_error(),
            Self::Call(status) => status.is_failure(),
            Self::ConnectFailure | Self::Reset | Self::Timeout | Self::RefusedStream => true,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Response(status) => write!(f, "status {}", status.as_u16()),
            Self::Call(status) => write!(f, "grpc-status {}", status.name()),
            Self::ConnectFailure => f.write_str("no connection"),
            Self::Reset => f.write_str("connection broken"),
            Self::Timeout => f.write_str("no response in time"),
            Self::RefusedStream => f.write_str("stream refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_target_did_counts_against_it() {
        let failures: Vec<_> = Rejection::ALL
            .iter()
            .filter(|rejection| Outcome::of(rejection).is_some_and(Outcome::is_failure))
            .map(Rejection::reason)
            .collect();
        assert_eq!(
            failures,
            [
                "name_unresolved",
                "connect_failed",
                "tls_failed",
                "tls_certificate",
                "upstream_reset",
                "invalid_response",
                "stream_refused",
                "connect_timeout",
                "response_timeout",
                "try_timeout",
                "route_timeout"
            ]
        );
        assert!(!Outcome::Response(StatusCode::NOT_FOUND).is_failure());
        assert!(Outcome::Response(StatusCode::BAD_GATEWAY).is_failure());
        assert!(Outcome::Call(GrpcStatus::Unavailable).is_failure());
        // a client that waits for a millisecond says nothing about the target
        assert!(!Outcome::Call(GrpcStatus::DeadlineExceeded).is_failure());
    }
}
