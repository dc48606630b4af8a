//! How fast counts grow, from one report to the next: a total alone does not say whether it is happening now.

use policy::clock::Now;
use proto::v1::{Counter, InstanceStatus};
use std::collections::HashMap;
use std::hash::Hash;

/// The report of the last tick, with its rates.
#[derive(Debug, Default)]
pub struct Rates {
    last: Option<(Now, InstanceStatus)>,
}

impl Rates {
    /// At every tick: what grew since the one before.
    pub fn tick(&mut self, status: &mut InstanceStatus, now: Now) {
        if let Some((then, before)) = &self.last {
            let seconds = now.since(*then).as_secs_f64().max(f64::MIN_POSITIVE);
            // a count that is less than it was began anew in between, as that of an edited limit does
            let grown = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
            fill(status, before, |count, before| grown(count.total, before.total) as f64 / seconds);
        }
        self.last = Some((now, status.clone()));
    }

    /// Between two ticks: as it was at the last one. The time since may be too short to say anything.
    pub fn carry_over(&self, status: &mut InstanceStatus) {
        if let Some((_, before)) = &self.last {
            fill(status, before, |_, before| before.per_second);
        }
    }
}

/// Fills in every rate by the count and what it was before; what is new has none yet.
fn fill(status: &mut InstanceStatus, before: &InstanceStatus, rate: impl Fn(Counter, Counter) -> f64) {
    let count = |total, per_second| Counter { total, per_second };
    let counter = |now: &mut Option<Counter>, before: Option<Counter>| {
        if let (Some(now), Some(before)) = (now, before) {
            now.per_second = rate(*now, before);
        }
    };
    status.requests_per_second =
        rate(count(status.requests_total, 0.0), count(before.requests_total, before.requests_per_second));
    pair(
        &mut status.targets,
        &before.targets,
        |one| (one.upstream.clone(), one.addr.clone()),
        |now, before| {
            now.requests_per_second = rate(
                count(now.requests_total, 0.0),
                count(before.requests_total, before.requests_per_second),
            );
            now.failures_per_second = rate(
                count(now.failures_total, 0.0),
                count(before.failures_total, before.failures_per_second),
            );
        },
    );
    pair(
        &mut status.breakers,
        &before.breakers,
        |one| (one.route.clone(), one.target.clone()),
        |now, before| {
            counter(&mut now.refused, before.refused);
            counter(&mut now.would_refuse, before.would_refuse);
        },
    );
    pair(
        &mut status.limiters,
        &before.limiters,
        |one| (one.route.clone(), one.global),
        |now, before| {
            counter(&mut now.passed, before.passed);
            counter(&mut now.delayed, before.delayed);
            counter(&mut now.limited, before.limited);
            counter(&mut now.would_limit, before.would_limit);
        },
    );
    let key = |one: &proto::v1::ConcurrencyStatus| (one.route.clone(), one.target.clone());
    pair(&mut status.concurrency, &before.concurrency, key, |now, before| {
        counter(&mut now.refused, before.refused);
        counter(&mut now.waited, before.waited);
    });
    pair(
        &mut status.retries,
        &before.retries,
        |one| one.route.clone(),
        |now, before| {
            counter(&mut now.retries, before.retries);
            counter(&mut now.denied, before.denied);
        },
    );
}

/// Calls `each` with every thing and what it was before.
fn pair<T, K: Eq + Hash>(now: &mut [T], before: &[T], key: impl Fn(&T) -> K, each: impl Fn(&mut T, &T)) {
    let before: HashMap<K, &T> = before.iter().map(|one| (key(one), one)).collect();
    for one in now {
        if let Some(before) = before.get(&key(one)) {
            each(one, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::{LimiterStatus, TargetStatus};
    use std::time::Duration;

    fn report(requests_total: u64, limited: u64, targets: &[&str]) -> InstanceStatus {
        let target = |addr: &&str| TargetStatus {
            upstream: "users".to_owned(),
            addr: (*addr).to_owned(),
            requests_total,
            ..TargetStatus::default()
        };
        let limited = Some(Counter { total: limited, per_second: 0.0 });
        InstanceStatus {
            requests_total,
            targets: targets.iter().map(target).collect(),
            limiters: vec![LimiterStatus { route: "r".to_owned(), limited, ..LimiterStatus::default() }],
            ..InstanceStatus::default()
        }
    }

    #[test]
    fn what_grew_between_two_ticks_is_told_until_the_next_one() {
        let mut rates = Rates::default();
        let at = |seconds| Now::default().after(Duration::from_secs(seconds));
        let mut first = report(100, 7, &["a"]);
        rates.tick(&mut first, at(10));
        assert_eq!(first.requests_per_second, 0.0, "nothing to compare with");
        let mut second = report(600, 57, &["a", "new"]);
        rates.tick(&mut second, at(15));
        assert_eq!((second.requests_per_second, second.targets[0].requests_per_second), (100.0, 100.0));
        assert_eq!(second.limiters[0].limited.unwrap().per_second, 10.0);
        assert_eq!(second.targets[1].requests_per_second, 0.0);
        let mut between = report(601, 57, &["a"]);
        rates.carry_over(&mut between);
        assert_eq!((between.requests_per_second, between.targets[0].requests_per_second), (100.0, 100.0));
        let mut restarted = report(20, 20, &["a"]);
        rates.tick(&mut restarted, at(20));
        assert_eq!(restarted.limiters[0].limited.unwrap().per_second, 4.0, "an edited limiter counts anew");
    }
}
