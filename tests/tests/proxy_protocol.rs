//! The PROXY protocol from load balancers: of HAProxy itself, and of headers in pieces, broken ones and strangers' ones.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use tests::authority::Authority;
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::Fleet;
use tests::peers::present;
use tests::ports::{PortLease, lease, loopback};
use tests::process::Process;
use tests::upstream::Upstream;
use tests::wait::eventually;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// One data plane with a listener `balanced` that has these keys beside its port.
struct Balanced {
    fleet: Fleet,
    upstream: Upstream,
    port: PortLease,
}

impl Balanced {
    async fn start(keys: &[&str]) -> Self {
        let (upstream, port) = (Upstream::echo("target").await, lease(1));
        let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
        let listener = format!("listeners:\n  - name: balanced\n    port: {}\n{keys}", port.port);
        let fleet = Fleet::start(1, |plain| {
            let text = config::forward_all(plain, upstream.address());
            text.replace("drain_delay: 0s", "drain_delay: 0s\n  header_timeout: 500ms")
                .replace("routes:", &format!("{listener}routes:"))
        })
        .await;
        Self { fleet, upstream, port }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(loopback(1), self.port.port)
    }

    /// From where the target was told that the client of the last request has come.
    fn told(&self) -> String {
        let request = self.upstream.requests().pop().expect("a request");
        request.header("x-forwarded-for").expect("a client").to_owned()
    }

    async fn turned_away(&self, reason: &str, times: u32) {
        let line = format!(
            "gateway_connections_turned_away_total{{listener=\"balanced\",reason=\"{reason}\"}} {times}\n"
        );
        eventually(&line, async || {
            let page = get(self.fleet.admin_address(0), "/metrics").await.expect("a page");
            let page = String::from_utf8_lossy(&page.body).into_owned();
            if page.contains(&line) { Ok(()) } else { Err(page) }
        })
        .await;
    }
}

