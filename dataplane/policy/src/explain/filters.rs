//! What the filters of a route say to a request, in the order in which they run.

use super::{End, Routed, Says, Telling, Who};
use crate::auth::forward::ForwardAuth;
use crate::auth::{Authenticator, Preview};
use crate::config::leaf::ByteSize;
use crate::filter::authorize::Authorize;
use crate::filter::compression::Compression;
use crate::filter::cors::Cors;
use crate::filter::headers::{HeaderRules, Vars};
use crate::filter::rate_limit::LimitKey;
use crate::filter::{Caller, FilterKind, Scheme};
use crate::grpc::Call;
use crate::limiter::Verdict;
use crate::rejection::Rejection;
use crate::request;
use crate::table::{Backend, Chain, Guard, Limit, Reach, Route};
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;

/// The filters of a route in the order in which they run. A filter that is new must say here where its place is.
pub(super) fn configured(route: &Route) -> Vec<FilterKind> {
    let Chain { edge, ip, auth, forward_auth, authorize, body_limit, grpc_web, compression, headers } =
        &route.chain;
    let Guard { limits, retry: _ } = &route.guard;
    // a filter protects all backends or none
    let Backend { upstream: _, breaker, concurrency } = &route.backends[0];
    [
        (FilterKind::Cors, edge.cors.is_some()),
        (FilterKind::Ip, ip.is_some()),
        (FilterKind::BodyLimit, body_limit.is_some()),
        (FilterKind::Auth, auth.is_some()),
        (FilterKind::ForwardAuth, forward_auth.is_some()),
        (FilterKind::Authorize, authorize.is_some()),
        (FilterKind::RateLimit, !limits.is_empty()),
        (FilterKind::GrpcWeb, *grpc_web),
        (FilterKind::Compression, compression.is_some()),
        (FilterKind::Headers, headers.is_some()),
        (FilterKind::CircuitBreaker, breaker.is_some()),
        (FilterKind::Concurrency, concurrency.is_some()),
    ]
    .into_iter()
    .filter_map(|(kind, there)| there.then_some(kind))
    .collect()
}

