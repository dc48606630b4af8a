//! Questions on their way to data planes; the answers do not come back here.

use super::Actor;
use crate::fleet::StreamId;
use crate::questions::Asked;
use proto::v1::question::Asks;
use proto::v1::{self, control_plane_message::Message as Down};
use tonic::Status;

/// A tap that stands: whoever joins is told of it.
#[derive(Debug)]
pub(super) struct Tapping {
    question: v1::Question,
    /// Empty: every instance.
    instance: String,
}

impl Tapping {
    fn is_for(&self, instance: &str) -> bool {
        self.instance.is_empty() || self.instance == instance
    }
}

impl Actor {
    pub(super) fn ask(&self, question: &v1::Question, instance: &str) -> Result<Asked, Status> {
        let members = self.coordinator.streams();
        let meant: Vec<(String, Option<StreamId>)> = members
            .filter(|(name, _)| instance.is_empty() || *name == instance)
            .map(|(name, stream)| (name.to_owned(), stream))
            .collect();
        if meant.is_empty() && !instance.is_empty() {
            return Err(Status::not_found(format!("there is no instance named `{instance}`")));
        }
        let instances = meant.into_iter().map(|(name, stream)| {
            let asked = match stream {
                None => Err("not connected".to_owned()),
                Some(stream) if self.put(stream, question) => Ok(stream),
                Some(_) => Err("it does not read what it is sent".to_owned()),
            };
            (name, asked)
        });
        Ok(Asked { current_version: self.coordinator.current().version, instances: instances.collect() })
    }

    pub(super) fn tap(&mut self, question: v1::Question, instance: String) -> Result<Asked, Status> {
        let asked = self.ask(&question, &instance)?;
        self.taps.insert(question.id, Tapping { question, instance });
        Ok(asked)
    }

    pub(super) fn end_tap(&mut self, id: u64) {
        if let Some(tapping) = self.taps.remove(&id) {
            let question = v1::Question { id, asks: Some(Asks::EndTap(v1::EndTap {})) };
            // whoever is gone taps no more
            let _ = self.ask(&question, &tapping.instance);
        }
    }

    /// One that has joined takes part in what is being watched.
    pub(super) fn tap_joined(&self, instance: &str, stream: StreamId) {
        for (id, tapping) in self.taps.iter().filter(|(_, tapping)| tapping.is_for(instance)) {
            if self.put(stream, &tapping.question) {
                self.handle.questions().joined(*id, instance, stream);
            }
        }
    }

    fn put(&self, stream: StreamId, question: &v1::Question) -> bool {
        let message = v1::ControlPlaneMessage { message: Some(Down::Question(question.clone())) };
        self.outboxes.get(&stream).is_some_and(|outbox| outbox.offer(message))
    }
}
