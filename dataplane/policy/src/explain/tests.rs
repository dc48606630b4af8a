//! What is said, in words; that it is true is tested by the data plane, on real sockets.

use super::*;
use crate::breaker::Hold;
use crate::clock::Now;
use crate::config::GatewayConfig;
use proto::v1;
use serde_json::{Value, json};

const MOMENT: AuthContext =
    AuthContext { now: Now::from_nanos(3_600_000_000_000), unix_seconds: 1_700_000_000 };

fn table(config: Value) -> RouteTable {
    let config: GatewayConfig = serde_json::from_value(config).unwrap();
    RouteTable::build(&config, None).unwrap().identified(7, "ab".repeat(32))
}

/// One route for everything with these filters and two targets.
fn with(filters: Value) -> RouteTable {
    let targets = json!([{"addr": "http://10.0.0.7:80", "weight": 2}, {"addr": "http://10.0.0.8:80"}]);
    table(json!({"routes": [{"name": "all", "prefix": "/", "targets": targets, "filters": filters}]}))
}

/// `GET /path name: value, name: value`, from 192.0.2.1.
fn ask(table: &RouteTable, line: &str) -> Explanation {
    let (method, rest) = line.split_once(' ').unwrap();
    let (target, fields) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut headers = vec![("host".to_owned(), "a.example".to_owned())];
    for field in fields.split(", ").filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(": ").unwrap();
        headers.retain(|(known, _)| known != name);
        headers.push((name.to_owned(), value.to_owned()));
    }
    let question = Question::new(method, target, &headers, "192.0.2.1".parse().unwrap()).unwrap();
    let own = HeaderValue::from_static("1.1 edge-1");
    explain(table, &question, Some(&own), &MOMENT)
}

fn verdict(explanation: &Explanation) -> String {
    match &explanation.verdict {
        Verdict::Forward { upstream, .. } => format!("to {upstream}"),
        Verdict::Answer { status, reason, .. } => format!("{status} {reason}"),
    }
}

/// What a step says, and why.
fn step(explanation: &Explanation, name: &str) -> (Says, String) {
    let step = explanation.steps.iter().find(|step| step.name == name);
    let step = step.unwrap_or_else(|| panic!("no {name} in {:?}", explanation.steps));
    (step.says, step.detail.clone())
}

#[test]
fn a_request_that_passes_names_every_filter_in_its_order() {
    let table = with(json!([
        {"headers": {"request": {"set": {"X-A": "1"}, "remove": ["X-B"]}}},
        {"rate_limit": {"qps": 10, "burst": 20}},
        {"auth": {"type": "apikey", "keys": [{"name": "bob", "key": "k3y"}]}},
        {"ip": {"allow": ["192.0.2.0/24"]}},
        {"circuit_breaker": {"threshold": 5, "timeout": "30s"}},
        {"concurrency": {"max": 5}},
        {"body_limit": {"max": "1KiB"}},
        {"cors": {"allow_origins": ["https://a.example"]}},
    ]));
    let told = ask(&table, "GET /a/../b?c=1 x-api-key: k3y, x-b: 2, origin: https://b.example");
    assert_eq!(verdict(&told), "to all");
    let names: Vec<&str> = told.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "target",
            "framing",
            "host",
            "route",
            "cors",
            "ip",
            "body_limit",
            "auth",
            "rate_limit",
            "headers",
            "circuit_breaker",
            "upstream",
            "concurrency",
        ]
    );
    assert!(told.steps.iter().all(|step| step.says == Says::Pass), "{:?}", told.steps);
    assert_eq!(step(&told, "target").1, "/a/../b is read as /b");
    assert_eq!(step(&told, "cors").1, "https://b.example may not read the response: the browser hides it");
    assert_eq!(step(&told, "auth").1, "bob, by a key");
    assert_eq!(step(&told, "rate_limit").1, "token_bucket by route: 20.0 left");
    assert_eq!(told.steps[9].detail, "sets x-a, removes x-b");
    let destination = told.destination.unwrap();
    assert_eq!((destination.target.as_str(), destination.pick), ("/b?c=1", None));
    assert!(destination.targets.iter().all(|target| target.candidate && target.state == "healthy"));
}

#[test]
fn what_comes_after_a_refusal_is_not_reached() {
    let table = with(json!([
        {"ip": {"deny": ["192.0.2.1"]}}, {"rate_limit": {"qps": 10}}, {"circuit_breaker": {"threshold": 5, "timeout": "30s"}},
    ]));
    let told = ask(&table, "GET /");
    assert_eq!(verdict(&told), "403 address_denied");
    assert_eq!(step(&told, "ip"), (Says::Refuse, "192.0.2.1 is not let in".to_owned()));
    assert_eq!(step(&told, "rate_limit").0, Says::NotReached);
    assert_eq!(step(&told, "circuit_breaker").0, Says::NotReached);
    assert_eq!(told.destination, None);
}

