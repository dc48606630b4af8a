//! `grpc.health.v1.Health/Check`, which must answer `SERVING`.

use super::{Failure, USER_AGENT, words};
use crate::dial::Stream;
use hyper_util::rt::TokioIo;
use policy::config::leaf::{Authority, TargetAddr};
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::codegen::Service;
use tonic::transport::{Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What is called.
pub(super) const METHOD: &str = "grpc.health.v1.Health/Check";

/// An answer is a few bytes; a server that sends more is no health service.
const MAX_ANSWER: usize = 4 * 1024;

/// Made once for all probes of a target.
pub(super) struct GrpcProbe {
    authority: String,
    service: String,
}

impl GrpcProbe {
    pub(super) fn new(address: &TargetAddr, service: String, host: Option<&Authority>) -> Self {
        Self { authority: host.map_or_else(|| address.authority(), ToString::to_string), service }
    }

    pub(super) async fn run(&self, stream: Stream) -> Result<(), Failure> {
        let endpoint = self.endpoint().map_err(|error| Failure::Target(words(&error)))?;
        let channel = endpoint
            .connect_with_connector(Connected(Some(stream)))
            .await
            .map_err(|error| Failure::Target(words(&error)))?;
        let mut client = HealthClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        let request = HealthCheckRequest { service: self.service.clone() };
        let answer = client.check(request).await.map_err(|status| Failure::Target(refusal(&status)))?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            other => Err(Failure::Target(format!("{}, expected SERVING", other.as_str_name()))),
        }
    }

    fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        Endpoint::from_shared(format!("http://{}", self.authority))?.user_agent(USER_AGENT)
    }
}

/// The status by its name, as gRPC's own tools show it.
fn refusal(status: &Status) -> String {
    let cause = std::error::Error::source(status).map(words);
    let text = cause.unwrap_or_else(|| status.message().to_owned());
    let name = format!("status {:?}", status.code());
    if text.is_empty() { name } else { format!("{name}: {text}") }
}

/// Hands out a connection that is there already, once.
struct Connected(Option<Stream>);

impl Service<Uri> for Connected {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}
