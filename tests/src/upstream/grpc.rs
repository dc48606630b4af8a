//! A gRPC server of the standard health service alone, whose answer can be changed.

use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

/// Serves `grpc.health.v1.Health`; gone when dropped.
pub struct GrpcHealth {
    address: SocketAddr,
    reporter: HealthReporter,
    server: AbortHandle,
}

impl GrpcHealth {
    /// Starts one that knows no service but the empty one, which is serving.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind a gRPC server");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (reporter, service) = health_reporter();
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(serving).abort_handle();
        Self { address, reporter, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says of a service from now on.
    pub async fn set(&self, service: &str, status: ServingStatus) {
        self.reporter.set_service_status(service, status).await;
    }
}

impl Drop for GrpcHealth {
    fn drop(&mut self) {
        self.server.abort();
    }
}
