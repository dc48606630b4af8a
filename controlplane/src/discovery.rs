//! The data planes' door: one stream each, snapshots down, facts up.

use crate::access::{Access, Caller, peer};
use crate::actor::{Handle, Outbox, Stopped};
use crate::fleet::StreamId;
use proto::v1::discovery_server::Discovery;
use proto::v1::{ControlPlaneMessage, DataPlaneMessage, Hello, data_plane_message::Message};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// A stream that does not say who it is within this time is closed.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages a data plane may leave unread; a rollout has two, an order one.
const OUTBOX: usize = 32;
const MAX_INSTANCE_NAME: usize = 253;

pub(crate) struct DiscoveryService {
    actor: Handle,
    access: Access,
}

impl DiscoveryService {
    pub(crate) fn new(actor: Handle, access: Access) -> Self {
        Self { actor, access }
    }
}

#[tonic::async_trait]
impl Discovery for DiscoveryService {
    type JoinStream = ReceiverStream<Result<ControlPlaneMessage, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<DataPlaneMessage>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let peer = peer(request.extensions()).map_or_else(String::new, |address| address.to_string());
        let caller = Caller::of(&request);
        let mut inbound = request.into_inner();
        let hello = tokio::time::timeout(HELLO_TIMEOUT, hello(&mut inbound))
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came"))??;
        let instance = hello.instance.clone();
        let (outbox, outgoing) = Outbox::new(OUTBOX);
        let stream = self.actor.join(hello, peer, outbox).await?;
        let listening = listen(self.actor.clone(), instance.clone(), stream, inbound, outgoing.closed);
        let (actor, access) = (self.actor.clone(), self.access.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = listening => {}
                () = access.taken_from(caller) => tracing::warn!(instance, "its token was taken away"),
            }
            actor.questions().left(&instance, stream);
            // the actor has ended: there is no fleet to leave
            let _ = actor.leave(instance, stream).await;
        });
        Ok(Response::new(ReceiverStream::new(outgoing.messages)))
    }
}

/// The first message of a stream.
async fn hello(inbound: &mut Streaming<DataPlaneMessage>) -> Result<Hello, Status> {
    let Some(DataPlaneMessage { message: Some(Message::Hello(hello)) }) = inbound.message().await? else {
        return Err(Status::invalid_argument("the first message of a stream is a Hello"));
    };
    check_name(&hello.instance)?;
    Ok(hello)
}

/// The name goes into logs, metrics and quoted strings of headers.
fn check_name(name: &str) -> Result<(), Status> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if name.is_empty() || name.len() > MAX_INSTANCE_NAME || !name.bytes().all(plain) {
        return Err(Status::invalid_argument(format!(
            "an instance name has 1 to {MAX_INSTANCE_NAME} visible ASCII characters, without quotes and backslashes"
        )));
    }
    Ok(())
}

/// Passes on what the data plane says until its stream ends or the actor closes it.
async fn listen(
    actor: Handle,
    instance: String,
    stream: StreamId,
    mut inbound: Streaming<DataPlaneMessage>,
    mut closed: oneshot::Receiver<()>,
) {
    loop {
        let heard = tokio::select! {
            _ = &mut closed => break,
            heard = inbound.message() => heard,
        };
        let message = match heard {
            Ok(Some(DataPlaneMessage { message: Some(message) })) => message,
            // a message of a newer build that this one does not know
            Ok(Some(DataPlaneMessage { message: None })) => continue,
            Ok(None) => break,
            Err(status) => {
                tracing::debug!(instance, %status, "discovery stream broke");
                break;
            }
        };
        let message = match message {
            Message::Answer(answer) => {
                actor.questions().answered(&instance, stream, answer);
                continue;
            }
            message => message,
        };
        if let Err(Stopped) = actor.hear(instance.clone(), stream, message).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_that_would_break_a_header_or_a_log_are_refused() {
        for good in ["dp-1", "edge.eu-west:8080", "10.0.0.1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\"b", "a\\b", "a\nb", "dé", &"x".repeat(254)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
