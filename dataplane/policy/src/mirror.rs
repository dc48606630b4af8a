//! A route's `mirror` at run time: which requests are copied, and how many copies there may be at a time.

use crate::config::mirror::MirrorConfig;
use crate::upstream::Upstream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where copies of a route's requests go.
#[derive(Debug)]
pub struct Mirror {
    /// Whose targets get them.
    pub upstream: Arc<Upstream>,
    config: MirrorConfig,
    /// Copies in memory or on their way; of this table and of those before it.
    in_flight: Arc<AtomicU32>,
}

/// Whether a request is copied.
#[derive(Debug)]
pub enum Sampled {
    /// It is none of those.
    No,
    /// It would be, if there were not too many already.
    Full,
    /// It is.
    Yes(Place),
}

/// A place among the copies; free again when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicU32>);

/// What becomes of a request that is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirrored {
    /// It was answered with a status below 500.
    Success,
    /// It was answered with 500 or more, or not at all.
    Failure,
    /// There was no answer in time.
    Timeout,
    /// Its body is too large.
    TooLarge,
    /// There were too many copies.
    Overflow,
    /// The client, or the target that it was for, did not wait for the end of its body.
    Incomplete,
}

impl Mirrored {
    /// Each of them, with its name in metrics.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Success, "success"),
        (Self::Failure, "failure"),
        (Self::Timeout, "timeout"),
        (Self::TooLarge, "too_large"),
        (Self::Overflow, "overflow"),
        (Self::Incomplete, "incomplete"),
    ];
}

impl Mirror {
    pub(crate) fn build(config: &MirrorConfig, upstream: Arc<Upstream>, before: Option<&Self>) -> Self {
        let in_flight = before.map_or_else(Arc::default, |before| before.in_flight.clone());
        Self { upstream, config: config.clone(), in_flight }
    }

    /// Whether the next request is copied.
    pub fn sample(&self) -> Sampled {
        if !self.config.percent.0.chooses() {
            return Sampled::No;
        }
        let most = self.config.max_in_flight.get();
        let one_more = |now| (now < most).then_some(now + 1);
        match self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Sampled::Yes(Place(self.in_flight.clone())),
            Err(_) => Sampled::Full,
        }
    }

    /// How large a body may be that is copied, in bytes.
    pub fn max_body(&self) -> usize {
        usize::try_from(self.config.max_body.0).unwrap_or(usize::MAX)
    }

    /// How long a copy may take.
    pub fn timeout(&self) -> Duration {
        self.config.timeout.get()
    }

    /// What it was built from.
    pub fn config(&self) -> &MirrorConfig {
        &self.config
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GatewayConfig;
    use crate::table::RouteTable;
    use serde_json::{Value, json};

    fn table(mirror: Value, before: Option<&RouteTable>) -> RouteTable {
        let config: GatewayConfig = serde_json::from_value(json!({
            "upstreams": [
                {"name": "users", "targets": [{"addr": "http://10.0.0.1:80"}]},
                {"name": "shadow", "targets": [{"addr": "http://10.0.0.2:80"}]},
            ],
            "routes": [{"name": "r", "prefix": "/", "upstream": "users", "mirror": mirror}],
        }))
        .unwrap();
        RouteTable::build(&config, before).unwrap()
    }

    fn mirror(table: &RouteTable) -> &Mirror {
        table.routes[0].mirror.as_deref().unwrap()
    }

    #[test]
    fn there_are_only_so_many_copies_at_a_time_whatever_the_config_becomes() {
        let first = table(json!({"upstream": "shadow", "max_in_flight": 2}), None);
        let one = mirror(&first).sample();
        let two = mirror(&first).sample();
        assert!(matches!((&one, &two), (Sampled::Yes(_), Sampled::Yes(_))));
        assert!(matches!(mirror(&first).sample(), Sampled::Full));
        let second = table(json!({"upstream": "shadow", "max_in_flight": 2, "percent": "100"}), Some(&first));
        assert!(matches!(mirror(&second).sample(), Sampled::Full));
        drop(one);
        assert!(matches!(mirror(&second).sample(), Sampled::Yes(_)));
    }

    #[test]
    fn so_many_of_a_hundred_are_copied() {
        fastrand::seed(7);
        let of_a_thousand = |percent: &str| {
            let table = table(json!({"upstream": "shadow", "percent": percent}), None);
            (0..1000).filter(|_| matches!(mirror(&table).sample(), Sampled::Yes(_))).count()
        };
        assert_eq!((of_a_thousand("0"), of_a_thousand("100")), (0, 1000));
        let quarter = of_a_thousand("25");
        assert!((200..300).contains(&quarter), "{quarter}");
    }
}
