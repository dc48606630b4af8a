//! TLS towards clients, with OpenSSL and curl as clients.

use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use rustix::process::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tests::authority::{Authority, Files};
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::Fleet;
use tests::peers::present;
use tests::ports::{PortLease, lease};
use tests::upstream::Upstream;
use tests::wait::{eventually, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

/// A config with one listener `https` beside the plain one, whose `tls` section has these lines.
fn with_tls(port: u16, secure: u16, upstream: &Upstream, tls: &[String]) -> String {
    let tls: String = tls.iter().map(|line| format!("      {line}\n")).collect();
    let listeners = format!("listeners:\n  - name: https\n    port: {secure}\n    tls:\n{tls}");
    config::forward_all(port, upstream.address()).replace("routes:", &format!("{listeners}routes:"))
}

fn certificates(files: &[&Files]) -> String {
    let items: Vec<_> = files.iter().map(|files| files.item()).collect();
    format!("certificates: [{}]", items.join(", "))
}

/// One data plane with a port of TLS, and who vouches for it.
struct Secure {
    fleet: Fleet,
    upstream: Upstream,
    authority: Authority,
    port: PortLease,
    _directory: tempfile::TempDir,
}

impl Secure {
    /// The lines of `tls` are made from certificates of the authority.
    async fn start(tls: impl FnOnce(&Authority) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new(directory.path());
        let upstream = Upstream::echo("target").await;
        let port = lease(1);
        let tls = tls(&authority);
        let fleet = Fleet::start(1, |plain| with_tls(plain, port.port, &upstream, &tls)).await;
        Self { fleet, upstream, authority, port, _directory: directory }
    }

    /// Of the data plane.
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.port)
    }

    /// `openssl s_client`, which says all about its handshake and then ends, or goes on until its input ends.
    fn openssl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.address(), "-CAfile"]).arg(self.authority.file());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// What it says of a handshake.
    async fn handshake(&self, arguments: &[&str]) -> String {
        said(self.openssl(arguments)).await
    }

    /// `curl` for `https://NAME/path`.
    fn curl(&self, name: &str, path: &str, arguments: &[&str]) -> Command {
        let port = self.port.port;
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "--max-time",
            "20",
            "--resolve",
            &format!("{name}:{port}:127.0.0.1"),
            "--cacert",
        ]);
        command.arg(self.authority.file()).args(arguments).arg(format!("https://{name}:{port}{path}"));
        command
    }

    /// A page of the admin HTTP.
    async fn admin(&self, path: &str) -> String {
        let response = get(self.fleet.admin_address(0), path).await.expect("an answer");
        String::from_utf8(response.body.to_vec()).expect("text")
    }

    /// The value of a metric whose line begins so.
    async fn metric(&self, line: &str) -> Option<f64> {
        let page = self.admin("/metrics").await;
        let line = page.lines().find(|one| one.starts_with(line))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    async fn metric_is(&self, line: &str, value: f64) {
        eventually(line, async || match self.metric(line).await {
            Some(found) if found == value => Ok(()),
            found => Err(format!("{found:?}, not {value}")),
        })
        .await;
    }
}

fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Both outputs of a program that ends.
async fn said(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = soon("a program ends", output).await.expect("no panic").expect("it starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A session of `openssl s_client` that goes on; ends when dropped.
struct Session {
    child: Child,
    read: Arc<Mutex<String>>,
}

impl Session {
    fn open(mut command: Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let (mut child, read) = (child.expect("openssl starts"), Arc::new(Mutex::new(String::new())));
        let (mut output, kept) = (child.stdout.take().expect("its output"), read.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(some @ 1..) = output.read(&mut buffer) {
                kept.lock().push_str(&String::from_utf8_lossy(&buffer[..some]));
            }
        });
        Self { child, read }
    }

    fn send(&mut self, text: &str) {
        self.child.stdin.as_mut().expect("its input").write_all(text.as_bytes()).expect("sent");
    }

    /// Waits until this has come so many times.
    async fn until(&self, end: &str, times: usize) {
        eventually(end, async || {
            let read = self.read.lock().clone();
            if read.matches(end).count() >= times { Ok(()) } else { Err(read) }
        })
        .await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn here() -> bool {
    present(&["openssl", "curl"])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_client_asks_for_picks_the_certificate() {
    if !here() {
        return;
    }
    let secure = Secure::start(|authority| {
        let exact = authority.server("first", &["first.test"]);
        let other = authority.server("other", &["other.test", "www.other.test"]);
        let wildcard = authority.server("wildcard", &["*.wild.test"]);
        vec![certificates(&[&exact, &other, &wildcard])]
    })
    .await;
    for (asked, shown) in [
        ("first.test", "first.test"),
        ("other.test", "other.test"),
        ("WWW.Other.test", "other.test"),
        ("a.wild.test", "*.wild.test"),
        ("a.b.wild.test", "first.test"),
        ("wild.test", "first.test"),
        ("unknown.test", "first.test"),
    ] {
        let shown_pem = said(secure.openssl(&["-servername", asked])).await;
        let names = names_of(&shown_pem);
        assert!(names.contains(&format!("DNS:{shown}")), "{asked}: {names}");
    }
    let names = names_of(&secure.handshake(&["-noservername"]).await);
    assert!(names.contains("DNS:first.test"), "{names}");
}

/// The names in the certificate that a handshake has shown.
fn names_of(handshake: &str) -> String {
    let begin =
        handshake.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("none in {handshake}"));
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-ext", "subjectAltName"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("openssl starts");
    child.stdin.take().expect("its input").write_all(&handshake.as_bytes()[begin..]).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_by_tls_are_forwarded_and_the_target_is_told() {
    if !here() {
        return;
    }
    let secure = Secure::start(|authority| vec![certificates(&[&authority.server("a", &["a.test"])])]).await;
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let more: &[&str] = if version == "--tlsv1.2" { &[version, "--tls-max", "1.2"] } else { &[version] };
        let answer = said(secure.curl("a.test", "/x", &[more, &["--http1.1", "-i"]].concat())).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{version}: {answer}");
        let got = secure.upstream.requests().pop().expect("a request");
        assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    }
    // a body larger than any buffer, both ways
    let body = secure.fleet.directory().join("body");
    fs::write(&body, vec![b'x'; 3 << 20]).expect("write");
    let data = format!("@{}", body.display());
    let answer = said(secure.curl("a.test", "/", &["--http1.1", "--data-binary", &data])).await;
    assert!(answer.len() > 3 << 20, "{} bytes", answer.len());
    assert_eq!(
        secure
            .metric("gateway_tls_handshakes_total{listener=\"https\",version=\"1.2\",resumed=\"false\"}")
            .await,
        Some(1.0)
    );
}

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
async fn a_renewed_certificate_is_served_and_connections_of_the_old_one_go_on() {
    if !here() {
        return;
    }
    // as Kubernetes does it: the files are links into a folder, which is a link that is swapped
    let links = tempfile::tempdir().expect("a directory");
    let at = |file: &str| links.path().join(file);
    let place = |authority: &Authority, version: &str| {
        let files = authority.server("now", &["a.test", &format!("{version}.test")]);
        fs::create_dir(at(version)).expect("a folder");
        fs::rename(&files.cert, at(version).join("tls.crt")).expect("move");
        fs::rename(&files.key, at(version).join("tls.key")).expect("move");
        let new = at("..data.new");
        std::os::unix::fs::symlink(version, &new).expect("link");
        fs::rename(&new, at("..data")).expect("swap the link");
    };
    let secure = Secure::start(|authority| {
        place(authority, "v1");
        for file in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(file), at(file)).expect("link");
        }
        vec![certificates(&[&Files { cert: at("tls.crt"), key: at("tls.key") }])]
    })
    .await;
    let mut lasting = Session::open(secure.openssl(&["-servername", "a.test", "-quiet"]));
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    lasting.send(request);
    lasting.until("HTTP/1.1 200", 1).await;

    place(&secure.authority, "v2");
    let serves = async |version: &str| {
        let name = format!("DNS:{version}.test");
        eventually(&name, async || {
            let names = names_of(&secure.handshake(&["-servername", "a.test"]).await);
            if names.contains(&name) { Ok(()) } else { Err(names) }
        })
        .await;
    };
    serves("v2").await;
    lasting.send(request);
    lasting.until("HTTP/1.1 200", 2).await;

    // a key without its certificate: the last good pair is served, and the operator is told
    let stray = secure.authority.server("stray", &["stray.test"]);
    fs::copy(&stray.key, at("v2").join("tls.key")).expect("overwrite the key");
    secure.metric_is("gateway_tls_files_broken{listener=\"https\"}", 1.0).await;
    let health = secure.admin("/health").await;
    assert!(health.contains("its private key is not that of"), "{health}");
    serves("v2").await;
    // an apply of something else neither fails of it nor takes it up
    let version = secure.fleet.status().await.expect("a status").current_version;
    let text = fs::read_to_string(secure.fleet.config_path()).expect("the config");
    secure.fleet.write_config(&text.replace("drain_delay: 0s", "drain_delay: 1ms"));
    secure.fleet.settled_after(version).await;
    serves("v2").await;

    place(&secure.authority, "v3");
    serves("v3").await;
    secure.metric_is("gateway_tls_files_broken{listener=\"https\"}", 0.0).await;
    lasting.send(request);
    lasting.until("HTTP/1.1 200", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_refused_by_name_and_nothing_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let (good, other) = (authority.server("good", &["a.test"]), authority.server("other", &["b.test"]));
    let old = authority.expired("old", &["old.test"]);
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(1, |plain| config::forward_all(plain, upstream.address())).await;
    let (version, secure) = (fleet.settled().await, lease(1));
    let nowhere = Files { cert: "/nowhere/a.pem".into(), key: good.key.clone() };
    let swapped = Files { cert: good.key.clone(), key: good.cert.clone() };
    let mismatched = Files { cert: good.cert.clone(), key: other.key.clone() };
    let cases = [
        (nowhere, "/nowhere/a.pem: it cannot be read: No such file or directory".to_owned()),
        (swapped, format!("{}: it holds no certificate in PEM", good.key.display())),
        (
            mismatched,
            format!("{}: its private key is not that of {}", other.key.display(), good.cert.display()),
        ),
        (
            old.clone(),
            format!(
                "{}: the certificate of old.test has expired on 2020-04-01T00:00:00Z",
                old.cert.display()
            ),
        ),
    ];
    for (files, why) in cases {
        let text = with_tls(fleet.port(), secure.port, &upstream, &[certificates(&[&files])]);
        let told = fleet.apply(&text, &[]).await.exits(4).text();
        assert!(told.contains("GW2004") && told.contains(&why), "{why}: {told}");
        assert_eq!(fleet.settled().await, version);
        assert!(TcpStream::connect(("127.0.0.1", secure.port)).await.is_err(), "{why}");
    }
    let text = with_tls(fleet.port(), secure.port, &upstream, &[certificates(&[&good])]);
    fleet.apply(&text, &[]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_serves_whatever_has_become_of_the_files() {
    if !here() {
        return;
    }
    let mut secure =
        Secure::start(|authority| vec![certificates(&[&authority.server("a", &["a.test"])])]).await;
    let cert = secure.authority.server("a", &["a.test"]).cert;
    let kept = fs::read(&cert).expect("the certificate");
    secure.fleet.kill_data_plane(0);
    fs::remove_file(&cert).expect("remove");
    secure.fleet.start_data_plane(0).await;
    // the plain listener serves, the other one turns everybody away until there is a certificate
    eventually("the plain listener serves", async || match get(secure.fleet.address(0), "/").await {
        Ok(reply) if reply.status.is_success() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let refused = secure.handshake(&[]).await;
    assert!(refused.contains("no peer certificate available"), "{refused}");
    fs::write(&cert, kept).expect("write");
    eventually("it serves", async || match secure.handshake(&[]).await {
        answer if answer.contains("Verify return code: 0 (ok)") => Ok(()),
        answer => Err(answer),
    })
    .await;
}

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

#[tokio::test(flavor = "multi_thread")]
async fn an_ocsp_response_is_stapled() {
    if !here() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let at = |name: &str| directory.path().join(name);
    let files = authority.server("a", &["a.test"]);
    fs::write(at("index.txt"), "").expect("write an index");
    let mut responder = Command::new("openssl");
    responder.args(["ocsp", "-index"]).arg(at("index.txt"));
    for (option, file) in [
        ("-CA", authority.file()),
        ("-rsigner", authority.file()),
        ("-issuer", authority.file()),
        ("-rkey", authority.key_file()),
        ("-cert", files.cert.clone()),
        ("-respout", at("a.ocsp")),
    ] {
        responder.arg(option).arg(file);
    }
    let wrote = said(responder).await;
    assert!(at("a.ocsp").exists(), "{wrote}");
    let secure = Secure::start(|_| {
        let item = files.item();
        vec![format!("certificates: [{}, ocsp: {}}}]", item.trim_end_matches('}'), at("a.ocsp").display())]
    })
    .await;
    let shown = secure.handshake(&["-status"]).await;
    assert!(shown.contains("OCSP Response Status: successful"), "{shown}");
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

/// A connection by TLS as the client `a.test`, which is also that of the certificate.
async fn connect(secure: &Secure) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(secure.address()).await.expect("connect");
    let name = "a.test".try_into().expect("a name");
    let connected = soon("a handshake", secure.authority.connector(&["http/1.1"]).connect(name, stream));
    connected.await.expect("a handshake")
}

/// Beside a held target, in front of which TLS is spoken.
async fn in_front_of(upstream: Upstream, server: &str) -> Secure {
    let directory = tempfile::tempdir().expect("a directory");
    let (authority, port) = (Authority::new(directory.path()), lease(1));
    let tls = [certificates(&[&authority.server("a", &["a.test"])])];
    let fleet = Fleet::start(1, |plain| {
        let text = with_tls(plain, port.port, &upstream, &tls);
        text.replace("drain_delay: 0s", &format!("drain_delay: 0s\n{server}"))
    })
    .await;
    Secure { fleet, upstream, authority, port, _directory: directory }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_by_tls_carries_both_ways_and_ends_with_a_word() {
    let secure = in_front_of(Upstream::websocket().await, "").await;
    let stream = connect(&secure).await;
    let url = "wss://a.test/";
    let opened = soon("a WebSocket", tokio_tungstenite::client_async(url, stream)).await;
    let (mut socket, response) = opened.expect("a WebSocket");
    assert_eq!(response.status(), 101);
    for text in ["hello", &"long ".repeat(100_000)] {
        socket.send(Message::text(text)).await.expect("send a message");
        let echo = soon("the echo", socket.next()).await.expect("still open").expect("a message");
        assert_eq!(echo.into_text().expect("text").as_str(), text);
    }
    socket.close(None).await.expect("close");
    while let Some(message) = soon("the end", socket.next()).await {
        message.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_tls_that_leaves_is_missed_at_once() {
    let (upstream, _gate) = Upstream::held("target").await;
    let secure = in_front_of(upstream, "").await;
    for goodbye in [true, false] {
        let mut client = connect(&secure).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("send");
        secure.metric_is("gateway_active_requests", 1.0).await;
        if goodbye {
            client.shutdown().await.expect("a word of parting");
        } else {
            drop(client);
        }
        secure.metric_is("gateway_active_requests", 0.0).await;
    }
    secure.metric_is("gateway_requests_total{route=\"all\",method=\"GET\",status=\"499\"}", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_tls_that_does_not_read_is_ended_and_one_that_reads_gets_it_all() {
    let upstream = Upstream::download(1_000_000, Some(64), None).await;
    let secure = in_front_of(upstream, "  write_timeout: 500ms").await;
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let mut silent = connect(&secure).await;
    silent.write_all(request).await.expect("send");
    let connections = "gateway_listener_connections{listener=\"https\"}";
    secure.metric_is(connections, 1.0).await;
    secure.metric_is(connections, 0.0).await;
    drop(silent);
    let mut reader = connect(&secure).await;
    reader.write_all(request).await.expect("send");
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0_usize);
    loop {
        match soon("some of the body", reader.read(&mut buffer)).await.expect("an orderly end") {
            0 => break,
            read => total += read,
        }
    }
    assert!(total > 64_000_000, "{total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_requests_by_tls_finish_and_waits_for_no_handshake() {
    let (upstream, gate) = Upstream::held("target").await;
    let mut secure = in_front_of(upstream, "  header_timeout: 1h").await;
    let mut client = connect(&secure).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("send");
    secure.metric_is("gateway_active_requests", 1.0).await;
    let idle = connect(&secure).await;
    let mut silent = TcpStream::connect(secure.address()).await.expect("connect");
    secure.metric_is("gateway_listener_connections{listener=\"https\"}", 3.0).await;
    secure.fleet.data_plane(0).signal(Signal::TERM);
    let mut rest = Vec::new();
    soon("the silent one is ended", silent.read_to_end(&mut rest)).await.expect("an orderly end");
    gate.open(1);
    soon("the answer and the end", client.read_to_end(&mut rest)).await.expect("an orderly end");
    assert!(rest.starts_with(b"HTTP/1.1 200"), "{}", rest.escape_ascii());
    assert!(secure.fleet.data_plane(0).ended().await.success());
    drop(idle);
}
