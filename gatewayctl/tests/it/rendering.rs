//! Every status in every format, from one fixed answer of a control plane.

use gatewayctl::command::status::{fleet, instances, routes, table, targets, versions};
use gatewayctl::output::{Format, Resource, render};
use insta::assert_snapshot;
use jiff::Timestamp;
use policy::config::{GatewayConfig, RouteConfig, ServerConfig, TargetConfig, UpstreamConfig};
use policy::snapshot;
use proto::v1::{
    GetStatusResponse, Hello, Instance, InstanceState, InstanceStatus, ListVersionsResponse, TargetStatus,
    Traffic, Version, VersionState,
};

const NOW_MS: i64 = 1_700_000_000_000;
const USERS: &str = "http://127.0.0.1:8081";
const ORDERS: &str = "http://127.0.0.1:8083";

fn text<R: Resource>(items: &[R], format: Format) -> String {
    let now = Timestamp::from_millisecond(NOW_MS).unwrap();
    let text = render(items, format, now).unwrap();
    anstream::adapter::strip_str(&text).to_string()
}

fn target(addr: &str, weight: u32) -> TargetConfig {
    TargetConfig { addr: addr.parse().unwrap(), weight }
}

/// Two routes: one to an upstream of two targets, one to a target of its own.
fn config() -> GatewayConfig {
    let yaml = |yaml: &str| -> RouteConfig { serde_yaml::from_str(yaml).unwrap() };
    let upstream: UpstreamConfig = serde_yaml::from_str("{name: users, targets: []}").unwrap();
    let targets = vec![target(USERS, 3), target("http://127.0.0.1:8082", 0)];
    GatewayConfig {
        server: ServerConfig::default(),
        listeners: Vec::new(),
        upstreams: vec![UpstreamConfig { targets, ..upstream }],
        routes: vec![
            yaml("{name: user-service, hosts: [api.example.com], prefix: /api/v1/users, upstream: users}"),
            yaml(
                "{name: order, path: '/orders/{id}', methods: [GET, POST], headers: [{name: X-Version, value: '2'}], \
                 targets: [{addr: 'http://127.0.0.1:8083'}]}",
            ),
        ],
        global_filters: Vec::new(),
    }
}

fn seen(upstream: &str, addr: &str, weight: u32, last_error: &str) -> TargetStatus {
    TargetStatus {
        upstream: upstream.to_owned(),
        addr: addr.to_owned(),
        weight,
        in_flight: 2,
        requests_total: 1_000,
        failures_total: if last_error.is_empty() { 0 } else { 7 },
        connections: 4,
        last_error: last_error.to_owned(),
        requests_per_second: 12.34,
        ..TargetStatus::default()
    }
}

fn instance(
    name: &str,
    state: InstanceState,
    version: u64,
    reason: &str,
    targets: Vec<TargetStatus>,
) -> Instance {
    let hello = Hello {
        instance: name.to_owned(),
        build: "0.1.0".to_owned(),
        admin: "127.0.0.1:9901".to_owned(),
        workers: 4,
        started_ms: NOW_MS - 7_200_000,
        ..Default::default()
    };
    let status = InstanceStatus {
        active_version: version,
        active_sha256: "cd".repeat(32),
        connections: 12,
        requests_total: 3_000,
        listening: vec!["127.0.0.1:8080".to_owned()],
        targets,
        ..Default::default()
    };
    Instance {
        hello: Some(hello),
        state: state.into(),
        reason: reason.to_owned(),
        status: Some(status),
        connected_ms: NOW_MS - 90_000,
        last_seen_ms: NOW_MS - 1_000,
    }
}

fn status(instances: Vec<Instance>) -> GetStatusResponse {
    GetStatusResponse {
        current_version: 7,
        current_sha256: "ab".repeat(32),
        cluster_id: "0190f5e2-7c3a".to_owned(),
        instances,
        table: snapshot::encode(&config()).table.into(),
        config_problem: String::new(),
        config_file: "gateway.yaml".to_owned(),
        orders: None,
    }
}

fn good_targets() -> Vec<TargetStatus> {
    vec![seen("users", USERS, 3, ""), seen("order", ORDERS, 1, "")]
}

fn healthy() -> GetStatusResponse {
    status(vec![
        instance("dp-2", InstanceState::Current, 7, "", good_targets()),
        instance("dp-1", InstanceState::Current, 7, "", good_targets()),
    ])
}

