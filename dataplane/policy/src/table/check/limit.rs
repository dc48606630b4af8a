//! Whether a `rate_limit` can find its key where it stands.

use super::Check;
use crate::config::RouteConfig;
use crate::diagnostic::{Code, Place, Problem};
use crate::filter::FilterConfig;
use crate::filter::auth::AuthConfig;
use crate::filter::forward_auth::ForwardAuthConfig;
use crate::filter::rate_limit::LimitKey;

impl Check<'_> {
    /// The limits among a route's filters; without a route, among the global ones.
    pub(super) fn limits(&mut self, route: Option<&RouteConfig>, path: &Place<'_>) {
        let filters = route.map_or(&self.config.global_filters, |route| &route.filters);
        for (at, filter) in filters.iter().enumerate() {
            let FilterConfig::RateLimit(limit) = filter else { continue };
            let entry = path.index(at);
            let limit_path = entry.key("rate_limit");
            let place = limit_path.key("key");
            match &limit.key {
                Some(LimitKey::Global) if route.is_some() => {
                    let message =
                        "`key: global` counts the requests of all routes, but the limit stands in one";
                    let problem = Problem::new(Code::FILTER_SETTINGS, place, message);
                    self.report(problem.help("move it to `global_filters`, or write `key: route`"));
                }
                Some(key) if !self.has_callers_for(key, route) => {
                    let needed = match key {
                        LimitKey::Claim(_) => "an `auth` filter of `type: jwt`",
                        _ => "an `auth` filter, or a `forward_auth` with `consumer_header`",
                    };
                    let message = format!("`key: {key}` needs {needed}");
                    let help = match route {
                        Some(_) => "add one to the route or to `global_filters`, or write `key: client_ip`",
                        None => "add one to `global_filters`, or write `key: client_ip`",
                    };
                    self.report(Problem::new(Code::FILTER_SETTINGS, place, message).help(help));
                }
                Some(_) | None => {}
            }
        }
    }

    /// The ways in which a caller of the route, or of every route, may prove itself.
    pub(super) fn schemes<'a>(
        &'a self,
        route: Option<&'a RouteConfig>,
    ) -> impl Iterator<Item = &'a AuthConfig> {
        self.filters_of(route).filter_map(|filter| match filter {
            FilterConfig::Auth(auth) => Some(auth),
            _ => None,
        })
    }

    fn filters_of<'a>(&'a self, route: Option<&'a RouteConfig>) -> impl Iterator<Item = &'a FilterConfig> {
        let of_route = route.into_iter().flat_map(|route| &route.filters);
        self.config.global_filters.iter().chain(of_route)
    }

    fn asks_who(&self, route: Option<&RouteConfig>) -> bool {
        let names = |filter: &FilterConfig| {
            matches!(filter, FilterConfig::ForwardAuth(ForwardAuthConfig { consumer_header: Some(_), .. }))
        };
        self.filters_of(route).any(names)
    }

    /// Whether a filter in front of the limit finds out what the key asks for.
    fn has_callers_for(&self, key: &LimitKey, route: Option<&RouteConfig>) -> bool {
        match key {
            LimitKey::Route | LimitKey::Global | LimitKey::ClientIp | LimitKey::Header(_) => true,
            LimitKey::Consumer => self.schemes(route).next().is_some() || self.asks_who(route),
            LimitKey::Claim(_) => self.schemes(route).any(|auth| matches!(auth, AuthConfig::Jwt(_))),
        }
    }
}
