//! Where the access logs of a table go, each place once.

use super::{Edge, Route};
use crate::config::GatewayConfig;
use crate::filter::FilterConfig;
use crate::filter::logging::{LogOutput, Logging, LoggingConfig};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;

/// A place to which some access log of a table goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDestination {
    /// Which.
    pub output: LogOutput,
    /// The key of the config that names it first: `global_filters[0].logging.output`.
    pub named_at: String,
}

/// Gives every route its access log, and requests that no route takes theirs; says where they all go.
pub(super) fn place(
    config: &GatewayConfig,
    routes: &mut [Route],
    unrouted: &mut Edge,
) -> Box<[LogDestination]> {
    let mut logs = Logs::default();
    // one for all that have none of their own
    let global = logs.of(&config.global_filters, || "global_filters".to_owned());
    for (at, (route, config)) in routes.iter_mut().zip(&config.routes).enumerate() {
        let own = logs.of(&config.filters, || format!("routes[{at}].filters"));
        route.chain.edge.logging = own.or_else(|| global.clone());
    }
    unrouted.logging = global;
    logs.destinations.into()
}

#[derive(Default)]
struct Logs<'c> {
    known: HashMap<&'c LogOutput, usize, RandomState>,
    destinations: Vec<LogDestination>,
}

impl<'c> Logs<'c> {
    fn of(&mut self, filters: &'c [FilterConfig], list: impl Fn() -> String) -> Option<Arc<Logging>> {
        let (at, config) = filters.iter().enumerate().find_map(|(at, filter)| match filter {
            FilterConfig::Logging(config) => Some((at, config)),
            _ => None,
        })?;
        let outputs = self.outputs(config, || format!("{}[{at}].logging.output", list()));
        Some(Arc::new(Logging { config: config.clone(), outputs }))
    }

    fn outputs(&mut self, config: &'c LoggingConfig, named_at: impl Fn() -> String) -> Box<[usize]> {
        let Self { known, destinations } = self;
        let position = |output: &'c LogOutput| {
            *known.entry(output).or_insert_with(|| {
                destinations.push(LogDestination { output: output.clone(), named_at: named_at() });
                destinations.len() - 1
            })
        };
        config.output.as_slice().iter().map(position).collect()
    }
}
