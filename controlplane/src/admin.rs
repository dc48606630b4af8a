//! The operator's door: gatewayctl uses nothing else.

use crate::access::{Access, Caller};
use crate::actor::{Change, Contents, DEFAULT_TIMEOUT, Follower, Given, Handle, Origin, blocking};
use crate::candidate::{Candidate, MAX_SOURCE_BYTES};
use crate::mask::masked_source;
use crate::orders::Order;
use crate::questions;
use crate::store::{Store, StoreError};
use proto::v1::admin_server::Admin;
use proto::v1::question::Asks;
use proto::v1::{self, Outcome, RolloutEvent, VersionState, rollout_event::Event};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

/// No fleet is waited for longer.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_LIST: u32 = 50;

pub(crate) struct AdminService {
    actor: Handle,
    /// For reading: every read sees one committed state, so it need not wait for the actor.
    store: Arc<dyn Store>,
    access: Access,
}

type Events = Pin<Box<dyn Stream<Item = Result<RolloutEvent, Status>> + Send>>;

impl AdminService {
    pub(crate) fn new(actor: Handle, store: Arc<dyn Store>, access: Access) -> Self {
        Self { actor, store, access }
    }

    async fn read<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        blocking(move || call(store.as_ref())).await.map_err(|error| Status::internal(error.to_string()))
    }

    /// How the newest version ended, from the store: after a restart nobody has seen a rollout yet.
    async fn last_outcome(&self) -> Result<v1::Finished, Status> {
        let (newest, current) = self.read(|store| Ok((store.list(1)?.pop(), store.current()?))).await?;
        let newest = newest.ok_or_else(|| Status::not_found("there has been no rollout yet"))?;
        let (outcome, message) = match newest.state() {
            VersionState::Committed => {
                (Outcome::Committed, format!("version {} was committed", newest.version))
            }
            _ => (Outcome::Rejected, newest.detail),
        };
        Ok(v1::Finished {
            outcome: outcome.into(),
            version: newest.version,
            current_version: current.map_or(0, |current| current.record.version),
            message,
            ..v1::Finished::default()
        })
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    type ApplyStream = Events;
    type UndoStream = Events;
    type PushStream = Events;
    type WatchRolloutStream = Events;
    type WatchRequestsStream = ReceiverStream<Result<v1::RequestsEvent, Status>>;

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<Events>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let request = v1::ApplyRequest { author: caller.unwrap_or(request.author), ..request };
        if request.source.len() > MAX_SOURCE_BYTES {
            let limit = MAX_SOURCE_BYTES / (1024 * 1024);
            return Err(Status::invalid_argument(format!("the config is larger than {limit} MiB")));
        }
        let (follower, events) = follower();
        // a task of its own: a client that hangs up does not stop what it has started
        tokio::spawn(apply(self.actor.clone(), request, follower));
        Ok(events)
    }

    async fn undo(&self, request: Request<v1::UndoRequest>) -> Result<Response<Events>, Status> {
        let caller = caller(&request);
        let v1::UndoRequest { to_version, author, timeout_ms } = request.into_inner();
        let (follower, events) = follower();
        let change = Change {
            contents: Contents::Earlier(to_version),
            origin: Origin::Admin,
            read_in: None,
            base_version: 0,
            dry_run: false,
            // that version was once wanted as it is
            allow_empty: true,
            author: caller.unwrap_or(author),
            note: String::new(),
            timeout: timeout(timeout_ms, DEFAULT_TIMEOUT),
            follower: Some(follower),
        };
        self.actor.change(change).await?;
        Ok(events)
    }

    async fn push(&self, request: Request<v1::PushRequest>) -> Result<Response<Events>, Status> {
        let v1::PushRequest { instances, timeout_ms } = request.into_inner();
        let (follower, events) = follower();
        self.actor.push(instances, timeout(timeout_ms, DEFAULT_TIMEOUT), follower).await?;
        Ok(events)
    }

    async fn watch_rollout(&self, _: Request<v1::WatchRolloutRequest>) -> Result<Response<Events>, Status> {
        let (follower, events) = follower();
        if !self.actor.follow(follower.clone()).await? {
            finish(&follower, self.last_outcome().await?);
        }
        Ok(events)
    }

    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::GetConfigResponse>, Status> {
        let asked = request.into_inner().version;
        let found = self.read(move |store| if asked == 0 { store.current() } else { store.version(asked) });
        let version = found
            .await?
            .ok_or_else(|| Status::not_found(format!("version {asked} is not in the history")))?;
        let source = masked_source(&version.source);
        Ok(Response::new(v1::GetConfigResponse { version: Some(version.record), source }))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(self.actor.status().await?))
    }

    async fn list_versions(
        &self,
        request: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => DEFAULT_LIST,
            limit => limit,
        };
        let (current, versions) =
            self.read(move |store| Ok((store.current()?, store.list(limit as usize)?))).await?;
        let current_version = current.map_or(0, |current| current.record.version);
        Ok(Response::new(v1::ListVersionsResponse { current_version, versions }))
    }

    async fn order(&self, request: Request<v1::OrderRequest>) -> Result<Response<v1::OrderResponse>, Status> {
        let caller = caller(&request);
        let v1::OrderRequest { order, author, timeout_ms } = request.into_inner();
        let order = order.and_then(read_order);
        let order =
            order.ok_or_else(|| Status::invalid_argument("an order that this build does not know"))?;
        let author = caller.unwrap_or(author);
        let given = Given { order, author, timeout: timeout(timeout_ms, DEFAULT_TIMEOUT) };
        Ok(Response::new(self.actor.order(given).await?))
    }

    async fn ask(&self, request: Request<v1::AskRequest>) -> Result<Response<v1::AskResponse>, Status> {
        use v1::ask_request::Asks as Wire;
        let v1::AskRequest { asks, instance, timeout_ms } = request.into_inner();
        let asks = match asks {
            Some(Wire::Explain(explain)) => Asks::Explain(explain),
            Some(Wire::Recall(recall)) => Asks::Recall(recall),
            None => return Err(Status::invalid_argument("a question that this build does not know")),
        };
        let timeout = timeout(timeout_ms, questions::DEFAULT_TIMEOUT);
        Ok(Response::new(questions::ask(&self.actor, asks, instance, timeout).await?))
    }

    async fn watch_requests(
        &self,
        request: Request<v1::WatchRequestsRequest>,
    ) -> Result<Response<Self::WatchRequestsStream>, Status> {
        let caller = Caller::of(&request);
        let v1::WatchRequestsRequest { tap, instance } = request.into_inner();
        let (watcher, events) = mpsc::channel(1);
        let (actor, access, tap) = (self.actor.clone(), self.access.clone(), tap.unwrap_or_default());
        tokio::spawn(async move {
            let watched = tokio::select! {
                watched = questions::watch(&actor, tap, instance, watcher.clone()) => watched,
                () = access.taken_from(caller) => Err(Status::unauthenticated("the token was taken away")),
            };
            if let Err(status) = watched {
                // the caller may have hung up
                let _ = watcher.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(events)))
    }
}

