//! Circuit breakers: a service that keeps failing is left alone for a while, then tried with a few requests.
//!
//! Closed, open and half-open are the states of Nygard (Release It!, 2007). `threshold` failures in a row open it, or
//! `error_rate` percent of at least `min_requests` within `window`, looked at whenever a request fails. After `timeout`
//! it is half-open: at most `half_open_max` requests are under way at once, as many successes close it, and one failure
//! opens it again. What ends in another state than it began in counts as nothing.
//!
//! Each opening lasts up to a tenth longer than `timeout`, by chance, so that the instances of a fleet do not all try a
//! service that comes back at the same moment.
//!
//! A request costs a closed breaker two loads, and one compare-and-swap more if `error_rate` is wanted; nothing is
//! shared between workers that is written while all is well.

mod story;
mod window;
mod word;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use crate::clock::{Now, jittered};
use crate::config::leaf;
use crate::filter::circuit_breaker::CircuitBreakerConfig;
use crate::outcome::Outcome;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use story::{Cause, Story};
use window::Window;
use word::{Generation, Phase, Until, Word};

/// What a breaker does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All pass.
    Closed,
    /// None pass.
    Open,
    /// A few pass, to see whether the service works again.
    HalfOpen,
}

/// What an operator wants it to be, whatever the requests say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// None pass.
    Open,
    /// All pass.
    Closed,
}

/// A breaker, shared by all workers.
#[derive(Debug)]
pub struct Breaker {
    /// The state, all of it; on a cache line of its own, which stays unwritten while all is well.
    word: CachePadded<AtomicU64>,
    rules: Rules,
    window: Option<Window>,
    /// Held by each change of phase, which are rare, and by those who look: a phase and its story belong together.
    story: Mutex<Story>,
    opened: AtomicU64,
    refused: AtomicU64,
    would_refuse: AtomicU64,
}

#[derive(Debug, Clone)]
struct Rules {
    threshold: u32,
    timeout: Duration,
    half_open_max: u32,
    error_rate: u8,
    window: leaf::Duration,
    min_requests: u32,
    shadow: bool,
}

/// A request that may be sent. How it ends is to be told; dropped without a word it counts as nothing.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts as nothing"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    ticket: Ticket,
}

/// What the end of a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ticket {
    /// For nothing: shadow mode let it pass, or an operator.
    Blank,
    /// It passed while closed.
    Counted(Generation),
    /// It is one of the few that try the service.
    Trial(Generation),
}

/// A request whose answer has begun, but does not say yet how it went: see [`Permit::began`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "how it went is to be told"]
pub struct Begun(Ticket);

/// A request that may not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When it is worth to come again; zero when that depends on how requests under way end.
    pub retry_after: Duration,
}

/// A breaker as its operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerView {
    /// What it does; an open one stays open until the first request after its time.
    pub state: State,
    /// Whether an operator wants it so.
    pub hold: Option<Hold>,
    /// Why, in words; empty when it is closed and nobody holds it.
    pub reason: String,
    /// When it came into this state; the beginning of the process if it never was in another.
    pub since: Now,
    /// How long until an open one lets a request try; zero when the next one may. `None` when it is not open, or held.
    pub retry_after: Option<Duration>,
    /// Failures in a row, while closed.
    pub failures: u32,
    /// The part of the requests within `window` that failed, 0 to 1; `None` without requests, and when only failures in
    /// a row count.
    pub error_rate: Option<f64>,
    /// How often it has opened by itself.
    pub opened: u64,
    /// Requests refused.
    pub refused: u64,
    /// Requests that would have been refused but for `shadow`.
    pub would_refuse: u64,
    /// It only counts what it would do.
    pub shadow: bool,
}

