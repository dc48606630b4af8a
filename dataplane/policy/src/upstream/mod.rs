//! Upstreams and their targets at run time; what a target has lived through outlasts every edit that keeps it.

use crate::balance::{Balancer, hash_key};
use crate::clock::Now;
use crate::config::health::OnAllUnhealthy;
use crate::config::leaf::TargetAddr;
use crate::config::{TargetConfig, UpstreamConfig};
use crate::health::{HealthState, HealthView, Outlier, Standing, TargetHealth, Thresholds};
use crate::outcome::Outcome;
use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use http::HeaderValue;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A group of targets and how one is chosen.
#[derive(Debug)]
pub struct Upstream {
    /// The configured name; for inline targets the route's.
    pub name: Arc<str>,
    /// In the order of the config; [`Balancer`] speaks of them by position.
    pub targets: Vec<Target>,
    /// Chooses among `targets`.
    pub balancer: Balancer,
    /// TCP connect.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response.
    pub response_timeout: Duration,
    /// Connections to each target from this instance.
    pub max_connections: u32,
    /// How long a request waits for one of them.
    pub max_connections_wait: Duration,
    /// An unused connection is closed after this.
    pub idle_timeout: Duration,
    outlier: Option<Outlier>,
    config: UpstreamConfig,
}

/// Why no target was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPick {
    /// None is configured with a weight, or all of these are drained.
    NoTarget,
    /// All are unhealthy or ejected, and the upstream says `fail_closed`.
    Unhealthy,
    /// Some could take the request, but the caller admits none of them.
    NotAdmitted,
}

/// One target of an upstream.
#[derive(Debug)]
pub struct Target {
    /// Where to connect.
    pub addr: TargetAddr,
    /// The `Host` it is sent unless the route preserves the client's: `host:port`, the scheme's own port left out.
    pub authority: HeaderValue,
    /// 0 takes no new requests.
    pub weight: u32,
    /// What outlasts a reload.
    pub state: Arc<TargetState>,
}

/// The life of a target, kept while its upstream's name, its address and the way it is reached stay the same.
#[derive(Debug)]
pub struct TargetState {
    /// Unique in the process: names its connection pools.
    pub id: u64,
    /// Requests sent and not yet finished.
    pub in_flight: CachePadded<AtomicU32>,
    /// Connections open or being opened, over all workers.
    pub connections: CachePadded<AtomicU32>,
    /// Requests ever sent.
    pub requests: CachePadded<AtomicU64>,
    /// Requests that got no response from it.
    pub failures: AtomicU64,
    health: TargetHealth,
}

impl Upstream {
    /// The upstream of a checked config; targets that `previous` has too, and reaches in the same way, keep their state.
    pub(crate) fn build(config: UpstreamConfig, previous: Option<&Upstream>) -> Self {
        let previous_targets = previous.filter(|previous| previous.config.reaches_alike(&config));
        let states = previous_targets.map_or(&[][..], |previous| &previous.targets);
        let states: HashMap<&TargetAddr, &Arc<TargetState>, RandomState> =
            states.iter().map(|target| (&target.addr, &target.state)).collect();
        let target = |TargetConfig { addr, weight }: &TargetConfig| Target {
            addr: addr.clone(),
            authority: authority(addr),
            weight: *weight,
            state: states.get(addr).map_or_else(TargetState::new, |state| Arc::clone(state)),
        };
        let keys: Vec<_> =
            config.targets.iter().map(|target| (target.addr.to_string(), target.weight)).collect();
        Self {
            name: config.name.as_str().into(),
            targets: config.targets.iter().map(target).collect(),
            balancer: Balancer::new(config.balancer, config.hash_on.as_deref().cloned(), &keys),
            connect_timeout: config.connect_timeout.get(),
            response_timeout: config.response_timeout.get(),
            max_connections: config.max_connections,
            max_connections_wait: config.max_connections_wait.get(),
            idle_timeout: config.idle_timeout.get(),
            outlier: outlier(&config, previous),
            config,
        }
    }

    /// The table that holds it is about to serve: targets forget what this config no longer asks for, and those that
    /// are new to a health check begin as it says.
    pub fn activate(&self, now: Now) {
        let initial = self.config.health_check.as_ref().map(|check| check.initial);
        for Target { state, .. } in &self.targets {
            state.health.expect_probes(initial, now);
            if self.outlier.is_none() {
                state.health.forget_ejections(now);
            }
        }
    }

    /// The target for an attempt: by the balancer among those that are well, in slow start only with its share, and
    /// that `admits`. When none is well `on_all_unhealthy` decides; a drained one is never picked.
    pub fn pick(&self, key: Option<u64>, now: Now, admits: impl Fn(usize) -> bool) -> Result<usize, NoPick> {
        let usable = |at: usize| match self.standing(at, now) {
            Standing::Full => admits(at),
            Standing::Share(share) => self.dice(at, key) < share && admits(at),
            Standing::Out | Standing::Drained => false,
        };
        match self.balancer.pick(key, self.load(), usable) {
            Some(at) => Ok(at),
            None => self.pick_anyway(key, now, admits),
        }
    }

