//! What tests of the data path share: one worker that serves a config, and targets that are told what to do.

use crate::dial::Transports;
use crate::gateway::Gateway;
use crate::listener::{self, ListenerId, ListenerSettings};
use crate::telemetry::Exchanged;
use crate::worker::Workers;
use http::Version;
use policy::config::GatewayConfig;
use policy::table::RouteTable;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Long enough for any machine; a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// An exchange in which nothing is out of the ordinary, and of which no route or target is known.
pub(crate) fn exchanged<'a>(began: Instant) -> Exchanged<'a> {
    Exchanged {
        began,
        unix_nanos: 1_700_000_000_000_000_000,
        duration: Duration::from_millis(30),
        method: "GET",
        path: "/users/7",
        query: None,
        host: None,
        user_agent: None,
        version: Version::HTTP_11,
        scheme: "http",
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 40000)),
        client_ip: IpAddr::from([192, 0, 2, 7]),
        request_id: "",
        client_certificate: None,
        consumer: None,
        table: None,
        route_at: None,
        route: None,
        backend: 0,
        upstream: None,
        tries: &[],
        service: None,
        status: 200,
        reason: None,
        grpc_status: None,
        error: None,
        local: false,
        bytes_in: 0,
        bytes_out: 0,
        trace: None,
        retry_denied: false,
        would_limit: false,
    }
}

/// One worker that serves; ends when dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) workers: Workers,
    listener: ListenerId,
}

/// Serves a config of one route, which takes the targets in turn.
pub(crate) fn serve(targets: &[&Target], server: Value, filters: Value) -> Served {
    let targets: Vec<_> =
        targets.iter().map(|target| json!({"addr": format!("http://{}", target.address())})).collect();
    let config: GatewayConfig = serde_json::from_value(json!({
        "server": server,
        "routes": [{"name": "all", "prefix": "/", "targets": targets, "filters": filters}],
    }))
    .unwrap();
    serve_table(RouteTable::build(&config, None).unwrap())
}

/// Serves a table as version 1.
pub(crate) fn serve_table(table: RouteTable) -> Served {
    let gateway = Gateway::new("test".to_owned());
    let workers = Workers::spawn(1, gateway.clone()).unwrap();
    let settings = Arc::new(ListenerSettings::new(&table.listeners[0], None));
    let transports = Transports::prepare(&table, None).unwrap();
    gateway.publish(table.identified(1, String::new()), transports);
    let reserved = listener::reserve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1).unwrap();
    let address = reserved.address();
    let listener = workers.open(reserved, settings).unwrap().id;
    Served { address, gateway, workers, listener }
}

impl Served {
    /// A client that has sent something.
    pub(crate) fn client(&self, bytes: &str) -> Peer {
        let mut peer = Peer::new(TcpStream::connect(self.address).unwrap());
        peer.send(bytes);
        peer
    }

    /// Has every connection end in good order; on return all know.
    pub(crate) fn close(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.workers.close(self.listener));
    }
}

/// A target; its connections are those of the gateway.
pub(crate) struct Target(TcpListener);

impl Target {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // holds for accepting, too: a test that waits for a connection in vain fails, and does not hang
        set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE)).unwrap();
        Self(listener)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn accept(&self) -> Peer {
        Peer::new(self.0.accept().unwrap().0)
    }
}

/// The other end of a connection of the gateway.
pub(crate) struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &str) {
        self.send_bytes(bytes.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends as much as the other end takes before it hangs up.
    pub(crate) fn send_while_taken(&mut self, bytes: &[u8]) {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
        match self.stream.write_all(bytes) {
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {}
            other => other.unwrap(),
        }
    }

    /// The same end for another thread, which has read nothing.
    pub(crate) fn also(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), read: Vec::new() }
    }

    /// What came so far was read.
    pub(crate) fn forget(&mut self) {
        self.read.clear();
    }

    /// Reads on until `end` has come; everything that came so far.
    pub(crate) fn until(&mut self, end: &str) -> String {
        self.until_times(end, 1)
    }

    /// Reads on until `end` has come so many times; everything that came so far.
    pub(crate) fn until_times(&mut self, end: &str, times: usize) -> String {
        self.until_that(|text| text.matches(end).count() >= times)
    }

    /// Reads on until what came so far is enough; all of it.
    pub(crate) fn until_that(&mut self, enough: impl Fn(&str) -> bool) -> String {
        while !enough(&self.text()) {
            assert!(self.more(), "closed after {:?}", self.text());
        }
        self.text()
    }

    /// Whether this comes before the connection ends.
    pub(crate) fn continues_to(&mut self, end: &str) -> bool {
        while !self.text().contains(end) {
            if !self.more() {
                return false;
            }
        }
        true
    }

    /// Reads on until the bytes that came so far are enough; all of them.
    pub(crate) fn until_bytes(&mut self, enough: impl Fn(&[u8]) -> bool) -> &[u8] {
        while !enough(&self.read) {
            assert!(self.more(), "closed after {:?}", self.text());
        }
        &self.read
    }

    /// Everything that comes until the connection ends.
    pub(crate) fn into_rest(self) -> String {
        String::from_utf8_lossy(&self.into_bytes()).into_owned()
    }

    /// The same as it came.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        while self.more() {}
        self.read
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// False at the end, by whatever means.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.read.extend_from_slice(&buffer[..read]);
                read > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error} after {:?}", self.text()),
        }
    }
}

/// Of everything that a client got, the final response and what is behind it.
pub(crate) fn behind_interims(got: &str) -> &str {
    match got.split_once("\r\n\r\n") {
        Some((head, rest)) if head.starts_with("HTTP/1.1 10") => behind_interims(rest),
        _ => got,
    }
}
