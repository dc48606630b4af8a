//! Standing orders: targets that operators have drained and breakers that they hold, as a pure state machine.
//!
//! Every data plane gets the whole set with its revision when it joins and whenever it changes, and confirms the
//! revision. What it confirmed on an earlier stream counts for nothing: it may have started anew since. The shell
//! (`actor`) stores a new set before it reports [`Orders::adopt`], and executes the [`Effect`]s in order.

mod inventory;

pub(crate) use inventory::Inventory;

use crate::fleet::{Now, StreamId};
use proto::v1::{self, Confirmation, ConfirmationState, control_plane_message::Message as Down};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What an operator wants, with names as the config writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Drain { upstream: String, addr: String },
    Enable { upstream: String, addr: String },
    Hold { route: String, open: bool },
    Reset { route: String },
}

/// What the shell has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Send {
        instance: String,
        stream: StreamId,
        message: v1::ControlPlaneMessage,
    },
    /// Whoever gave the order under this ticket is told.
    Answer {
        ticket: u64,
        response: v1::OrderResponse,
    },
}

/// Somebody who waits for an order to be confirmed.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) ticket: u64,
    pub(crate) order: Order,
    pub(crate) timeout: Duration,
    /// Instances that are known and not connected.
    pub(crate) absent: Vec<String>,
    pub(crate) warning: String,
}

/// The set that stands, and who goes by it.
#[derive(Debug)]
pub(crate) struct Orders {
    standing: v1::Orders,
    members: BTreeMap<String, Member>,
    waiting: Vec<Waiting>,
    effects: Vec<Effect>,
}

/// A connected data plane.
#[derive(Debug)]
struct Member {
    stream: StreamId,
    /// The revision that it has confirmed on this stream.
    confirmed: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    revision: u64,
    changed: bool,
    /// The breakers to reset, for those who have not confirmed.
    reset: Option<String>,
    began: Instant,
    until: Instant,
    instances: BTreeMap<String, Participant>,
    warning: String,
}

#[derive(Debug)]
struct Participant {
    /// It was connected when the order came. Nobody knows when the others come back.
    awaited: bool,
    /// Microseconds until its confirmation.
    took_us: Option<u64>,
}

impl Orders {
    pub(crate) fn new(cluster_id: &str, standing: v1::Orders) -> Self {
        let standing = v1::Orders { cluster_id: cluster_id.to_owned(), ..standing };
        Self { standing, members: BTreeMap::new(), waiting: Vec::new(), effects: Vec::new() }
    }

