//! From settings to a running control plane: what is on the disk decides what the fleet is told first.

use crate::access::{Access, Guard, connections};
use crate::actor::{self, Handle, blocking};
use crate::admin::AdminService;
use crate::candidate::Candidate;
use crate::discovery::DiscoveryService;
use crate::fleet::Now;
use crate::settings::Settings;
use crate::source::{Published, Reading, WatchedFile};
use crate::store::{RedbStore, Store, StoreError, StoredVersion};
use crate::watcher::{self, WatcherHandle};
use anyhow::Context as _;
use proto::v1::{self, VersionState, admin_server::AdminServer, discovery_server::DiscoveryServer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tower_http::validate_request::ValidateRequestHeaderLayer;

/// A table of 10 000 routes has about 2 MiB; tonic's default limit is 4.
const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;
/// A data plane that no longer answers pings is noticed within their sum.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// An edit made while the control plane was down waits this long for the fleet to come back and be asked.
const REJOIN_GRACE: Duration = Duration::from_secs(3);
/// Streams that a client does not close are cut after this.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Why a start failed, where the exit code depends on it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can be reached from elsewhere, by whoever wants to.
    #[error("{0}")]
    Exposed(String),
    /// The config is wrong and there is no earlier version to serve; the text is made for a terminal.
    #[error("{0}")]
    InvalidConfig(String),
}

