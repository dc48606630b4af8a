//! What a question says, which answers mean what, and whom a caller may pretend to be: nobody.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::filter;

fn forward_auth(settings: &str) -> ForwardAuth {
    let yaml = format!("forward_auth: {{url: 'http://auth:9000/check?x=1', {settings}}}");
    let FilterConfig::ForwardAuth(config) = filter(&yaml) else { panic!("{yaml}") };
    let upstream = crate::config::UpstreamConfig::of_service(&config.url.addr);
    ForwardAuth::new(&config, Arc::new(Upstream::build(upstream, None)))
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

fn caller(name: &str) -> Arc<Caller> {
    Arc::new(Caller { name: name.into(), scheme: Scheme::ApiKey, claims: None, metadata: None })
}

#[test]
fn the_question_goes_where_the_config_says_and_names_the_normalised_target() {
    let auth = forward_auth("request_headers: [Cookie]");
    let (mut parts, ()) = Request::put("/raw/../p?q=a%20b&c").body(()).expect("a request").into_parts();
    parts.headers =
        headers(&[("cookie", "a=1"), ("cookie", "b=2"), ("authorization", "x"), ("x-consumer-name", "r")]);
    let question = auth.question(&parts, "/p", None).expect("a question");
    assert_eq!((question.method, question.uri.to_string()), (Method::GET, "/check?x=1".to_owned()));
    let expected = headers(&[
        ("host", "auth:9000"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-forwarded-method", "PUT"),
        ("x-forwarded-uri", "/p?q=a%20b&c"),
    ]);
    assert_eq!(question.headers, expected);
    let known = auth.question(&parts, "/p", Some(&caller("r"))).expect("a question");
    assert_eq!(known.headers["x-consumer-name"], "r");
}

#[test]
fn only_a_clear_word_counts() {
    let verdict = |status| ForwardAuth::verdict(StatusCode::from_u16(status).expect("a status"));
    for yes in [200, 202, 204, 299] {
        assert_eq!(verdict(yes), Verdict::Yes, "{yes}");
    }
    for no in [300, 302, 307, 401, 403, 429, 499] {
        assert_eq!(verdict(no), Verdict::No, "{no}");
    }
    for neither in [100, 101, 304, 500, 503, 599, 600, 999] {
        assert_eq!(verdict(neither), Verdict::Neither, "{neither}");
    }
}

#[test]
fn the_service_speaks_in_the_place_of_the_client() {
    let auth = forward_auth("response_headers: [X-User, X-Groups], consumer_header: X-Id");
    let sent =
        [("x-user", "root"), ("x_user", "root"), ("x-groups", "wheel"), ("x-consumer-id", "0"), ("a", "b")];
    let mut target = headers(&sent);
    let answer = headers(&[("x-user", "alice"), ("x-user", "alias"), ("x-id", "4711"), ("x-other", "1")]);
    let found = auth.admit(&answer, &mut target, None).expect("admitted").expect("a caller");
    assert_eq!((&*found.name, found.scheme), ("4711", Scheme::Forward));
    let expected =
        headers(&[("a", "b"), ("x-user", "alice"), ("x-user", "alias"), ("x-consumer-name", "4711")]);
    assert_eq!(target, expected);
}

#[test]
fn whom_an_auth_filter_has_found_it_stays() {
    let auth = forward_auth("consumer_header: X-Id");
    let mut target = headers(&[("x-consumer-name", "bob"), ("x-consumer-id", "7")]);
    let before = target.clone();
    let found = auth.admit(&headers(&[("x-id", "4711")]), &mut target, Some(caller("bob")));
    assert_eq!((&*found.expect("admitted").expect("a caller").name, target), ("bob", before));
}

#[test]
fn a_caller_has_one_name_or_none() {
    let auth = forward_auth("consumer_header: X-Id");
    let found = |fields: &[(&'static str, &str)]| auth.admit(&headers(fields), &mut HeaderMap::new(), None);
    assert_eq!(found(&[]), Ok(None));
    assert_eq!(found(&[("x-id", "")]), Ok(None));
    assert!(found(&[("x-id", "a"), ("x-id", "a")]).is_err());
    let mut answer = HeaderMap::new();
    answer.insert("x-id", HeaderValue::from_bytes(b"\xff").expect("a value"));
    assert!(auth.admit(&answer, &mut HeaderMap::new(), None).is_err());
    assert_eq!(found(&[("x-id", "żółw")]).expect("admitted").expect("a caller").name, "żółw".into());
}

#[test]
fn a_refusal_reaches_the_client_but_for_what_is_for_the_target_or_for_one_connection() {
    let auth = forward_auth("response_headers: [X-User], consumer_header: X-Id");
    let told = auth.refusal(&headers(&[
        ("www-authenticate", "Basic realm=\"a\""),
        ("www-authenticate", "Bearer"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("content-length", "5"),
        ("trailer", "x-sum"),
        ("proxy-authenticate", "Basic"),
        ("via", "1.1 auth"),
        ("x-request-id", "1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-consumer-name", "alice"),
        ("x-user", "alice"),
        ("x-id", "4711"),
        ("access-control-allow-origin", "*"),
        ("x-login-url", "/login"),
        ("server", "x"),
    ]));
    let expected = headers(&[
        ("www-authenticate", "Basic realm=\"a\""),
        ("www-authenticate", "Bearer"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("access-control-allow-origin", "*"),
        ("x-login-url", "/login"),
        ("server", "x"),
        ("cache-control", "no-store"),
    ]);
    assert_eq!(told, expected);
    let own = auth.refusal(&headers(&[("cache-control", "max-age=5")]));
    assert_eq!(own, headers(&[("cache-control", "max-age=5")]));
}

#[test]
fn on_an_excluded_path_nobody_is_asked_and_nobody_can_pretend_that_somebody_was() {
    let auth = forward_auth("response_headers: [X-User], consumer_header: X-Id, exclude_paths: [/open]");
    for (path, excluded) in [("/open", true), ("/open/a", true), ("/opened", false), ("/", false)] {
        assert_eq!(auth.excludes(path), excluded, "{path}");
    }
    let sent = [("x-user", "root"), ("x_user", "root"), ("x-consumer-name", "root"), ("a", "b")];
    let mut target = headers(&sent);
    auth.pass_by(&mut target, Some(&caller("bob")));
    assert_eq!(target, headers(&[("x-consumer-name", "root"), ("a", "b")]), "an auth filter has said so");
    auth.pass_by(&mut target, None);
    assert_eq!(target, headers(&[("a", "b")]));
}
