//! Whether a `mirror` goes somewhere else than the requests themselves, and within bounds.

use super::Check;
use crate::config::RouteConfig;
use crate::config::mirror::{MOST_BODY, MirrorConfig};
use crate::diagnostic::{Code, Place, Problem};

impl Check<'_> {
    pub(super) fn mirror(&mut self, mirror: &MirrorConfig, route: &RouteConfig, path: &Place<'_>) {
        self.known_upstream(&mirror.upstream, &path.key("upstream"));
        if route.upstream_names().any(|name| name == mirror.upstream) {
            let message = format!("`{}` gets the requests themselves", mirror.upstream);
            let problem = Problem::new(Code::CONTRADICTION, path.key("upstream"), message);
            self.report(problem.help("it would get them twice: name another upstream"));
        }
        self.not_zero(path, "timeout", mirror.timeout);
        self.within(path, "max_body", mirror.max_body.0, 0..=MOST_BODY, "0 to 1MiB");
    }
}