/// A running control plane.
pub struct Bound {
    /// Where it listens.
    pub address: SocketAddr,
    watcher: Arc<WatcherHandle>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Bound {
    /// Reads the watched file again and rolls it out if it differs, also if it was refused before.
    pub fn reread(&self) {
        self.watcher.reread();
    }

    /// Ends every stream and stops; what is decided is on the disk already.
    pub async fn shutdown(self) {
        let Self { watcher, stop, tasks, mut server, .. } = self;
        // every receiver may already be gone
        let _ = stop.send(true);
        drop(watcher);
        if tokio::time::timeout(SHUTDOWN_GRACE, &mut server).await.is_err() {
            server.abort();
        }
        for task in tasks {
            // a task that panicked has said so
            let _ = task.await;
        }
    }
}

/// Starts the control plane. On return it listens and knows what the fleet is to run.
pub async fn start(settings: Settings) -> anyhow::Result<Bound> {
    settings.access.check(settings.listen).map_err(StartError::Exposed)?;
    let dir = settings.state_dir()?;
    let file = WatchedFile::new(settings.config.clone());
    let opening = file.clone();
    let asked = settings.access.clone();
    let access = blocking(move || Access::read(&asked)).await?;
    // before the store is touched: a start that fails here must leave no first version behind
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let address = listener.local_addr()?;
    let (store, known, beginning) = blocking(move || open(&dir, &opening)).await?;

    let (stop, stopped) = watch::channel(false);
    let last = store.last_allocated()?;
    let standing = store.orders()?;
    let problem = beginning.problem.unwrap_or_default();
    let version = beginning.current.record.version;
    let (handle, actor) = actor::spawn(
        Arc::clone(&store),
        beginning.current,
        last,
        standing,
        file.clone(),
        problem,
        stopped.clone(),
    )
    .context("the current version in the store does not decode")?;
    let (observations, observed) = mpsc::channel(8);
    let watcher =
        Arc::new(watcher::spawn(file, &known, observations).context("cannot start the file watcher")?);
    let following = tokio::spawn(access.clone().follow(stopped.clone()));
    let mut tasks = vec![actor, tokio::spawn(pass_on(observed, handle.clone())), following];
    if beginning.changed_while_down {
        tasks.push(tokio::spawn(reread_after_grace(Arc::clone(&watcher), stopped.clone())));
    }
    let server = tokio::spawn(serve(listener, access, handle, store, stopped).await);
    tracing::info!(%address, version, "control plane ready");
    Ok(Bound { address, watcher, stop, tasks, server })
}

/// What the store and the file agree on, or do not.
struct Beginning {
    current: StoredVersion,
    problem: Option<String>,
    changed_while_down: bool,
}

type Opened = (Arc<dyn Store>, Reading, Beginning);

fn open(dir: &std::path::Path, file: &WatchedFile) -> anyhow::Result<Opened> {
    let reading = file.read().with_context(|| format!("cannot read the config {}", file.name()))?;
    let store = RedbStore::open(dir)?;
    let beginning = match store.current()? {
        None => Beginning {
            current: first_version(&store, file, &reading)?,
            problem: None,
            changed_while_down: false,
        },
        Some(current) => reconcile(&store, file, &reading, current)?,
    };
    // a write of ours has changed the stamp: what the watcher takes for known must be the file as it is now
    let known = match beginning.changed_while_down || *beginning.current.source == *reading.text {
        true => reading,
        false => file.read().unwrap_or(reading),
    };
    Ok((Arc::new(store), known, beginning))
}

/// A new store begins with what the file says; nobody has joined who could object.
fn first_version(store: &RedbStore, file: &WatchedFile, reading: &Reading) -> anyhow::Result<StoredVersion> {
    let candidate = Candidate::check(reading.text.clone()).map_err(|diagnostics| {
        let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
        StartError::InvalidConfig(policy::diagnostic::render(
            &file.name(),
            &reading.text,
            &diagnostics,
            color,
        ))
    })?;
    let version = store.last_allocated()? + 1;
    let first = StoredVersion {
        record: v1::Version {
            version,
            sha256: candidate.sha256,
            created_ms: Now::read().unix_ms,
            author: "watcher".to_owned(),
            note: String::new(),
            state: VersionState::Preparing.into(),
            detail: String::new(),
        },
        source: candidate.source.to_string(),
        table: candidate.table,
    };
    store.allocate(&first)?;
    store.commit(version, true)?;
    Ok(first)
}

fn reconcile(
    store: &RedbStore,
    file: &WatchedFile,
    reading: &Reading,
    current: StoredVersion,
) -> Result<Beginning, StoreError> {
    let version = current.record.version;
    let settled = |current, problem| Beginning { current, problem, changed_while_down: false };
    let same_text = current.source == *reading.text;
    if same_text {
        store.mark_in_file(version)?;
    } else if store.file_sha256()?.as_deref() == Some(reading.sha256.as_str()) {
        // the last control plane died between the commit and the write
        let problem = match file.stage(&current.source).and_then(|staged| staged.publish()) {
            Ok(Published::InPlace) => {
                store.mark_in_file(version)?;
                None
            }
            Ok(Published::Overtaken) => Some(format!("{} is being edited", file.name())),
            Err(error) => Some(format!("{} could not be written: {error}", file.name())),
        };
        return Ok(settled(current, problem));
    }
    let problem = match Candidate::check(reading.text.clone()) {
        Ok(same) if same_text && same.sha256 == current.record.sha256 => return Ok(settled(current, None)),
        Ok(_) => {
            let what = match same_text {
                true => {
                    "means something else than before the control plane was down (its variables, the files that \
                         it names, or the program have changed)"
                }
                false => "was edited while the control plane was down",
            };
            format!("{} {what} and is about to be rolled out", file.name())
        }
        Err(diagnostics) => {
            let diagnostics: Vec<v1::Diagnostic> = diagnostics.into_iter().map(Into::into).collect();
            actor::describe(&file.name(), &diagnostics)
        }
    };
    tracing::warn!(version, problem, "the config file is not what the fleet runs");
    Ok(Beginning { current, problem: Some(problem), changed_while_down: true })
}

async fn pass_on(mut observed: mpsc::Receiver<watcher::Observation>, actor: Handle) {
    while let Some(observation) = observed.recv().await {
        if actor.file(observation).await.is_err() {
            return;
        }
    }
}

async fn reread_after_grace(watcher: Arc<WatcherHandle>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(REJOIN_GRACE) => watcher.reread(),
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

async fn serve(
    listener: TcpListener,
    access: Access,
    actor: Handle,
    store: Arc<dyn Store>,
    mut stopped: watch::Receiver<bool>,
) -> impl Future<Output = Result<(), tonic::transport::Error>> {
    let discovery = DiscoveryServer::new(DiscoveryService::new(actor.clone(), access.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let admin = AdminServer::new(AdminService::new(actor, store, access.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<DiscoveryServer<DiscoveryService>>().await;
    reporter.set_serving::<AdminServer<AdminService>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors are generated with the code");
    let Access { identity, tokens } = access;
    let router = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .layer(ValidateRequestHeaderLayer::custom(Guard::new(tokens)))
        .add_service(health)
        .add_service(reflection)
        .add_service(discovery)
        .add_service(admin);
    async move {
        let stop = async move {
            // the sender gone means the same
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        match identity {
            None => router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop).await,
            Some(identity) => {
                router.serve_with_incoming_shutdown(connections(listener, identity), stop).await
            }
        }
    }
}