impl Breaker {
    /// A closed one.
    pub fn new(config: &CircuitBreakerConfig) -> Arc<Self> {
        let CircuitBreakerConfig {
            threshold,
            timeout,
            half_open_max,
            scope: _,
            error_rate,
            window,
            min_requests,
            shadow,
        } = config;
        let rules = Rules {
            threshold: threshold.get(),
            timeout: timeout.get(),
            half_open_max: half_open_max.get(),
            error_rate: error_rate.get(),
            window: *window,
            min_requests: min_requests.get(),
            shadow: *shadow,
        };
        let word = Word::new(Generation::FIRST, Phase::Closed { failures: 0 });
        Arc::new(Self {
            word: CachePadded::new(AtomicU64::new(word.0)),
            rules,
            window: (error_rate.get() > 0).then(|| Window::new(window.get())),
            story: Mutex::new(Story { since: Now::default(), cause: None }),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            would_refuse: AtomicU64::new(0),
        })
    }

    /// Whether a request would get a permit now; for choosing a target, and takes nothing.
    #[inline]
    pub fn admits(&self, now: Now) -> bool {
        self.rules.shadow
            || match self.word().phase() {
                Phase::Closed { .. } | Phase::Held(Hold::Closed) => true,
                Phase::Open { until } => until.is_over(now),
                Phase::HalfOpen { in_flight, .. } => in_flight < self.rules.half_open_max,
                Phase::Held(Hold::Open) => false,
            }
    }

