//! A WebSocket: bytes both ways until both sides have ended, or one has and the other is silent, nothing has passed for too
//! long, or the process ends.

mod flow;
mod frames;

use super::session::Session;
use crate::exchange::Exchange;
use crate::h1::Upgraded;
use crate::pool::Checkout;
use bytes::Bytes;
use flow::Flow;
use frames::{GOING_AWAY, GOING_AWAY_MASKED};
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Sleep;

/// How long nothing may pass once one side has ended: what is left then is a side that forgot to close, since a
/// WebSocket ends with both (RFC 6455, 7.1.1).
const HALF_OPEN: Duration = Duration::from_secs(5);
/// How long both sides may take to part, once the gateway has told them to.
const PARTING: Duration = Duration::from_millis(500);
/// What is still taken from a client that was told.
const PARTING_BYTES: usize = 64 * 1024;

/// The target's side of an upgraded connection; its target counts it as in flight while it lives.
pub(crate) struct Tunnel {
    pub(crate) target: Upgraded,
    pub(crate) checkout: Checkout,
    /// For how long nothing may pass; `None` for ever.
    pub(crate) idle_timeout: Option<Duration>,
    /// What is told of it all in the end.
    pub(crate) exchange: Option<Box<Exchange>>,
}

/// Why a tunnel ended, other than by both sides.
enum Broken {
    Failed(io::Error),
    Idle,
    /// The connection is told to end.
    Aborted,
}

impl Broken {
    /// In the log.
    fn reason(&self) -> &'static str {
        match self {
            Self::Failed(_) => "tunnel_broke",
            Self::Idle => "tunnel_idle",
            Self::Aborted => "drained",
        }
    }
}

/// Joins client and target; returns when both have ended, one has failed, or what is left is silent.
pub(crate) async fn run(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    read_ahead: Bytes,
    tunnel: Box<Tunnel>,
    session: &Session,
) {
    let Tunnel { mut target, checkout, idle_timeout, exchange } = *tunnel;
    session.tunnel_begins();
    let _counted = session.worker.count_websocket();
    let mut from_client = Flow::new(read_ahead);
    let mut from_target = Flow::new(std::mem::take(&mut target.read_ahead));
    let mut silence = idle_timeout.map(|patience| Silence::new(patience, session.now()));
    let mut half_open: Option<Silence> = None;
    let broken = poll_fn(|cx| {
        session.remember_waker(cx.waker());
        let now = session.tick();
        if session.is_aborted() {
            return Poll::Ready(Some(Broken::Aborted));
        }
        let carried = from_client.carried + from_target.carried;
        let mut scratch = session.worker.scratch.borrow_mut();
        let upwards = from_client.poll(cx, &mut client, &mut target.stream, &mut scratch);
        let downwards = from_target.poll(cx, &mut target.stream, &mut client, &mut scratch);
        for polled in [upwards, downwards] {
            if let Poll::Ready(Err(error)) = polled {
                return Poll::Ready(Some(Broken::Failed(error)));
            }
        }
        let passed = from_client.carried + from_target.carried > carried;
        match (from_client.is_over(), from_target.is_over()) {
            (true, true) => return Poll::Ready(None),
            (false, false) => {}
            (true, false) | (false, true) => {
                let silence = half_open.get_or_insert_with(|| Silence::new(HALF_OPEN, now));
                return silence.poll(cx, now, passed).map(|()| None);
            }
        }
        match &mut silence {
            Some(silence) => silence.poll(cx, now, passed).map(|()| Some(Broken::Idle)),
            None => Poll::Pending,
        }
    })
    .await;
    if let Some(Broken::Idle | Broken::Aborted) = &broken {
        let parting = part(&mut client, &mut target, &mut from_client, &mut from_target, session);
        // whoever does not listen is not waited for
        let _ = tokio::time::timeout(PARTING, parting).await;
    }
    drop((client, target, checkout));
    session.tick();
    if let Some(exchange) = exchange {
        exchange.carried(from_client.carried, from_target.carried);
        if let Some(broken) = broken {
            if let Broken::Failed(error) = &broken {
                exchange.note_error(error);
            }
            exchange.broke_off(broken.reason());
        }
    }
}

/// Says to both sides that the gateway goes away, between two frames of each, and waits for the client to have read it.
async fn part(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &mut Upgraded,
    from_client: &mut Flow,
    from_target: &mut Flow,
    session: &Session,
) -> io::Result<()> {
    poll_fn(|cx| {
        let mut scratch = session.worker.scratch.borrow_mut();
        from_target.poll_to_boundary(cx, &mut target.stream, client, &mut scratch)
    })
    .await?;
    if !from_target.frames.is_closed() && !from_target.is_over() {
        client.write_all(&GOING_AWAY).await?;
        client.flush().await?;
    }
    // a frame that the client is in the middle of is not waited for
    if from_client.frames.until_boundary() == 0 && !from_client.frames.is_closed() {
        target.stream.write_all(&GOING_AWAY_MASKED).await?;
    }
    target.stream.shutdown().await?;
    client.shutdown().await?;
    let mut answer = [0; 1024];
    let mut left = PARTING_BYTES;
    while left > 0 {
        match client.read(&mut answer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

/// How long nothing has passed. The timer is set anew only when it fires.
struct Silence {
    patience: Duration,
    since: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, since: now, sleep: Box::pin(tokio::time::sleep_until((now + patience).into())) }
    }

    /// Ready when it has lasted too long.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant, broken: bool) -> Poll<()> {
        if broken {
            self.since = now;
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            let due = self.since + self.patience;
            if now >= due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due.into());
        }
        Poll::Pending
    }
}
