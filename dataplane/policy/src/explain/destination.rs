//! Where a request that has passed every filter goes: breaker, health, places, and the target of the first attempt.

use super::filters::{header_changes, preserved_host, short, vars};
use super::{Destination, End, Routed, Says, TargetSeen, Telling};
use crate::balance::request_key;
use crate::breaker::{Breaker, State};
use crate::clock::Now;
use crate::concurrency::Concurrency;
use crate::config::split::ShareCondition;
use crate::filter::FilterKind;
use crate::filter::headers::Vars;
use crate::filter::retry::RetryConfig;
use crate::forwarded::Client;
use crate::headers::Host;
use crate::rejection::Rejection;
use crate::split::Choice;
use crate::table::{Answer, Backend, Route, Scoped};
use crate::upstream::{NoPick, Target, Upstream};
use http::{Method, Uri};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

impl Telling<'_> {
    /// As `attempt` of the data plane admits a first try; the name of the upstream.
    pub(super) fn destination(&mut self, route: &Route, routed: &Routed<'_>) -> Result<String, End> {
        let backend = self.backend(route, routed);
        let upstream = &backend.upstream;
        let path = match routed.path {
            same if same == routed.parts.uri.path() => Cow::Borrowed(same),
            other => Cow::Owned(other.to_owned()),
        };
        let key = upstream.balancer.hash_on();
        let key = key.and_then(|on| request_key(on, &routed.parts.headers, routed.client.ip, &path));
        let rewritten = self.check_quietly("rewrite", route.rewrite.apply(&routed.parts.uri, path))?;
        let target = rewritten.as_ref().unwrap_or(&routed.parts.uri);
        if let Some(answer) = &route.answer {
            return Err(self.answer(route, answer, routed, target));
        }
        if let Some(rules) = &route.chain.headers {
            self.filter(FilterKind::Headers, Says::Pass, header_changes(rules, route, routed));
        }
        self.destination = Some(destination(route, backend, routed, target));
        let candidates = self.candidates(backend);
        let targets = self.targets(backend, candidates.as_deref().unwrap_or_default());
        let pick = match &candidates {
            Ok(one) if one.len() == 1 => one.first().copied(),
            // a key decides alone; without one each pick would take a turn
            Ok(several) if key.is_some() => {
                upstream.pick(key, self.moment.now, |at| several.contains(&at)).ok()
            }
            _ => None,
        };
        if let Some(destination) = &mut self.destination {
            destination.pick = pick.map(|at| upstream.targets[at].addr.to_string());
            destination.targets = targets;
        }
        let candidates = candidates?;
        self.step("upstream", Says::Pass, chosen(upstream, &candidates, pick));
        self.places(backend, &candidates)?;
        self.mirror(route, routed);
        Ok(upstream.name.to_string())
    }

    /// Where a split sends it. What goes by weight is a matter of turns: told is what becomes of most.
    fn backend<'r>(&mut self, route: &'r Route, routed: &Routed<'_>) -> &'r Backend {
        let Some(split) = &route.split else { return &route.backends[0] };
        let shares = split.shares();
        let (at, why) = match split.choice(&routed.parts.headers, routed.client.ip, routed.path) {
            Choice::Condition(at, ShareCondition { header: Some(name), cookie: _, value }) => {
                (at, format!("{}: the header {name} is {value}", shares[at].upstream))
            }
            Choice::Condition(at, ShareCondition { header: None, cookie, value }) => {
                let name = cookie.as_deref().unwrap_or_default();
                (at, format!("{}: the cookie {name} is {value}", shares[at].upstream))
            }
            Choice::Key(at) => (at, format!("{}, by its key", shares[at].upstream)),
            Choice::Weight => {
                // of several with the same weight the first
                let most = (0..shares.len()).rev().max_by_key(|at| shares[*at].weight).unwrap_or_default();
                let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
                let each = shares.iter().map(|share| format!("{} {}", share.upstream, share.weight));
                let each: Vec<_> = each.collect();
                let why =
                    format!("by weight, of {total}: {}; told for {}", each.join(", "), shares[most].upstream);
                (most, why)
            }
        };
        self.step("split", Says::Pass, why);
        &route.backends[at]
    }

    fn mirror(&mut self, route: &Route, routed: &Routed<'_>) {
        let Some(mirror) = route.mirror.as_ref().filter(|_| !routed.inbound.websocket) else { return };
        let config = mirror.config();
        let most = config.max_body;
        let what =
            format!("{}% are copied to {}, with a body of at most {most}", config.percent, config.upstream);
        self.step("mirror", Says::Pass, what);
    }

    /// What the gateway says in place of a target.
    fn answer(&mut self, route: &Route, answer: &Answer, routed: &Routed<'_>, target: &Uri) -> End {
        let vars = Vars { path: target.path(), ..vars(route, routed) };
        self.answered(answer, &vars, target.query(), "the route answers by itself")
    }

    /// What the listener says whatever is asked.
    pub(super) fn redirected(
        &mut self,
        answer: &Answer,
        client: &Client,
        host: &Host<'_>,
        path: &str,
    ) -> End {
        let parts = &self.asked.parts;
        let vars = Vars {
            client_certificate: None,
            client_ip: client.ip,
            consumer: None,
            host: &host.name,
            method: parts.method.as_str(),
            path,
            request_id: "",
            route: "",
        };
        self.answered(answer, &vars, parts.uri.query(), "the listener sends every request to https")
    }

    fn answered(
        &mut self,
        answer: &Answer,
        vars: &Vars<'_>,
        query: Option<&str>,
        title: &'static str,
    ) -> End {
        let (parts, _) = answer.response(vars, query).into_parts();
        self.step(answer.reason(), Says::Answer, format!("{title}: {}", parts.status));
        End::Answered {
            status: parts.status,
            reason: answer.reason(),
            title,
            advice: Box::new(parts.headers),
        }
    }

    /// Which targets a first attempt may go to, once the breaker lets it.
    fn candidates(&mut self, backend: &Backend) -> Result<Vec<usize>, End> {
        let now = self.moment.now;
        let kind = FilterKind::CircuitBreaker;
        let breakers = match backend.breaker.as_ref().map(|breaker| &breaker.running) {
            None => None,
            Some(Scoped::Route(breaker)) => {
                let detail = self.breaker(breaker);
                if !breaker.admits(now) {
                    return Err(self.refuse(kind.name(), detail, open(patience([breaker], now))));
                }
                self.filter(kind, Says::Pass, detail);
                None
            }
            Some(Scoped::Targets(breakers)) => Some(breakers),
        };
        let admits = |at: usize| breakers.is_none_or(|breakers| breakers[at].admits(now));
        let limits = match backend.concurrency.as_ref().map(|limit| &limit.running) {
            Some(Scoped::Targets(limits)) => &limits[..],
            Some(Scoped::Route(_)) | None => &[],
        };
        let has_place = |at: usize| limits.get(at).is_none_or(|limit| limit.has_place());
        let upstream = &backend.upstream;
        let mut candidates = upstream.candidates(now, |at| admits(at) && has_place(at));
        if candidates == Err(NoPick::NotAdmitted) && !limits.is_empty() {
            candidates = upstream.candidates(now, admits);
        }
        if let Some(breakers) = breakers {
            let passing = (0..breakers.len()).filter(|at| admits(*at)).count();
            let detail =
                format!("{passing} of {} targets have a breaker that lets requests pass", breakers.len());
            if candidates == Err(NoPick::NotAdmitted) {
                return Err(self.refuse(kind.name(), detail, open(patience(breakers, now))));
            }
            self.filter(kind, Says::Pass, detail);
        }
        candidates.map_err(|none| {
            let (why, rejection) = match none {
                NoPick::NoTarget => ("no target has a weight and is not drained", Rejection::NoTarget),
                NoPick::Unhealthy => ("every target is unhealthy or ejected", Rejection::NoHealthyTarget),
                NoPick::NotAdmitted => ("no target may be tried", open(Duration::ZERO)),
            };
            self.refuse("upstream", why.to_owned(), rejection)
        })
    }

    fn breaker(&self, breaker: &Breaker) -> String {
        let view = breaker.view(self.moment.now);
        let state = match view.state {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half-open",
        };
        let retry = match view.retry_after {
            Some(Duration::ZERO) => ", the next request is let through to try".to_owned(),
            Some(after) => format!(", tried again in {}", short(after)),
            None => String::new(),
        };
        let shadow = if view.shadow { ", shadow mode: refuses nothing" } else { "" };
        match view.reason.as_str() {
            "" => format!("{state}{retry}{shadow}"),
            reason => format!("{state}: {reason}{retry}{shadow}"),
        }
    }

    /// A place among the requests in flight.
    fn places(&mut self, backend: &Backend, candidates: &[usize]) -> Result<(), End> {
        let kind = FilterKind::Concurrency;
        let limits: Vec<&Arc<Concurrency>> = match backend.concurrency.as_ref().map(|limit| &limit.running) {
            None => return Ok(()),
            Some(Scoped::Route(limit)) => vec![limit],
            Some(Scoped::Targets(limits)) => candidates.iter().map(|at| &limits[*at]).collect(),
        };
        let views: Vec<_> = limits.iter().map(|limit| limit.view()).collect();
        let (in_flight, limit) = views
            .iter()
            .fold((0, 0), |(a, b), view| (a + u64::from(view.in_flight), b + u64::from(view.limit)));
        let detail = format!("{in_flight} of {limit} places taken");
        if limits.iter().any(|limit| limit.has_place()) {
            self.filter(kind, Says::Pass, detail);
            return Ok(());
        }
        if views.iter().all(|view| view.queued >= view.queue) {
            let why = format!("{detail}, and nobody more may wait");
            return Err(self.refuse(kind.name(), why, Rejection::ConcurrencyLimited));
        }
        self.filter(kind, Says::Wait, format!("{detail}: it would wait for one"));
        Ok(())
    }

    fn targets(&self, backend: &Backend, candidates: &[usize]) -> Vec<TargetSeen> {
        let now = self.moment.now;
        let seen = |(at, target): (usize, &Target)| {
            let health = target.state.health_view(now);
            let mut notes = Vec::new();
            if target.weight == 0 {
                notes.push("has the weight 0".to_owned());
            }
            if !health.reason.is_empty() {
                notes.push(health.reason);
            }
            if let Some(share) = health.slow_start_share {
                notes.push(format!("gets {:.0}% of its share", share * 100.0));
            }
            if let Some(Scoped::Targets(breakers)) = backend.breaker.as_ref().map(|kept| &kept.running)
                && let Some(breaker) = breakers.get(at)
                && breaker.state() != State::Closed
            {
                notes.push(format!("its breaker is {}", self.breaker(breaker)));
            }
            TargetSeen {
                addr: target.addr.to_string(),
                weight: target.weight,
                state: health.state.name().to_owned(),
                note: notes.join("; "),
                candidate: candidates.contains(&at),
            }
        };
        backend.upstream.targets.iter().enumerate().map(seen).collect()
    }
}