fn degraded() -> GetStatusResponse {
    let refused = vec![seen("users", USERS, 3, "connection refused"), seen("order", ORDERS, 1, "")];
    status(vec![
        instance("dp-1", InstanceState::Current, 7, "", refused),
        instance("dp-2", InstanceState::Current, 7, "", good_targets()),
        instance("dp-3", InstanceState::Rejected, 6, "port 8080 is taken", good_targets()),
        instance("dp-4", InstanceState::Disconnected, 5, "", good_targets()),
    ])
}

fn routes_of(status: &GetStatusResponse) -> Vec<routes::Route> {
    routes::routes(status, &table(status).unwrap())
}

fn targets_of(status: &GetStatusResponse) -> Vec<targets::Target> {
    targets::targets(status, &table(status).unwrap())
}

#[test]
fn routes_in_every_format() {
    let routes = routes_of(&healthy());
    assert_snapshot!("routes_table", text(&routes, Format::Table));
    assert_snapshot!("routes_wide", text(&routes, Format::Wide));
    assert_snapshot!("routes_json", text(&routes, Format::Json));
    assert_snapshot!("routes_yaml", text(&routes, Format::Yaml));
    assert_snapshot!("routes_name", text(&routes, Format::Name));
}

#[test]
fn routes_of_a_degraded_fleet_say_why() {
    assert_snapshot!("routes_degraded", text(&routes_of(&degraded()), Format::Table));
}

#[test]
fn routes_without_an_instance_are_down() {
    assert_snapshot!("routes_down", text(&routes_of(&status(Vec::new())), Format::Table));
}

#[test]
fn targets_are_summed_over_connected_instances_that_agree() {
    assert_snapshot!("targets_table", text(&targets_of(&degraded()), Format::Table));
    assert_snapshot!("targets_wide", text(&targets_of(&degraded()), Format::Wide));
    assert_snapshot!("targets_json", text(&targets_of(&degraded()), Format::Json));
}

#[test]
fn the_latency_of_a_target_is_what_all_instances_saw() {
    let mut answer = healthy();
    for told in answer.instances.iter_mut().filter_map(|instance| instance.status.as_mut()) {
        told.traffic = Some(Traffic { seconds: 5.0, bounds: vec![0.001, 0.01], ..Traffic::default() });
        told.targets[0].latencies = vec![0, 10, 0];
        told.targets[1].latencies = vec![0, 0, 1];
    }
    let targets = targets_of(&answer);
    // the second is drained, and above every bound is the third
    assert!(targets[0].p50_seconds.is_some() && targets[1].p50_seconds.is_none());
    let told = text(&targets, Format::Table);
    assert!(told.contains("5.5 ms") && told.contains("long"), "{told}");
}

#[test]
fn instances_in_the_order_of_their_names() {
    assert_snapshot!("instances_table", text(&instances::instances(&healthy()), Format::Table));
    assert_snapshot!("instances_degraded_wide", text(&instances::instances(&degraded()), Format::Wide));
    assert_snapshot!("instances_json", text(&instances::instances(&degraded()), Format::Json));
}

#[test]
fn fleet_in_one_line() {
    let fleet_of = |status: &GetStatusResponse| [fleet::fleet(status, &table(status).unwrap())];
    assert_snapshot!("fleet_healthy", text(&fleet_of(&healthy()), Format::Table));
    assert_snapshot!("fleet_degraded", text(&fleet_of(&degraded()), Format::Table));
    assert_snapshot!("fleet_degraded_json", text(&fleet_of(&degraded()), Format::Json));
    let problem = GetStatusResponse { config_problem: "line 3: unknown key".to_owned(), ..healthy() };
    assert_snapshot!("fleet_file_differs", text(&fleet_of(&problem), Format::Table));
    assert_snapshot!("fleet_new", text(&fleet_of(&GetStatusResponse::default()), Format::Table));
}

#[test]
fn versions_newest_first() {
    let version = |version: u64, state: VersionState, detail: &str| Version {
        version,
        sha256: "ab".repeat(32),
        created_ms: NOW_MS - 60_000 * (9 - version as i64),
        author: "ann".to_owned(),
        note: if version == 6 { "orders by id".to_owned() } else { String::new() },
        state: state.into(),
        detail: detail.to_owned(),
    };
    let versions = versions::versions(&ListVersionsResponse {
        current_version: 7,
        versions: vec![
            version(8, VersionState::Rejected, "dp-3: port 8080 is taken"),
            version(7, VersionState::Committed, ""),
            version(6, VersionState::Committed, ""),
        ],
    });
    assert_snapshot!("versions_table", text(&versions, Format::Table));
    assert_snapshot!("versions_json", text(&versions, Format::Json));
}
