//! The config as a whole: its JSON Schema, and its way over the wire.

mod filters;

use super::answer::{RedirectConfig, RespondConfig};
use super::health::{HttpProbe, InitialHealth, Probe};
use super::leaf::{HashOn, HeaderMatch, HeaderName, HostPattern, PathPrefix, PathTemplate};
use super::listener::tests::{listener, server};
use super::mirror::tests::mirror;
use super::split::tests::share;
use super::transport::tests::{any_reach, any_targets};
use super::*;
use crate::snapshot;
use filters::filter;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proto::v1;
use serde_json::{Value, json};
use std::num::{NonZeroU16, NonZeroU32};

fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    match schema {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), visit))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{path}/{at}"), visit))
        }
        _ => {}
    }
}

#[test]
fn the_schema_describes_every_key_and_refuses_unknown_ones() {
    let schema = schema();
    let mut objects = 0;
    walk(&schema, "", &mut |path, node| {
        let Some(properties) = node.get("properties").and_then(Value::as_object) else { return };
        objects += 1;
        assert_eq!(node["additionalProperties"], false, "{path}");
        for (key, property) in properties {
            let described = property
                .get("description")
                .or_else(|| property.get("const"))
                .or_else(|| property.get("$ref"));
            assert!(described.is_some(), "{path}/{key} says nothing about itself");
        }
    });
    assert!(objects >= 10, "{objects} objects are not the whole config");
    let kinds = schema["$defs"]["FilterConfig"]["oneOf"].as_array().map(Vec::len);
    assert_eq!(kinds, Some(17), "one for each filter");
}

#[test]
fn the_schema_has_the_defaults_of_the_code() {
    let schema = schema();
    let server = &schema["$defs"]["ServerConfig"]["properties"];
    assert_eq!(server["port"]["default"], 8080);
    assert_eq!(server["idle_timeout"]["default"], "75s");
    assert_eq!(server["max_header_bytes"]["default"], "64KiB");
}

#[test]
fn the_schema_takes_expansions_and_no_nulls() {
    let schema = schema();
    walk(&schema, "", &mut |path, node| assert_ne!(node.get("type"), Some(&"null".into()), "{path}"));
    assert!(!schema.to_string().contains("\"null\""));
    let port = &schema["$defs"]["ServerConfig"]["properties"]["port"];
    assert_eq!(port["type"], json!(["integer", "string"]));
    assert_eq!(port["pattern"], r"\$\{.+\}");
    assert_eq!(schema["$defs"]["RouteConfig"]["properties"]["timeout"]["$ref"], "#/$defs/Duration");
}

#[test]
fn an_unknown_value_on_the_wire_names_its_place() {
    let error = |change: &dyn Fn(&mut v1::RouteTable)| {
        let mut table = v1::RouteTable::from(&sample());
        change(&mut table);
        GatewayConfig::try_from(table).expect_err("not a config").to_string()
    };
    assert_eq!(error(&|table| table.server = None), "server: is missing");
    assert_eq!(
        error(&|table| table.routes[0].hosts[0] = "*".into()),
        "routes[0].hosts[0]: `*` is not a host pattern"
    );
    assert_eq!(error(&|table| table.routes[0].backend = None), "routes[0].upstream: is missing");
    let nobody = v1::route::Backend::Split(v1::Split::default());
    let split = error(&|table| table.routes[0].backend = Some(nobody.clone()));
    assert_eq!(split, "routes[0].split: has no shares");
    let unknown_filter = error(&|table| table.global_filters.push(v1::Filter { kind: None }));
    assert_eq!(unknown_filter, "global_filters[0]: is a filter that this version does not know");
    let unknown_balancer = error(&|table| {
        if let Some(v1::route::Backend::Inline(inline)) = &mut table.routes[0].backend {
            inline.balancing.get_or_insert_default().balancer = 77;
        }
    });
    assert_eq!(unknown_balancer, "routes[0].balancer: 77 is a balancer that this version does not know");
    let server = error(&|table| table.server.get_or_insert_default().port = 65_536);
    assert_eq!(server, "server.port: 65536 is not a port");
}

#[test]
fn a_snapshot_whose_hash_is_wrong_is_not_opened() {
    let snapshot::Encoded { table, sha256 } = snapshot::encode(&sample());
    let good = v1::Snapshot { table, sha256, ..Default::default() };
    assert!(snapshot::open(&good).is_ok());
    let mut damaged = good.table.to_vec();
    damaged[3] ^= 1;
    let damaged = v1::Snapshot { table: damaged.into(), ..good.clone() };
    assert!(matches!(snapshot::open(&damaged), Err(snapshot::SnapshotError::Hash { .. })));
    let upper = v1::Snapshot { sha256: good.sha256.to_uppercase(), ..good };
    assert!(matches!(snapshot::open(&upper), Err(snapshot::SnapshotError::Hash { .. })));
}

