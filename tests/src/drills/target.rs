//! The services behind the gateway in a drill: each a process of its own, as slow and as narrow as it is told to be.

use crate::client::send;
use crate::process::{Process, field};
use crate::upstream::{Received, Upstream, full};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A service: what it takes to answer.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Service {
    /// What a request takes, in milliseconds
    #[arg(long, default_value_t = 0)]
    takes: u64,
    /// Requests it works on at once; as many again may wait, the others get 503
    #[arg(long, default_value_t = Semaphore::MAX_PERMITS / 2)]
    at_once: usize,
    /// What `/health` takes, in milliseconds
    #[arg(long, default_value_t = 0)]
    health_takes: u64,
    /// It asks here before it answers, by turns, and goes without when it gets none
    #[arg(long)]
    calls: Vec<SocketAddr>,
}

/// The path that [`Service::calls`] are asked for.
const CALLED: &str = "/pay";

/// What must be known while it serves.
#[derive(Debug)]
struct Serving {
    service: Service,
    room: Semaphore,
    places: Semaphore,
    turn: AtomicUsize,
}

impl Service {
    /// Serves until it is killed; its first line says where.
    pub async fn serve(self) {
        let (room, places) = (Semaphore::new(self.at_once * 2), Semaphore::new(self.at_once));
        let serving = Arc::new(Serving { service: self, room, places, turn: AtomicUsize::new(0) });
        let upstream = Upstream::http(move |request| {
            let serving = Arc::clone(&serving);
            async move { serving.answer(&request).await }
        })
        .await;
        println!("listening address={}", upstream.address());
        std::future::pending::<()>().await;
    }
}

impl Serving {
    async fn answer(&self, request: &Received) -> Response<crate::upstream::Body> {
        if request.path() == "/health" {
            tokio::time::sleep(Duration::from_millis(self.service.health_takes)).await;
            return Response::new(full("ok"));
        }
        let Ok(_room) = self.room.try_acquire() else { return overloaded() };
        let Ok(_place) = self.places.acquire().await else { return overloaded() };
        tokio::time::sleep(Duration::from_millis(self.service.takes)).await;
        if let Some(whom) = self.callee() {
            return Response::new(full(if call(whom, request).await { "ok" } else { "without it, ok" }));
        }
        Response::new(full("ok"))
    }

    fn callee(&self) -> Option<SocketAddr> {
        let calls = &self.service.calls;
        calls.get(self.turn.fetch_add(1, Ordering::Relaxed) % calls.len().max(1)).copied()
    }
}

/// As a service that is traced does: its callee is told the trace.
async fn call(whom: SocketAddr, on_behalf_of: &Received) -> bool {
    let mut request = Request::get(CALLED);
    if let Some(parent) = on_behalf_of.header("traceparent") {
        request = request.header("traceparent", parent);
    }
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    send(whom, request).await.is_ok_and(|reply| reply.status == StatusCode::OK)
}

fn overloaded() -> Response<crate::upstream::Body> {
    let mut response = Response::new(full("overloaded"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// A running service.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
}

impl Target {
    /// Starts one with arguments as [`Service`] has them.
    pub(super) async fn start(name: &str, arguments: &[String]) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut process = Process::spawn(name, Command::new(program).arg("service").args(arguments));
        let address = process.logged("its address", |line| field(line, "address")?.parse().ok()).await;
        Self { process, address }
    }
}
