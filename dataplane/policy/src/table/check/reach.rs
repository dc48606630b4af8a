//! Whether the targets of a group can be reached as `tls` and `dns` say.

use super::Check;
use super::upstream::Group;
use crate::config::transport::{DnsConfig, UpstreamTlsConfig};
use crate::diagnostic::{Code, Place, Problem};

impl Check<'_> {
    pub(super) fn reach(&mut self, group: &Group<'_>, path: &Place<'_>) {
        if let Some(tls) = group.tls {
            if group.targets.iter().any(|target| target.addr.tls) {
                self.tls(tls, &path.key("tls"));
            } else if !group.targets.is_empty() {
                let message = "`tls` has no meaning where no target is reached by TLS";
                let problem = Problem::new(Code::CONTRADICTION, path.key("tls"), message);
                self.report(
                    problem.help("write the addresses of the targets with `https://`, or remove `tls`"),
                );
            }
        }
        if let Some(dns) = group.dns {
            self.dns(dns, &path.key("dns"));
            if group.targets.iter().all(|target| target.addr.ip().is_some()) && !group.targets.is_empty() {
                let message = "`dns` has no meaning where no target has a name";
                let problem = Problem::new(Code::CONTRADICTION, path.key("dns"), message);
                self.report(problem.help("remove it, or name the targets by their hosts"));
            }
        }
    }

    fn tls(&mut self, config: &UpstreamTlsConfig, path: &Place<'_>) {
        let pair = match (&config.cert, &config.key) {
            (Some(_), None) => Some(("cert", "key")),
            (None, Some(_)) => Some(("key", "cert")),
            (None, None) | (Some(_), Some(_)) => None,
        };
        if let Some((there, missing)) = pair {
            let message = format!("`{there}` is of no use without `{missing}`");
            let problem = Problem::new(Code::CONTRADICTION, path.key(there), message);
            self.report(problem.help(format!("add `{missing}`: the gateway proves itself by both")));
        }
        let verified =
            [("ca", config.ca.is_some()), ("subject_alt_names", !config.subject_alt_names.is_empty())];
        for (key, _) in verified.into_iter().filter(|(_, set)| *set && config.insecure_skip_verify) {
            let message = format!("`{key}` has no meaning where nothing is verified");
            let problem = Problem::new(Code::CONTRADICTION, path.key(key), message)
                .related(path.key("insecure_skip_verify"), "here it is switched off");
            self.report(problem.help("remove `insecure_skip_verify`"));
        }
    }

    fn dns(&mut self, config: &DnsConfig, path: &Place<'_>) {
        self.not_zero(path, "min_ttl", config.min_ttl);
        if config.max_ttl < config.min_ttl {
            let (max, min) = (config.max_ttl, config.min_ttl);
            let message = format!("`max_ttl` is {max}, less than the {min} of `min_ttl`");
            let problem = Problem::new(Code::CONTRADICTION, path.key("max_ttl"), message);
            self.report(problem.help("raise the one or lower the other"));
        }
    }
}