#[test]
fn a_table_that_says_more_than_would_be_obeyed_is_not_opened() {
    let mut table = snapshot::encode(&sample()).table.to_vec();
    // field 2000 of the table, a number
    table.extend([0x80, 0x7d, 0x01]);
    let sha256 = snapshot::hex_sha256(&table);
    let newer = v1::Snapshot { table: table.clone().into(), sha256, ..Default::default() };
    assert_eq!(snapshot::open(&newer), Err(snapshot::SnapshotError::Unknown(3)));
    let shown = snapshot::decode_table(&table).expect("it can still be shown");
    assert_eq!(snapshot::encode(&shown), snapshot::encode(&sample()));
}

fn sample() -> GatewayConfig {
    let route = RouteConfig { hosts: vec![HostPattern::Exact("a.example".into())], ..bare_route("a") };
    GatewayConfig {
        server: ServerConfig::default(),
        listeners: Vec::new(),
        upstreams: Vec::new(),
        routes: vec![route],
        global_filters: Vec::new(),
    }
}

fn bare_route(name: &str) -> RouteConfig {
    serde_json::from_value(json!({"name": name, "prefix": "/"})).expect("a route")
}

pub(super) fn duration() -> impl Strategy<Value = Duration> {
    (1u64..=86_400_000).prop_map(|millis| Duration::from_millis(millis).expect("at most 24 h"))
}

fn positive() -> impl Strategy<Value = NonZeroU32> {
    (1u32..).prop_map(|number| NonZeroU32::new(number).expect("not 0"))
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._-]{1,20}"
}

fn method() -> impl Strategy<Value = Method> {
    select(vec!["GET", "POST", "PURGE"]).prop_map(|text| text.parse().expect("a method"))
}

fn header_name() -> impl Strategy<Value = HeaderName> {
    "[a-z][a-z0-9-]{0,10}".prop_map(|text| text.parse().expect("a header name"))
}

fn prefix() -> impl Strategy<Value = PathPrefix> {
    "(/[a-z0-9]{1,5}){1,3}".prop_map(PathPrefix)
}

fn hash_on() -> impl Strategy<Value = HashOn> {
    prop_oneof![
        header_name().prop_map(|name| HashOn::Header(name.0)),
        "[a-zA-Z]{1,8}".prop_map(HashOn::Cookie),
        Just(HashOn::ClientIp),
        Just(HashOn::Path),
    ]
}

fn upstream() -> impl Strategy<Value = UpstreamConfig> {
    let balancer = select(vec![
        BalancerKind::RoundRobin,
        BalancerKind::WeightedRoundRobin,
        BalancerKind::Random,
        BalancerKind::LeastRequest,
        BalancerKind::ConsistentHash,
    ]);
    let times = (duration(), duration(), duration(), duration(), duration());
    let on_all_unhealthy = select(vec![OnAllUnhealthy::FailOpen, OnAllUnhealthy::FailClosed]);
    let health = (option::of(health_check()), option::of(outlier()), on_all_unhealthy);
    let balancing = (balancer, option::of(hash_on()), any::<u32>());
    (name(), any_targets(), balancing, times, health, any_reach()).prop_map(
        |(name, targets, (balancer, hash_on, max_connections), times, health, reach)| UpstreamConfig {
            name,
            targets,
            balancer,
            hash_on: hash_on.map(Box::new),
            connect_timeout: times.0,
            response_timeout: times.1,
            max_connections,
            max_connections_wait: times.2,
            idle_timeout: times.3,
            health_check: health.0.map(Box::new),
            outlier: health.1.map(Box::new),
            on_all_unhealthy: health.2,
            slow_start: times.4,
            protocol: reach.0,
            tls: reach.1,
            send_proxy_protocol: reach.2,
            dns: reach.3,
        },
    )
}

fn health_check() -> impl Strategy<Value = HealthCheckConfig> {
    let host = || option::of(select(vec!["a.example", "a.example:8080"]));
    let host = move || host().prop_map(|text| text.map(|text| text.parse().expect("a host")));
    let path = select(vec!["/", "/health?full=1"]).prop_map(|text| text.parse().expect("a path"));
    let status = select(vec!["200", "204", "200-299"]).prop_map(|text| text.parse().expect("a status"));
    let header = (header_name(), "[ -~]{0,9}").prop_map(|(name, value)| HeaderMatch { name, value });
    let http = (method(), path, host(), vec(header, 0..3), vec(status, 1..3), option::of(".{0,9}")).prop_map(
        |(method, path, host, headers, expected_status, body_contains)| {
            Probe::Http(HttpProbe { method, path, host, headers, expected_status, body_contains })
        },
    );
    let grpc = ("[a-z.]{0,9}", host()).prop_map(|(service, host)| Probe::Grpc { service, host });
    let initial = select(vec![InitialHealth::Healthy, InitialHealth::Unhealthy]);
    let times = (duration(), duration());
    let thresholds = (positive(), positive());
    (prop_oneof![http, Just(Probe::Tcp), grpc], option::of(1u16..), times, thresholds, initial).prop_map(
        |(probe, port, times, thresholds, initial)| HealthCheckConfig {
            port: port.and_then(NonZeroU16::new),
            interval: times.0,
            timeout: times.1,
            healthy_threshold: thresholds.0,
            unhealthy_threshold: thresholds.1,
            initial,
            ..HealthCheckConfig::from(probe)
        },
    )
}

