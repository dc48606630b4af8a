//! Makes a problem on a real fleet, finds it by the signal that an operator has, cures it and sees it end.

use clap::{Parser, Subcommand};
use tests::drills::{Drill, Service};

#[derive(Debug, Parser)]
#[command(
    about = "A problem on a real fleet: how it shows, how it is found, what to do, and that it is over"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Drill(Drill),
    /// A service behind the gateway, as drills start it
    #[command(hide = true)]
    Service(Service),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let run = async {
        match Arguments::parse().command {
            Command::Drill(drill) => drill.run().await,
            Command::Service(service) => service.serve().await,
        }
    };
    tokio::select! {
        () = run => Ok(()),
        // every process that was started ends when `run` is dropped
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}
