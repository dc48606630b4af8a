//! `gatewayctl rollout`: the rollout under way, the ones before it, and the way back.

use crate::client;
use crate::command::apply::tell;
use crate::command::status::versions::History;
use crate::command::{Global, Waiting, author, completion};
use crate::exit::{Exit, Failure};
use crate::rollout::{self, Followed, Until};
use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use proto::v1::{Finished, RolloutEvent, UndoRequest, WatchRolloutRequest};
use tonic::{Response, Status, Streaming};

/// Follow, list and undo rollouts
#[derive(Debug, Args)]
pub struct Rollout {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Follow the rollout under way, or tell how the last one ended
    Status(Waiting),
    /// List versions, newest first
    History(History),
    /// Roll an earlier version out again, as a new version
    Undo(Undo),
}

#[derive(Debug, Args)]
struct Undo {
    /// The version to go back to [default: the one before the current]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..), add = ArgValueCandidates::new(completion::versions))]
    to: Option<u64>,
    #[command(flatten)]
    waiting: Waiting,
}

impl Rollout {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.what {
            What::History(history) => history.run(global).await,
            What::Status(waiting) => {
                let mut admin = global.connect().await?;
                let finished = finish(admin.watch_rollout(WatchRolloutRequest {}).await, &waiting).await?;
                tell(&finished, waiting.output, None)
            }
            What::Undo(Undo { to, waiting }) => {
                let request = UndoRequest {
                    to_version: to.unwrap_or(0),
                    author: author(),
                    timeout_ms: waiting.timeout_ms(),
                };
                let mut admin = global.connect().await?;
                let finished = finish(admin.undo(request).await, &waiting).await?;
                tell(&finished, waiting.output, None)
            }
        }
    }
}

/// Follows the events to the end.
pub async fn finish(
    events: Result<Response<Streaming<RolloutEvent>>, Status>,
    waiting: &Waiting,
) -> Result<Finished, Failure> {
    let events = events.map_err(client::failure)?.into_inner();
    match rollout::follow(events, Until::Finished, waiting.deadline()).await? {
        Followed::Finished(finished) => Ok(finished),
        Followed::Started(_) => {
            Err(Failure::new(Exit::Unconfirmed, "the rollout was not followed to its end"))
        }
    }
}
