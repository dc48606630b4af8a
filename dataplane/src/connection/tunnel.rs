//! After a 101: bytes both ways until both sides have ended.

use super::session::Session;
use super::stream::ClientStream;
use crate::exchange::Exchange;
use crate::h1::Upgraded;
use crate::pool::Checkout;
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

/// One side of a tunnel failed, rather than ending it.
const TUNNEL_BROKE: &str = "tunnel_broke";

/// Per direction; WebSocket messages are mostly small, and there may be thousands of tunnels.
const BUFFER: usize = 8 * 1024;

/// The target's side of an upgraded connection; its target counts it as in flight while it lives.
pub(crate) struct Tunnel {
    pub(crate) target: Upgraded,
    pub(crate) checkout: Checkout,
    /// What is told of it all in the end.
    pub(crate) exchange: Option<Box<Exchange>>,
}

/// Joins client and target; returns when both have ended or one has failed.
pub(crate) async fn run(mut client: ClientStream, read_ahead: Bytes, tunnel: Tunnel, session: &Session) {
    let Tunnel { mut target, checkout, exchange } = tunnel;
    let outcome = async {
        client.write_all(&target.read_ahead).await?;
        client.flush().await?;
        target.stream.write_all(&read_ahead).await?;
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut target.stream, BUFFER, BUFFER).await
    }
    .await;
    drop((target, checkout));
    session.tick();
    if let Some(exchange) = exchange {
        match outcome {
            Ok((from_client, from_target)) => exchange.carried(from_client, from_target),
            Err(error) => {
                exchange.note_error(&error);
                exchange.broke_off(TUNNEL_BROKE);
            }
        }
    }
}