#[test]
fn a_route_is_told_with_what_it_beats_and_what_asks_for_more() {
    let targets = json!([{"addr": "http://10.0.0.7:80"}]);
    let route = |name: &str, more: Value| {
        let mut route = json!({"name": name, "targets": targets});
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        route
    };
    let table = table(json!({"routes": [
        route("all", json!({"prefix": "/"})),
        route("users", json!({"prefix": "/users"})),
        route("user", json!({"path": "/users/{id}"})),
        route("me", json!({"path": "/users/me"})),
        route("v2", json!({"path": "/users/me", "headers": [{"name": "X-V", "value": "2"}]})),
        route("host", json!({"prefix": "/users", "hosts": ["*.b.example"], "methods": ["POST"]})),
    ]}));
    let rivals = |line: &str| -> Vec<(String, bool, String)> {
        let told = ask(&table, line);
        told.rivals.into_iter().map(|rival| (rival.route, rival.fits, rival.why)).collect()
    };
    let rival = |name: &str, fits, why: &str| (name.to_owned(), fits, why.to_owned());
    assert_eq!(
        rivals("GET /users/me"),
        [
            rival("v2", false, "asks for the header x-v: 2"),
            rival("user", true, "the exact path /users/me goes before the template /users/{id}"),
            rival("users", true, "the exact path /users/me goes before the prefix /users"),
            rival("all", true, "the exact path /users/me goes before the prefix /"),
        ]
    );
    let told = ask(&table, "GET /users/x host: x.b.example");
    assert_eq!(verdict(&told), "405 method_not_allowed");
    let Verdict::Answer { advice, .. } = &told.verdict else { panic!("{told:?}") };
    assert_eq!(advice[..], [("allow".to_owned(), "POST".to_owned())]);
    assert_eq!(step(&told, "route").1, "the path is taken, but GET is not among POST");
    assert_eq!(rivals("GET /users/x host: x.b.example")[0], rival("host", false, "takes POST only"));
}

#[test]
fn without_a_route_those_of_other_hosts_are_named() {
    let route = json!({"name": "users", "hosts": ["b.example"], "prefix": "/users", "targets": [{"addr": "http://10.0.0.7:80"}]});
    let told = ask(&table(json!({"routes": [route]})), "GET /users/7");
    assert_eq!((verdict(&told).as_str(), told.route), ("404 no_route", None));
    assert_eq!(told.rivals[0].why, "is for the host b.example");
}

#[test]
fn a_breaker_and_targets_are_told_with_their_state() {
    let table = with(json!([{"circuit_breaker": {"threshold": 5, "timeout": "30s", "scope": "target"}}]));
    let route = &table.routes[0];
    let breakers: Vec<_> = route.breakers().map(|(_, breaker)| breaker).collect();
    breakers[0].hold(Some(Hold::Open), MOMENT.now);
    let told = ask(&table, "GET /");
    assert_eq!(verdict(&told), "to all");
    assert_eq!(step(&told, "circuit_breaker").1, "1 of 2 targets have a breaker that lets requests pass");
    let destination = told.destination.unwrap();
    assert_eq!(destination.pick.as_deref(), Some("http://10.0.0.8:80"));
    assert_eq!(destination.targets[0].note, "its breaker is open: held open by an operator");
    breakers[1].hold(Some(Hold::Open), MOMENT.now);
    assert_eq!(verdict(&ask(&table, "GET /")), "503 circuit_open");
    breakers[1].hold(Some(Hold::Closed), MOMENT.now);
    route.backends[0].upstream.targets[1].state.set_drained(true, MOMENT.now);
    let told = ask(&table, "GET /");
    assert_eq!(verdict(&told), "503 circuit_open");
    assert_eq!(told.destination.unwrap().targets[1].state, "drained");
}

#[test]
fn asking_takes_no_token_however_often() {
    let table = with(json!([{"rate_limit": {"qps": 1, "burst": 1, "key": "client_ip"}}]));
    for _ in 0..100 {
        assert_eq!(verdict(&ask(&table, "GET /")), "to all");
    }
    let limit = &table.routes[0].guard.limits[0].running;
    assert_eq!((limit.view(MOMENT.now).passed, limit.view(MOMENT.now).keys), (0, 0));
    let bucket = limit.key().bucket(&HeaderMap::new(), "192.0.2.1".parse().unwrap(), None);
    limit.decide(bucket, MOMENT.now);
    let told = ask(&table, "GET /");
    assert_eq!(verdict(&told), "429 rate_limited");
    let Verdict::Answer { advice, .. } = &told.verdict else { panic!("{told:?}") };
    assert!(advice.contains(&("retry-after".to_owned(), "1".to_owned())), "{advice:?}");
}

