//! Whether a route that answers by itself asks for nothing that needs a target.

use super::Check;
use super::route::upstream_keys;
use crate::config::RouteConfig;
use crate::config::leaf::Fault;
use crate::diagnostic::{Code, Place, Problem};
use crate::filter::FilterKind;

/// What judges or limits attempts at targets.
const OF_TARGETS: [FilterKind; 3] = [FilterKind::CircuitBreaker, FilterKind::Retry, FilterKind::Concurrency];

impl Check<'_> {
    pub(super) fn answer(&mut self, route: &RouteConfig, path: &Place<'_>) {
        let answers = if route.redirect.is_some() { "redirect" } else { "respond" };
        let others = [
            ("respond", route.redirect.is_some() && route.respond.is_some()),
            ("targets", !route.targets.is_empty()),
            ("upstream", route.upstream.is_some()),
            ("split", !route.split.is_empty()),
        ];
        for (key, _) in others.into_iter().filter(|(_, set)| *set) {
            let message = format!("route `{}` has both `{answers}` and `{key}`", route.name);
            let problem = Problem::new(Code::BACKEND, path.key(key), message)
                .related(path.key(answers), "what the gateway answers")
                .help("keep one of them");
            self.report(problem);
        }
        let of_targets = [
            ("preserve_host", route.preserve_host),
            ("timeout", route.timeout.is_some()),
            ("mirror", route.mirror.is_some()),
            ("strip_prefix", route.strip_prefix && route.respond.is_some()),
            ("rewrite", route.rewrite.is_some() && route.respond.is_some()),
        ];
        let set = of_targets.into_iter().filter(|(_, set)| *set).map(|(key, _)| key);
        for key in set.chain(upstream_keys(route)) {
            let message = format!("`{key}` is about targets, but route `{}` has `{answers}`", route.name);
            let problem = Problem::new(Code::CONTRADICTION, path.key(key), message);
            self.report(problem.help(format!("remove `{key}`")));
        }
        let kinds = route.filters.iter().map(|filter| filter.kind()).enumerate();
        for (at, kind) in kinds.filter(|(_, kind)| OF_TARGETS.contains(kind)) {
            let name = kind.name();
            let message = format!("`{name}` is about targets, but route `{}` has `{answers}`", route.name);
            let place = path.key("filters");
            let problem = Problem::new(Code::CONTRADICTION, place.index(at).key(name), message);
            self.report(problem.help(format!("remove `{name}`")));
        }
        let faults = [
            ("redirect", route.redirect.as_ref().map(|redirect| redirect.check())),
            ("respond", route.respond.as_ref().map(|respond| respond.check())),
        ];
        for (key, fault) in faults {
            let Some(Err(Fault { message, at, help })) = fault else { continue };
            let place = path.key(key);
            let place = at.as_deref().map_or(place, |at| place.key(at));
            self.report(Problem { help, ..Problem::new(Code::BAD_VALUE, place, message) });
        }
    }
}
