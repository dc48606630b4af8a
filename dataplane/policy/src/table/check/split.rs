//! Whether the shares of a `split` tell their upstreams apart.

use super::{Check, Names};
use crate::config::leaf::Fault;
use crate::config::split::ShareConfig;
use crate::diagnostic::{Code, Place, Problem};
use foldhash::fast::RandomState;
use std::collections::HashMap;

impl Check<'_> {
    pub(super) fn split(&mut self, shares: &[ShareConfig], path: &Place<'_>) {
        if shares.iter().all(|share| share.weight == 0) {
            let message = "every share has the weight 0, so none gets requests";
            let problem = Problem::new(Code::NO_WEIGHT, *path, message);
            self.report(problem.help("give at least one of them a weight of 1 or more"));
        }
        let mut seen = Names::default();
        // a breaker of the route goes by the address of its target
        let mut addresses: HashMap<_, usize, RandomState> = HashMap::default();
        for (at, share) in shares.iter().enumerate() {
            let entry = path.index(at);
            let place = entry.key("upstream");
            self.conditions(share, &entry);
            if let Some(first) = seen.insert(&share.upstream, at) {
                let message = format!("`{}` has two shares of one split", share.upstream);
                let problem = Problem::new(Code::DUPLICATE_NAME, place, message)
                    .help("remove one of them, and give the other the sum of the weights")
                    .related(path.index(first).key("upstream"), "the first one");
                self.report(problem);
                continue;
            }
            let Some(upstream) = self.known_upstream(&share.upstream, &place) else { continue };
            for target in &upstream.targets {
                let Some(first) = addresses.insert(&target.addr, at).filter(|first| *first != at) else {
                    continue;
                };
                let other = &shares[first].upstream;
                let message =
                    format!("`{}` is a target of `{}` and of `{other}`", target.addr, upstream.name);
                let problem = Problem::new(Code::DUPLICATE_TARGET, place, message)
                    .help("a split is between groups of different targets: take it out of one of them")
                    .related(path.index(first).key("upstream"), format!("the share of `{other}`"));
                self.report(problem);
            }
        }
    }

    fn conditions(&mut self, share: &ShareConfig, entry: &Place<'_>) {
        let when = entry.key("when");
        for (at, condition) in share.when.iter().enumerate() {
            let Err(Fault { message, at: key, help }) = condition.check() else { continue };
            let place = when.index(at);
            let place = key.as_deref().map_or(place, |key| place.key(key));
            self.report(Problem { help, ..Problem::new(Code::BAD_VALUE, place, message) });
        }
    }
}
