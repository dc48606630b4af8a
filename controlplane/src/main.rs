//! The control plane's program: parse, start, wait for a signal.

use clap::Parser as _;
use controlplane::{Arguments, Bound, Settings, StartError};
use sd_notify::NotifyState;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn run(Arguments { settings, telemetry }: Arguments) -> anyhow::Result<()> {
    let traces = telemetry.start()?;
    let ended = serve(settings).await;
    traces.shutdown().await;
    ended
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // before the start, so that a signal during it is not lost
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let bound = controlplane::start(settings).await?;
    notify_systemd(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reread(&bound),
        }
    }
    tracing::info!("shutting down");
    notify_systemd(&[NotifyState::Stopping]);
    bound.shutdown().await;
    Ok(())
}

fn reread(bound: &Bound) {
    tracing::info!("reading the config file again");
    bound.reread();
}

/// Does nothing unless systemd asked to be told.
fn notify_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be notified");
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(StartError::InvalidConfig(rendered)) => {
            eprintln!("{rendered}");
            ExitCode::from(3)
        }
        Some(StartError::Exposed(_)) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
        None => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