/// Version 2 for 192.0.2.7:1234, with extensions.
fn version_2(more: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + more.len()).expect("short").to_be_bytes();
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x04, 0xd2, 0x01, 0xbb];
    [SIGNATURE, &[0x21, 0x11], &length, &addresses, more].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_says_from_where_the_client_has_come() {
    let balanced = Balanced::start(&["proxy_protocol: required", "proxy_protocol_from: [127.0.0.0/8]"]).await;
    let authority_and_certificate = [&[2, 0, 6][..], b"a.test", &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
    for (header, told) in [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 1234 443\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version_2(&[]), "192.0.2.7"),
        (version_2(&authority_and_certificate), "192.0.2.7"),
        (version_2(&[4; 1000]), "192.0.2.7"),
        ([SIGNATURE, &[0x20, 0x00, 0, 0]].concat(), "127.0.0.1"),
    ] {
        let mut client = RawClient::connect(balanced.address()).await;
        // two requests: the header is that of the connection
        client.send([&header[..], REQUEST.as_bytes()].concat()).await;
        assert_eq!(client.response().await.status, 200, "{header:?}");
        assert_eq!(balanced.told(), told);
        client.send(REQUEST).await;
        assert_eq!(client.response().await.status, 200);
        assert_eq!(balanced.told(), told);

        // in pieces
        let mut client = RawClient::connect(balanced.address()).await;
        let (head, tail) = header.split_at(header.len() / 2);
        client.send(head).await;
        client.send(tail).await;
        client.send(REQUEST).await;
        assert_eq!(client.response().await.status, 200);
        assert_eq!(balanced.told(), told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_required_nothing_else_is_served() {
    let balanced = Balanced::start(&["proxy_protocol: required", "proxy_protocol_from: [127.0.0.0/8]"]).await;
    let broken: [&[u8]; 4] = [
        REQUEST.as_bytes(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1234\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        b"POST / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ];
    for bytes in broken {
        let mut client = RawClient::connect(balanced.address()).await;
        client.send(bytes).await;
        assert!(client.until_closed().await.is_empty(), "{bytes:?}");
    }
    balanced.turned_away("proxy_protocol", 4).await;
    // one that does not come to its end
    let mut client = RawClient::connect(balanced.address()).await;
    client.send("PROXY TCP4 192.0.2.7").await;
    assert!(client.until_closed().await.is_empty());
    balanced.turned_away("timeout", 1).await;
    assert!(balanced.upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_say_where_it_comes_from() {
    let line = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n";
    let balanced = Balanced::start(&["proxy_protocol: required", "proxy_protocol_from: [192.0.2.1]"]).await;
    let mut client = RawClient::connect(balanced.address()).await;
    client.send(format!("{line}{REQUEST}")).await;
    assert!(client.until_closed().await.is_empty());
    balanced.turned_away("proxy_protocol_peer", 1).await;

    let balanced = Balanced::start(&["proxy_protocol: optional", "proxy_protocol_from: [192.0.2.1]"]).await;
    let mut client = RawClient::connect(balanced.address()).await;
    client.send(format!("{line}{REQUEST}")).await;
    assert_eq!(client.response().await.status, 400, "it is no request");
    let mut client = RawClient::connect(balanced.address()).await;
    client.send(REQUEST).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(balanced.told(), "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_optional_both_are_served() {
    let balanced = Balanced::start(&["proxy_protocol: optional", "proxy_protocol_from: [127.0.0.1]"]).await;
    for (bytes, told) in [
        (format!("PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n{REQUEST}"), "192.0.2.7"),
        (REQUEST.to_owned(), "127.0.0.1"),
        // begins as a header does
        ("PROPFIND / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(), "127.0.0.1"),
    ] {
        for first in [1, bytes.len()] {
            let mut client = RawClient::connect(balanced.address()).await;
            let (head, tail) = bytes.split_at(first);
            client.send(head).await;
            client.send(tail).await;
            assert_eq!(client.response().await.status, 200, "{bytes}");
            assert_eq!(balanced.told(), told);
        }
    }
}

/// HAProxy in front, once for each version of the protocol, in TCP mode and with TLS behind it.
#[tokio::test(flavor = "multi_thread")]
async fn haproxy_tells_from_where_its_clients_have_come() {
    if !present(&["haproxy", "curl"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let certificate = authority.server("a", &["a.test"]);
    let tls = format!("tls: {{certificates: [{}]}}", certificate.item());
    for (option, keys) in
        [("send-proxy", vec![]), ("send-proxy-v2", vec![tls.as_str()]), ("send-proxy-v2-ssl", vec![])]
    {
        let demand = ["proxy_protocol: required", "proxy_protocol_from: [127.0.0.1]"];
        let balanced = Balanced::start(&[&demand[..], &keys].concat()).await;
        let front = lease(2);
        let file = directory.path().join("haproxy.cfg");
        let text = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
             frontend f\n  bind 127.0.0.2:{}\n  default_backend b\n\
             backend b\n  server gateway {} {option} check inter 200ms {}\n",
            front.port,
            balanced.address(),
            if option == "send-proxy" { "check-send-proxy" } else { "" },
        );
        fs::write(&file, text).expect("write the config of HAProxy");
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file);
        let _haproxy = Process::spawn("haproxy", &mut command);
        let scheme = if keys.is_empty() { "http" } else { "https" };
        let url = format!("{scheme}://a.test:{}/", front.port);
        eventually("a request comes through HAProxy", async || {
            let mut curl = Command::new("curl");
            curl.args([
                "-sS",
                "--http1.1",
                "--max-time",
                "10",
                "--interface",
                "127.0.0.9",
                "-o",
                "/dev/null",
                "-w",
            ])
            .args(["%{http_code}", "--resolve", &format!("a.test:{}:127.0.0.2", front.port), "--cacert"])
            .arg(authority.file())
            .arg(&url)
            .stdin(Stdio::null());
            let output = tokio::task::spawn_blocking(move || curl.output());
            let output = output.await.expect("no panic").expect("curl starts");
            let code = String::from_utf8_lossy(&output.stdout).into_owned();
            if code == "200" { Ok(()) } else { Err(format!("{code}: {output:?}")) }
        })
        .await;
        assert_eq!(balanced.told(), "127.0.0.9", "{option}");
    }
}
