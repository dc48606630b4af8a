//! The rules of precedence, fallback and conflict, each by example.

use super::*;
use http::HeaderValue;

/// A route in one line: `GET,POST api.example.com,*.example.org @https /users/{id} X-A:1 ?b=2`, all but the path
/// optional; `/api/**` is the prefix `/api`, `@https` a listener.
pub(super) fn route(line: &str) -> RouteMatch {
    let mut path = None;
    let (mut hosts, mut listeners, mut methods, mut headers, mut query) = Default::default();
    for word in line.split_whitespace() {
        if word.starts_with('/') {
            path = Some(match word.strip_suffix("/**") {
                Some("") => PathMatch::Prefix(PathPrefix("/".into())),
                Some(prefix) => PathMatch::Prefix(PathPrefix(prefix.into())),
                None => PathMatch::Template(PathTemplate(word.into())),
            });
        } else if let Some(names) = word.strip_prefix('@') {
            listeners = names.split(',').map(str::to_owned).collect();
        } else if let Some((name, value)) = word.strip_prefix('?').and_then(|word| word.split_once('=')) {
            Vec::push(&mut query, (name.to_owned(), value.to_owned()));
        } else if let Some((name, value)) = word.split_once(':') {
            Vec::push(&mut headers, (name.parse().expect("a header name"), value.to_owned()));
        } else if word.contains('.') {
            hosts = word.split(',').map(host).collect();
        } else {
            methods = word.split(',').map(|method| method.parse().expect("a method")).collect();
        }
    }
    RouteMatch { hosts, listeners, path: path.expect("a path"), methods, headers, query }
}

fn host(text: &str) -> HostPattern {
    match text.strip_prefix("*.") {
        Some(suffix) => HostPattern::Wildcard(suffix.into()),
        None => HostPattern::Exact(text.into()),
    }
}

fn router(lines: &[&str]) -> Router {
    let routes: Vec<_> = lines.iter().map(|line| route(line)).collect();
    Router::build(routes).expect("no conflict")
}

/// A request in one line: `POST api.example.com/users/7?b=2 X-A:1`; with `@https` it comes by that listener.
fn find(router: &Router, line: &str) -> Found {
    let listener = line.split_whitespace().find_map(|word| word.strip_prefix('@')).unwrap_or("default");
    let mut words = line.split_whitespace();
    let method = words.next().expect("a method").parse().expect("a method");
    let target = words.next().expect("a target");
    let (host, target) = target.split_at(target.find('/').expect("a path"));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in words.filter_map(|word| word.split_once(':')) {
        let name: HeaderName = name.parse().expect("a header name");
        headers.append(name, HeaderValue::from_str(value).expect("a header value"));
    }
    router.find(&Lookup { listener, host, path, query, method: &method, headers: &headers })
}

/// Checks which line of `routes` each request goes to; an empty line stands for "no route".
#[track_caller]
fn goes_to(routes: &[&str], cases: &[(&str, &str)]) {
    let router = router(routes);
    for (request, expected) in cases {
        let expected = match routes.iter().position(|route| route == expected) {
            Some(route) => Found::Route(route),
            None if expected.is_empty() => Found::None,
            None => panic!("`{expected}` is none of the routes"),
        };
        assert_eq!(find(&router, request), expected, "{request}");
    }
}

#[test]
fn a_route_is_not_there_for_requests_of_other_listeners() {
    goes_to(
        &["@inside,https /admin/**", "GET @inside a.com /", "/**", "@https x.com /admin/**", "@https /**"],
        &[
            ("GET a.com/admin/x", "/**"),
            ("GET a.com/admin/x @inside", "@inside,https /admin/**"),
            ("GET x.com/admin/x @inside", "@inside,https /admin/**"),
            ("GET x.com/admin/x @https", "@https x.com /admin/**"),
            // no 405 by a route that others cannot see
            ("POST a.com/", "/**"),
            ("GET a.com/ @inside", "GET @inside a.com /"),
            ("GET a.com/y @https", "@https /**"),
            ("GET a.com/y @another", "/**"),
        ],
    );
    let hidden = router(&["@inside /admin/**"]);
    assert_eq!(find(&hidden, "GET a.com/admin"), Found::None);
}