    /// The targets of which [`Upstream::pick`] would take one, if it had to do so often enough; no turn is used up.
    ///
    /// # Errors
    /// Why there is none.
    pub fn candidates(&self, now: Now, admits: impl Fn(usize) -> bool) -> Result<Vec<usize>, NoPick> {
        let usable = self.usable_if_need_be(now)?;
        let all = (0..self.targets.len()).filter(|at| self.targets[*at].weight > 0);
        let candidates: Vec<usize> = all.filter(|at| usable(*at) && admits(*at)).collect();
        if candidates.is_empty() { Err(NoPick::NotAdmitted) } else { Ok(candidates) }
    }

    /// For when nobody was found at first: those in slow start with all of their share, since nobody else takes it;
    /// then, if so configured, those that are not well.
    #[cold]
    fn pick_anyway(
        &self,
        key: Option<u64>,
        now: Now,
        admits: impl Fn(usize) -> bool,
    ) -> Result<usize, NoPick> {
        let usable = self.usable_if_need_be(now)?;
        let picked = self.balancer.pick(key, self.load(), |at| usable(at) && admits(at));
        picked.ok_or(NoPick::NotAdmitted)
    }

    fn usable_if_need_be(&self, now: Now) -> Result<impl Fn(usize) -> bool, NoPick> {
        let (mut well, mut out) = (false, false);
        for at in (0..self.targets.len()).filter(|at| self.targets[*at].weight > 0) {
            match self.standing(at, now) {
                Standing::Full | Standing::Share(_) => well = true,
                Standing::Out => out = true,
                Standing::Drained => {}
            }
        }
        if !well {
            match self.config.on_all_unhealthy {
                _ if !out => return Err(NoPick::NoTarget),
                OnAllUnhealthy::FailClosed => return Err(NoPick::Unhealthy),
                OnAllUnhealthy::FailOpen => {}
            }
        }
        Ok(move |at: usize| match self.standing(at, now) {
            Standing::Full | Standing::Share(_) => true,
            Standing::Out => !well,
            Standing::Drained => false,
        })
    }

    fn standing(&self, at: usize, now: Now) -> Standing {
        self.targets[at].state.health.standing(now)
    }

    fn load(&self) -> impl Fn(usize) -> u32 {
        |at| self.targets[at].state.in_flight.load(Ordering::Relaxed)
    }

    /// From 0 to 1, by chance; for a key always the same, so that its requests move once and not at every pick.
    fn dice(&self, at: usize, key: Option<u64>) -> f64 {
        match key {
            None => fastrand::f64(),
            Some(key) => {
                let hash = hash_key(&(key ^ self.targets[at].state.id.rotate_left(32)).to_le_bytes());
                hash as f64 / u64::MAX as f64
            }
        }
    }

    /// Whether [`Upstream::record`] does anything.
    pub fn watches_outcomes(&self) -> bool {
        self.outlier.is_some()
    }

    /// What the end of an attempt says about a target; called once for each.
    pub fn record(&self, at: usize, outcome: Outcome, latency: Duration, now: Now) {
        let Some(outlier) = &self.outlier else { return };
        let all = self.targets.iter().filter(|target| target.weight > 0).map(|target| &target.state.health);
        outlier.record(&self.targets[at].state.health, all, outcome, latency, now);
    }

    /// How results of probes are to be judged; `None` without a health check.
    pub fn thresholds(&self) -> Option<Thresholds> {
        self.config.health_check.as_ref().map(|check| Thresholds {
            rise: check.healthy_threshold.get(),
            fall: check.unhealthy_threshold.get(),
            slow_start: self.config.slow_start.get(),
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &UpstreamConfig {
        &self.config
    }
}

fn outlier(config: &UpstreamConfig, previous: Option<&Upstream>) -> Option<Outlier> {
    let previous = previous.and_then(|previous| previous.outlier.as_ref());
    let new = |outlier| Outlier::new(outlier, config.slow_start.get(), previous);
    config.outlier.as_deref().map(new)
}

/// A checked host holds nothing that a header value may not; were it otherwise, the target would get an empty `Host`.
fn authority(addr: &TargetAddr) -> HeaderValue {
    HeaderValue::try_from(addr.authority()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

impl TargetState {
    /// A target never seen before.
    pub fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            in_flight: CachePadded::default(),
            connections: CachePadded::default(),
            requests: CachePadded::default(),
            failures: AtomicU64::new(0),
            health: TargetHealth::default(),
        })
    }

    /// Takes it out of service, or brings it back: an operator's word.
    pub fn set_drained(&self, drained: bool, now: Now) {
        self.health.drain(drained, now);
    }

    /// Whether an operator has taken it out of service.
    pub fn is_drained(&self) -> bool {
        self.health.is_drained()
    }

    /// The result of a probe: an error says why it failed, in words for an operator.
    pub fn probed(&self, result: Result<(), String>, thresholds: Thresholds, now: Now) {
        self.health.probe(result, thresholds, now);
    }

    /// How it is, without the reasons.
    pub fn health_state(&self, now: Now) -> HealthState {
        self.health.state(now)
    }

    /// How it is, and why.
    pub fn health_view(&self, now: Now) -> HealthView {
        self.health.view(now)
    }
}

#[cfg(test)]
mod tests;
