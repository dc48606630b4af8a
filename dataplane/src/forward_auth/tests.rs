//! What the service is asked, what its answers do to the client and the target, and that nothing else lets anybody in.

use crate::test_support::{Peer, Served, Target, serve};
use serde_json::{Value, json};

const REQUEST: &str = "GET /a?b=c HTTP/1.1\r\nhost: api.example\r\n\r\n";
const YES: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn with(service: &Target, settings: Value) -> Value {
    let mut config = json!({"url": format!("http://{}/check?x=1", service.address())});
    config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    json!({"forward_auth": config})
}

fn asking(service: &Target, target: &Target, settings: Value) -> Served {
    serve(&[target], json!({}), json!([with(service, settings)]))
}

/// The head of the question, and its connection.
fn question(service: &Target) -> (String, Peer) {
    let mut peer = service.accept();
    (peer.until("\r\n\r\n"), peer)
}

/// What a client gets when the service answers with these bytes and closes.
fn answered(bytes: &str) -> String {
    let (service, target) = (Target::new(), Target::new());
    let served = asking(&service, &target, json!({}));
    let client = served.client("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (_, mut peer) = question(&service);
    peer.send(bytes);
    drop(peer);
    client.into_rest()
}

#[test]
fn the_service_learns_who_asks_for_what_and_sees_no_more_than_it_should() {
    let (service, target) = (Target::new(), Target::new());
    let served = asking(&service, &target, json!({"request_headers": ["X-Tenant"]}));
    let _client = served.client(
        "POST /a/../b?c=%20d HTTP/1.1\r\nhost: api.example:81\r\nx-tenant: eu\r\nx-tenant: us\r\ncookie: s=1\r\n\
         x-forwarded-for: 10.9.9.9\r\nx-forwarded-uri: /other\r\nx-consumer-name: root\r\ncontent-length: 5\r\n\r\nhello",
    );
    let (head, _peer) = question(&service);
    let mut lines: Vec<&str> = head.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "GET /check?x=1 HTTP/1.1");
    lines.retain(|line| !line.starts_with("x-request-id: "));
    lines.sort_unstable();
    let host = format!("host: {}", service.address());
    let expected = [
        &host,
        "via: 1.1 test",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: api.example:81",
        "x-forwarded-method: POST",
        "x-forwarded-proto: http",
        "x-forwarded-uri: /b?c=%20d",
        "x-real-ip: 127.0.0.1",
        "x-tenant: eu",
        "x-tenant: us",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn who_is_let_in_reaches_the_target_with_the_word_of_the_service_and_not_with_its_own() {
    let (service, target) = (Target::new(), Target::new());
    let settings = json!({"response_headers": ["X-User", "X-Groups"], "consumer_header": "X-User"});
    let served = asking(&service, &target, settings);
    let mut client = served.client(
        "POST / HTTP/1.1\r\nhost: a\r\nx-user: root\r\nX_User: root\r\nx-groups: wheel\r\nX-Consumer-Name: root\r\n\
         content-length: 5\r\n\r\nhello",
    );
    let (_, mut peer) = question(&service);
    peer.send("HTTP/1.1 200 OK\r\nx-user: alice\r\nx-other: 1\r\ncontent-length: 2\r\n\r\nok");
    let mut reached = target.accept();
    let request = reached.until("hello").to_ascii_lowercase();
    assert!(request.contains("\r\nx-user: alice\r\n"), "{request}");
    assert!(request.contains("\r\nx-consumer-name: alice\r\n"), "{request}");
    for forged in ["root", "wheel", "x-groups", "x-other", "x_user"] {
        assert!(!request.contains(forged), "{forged}: {request}");
    }
    reached.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
    client.until("done");
}

#[test]
fn a_refusal_reaches_the_client_as_the_service_words_it() {
    let (service, target) = (Target::new(), Target::new());
    let served = asking(&service, &target, json!({"response_headers": ["X-User"]}));
    let mut client = served.client(REQUEST);
    let (_, mut peer) = question(&service);
    peer.send(
        "HTTP/1.1 302 Found\r\nlocation: https://login.example/?back=1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
         x-user: nobody\r\nconnection: x-hop\r\nx-hop: 1\r\nx-login: yes\r\ncontent-type: text/html\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\nlogin\r\n0\r\n\r\n",
    );
    let answer = client.until("login").to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 302"), "{answer}");
    for told in [
        "location: https://login.example/?back=1",
        "set-cookie: a=1",
        "set-cookie: b=2",
        "x-login: yes",
        "content-type: text/html",
        "content-length: 5",
        "cache-control: no-store",
        "details=\"denied_by_service\"",
        "x-request-id: ",
    ] {
        assert!(answer.contains(told), "{told}: {answer}");
    }
    for kept in ["x-user", "x-hop", "transfer-encoding"] {
        assert!(!answer.contains(&format!("\r\n{kept}: ")), "{kept}: {answer}");
    }
    // the same connection of the client and the same one of the service, and only now somebody reaches the target
    client.send(REQUEST);
    peer.until_times("\r\n\r\n", 2);
    peer.send(YES);
    let head = target.accept().until("\r\n\r\n");
    assert!(head.starts_with("GET /a?b=c "), "{head}");
}

#[test]
fn about_an_excluded_path_nobody_is_asked() {
    let (service, target) = (Target::new(), Target::new());
    let settings =
        json!({"response_headers": ["X-User"], "consumer_header": "X-User", "exclude_paths": ["/open"]});
    let served = asking(&service, &target, settings);
    let forged = "x-user: root\r\nX_User: root\r\nX-Consumer-Name: root\r\n";
    let mut client = served.client(&format!("GET /a/../open/b HTTP/1.1\r\nhost: a\r\n{forged}\r\n"));
    let mut reached = target.accept();
    let head = reached.until("\r\n\r\n");
    assert!(head.starts_with("GET /open/b ") && !head.contains("root"), "{head}");
    reached.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
    client.until("done");
    // the first question of all is about another one
    client.send("GET /opened HTTP/1.1\r\nhost: a\r\n\r\n");
    let (head, mut peer) = question(&service);
    assert!(head.contains("\r\nx-forwarded-uri: /opened\r\n"), "{head}");
    peer.send("HTTP/1.1 403 -\r\ncontent-length: 2\r\n\r\nno");
    assert!(client.until("\r\n\r\nno").contains("HTTP/1.1 403 "));
}

#[test]
fn statuses_that_say_no_are_passed_on() {
    for (status, headers) in [
        (401, "www-authenticate: Basic realm=\"x\"\r\n"),
        (403, "cache-control: max-age=5\r\n"),
        (404, ""),
        (429, "retry-after: 7\r\n"),
        (307, "location: /login\r\n"),
    ] {
        let answer = answered(&format!("HTTP/1.1 {status} -\r\n{headers}content-length: 2\r\n\r\nno"));
        let lower = answer.to_ascii_lowercase();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(lower.contains(&headers.to_ascii_lowercase()) && answer.ends_with("no"), "{answer}");
    }
}

#[test]
fn what_is_no_answer_lets_nobody_in() {
    let page = "x".repeat(super::MAX_PAGE + 1);
    for bytes in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 2",
        "HTTP/1.1 500 -\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 600 -\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 -\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 403 -\r\ncontent-length: 100\r\n\r\nhalf of it",
        &format!("HTTP/1.1 403 -\r\ncontent-length: {}\r\n\r\n{page}", page.len()),
    ] {
        let answer = answered(bytes);
        let shown = &bytes[..bytes.len().min(80)];
        assert!(answer.starts_with("HTTP/1.1 503 "), "{shown}: {answer}");
        assert!(answer.contains("\"reason\":\"auth_unavailable\""), "{shown}: {answer}");
    }
}

#[test]
fn several_callers_are_none() {
    let (service, target) = (Target::new(), Target::new());
    let served = asking(&service, &target, json!({"consumer_header": "X-User"}));
    let mut client = served.client(REQUEST);
    let (_, mut peer) = question(&service);
    peer.send("HTTP/1.1 200 OK\r\nx-user: alice\r\nx-user: bob\r\ncontent-length: 0\r\n\r\n");
    assert!(client.until("}").contains("auth_unavailable"));
}

#[test]
fn silence_is_no_answer_and_no_listener_is_none_either() {
    let (service, target) = (Target::new(), Target::new());
    let served = asking(&service, &target, json!({"timeout": "60ms"}));
    let mut client = served.client(REQUEST);
    let (_, _peer) = question(&service);
    assert!(client.until("}").contains("auth_unavailable"));

    let address = Target::new().address();
    let filters = json!([{"forward_auth": {"url": format!("http://{address}/")}}]);
    let mut client = serve(&[&target], json!({}), filters).client(REQUEST);
    assert!(client.until("}").contains("auth_unavailable"));
}

#[test]
fn an_idle_connection_that_the_service_has_closed_costs_no_request() {
    let (service, target) = (Target::new(), Target::new());
    let served = asking(&service, &target, json!({}));
    let mut client = served.client(REQUEST);
    let (_, mut peer) = question(&service);
    peer.send(YES);
    let mut reached = target.accept();
    reached.until("\r\n\r\n");
    reached.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none");
    client.until("one");

    // it takes the next question and closes instead of an answer
    client.send(REQUEST);
    peer.until_times("\r\n\r\n", 2);
    drop(peer);
    let (_, mut peer) = question(&service);
    peer.send(YES);
    reached.until_times("\r\n\r\n", 2);
    reached.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo");
    client.until("two");
}

#[test]
fn who_may_not_ask_at_all_is_not_asked_about() {
    let (service, target) = (Target::new(), Target::new());
    let filters = json!([
        with(&service, json!({})),
        {"cors": {"allow_origins": ["https://app.example"]}},
        {"auth": {"type": "apikey", "keys": [{"name": "bob", "key": "k3y"}]}},
    ]);
    let served = serve(&[&target], json!({}), filters);
    let preflight = "OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: https://app.example\r\naccess-control-request-method: GET\r\n\r\n";
    let mut client = served.client(preflight);
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 204 "));
    client.send("GET / HTTP/1.1\r\nhost: a\r\nx-consumer-name: root\r\n\r\n");
    assert!(client.until("}").contains("\"reason\":\"unauthenticated\""));

    // the first question is about the request that `auth` has let in, and says who it is from
    client.send("GET /in HTTP/1.1\r\nhost: a\r\nx-api-key: k3y\r\nx-consumer-name: root\r\n\r\n");
    let (head, mut peer) = question(&service);
    assert!(head.contains("\r\nx-forwarded-uri: /in\r\n"), "{head}");
    assert!(head.contains("\r\nx-consumer-name: bob\r\n") && !head.contains("k3y"), "{head}");
    peer.send(YES);
    let reached = target.accept().until("\r\n\r\n");
    assert!(reached.contains("\r\nx-consumer-name: bob\r\n"), "{reached}");
}

#[test]
fn each_caller_that_the_service_names_has_a_limit_of_its_own() {
    let (service, target) = (Target::new(), Target::new());
    let filters = json!([
        with(&service, json!({"consumer_header": "X-User"})),
        {"rate_limit": {"qps": 1, "burst": 1, "key": "consumer", "algorithm": "token_bucket"}},
    ]);
    let served = serve(&[&target], json!({}), filters);
    let mut client = served.client(REQUEST);
    let (_, mut peer) = question(&service);
    let mut reached = None;
    for (turn, (user, passes)) in [("alice", true), ("bob", true), ("alice", false)].into_iter().enumerate() {
        if turn > 0 {
            client.send(REQUEST);
        }
        peer.until_times("\r\n\r\n", turn + 1);
        peer.send(&format!("HTTP/1.1 200 OK\r\nx-user: {user}\r\ncontent-length: 0\r\n\r\n"));
        if passes {
            let reached = reached.get_or_insert_with(|| target.accept());
            let head = reached.until_times("\r\n\r\n", turn + 1);
            assert!(head.contains(&format!("x-consumer-name: {user}")), "{head}");
            reached.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nturn{turn}"));
            client.until(&format!("turn{turn}"));
        } else {
            assert!(client.until("}").contains("\"reason\":\"rate_limited\""));
        }
    }
}
