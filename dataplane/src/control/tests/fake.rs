//! A control plane that does what a test tells it, on a real socket.

use proto::v1::control_plane_message::Message as Order;
use proto::v1::data_plane_message::Message as Fact;
use proto::v1::discovery_server::{Discovery, DiscoveryServer};
use proto::v1::{ControlPlaneMessage, DataPlaneMessage, Hello};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Server, Uri};
use tonic::{Request, Response, Status, Streaming};

pub(super) struct FakeControlPlane {
    pub(super) uri: Uri,
    joining: mpsc::UnboundedReceiver<Member>,
}

/// A data plane's stream, seen from the other end; dropping it hangs up.
pub(super) struct Member {
    pub(super) hello: Hello,
    facts: Streaming<DataPlaneMessage>,
    orders: mpsc::Sender<Result<ControlPlaneMessage, Status>>,
}

struct Service(mpsc::UnboundedSender<Member>);

#[tonic::async_trait]
impl Discovery for Service {
    type JoinStream = ReceiverStream<Result<ControlPlaneMessage, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<DataPlaneMessage>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let mut facts = request.into_inner();
        let (orders, stream) = mpsc::channel(16);
        let Some(DataPlaneMessage { message: Some(Fact::Hello(hello)) }) = facts.message().await? else {
            return Err(Status::invalid_argument("the first message is a hello"));
        };
        self.0.send(Member { hello, facts, orders }).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl FakeControlPlane {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (joined, joining) = mpsc::unbounded_channel();
        let server = Server::builder().add_service(DiscoveryServer::new(Service(joined)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { uri, joining }
    }

    pub(super) async fn joined(&mut self) -> Member {
        self.joining.recv().await.unwrap()
    }
}

impl Member {
    pub(super) async fn order(&self, order: Order) {
        self.send(Ok(ControlPlaneMessage { message: Some(order) })).await;
    }

    pub(super) async fn send(&self, message: Result<ControlPlaneMessage, Status>) {
        self.orders.send(message).await.unwrap();
    }

    /// The next fact; none when the data plane has hung up.
    pub(super) async fn fact(&mut self) -> Option<Fact> {
        let message = self.facts.message().await.ok().flatten()?;
        Some(message.message.expect("a fact"))
    }

    /// The next fact that is an answer.
    pub(super) async fn answer(&mut self) -> Fact {
        loop {
            match self.fact().await.expect("the data plane hung up") {
                Fact::Status(_) => {}
                answer => return answer,
            }
        }
    }

    /// The next status in which `condition` holds.
    pub(super) async fn status(
        &mut self,
        condition: impl Fn(&proto::v1::InstanceStatus) -> bool,
    ) -> proto::v1::InstanceStatus {
        loop {
            match self.fact().await.expect("the data plane hung up") {
                Fact::Status(status) if condition(&status) => return status,
                _ => {}
            }
        }
    }

    /// Waits until the data plane has hung up.
    pub(super) async fn left(mut self) {
        while self.fact().await.is_some() {}
    }
}