#[test]
fn a_token_whose_key_is_not_there_depends_on_its_issuer() {
    let auth = json!([
        {"auth": {"type": "jwt", "jwks_url": "http://127.0.0.1:9/keys"}},
        {"authorize": {"scopes": ["orders:read"]}},
        {"rate_limit": {"qps": 1, "key": "consumer"}},
    ]);
    let table = with(auth);
    // {"alg":"RS256","kid":"1"} . {"sub":"alice","exp":4102444800}
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.c2ln";
    let told = ask(&table, &format!("GET / authorization: Bearer {token}"));
    let Verdict::Forward { provided, .. } = &told.verdict else { panic!("{told:?}") };
    assert_eq!(provided[0], "http://127.0.0.1:9/keys has the key of the token");
    assert_eq!(provided.len(), 3);
    assert!(
        ["auth", "authorize", "rate_limit"].iter().all(|name| step(&told, name).0 == Says::Ask),
        "{told:?}"
    );
    assert_eq!(table.key_sets.all()[0].view().fetches, 0);
}

#[test]
fn a_split_is_told_with_its_shares_and_what_decides() {
    let table = table(json!({
        "upstreams": [
            {"name": "users", "targets": [{"addr": "http://10.0.0.7:80"}]},
            {"name": "canary", "targets": [{"addr": "http://10.0.0.8:80"}]},
        ],
        "routes": [
            {"name": "by-weight", "prefix": "/", "split": [
                {"upstream": "canary", "weight": 5, "when": [{"header": "X-Canary", "value": "1"}, {"cookie": "canary", "value": "always"}]},
                {"upstream": "users", "weight": 95},
            ]},
            {"name": "by-key", "prefix": "/key", "hash_on": "header:X-User", "split": [
                {"upstream": "users", "weight": 0}, {"upstream": "canary", "weight": 1},
            ]},
        ],
    }));
    for (line, upstream, why) in [
        ("GET /", "users", "by weight, of 100: canary 5, users 95; told for users"),
        ("GET / x-canary: 1", "canary", "canary: the header x-canary is 1"),
        ("GET / cookie: a=b; canary=always", "canary", "canary: the cookie canary is always"),
        ("GET / x-canary: 2", "users", "by weight, of 100: canary 5, users 95; told for users"),
        ("GET /key x-user: alice", "canary", "canary, by its key"),
    ] {
        let told = ask(&table, line);
        assert_eq!(verdict(&told), format!("to {upstream}"), "{line}");
        assert_eq!(step(&told, "split"), (Says::Pass, why.to_owned()), "{line}");
        assert_eq!(told.destination.unwrap().upstream, upstream, "{line}");
    }
    table.routes[0].backends[0].upstream.targets[0].state.set_drained(true, MOMENT.now);
    assert_eq!(verdict(&ask(&table, "GET / x-canary: 1")), "503 no_target");
}

#[test]
fn a_route_that_answers_itself_is_no_refusal() {
    let table = table(json!({"routes": [
        {"name": "moved", "prefix": "/old", "redirect": {"to": "https://{host}{path}"}},
    ]}));
    let told = ask(&table, "GET /old/x?y=1");
    assert_eq!((verdict(&told).as_str(), told.verdict.is_refusal()), ("308 redirect", false));
    let Verdict::Answer { advice, .. } = &told.verdict else { panic!("{told:?}") };
    assert_eq!(advice[..], [("location".to_owned(), "https://a.example/old/x?y=1".to_owned())]);
}

#[test]
fn explanations_survive_the_wire() {
    let table = with(
        json!([{"rate_limit": {"qps": 1}}, {"retry": {"max_retries": 2, "retry_on": ["503"]}}, {"circuit_breaker": {"threshold": 5, "timeout": "30s"}}]),
    );
    for line in ["GET /", "POST /%2f", "TRACE /", "GET / host: a/b", "GET / via: 1.1 edge-1"] {
        let told = ask(&table, line);
        assert_eq!(Explanation::try_from(v1::Explanation::from(told.clone())), Ok(told), "{line}");
    }
}

#[test]
fn a_service_is_asked_but_about_excluded_paths() {
    let service =
        json!({"url": "http://auth:9000/check", "response_headers": ["X-User"], "exclude_paths": ["/open"]});
    let table = with(json!([
        {"forward_auth": service},
        {"rate_limit": {"qps": 10, "burst": 1, "key": "header:X-User"}},
    ]));
    let asked = ask(&table, "GET /a");
    assert_eq!(step(&asked, "forward_auth"), (Says::Ask, "http://auth:9000 would be asked".to_owned()));
    let open = ask(&table, "GET /open/a x-user: root");
    let why = "the path is among exclude_paths: nobody is asked";
    assert_eq!(step(&open, "forward_auth"), (Says::Pass, why.to_owned()));
}
