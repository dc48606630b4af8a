//! The breaker against the plainest one that can be written, over any sequence of events.

use super::tests::breaker;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const TIMEOUT_MS: u64 = 1000;
const WINDOW_MS: u64 = 2000;
const FAILURE: Outcome = Outcome::Reset;

#[derive(Debug, Clone, Copy)]
struct Settings {
    threshold: u32,
    half_open_max: u32,
    error_rate: usize,
    min_requests: usize,
    shadow: bool,
}

#[derive(Debug, Clone)]
enum Event {
    Pause(u64),
    Acquire,
    /// A request that is under way ends well, badly, or without a word.
    End(Index, Option<bool>),
    Hold(Option<Hold>),
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Closed,
    /// The end is by chance, so it is read from the real one and checked.
    Open {
        until_ms: Option<u64>,
    },
    HalfOpen,
    Held(Hold),
}

/// A permit counts in the phase in which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pass {
    phase: u32,
    trial: bool,
}

/// One thread, a log of everything, nothing packed.
#[derive(Debug)]
struct Model {
    settings: Settings,
    now_ms: u64,
    mode: Mode,
    phase: u32,
    since_ms: u64,
    failures: u32,
    in_flight: u32,
    successes: u32,
    log: Vec<(u64, bool)>,
    opened: u64,
    refused: u64,
}

