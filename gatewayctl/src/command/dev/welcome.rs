//! What `dev` says when everything runs: where it listens and what to try next.

use super::demo::Demo;
use super::place::Place;
use super::secret;
use crate::context::DEFAULT_ENDPOINT;
use crate::output::count;
use owo_colors::OwoColorize as _;
use policy::config::listener::DEFAULT_LISTENER;
use policy::config::{GatewayConfig, RouteConfig};
use std::fmt;
use std::net::SocketAddr;

pub struct Welcome<'a> {
    pub config: &'a GatewayConfig,
    pub traffic: Vec<SocketAddr>,
    pub control_plane: SocketAddr,
    pub admin: SocketAddr,
    pub place: &'a Place,
    pub demo: &'a Demo,
}

/// More examples than this are not read.
const EXAMPLES: usize = 3;

impl fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = count(self.demo.running(), "demo target");
        writeln!(f, "The gateway is up: control plane, one data plane and {running} in this process.\n")?;
        for address in &self.traffic {
            writeln!(f, "  traffic        http://{address}")?;
        }
        writeln!(f, "  control plane  http://{}", self.control_plane)?;
        writeln!(f, "  admin HTTP     http://{}  (/health /livez /readyz /metrics)", self.admin)?;
        self.write_targets(f)?;
        writeln!(f, "  config         {}", self.place.config().display())?;
        writeln!(f, "\n{}", "Try".bold())?;
        for command in self.commands() {
            writeln!(f, "  {command}")?;
        }
        writeln!(f, "\nEdit the config above: saving it rolls it out. {}", self.ending())
    }
}

impl Welcome<'_> {
    fn write_targets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (address, target) in &self.demo.targets {
            let upstreams = target.upstreams.join(", ");
            match target.taken {
                None => writeln!(f, "  demo target    http://{address}  ({upstreams})")?,
                Some(kind) => writeln!(f, "  no demo target http://{address}  ({upstreams}: {kind})")?,
            }
        }
        Ok(())
    }

    fn commands(&self) -> Vec<String> {
        let program = std::env::args().next().unwrap_or_else(|| "gatewayctl".to_owned());
        let endpoint = format!("http://{}", self.control_plane);
        let endpoint =
            if endpoint == DEFAULT_ENDPOINT { String::new() } else { format!(" --endpoint {endpoint}") };
        let traffic = self.traffic.first().into_iter();
        let here = |route: &&RouteConfig| {
            route.listeners.is_empty() || route.listeners.iter().any(|name| name == DEFAULT_LISTENER)
        };
        let curls = traffic.flat_map(|address| {
            let examples = self.config.routes.iter().filter(here).take(EXAMPLES);
            examples.map(|route| curl(route, *address))
        });
        let asks = [
            "status routes",
            "status targets --watch",
            "rollout history",
            "get config > my.yaml",
            "apply -f my.yaml",
        ];
        curls.chain(asks.map(|ask| format!("{program}{endpoint} {ask}"))).collect()
    }

    fn ending(&self) -> String {
        match self.place {
            Place::Temporary(_) => "Ctrl-C ends everything and removes its directory.".to_owned(),
            Place::Kept(directory) => {
                format!("Ctrl-C ends everything; --state-dir {} goes on.", directory.display())
            }
        }
    }
}

/// A request that this route takes.
fn curl(route: &RouteConfig, address: SocketAddr) -> String {
    let mut command = "curl".to_owned();
    match route.methods.first() {
        None => {}
        Some(method) if method.0 == hyper::Method::GET => {}
        Some(method) => command += &format!(" -X {}", method.0),
    }
    if let Some(host) = route.hosts.first() {
        command += &format!(" -H 'Host: {}'", host.to_string().replace('*', "www"));
    }
    if let Some(token) = secret::token(route) {
        command += &format!(" -H 'Authorization: Bearer {token}'");
    }
    for header in &route.headers {
        command += &format!(" -H '{}: {}'", header.name.0, header.value);
    }
    let query: Vec<String> =
        route.query.iter().map(|query| format!("{}={}", query.name, query.value)).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let url = format!("http://{address}{}{query}", example_path(route));
    let quote = if url.contains('?') { "'" } else { "" };
    format!("{command} {quote}{url}{quote}")
}

/// `/users/42` for `/users` and for `/users/{id}`.
fn example_path(route: &RouteConfig) -> String {
    match (&route.prefix, &route.path) {
        (Some(prefix), _) => format!("{}/42", prefix.to_string().trim_end_matches('/')),
        (None, Some(path)) => {
            let segments = path.to_string();
            let filled: Vec<&str> = segments
                .split('/')
                .map(|segment| if segment.starts_with('{') { "42" } else { segment })
                .collect();
            filled.join("/")
        }
        (None, None) => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curl_of(yaml: &str) -> String {
        let route: RouteConfig = serde_yaml::from_str(yaml).unwrap();
        curl(&route, "127.0.0.1:8080".parse().unwrap())
    }

    #[test]
    fn examples_match_their_route() {
        assert_eq!(curl_of("{name: a, prefix: /api}"), "curl http://127.0.0.1:8080/api/42");
        assert_eq!(curl_of("{name: a, prefix: /, methods: [GET]}"), "curl http://127.0.0.1:8080/42");
        assert_eq!(
            curl_of(
                "{name: a, path: '/u/{id}/x', methods: [POST], hosts: ['*.gw.io'], query: [{name: b, value: '1'}]}"
            ),
            "curl -X POST -H 'Host: www.gw.io' 'http://127.0.0.1:8080/u/42/x?b=1'"
        );
    }
}
