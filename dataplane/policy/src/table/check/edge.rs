//! Whether `authorize`, `body_limit` and `tracing` can do what they say where they stand.

use super::{Check, GLOBAL_FILTERS};
use crate::config::RouteConfig;
use crate::diagnostic::{Code, Place, Problem};
use crate::filter::FilterConfig;
use crate::filter::body_limit::BodyLimitConfig;

impl Check<'_> {
    /// `authorize` asks what a caller may do, so something must have found out who it is.
    pub(super) fn authorize(&mut self, route: &RouteConfig, path: &Place<'_>, filters: &Place<'_>) {
        let position = |filters: &[FilterConfig]| {
            filters.iter().position(|filter| matches!(filter, FilterConfig::Authorize(_)))
        };
        let own = position(&route.filters).map(|at| (filters, at));
        let global = || position(&self.config.global_filters).map(|at| (&GLOBAL_FILTERS, at));
        let Some((list, at)) = own.or_else(global) else { return };
        if self.schemes(Some(route)).next().is_none() {
            let message = format!("`authorize` needs an `auth` filter, but route `{}` has none", route.name);
            let problem = Problem::new(Code::FILTER_SETTINGS, list.index(at).key("authorize"), message)
                .help("add one to the route or to `global_filters`: without a caller nobody is let in")
                .related(path.key("name"), "the route");
            self.report(problem);
        }
    }

    /// A route's `tracing` only says what is different from the global one: there is one collector.
    pub(super) fn tracing(&mut self, route: &RouteConfig, filters: &Place<'_>) {
        let position = |filters: &[FilterConfig]| {
            filters.iter().position(|filter| matches!(filter, FilterConfig::Tracing(_)))
        };
        let Some(at) = position(&route.filters) else { return };
        let (entry, global) = (filters.index(at), position(&self.config.global_filters));
        let place = entry.key("tracing");
        if global.is_none() {
            let message = "`tracing` in a route needs the global one, which says where spans go";
            let help =
                "add `tracing` to `global_filters`; with `sample: 0` there, only this route is recorded";
            self.report(Problem::new(Code::FILTER_SETTINGS, place, message).help(help));
        }
        let FilterConfig::Tracing(config) = &route.filters[at] else { return };
        for (key, _) in config.of_exporter().into_iter().filter(|(_, set)| *set) {
            let message =
                format!("`{key}` is for the global `tracing` alone: there is one collector for all routes");
            let problem = Problem::new(Code::FILTER_SETTINGS, place.key(key), message);
            self.report(problem.help("a route may have `sample`, `parent` and `errors`"));
        }
    }

    /// A `body_limit` above the listener's would never be what refuses a body.
    pub(super) fn body_limits(&mut self, filters: &[FilterConfig], path: &Place<'_>) {
        let ceiling = self.config.server.max_body_bytes;
        for (at, filter) in filters.iter().enumerate() {
            let FilterConfig::BodyLimit(BodyLimitConfig { max }) = filter else { continue };
            if ceiling.0 == 0 || *max <= ceiling {
                continue;
            }
            let message = format!("`max` is {max}, more than the {ceiling} of `max_body_bytes`");
            let place = path.index(at);
            let problem = Problem::new(Code::CONTRADICTION, place.key("body_limit").key("max"), message)
                .help("no larger body gets this far: lower the one or raise the other")
                .related(Place::Root.key("server").key("max_body_bytes"), "the limit of the listener");
            self.report(problem);
        }
    }
}
