//! Targets with names: what becomes of requests when names get other addresses, and when nobody answers.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use tests::client::{RawClient, get};
use tests::config;
use tests::dns::{Dns, Says};
use tests::fleet::Fleet;
use tests::ports::{self, PortLease};
use tests::wait::eventually;
use tokio::net::TcpListener;
use tokio::sync::watch;

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Servers at the same port of two addresses, which say at which one they are; what asks for `/held` waits.
struct Servers {
    lease: PortLease,
    open: watch::Sender<bool>,
}

impl Servers {
    async fn start() -> Self {
        let (lease, open) = (ports::lease(2), watch::Sender::new(false));
        for address in [ONE, TWO] {
            let listener = TcpListener::bind((address, lease.port)).await.expect("bind a server");
            tokio::spawn(serve(listener, address, open.subscribe()));
        }
        Self { lease, open }
    }
}

async fn serve(listener: TcpListener, address: Ipv4Addr, open: watch::Receiver<bool>) {
    while let Ok((stream, _)) = listener.accept().await {
        let open = open.clone();
        let service = service_fn(move |request: http::Request<_>| {
            let mut open = open.clone();
            async move {
                if request.uri().path() == "/held" {
                    let _ = open.wait_for(|open| *open).await;
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(address.to_string()))))
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

fn config(port: u16, servers: &Servers, dns: &Dns) -> String {
    config::server(port, "")
        + &format!(
            "routes:\n  - name: named\n    prefix: /\n    targets: [{{addr: \"http://shop.internal:{}\"}}]\n    \
             dns: {{servers: [\"{}\"], min_ttl: 100ms}}\n",
            servers.lease.port,
            dns.address()
        )
}

/// Who answers a client of its own.
async fn who(address: SocketAddr) -> Result<String, String> {
    let reply = get(address, "/").await.map_err(|error| error.to_string())?;
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    if reply.status == 200 { Ok(body) } else { Err(format!("{} {body}", reply.status)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_followed_to_other_addresses_and_no_request_is_lost() {
    let servers = Servers::start().await;
    let dns = Dns::start(Says::Addresses(vec![ONE, TWO], 0)).await;
    let fleet = Fleet::start(1, |port| config(port, &servers, &dns)).await;
    let address = fleet.address(0);
    // held at both, so that each has a connection in use
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut client = RawClient::connect(address).await;
        client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await;
        held.push(client);
    }
    let mut seen = BTreeSet::new();
    eventually("both addresses are used", async || {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(tokio::spawn(async move { who(address).await }));
        }
        for client in clients {
            seen.insert(client.await.expect("a client").expect("an answer"));
        }
        if seen.len() == 2 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;

    dns.says(Says::Addresses(vec![TWO], 0));
    eventually("only the new address is used", async || {
        for _ in 0..20 {
            let one = who(address).await?;
            if one != TWO.to_string() {
                return Err(one);
            }
        }
        Ok(())
    })
    .await;
    servers.open.send_replace(true);
    let mut answered = BTreeSet::new();
    for client in &mut held {
        let response = client.response().await;
        assert_eq!(response.status, 200);
        answered.insert(String::from_utf8_lossy(&response.body).into_owned());
    }
    assert_eq!(answered.len(), 2, "requests in flight at both addresses finish: {answered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_holds_while_nobody_answers() {
    let servers = Servers::start().await;
    let dns = Dns::start(Says::Addresses(vec![ONE], 0)).await;
    let fleet = Fleet::start(1, |port| config(port, &servers, &dns)).await;
    let address = fleet.address(0);
    assert_eq!(who(address).await.as_deref(), Ok("127.0.0.1"));
    for says in [Says::Failed, Says::NoSuchName, Says::Nothing] {
        dns.says(says.clone());
        eventually("the operator is told", async || {
            assert_eq!(who(address).await.as_deref(), Ok("127.0.0.1"));
            let output = fleet.ctl(["status", "targets", "-o", "json"]).await;
            let target = output.json()["items"][0].clone();
            let told = target["dnsError"].as_str().is_some_and(|error| !error.is_empty());
            if told && target["addresses"][0] == "127.0.0.1" { Ok(()) } else { Err(output.text()) }
        })
        .await;
        dns.says(Says::Addresses(vec![ONE], 0));
        eventually("all is well", async || {
            let output = fleet.ctl(["status", "targets", "-o", "json"]).await;
            if output.json()["items"][0]["dnsError"].is_null() { Ok(()) } else { Err(output.text()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_is_taken_also_while_nobody_answers() {
    let servers = Servers::start().await;
    let dns = Dns::start(Says::Failed).await;
    let fleet = Fleet::start(1, |port| config(port, &servers, &dns)).await;
    let address = fleet.address(0);
    let reply = get(address, "/").await.expect("a reply");
    assert_eq!((reply.status.as_u16(), reply.json()["reason"].as_str()), (502, Some("name_unresolved")));
    assert!(reply.header("proxy-status").contains("error=dns_error"));
    dns.says(Says::Addresses(vec![TWO], 3600));
    eventually("the name is known", async || who(address).await).await;
    let asked = dns.questions();
    for _ in 0..50 {
        assert_eq!(who(address).await.as_deref(), Ok("127.0.0.2"));
    }
    assert_eq!(dns.questions(), asked, "no request asks");
}