    /// A permit to send a request; in shadow mode always.
    #[inline]
    pub fn acquire(&self, now: Now) -> Result<Permit<'_>, Refused> {
        let word = self.word();
        match word.phase() {
            Phase::Closed { .. } => Ok(self.permit(Ticket::Counted(word.generation()))),
            Phase::Held(Hold::Closed) => Ok(self.permit(Ticket::Blank)),
            _ => self.acquire_unless_open(now),
        }
    }

    /// How a request went whose answer had begun. It counts as nothing where this is never told.
    pub fn ended(&self, begun: Begun, outcome: Outcome, now: Now) {
        match (begun.0, outcome.is_failure()) {
            (Ticket::Blank, _) | (Ticket::Trial(_), false) => {}
            (Ticket::Counted(generation), false) => self.succeeded(generation, now),
            (Ticket::Counted(generation), true) => self.failed(generation, now, outcome),
            (Ticket::Trial(generation), true) => self.open(generation, Cause::Trial(outcome), now),
        }
    }

    /// The operator's word; with `None` it goes by the requests again. One that was held open is tried first, one that
    /// was held closed begins without failures.
    pub fn hold(&self, hold: Option<Hold>, now: Now) {
        let mut story = self.story.lock();
        match (self.word().phase(), hold) {
            (Phase::Held(held), Some(hold)) if held == hold => {}
            (_, Some(hold)) => self.enter(&mut story, Phase::Held(hold), None, now),
            (Phase::Held(Hold::Open), None) => {
                self.enter(&mut story, Phase::TRIAL, Some(Cause::Released), now);
            }
            (Phase::Held(Hold::Closed), None) => self.enter(&mut story, Phase::FRESH, None, now),
            (_, None) => {}
        }
    }

    /// Closed, without failures, held by nobody.
    pub fn reset(&self, now: Now) {
        let mut story = self.story.lock();
        self.enter(&mut story, Phase::FRESH, None, now);
    }

    /// What it does with requests, at the cost of a load.
    pub fn state(&self) -> State {
        self.word().phase().state()
    }

    /// As an operator sees it.
    pub fn view(&self, now: Now) -> BreakerView {
        let story = self.story.lock();
        let phase = self.word().phase();
        let tally = self.window.as_ref().map(|window| window.tally(now));
        BreakerView {
            state: phase.state(),
            hold: match phase {
                Phase::Held(hold) => Some(hold),
                _ => None,
            },
            reason: self.reason(phase, story.cause.as_ref()),
            since: story.since,
            retry_after: match phase {
                Phase::Open { until } => Some(until.left(now)),
                Phase::Closed { .. } | Phase::HalfOpen { .. } | Phase::Held(_) => None,
            },
            failures: match phase {
                Phase::Closed { failures } => failures,
                _ => 0,
            },
            error_rate: tally.and_then(window::Tally::rate),
            opened: self.opened.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            would_refuse: self.would_refuse.load(Ordering::Relaxed),
            shadow: self.rules.shadow,
        }
    }

    fn reason(&self, phase: Phase, cause: Option<&Cause>) -> String {
        let cause = || cause.map(Cause::to_string).unwrap_or_default();
        match phase {
            Phase::Closed { .. } => String::new(),
            Phase::Open { .. } => cause(),
            Phase::HalfOpen { successes, .. } => {
                format!("being tried, {successes} of {} succeeded; {}", self.rules.half_open_max, cause())
            }
            Phase::Held(Hold::Open) => "held open by an operator".to_owned(),
            Phase::Held(Hold::Closed) => "held closed by an operator".to_owned(),
        }
    }

    #[inline]
    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    #[inline]
    fn permit(&self, ticket: Ticket) -> Permit<'_> {
        Permit { breaker: self, ticket }
    }

    #[cold]
    fn acquire_unless_open(&self, now: Now) -> Result<Permit<'_>, Refused> {
        loop {
            let word = self.word();
            let generation = word.generation();
            match word.phase() {
                Phase::Closed { .. } => return Ok(self.permit(Ticket::Counted(generation))),
                Phase::Held(Hold::Closed) => return Ok(self.permit(Ticket::Blank)),
                Phase::Held(Hold::Open) => return self.refuse(self.rules.timeout),
                Phase::Open { until } if until.is_over(now) => self.half_open(generation, now),
                Phase::Open { until } => return self.refuse(until.left(now)),
                Phase::HalfOpen { in_flight, .. } if in_flight >= self.rules.half_open_max => {
                    return self.refuse(Duration::ZERO);
                }
                Phase::HalfOpen { in_flight, successes } => {
                    let taken =
                        Word::new(generation, Phase::HalfOpen { in_flight: in_flight + 1, successes });
                    if self.replace(word, taken) {
                        return Ok(self.permit(Ticket::Trial(generation)));
                    }
                }
            }
        }
    }

    fn refuse(&self, retry_after: Duration) -> Result<Permit<'_>, Refused> {
        if self.rules.shadow {
            self.would_refuse.fetch_add(1, Ordering::Relaxed);
            return Ok(self.permit(Ticket::Blank));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(Refused { retry_after })
    }

    #[inline]
    fn succeeded(&self, generation: Generation, now: Now) {
        let word = self.word();
        if word.generation() != generation {
            return;
        }
        if let Some(window) = &self.window {
            window.record(false, now);
        }
        if word.phase() != (Phase::Closed { failures: 0 }) {
            self.update(generation, |_| Phase::Closed { failures: 0 });
        }
    }

    #[cold]
    fn failed(&self, generation: Generation, now: Now, outcome: Outcome) {
        let counted = self.update(generation, |phase| match phase {
            Phase::Closed { failures } => Phase::Closed { failures: failures.saturating_add(1) },
            other => other,
        });
        let Some(Phase::Closed { failures }) = counted else { return };
        let rate = self.window.as_ref().and_then(|window| {
            window.record(true, now);
            let tally = window.tally(now);
            tally.reaches(self.rules.error_rate, self.rules.min_requests).then_some(tally)
        });
        if failures >= self.rules.threshold {
            self.open(generation, Cause::InARow { failures, last: outcome }, now);
        } else if let Some(tally) = rate {
            let window = self.rules.window;
            let cause = Cause::Rate { failures: tally.failures, requests: tally.requests, window };
            self.open(generation, cause, now);
        }
    }

    #[cold]
    fn trial_succeeded(&self, generation: Generation, now: Now) {
        let counted = self.update(generation, |phase| match phase {
            Phase::HalfOpen { in_flight, successes } => {
                Phase::HalfOpen { in_flight: in_flight.saturating_sub(1), successes: successes + 1 }
            }
            other => other,
        });
        if let Some(Phase::HalfOpen { successes, .. }) = counted
            && successes >= self.rules.half_open_max
        {
            let mut story = self.story.lock();
            if self.word().generation() == generation {
                self.enter(&mut story, Phase::FRESH, None, now);
            }
        }
    }

    /// A trial that ended without saying anything about the service.
    #[cold]
    fn trial_left(&self, generation: Generation) {
        self.update(generation, |phase| match phase {
            Phase::HalfOpen { in_flight, successes } => {
                Phase::HalfOpen { in_flight: in_flight.saturating_sub(1), successes }
            }
            other => other,
        });
    }

    #[cold]
    fn open(&self, generation: Generation, cause: Cause, now: Now) {
        let mut story = self.story.lock();
        if self.word().generation() == generation {
            let until = Until::after(now, jittered(self.rules.timeout));
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.enter(&mut story, Phase::Open { until }, Some(cause), now);
        }
    }

    fn half_open(&self, generation: Generation, now: Now) {
        let mut story = self.story.lock();
        if self.word().generation() == generation {
            let cause = story.cause.take();
            self.enter(&mut story, Phase::TRIAL, cause, now);
        }
    }

    /// The one way into another phase. Only who holds the story changes the generation, so nothing can come between;
    /// counts that are taken meanwhile belong to the old generation and go with it.
    fn enter(&self, story: &mut Story, phase: Phase, cause: Option<Cause>, now: Now) {
        if let (Phase::Closed { .. }, Some(window)) = (phase, &self.window) {
            window.clear();
        }
        let next = Word::new(self.word().generation().next(), phase);
        self.word.store(next.0, Ordering::Release);
        *story = Story { since: now, cause };
    }

    /// Changes the counts of a phase; `None` when another one has begun.
    fn update(&self, generation: Generation, change: impl Fn(Phase) -> Phase) -> Option<Phase> {
        loop {
            let word = self.word();
            if word.generation() != generation {
                return None;
            }
            let phase = change(word.phase());
            if self.replace(word, Word::new(generation, phase)) {
                return Some(phase);
            }
        }
    }

    fn replace(&self, word: Word, by: Word) -> bool {
        self.word.compare_exchange_weak(word.0, by.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Phase {
    const FRESH: Self = Self::Closed { failures: 0 };
    const TRIAL: Self = Self::HalfOpen { in_flight: 0, successes: 0 };

    const fn state(self) -> State {
        match self {
            Self::Closed { .. } | Self::Held(Hold::Closed) => State::Closed,
            Self::Open { .. } | Self::Held(Hold::Open) => State::Open,
            Self::HalfOpen { .. } => State::HalfOpen,
        }
    }
}

impl Permit<'_> {
    /// The service did what it should.
    #[inline]
    pub fn succeeded(self, now: Now) {
        match self.ticket {
            Ticket::Blank => {}
            Ticket::Counted(generation) => self.breaker.succeeded(generation, now),
            Ticket::Trial(generation) => self.breaker.trial_succeeded(generation, now),
        }
        self.told();
    }

    /// The service failed, and how.
    pub fn failed(self, now: Now, outcome: Outcome) {
        match self.ticket {
            Ticket::Blank => {}
            Ticket::Counted(generation) => self.breaker.failed(generation, now, outcome),
            Ticket::Trial(generation) => {
                self.breaker.open(generation, Cause::Trial(outcome), now);
            }
        }
        self.told();
    }

    /// The service has begun an answer of which only the end says how it went, as that of a gRPC call does; to be told
    /// with [`Breaker::ended`]. An answer may take hours, so a trial is a success until its end says otherwise.
    pub fn began(self, now: Now) -> Begun {
        let begun = Begun(self.ticket);
        if let Ticket::Trial(generation) = self.ticket {
            self.breaker.trial_succeeded(generation, now);
        }
        self.told();
        begun
    }

    /// Its drop has nothing to tell any more; that way a permit stays in registers, which halves what it costs.
    #[inline]
    fn told(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Ticket::Trial(generation) = self.ticket {
            self.breaker.trial_left(generation);
        }
    }
}