/// By whose token: what a client says of itself is believed only where there are none.
fn caller<T>(request: &Request<T>) -> Option<String> {
    Caller::of(request).map(|caller| caller.name)
}

fn read_order(order: v1::order_request::Order) -> Option<Order> {
    use v1::order_request::Order as Wire;
    Some(match order {
        Wire::Target(v1::TargetOrder { upstream, addr, drained: true }) => Order::Drain { upstream, addr },
        Wire::Target(v1::TargetOrder { upstream, addr, drained: false }) => Order::Enable { upstream, addr },
        Wire::Breaker(breaker) => {
            let action = breaker.action();
            let route = breaker.route;
            match action {
                v1::BreakerAction::Reset => Order::Reset { route },
                v1::BreakerAction::Open => Order::Hold { route, open: true },
                v1::BreakerAction::Close => Order::Hold { route, open: false },
                v1::BreakerAction::Unspecified => return None,
            }
        }
    })
}

async fn apply(actor: Handle, request: v1::ApplyRequest, follower: Follower) {
    let candidate = match Candidate::check_aside(request.source.into()).await {
        Ok(candidate) => candidate,
        Err(diagnostics) => {
            let message = match diagnostics.len() {
                1 => "the config has an error; no data plane has seen it".to_owned(),
                count => format!("the config has {count} errors; no data plane has seen it"),
            };
            let current_version = actor.status().await.map_or(0, |status| status.current_version);
            let outcome = Outcome::Invalid.into();
            return finish(
                &follower,
                v1::Finished { outcome, current_version, message, diagnostics, ..v1::Finished::default() },
            );
        }
    };
    let change = Change {
        contents: Contents::New(candidate),
        origin: Origin::Admin,
        read_in: None,
        base_version: request.base_version,
        dry_run: request.dry_run,
        allow_empty: request.allow_empty,
        author: request.author,
        note: request.note,
        timeout: timeout(request.timeout_ms, DEFAULT_TIMEOUT),
        follower: Some(follower),
    };
    // if the actor has ended, the dropped follower ends the client's stream without a Finished: outcome unknown
    let _ = actor.change(change).await;
}

fn follower() -> (Follower, Response<Events>) {
    let (follower, events) = mpsc::unbounded_channel();
    (follower, Response::new(Box::pin(UnboundedReceiverStream::new(events).map(Ok))))
}

fn finish(follower: &Follower, finished: v1::Finished) {
    // the client may have hung up
    let _ = follower.send(RolloutEvent { event: Some(Event::Finished(finished)) });
}

fn timeout(asked_ms: u64, default: Duration) -> Duration {
    match asked_ms {
        0 => default,
        ms => Duration::from_millis(ms).min(MAX_TIMEOUT),
    }
}
