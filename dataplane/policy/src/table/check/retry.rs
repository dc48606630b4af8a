//! Whether a route leaves its retries the time that they are promised.

use super::Check;
use crate::config::RouteConfig;
use crate::diagnostic::{Code, Place, Problem};
use crate::filter::FilterConfig;

impl Check<'_> {
    /// `filters` is the place of the route's own; a global `retry` is meant for routes of all kinds.
    pub(super) fn try_timeout(&mut self, route: &RouteConfig, path: &Place<'_>, filters: &Place<'_>) {
        let Some(timeout) = route.timeout else { return };
        for (at, filter) in route.filters.iter().enumerate() {
            let FilterConfig::Retry(retry) = filter else { continue };
            let Some(per_try) = retry.per_try_timeout.filter(|per_try| *per_try >= timeout) else { continue };
            let place = filters.index(at);
            let message = format!("`per_try_timeout` is {per_try}, but the route's `timeout` is {timeout}");
            let problem = Problem::new(
                Code::CONTRADICTION,
                place.key(filter.kind().name()).key("per_try_timeout"),
                message,
            )
            .help("lower it, so that an attempt that takes too long leaves time for another, or leave it out")
            .related(path.key("timeout"), "the whole exchange, all attempts together");
            self.report(problem);
        }
    }
}
