//! The `dataplane` program: parse, start, wait for the signal, drain.

use clap::Parser as _;
use dataplane::signals::Signals;
use dataplane::{Arguments, LogFormat, Settings};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Arguments { settings, log_format } = Arguments::parse();
    start_logging(log_format);
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the data plane cannot run");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    // for the signals alone; traffic and control have threads of their own
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let mut bound = dataplane::start(settings)?;
        tell_systemd(sd_notify::NotifyState::Ready);

        let access_log = bound.access_log();
        let signal = tokio::select! {
            signal = signals.stop(&access_log) => signal,
            () = bound.replaced() => {
                tracing::info!("replaced");
                return Ok(());
            }
        };
        tracing::info!(signal, "stopping");
        tell_systemd(sd_notify::NotifyState::Stopping);
        tokio::select! {
            () = bound.shutdown() => Ok(()),
            signal = signals.stop(&access_log) => anyhow::bail!("a second signal, {signal}, before the drain was over"),
        }
    })
}

/// Only under `Type=notify`; everywhere else there is nobody to tell.
fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
