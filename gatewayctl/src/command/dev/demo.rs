//! Demo targets: a small HTTP server on every loopback address that the config sends traffic to.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use policy::config::GatewayConfig;
use policy::config::leaf::TargetAddr;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// What became of each loopback target; its servers end with the runtime.
#[derive(Debug, Default)]
pub struct Demo {
    pub targets: BTreeMap<SocketAddr, Target>,
}

#[derive(Debug)]
pub struct Target {
    /// The upstreams that use it.
    pub upstreams: Vec<String>,
    /// Why no demo server answers there; mostly because another program does.
    pub taken: Option<io::ErrorKind>,
}

/// After a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Demo {
    /// Starts a server on every loopback target that is free.
    pub fn start(config: &GatewayConfig) -> Self {
        let mut targets = BTreeMap::new();
        for (address, upstreams) in loopback_targets(config) {
            let taken = serve(address, &upstreams.join(", ")).err().map(|error| error.kind());
            targets.insert(address, Target { upstreams, taken });
        }
        Self { targets }
    }

    /// How many demo servers answer.
    pub fn running(&self) -> usize {
        self.targets.values().filter(|target| target.taken.is_none()).count()
    }
}

/// Addresses with the names of the upstreams that use them.
fn loopback_targets(config: &GatewayConfig) -> BTreeMap<SocketAddr, Vec<String>> {
    let named = config.upstreams.iter().map(|upstream| (&upstream.name, &upstream.targets));
    let inline = config.routes.iter().map(|route| (&route.name, &route.targets));
    let mut addresses: BTreeMap<SocketAddr, Vec<String>> = BTreeMap::new();
    for (name, targets) in named.chain(inline) {
        for address in targets.iter().filter_map(|target| loopback(&target.addr)) {
            let names = addresses.entry(address).or_default();
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    addresses
}

fn loopback(target: &TargetAddr) -> Option<SocketAddr> {
    let host = if target.host == "localhost" { "127.0.0.1" } else { &target.host };
    let ip: IpAddr = host.parse().ok()?;
    (ip.is_loopback() && !target.tls).then(|| SocketAddr::new(ip, target.port))
}

fn serve(address: SocketAddr, upstream: &str) -> io::Result<()> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let greeting: Arc<str> = format!("{upstream} at {address}").into();
    tokio::spawn(accept(listener, greeting));
    Ok(())
}

async fn accept(listener: TcpListener, greeting: Arc<str>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let greeting = Arc::clone(&greeting);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&greeting)));
            // a client that breaks off concerns nobody here
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Says who answered and what arrived.
async fn answer(request: Request<Incoming>, greeting: Arc<str>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut received = 0;
    while let Some(Ok(frame)) = body.frame().await {
        received += frame.data_ref().map_or(0, Bytes::len);
    }
    let mut text = format!("{greeting}\n{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        // writing to a String cannot fail
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    if received > 0 {
        let _ = writeln!(text, "\n{received} bytes of body");
    }
    Ok(Response::new(Full::new(text.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::validate::surroundings;
    use policy::config::load;

    #[test]
    fn each_loopback_address_is_named_once_with_its_upstreams() {
        let text = "upstreams: [{name: u, targets: [{addr: 'http://127.0.0.1:8081'}, {addr: 'http://10.0.0.1:80'}]}]\n\
                    routes:\n\
                    - {name: a, prefix: /a, targets: [{addr: 'http://localhost:8081'}, {addr: 'http://[::1]:8082'}]}\n";
        let config = load::load(text, &surroundings()).unwrap().config;
        let targets: Vec<String> = loopback_targets(&config)
            .iter()
            .map(|(address, names)| format!("{address} {}", names.join(",")))
            .collect();
        assert_eq!(targets, ["127.0.0.1:8081 u,a", "[::1]:8082 a"]);
    }
}