fn outlier() -> impl Strategy<Value = OutlierConfig> {
    (positive(), option::of(positive()), option::of(duration()), duration(), duration(), any::<u32>())
        .prop_map(|(errors, connect_errors, latency, base_ejection, max_ejection, percent)| OutlierConfig {
            consecutive_errors: errors,
            consecutive_connect_errors: connect_errors,
            latency,
            base_ejection,
            max_ejection,
            max_ejection_percent: percent,
        })
}

fn route() -> impl Strategy<Value = RouteConfig> {
    let host = prop_oneof![
        "[a-z]{1,9}\\.example".prop_map(HostPattern::Exact),
        "[a-z]{1,9}\\.example".prop_map(HostPattern::Wildcard),
    ];
    let path = prop_oneof![
        prefix().prop_map(|prefix| (Some(prefix), None)),
        Just((None, Some(PathTemplate("/users/{id}".into())))),
    ];
    let backend = prop_oneof![
        upstream().prop_map(|inline| Backend::Inline(Box::new(inline))),
        name().prop_map(Backend::Named),
        redirect().prop_map(Backend::Redirect),
        respond().prop_map(Backend::Respond),
        (vec(share(), 1..4), option::of(hash_on())).prop_map(|(shares, on)| Backend::Split(shares, on)),
    ];
    let header = (header_name(), "[ -~]{0,9}").prop_map(|(name, value)| HeaderMatch { name, value });
    let query = (".{0,9}", ".{0,9}").prop_map(|(name, value)| QueryMatch { name, value });
    let matches = (vec(host, 0..3), path, vec(method(), 0..3), vec(header, 0..3), vec(query, 0..3));
    let websocket = (any::<bool>(), duration());
    let switches = (any::<bool>(), any::<bool>(), websocket, option::of(prefix()), option::of(duration()));
    (name(), matches, switches, backend, vec(filter(), 0..4), option::of(mirror())).prop_map(
        |(name, matches, switches, backend, filters, mirror)| {
            let (hosts, (prefix, path), methods, headers, query) = matches;
            let (strip_prefix, preserve_host, websocket, rewrite, timeout) = switches;
            let mut route = RouteConfig {
                hosts,
                prefix,
                path,
                methods,
                headers,
                query,
                strip_prefix,
                rewrite,
                preserve_host,
                websocket: websocket.0,
                websocket_idle_timeout: websocket.1,
                timeout,
                mirror: mirror.map(Box::new),
                filters,
                ..bare_route(&name)
            };
            match backend {
                Backend::Inline(inline) => route.set_inline_upstream(*inline),
                Backend::Named(name) => route.upstream = Some(name),
                Backend::Redirect(redirect) => route.redirect = Some(Box::new(redirect)),
                Backend::Respond(respond) => route.respond = Some(Box::new(respond)),
                Backend::Split(shares, on) => (route.split, route.hash_on) = (shares, on.map(Box::new)),
            }
            route
        },
    )
}

#[derive(Debug, Clone)]
enum Backend {
    Inline(Box<UpstreamConfig>),
    Named(String),
    Redirect(RedirectConfig),
    Respond(RespondConfig),
    Split(Vec<ShareConfig>, Option<HashOn>),
}

fn redirect() -> impl Strategy<Value = RedirectConfig> {
    let to = select(vec!["https://{host}{path}", "http://a.example/x?y=1", "/moved", "{path}"]);
    (to, select(vec![301, 302, 303, 307, 308]))
        .prop_map(|(to, status)| RedirectConfig { to: to.parse().expect("a URL"), status })
}

fn respond() -> impl Strategy<Value = RespondConfig> {
    (200u16..600, ".{0,20}", "[a-z]{1,9}/[a-z]{1,9}").prop_map(|(status, body, content_type)| RespondConfig {
        status,
        body,
        content_type,
    })
}

fn any_config() -> impl Strategy<Value = GatewayConfig> {
    (server(), vec(listener(), 0..3), vec(upstream(), 0..3), vec(route(), 0..4), vec(filter(), 0..4))
        .prop_map(|(server, listeners, upstreams, routes, global_filters)| GatewayConfig {
            server,
            listeners,
            upstreams,
            routes,
            global_filters,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With every default written out, as the wire does, nothing is lost or changed.
    #[test]
    fn a_config_survives_the_wire(config in any_config()) {
        let encoded = snapshot::encode(&config);
        let back = snapshot::decode_table(&encoded.table);
        prop_assert_eq!(back.as_ref(), Ok(&config));
        prop_assert_eq!(snapshot::encode(&config), encoded, "equal configs have equal bytes");
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes in vec(any::<u8>(), 0..200)) {
        let _ = snapshot::decode_table(&bytes);
    }
}
