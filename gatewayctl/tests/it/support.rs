//! A control plane that answers as it is told, and the program under test pointed at it.

use assert_cmd::Command;
use parking_lot::Mutex;
use proto::v1::admin_server::{Admin, AdminServer};
use proto::v1::rollout_event::Event;
use proto::v1::*;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What the control plane answers.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// The current config; none before the first apply.
    pub current: Option<GetConfigResponse>,
    pub status: GetStatusResponse,
    pub versions: ListVersionsResponse,
    /// One list of events for each call that causes or follows a rollout, in turn.
    pub rollouts: Vec<Vec<RolloutEvent>>,
    /// The answer to an order; none: nothing of that name.
    pub order: Option<OrderResponse>,
    /// The answer to a question; none: nobody of that name.
    pub ask: Option<AskResponse>,
    /// What a tap sees before the stream ends.
    pub requests: Vec<RequestsEvent>,
}

/// A running fake; it ends with the test's process.
pub struct Fake {
    pub address: SocketAddr,
    applied: Arc<Mutex<Vec<ApplyRequest>>>,
    ordered: Arc<Mutex<Vec<OrderRequest>>>,
    asked: Arc<Mutex<Vec<AskRequest>>>,
    watched: Arc<Mutex<Vec<WatchRequestsRequest>>>,
}

impl Fake {
    pub fn start(script: Script) -> Self {
        let (applied, ordered, asked, watched) =
            (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let service = Service {
            script: Mutex::new(script),
            applied: Arc::clone(&applied),
            ordered: Arc::clone(&ordered),
            asked: Arc::clone(&asked),
            watched: Arc::clone(&watched),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                tonic::transport::Server::builder()
                    .add_service(AdminServer::new(service))
                    .serve_with_incoming(incoming)
                    .await
                    .unwrap();
            });
        });
        Self { address, applied, ordered, asked, watched }
    }

    /// `gatewayctl` speaking to this control plane.
    pub fn gatewayctl(&self, arguments: &[&str]) -> Command {
        let mut command = gatewayctl(arguments);
        command.env("GATEWAYCTL_ENDPOINT", self.address.to_string());
        command
    }

    /// The requests to apply, in turn.
    pub fn applied(&self) -> Vec<ApplyRequest> {
        self.applied.lock().clone()
    }

    /// The questions, in turn.
    pub fn asked(&self) -> Vec<AskRequest> {
        self.asked.lock().clone()
    }

    /// The taps, in turn.
    pub fn watched(&self) -> Vec<WatchRequestsRequest> {
        self.watched.lock().clone()
    }

    /// The orders, in turn.
    pub fn ordered(&self) -> Vec<OrderRequest> {
        self.ordered.lock().clone()
    }
}

/// `gatewayctl` with nothing of this machine's settings.
pub fn gatewayctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("gatewayctl"));
    command
        .args(arguments)
        .env_remove("GATEWAYCTL_ENDPOINT")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("USER", "ann");
    command
}

struct Service {
    script: Mutex<Script>,
    applied: Arc<Mutex<Vec<ApplyRequest>>>,
    ordered: Arc<Mutex<Vec<OrderRequest>>>,
    asked: Arc<Mutex<Vec<AskRequest>>>,
    watched: Arc<Mutex<Vec<WatchRequestsRequest>>>,
}

type Events = tokio_stream::Iter<std::vec::IntoIter<Result<RolloutEvent, Status>>>;

impl Service {
    fn next_rollout(&self) -> Result<Response<Events>, Status> {
        let rollouts = &mut self.script.lock().rollouts;
        if rollouts.is_empty() {
            return Err(Status::internal("the script has no further rollout"));
        }
        let events: Vec<_> = rollouts.remove(0).into_iter().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(events)))
    }
}

#[tonic::async_trait]
impl Admin for Service {
    type ApplyStream = Events;
    type UndoStream = Events;
    type PushStream = Events;
    type WatchRolloutStream = Events;
    type WatchRequestsStream = tokio_stream::Iter<std::vec::IntoIter<Result<RequestsEvent, Status>>>;

    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<Events>, Status> {
        self.applied.lock().push(request.into_inner());
        self.next_rollout()
    }

    async fn undo(&self, request: Request<UndoRequest>) -> Result<Response<Events>, Status> {
        match request.into_inner().to_version {
            99 => Err(Status::not_found("there is no version 99")),
            _ => self.next_rollout(),
        }
    }

    async fn push(&self, _: Request<PushRequest>) -> Result<Response<Events>, Status> {
        self.next_rollout()
    }

    async fn watch_rollout(&self, _: Request<WatchRolloutRequest>) -> Result<Response<Events>, Status> {
        self.next_rollout()
    }

    async fn get_config(&self, _: Request<GetConfigRequest>) -> Result<Response<GetConfigResponse>, Status> {
        let current = self.script.lock().current.clone();
        current.map(Response::new).ok_or_else(|| Status::not_found("no config has been applied"))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(self.script.lock().status.clone()))
    }

    async fn list_versions(
        &self,
        _: Request<ListVersionsRequest>,
    ) -> Result<Response<ListVersionsResponse>, Status> {
        Ok(Response::new(self.script.lock().versions.clone()))
    }

    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<OrderResponse>, Status> {
        self.ordered.lock().push(request.into_inner());
        let answer = self.script.lock().order.clone();
        let unknown = || Status::not_found("no upstream is named `usres`; did you mean `users`?");
        answer.map(Response::new).ok_or_else(unknown)
    }

    async fn ask(&self, request: Request<AskRequest>) -> Result<Response<AskResponse>, Status> {
        self.asked.lock().push(request.into_inner());
        let answer = self.script.lock().ask.clone();
        answer.map(Response::new).ok_or_else(|| Status::not_found("there is no instance named `dp-9`"))
    }

    async fn watch_requests(
        &self,
        request: Request<WatchRequestsRequest>,
    ) -> Result<Response<Self::WatchRequestsStream>, Status> {
        self.watched.lock().push(request.into_inner());
        let events: Vec<_> = self.script.lock().requests.iter().cloned().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(events)))
    }
}

/// The text of a version, as the control plane has it.
pub fn version(number: u64, source: &str) -> GetConfigResponse {
    let version = Version {
        version: number,
        author: "bob".to_owned(),
        created_ms: 1_700_000_000_000,
        ..Default::default()
    };
    GetConfigResponse { version: Some(version), source: source.to_owned() }
}

pub fn started(version: u64) -> RolloutEvent {
    let instances = vec!["dp-1".to_owned(), "dp-2".to_owned()];
    event(Event::Started(Started { version, sha256: "ab".repeat(32), instances, ..Default::default() }))
}

pub fn step(instance: &str, step: Step) -> InstanceStep {
    InstanceStep { instance: instance.to_owned(), step: step.into(), took_us: 1_500, diagnostics: Vec::new() }
}

pub fn stepped(step: InstanceStep) -> RolloutEvent {
    event(Event::Step(step))
}

pub fn finished(finished: Finished) -> RolloutEvent {
    event(Event::Finished(finished))
}

/// An end without anything to say but its outcome.
pub fn ended(outcome: Outcome) -> Finished {
    Finished { outcome: outcome.into(), version: 8, current_version: 7, took_us: 2_500, ..Default::default() }
}

fn event(event: Event) -> RolloutEvent {
    RolloutEvent { event: Some(event) }
}
