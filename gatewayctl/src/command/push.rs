//! `gatewayctl push`: the current version once more, until every instance named has acknowledged it.

use crate::command::apply::tell;
use crate::command::rollout::finish;
use crate::command::{Global, OutcomeFormat, Waiting, completion};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::rollout;
use clap::Args;
use clap_complete::ArgValueCandidates;
use proto::v1::PushRequest;

/// Send the current version again to instances and wait for their acknowledgement
#[derive(Debug, Args)]
pub struct Push {
    /// Every instance when none is named
    #[arg(value_name = "INSTANCE", add = ArgValueCandidates::new(completion::instances))]
    instances: Vec<String>,
    #[command(flatten)]
    waiting: Waiting,
}

impl Push {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let request = PushRequest { instances: self.instances, timeout_ms: self.waiting.timeout_ms() };
        let mut admin = global.connect().await?;
        let finished = finish(admin.push(request).await, &self.waiting).await?;
        if self.waiting.output == OutcomeFormat::Text {
            console::data(&rollout::acknowledgements(&finished))?;
            rollout::explain(&finished, None);
            return Ok(rollout::exit(&finished));
        }
        tell(&finished, self.waiting.output, None)
    }
}