fn destination(route: &Route, backend: &Backend, routed: &Routed<'_>, target: &Uri) -> Destination {
    let (upstream, retry) = (&backend.upstream, route.guard.retry.as_ref());
    Destination {
        upstream: upstream.name.to_string(),
        balancer: upstream.config().balancer.name().to_owned(),
        targets: Vec::new(),
        pick: None,
        target: target.to_string(),
        host: if route.preserve_host { preserved_host(routed) } else { String::new() },
        timeout_ms: route.timeout.map_or(0, millis),
        per_try_timeout_ms: retry.and_then(|retry| retry.running.per_try_timeout()).map_or(0, millis),
        connect_timeout_ms: millis(upstream.connect_timeout),
        response_timeout_ms: millis(upstream.response_timeout),
        retries: retry.map(|retry| retries(retry.config(), &routed.parts.method)).unwrap_or_default(),
    }
}

fn chosen(upstream: &Upstream, candidates: &[usize], pick: Option<usize>) -> String {
    let balancer = upstream.config().balancer.name();
    match pick {
        Some(at) if candidates.len() > 1 => format!("{} by {balancer}", upstream.targets[at].addr),
        Some(at) => format!("{}, the only one", upstream.targets[at].addr),
        None => format!("one of {} of {} by {balancer}", candidates.len(), upstream.name),
    }
}

fn retries(config: &RetryConfig, method: &Method) -> String {
    let on: Vec<String> = config.retry_on.iter().map(ToString::to_string).collect();
    let times = config.max_retries;
    let again = format!("up to {times} more {}", if times == 1 { "attempt" } else { "attempts" });
    if config.methods.iter().any(|one| one.0 == *method) {
        format!("{again} on {}", on.join(", "))
    } else {
        format!(
            "{again} on {}, as long as no target has got anything: {method} is not among methods",
            on.join(", ")
        )
    }
}

fn open(retry_after: Duration) -> Rejection {
    Rejection::CircuitOpen { retry_after }
}

/// When the first of them is worth another try.
fn patience<'b>(breakers: impl IntoIterator<Item = &'b Arc<Breaker>>, now: Now) -> Duration {
    let each = breakers.into_iter().map(|breaker| breaker.view(now).retry_after.unwrap_or_default());
    each.min().unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
