//! Text of a client that would be a line, a field or a colour somewhere else: in the log, in the answer, at the target.

use super::PLAIN;
use serde_json::Value;
use std::fmt::Write as _;
use tests::client::RawClient;
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;
use tests::wait::eventually;

/// Raw and in the ways in which it is often written.
const TEXTS: &[&str] = &[
    "%0d%0aX-Injected:%20yes",
    "%0aINFO%20forged%20line",
    "%0D%0A%0D%0A%3Chtml%3E",
    "%1b%5b31mred",
    "\\r\\nX-Injected: yes",
    "\"}{\"forged\":true",
    "%22%7d%7b%22forged%22:true",
    "${jndi:ldap://127.0.0.1/x}",
    "{client_ip}{host}",
    "%E5%98%8A%E5%98%8DX-Injected:%20yes",
    "%c2%85forged",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_text_stays_text() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = Fleet::start(1, |port| {
        config::server(port, &(PLAIN.to_owned() + "  trusted_proxies: [127.0.0.0/8]\n"))
            + "routes:\n"
            + &config::route(
                "api",
                &[upstream.address()],
                &["hosts: [a.test]", "filters: [{headers: {response: {set: {X-Path: \"{path}\"}}}}]"],
            )
            + "  - {name: moved, prefix: /moved, redirect: {to: \"https://b.test{path}\", status: 302}}\n"
            + "  - {name: said, prefix: /said, respond: {status: 200, body: said}}\n"
            + "global_filters: [{logging: {format: json, output: stdout, query: true}}]\n"
    })
    .await;
    let mut wrong = String::new();
    for path in ["/api", "/moved", "/said", "/nowhere"] {
        for text in TEXTS {
            let fields = format!(
                "User-Agent: {text}\r\nX-Request-ID: {text}\r\nX-Forwarded-For: {text}\r\nVia: {text}\r\n"
            );
            let escaped = text.replace([' ', '\\'], "%20");
            let mut client = RawClient::connect(fleet.address(0)).await;
            client
                .send(format!("GET {path}/{escaped}?q={escaped} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n"))
                .await;
            let answer = client.until_closed().await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let head = answer.split("\r\n\r\n").next().unwrap_or_default();
            let clean = |line: &str| {
                let lower = line.to_ascii_lowercase();
                !lower.starts_with("x-injected") && !line.chars().any(|c| c.is_control() && c != '\t')
            };
            if !head.starts_with("HTTP/1.1 ") || !head.split("\r\n").all(clean) {
                let _ = writeln!(wrong, "{path} {text}: {head:?}");
            }
        }
    }
    for bytes in upstream.connections() {
        let told = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if told.contains("\nx-injected") || told.contains('\u{1b}') {
            let _ = writeln!(wrong, "the target got {told:?}");
        }
    }
    let asked = 4 * TEXTS.len();
    let log = eventually("every request has its line", async || {
        let log = fleet.data_plane(0).log();
        match log.lines().filter(|line| line.starts_with('{')).count() {
            lines if lines == asked => Ok(log),
            lines => Err(format!("{lines} lines of {asked}:\n{log}")),
        }
    })
    .await;
    for line in log.lines() {
        let is_sound = match line.strip_prefix('{') {
            // none of those whose head was refused
            Some(_) => serde_json::from_str(line).is_ok_and(|line: Value| {
                let agent = line["user_agent"].as_str().unwrap_or_default();
                (agent.is_empty() || TEXTS.contains(&agent)) && line.get("forged").is_none()
            }),
            // of the data plane itself: begins with its time
            None => line.starts_with("20"),
        };
        if !is_sound || line.contains('\u{1b}') {
            let _ = writeln!(wrong, "in the log: {line:?}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
