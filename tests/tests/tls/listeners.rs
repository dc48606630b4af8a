//! Plain text and TLS beside each other, and listeners that come, change and go.

use super::{Secure, Session, certificates, here, names_of, program, said, with_tls};
use std::fs;
use tests::authority::Authority;
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::Fleet;
use tests::ports::lease;
use tests::upstream::Upstream;
use tests::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_and_tls_on_each_others_ports_are_told_and_counted() {
    if !here() {
        return;
    }
    let secure = Secure::start(|authority| vec![certificates(&[&authority.server("a", &["a.test"])])]).await;
    let url = format!("http://{}/", secure.address());
    let answer = said(program("curl", &["-sS", "-i", &url])).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("plain_text"), "{answer}");
    secure
        .metric_is("gateway_connections_turned_away_total{listener=\"https\",reason=\"plain_text\"}", 1.0)
        .await;
    let plain = secure.fleet.address(0).to_string();
    said(program("openssl", &["s_client", "-connect", &plain])).await;
    secure
        .metric_is(
            "gateway_connections_turned_away_total{listener=\"default\",reason=\"unexpected_tls\"}",
            1.0,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_sent_to_https() {
    if !here() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let (upstream, port) = (Upstream::echo("target").await, lease(1));
    let tls = [certificates(&[&authority.server("a", &["a.test"])])];
    let fleet = Fleet::start(1, |plain| {
        let redirect = format!(
            "drain_delay: 0s\n  redirect_https: {{port: {}}}\n  trusted_proxies: [127.0.0.2]",
            port.port
        );
        with_tls(plain, port.port, &upstream, &tls).replace("drain_delay: 0s", &redirect)
    })
    .await;
    let reply = get(fleet.address(0), "/x/../y?z=1").await.expect("an answer");
    assert_eq!(reply.status, 308);
    assert_eq!(reply.headers["location"], format!("https://127.0.0.1:{}/y?z=1", port.port));
    assert!(upstream.requests().is_empty());
    // a proxy that has got it by https is not sent in a circle
    let mut proxy = RawClient::connect_from(2, fleet.address(0)).await;
    proxy.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n").await;
    assert_eq!(proxy.response().await.status, 200);

    let explained = fleet.ctl(["explain", "GET", "http://a.test/y"]).await.exits(0).text();
    assert!(explained.contains("redirect_https"), "{explained}");
    let explained =
        fleet.ctl(["explain", "GET", "https://a.test/y", "--listener", "https"]).await.exits(0).text();
    assert!(explained.contains("FORWARDED") && !explained.contains("redirect_https"), "{explained}");
    let listed = fleet.ctl(["status", "listeners"]).await.exits(0).stdout;
    assert!(listed.contains("default") && listed.contains("a.test"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_comes_changes_and_goes_by_applies_and_its_connections_live_on() {
    if !here() {
        return;
    }
    let secure = Secure::start(|authority| vec![certificates(&[&authority.server("a", &["a.test"])])]).await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut lasting = Session::open(secure.openssl(&["-servername", "a.test", "-quiet"]));
    lasting.send(request);
    lasting.until("HTTP/1.1 200", 1).await;
    // other settings: the socket and its connections stay
    let text = fs::read_to_string(secure.fleet.config_path()).expect("the config");
    let tls =
        [certificates(&[&secure.authority.server("b", &["b.test"])]), "min_version: \"1.3\"".to_owned()];
    let changed = with_tls(secure.fleet.port(), secure.port.port, &secure.upstream, &tls);
    secure.fleet.apply(&changed, &[]).await.exits(0);
    let names = names_of(&secure.handshake(&[]).await);
    assert!(names.contains("DNS:b.test"), "{names}");
    lasting.send(request);
    lasting.until("HTTP/1.1 200", 2).await;
    // gone: whoever is idle is told so, and nobody new comes in
    let without = config::forward_all(secure.fleet.port(), secure.upstream.address());
    secure.fleet.apply(&without, &[]).await.exits(0);
    eventually("the connection ends", async || match lasting.child.try_wait() {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let refused = secure.handshake(&[]).await;
    assert!(refused.contains("Connection refused"), "{refused}");
    // and back
    secure.fleet.apply(&text, &[]).await.exits(0);
    let names = names_of(&secure.handshake(&[]).await);
    assert!(names.contains("DNS:a.test"), "{names}");
}
