//! Versions, resumption, client certificates, and handshakes that do not come to their end.

use super::{Secure, Session, certificates, here, program, said, with_tls};
use std::path::Path;
use tests::authority::{Authority, Files};
use tests::fleet::Fleet;
use tests::ports::lease;
use tests::upstream::Upstream;
use tests::wait::soon;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_version_is_what_the_config_says() {
    if !here() {
        return;
    }
    let secure = Secure::start(|authority| {
        vec![certificates(&[&authority.server("a", &["a.test"])]), "min_version: \"1.3\"".to_owned()]
    })
    .await;
    let refused = secure.handshake(&["-tls1_2"]).await;
    assert!(refused.contains("alert protocol version"), "{refused}");
    let agreed = secure.handshake(&["-tls1_3"]).await;
    assert!(agreed.contains("TLSv1.3") && agreed.contains("Verify return code: 0 (ok)"), "{agreed}");
    secure
        .metric_is("gateway_connections_turned_away_total{listener=\"https\",reason=\"tls_failed\"}", 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_by_its_ticket_unless_the_config_forbids_it() {
    if !here() {
        return;
    }
    for tickets in [true, false] {
        let secure = Secure::start(|authority| {
            vec![certificates(&[&authority.server("a", &["a.test"])]), format!("session_tickets: {tickets}")]
        })
        .await;
        let again = secure.handshake(&["-tls1_2", "-servername", "a.test", "-reconnect"]).await;
        assert_eq!(again.contains("Reused, TLSv1.2"), tickets, "{again}");
        // the tickets of 1.3 come behind the handshake: before the answer
        let file = secure.fleet.directory().join("session");
        let file = file.to_str().expect("UTF-8");
        let newer = ["-tls1_3", "-servername", "a.test"];
        let mut first = Session::open(secure.openssl(&[&newer[..], &["-sess_out", file]].concat()));
        first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        first.until("HTTP/1.1 200", 1).await;
        assert_eq!(Path::new(file).exists(), tickets);
        if tickets {
            let again = secure.handshake(&[&newer[..], &["-sess_in", file]].concat()).await;
            assert!(again.contains("Reused, TLSv1.3"), "{again}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_must_show_a_certificate_is_served_with_one_that_holds_and_not_otherwise() {
    if !here() {
        return;
    }
    for required in [true, false] {
        let secure = Secure::start(|authority| {
            vec![
                certificates(&[&authority.server("a", &["a.test"])]),
                format!("client_ca: {}", authority.file().display()),
                format!("client_auth: {}", if required { "required" } else { "optional" }),
            ]
        })
        .await;
        let stranger = Authority::new(&secure.fleet.directory().join("stranger"));
        let of = |files: &Files| {
            let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
            ["--cert".to_owned(), path(&files.cert), "--key".to_owned(), path(&files.key)]
        };
        let ask = async |files: Option<Files>| {
            let shown = files.as_ref().map(of);
            let mut arguments = vec!["--http1.1", "-o", "/dev/null", "-w", "%{http_code}"];
            arguments.extend(shown.iter().flatten().map(String::as_str));
            said(secure.curl("a.test", "/", &arguments)).await
        };
        assert_eq!(ask(Some(secure.authority.client("alice", "alice"))).await, "200");
        let without = ask(None).await;
        assert_eq!(without.starts_with("200"), !required, "{without}");
        let wrong = ask(Some(stranger.client("mallory", "mallory"))).await;
        assert!(!wrong.starts_with("200"), "{wrong}");
        let old = ask(Some(secure.authority.expired("old", &["old.test"]))).await;
        assert!(!old.starts_with("200"), "{old}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_its_handshake_in_time_is_disconnected() {
    let upstream = Upstream::echo("target").await;
    let directory = tempfile::tempdir().expect("a directory");
    let files = Authority::new(directory.path()).server("a", &["a.test"]);
    let secure = lease(1);
    let fleet = Fleet::start(1, |plain| {
        let text = with_tls(plain, secure.port, &upstream, &[certificates(&[&files])]);
        text.replace("drain_delay: 0s", "drain_delay: 0s\n  header_timeout: 200ms")
    })
    .await;
    for begun in [&b""[..], b"\x16\x03\x01"] {
        let mut client = TcpStream::connect(("127.0.0.1", secure.port)).await.expect("connect");
        client.write_all(begun).await.expect("send");
        let mut rest = Vec::new();
        let end = soon("it is disconnected", client.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{end:?}: {rest:?}");
    }
    drop(fleet);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_and_the_log_are_told_who_a_client_is_by_its_certificate() {
    if !here() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let (upstream, port) = (Upstream::echo("target").await, lease(1));
    let server = authority.server("a", &["a.test"]);
    let tls = [
        certificates(&[&server]),
        format!("client_ca: {}", authority.file().display()),
        "client_auth: optional".to_owned(),
    ];
    let filters = "    filters:\n      - headers: {request: {set: {X-Client-Cert: \"{client_cert_subject}\", \
                   X-Client-Names: \"{client_cert_names}\", X-Client-Hash: \"{client_cert_fingerprint}\"}}}\n\
                   global_filters:\n  - logging: {}\n";
    let mut fleet = Fleet::start(1, |plain| with_tls(plain, port.port, &upstream, &tls) + filters).await;
    let url = format!("https://a.test:{}/", port.port);
    let resolve = format!("a.test:{}:127.0.0.1", port.port);
    let ask = async |files: Option<&Files>| {
        let mut curl =
            program("curl", &["-sS", "--http1.1", "--resolve", &resolve, "-H", "X-Client-Cert: CN=root"]);
        curl.args(["-H", "X_Client_Cert: CN=root", "-H", "X-Client-Names: DNS:root", "--cacert"])
            .arg(authority.file());
        if let Some(Files { cert, key }) = files {
            curl.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        curl.arg(&url);
        said(curl).await
    };
    let alice = authority.client("alice", "alice");
    ask(Some(&alice)).await;
    let told = upstream.requests().pop().expect("a request");
    let mut digest = program("openssl", &["x509", "-noout", "-fingerprint", "-sha256", "-in"]);
    digest.arg(&alice.cert);
    let digest =
        said(digest).await.trim().rsplit_once('=').expect("a digest").1.replace(':', "").to_lowercase();
    assert_eq!(told.header("x-client-cert"), Some("CN=alice"));
    assert_eq!(told.header("x-client-names"), Some("URI:spiffe://test/alice"));
    assert_eq!(told.header("x-client-hash"), Some(&*digest));
    let line = fleet
        .data_plane(0)
        .logged("the request", |line| line.contains("client_cert_subject").then(|| line.to_owned()))
        .await;
    assert!(line.contains("\"client_cert_subject\":\"CN=alice\"") && line.contains(&digest), "{line}");
    ask(None).await;
    let told = upstream.requests().pop().expect("a request");
    for name in ["x-client-cert", "x_client_cert", "x-client-names", "x-client-hash"] {
        assert_eq!(told.header(name), None, "{:?}", told.headers);
    }
}
