//! A collector of OpenTelemetry, over gRPC or HTTP, that keeps what it gets and refuses when told to.

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
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(20);

/// Ends with the runtime it was started on.
pub(crate) struct Collector {
    address: SocketAddr,
    kept: Arc<Kept>,
}

/// One request.
#[derive(Clone)]
pub(crate) struct Got {
    /// The header `x-key`.
    pub(crate) key: Option<String>,
    request: ExportTraceServiceRequest,
}

#[derive(Default)]
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
    /// `grpc` or `http`.
    pub(crate) async fn start(protocol: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, kept) = (listener.local_addr().unwrap(), Arc::new(Kept::default()));
        match protocol {
            "grpc" => {
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                let service = TraceServiceServer::new(Service(kept.clone()));
                let server = tonic::transport::Server::builder().add_service(service);
                tokio::spawn(server.serve_with_incoming(incoming));
            }
            _ => drop(tokio::spawn(serve_http(listener, kept.clone()))),
        }
        Self { address, kept }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next so many requests are refused for now.
    pub(crate) fn refuse(&self, requests: u32) {
        *self.kept.refusing.lock() = (requests, false);
    }

    /// The next so many requests are refused for good.
    pub(crate) fn refuse_for_good(&self, requests: u32) {
        *self.kept.refusing.lock() = (requests, true);
    }

    pub(crate) fn refused(&self) -> u32 {
        *self.kept.refused.lock()
    }

    pub(crate) fn requests(&self) -> Vec<Got> {
        self.kept.requests.borrow().clone()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        spans(&self.requests())
    }

    /// The attributes of who sent the first request.
    pub(crate) fn resource(&self) -> Vec<(String, String)> {
        let first = self.requests().remove(0).request.resource_spans.remove(0);
        texts(&first.resource.unwrap().attributes)
    }

    /// Until so many spans have come.
    pub(crate) async fn until(&self, count: usize) -> Vec<Span> {
        let mut requests = self.kept.requests.subscribe();
        let enough = requests.wait_for(|requests| spans(requests).len() >= count);
        let got = tokio::time::timeout(PATIENCE, enough).await.expect("spans in time").unwrap();
        spans(&got)
    }
}

fn spans(requests: &[Got]) -> Vec<Span> {
    let resources = requests.iter().flat_map(|got| &got.request.resource_spans);
    resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
}

/// The attributes of a span by name, with their values as text.
pub(crate) fn attributes(span: &Span) -> Vec<(String, String)> {
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
    let key = request.headers().get("x-key").map(|key| key.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await?.to_bytes();
    let mut response = Response::new(Full::default());
    *response.status_mut() = match kept.take(key, ExportTraceServiceRequest::decode(body).unwrap()) {
        Ok(()) => StatusCode::OK,
        Err(true) => StatusCode::BAD_REQUEST,
        Err(false) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok(response)
}
