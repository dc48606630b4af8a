//! Questions about single requests: what is asked of the control plane, and how the answers are told.

use crate::support::{Fake, Script, gatewayctl};
use insta::assert_snapshot;
use policy::auth::AuthContext;
use policy::clock::Now;
use policy::config::GatewayConfig;
use policy::explain::{Question, explain};
use policy::table::RouteTable;
use proto::v1::answer::Says;
use proto::v1::ask_request::Asks;
use proto::v1::requests_event::Event;
use proto::v1::*;

const CONFIG: &str = "
server: {trusted_proxies: [10.0.0.1]}
upstreams:
  - {name: users, targets: [{addr: 'http://10.0.0.7:8080', weight: 3}, {addr: 'http://10.0.0.8:8080'}]}
routes:
  - name: user-service
    hosts: [api.example.com]
    prefix: /users
    strip_prefix: true
    timeout: 5s
    upstream: users
    filters:
      - ip: {deny: [192.0.2.0/24]}
      - auth: {type: apikey, keys: [{name: bob, key: k3y}]}
      - rate_limit: {qps: 10, burst: 20, key: consumer}
      - headers: {request: {set: {X-Version: '1'}}}
      - circuit_breaker: {threshold: 5}
      - retry: {max_retries: 2}
  - {name: user-service-v2, hosts: [api.example.com], prefix: /users, headers: [{name: X-Version, value: '2'}], upstream: users}
  - {name: everything, prefix: /, respond: {status: 404, body: nothing here}}
";

fn table(version: u64) -> RouteTable {
    let config: GatewayConfig = serde_yaml::from_str(CONFIG).unwrap();
    RouteTable::build(&config, None).unwrap().identified(version, format!("{version:064x}"))
}

/// What an instance with this table says to the question that was asked last.
fn explained(table: &RouteTable, asked: &Explain) -> Says {
    let question = Question::try_from(asked.clone()).unwrap();
    let moment = AuthContext { now: Now::from_nanos(3_600_000_000_000), unix_seconds: 1_700_000_000 };
    Says::Explanation(explain(table, &question, None, &moment).into())
}

fn answered(instance: &str, says: Says) -> InstanceAnswer {
    let answer = Some(Answer { id: 1, says: Some(says) });
    InstanceAnswer {
        instance: instance.to_owned(),
        state: AnswerState::Answered.into(),
        problem: String::new(),
        answer,
    }
}

fn missing(instance: &str, state: AnswerState, problem: &str) -> InstanceAnswer {
    let (instance, problem) = (instance.to_owned(), problem.to_owned());
    InstanceAnswer { instance, state: state.into(), problem, answer: None }
}

fn fake(instances: Vec<InstanceAnswer>) -> Fake {
    let ask = AskResponse { current_version: 7, instances };
    Fake::start(Script { ask: Some(ask), ..Script::default() })
}

fn asked(headers: &[(&str, &str)]) -> Explain {
    let field =
        |(name, value): &(&str, &str)| HeaderField { name: (*name).to_owned(), value: (*value).to_owned() };
    Explain {
        method: "GET".to_owned(),
        target: "/users/7".to_owned(),
        headers: headers.iter().map(field).collect(),
        peer: "10.0.0.9".to_owned(),
        listener: String::new(),
    }
}

const HOST: (&str, &str) = ("host", "api.example.com");
const EXPLAIN: [&str; 5] = ["explain", "GET", "http://api.example.com/users/7", "--peer", "10.0.0.9"];

