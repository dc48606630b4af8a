//! An adaptive limit in front of a simulated service: where it settles, and that it stays there.
//!
//! The service has so many places to work in; with more requests than places, all of them slow down alike. Requests
//! come by chance, at a rate that does not care how many are refused.

use super::tests::concurrency;
use super::*;
use http::StatusCode;
use std::collections::BTreeMap;

const OK: Option<Outcome> = Some(Outcome::Response(StatusCode::OK));

#[derive(Debug, Clone, Copy)]
struct Service {
    places: u32,
    /// What a request takes on average, in seconds, while there is a place for each.
    latency: f64,
}

struct Simulation {
    limit: Arc<Concurrency>,
    service: Service,
    random: fastrand::Rng,
    /// In seconds.
    now: f64,
    /// What the service has done for each of its requests, in seconds of work.
    work: f64,
    /// By the work, in nanoseconds, at which a request is done: since when, and its slot.
    under_way: BTreeMap<u64, (f64, Slot)>,
}

/// What happened in a span of time.
#[derive(Debug, Default)]
struct Seen {
    answered: f64,
    latency: f64,
    refused: f64,
    limit: f64,
    samples: f64,
    least: u32,
    most: u32,
}

impl Service {
    /// Requests a second.
    fn capacity(self) -> f64 {
        f64::from(self.places) / self.latency
    }
}

impl Simulation {
    fn new(settings: &str, service: Service) -> Self {
        // the one thing by chance within the limit itself: when it measures
        fastrand::seed(7);
        let limit = concurrency(&format!("adaptive: true, {settings}"));
        let random = fastrand::Rng::with_seed(1);
        Self { limit, service, random, now: 0.0, work: 0.0, under_way: BTreeMap::new() }
    }

    /// So many requests a second, for so many seconds.
    fn run(&mut self, rate: f64, seconds: f64) -> Seen {
        let mut seen = Seen { least: u32::MAX, ..Seen::default() };
        let end = self.now + seconds;
        let mut arrival = self.now + self.pause(rate);
        while self.now < end {
            let speed = (f64::from(self.service.places) / self.under_way.len() as f64).min(1.0);
            let first = self.under_way.first_key_value().map(|(due, _)| *due as f64 / 1e9);
            let done = first.map_or(f64::INFINITY, |due| self.now + (due - self.work) / speed);
            let next = arrival.min(done);
            self.work += (next - self.now) * speed;
            self.now = next;
            if done <= arrival {
                self.leave(&mut seen)
            } else {
                self.come(&mut seen)
            }
            if done > arrival {
                arrival += self.pause(rate);
            }
        }
        seen.latency /= seen.answered;
        seen.limit /= seen.samples;
        seen.answered /= seconds;
        seen.refused /= seconds;
        seen
    }

    /// Until the next request, at so many a second.
    fn pause(&mut self, rate: f64) -> f64 {
        -(1.0 - self.random.f64()).ln() / rate
    }

    fn come(&mut self, seen: &mut Seen) {
        let limit = self.limit.view().limit;
        (seen.least, seen.most) = (seen.least.min(limit), seen.most.max(limit));
        (seen.limit, seen.samples) = (seen.limit + f64::from(limit), seen.samples + 1.0);
        let Some(slot) = self.limit.try_acquire() else {
            seen.refused += 1.0;
            return;
        };
        let work = self.service.latency * (0.5 + self.random.f64());
        let mut due = ((self.work + work) * 1e9) as u64;
        while self.under_way.contains_key(&due) {
            due += 1;
        }
        self.under_way.insert(due, (self.now, slot));
    }

    fn leave(&mut self, seen: &mut Seen) {
        let (_, (began, slot)) = self.under_way.pop_first().expect("one that is done");
        let latency = self.now - began;
        seen.answered += 1.0;
        seen.latency += latency;
        let now = Now::from_nanos((self.now * 1e9) as u64);
        slot.finished(Duration::from_secs_f64(latency), now, OK);
    }
}

/// Overloaded or nearly so, for as long as one likes: the service does nearly all it can, no request takes much longer
/// than without load, and the limit does not creep.
#[test]
fn it_settles_where_the_service_is_busy_and_still_quick() {
    for (places, latency, load) in [
        (4, 0.010, 1.1),
        (4, 0.010, 3.0),
        (10, 0.020, 2.0),
        (50, 0.100, 1.1),
        (50, 0.100, 3.0),
        (100, 0.200, 2.0),
    ] {
        let service = Service { places, latency };
        let mut simulation = Simulation::new("max: 1000", service);
        let rate = load * service.capacity();
        simulation.run(rate, 30.0);
        for minute in 1..=4 {
            let seen = simulation.run(rate, 60.0);
            let (places, done) = (f64::from(places), seen.answered / service.capacity());
            let what = format!("{service:?} at {load}, minute {minute}: {seen:?}");
            assert!(done > 0.92, "busy: {what}");
            assert!(seen.latency < 3.0 * latency, "quick: {what}");
            assert!((places..places * 3.5).contains(&seen.limit), "sane: {what}");
        }
    }
}

#[test]
fn a_service_with_little_to_do_is_left_alone() {
    let service = Service { places: 50, latency: 0.100 };
    let mut simulation = Simulation::new("max: 1000", service);
    let seen = simulation.run(0.2 * service.capacity(), 120.0);
    assert_eq!(seen.refused, 0.0, "{seen:?}");
    assert!(seen.most < 50, "no limit grows that is not in use: {seen:?}");
}

#[test]
fn a_large_service_is_not_starved_at_the_start() {
    let service = Service { places: 200, latency: 0.100 };
    let mut simulation = Simulation::new("max: 1000", service);
    let load = 0.9 * service.capacity();
    assert!(simulation.run(load, 3.0).most > 100);
    let seen = simulation.run(load, 3.0);
    assert!(seen.refused < 0.05 * load, "{seen:?}");
}

#[test]
fn it_follows_a_service_that_loses_half_of_its_places() {
    let mut simulation = Simulation::new("max: 1000", Service { places: 60, latency: 0.100 });
    let rate = 1.5 * simulation.service.capacity();
    simulation.run(rate, 60.0);
    simulation.service.places = 30;
    simulation.run(rate, 10.0);
    let seen = simulation.run(rate, 60.0);
    assert!((30.0..30.0 * 2.5).contains(&seen.limit), "{seen:?}");
    assert!(seen.answered > 0.92 * simulation.service.capacity() && seen.latency < 0.250, "{seen:?}");
}

/// What takes longer without load, too, is no reason to refuse.
#[test]
fn it_learns_that_the_service_has_become_slower() {
    let mut simulation = Simulation::new("max: 1000", Service { places: 50, latency: 0.050 });
    let rate = 3.0 * simulation.service.capacity();
    simulation.run(rate, 60.0);
    simulation.service.latency = 0.200;
    simulation.run(rate, 60.0);
    let seen = simulation.run(rate, 60.0);
    assert!(seen.answered > 0.92 * simulation.service.capacity() && seen.latency < 0.600, "{seen:?}");
}