#[test]
fn routes_conflict_on_a_listener_that_both_are_for() {
    let conflicts = |lines: &[&str]| {
        let built = Router::build(lines.iter().map(|line| route(line)).collect());
        let told = |one: &Conflict| (one.route, one.kind, one.listener.clone());
        built.err().unwrap_or_default().iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(conflicts(&["@a /x", "@b /x", "/x"]), []);
    let twice = (1, ConflictKind::Duplicate, Some("b".to_owned()));
    assert_eq!(conflicts(&["@a,b /x", "@b,c /x"]), [twice]);
    let buried = (1, ConflictKind::Unreachable, Some("b".to_owned()));
    assert_eq!(conflicts(&["@b /x", "GET @b /x"]), [buried]);
    assert_eq!(conflicts(&["/x", "/x"]), [(1, ConflictKind::Duplicate, None)]);
}

#[test]
fn the_most_specific_host_is_asked_first() {
    goes_to(
        &["/**", "*.com /**", "*.example.com /**", "*.a.example.com /**", "a.example.com,b.example.com /**"],
        &[
            ("GET a.example.com/", "a.example.com,b.example.com /**"),
            ("GET b.example.com/", "a.example.com,b.example.com /**"),
            ("GET c.example.com/", "*.example.com /**"),
            ("GET c.d.example.com/", "*.example.com /**"),
            ("GET c.a.example.com/", "*.a.example.com /**"),
            // the wildcard stands for at least one label
            ("GET example.com/", "*.com /**"),
            ("GET .example.com/", "*.com /**"),
            ("GET badexample.com/", "*.com /**"),
            ("GET example.org/", "/**"),
            ("GET com/", "/**"),
            ("GET [::1]/", "/**"),
            ("GET /", "/**"),
        ],
    );
}

#[test]
fn a_host_without_a_matching_path_leaves_the_request_to_the_next() {
    goes_to(
        &["a.example.com /one", "*.example.com /two", "/three/**"],
        &[
            ("GET a.example.com/one", "a.example.com /one"),
            ("GET a.example.com/two", "*.example.com /two"),
            ("GET a.example.com/three", "/three/**"),
            ("GET a.example.com/four", ""),
            ("GET b.example.com/one", ""),
        ],
    );
}

#[test]
fn exact_goes_before_template_before_longest_prefix() {
    goes_to(
        &["/**", "/users/**", "/users/7/**", "/users/{id}", "/users/7", "/users/{id}/posts/{post}"],
        &[
            ("GET /users/7", "/users/7"),
            ("GET /users/8", "/users/{id}"),
            ("GET /users", "/users/**"),
            ("GET /users/", "/users/**"),
            ("GET /users/7/", "/users/7/**"),
            ("GET /users/8/", "/users/**"),
            ("GET /users/7/x", "/users/7/**"),
            ("GET /users/7/posts/1", "/users/{id}/posts/{post}"),
            ("GET /users/7/posts/", "/users/7/**"),
            ("GET /usersx", "/**"),
            ("GET /", "/**"),
        ],
    );
}

#[test]
fn a_prefix_ends_at_a_segment() {
    goes_to(
        &["/ap/**", "/api/**", "/apple/**", "/api/v1/**"],
        &[
            ("GET /ap", "/ap/**"),
            ("GET /api", "/api/**"),
            ("GET /api/", "/api/**"),
            ("GET /api/v1x", "/api/**"),
            ("GET /api/v1/x", "/api/v1/**"),
            ("GET /apix", ""),
            ("GET /app", ""),
            ("GET /a", ""),
            ("GET /", ""),
        ],
    );
}

#[test]
fn a_longer_prefix_does_not_fall_back_to_one_that_shares_only_bytes() {
    goes_to(
        &["/ap/**", "/apple/** X-A:1"],
        &[("GET /apple", ""), ("GET /apple/ap X-A:1", "/apple/** X-A:1")],
    );
}

#[test]
fn of_two_templates_the_earlier_literal_wins() {
    goes_to(
        &["/{a}/{b}/c", "/{a}/b/{c}", "/a/{b}/{c}", "/a/{b}/d/e", "/{x}"],
        &[
            ("GET /a/b/c", "/a/{b}/{c}"),
            ("GET /x/b/c", "/{a}/b/{c}"),
            ("GET /x/y/c", "/{a}/{b}/c"),
            ("GET /a/b/d/e", "/a/{b}/d/e"),
            ("GET /x/y/d", ""),
            ("GET /a/y", ""),
            ("GET /a/", ""),
            ("GET /a", "/{x}"),
        ],
    );
}

#[test]
fn literals_that_lead_nowhere_are_left_again() {
    goes_to(
        &["/users/me/settings", "/users/{id}/posts", "/{kind}/{id}/likes", "/users/merge"],
        &[
            ("GET /users/me/settings", "/users/me/settings"),
            ("GET /users/me/posts", "/users/{id}/posts"),
            ("GET /users/me/likes", "/{kind}/{id}/likes"),
            ("GET /users/merge/likes", "/{kind}/{id}/likes"),
            ("GET /users/me/other", ""),
        ],
    );
}

#[test]
fn a_trailing_slash_is_a_path_of_its_own() {
    goes_to(
        &["/users/", "/users/{id}/", "/x"],
        &[("GET /users/", "/users/"), ("GET /users", ""), ("GET /users/7/", "/users/{id}/"), ("GET /x/", "")],
    );
}

#[test]
fn more_conditions_go_first_then_the_order_of_the_config() {
    goes_to(
        &["/a X-A:1", "/a", "/a X-A:1 ?q=1", "/a X-B:1", "/a X-A:1 X-B:1"],
        &[
            ("GET /a", "/a"),
            ("GET /a X-A:1", "/a X-A:1"),
            ("GET /a X-B:1", "/a X-B:1"),
            ("GET /a?q=1 X-A:1", "/a X-A:1 ?q=1"),
            ("GET /a X-B:1 X-A:1", "/a X-A:1 X-B:1"),
            ("GET /a?q=1 X-B:1 X-A:1", "/a X-A:1 ?q=1"),
            ("GET /a?q=1", "/a"),
            ("GET /a X-A:2", "/a"),
        ],
    );
}

#[test]
fn unmet_conditions_leave_the_request_to_less_specific_paths_and_hosts() {
    goes_to(
        &[
            "a.com /users/7 X-A:1",
            "a.com /users/{id} X-A:2",
            "a.com /users/** X-A:3",
            "a.com /** X-A:4",
            "/users/**",
        ],
        &[
            ("GET a.com/users/7 X-A:1", "a.com /users/7 X-A:1"),
            ("GET a.com/users/7 X-A:2", "a.com /users/{id} X-A:2"),
            ("GET a.com/users/7 X-A:3", "a.com /users/** X-A:3"),
            ("GET a.com/users/7 X-A:4", "a.com /** X-A:4"),
            ("GET a.com/users/7", "/users/**"),
            ("GET a.com/other", ""),
        ],
    );
}

#[test]
fn one_occurrence_of_a_header_or_parameter_is_enough() {
    goes_to(
        &["/a X-A:1 ?q=a+b/c ?é=1"],
        &[
            ("GET /a?q=a%2Bb%2fc&%C3%A9=1 X-A:0 X-A:1", "/a X-A:1 ?q=a+b/c ?é=1"),
            ("GET /a?q=0&x&q=a+b/c&é=1 x-a:1", "/a X-A:1 ?q=a+b/c ?é=1"),
            ("GET /a?q=a%20b/c&é=1 x-a:1", ""),
            ("GET /a?q=a+b/c X-A:1", ""),
            ("GET /a?q=a+b/c&é=1 X-A:1,2", ""),
            ("GET /a?q=a+b/c&é=11 X-A:1", ""),
            ("GET /a X-A:1", ""),
        ],
    );
    goes_to(
        &["/a ?q="],
        &[("GET /a?q", "/a ?q="), ("GET /a?x&q=", "/a ?q="), ("GET /a?q=1", ""), ("GET /a", "")],
    );
}

#[test]
fn methods() {
    let routes = ["GET,PURGE /a", "POST /a", "HEAD /b", "GET /b", "/b", "DELETE /c/{d}", "/c/**"];
    goes_to(
        &routes,
        &[
            ("GET /a", "GET,PURGE /a"),
            ("HEAD /a", "GET,PURGE /a"),
            ("PURGE /a", "GET,PURGE /a"),
            ("POST /a", "POST /a"),
            ("HEAD /b", "HEAD /b"),
            ("GET /b", "GET /b"),
            ("POST /b", "/b"),
            ("DELETE /c/d", "DELETE /c/{d}"),
            ("GET /c", "/c/**"),
        ],
    );
    let refused =
        Found::MethodNotAllowed(["GET", "HEAD", "PURGE", "POST"].map(|m| m.parse().expect("m")).into());
    assert_eq!(find(&router(&routes), "DELETE /a"), refused);
}

#[test]
fn a_method_that_a_path_does_not_allow_reaches_no_broader_route() {
    let router = router(&["GET a.com /admin/**", "a.com /**", "/**", "a.com /admin/x X-A:1"]);
    let refused = Found::MethodNotAllowed(vec![Method::GET, Method::HEAD]);
    assert_eq!(find(&router, "POST a.com/admin"), refused);
    assert_eq!(find(&router, "POST a.com/admin/x"), refused);
    assert_eq!(find(&router, "POST a.com/admin/x X-A:1"), Found::Route(3));
    assert_eq!(find(&router, "POST a.com/adminx"), Found::Route(1));
}

#[test]
fn a_refusal_lists_the_methods_of_those_whose_conditions_are_met_in_the_order_of_the_config() {
    let router = router(&["PUT /a", "GET,HEAD /a X-A:1", "DELETE /a X-B:1", "POST,PUT /a X-A:1 X-C:1"]);
    let allowed = |request: &str| match find(&router, request) {
        Found::MethodNotAllowed(methods) => methods.iter().map(Method::as_str).collect::<Vec<_>>().join(" "),
        found => panic!("{found:?}"),
    };
    assert_eq!(allowed("PATCH /a"), "PUT");
    assert_eq!(allowed("PATCH /a X-A:1"), "PUT GET HEAD");
    assert_eq!(allowed("PATCH /a X-A:1 X-B:1 X-C:1"), "PUT GET HEAD DELETE POST");
}

#[test]
fn only_a_refusal_allocates() {
    let routes = ["*.com,a.org GET,PURGE /a/{b}/c X-A:1 ?q=1", "*.com GET /a/** X-A:1", "/a/b/d"];
    let router = router(&routes);
    let (method, purge) = (Method::GET, "PURGE".parse().expect("a method"));
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-a"), HeaderValue::from_static("1"))]);
    let find = |path, method| {
        let mut found = Found::None;
        let lookup = Lookup {
            listener: "default",
            host: "x.a.com",
            path,
            query: Some("p=2&%71=%31"),
            method,
            headers: &headers,
        };
        let counts = allocation_counter::measure(|| found = router.find(&lookup));
        (found, counts.count_total)
    };
    assert_eq!(find("/a/b/c", &method), (Found::Route(0), 0));
    assert_eq!(find("/a/b/c", &purge), (Found::Route(0), 0));
    assert_eq!(find("/a/b/x", &method), (Found::Route(1), 0));
    assert_eq!(find("/a/b/d", &purge).0, Found::MethodNotAllowed(vec![Method::GET, Method::HEAD]));
    assert_eq!(find("/b", &method), (Found::None, 0));
}

#[test]
fn no_routes_take_nothing() {
    assert_eq!(find(&router(&[]), "GET a.com/"), Found::None);
}

/// The conflicts of a config: the route that loses, the one it loses to, how, and where.
fn conflicts(lines: &[&str]) -> Vec<(usize, usize, ConflictKind, Option<String>)> {
    let routes: Vec<_> = lines.iter().map(|line| route(line)).collect();
    let conflicts = Router::build(routes).err().unwrap_or_default();
    conflicts.into_iter().map(|one| (one.route, one.by, one.kind, one.host)).collect()
}

#[test]
fn conflicts_are_found() {
    use ConflictKind::{Duplicate, Unreachable};
    for (routes, by, kind) in [
        (["/a", "/a"], 0, Duplicate),
        (["/a/**", "/a/**"], 0, Duplicate),
        (["/**", "/**"], 0, Duplicate),
        (["/users/{id}/x", "/users/{name}/x"], 0, Duplicate),
        (["GET /a", "GET /a"], 0, Duplicate),
        (["GET,POST /a", "POST,GET /a"], 0, Duplicate),
        (["GET,POST /a", "PUT,POST /a"], 0, Duplicate),
        (["/a X-A:1 ?b=2", "/a ?b=2 x-a:1"], 0, Duplicate),
        (["/a", "GET /a"], 0, Unreachable),
        (["GET,POST /a", "POST /a"], 0, Unreachable),
        (["GET /a", "HEAD /a"], 0, Unreachable),
        (["/a X-A:1", "GET /a X-A:1"], 0, Unreachable),
    ] {
        assert_eq!(conflicts(&routes), [(1, by, kind, None)], "{routes:?}");
    }
    assert_eq!(conflicts(&["GET /a", "POST /a", "POST,GET /a"]), [(2, 1, Unreachable, None)]);
}

#[test]
fn a_conflict_names_the_host_once_per_pair_of_routes() {
    let routes = ["a.com,*.b.com,c.com /a", "/a", "*.b.com,c.com /a", "x.com,x.com /a"];
    let host = Some("*.b.com".to_owned());
    assert_eq!(conflicts(&routes), [(2, 0, ConflictKind::Duplicate, host)]);
}

#[test]
fn what_differs_is_no_conflict() {
    for routes in [
        ["/a", "/a/"],
        ["/a", "/a/**"],
        ["/a", "/{a}"],
        ["/a/{b}", "/{a}/b"],
        ["a.com /a", "/a"],
        ["a.com /a", "*.com /a"],
        ["GET /a", "POST /a"],
        ["GET /a", "/a"],
        ["HEAD /a", "GET /a"],
        ["/a X-A:1", "/a"],
        ["/a", "/a X-A:1"],
        ["/a X-A:1", "/a X-A:2"],
        ["/a X-A:1", "/a ?X-A=1"],
    ] {
        assert_eq!(conflicts(&routes), [], "{routes:?}");
    }
}
