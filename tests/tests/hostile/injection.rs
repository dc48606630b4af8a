//! Text of a client that would be a line, a field or a colour somewhere else: in the log, in the answer, at the target.

use super::PLAIN;
use std::fmt::Write as _;
use tests::client::RawClient;
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;

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
    let log = fleet.data_plane(0).log();
    let odd =
        |line: &&str| line.starts_with("INFO") || line.starts_with("X-Injected") || line.contains('\u{1b}');
    wrong.extend(log.lines().filter(odd).map(|line| format!("in the log: {line:?}\n")));
    assert!(wrong.is_empty(), "\n{wrong}");
}
