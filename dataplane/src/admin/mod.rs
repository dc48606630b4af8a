//! The admin HTTP: whether this process lives, whether it may get traffic, what it runs and what it has counted.

mod endpoints;
mod profile;

use crate::clock;
use crate::gateway::Gateway;
use crate::status::Board;
use crate::telemetry::metrics::{Format, scrape};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use profile::Profiles;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Probes and people; more at once is a mistake or an attack, and waits in the accept queue.
const MAX_CONNECTIONS: usize = 128;

/// With many routes a page is long: whoever asks for many at once gets them one after the other.
const SCRAPES_AT_ONCE: usize = 1;

/// A client that does not send a request in this time is disconnected.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers are made of.
#[derive(Clone)]
pub struct Admin {
    /// What it runs.
    pub board: Board,
    /// What it has counted.
    pub gateway: Arc<Gateway>,
    scrapes: Arc<Semaphore>,
    profiles: Profiles,
}

impl Admin {
    /// For one instance.
    pub fn new(board: Board, gateway: Arc<Gateway>) -> Self {
        let scrapes = Arc::new(Semaphore::new(SCRAPES_AT_ONCE));
        Self { board, gateway, scrapes, profiles: Profiles::default() }
    }

    /// Serves until the runtime ends.
    pub async fn serve(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _peer)) => {
                    let connection = self.clone().connection(stream);
                    tokio::spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // out of descriptors, mostly: accepting again at once would only burn the core
                    tracing::warn!(%error, "cannot accept an admin connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// The page of metrics; not written on the thread that answers probes and obeys the control plane.
    async fn metrics(&self, format: Format) -> Result<String, JoinError> {
        let _turn = self.scrapes.acquire().await;
        let gateway = Arc::clone(&self.gateway);
        spawn_blocking(move || scrape(&gateway, format, clock::now())).await
    }

    async fn connection(self, stream: TcpStream) {
        let admin = &self;
        let service =
            service_fn(
                move |request| async move { Ok::<_, Infallible>(endpoints::answer(request, admin).await) },
            );
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "admin connection broke");
        }
    }
}

#[cfg(test)]
mod tests;
