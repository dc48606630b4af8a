//! Where requests go besides the one upstream: splits and mirrors.

mod mirror;
mod split;

use std::net::SocketAddr;
use tests::client::{RawClient, RawResponse};
use tests::config;
use tests::fleet::Fleet;

/// A GET with more header lines, each ended by CRLF, on a connection of its own.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> RawResponse {
    let mut client = RawClient::connect(address).await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n")).await;
    client.response().await
}

/// A config of upstreams, each with one target, and routes.
fn table(port: u16, upstreams: &[(&str, SocketAddr)], routes: &str) -> String {
    let upstreams: String = upstreams
        .iter()
        .map(|(name, addr)| format!("  - {{name: {name}, targets: [{{addr: \"http://{addr}\"}}]}}\n"))
        .collect();
    format!("{}upstreams:\n{upstreams}routes:\n{routes}", config::server(port, ""))
}

/// The value of the one series that has these labels.
async fn metric(fleet: &Fleet, name: &str, labels: &[(&str, &str)]) -> u64 {
    let page = tests::client::get(fleet.admin_address(0), "/metrics").await.expect("a page of metrics");
    let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let text = String::from_utf8_lossy(&page.body);
    let of_name = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let series: Vec<&str> = of_name.filter(|line| wanted.iter().all(|label| line.contains(label))).collect();
    let [one] = series[..] else { panic!("{name} {labels:?}: {series:?}") };
    one.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{one}"))
}

/// Whether the one target of an upstream takes requests: 1, or 0.
async fn health(fleet: &Fleet, upstream: &str) -> u64 {
    metric(fleet, "gateway_target_health", &[("upstream", upstream)]).await
}
