//! What stands in `deploy/` is true: the balancer loses nothing, the rules fire, every panel shows something of a fleet.

use http::{Response, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::binaries::binary;
use tests::client::get;
use tests::config;
use tests::fleet::Fleet;
use tests::load::{Load, Plan};
use tests::peers::present;
use tests::ports;
use tests::process::Process;
use tests::prometheus::{Prometheus, promtool};
use tests::upstream::{Upstream, full};
use tests::wait::eventually;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn text(path: &Path) -> String {
    path.to_str().expect("a UTF-8 path").to_owned()
}

async fn answering(status: StatusCode) -> Upstream {
    Upstream::http(move |_| {
        let mut response = Response::new(full("answered"));
        *response.status_mut() = status;
        std::future::ready(response)
    })
    .await
}

#[test]
fn promtool_finds_config_and_rules_sound_and_every_rule_fires_when_it_should() {
    if !present(&["promtool"]) {
        return;
    }
    for arguments in [
        ["check", "config", "prometheus/prometheus.yml"],
        ["check", "rules", "prometheus/rules.yml"],
        ["test", "rules", "prometheus/rules.test.yml"],
    ] {
        let [what, of, path] = arguments;
        let (content, said) = promtool(&[what, of, &text(&deploy(path))], "");
        assert!(content && !said.contains("WARNING"), "{said}");
    }
}

#[test]
fn the_compose_file_names_files_that_are_there_and_flags_that_the_programs_know() {
    let directory = deploy("compose");
    let compose = fs::read_to_string(directory.join("compose.yaml")).expect("a compose file");
    let compose: Value = serde_yaml::from_str(&compose).expect("YAML");
    let services = compose["services"].as_object().expect("services");
    let mut mounted = 0;
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().and_then(|volume| volume.split(':').next()).expect("a mount");
            if source.starts_with('.') {
                assert!(directory.join(source).exists(), "{name} mounts {source}");
                mounted += 1;
            } else {
                assert!(compose["volumes"].get(source).is_some(), "{name} mounts {source}");
            }
        }
        let command: Vec<_> =
            service["command"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if let [ours @ ("controlplane" | "dataplane"), flags @ ..] = &command[..] {
            let output = Command::new(binary(ours)).args(flags).arg("--version").output().expect("it runs");
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert!(mounted >= 6, "{mounted}");

    let validated = Command::new(binary("gatewayctl"))
        .args(["validate", "-f", &text(&directory.join("gateway.yaml"))])
        .env("JWT_SECRET", "x".repeat(32))
        .output()
        .expect("it runs");
    assert!(validated.status.success(), "{}", String::from_utf8_lossy(&validated.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_balancer_loses_no_request_while_a_data_plane_drains() {
    if !present(&["haproxy"]) {
        return;
    }
    let target = answering(StatusCode::OK).await;
    let mut fleet = Fleet::start(2, |port| {
        config::forward_all(port, target.address()).replace("drain_delay: 0s", "drain_delay: 5s")
    })
    .await;
    let (listen, directory) = (ports::lease(1), tempfile::tempdir().expect("a directory"));
    let address = format!("127.0.0.1:{}", listen.port);
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(deploy("haproxy/haproxy.cfg")).arg("-db").current_dir(&directory);
    command.env("LISTEN", &address);
    for at in 0..2 {
        let (name, admin) = (format!("DP_{}", at + 1), fleet.admin_address(at));
        command.env(&name, fleet.address(at).to_string());
        command.env(format!("{name}_ADMIN_ADDR"), admin.ip().to_string());
        command.env(format!("{name}_ADMIN_PORT"), admin.port().to_string());
    }
    let _balancer = Process::spawn("haproxy", &mut command);
    let address = address.parse().expect("an address");
    eventually("the balancer listens", async || tokio::net::TcpStream::connect(address).await).await;

    // a connection for each request: what a client may send on one that is being closed is not the balancer's matter
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".to_owned();
    let load = Load::start(address, &Plan { request, clients: 4, pace: Duration::from_millis(10) });
    load.goes_on_for(200).await;
    for at in 0..2 {
        let page = get(fleet.admin_address(at), "/metrics").await.expect("a page").body;
        let page = String::from_utf8_lossy(&page).into_owned();
        assert!(page.contains("gateway_requests_total{route=\"all\""), "both take part:\n{page}");
    }
    fleet.data_plane(0).signal(Signal::TERM);
    assert!(fleet.data_plane(0).ended().await.success());
    load.goes_on_for(200).await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}

fn dashboard() -> Value {
    let path = deploy("grafana/dashboards/mini-gateway.json");
    serde_json::from_str(&fs::read_to_string(path).expect("a dashboard")).expect("JSON")
}

#[test]
fn the_panels_of_the_dashboard_lie_side_by_side_without_gaps_and_none_is_red_for_nothing() {
    const COLUMNS: u64 = 24;
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is another's");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        for cell in (y..y + h).flat_map(|line| (x..x + w).map(move |column| (line, column))) {
            assert!(cells.insert(cell) && cell.1 < COLUMNS, "{title}: line and column {cell:?}");
        }
        // without any of the three Grafana colours a value green, and red from 80 on
        let looks = &panel["fieldConfig"]["defaults"];
        let coloured = ["color", "mappings", "thresholds"].iter().any(|key| !looks[*key].is_null());
        assert!(panel["type"] != "stat" || coloured, "{title}: no colours");
    }
    let lines = cells.last().map_or(0, |(line, _)| line + 1);
    assert_eq!(cells.len() as u64, lines * COLUMNS, "a gap between panels");
}

/// Everything that Grafana would ask, by the panel or variable that asks it.
fn questions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default();
        panel["targets"].as_array().into_iter().flatten().map(move |target| (title, &target["expr"]))
    });
    let filled = |query: &str| {
        query.replace("$__rate_interval", "5s").replace("$instance", ".*").replace("$route", ".*")
    };
    let mut questions: Vec<_> =
        targets.map(|(title, expr)| (title.to_owned(), filled(expr.as_str().expect("a query")))).collect();
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let (name, query) = (variable["name"].as_str(), variable["definition"].as_str());
        let values = query.and_then(|query| query.strip_prefix("label_values(")?.strip_suffix(')'));
        let (metric, label) = values.and_then(|values| values.split_once(", ")).expect("label_values");
        questions.push((name.unwrap_or_default().to_owned(), format!("count by ({label}) ({metric})")));
    }
    questions
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_dashboard_shows_something_of_a_fleet() {
    if !present(&["prometheus"]) {
        return;
    }
    let (good, bad) = (answering(StatusCode::OK).await, answering(StatusCode::SERVICE_UNAVAILABLE).await);
    let (gone, _lease) = ports::refusing();
    let fleet = Fleet::start(2, |port| {
        let (good, both) = ([good.address()], [bad.address(), good.address()]);
        let retry = "filters: [{retry: {max_retries: 1, retry_on: [503], backoff: {base: 0s}}}]";
        let limit = |more| format!("filters: [{{rate_limit: {{qps: 1, burst: 1{more}}}}}]");
        let breaker = "filters: [{circuit_breaker: {threshold: 3, timeout: 100ms}}]";
        config::server(port, "")
            + "routes:\n"
            + &config::route("flaky", &both, &[retry])
            + &config::route("limited", &good, &[&limit("")])
            + &config::route("watched", &good, &[&limit(", shadow: true")])
            + &config::route("broken", &[gone], &[breaker])
            + "global_filters: [{logging: {only: {min_status: 500}}}]\n"
    })
    .await;
    let names = ["dp-1", "dp-2"];
    let targets: Vec<_> =
        names.iter().enumerate().map(|(at, name)| (*name, fleet.admin_address(at))).collect();
    let prometheus = Prometheus::start_with(&targets, Some(&deploy("prometheus/rules.yml"))).await;
    let paths = ["/flaky", "/limited", "/watched", "/broken", "/nowhere"];
    let loads: Vec<_> = fleet
        .addresses()
        .into_iter()
        .flat_map(|address| paths.map(|path| Load::start(address, &Plan { clients: 1, ..Plan::get(path) })))
        .collect();

    let questions = questions(&dashboard());
    assert!(questions.len() > 25, "{}", questions.len());
    for (title, query) in &questions {
        let shown = prometheus.until(query, |samples| samples.iter().any(|one| !one.value.is_nan())).await;
        // a panel with a line for each of something has a name for each
        assert!(shown.len() < 200, "{title}: {}", shown.len());
    }
    let rules = prometheus.rules().await;
    assert!(rules.len() > 10 && rules.iter().all(|(_, health)| health == "ok"), "{rules:?}");
    for load in loads {
        load.stop().await;
    }
}

/// What `deploy/release` trains the data plane with.
#[test]
fn the_load_of_a_release_is_answered() {
    if !present(&["nginx", "h2load", "curl", "openssl", "taskset"]) {
        return;
    }
    let programs = binary("dataplane");
    let training = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("load/training.py"))
        .arg("--programs")
        .arg(programs.parent().expect("a directory"))
        .args(["--effort", "0.005"])
        .output()
        .expect("it runs");
    assert!(training.status.success(), "{}", String::from_utf8_lossy(&training.stderr));
}