impl Telling<'_> {
    /// Everything between the route and its targets.
    pub(super) fn filters(&mut self, route: &Route, routed: &mut Routed<'_>) -> Result<(), End> {
        let chain = &route.chain;
        if let Some(cors) = &chain.edge.cors {
            self.cors(cors, routed)?;
        }
        if let Some(rules) = &chain.ip {
            let ip = routed.client.ip;
            if !rules.allows(ip) {
                let why = format!("{ip} is not let in");
                return Err(self.refuse(FilterKind::Ip.name(), why, Rejection::AddressDenied));
            }
            self.filter(FilterKind::Ip, Says::Pass, format!("{ip} is let in"));
        }
        if let Some(limit) = chain.body_limit {
            let checked = request::check_length(&routed.parts.headers, limit);
            self.check(FilterKind::BodyLimit.name(), checked, |()| format!("at most {}", ByteSize(limit)))?;
        }
        if routed.inbound.websocket && !route.websocket {
            let why = "a WebSocket handshake, and the route does not say websocket: true".to_owned();
            return Err(self.refuse("websocket", why, Rejection::UpgradeRefused));
        }
        self.check_quietly("host", request::host_header(&routed.parts, &routed.host).map(drop))?;
        routed.inbound.strip(&mut routed.parts.headers, routed.client.peer_is_trusted);
        if let Some(auth) = &chain.auth {
            routed.caller = self.auth(auth, routed)?;
        }
        if let Some(service) = &chain.forward_auth {
            self.forward_auth(service, routed);
        }
        if let Some(rules) = &chain.authorize {
            self.authorize(rules, &routed.caller)?;
        }
        for limit in &route.guard.limits {
            self.rate_limit(limit, routed)?;
        }
        if chain.grpc_web {
            let detail = match Call::of(&routed.parts) {
                Some(Call::Web | Call::WebText) => "is translated to gRPC",
                Some(Call::Grpc) | None => "is no call of gRPC-Web",
            };
            self.filter(FilterKind::GrpcWeb, Says::Pass, detail.to_owned());
        }
        if chain.compression.is_some() {
            let detail = match Compression::negotiate(&routed.parts.headers) {
                Some(coding) => format!("the client likes {} best", coding.name()),
                None => "the client takes no coding that could be made".to_owned(),
            };
            self.filter(FilterKind::Compression, Says::Pass, detail);
        }
        Ok(())
    }

    fn cors(&mut self, cors: &Cors, routed: &Routed<'_>) -> Result<(), End> {
        let origin = Cors::origin(&routed.parts.headers);
        let allowed = origin.is_some_and(|origin| cors.allows(origin));
        let shown = origin.map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned());
        if let Some(advice) = cors.preflight(&routed.parts) {
            let detail = match (shown, allowed) {
                (Some(origin), true) => format!("answers the preflight and allows {origin}"),
                (Some(origin), false) => format!("answers the preflight without a permission for {origin}"),
                (None, _) => {
                    "answers the preflight without a permission: it names several origins".to_owned()
                }
            };
            self.filter(FilterKind::Cors, Says::Answer, detail);
            let (status, title) = (StatusCode::NO_CONTENT, "the preflight is answered");
            return Err(End::Answered { status, reason: "preflight", title, advice: Box::new(advice) });
        }
        let detail = match (shown, allowed) {
            (Some(origin), true) => format!("{origin} may read the response"),
            (Some(origin), false) => format!("{origin} may not read the response: the browser hides it"),
            (None, _) => "no Origin: nobody to give a permission to".to_owned(),
        };
        self.filter(FilterKind::Cors, Says::Pass, detail);
        Ok(())
    }

    fn auth(&mut self, auth: &Authenticator, routed: &mut Routed<'_>) -> Result<Who, End> {
        let kind = FilterKind::Auth;
        match auth.preview(&mut routed.parts, routed.path, self.moment) {
            Preview::Excluded => {
                let why = "the path is among exclude_paths: no credentials needed";
                self.filter(kind, Says::Pass, why.to_owned());
                Ok(Who::Known(None))
            }
            Preview::Caller(caller) => {
                self.filter(kind, Says::Pass, who(&caller));
                Ok(Who::Known(Some(caller)))
            }
            Preview::Refused(rejection) => {
                let why = match &rejection {
                    Rejection::Unauthenticated { cause, .. } => cause.as_str().replace('_', " "),
                    other => other.title().to_owned(),
                };
                Err(self.refuse(kind.name(), why, rejection))
            }
            Preview::KeyMissing(keys) => {
                let detail = format!("the token's key is not known: {} would be asked first", keys.url());
                self.provided.push(format!("{} has the key of the token", keys.url()));
                self.filter(kind, Says::Ask, detail);
                Ok(Who::Unknown)
            }
            Preview::Unchecked => {
                self.provided.push("the password is the right one".to_owned());
                let detail = "the password was not seen before: it would be checked first".to_owned();
                self.filter(kind, Says::Ask, detail);
                Ok(Who::Unknown)
            }
        }
    }

    fn forward_auth(&mut self, service: &ForwardAuth, routed: &mut Routed<'_>) {
        if service.excludes(routed.path) {
            service.pass_by(&mut routed.parts.headers, routed.caller.caller());
            let why = "the path is among exclude_paths: nobody is asked";
            return self.filter(FilterKind::ForwardAuth, Says::Pass, why.to_owned());
        }
        let name = &service.service.name;
        self.provided.push(format!("{name} lets the request in"));
        self.filter(FilterKind::ForwardAuth, Says::Ask, format!("{name} would be asked"));
        if service.names_callers() && matches!(routed.caller, Who::Known(None)) {
            routed.caller = Who::Unknown;
        }
    }

    fn authorize(&mut self, rules: &Authorize, who: &Who) -> Result<(), End> {
        let kind = FilterKind::Authorize;
        if let Who::Unknown = who {
            self.provided.push("the caller has every scope and claim that is asked for".to_owned());
            self.filter(kind, Says::Ask, "it is not known here who asks".to_owned());
            return Ok(());
        }
        if let Some(missing) = rules.missing(who.caller()) {
            return Err(self.refuse(kind.name(), missing.to_string(), Rejection::Forbidden));
        }
        let why = "the caller has every scope and claim that is asked for".to_owned();
        self.filter(kind, Says::Pass, why);
        Ok(())
    }

    fn rate_limit(&mut self, limit: &Limit, routed: &Routed<'_>) -> Result<(), End> {
        let running = &limit.running;
        if let (Who::Unknown, LimitKey::Consumer | LimitKey::Claim(_)) = (&routed.caller, running.key()) {
            let why = format!("counts by {}, and it is not known here who asks", running.key());
            self.provided.push(format!("the limit by {} has room for the caller", running.key()));
            self.filter(FilterKind::RateLimit, Says::Ask, why);
            return Ok(());
        }
        let bucket = running.key().bucket(&routed.parts.headers, routed.client.ip, routed.caller.caller());
        let preview = running.preview(bucket, self.moment.now);
        let config = running.config();
        let scope = match limit.reach {
            Reach::All => " of all routes",
            Reach::Route { .. } => "",
        };
        let quota = format!("{} by {}{scope}", config.algorithm.name(), running.key());
        match preview.verdict {
            Verdict::Limit(limited) => {
                let why = format!("{quota}: used up, passes again in {}", short(limited.retry_after));
                Err(self.refuse(FilterKind::RateLimit.name(), why, Rejection::RateLimited(limited)))
            }
            Verdict::Wait(turn) => {
                let detail = format!("{quota}: its turn comes in {}", short(turn));
                self.filter(FilterKind::RateLimit, Says::Wait, detail);
                Ok(())
            }
            Verdict::WouldLimit => {
                let detail = format!("{quota}: used up, but shadow mode refuses nothing");
                self.filter(FilterKind::RateLimit, Says::Pass, detail);
                Ok(())
            }
            Verdict::Pass => {
                self.filter(FilterKind::RateLimit, Says::Pass, format!("{quota}: {:.1} left", preview.left));
                Ok(())
            }
        }
    }
}