/// Standard output and error of a command that ends with `code`.
fn run(fake: &Fake, arguments: &[&str], code: i32) -> (String, String) {
    let assert = fake.gatewayctl(arguments).assert().code(code);
    let output = assert.get_output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_request_is_asked_about_as_curl_would_send_it() {
    let fake = fake(vec![answered("dp-1", explained(&table(7), &asked(&[HOST, ("X-API-Key", "k3y")])))]);
    let mut arguments = EXPLAIN.to_vec();
    arguments.extend(["-H", "X-API-Key: k3y", "--at", "dp-1", "--timeout", "2s"]);
    let (text, notes) = run(&fake, &arguments, 0);
    assert_snapshot!("explain_forwarded", text);
    assert_eq!(notes, "");
    let AskRequest { asks, instance, timeout_ms } = fake.asked().remove(0);
    assert_eq!(asks, Some(Asks::Explain(asked(&[HOST, ("X-API-Key", "k3y")]))));
    assert_eq!((instance.as_str(), timeout_ms), ("dp-1", 2000));
}

#[test]
fn a_refusal_is_1_and_says_what_the_client_would_be_told() {
    let fake = fake(vec![answered("dp-1", explained(&table(7), &asked(&[HOST])))]);
    assert_snapshot!("explain_refused", run(&fake, &EXPLAIN, 1).0);
}

#[test]
fn no_route_is_1_and_names_those_that_come_near() {
    let nowhere =
        Explain { method: "BREW".to_owned(), target: "/users/7".to_owned(), ..asked(&[("host", "a b")]) };
    let fake = fake(vec![answered("dp-1", explained(&table(7), &nowhere))]);
    assert_snapshot!("explain_invalid_host", run(&fake, &EXPLAIN, 1).0);
}

#[test]
fn instances_that_do_not_agree_say_so_first() {
    let key = asked(&[HOST, ("X-API-Key", "k3y")]);
    let (good, bad) = (table(7), table(6));
    let (_, breaker) = bad.routes[0].breakers().next().unwrap();
    breaker.hold(Some(policy::breaker::Hold::Open), Now::from_nanos(1));
    let fake = fake(vec![
        answered("dp-1", explained(&good, &key)),
        answered("dp-2", explained(&bad, &key)),
        answered("dp-3", explained(&good, &key)),
        missing("dp-4", AnswerState::Silent, "no answer in 3s"),
    ]);
    let (text, notes) = run(&fake, &EXPLAIN, 1);
    assert_snapshot!("explain_disagreement", text);
    assert_eq!(notes, "warning: dp-4: no answer in 3s\n");
    let (json, _) = run(&fake, &[&EXPLAIN[..], &["-o", "json"]].concat(), 1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["apiVersion"].as_str(), json["agree"].as_bool()), (Some("gatewayctl/v1"), Some(false)));
    assert_eq!(json["instances"][1]["verdict"]["reason"], "circuit_open");
    assert_eq!(json["instances"][1]["instance"], "dp-2");
    assert_eq!(json["missing"][0]["state"], "SILENT");
}

#[test]
fn an_answer_of_the_config_itself_is_0() {
    let elsewhere = asked(&[("host", "other.org")]);
    let fake = fake(vec![answered("dp-1", explained(&table(7), &elsewhere))]);
    assert_snapshot!("explain_answered", run(&fake, &EXPLAIN, 0).0);
}

#[test]
fn silence_is_5() {
    let silent = fake(vec![missing("dp-1", AnswerState::Silent, "no answer in 3s")]);
    assert!(run(&silent, &EXPLAIN, 5).1.contains("no instance has answered"));
    let told = explained(&table(7), &asked(&[HOST, ("X-API-Key", "k3y")]));
    let gone = missing("dp-2", AnswerState::Disconnected, "not connected");
    run(&fake(vec![answered("dp-1", told.clone()), gone]), &EXPLAIN, 0);
    let silent = missing("dp-2", AnswerState::Silent, "no answer in 3s");
    run(&fake(vec![answered("dp-1", told), silent]), &EXPLAIN, 5);
}

#[test]
fn what_is_no_request_is_a_usage_error_without_a_question() {
    for wrong in [
        &["explain", "GET", "ftp://a/b"][..],
        &["explain", "GET", "http:///b"],
        &["explain", "G T", "/b"],
        &["explain", "GET", "/b c"],
        &["explain", "GET", "/b", "-H", "nonsense"],
        &["explain", "GET", "/b", "-H", "a b: c"],
        &["explain", "GET", "/b", "--peer", "somewhere"],
    ] {
        gatewayctl(wrong).assert().code(2);
    }
}

#[test]
fn an_unknown_instance_is_1_and_an_absent_control_plane_7() {
    let fake = Fake::start(Script::default());
    let arguments = [&EXPLAIN[..], &["--at", "dp-9"]].concat();
    assert!(run(&fake, &arguments, 1).1.contains("there is no instance named `dp-9`"));
    let mut arguments = EXPLAIN.to_vec();
    arguments.extend(["--endpoint", "http://127.0.0.1:1"]);
    gatewayctl(&arguments).assert().code(7);
}

