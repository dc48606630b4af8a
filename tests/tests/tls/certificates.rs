//! Which certificate is shown, and what becomes of files that change, are broken or are gone.

use super::{Secure, Session, certificates, here, names_of, said, with_tls};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::authority::{Authority, Files};
use tests::client::get;
use tests::config;
use tests::fleet::Fleet;
use tests::ports::lease;
use tests::upstream::Upstream;
use tests::wait::eventually;
use tokio::net::TcpStream;

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
