//! The control plane as a whole, on port 0, with data planes that are played by the test.

mod data_plane;
mod doors;
mod orders;
mod questions;
mod rollouts;

use crate::{AccessSettings, Bound, Settings, start};
use data_plane::FakeDataPlane;
use proto::v1::admin_client::AdminClient;
use proto::v1::{self, ApplyRequest, Finished, GetStatusRequest, InstanceState, rollout_event::Event};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::Channel;

/// Far above what anything here takes: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running control plane with its own file and state.
struct Gateway {
    dir: tempfile::TempDir,
    bound: Bound,
    admin: AdminClient<Channel>,
}

/// A config with these routes.
fn config(routes: &[&str]) -> String {
    let route = |name: &&str| {
        format!("  - name: {name}\n    prefix: /{name}\n    targets: [{{addr: \"http://127.0.0.1:9\"}}]\n")
    };
    let routes: String = routes.iter().map(route).collect();
    if routes.is_empty() { "routes: []\n".to_owned() } else { format!("routes:\n{routes}") }
}

fn apply(routes: &[&str]) -> ApplyRequest {
    ApplyRequest { source: config(routes), author: "ops".to_owned(), ..ApplyRequest::default() }
}

fn settings(dir: &tempfile::TempDir) -> Settings {
    Settings {
        config: dir.path().join("gateway.yaml"),
        listen: "127.0.0.1:0".parse().expect("an address"),
        state_dir: Some(dir.path().join("state")),
        access: AccessSettings::default(),
    }
}

impl Gateway {
    /// With a file that has the route `first`.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gateway.yaml"), config(&["first"])).unwrap();
        Self::start_in(dir).await
    }

    async fn start_in(dir: tempfile::TempDir) -> Self {
        let bound = start(settings(&dir)).await.expect("starts");
        let admin = AdminClient::connect(format!("http://{}", bound.address)).await.expect("connects");
        Self { dir, bound, admin }
    }

    /// Stops it and keeps its file and state.
    async fn stop(self) -> tempfile::TempDir {
        let Self { dir, bound, admin } = self;
        drop(admin);
        bound.shutdown().await;
        dir
    }

    async fn join(&self, name: &str) -> FakeDataPlane {
        FakeDataPlane::join(self.bound.address, v1::Hello { instance: name.to_owned(), ..Default::default() })
            .await
    }

    /// A data plane that does as it is told, and runs the current version.
    async fn obedient(&mut self, name: &str) -> tokio::task::JoinHandle<u64> {
        let mut data_plane = self.join(name).await;
        data_plane.catch_up().await;
        let task = tokio::spawn(data_plane.obey());
        self.wait_for(name, InstanceState::Current).await;
        task
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("gateway.yaml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    async fn apply(&mut self, request: ApplyRequest) -> Finished {
        let events = self.admin.apply(request).await.expect("answers").into_inner();
        last(events).await
    }

    async fn undo(&mut self, to_version: u64) -> Finished {
        let request = v1::UndoRequest { to_version, ..v1::UndoRequest::default() };
        let events = self.admin.undo(request).await.expect("answers").into_inner();
        last(events).await
    }

    async fn status(&mut self) -> v1::GetStatusResponse {
        self.admin.get_status(GetStatusRequest {}).await.expect("answers").into_inner()
    }

    /// The status once it is as wanted.
    async fn when(&mut self, wanted: impl Fn(&v1::GetStatusResponse) -> bool) -> v1::GetStatusResponse {
        // each test asks at a pace that leaves the machine to the others
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        let asking = async {
            loop {
                pace.tick().await;
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("the status comes to be as wanted")
    }

    async fn wait_for(&mut self, name: &str, state: InstanceState) -> v1::Instance {
        let is_it = |one: &v1::Instance| {
            one.hello.as_ref().is_some_and(|hello| hello.instance == name) && one.state() == state
        };
        let status = self.when(|status| status.instances.iter().any(is_it)).await;
        status.instances.into_iter().find(is_it).expect("just seen")
    }

    async fn versions(&mut self) -> Vec<v1::Version> {
        let request = v1::ListVersionsRequest::default();
        self.admin.list_versions(request).await.expect("answers").into_inner().versions
    }
}

/// The end of a rollout.
async fn last(mut events: tonic::Streaming<v1::RolloutEvent>) -> Finished {
    loop {
        let next = tokio::time::timeout(PATIENCE, events.message()).await.expect("the rollout ends");
        let event = next.expect("no error").expect("a Finished before the end").event;
        if let Some(Event::Finished(finished)) = event {
            return finished;
        }
    }
}
