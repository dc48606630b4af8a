//! The admin HTTP: whether this process lives, whether it may get traffic, and what it runs.

mod endpoints;

use crate::status::Board;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Probes and people; more at once is a mistake or an attack, and waits in the accept queue.
const MAX_CONNECTIONS: usize = 128;

/// A client that does not send a request in this time is disconnected.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct Admin {
    /// This instance's name.
    pub instance: Arc<str>,
    /// What it runs.
    pub board: Board,
}

impl Admin {
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

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(|request| {
            let response = endpoints::answer(&request, &self.instance, &self.board.get());
            async move { Ok::<_, Infallible>(response) }
        });
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