fn who(caller: &Caller) -> String {
    let by = match caller.scheme {
        Scheme::Jwt => "a token",
        Scheme::ApiKey => "a key",
        Scheme::Basic => "a password",
        Scheme::Forward => "the word of another service",
    };
    match &*caller.name {
        "" => format!("a caller without a name, by {by}"),
        name => format!("{}, by {by}", name.escape_debug()),
    }
}

/// Names only: a value may be a secret of the config.
pub(super) fn header_changes(rules: &HeaderRules, route: &Route, routed: &Routed<'_>) -> String {
    let mut after = routed.parts.headers.clone();
    rules.request(&mut after, &vars(route, routed));
    let values = |headers: &HeaderMap, name| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
    let before = &routed.parts.headers;
    let changed: Vec<String> = after
        .keys()
        .filter(|name| values(before, *name) != values(&after, *name))
        .map(|name| format!("sets {name}"))
        .chain(before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("removes {name}")))
        .collect();
    if changed.is_empty() { "changes nothing in the request".to_owned() } else { changed.join(", ") }
}

/// What headers and redirects with variables may name; the request has no id before it is sent.
pub(super) fn vars<'r>(route: &'r Route, routed: &'r Routed<'_>) -> Vars<'r> {
    Vars {
        client_certificate: None,
        client_ip: routed.client.ip,
        consumer: routed.caller.caller().map(|caller| &*caller.name),
        host: &routed.host.name,
        method: routed.parts.method.as_str(),
        path: routed.path,
        request_id: "",
        route: &route.name,
    }
}

/// With the unit that reads best.
pub(super) fn short(duration: Duration) -> String {
    match duration.as_millis() {
        0 => format!("{} µs", duration.as_micros()),
        millis @ 1..1_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// The host that `Host` names to the target.
pub(super) fn preserved_host(routed: &Routed<'_>) -> String {
    match routed.parts.headers.get(header::HOST) {
        Some(host) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        None => routed.host.name.to_string(),
    }
}
