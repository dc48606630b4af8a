//! An operator's questions about single requests, as the control plane passes them on, and this instance's answers.
//!
//! Nothing here is worth a stream: an answer for which there is no room is left out, and missed where it was asked for.

#[cfg(test)]
mod tests;

use super::session::{Ended, OUTBOX, Session};
use crate::clock;
use crate::gateway::Gateway;
use policy::auth::AuthContext;
use policy::explain::{Destination, Explanation, Question, explain};
use policy::table::RouteTable;
use proto::v1::answer::Says;
use proto::v1::data_plane_message::Message as Fact;
use proto::v1::question::Asks;
use proto::v1::{self, Answer, DataPlaneMessage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a worker may take to look through what it remembers.
const TO_RECALL: Duration = Duration::from_secs(1);

/// Places in the outbox that are not for answers: what the control plane must know goes first.
const RESERVED: usize = OUTBOX / 2;

impl Session<'_> {
    pub(super) fn question(&self, v1::Question { id, asks }: v1::Question) -> Result<(), Ended> {
        match asks {
            Some(Asks::Explain(question)) => {
                let says =
                    explained(&self.control.gateway, question).map(|told| Says::Explanation(told.into()));
                self.answer(id, says.unwrap_or_else(Says::Refusal));
            }
            Some(Asks::Recall(v1::Recall { request_id })) => self.recall(id, request_id),
            Some(Asks::Tap(wanted)) => {
                if let Err(why) = self.watching.begin(id, wanted) {
                    self.answer(id, Says::Refusal(why));
                }
            }
            Some(Asks::EndTap(v1::EndTap {})) => self.watching.end(id),
            None => self.answer(id, Says::Refusal("this version does not know the question".to_owned())),
        }
        Ok(())
    }

    /// Workers are busy with something else: nobody waits for them here.
    fn recall(&self, id: u64, request_id: String) {
        let (workers, outbox) = (Arc::clone(&self.control.workers), self.outbox.clone());
        tokio::spawn(async move {
            let recollection = workers.recall(&request_id, TO_RECALL).await;
            offer(&outbox, id, Says::Recollection(recollection));
        });
    }

    pub(super) fn tell_taps(&mut self) -> Result<(), Ended> {
        for (id, tapped) in self.watching.take() {
            if self.outbox.capacity() > RESERVED {
                self.answer(id, Says::Tapped(tapped));
            } else {
                self.watching.give_up(id, &tapped);
            }
        }
        Ok(())
    }

    fn answer(&self, id: u64, says: Says) {
        offer(&self.outbox, id, says);
    }
}

fn offer(outbox: &mpsc::Sender<DataPlaneMessage>, id: u64, says: Says) {
    let answer = Answer { id, says: Some(says) };
    if outbox.capacity() <= RESERVED
        || outbox.try_send(DataPlaneMessage { message: Some(Fact::Answer(answer)) }).is_err()
    {
        tracing::warn!(id, "a question stays without an answer: the control plane does not read fast enough");
    }
}

/// By the table that serves, and by everything as it is at this moment.
fn explained(gateway: &Gateway, question: v1::Explain) -> Result<Explanation, String> {
    let question = Question::try_from(question).map_err(|error| error.to_string())?;
    let table = gateway.table().ok_or_else(|| "it has no config yet".to_owned())?;
    if !table.listeners.iter().any(|listener| listener.config.name == question.listener) {
        return Err(format!("it has no listener `{}`", question.listener));
    }
    let unix_seconds = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    let moment = AuthContext { now: clock::now(), unix_seconds };
    let mut told = explain(&table, &question, Some(gateway.via()), &moment);
    if let Some(destination) = &mut told.destination {
        note_connections(destination, &table, gateway);
    }
    Ok(told)
}

/// A target that takes requests and cannot be connected to is what somebody who asks wants to hear of.
fn note_connections(destination: &mut Destination, table: &RouteTable, gateway: &Gateway) {
    let Some(upstream) = table.upstreams.iter().find(|upstream| *upstream.name == *destination.upstream)
    else {
        return;
    };
    for (target, seen) in upstream.targets.iter().zip(&mut destination.targets) {
        if let Some(error) = gateway.last_connect_error(target.state.id) {
            let before = if seen.note.is_empty() { "" } else { "; " };
            seen.note.push_str(&format!("{before}the last connection failed: {error}"));
        }
    }
}