fn past(request_id: &str) -> PastRequest {
    let attempt = |target: &str, after_us, took_us, status, failure: &str| PastAttempt {
        target: target.to_owned(),
        after_us,
        took_us,
        status,
        failure: failure.to_owned(),
        reused: status > 0,
    };
    PastRequest {
        request_id: request_id.to_owned(),
        version: 7,
        began_us: 1_700_000_000_123_456,
        duration_us: 1_020_400,
        method: "GET".to_owned(),
        host: "api.example.com".to_owned(),
        path: "/users/7".to_owned(),
        query: "page=***".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        user_agent: "curl/8.5\u{1b}[2J".to_owned(),
        peer: "10.0.0.1:40000".to_owned(),
        client: "192.0.2.7".to_owned(),
        route: "user-service".to_owned(),
        consumer: "bob".to_owned(),
        status: 502,
        reason: "connect_failed".to_owned(),
        error: "connection refused (os error 111)".to_owned(),
        local: true,
        attempts: vec![
            attempt("10.0.0.7:8080", 200, 1_000_000, 503, ""),
            attempt("10.0.0.8:8080", 1_016_000, 300, 0, "connect_failed"),
        ],
        bytes_in: 0,
        bytes_out: 211,
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        retry_denied: true,
        would_limit: false,
    }
}

fn recollection(requests: Vec<PastRequest>) -> Says {
    Says::Recollection(Recollection { requests, remembered: 3584, oldest_ms: 1_700_000_000_000 })
}

#[test]
fn what_became_of_a_request_is_told_with_every_attempt() {
    let fake = fake(vec![
        answered("dp-1", recollection(Vec::new())),
        answered("dp-2", recollection(vec![past("r-1")])),
    ]);
    let (text, notes) = run(&fake, &["why", "r-1"], 0);
    // how long ago depends on today
    let ages = text.lines().map(|line| if line.starts_with("when") { "when      …" } else { line });
    assert_snapshot!("why", ages.collect::<Vec<_>>().join("\n"));
    assert_eq!(notes, "");
    assert_eq!(fake.asked()[0].asks, Some(Asks::Recall(Recall { request_id: "r-1".to_owned() })));
    assert_snapshot!("why_json", run(&fake, &["why", "r-1", "-o", "json"], 0).0);
}

#[test]
fn a_forgotten_request_is_1_and_says_how_far_memory_goes() {
    let fake = fake(vec![
        answered("dp-1", recollection(Vec::new())),
        answered("dp-2", Says::Recollection(Recollection::default())),
        missing("dp-3", AnswerState::Silent, "no answer in 3s"),
    ]);
    let (text, notes) = run(&fake, &["why", "r-9"], 1);
    assert_eq!(text, "");
    for part in [
        "no instance remembers \"r-9\"",
        "dp-1 remembers 3584 requests",
        "dp-2 remembers nothing yet",
        "dp-3: no answer",
    ] {
        assert!(notes.contains(part), "{part:?} is not in\n{notes}");
    }
}

fn event(instance: &str, event: Event) -> RequestsEvent {
    RequestsEvent { instance: instance.to_owned(), event: Some(event) }
}

fn tapping() -> Fake {
    let refused = PastRequest {
        status: 404,
        reason: "no_route".to_owned(),
        route: String::new(),
        attempts: Vec::new(),
        duration_us: 80,
        ..past("r-2")
    };
    let tapped = Tapped { requests: vec![past("r-1"), refused], dropped: 12 };
    let requests = vec![
        event("dp-1", Event::Joined(Joined {})),
        event("dp-2", Event::Lost("not connected".to_owned())),
        event("dp-1", Event::Tapped(tapped)),
    ];
    Fake::start(Script { requests, ..Script::default() })
}

#[test]
fn a_tap_tells_requests_as_they_end_and_what_it_missed() {
    let fake = tapping();
    let arguments = [
        "tap", "--route", "users", "--status", "5xx", "--path", "/u", "--method", "get", "--at", "dp-1",
        "-n", "2",
    ];
    let (text, notes) = run(&fake, &arguments, 0);
    assert_snapshot!("tap", text);
    assert_eq!(
        notes,
        "dp-1: watched\nwarning: dp-2: not watched: not connected\nwarning: dp-1: 12 more than there was room for\n"
    );
    let WatchRequestsRequest { tap, instance } = fake.watched().remove(0);
    let expected = Tap {
        route: "users".to_owned(),
        method: "GET".to_owned(),
        path_prefix: "/u".to_owned(),
        status_from: 500,
        status_to: 599,
    };
    assert_eq!((tap, instance.as_str()), (Some(expected), "dp-1"));
}

#[test]
fn a_tap_in_json_is_a_document_a_line_and_its_sudden_end_is_7() {
    let fake = tapping();
    let (text, notes) = run(&fake, &["tap", "-o", "json"], 7);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Dropped", "Request", "Request"]);
    assert_eq!((lines[1]["requestId"].as_str(), lines[1]["instance"].as_str()), (Some("r-1"), Some("dp-1")));
    assert!(notes.contains("the control plane ended the stream"), "{notes}");
}
