//! Who is taken for whom: connections by TLS to servers that prove this or that.

use super::*;
use crate::tls::{Reloaded, file};
use ::tests::authority::{Authority, Files};
use policy::config::GatewayConfig;
use policy::diagnostic::Diagnostic;
use policy::table::RouteTable;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::path::Path;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that proves itself so, agrees to these protocols, and says hello.
async fn server(identity: &Files, alpn: &[&[u8]], clients: Option<&Authority>) -> SocketAddr {
    let builder = ServerConfig::builder_with_provider(crate::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(certificates(&authority.file()).remove(0)).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), crate::tls::provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = certificates(&identity.cert);
    let key = file::private_key(&identity.key, &file::read(&identity.key).unwrap()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

/// How the one target of a config is reached.
fn prepare(address: SocketAddr, keys: Value) -> Result<(RouteTable, Transports), Vec<Diagnostic>> {
    let mut upstream = json!({"name": "u", "targets": [{"addr": format!("https://{address}")}]});
    upstream.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let config: GatewayConfig = serde_json::from_value(json!({"upstreams": [upstream]})).unwrap();
    let table = RouteTable::build(&config, None).unwrap();
    let transports = Transports::prepare(&table, None)?;
    Ok((table, transports))
}

/// What becomes of a connection: how the server greets, or why there is none.
async fn greeting(address: SocketAddr, keys: Value, offer: Offer) -> Result<String, String> {
    let (table, transports) = prepare(address, keys).unwrap();
    let transport = transports.to(&table.upstreams[0].targets[0]).unwrap();
    match transport.dial(OnBehalf::Gateway, offer, PATIENCE).await {
        Ok(Dialled { mut stream, http2, .. }) => {
            let mut said = String::new();
            match stream.read_to_string(&mut said).await {
                Ok(_) => Ok(format!("{said} {}", if http2 { "h2" } else { "http/1.1" })),
                Err(error) => Err(format!("afterwards: {error}")),
            }
        }
        Err(error) => Err(format!("{}: {error}", error.rejection().reason())),
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    file::certificates(path, &file::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_server_is_believed_that_an_authority_vouches_for_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Authority::new(&directory.path().join(name)));
    let (ca, other) = (ours.file(), theirs.file());
    let (ca, other) = (path(&ca), path(&other));
    let by_address = server(&ours.server("ip", &["127.0.0.1"]), &[], None).await;
    let by_name = server(&ours.server("name", &["a.internal", "spiffe://example.org/a"]), &[], None).await;
    for (address, tls, expected) in [
        (by_address, json!({"ca": ca}), "hello http/1.1"),
        (by_address, json!({"ca": other}), "tls_certificate: TLS: invalid peer certificate: "),
        // the machine's own authorities know nothing of ours
        (by_address, json!({}), "tls_certificate: TLS: invalid peer certificate: UnknownIssuer"),
        (by_name, json!({"ca": ca}), "tls_certificate: TLS: invalid peer certificate: "),
        (by_name, json!({"ca": ca, "server_name": "a.internal"}), "hello http/1.1"),
        (by_name, json!({"ca": ca, "server_name": "b.internal"}), "tls_certificate: "),
        (by_name, json!({"ca": ca, "subject_alt_names": ["b.internal", "a.internal"]}), "hello http/1.1"),
        (by_name, json!({"ca": ca, "subject_alt_names": ["spiffe://example.org/a"]}), "hello http/1.1"),
        (by_name, json!({"ca": ca, "subject_alt_names": ["spiffe://example.org/b"]}), "tls_certificate: "),
        (by_name, json!({"ca": other, "subject_alt_names": ["a.internal"]}), "tls_certificate: "),
        (by_name, json!({"insecure_skip_verify": true}), "hello http/1.1"),
    ] {
        let got = greeting(address, json!({"tls": tls.clone()}), Offer::Http1).await;
        let got = got.unwrap_or_else(|error| error);
        assert!(got.starts_with(expected), "{tls}: {got}");
    }
}

#[tokio::test]
async fn a_target_chooses_its_http_from_what_is_offered() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let identity = authority.server("ip", &["127.0.0.1"]);
    let keys = || json!({"tls": {"ca": path(&authority.file())}});
    let (both, none) =
        (server(&identity, &[ALPN_H2, ALPN_HTTP1], None).await, server(&identity, &[], None).await);
    assert_eq!(greeting(both, keys(), Offer::Http1).await.as_deref(), Ok("hello http/1.1"));
    assert_eq!(greeting(both, keys(), Offer::Http2).await.as_deref(), Ok("hello h2"));
    assert_eq!(greeting(both, keys(), Offer::Either).await.as_deref(), Ok("hello h2"));
    assert_eq!(greeting(none, keys(), Offer::Either).await.as_deref(), Ok("hello http/1.1"));
    let refused = greeting(none, keys(), Offer::Http2).await.unwrap_err();
    assert_eq!(refused, "tls_failed: TLS: the target does not agree to HTTP/2");
}

#[tokio::test]
async fn the_gateway_proves_itself_where_it_is_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let address = server(&authority.server("ip", &["127.0.0.1"]), &[], Some(&authority)).await;
    let ca = authority.file();
    let ca = path(&ca);
    let client = authority.client("gateway", "gateway");
    let tls = json!({"ca": ca, "cert": path(&client.cert), "key": path(&client.key)});
    assert_eq!(greeting(address, json!({"tls": tls}), Offer::Http1).await.as_deref(), Ok("hello http/1.1"));
    // by TLS 1.3 a client is refused when it thinks that all is well
    let refused = greeting(address, json!({"tls": {"ca": ca}}), Offer::Http1).await.unwrap_err();
    assert!(refused.contains("CertificateRequired"), "{refused}");
}

#[tokio::test]
async fn what_is_no_tls_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
    });
    for _ in 0..2 {
        let refused = greeting(address, json!({}), Offer::Http1).await.unwrap_err();
        assert!(refused.starts_with("tls_failed: TLS: "), "{refused}");
    }
}

