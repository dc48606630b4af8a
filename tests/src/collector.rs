//! A collector of OpenTelemetry that keeps what it gets and refuses when told to.

use crate::wait::soon;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Code, Status};

/// How it is spoken to.
#[derive(Debug, Clone, Copy)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
}

/// Ends with the runtime it was started on.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    kept: Arc<Kept>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Got {
    /// The header `x-key`.
    pub key: Option<String>,
    request: ExportTraceServiceRequest,
}

#[derive(Debug, Default)]
struct Kept {
    requests: watch::Sender<Vec<Got>>,
    /// So many are still to be refused, and whether for good.
    refusing: Mutex<(u32, bool)>,
    refused: Mutex<u32>,
}

impl Kept {
    fn take(&self, key: Option<String>, request: ExportTraceServiceRequest) -> Result<(), bool> {
        let mut refusing = self.refusing.lock();
        if refusing.0 > 0 {
            refusing.0 -= 1;
            *self.refused.lock() += 1;
            return Err(refusing.1);
        }
        self.requests.send_modify(|requests| requests.push(Got { key, request }));
        Ok(())
    }
}

impl Collector {
    /// On a free port of loopback.
    pub async fn start(protocol: Protocol) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a test collector");
        let (address, kept) = (listener.local_addr().expect("a test collector"), Arc::new(Kept::default()));
        match protocol {
            Protocol::Grpc => {
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                let service = TraceServiceServer::new(Service(kept.clone()));
                let server = tonic::transport::Server::builder().add_service(service);
                tokio::spawn(server.serve_with_incoming(incoming));
            }
            Protocol::Http => drop(tokio::spawn(serve_http(listener, kept.clone()))),
        }
        Self { address, kept }
    }

    /// What a config calls it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next so many requests are refused for now.
    pub fn refuse(&self, requests: u32) {
        *self.kept.refusing.lock() = (requests, false);
    }

    /// The next so many requests are refused for good.
    pub fn refuse_for_good(&self, requests: u32) {
        *self.kept.refusing.lock() = (requests, true);
    }

    /// Requests that were refused.
    pub fn refused(&self) -> u32 {
        *self.kept.refused.lock()
    }

    /// Requests that were taken.
    pub fn requests(&self) -> Vec<Got> {
        self.kept.requests.borrow().clone()
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        spans(&self.requests())
    }

    /// The attributes of who sent the first request.
    pub fn resource(&self) -> Vec<(String, String)> {
        let first = self.requests().remove(0).request.resource_spans.remove(0);
        texts(&first.resource.expect("a test collector").attributes)
    }

    /// Until so many spans have come.
    pub async fn until(&self, count: usize) -> Vec<Span> {
        let mut requests = self.kept.requests.subscribe();
        let enough = requests.wait_for(|requests| spans(requests).len() >= count);
        let got = soon("spans", enough).await.expect("the collector lives");
        spans(&got)
    }
}

fn spans(requests: &[Got]) -> Vec<Span> {
    let resources = requests.iter().flat_map(|got| &got.request.resource_spans);
    resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
}

/// The attributes of a span by name, with their values as text.
pub fn attributes(span: &Span) -> Vec<(String, String)> {
    texts(&span.attributes)
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| {
        let value = match attribute.value.as_ref().and_then(|any| any.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::BoolValue(flag)) => flag.to_string(),
            other => panic!("{other:?}"),
        };
        (attribute.key.clone(), value)
    };
    let mut texts: Vec<_> = attributes.iter().map(text).collect();
    texts.sort();
    texts
}

struct Service(Arc<Kept>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let key = request.metadata().get("x-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        match self.0.take(key, request.into_inner()) {
            Ok(()) => Ok(tonic::Response::new(ExportTraceServiceResponse::default())),
            Err(for_good) => {
                let code = if for_good { Code::InvalidArgument } else { Code::Unavailable };
                Err(Status::new(code, "told to"))
            }
        }
    }
}

async fn serve_http(listener: TcpListener, kept: Arc<Kept>) {
    while let Ok((stream, _)) = listener.accept().await {
        let kept = kept.clone();
        let service = service_fn(move |request| post(request, kept.clone()));
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn post(request: Request<Incoming>, kept: Arc<Kept>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let key = request.headers().get("x-key").map(|key| key.to_str().expect("a test collector").to_owned());
    let body = request.into_body().collect().await?.to_bytes();
    let mut response = Response::new(Full::default());
    *response.status_mut() =
        match kept.take(key, ExportTraceServiceRequest::decode(body).expect("a test collector")) {
            Ok(()) => StatusCode::OK,
            Err(true) => StatusCode::BAD_REQUEST,
            Err(false) => StatusCode::SERVICE_UNAVAILABLE,
        };
    Ok(response)
}
