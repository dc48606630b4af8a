//! The channel to the control plane, and what its gRPC errors mean for the exit code.

use crate::exit::{Exit, Failure};
use proto::access::{Access, Bearer, Token};
use proto::v1::admin_client::AdminClient;
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Request, Status};

/// A table of 10 000 routes with its source is about 4 MiB, tonic's default limit.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For a question that the control plane answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A control plane that vanished without a word is noticed by an unanswered ping.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

pub type Admin = AdminClient<InterceptedService<Channel, Bearer>>;

/// The way to a control plane, and who goes it.
#[derive(Debug)]
pub struct Way {
    pub access: Access,
    pub token: Option<Token>,
}

/// Connects now, so that an absent control plane is told before anything else is done.
pub async fn connect(Way { access, token }: Way) -> Result<Admin, Failure> {
    if token.is_some() {
        access.check_token_is_safe().map_err(Failure::usage)?;
    }
    let endpoint = access
        .endpoint()
        .map_err(Failure::usage)?
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    // the timeout of an endpoint does not hold for the handshake of TLS
    let channel = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect())
        .await
        .map_err(|_| unreachable(&access.url, &format!("no answer in {CONNECT_TIMEOUT:?}")))?
        .map_err(|error| unreachable(&access.url, &root_cause(&error)))?;
    Ok(AdminClient::with_interceptor(channel, Bearer(token))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}

/// A request whose answer is due at once.
pub fn question<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

fn unreachable(endpoint: &Uri, cause: &str) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format_args!("the control plane at {endpoint} cannot be reached: {cause}"),
    )
    .help(
        "is `controlplane` running there? name another with --endpoint, --context or GATEWAYCTL_ENDPOINT; \
         `gatewayctl dev` starts one on this machine",
    )
}

/// The innermost error is the one that says something ("Connection refused").
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What a refused or broken call means.
pub fn failure(status: Status) -> Failure {
    let exit = match status.code() {
        Code::NotFound => Exit::No,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::FailedPrecondition | Code::ResourceExhausted | Code::AlreadyExists => Exit::Rejected,
        Code::DeadlineExceeded | Code::Cancelled => Exit::Unconfirmed,
        Code::Aborted => Exit::BaseMoved,
        Code::Unavailable => Exit::Unreachable,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Unauthorized,
        // a transport error has no code of its own
        Code::Unknown if std::error::Error::source(&status).is_some() => Exit::Unreachable,
        Code::Ok | Code::Unknown | Code::Internal | Code::Unimplemented | Code::DataLoss => Exit::Bug,
    };
    let failure = Failure::new(exit, said(&status));
    match exit {
        Exit::Unreachable => failure.help("the connection to the control plane broke; try again"),
        Exit::Unconfirmed => {
            failure.help("the control plane did not answer in time; see `gatewayctl rollout status`")
        }
        Exit::Unauthorized if status.code() == Code::Unauthenticated => {
            failure.help("give your token with --token-file or GATEWAYCTL_TOKEN, or in the context")
        }
        Exit::Bug if status.code() == Code::Unimplemented => {
            failure.help("the control plane is of another version than this gatewayctl")
        }
        _ => failure,
    }
}

fn said(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_exits() {
        let exit = |code| failure(Status::new(code, "x")).exit;
        assert_eq!(exit(Code::NotFound), Exit::No);
        assert_eq!(exit(Code::Unavailable), Exit::Unreachable);
        assert_eq!(exit(Code::PermissionDenied), Exit::Unauthorized);
        assert_eq!(exit(Code::DeadlineExceeded), Exit::Unconfirmed);
        assert_eq!(exit(Code::Internal), Exit::Bug);
    }

    #[test]
    fn an_empty_message_still_says_something() {
        assert!(!failure(Status::new(Code::NotFound, "")).message.is_empty());
    }
}
