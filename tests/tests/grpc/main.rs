//! gRPC through the gateway, with real clients and servers: tonic, and grpcio of Python.

mod python;
mod tonic;
mod web;

use std::fmt::Write as _;
use std::net::SocketAddr;
use tests::config;
use tests::fleet::Fleet;

/// A route of one service, or of one method, to a target that speaks HTTP/2.
fn route(name: &str, path: &str, target: SocketAddr, more: &str) -> String {
    let mut text = format!(
        "  - name: {name}\n    {path}\n    protocol: h2\n    targets: [{{addr: \"http://{target}\"}}]\n"
    );
    for line in more.lines() {
        // writing to a String cannot fail
        let _ = writeln!(text, "    {line}");
    }
    text
}

async fn fleet(routes: &[String]) -> Fleet {
    Fleet::start(1, |port| format!("{}routes:\n{}", config::server(port, ""), routes.concat())).await
}

/// How many calls of a route have ended so.
async fn ended(fleet: &Fleet, route: &str, status: &str) -> u64 {
    let page = tests::client::get(fleet.admin_address(0), "/metrics").await.expect("a page of metrics");
    let text = String::from_utf8_lossy(&page.body);
    let line = format!("gateway_grpc_requests_total{{route=\"{route}\",grpc_status=\"{status}\"}} ");
    text.lines().find_map(|one| one.strip_prefix(&*line)).map_or(0, |count| count.parse().expect("a number"))
}

async fn comes_to(fleet: &Fleet, route: &str, status: &str, count: u64) {
    tests::wait::eventually(&format!("{count} calls of {route} with {status}"), async || {
        match ended(fleet, route, status).await {
            seen if seen == count => Ok(()),
            seen => Err(format!("{seen}")),
        }
    })
    .await;
}
