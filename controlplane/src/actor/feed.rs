//! The events of the rollout under way, for whoever follows it from the start or from the middle.

use proto::v1::{self, rollout_event::Event};
use tokio::sync::mpsc;

/// Where a follower gets its events. Not bounded: a rollout has a handful of events per data plane.
pub(crate) type Follower = mpsc::UnboundedSender<v1::RolloutEvent>;

#[derive(Debug, Default)]
pub(super) struct Feed {
    events: Vec<v1::RolloutEvent>,
    followers: Vec<Follower>,
}

impl Feed {
    /// A new rollout: what was told of the last one is history.
    pub(super) fn begin(&mut self, submitter: Option<Follower>) {
        self.events.clear();
        self.followers = submitter.into_iter().collect();
    }

    pub(super) fn tell(&mut self, event: Event) {
        let event = v1::RolloutEvent { event: Some(event) };
        // a follower that hung up is no reason to stop
        self.followers.retain(|follower| follower.send(event.clone()).is_ok());
        if matches!(event.event, Some(Event::Finished(_))) {
            self.followers.clear();
        }
        self.events.push(event);
    }

    /// Gives a follower everything so far and, while the rollout runs, what is to come; of one that is over, only how
    /// it ended. False: there was none yet.
    pub(super) fn follow(&mut self, follower: Follower) -> bool {
        match self.events.last() {
            None => return false,
            Some(v1::RolloutEvent { event: Some(Event::Finished(_)) }) => {
                let _ = follower.send(self.events[self.events.len() - 1].clone());
            }
            Some(_) => {
                for event in &self.events {
                    let _ = follower.send(event.clone());
                }
                self.followers.push(follower);
            }
        }
        true
    }
}
