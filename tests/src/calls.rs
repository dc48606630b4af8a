//! gRPC by tonic without generated code: a server of one service whose messages are bytes, and a client for it.

use crate::wait::soon;
use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::{Stream, StreamExt as _, future, stream};
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

/// Messages that are what they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A server of `test.Echo`, over HTTP/2 without TLS; gone when dropped.
///
/// | method | what it does |
/// |---|---|
/// | `Echo` | says every message again, as it comes |
/// | `Collect` | says all messages as one |
/// | `Spread` | says the first message ten times |
/// | `Fail` | ends with the status that the message names by its number, before anything else |
/// | `FailLate` | the same after one message |
/// | `Hang` | never says anything |
/// | `Metadata` | says its metadata, a line for each field, and sends some |
#[derive(Debug)]
pub struct CallServer {
    address: SocketAddr,
    seen: Arc<Seen>,
    /// One of its own, with which all connections end at once.
    runtime: Mutex<Option<Runtime>>,
}

/// What it was asked.
#[derive(Debug, Default)]
struct Seen {
    calls: Mutex<Vec<(String, MetadataMap)>>,
    /// Calls that hang at this moment.
    hanging: AtomicUsize,
}

impl CallServer {
    /// Starts one.
    pub async fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listening = runtime.spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listening.await.expect("no panic").expect("bind a gRPC server");
        let address = listener.local_addr().expect("a bound listener has an address");
        let seen = Arc::new(Seen::default());
        let service = Echo { seen: seen.clone() };
        let incoming = TcpListenerStream::new(listener);
        runtime.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { address, seen, runtime: Mutex::new(Some(runtime)) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The calls of a method, by their metadata.
    pub fn calls(&self, method: &str) -> Vec<MetadataMap> {
        let calls = self.seen.calls.lock();
        calls.iter().filter(|(called, _)| called == method).map(|(_, metadata)| metadata.clone()).collect()
    }

    /// Its process is gone, and every connection with it.
    pub fn die(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// How many calls hang at this moment: of those that are given up, it hears.
    pub fn hanging(&self) -> usize {
        self.seen.hanging.load(Ordering::SeqCst)
    }
}

impl Drop for CallServer {
    fn drop(&mut self) {
        self.die();
    }
}

#[derive(Clone)]
struct Echo {
    seen: Arc<Seen>,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let method = Method { name: method, seen: self.seen.clone() };
        Box::pin(async move { Ok(Grpc::new(Raw).streaming(method, request).await) })
    }
}

struct Method {
    name: String,
    seen: Arc<Seen>,
}

impl StreamingService<Bytes> for Method {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answer<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (metadata, _, mut messages) = request.into_parts();
        self.seen.calls.lock().push((self.name.clone(), metadata.clone()));
        let (name, seen) = (self.name.clone(), self.seen.clone());
        Box::pin(async move {
            match &*name {
                "Echo" => Ok(answer(messages)),
                "Collect" => {
                    let mut all = Vec::new();
                    while let Some(message) = messages.message().await? {
                        all.extend_from_slice(&message);
                    }
                    Ok(answer(stream::iter([Ok(all.into())])))
                }
                "Spread" => {
                    let first = messages.message().await?.unwrap_or_default();
                    Ok(answer(stream::iter(std::iter::repeat_n(Ok(first), 10))))
                }
                "Fail" => Err(failure(messages.message().await?)),
                "FailLate" => {
                    let failure = failure(messages.message().await?);
                    Ok(answer(stream::iter([Ok(Bytes::from_static(b"so far so good")), Err(failure)])))
                }
                "Hang" => {
                    let _hanging = Hanging::new(&seen);
                    future::pending().await
                }
                "Metadata" => {
                    let fields = metadata.into_headers();
                    let lines: String =
                        fields.iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect();
                    let mut response = answer(stream::iter([Ok(lines.into())]));
                    response.metadata_mut().insert("x-initial", "of the server".parse().expect("ASCII"));
                    Ok(response)
                }
                other => Err(Status::unimplemented(format!("there is no {other}"))),
            }
        })
    }
}

fn answer(messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static) -> Response<Messages> {
    Response::new(Box::pin(messages))
}

fn failure(message: Option<Bytes>) -> Status {
    let code = message.and_then(|message| std::str::from_utf8(&message).ok()?.parse().ok()).unwrap_or(2);
    let mut status = Status::new(Code::from_i32(code), "as asked: 100% \u{fc}ber");
    status.metadata_mut().insert("x-trailing", "of the server".parse().expect("ASCII"));
    status
}

struct Hanging(Arc<Seen>);

impl Hanging {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.hanging.fetch_add(1, Ordering::SeqCst);
        Self(seen.clone())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A client of `test.Echo` on a connection of its own.
#[derive(Debug, Clone)]
pub struct CallClient {
    grpc: client::Grpc<Channel>,
}

impl CallClient {
    /// Connects with prior knowledge of HTTP/2.
    pub async fn connect(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address is a URI");
        let channel = soon("a gRPC connection", endpoint.connect()).await.expect("a gRPC connection");
        Self { grpc: client::Grpc::new(channel) }
    }

    /// One message there, one back.
    pub async fn unary(&mut self, method: &str, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.ready().await?;
        soon(method, self.grpc.unary(request, path(method), Raw)).await
    }

    /// One message there, several back.
    pub async fn server_streaming(
        &mut self,
        method: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.ready().await?;
        soon(method, self.grpc.server_streaming(request, path(method), Raw)).await
    }

    /// Several messages there, one back.
    pub async fn client_streaming(
        &mut self,
        method: &str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Response<Bytes>, Status> {
        self.ready().await?;
        soon(method, self.grpc.client_streaming(Request::new(messages), path(method), Raw)).await
    }

    /// Several in both directions, at the same time.
    pub async fn streaming(
        &mut self,
        method: &str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.ready().await?;
        soon(method, self.grpc.streaming(Request::new(messages), path(method), Raw)).await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// A message of a call.
pub fn message(text: &str) -> Request<Bytes> {
    Request::new(Bytes::copy_from_slice(text.as_bytes()))
}

/// All messages of a stream, and its end.
pub async fn rest(mut messages: Streaming<Bytes>) -> (Vec<Bytes>, Result<(), Status>) {
    let mut all = Vec::new();
    loop {
        match soon("a message", messages.next()).await {
            Some(Ok(message)) => all.push(message),
            Some(Err(status)) => return (all, Err(status)),
            None => return (all, Ok(())),
        }
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/test.Echo/{method}").parse().expect("a path")
}