    /// What stands now.
    pub(crate) fn standing(&self) -> &v1::Orders {
        &self.standing
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Orders::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// The set that an order makes of the standing one; none if it stands already.
    pub(crate) fn with(&self, order: &Order, by: v1::OrderedBy) -> Option<v1::Orders> {
        let mut next = self.standing.clone();
        match order {
            Order::Drain { upstream, addr } => {
                if next.drained.iter().any(|one| one.upstream == *upstream && one.addr == *addr) {
                    return None;
                }
                let (upstream, addr) = (upstream.clone(), addr.clone());
                next.drained.push(v1::DrainedTarget { upstream, addr, by: Some(by) });
            }
            Order::Enable { upstream, addr } => {
                next.drained.retain(|one| one.upstream != *upstream || one.addr != *addr);
                if next.drained.len() == self.standing.drained.len() {
                    return None;
                }
            }
            Order::Hold { route, open } => {
                if next.held.iter().any(|one| one.route == *route && one.open == *open) {
                    return None;
                }
                next.held.retain(|one| one.route != *route);
                next.held.push(v1::HeldBreaker { route: route.clone(), open: *open, by: Some(by) });
            }
            // what it forgets is not in the set, so it is always news
            Order::Reset { route } => next.held.retain(|one| one.route != *route),
        }
        next.revision += 1;
        Some(next)
    }

    /// The set without what the current config no longer has, and what that is; none if it has all.
    pub(crate) fn without_missing(&self, inventory: &Inventory) -> Option<(v1::Orders, Vec<String>)> {
        let mut next = self.standing.clone();
        let mut missing = Vec::new();
        next.drained.retain(|one| {
            let is_there = inventory.has_target(&one.upstream, &one.addr);
            if !is_there {
                missing.push(format!("drain of {}/{}", one.upstream, one.addr));
            }
            is_there
        });
        next.held.retain(|one| {
            let is_there = inventory.has_breaker(&one.route);
            if !is_there {
                missing.push(format!("hold of the breaker of {}", one.route));
            }
            is_there
        });
        next.revision += 1;
        (!missing.is_empty()).then_some((next, missing))
    }

    /// A new set is stored: it stands, and everybody connected gets it.
    pub(crate) fn adopt(&mut self, next: v1::Orders) {
        self.standing = next;
        self.send_to_all();
    }

    /// Answers when everybody connected has confirmed the set that stands, or at the timeout. A new set (`next`) is
    /// stored by now.
    pub(crate) fn ask(&mut self, now: Now, asked: Asked, next: Option<v1::Orders>) {
        let Asked { ticket, order, timeout, absent, warning } = asked;
        let changed = next.is_some();
        if let Some(next) = next {
            self.standing = next;
        }
        let revision = self.standing.revision;
        let absent = absent.into_iter().map(|name| (name, Participant { awaited: false, took_us: None }));
        let connected = self.members.iter().map(|(name, member)| {
            let took_us = (member.confirmed >= revision).then_some(0);
            (name.clone(), Participant { awaited: true, took_us })
        });
        self.waiting.push(Waiting {
            ticket,
            revision,
            changed,
            reset: match order {
                Order::Reset { route } => Some(route),
                Order::Drain { .. } | Order::Enable { .. } | Order::Hold { .. } => None,
            },
            began: now.at,
            until: now.at + timeout,
            instances: absent.chain(connected).collect(),
            warning,
        });
        if changed {
            self.send_to_all();
        }
        self.answer(|waiting| waiting.is_confirmed());
    }

    /// A data plane has opened a stream. One of another cluster is told nothing.
    pub(crate) fn join(&mut self, stream: StreamId, hello: &v1::Hello) {
        self.members.remove(&hello.instance);
        if !hello.cluster_id.is_empty() && hello.cluster_id != self.standing.cluster_id {
            return;
        }
        self.members.insert(hello.instance.clone(), Member { stream, confirmed: 0 });
        // one that goes by orders which the store has lost must drop them
        if self.standing.revision > 0 || hello.orders_revision > 0 {
            self.send(&hello.instance, stream);
        }
    }

    pub(crate) fn leave(&mut self, instance: &str, stream: StreamId) {
        if self.members.get(instance).is_some_and(|member| member.stream == stream) {
            self.members.remove(instance);
        }
    }

    /// A data plane goes by this revision.
    pub(crate) fn confirmed(&mut self, now: Now, instance: &str, stream: StreamId, revision: u64) {
        let Some(member) = self.members.get_mut(instance).filter(|member| member.stream == stream) else {
            return;
        };
        member.confirmed = revision;
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.revision <= revision) {
            let took = now.at.saturating_duration_since(waiting.began).as_micros() as u64;
            if let Some(participant) = waiting.instances.get_mut(instance) {
                participant.took_us.get_or_insert(took);
            }
        }
        self.answer(|waiting| waiting.is_confirmed());
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) {
        self.answer(|waiting| waiting.until <= now.at);
    }

    /// Whether a connected data plane has not confirmed what stands.
    pub(crate) fn is_behind(&self, instance: &str) -> bool {
        self.members.get(instance).is_some_and(|member| member.confirmed < self.standing.revision)
    }

    fn answer(&mut self, is_over: impl Fn(&Waiting) -> bool) {
        let (over, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(is_over);
        self.waiting = waiting;
        for waiting in Vec::<Waiting>::into_iter(over) {
            let response = waiting.response(|name| self.members.contains_key(name));
            self.effects.push(Effect::Answer { ticket: waiting.ticket, response });
        }
    }

    fn send_to_all(&mut self) {
        let everybody: Vec<(String, StreamId)> =
            self.members.iter().map(|(name, member)| (name.clone(), member.stream)).collect();
        for (name, stream) in everybody {
            self.send(&name, stream);
        }
    }

    fn send(&mut self, instance: &str, stream: StreamId) {
        let resets = self.waiting.iter().filter_map(|waiting| {
            let route = waiting.reset.clone()?;
            Some(v1::BreakerReset { route, revision: waiting.revision })
        });
        let orders = v1::Orders { resets: resets.collect(), ..self.standing.clone() };
        let message = v1::ControlPlaneMessage { message: Some(Down::Orders(orders)) };
        self.effects.push(Effect::Send { instance: instance.to_owned(), stream, message });
    }
}

impl Waiting {
    fn is_confirmed(&self) -> bool {
        self.instances.values().all(|one| !one.awaited || one.took_us.is_some())
    }

    fn response(&self, is_connected: impl Fn(&str) -> bool) -> v1::OrderResponse {
        let told = |(name, participant): (&String, &Participant)| {
            let state = match participant.took_us {
                Some(_) => ConfirmationState::Confirmed,
                None if is_connected(name) => ConfirmationState::Silent,
                None => ConfirmationState::Disconnected,
            };
            let took_us = participant.took_us.unwrap_or(0);
            Confirmation { instance: name.clone(), state: state.into(), took_us }
        };
        v1::OrderResponse {
            revision: self.revision,
            changed: self.changed,
            instances: self.instances.iter().map(told).collect(),
            warning: self.warning.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
