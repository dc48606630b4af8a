//! A data plane played by the test over a real stream.

use super::PATIENCE;
use proto::v1::{
    self, ControlPlaneMessage, DataPlaneMessage, control_plane_message::Message as Down,
    data_plane_message::Message as Up, discovery_client::DiscoveryClient,
};
use std::net::SocketAddr;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

pub(super) struct FakeDataPlane {
    up: mpsc::Sender<DataPlaneMessage>,
    down: Streaming<ControlPlaneMessage>,
}

impl FakeDataPlane {
    pub(super) async fn join(address: SocketAddr, hello: v1::Hello) -> Self {
        Self::try_join(address, Up::Hello(hello)).await.expect("joins")
    }

    pub(super) async fn try_join(address: SocketAddr, first: Up) -> Result<Self, Status> {
        let mut client = DiscoveryClient::connect(format!("http://{address}")).await.expect("connects");
        let (up, outgoing) = mpsc::channel(16);
        up.send(DataPlaneMessage { message: Some(first) }).await.expect("has room");
        let down = client.join(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { up, down })
    }

    pub(super) async fn say(&self, message: Up) {
        self.up.send(DataPlaneMessage { message: Some(message) }).await.expect("the stream is open");
    }

    /// The next message; none when the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Down> {
        let next = tokio::time::timeout(PATIENCE, self.down.message()).await.expect("a message in time");
        Some(next.ok()??.message.expect("a known message"))
    }

    pub(super) async fn snapshot(&mut self) -> v1::Snapshot {
        match self.next().await {
            Some(Down::Prepare(v1::Prepare { snapshot: Some(snapshot) })) => snapshot,
            other => panic!("a prepare was due, not {other:?}"),
        }
    }

    pub(super) async fn prepared(&self, snapshot: &v1::Snapshot) {
        let (version, sha256) = (snapshot.version, snapshot.sha256.clone());
        self.say(Up::Prepared(v1::Prepared { version, sha256, took_us: 1 })).await;
    }

    pub(super) async fn rejected(&self, snapshot: &v1::Snapshot, message: &str) {
        let diagnostics = vec![v1::Diagnostic { message: message.to_owned(), ..Default::default() }];
        self.say(Up::Rejected(v1::Rejected { version: snapshot.version, diagnostics })).await;
    }

    pub(super) async fn active(&self, snapshot: &v1::Snapshot) {
        let (version, sha256) = (snapshot.version, snapshot.sha256.clone());
        self.say(Up::Active(v1::Active { version, sha256, took_us: 1 })).await;
    }

    pub(super) async fn orders(&mut self) -> v1::Orders {
        match self.next().await {
            Some(Down::Orders(orders)) => orders,
            other => panic!("orders were due, not {other:?}"),
        }
    }

    pub(super) async fn confirm(&self, orders: &v1::Orders) {
        self.say(Up::OrdersApplied(v1::OrdersApplied { revision: orders.revision })).await;
    }

    /// Takes the one version it is sent; on a machine so busy that it is sent again, once more.
    pub(super) async fn catch_up(&mut self) -> v1::Snapshot {
        let mut snapshot = self.snapshot().await;
        loop {
            self.prepared(&snapshot).await;
            match self.next().await {
                Some(Down::Commit(v1::Commit { version })) if version == snapshot.version => break,
                Some(Down::Prepare(v1::Prepare { snapshot: Some(again) })) => snapshot = again,
                other => panic!("a commit was due, not {other:?}"),
            }
        }
        self.active(&snapshot).await;
        snapshot
    }

    /// Does as it is told until the stream ends; returns the version it ran last.
    pub(super) async fn obey(mut self) -> u64 {
        let (mut prepared, mut active) = (None, 0);
        while let Ok(Some(message)) = self.down.message().await {
            match message.message.expect("a known message") {
                Down::Prepare(prepare) => {
                    let snapshot = prepare.snapshot.expect("a snapshot");
                    self.prepared(&snapshot).await;
                    prepared = Some(snapshot);
                }
                Down::Commit(commit) => {
                    let snapshot: v1::Snapshot = prepared.take().expect("prepared before");
                    assert_eq!(snapshot.version, commit.version);
                    active = commit.version;
                    self.active(&snapshot).await;
                }
                Down::Abort(_) => prepared = None,
                Down::Orders(orders) => self.confirm(&orders).await,
                Down::Question(_) => {}
            }
        }
        active
    }
}
