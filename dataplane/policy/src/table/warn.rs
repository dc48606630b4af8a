//! What a config may say, but hardly means.

use crate::config::{GatewayConfig, RouteConfig};
use crate::diagnostic::nearest;
use crate::diagnostic::{Code, ConfigPath, Place, Problem};
use crate::filter::FilterConfig;
use crate::filter::auth::{AuthConfig, JwtKeys};
use foldhash::fast::RandomState;
use std::collections::HashSet;

/// More than anybody reads.
const ENOUGH: usize = 100;

/// The methods in use with HTTP APIs and WebDAV, of the IANA's registry; `CONNECT` and `TRACE` are never served.
const METHODS: [&str; 18] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "QUERY",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "REPORT",
    "SEARCH",
    "UNLOCK",
    "ACL",
];

/// In a config that a table can be built from.
pub(crate) fn warnings(config: &GatewayConfig) -> Vec<Problem> {
    unused_upstreams(config)
        .chain(odd_methods(config))
        .chain(weak_keys(config))
        .chain(unverified_targets(config))
        .take(ENOUGH)
        .collect()
}

fn used(route: &RouteConfig) -> impl Iterator<Item = &str> {
    route.upstream_names().chain(route.mirror.iter().map(|mirror| &*mirror.upstream))
}

fn unused_upstreams(config: &GatewayConfig) -> impl Iterator<Item = Problem> {
    let used: HashSet<&str, RandomState> = config.routes.iter().flat_map(used).collect();
    let upstreams = config.upstreams.iter().enumerate();
    upstreams.filter(move |(_, upstream)| !used.contains(upstream.name.as_str())).map(|(at, upstream)| {
        let message = format!("no route uses the upstream `{}`", upstream.name);
        Problem::new(Code::UNUSED_UPSTREAM, Place::Root.key("upstreams").index(at).key("name"), message)
            .help("remove it, or name it in a route's `upstream`, `split` or `mirror`")
    })
}

fn odd_methods(config: &GatewayConfig) -> impl Iterator<Item = Problem> {
    config.routes.iter().enumerate().flat_map(|(at, route)| {
        route.methods.iter().enumerate().filter_map(move |(position, method)| {
            let method = method.0.as_str();
            if METHODS.contains(&method) {
                return None;
            }
            let near = nearest(method, METHODS)?;
            let message = format!("`{method}` is an unusual method");
            let path: ConfigPath = Place::Root.key("routes").index(at).key("methods").index(position).into();
            Some(Problem::new(Code::ODD_METHOD, path, message).help(format!("did you mean `{near}`?")))
        })
    })
}

/// TLS that keeps nobody from reading along.
fn unverified_targets(config: &GatewayConfig) -> impl Iterator<Item = Problem> {
    let upstreams = config.upstreams.iter().enumerate();
    let named = upstreams.filter(|(_, upstream)| upstream.tls.insecure_skip_verify);
    let named = named.map(|(at, upstream)| (&upstream.name, Place::Root.key("upstreams"), at));
    let routes = config.routes.iter().enumerate();
    let inline = routes.filter(|(_, route)| route.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify));
    let inline = inline.map(|(at, route)| (&route.name, Place::Root.key("routes"), at));
    named.chain(inline).map(|(name, list, at)| {
        let message = format!("nobody verifies who the targets of `{name}` are");
        let problem = Problem::new(
            Code::UNVERIFIED_TARGETS,
            list.index(at).key("tls").key("insecure_skip_verify"),
            message,
        );
        problem.help(
            "whoever can redirect the traffic can read and change it: give `ca` the authority of the targets",
        )
    })
}

/// Whatever can be guessed, or swapped on its way, lets anybody in.
fn weak_keys(config: &GatewayConfig) -> impl Iterator<Item = Problem> {
    let of_routes = config.routes.iter().enumerate().flat_map(|(at, route)| {
        route.filters.iter().enumerate().filter_map(move |(position, filter)| {
            let filters = Place::Root.key("routes");
            weak_key(filter, &filters.index(at).key("filters").index(position))
        })
    });
    let global = config.global_filters.iter().enumerate().filter_map(|(position, filter)| {
        let filters = Place::Root.key("global_filters");
        weak_key(filter, &filters.index(position))
    });
    of_routes.chain(global)
}

fn weak_key(filter: &FilterConfig, place: &Place<'_>) -> Option<Problem> {
    let FilterConfig::Auth(AuthConfig::Jwt(config)) = filter else { return None };
    let auth = place.key("auth");
    match &config.keys {
        JwtKeys::Secret(secret) => {
            let (length, needed) = (secret.expose().len(), config.least_secret());
            let message = format!("the secret has {length} bytes, and the hash of its tokens {needed}");
            let problem = Problem::new(Code::SHORT_SECRET, auth.key("secret"), message);
            let help = "whoever has a token can guess a short one (RFC 7518, 3.2): `openssl rand -base64 48`";
            (length < needed).then(|| problem.help(help))
        }
        JwtKeys::JwksUrl(url) => {
            let message = "keys that come without TLS can be others than the issuer's";
            let problem = Problem::new(Code::PLAIN_ISSUER, auth.key("jwks_url"), message);
            url.is_open_to_others()
                .then(|| problem.help("use `https://`; `http://` is for an issuer on the same machine"))
        }
        JwtKeys::PublicKey(_) | JwtKeys::Jwks(_) => None,
    }
}
