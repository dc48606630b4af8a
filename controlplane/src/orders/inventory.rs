//! What a config has that an order can be about: its targets by upstream, and its routes with a circuit breaker.

use policy::config::GatewayConfig;
use policy::diagnostic::nearest;
use policy::filter::FilterConfig;
use std::collections::BTreeMap;

/// The names in a config.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    upstreams: BTreeMap<String, Vec<Known>>,
    /// Whether each route has a circuit breaker.
    routes: BTreeMap<String, bool>,
}

#[derive(Debug)]
struct Known {
    addr: String,
    weight: u32,
}

impl Inventory {
    pub(crate) fn of(config: &GatewayConfig) -> Self {
        let is_breaker = |filter: &FilterConfig| matches!(filter, FilterConfig::CircuitBreaker(_));
        let everywhere = config.global_filters.iter().any(is_breaker);
        let named = config.upstreams.iter().map(|upstream| (&upstream.name, &upstream.targets));
        let inline = config.routes.iter().map(|route| (&route.name, &route.targets));
        let upstreams = named.chain(inline).filter(|(_, targets)| !targets.is_empty());
        Self {
            upstreams: upstreams
                .map(|(name, targets)| {
                    let known = |target: &policy::config::TargetConfig| Known {
                        addr: target.addr.to_string(),
                        weight: target.weight,
                    };
                    (name.clone(), targets.iter().map(known).collect())
                })
                .collect(),
            routes: config
                .routes
                .iter()
                .map(|route| (route.name.clone(), everywhere || route.filters.iter().any(is_breaker)))
                .collect(),
        }
    }

    /// A target's address as the config writes it, or why there is none.
    pub(crate) fn target(&self, upstream: &str, addr: &str) -> Result<String, String> {
        let Some(targets) = self.upstreams.get(upstream) else {
            let near = nearest(upstream, self.upstreams.keys().map(String::as_str));
            return Err(format!("no upstream is named `{upstream}`{}", did_you_mean(near)));
        };
        if let Some(known) = targets.iter().find(|known| is_meant(&known.addr, addr)) {
            return Ok(known.addr.clone());
        }
        let near = nearest(addr, targets.iter().flat_map(|known| [known.addr.as_str(), host(&known.addr)]));
        Err(format!("`{upstream}` has no target `{addr}`{}", did_you_mean(near)))
    }

    /// Whether a route has a circuit breaker; or why it cannot be ordered.
    pub(crate) fn breaker(&self, route: &str) -> Result<(), String> {
        match self.routes.get(route) {
            Some(true) => Ok(()),
            Some(false) => Err(format!("the route `{route}` has no circuit_breaker")),
            None => {
                let near = nearest(route, self.routes.keys().map(String::as_str));
                Err(format!("no route is named `{route}`{}", did_you_mean(near)))
            }
        }
    }

    pub(crate) fn has_target(&self, upstream: &str, addr: &str) -> bool {
        self.upstreams.get(upstream).is_some_and(|targets| targets.iter().any(|known| known.addr == addr))
    }

    pub(crate) fn has_breaker(&self, route: &str) -> bool {
        self.routes.get(route) == Some(&true)
    }

    /// Whether an upstream has targets by its config, and none of them once these are drained.
    pub(crate) fn is_emptied(&self, upstream: &str, is_drained: impl Fn(&str) -> bool) -> bool {
        let Some(targets) = self.upstreams.get(upstream) else { return false };
        let mut wanted = targets.iter().filter(|known| known.weight > 0);
        wanted.all(|known| is_drained(&known.addr))
    }
}

fn is_meant(known: &str, written: &str) -> bool {
    known == written || host(known) == written
}

/// `http://10.0.0.7:8080` without its scheme.
fn host(addr: &str) -> &str {
    addr.split_once("://").map_or(addr, |(_, host)| host)
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}