#[test]
fn files_that_are_of_no_use_are_named_before_anything_changes() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let (one, two) = (authority.server("one", &["one"]), authority.server("two", &["two"]));
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    for (tls, expected) in [
        (json!({"ca": "/no/such.pem"}), "/no/such.pem: it cannot be read: No such file"),
        (json!({"ca": path(&one.key)}), "one.key: it holds no certificate"),
        (json!({"cert": path(&one.cert), "key": path(&one.cert)}), "one.pem: it holds no private key"),
        (json!({"cert": path(&one.cert), "key": path(&two.key)}), "two.key: keys may not be consistent"),
    ] {
        let problems = prepare(address, json!({"tls": tls})).unwrap_err();
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        let text = problem.to_string();
        assert!(text.contains("`u`") && text.contains(expected), "{text}");
    }
}

#[test]
fn what_has_not_changed_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let identity = authority.server("one", &["one"]);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let tls =
        json!({"ca": path(&authority.file()), "cert": path(&identity.cert), "key": path(&identity.key)});
    let (table, before) = prepare(address, json!({"tls": tls})).unwrap();
    let target = &table.upstreams[0].targets[0];
    let same = Transports::prepare(&table, Some(&before)).unwrap();
    assert!(Arc::ptr_eq(before.to(target).unwrap(), same.to(target).unwrap()));
    authority.server("one", &["one"]);
    let renewed = Transports::prepare(&table, Some(&same)).unwrap();
    assert!(Arc::ptr_eq(same.to(target).unwrap(), renewed.to(target).unwrap()), "its probes go on");
}

/// The config and the table stay what they are: only the file changes.
#[tokio::test]
async fn files_are_read_anew_when_they_change_and_kept_while_they_are_no_good() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, other) = (Authority::new(ours.path()), Authority::new(theirs.path()));
    let address = server(&other.server("one", &["127.0.0.1"]), &[], None).await;
    let tls = json!({"ca": path(&authority.file())});
    let (table, transports) = prepare(address, json!({"tls": tls})).unwrap();
    let transport = transports.to(&table.upstreams[0].targets[0]).unwrap();
    let client = transports.tls_clients().next().unwrap();
    let outcome = async || match transport.dial(OnBehalf::Gateway, Offer::Http1, PATIENCE).await {
        Ok(_) => "connected",
        Err(error) => error.rejection().reason(),
    };
    assert_eq!(outcome().await, "tls_certificate", "of another authority");
    assert_eq!(client.reload(), Reloaded::Unchanged);

    std::fs::copy(other.file(), authority.file()).unwrap();
    assert_eq!(client.reload(), Reloaded::Used);
    assert_eq!(outcome().await, "connected");

    std::fs::write(authority.file(), "half of a cert").unwrap();
    let Reloaded::Refused(why) = client.reload() else { panic!("without a certificate") };
    assert!(why.contains("it holds no certificate"), "{why}");
    assert_eq!(client.reload(), Reloaded::Unchanged, "it is told once");
    assert_eq!(outcome().await, "connected");
    let refused = Transports::prepare(&table, Some(&transports)).unwrap_err();
    assert!(refused[0].to_string().contains(&why), "an apply is not told that all is well: {refused:?}");

    std::fs::copy(other.file(), authority.file()).unwrap();
    assert_eq!((client.reload(), client.fault()), (Reloaded::Used, None));
}

#[tokio::test]
async fn files_that_were_missing_at_the_start_are_taken_up_when_they_come() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let address = server(&authority.server("one", &["127.0.0.1"]), &[], None).await;
    let later = directory.path().join("later.pem");
    let upstream = json!({"name": "u", "targets": [{"addr": format!("https://{address}")}], "tls": {"ca": path(&later)}});
    let config: GatewayConfig = serde_json::from_value(json!({"upstreams": [upstream]})).unwrap();
    let table = RouteTable::build(&config, None).unwrap();
    let transports = Transports::restore(&table);
    let transport = transports.to(&table.upstreams[0].targets[0]).unwrap();
    let refused = transport.dial(OnBehalf::Gateway, Offer::Http1, PATIENCE).await.err().unwrap().to_string();
    assert!(refused.contains("later.pem: it cannot be read"), "{refused}");
    std::fs::copy(authority.file(), &later).unwrap();
    assert_eq!(transports.tls_clients().next().unwrap().reload(), Reloaded::Used);
    assert!(transport.dial(OnBehalf::Gateway, Offer::Http1, PATIENCE).await.is_ok());
}