impl Model {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            now_ms: 0,
            mode: Mode::Closed,
            phase: 0,
            since_ms: 0,
            failures: 0,
            in_flight: 0,
            successes: 0,
            log: Vec::new(),
            opened: 0,
            refused: 0,
        }
    }

    fn now(&self) -> Now {
        Now::from_nanos(self.now_ms * 1_000_000)
    }

    fn enter(&mut self, mode: Mode) {
        (self.mode, self.phase, self.since_ms) = (mode, self.phase + 1, self.now_ms);
        (self.failures, self.in_flight, self.successes) = (0, 0, 0);
        if mode == Mode::Closed {
            self.log.clear();
        }
    }

    fn open(&mut self) {
        self.opened += 1;
        self.enter(Mode::Open { until_ms: None });
    }

    fn is_due(&self) -> bool {
        matches!(self.mode, Mode::Open { until_ms: Some(until) } if self.now_ms >= until)
    }

    fn admits(&self) -> bool {
        self.settings.shadow
            || match self.mode {
                Mode::Closed | Mode::Held(Hold::Closed) => true,
                Mode::Open { .. } => self.is_due(),
                Mode::HalfOpen => self.in_flight < self.settings.half_open_max,
                Mode::Held(Hold::Open) => false,
            }
    }

    /// `Some(None)` is a permit that counts as nothing.
    fn acquire(&mut self) -> Option<Option<Pass>> {
        if self.is_due() {
            self.enter(Mode::HalfOpen);
        }
        let trial = self.mode == Mode::HalfOpen;
        match self.mode {
            Mode::Held(Hold::Closed) => return Some(None),
            Mode::Closed => {}
            Mode::HalfOpen if self.in_flight < self.settings.half_open_max => self.in_flight += 1,
            Mode::HalfOpen | Mode::Open { .. } | Mode::Held(Hold::Open) => {
                self.refused += 1;
                return self.settings.shadow.then_some(None);
            }
        }
        Some(Some(Pass { phase: self.phase, trial }))
    }

    fn end(&mut self, pass: Option<Pass>, well: Option<bool>) {
        let Some(Pass { trial, .. }) = pass.filter(|pass| pass.phase == self.phase) else { return };
        if trial {
            self.in_flight -= 1;
        } else {
            self.log.extend(well.map(|well| (self.now_ms, !well)));
        }
        match (trial, well) {
            (_, None) => {}
            (true, Some(true)) => {
                self.successes += 1;
                if self.successes == self.settings.half_open_max {
                    self.enter(Mode::Closed);
                }
            }
            (true, Some(false)) => self.open(),
            (false, Some(true)) => self.failures = 0,
            (false, Some(false)) => {
                self.failures += 1;
                if self.failures == self.settings.threshold || self.rate_is_reached() {
                    self.open();
                }
            }
        }
    }

    fn hold(&mut self, hold: Option<Hold>) {
        match (self.mode, hold) {
            (Mode::Held(held), Some(hold)) if held == hold => {}
            (_, Some(hold)) => self.enter(Mode::Held(hold)),
            (Mode::Held(Hold::Open), None) => self.enter(Mode::HalfOpen),
            (Mode::Held(Hold::Closed), None) => self.enter(Mode::Closed),
            (_, None) => {}
        }
    }

    /// How many of the window's requests failed, and how many there were.
    fn tally(&self) -> (usize, usize) {
        let tick = |ms: u64| ms / (WINDOW_MS / 10);
        let recent = self.log.iter().filter(|(at, _)| tick(self.now_ms) - tick(*at) < 10);
        (recent.clone().filter(|(_, failed)| *failed).count(), recent.count())
    }

    fn rate_is_reached(&self) -> bool {
        let (failed, all) = self.tally();
        let wanted = self.settings.error_rate;
        wanted > 0 && all >= self.settings.min_requests && failed * 100 >= wanted * all
    }

    /// What the real one must show.
    fn view(&self) -> BreakerView {
        let (failed, all) = self.tally();
        let counts = self.settings.error_rate > 0 && all > 0;
        BreakerView {
            state: match self.mode {
                Mode::Closed | Mode::Held(Hold::Closed) => State::Closed,
                Mode::Open { .. } | Mode::Held(Hold::Open) => State::Open,
                Mode::HalfOpen => State::HalfOpen,
            },
            hold: match self.mode {
                Mode::Held(hold) => Some(hold),
                _ => None,
            },
            reason: String::new(),
            since: Now::from_nanos(self.since_ms * 1_000_000),
            retry_after: match self.mode {
                Mode::Open { until_ms: Some(until) } => {
                    Some(Duration::from_millis(until.saturating_sub(self.now_ms)))
                }
                _ => None,
            },
            failures: self.failures,
            error_rate: counts.then(|| failed as f64 / all as f64),
            opened: self.opened,
            refused: if self.settings.shadow { 0 } else { self.refused },
            would_refuse: if self.settings.shadow { self.refused } else { 0 },
            shadow: self.settings.shadow,
        }
    }

    /// Both are the same, and whoever is not all right says why.
    fn agrees(&mut self, real: &Breaker) -> Result<(), TestCaseError> {
        let now = self.now();
        let view = real.view(now);
        if let (Mode::Open { until_ms: None }, Some(left)) = (self.mode, view.retry_after) {
            let lasts = left.as_millis() as u64;
            prop_assert!((TIMEOUT_MS..=TIMEOUT_MS * 11 / 10).contains(&lasts), "open for {} ms", lasts);
            self.mode = Mode::Open { until_ms: Some(self.now_ms + lasts) };
        }
        let quiet = view.state == State::Closed && view.hold.is_none();
        prop_assert_eq!(view.reason.is_empty(), quiet, "{}", view.reason);
        prop_assert_eq!(BreakerView { reason: String::new(), ..view }, self.view());
        prop_assert_eq!(real.admits(now), self.admits());
        Ok(())
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    (1..5u32, 1..4u32, select(vec![0, 30, 50, 100]), 1..6usize, any::<bool>()).prop_map(
        |(threshold, half_open_max, error_rate, min_requests, shadow)| Settings {
            threshold,
            half_open_max,
            error_rate,
            min_requests,
            shadow,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let well = select(vec![None, Some(true), Some(true), Some(false), Some(false), Some(false)]);
    let hold = select(vec![None, Some(Hold::Open), Some(Hold::Closed)]);
    prop_oneof![
        3 => (0..TIMEOUT_MS * 3 / 2).prop_map(Event::Pause),
        10 => Just(Event::Acquire),
        12 => (any::<Index>(), well).prop_map(|(which, well)| Event::End(which, well)),
        1 => hold.prop_map(Event::Hold),
        1 => Just(Event::Reset),
    ]
}

fn end(permit: Permit<'_>, well: Option<bool>, now: Now) {
    match well {
        None => drop(permit),
        Some(true) => permit.succeeded(now),
        Some(false) => permit.failed(now, FAILURE),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_does_what_the_plainest_one_does(settings in settings(), events in vec(event(), 1..150)) {
        let Settings { threshold, half_open_max, error_rate, min_requests, shadow } = settings;
        let real = breaker(&format!(
            "threshold: {threshold}, timeout: {TIMEOUT_MS}ms, half_open_max: {half_open_max}, \
             error_rate: {error_rate}%, window: {WINDOW_MS}ms, min_requests: {min_requests}, shadow: {shadow}"
        ));
        let mut model = Model::new(settings);
        let mut under_way: Vec<(Permit<'_>, Option<Pass>)> = Vec::new();
        for event in events {
            match event {
                Event::Pause(ms) => model.now_ms += ms,
                Event::Acquire => match (real.acquire(model.now()), model.acquire()) {
                    (Ok(permit), Some(pass)) => under_way.push((permit, pass)),
                    (Err(_), None) => {}
                    (real, model) => prop_assert!(false, "{real:?}, not {model:?}"),
                },
                Event::End(..) if under_way.is_empty() => {}
                Event::End(which, well) => {
                    let (permit, pass) = under_way.swap_remove(which.index(under_way.len()));
                    end(permit, well, model.now());
                    model.end(pass, well);
                }
                Event::Hold(hold) => {
                    real.hold(hold, model.now());
                    model.hold(hold);
                }
                Event::Reset => {
                    real.reset(model.now());
                    model.enter(Mode::Closed);
                }
            }
            model.agrees(&real)?;
        }
        drop(under_way);
    }
}
