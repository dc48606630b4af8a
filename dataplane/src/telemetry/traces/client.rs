//! One request to a collector: OTLP over gRPC, or over HTTP with protobuf.

use super::exporting::Exporting;
use crate::dial::{self, words};
use bytes::{Buf as _, BufMut as _, Bytes};
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use policy::filter::tracing::OtlpProtocol;
use prost::Message;
use std::io;
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

/// For one request with all of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer says little more than that it is one.
const MAX_ANSWER: usize = 64 * 1024;
/// What a collector may ask for at most.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

const AGENT: HeaderValue = HeaderValue::from_static(concat!("mini-gateway/", env!("CARGO_PKG_VERSION")));
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A connection to a collector, made when there is something to send.
pub(super) struct Client {
    headers: HeaderMap,
    transport: Transport,
}

enum Transport {
    Grpc(Channel),
    Http(Box<Http>),
    /// There is no way to connect, for this reason.
    Unusable(String),
}

struct Http {
    client: legacy::Client<dial::Connector, Full<Bytes>>,
    url: Uri,
}

/// Why a batch was not taken.
pub(super) struct Refusal {
    /// It may be taken later.
    pub(super) retry: bool,
    /// As the collector asks for it.
    pub(super) after: Option<Duration>,
    /// In words for an operator.
    pub(super) why: String,
}

/// `ExportTraceServiceResponse`
#[derive(Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

impl Client {
    /// Inside a runtime.
    pub(super) fn new(exporting: &Exporting) -> Self {
        let transport = match exporting.protocol {
            OtlpProtocol::Grpc => channel(&exporting.url).map(Transport::Grpc).map_err(|error| words(&error)),
            OtlpProtocol::Http => http(&exporting.url).map(Transport::Http).map_err(|error| words(&error)),
        };
        let transport = transport.unwrap_or_else(Transport::Unusable);
        Self { headers: exporting.headers.clone(), transport }
    }

    /// Sends an encoded `ExportTraceServiceRequest`; says how many of its spans the collector did not want.
    pub(super) async fn send(&self, request: Bytes) -> Result<u64, Refusal> {
        let answer = match &self.transport {
            Transport::Grpc(channel) => self.call(channel.clone(), request).await,
            Transport::Http(http) => {
                let post = self.post(http, request);
                let late = |_| Refusal::for_now(format!("no answer within {TIMEOUT:?}"));
                tokio::time::timeout(TIMEOUT, post).await.map_err(late).flatten()
            }
            Transport::Unusable(why) => Err(Refusal { retry: false, after: None, why: why.clone() }),
        }?;
        let Some(PartialSuccess { rejected_spans, error_message }) = answer.partial_success else {
            return Ok(0);
        };
        if rejected_spans > 0 {
            tracing::debug!(rejected_spans, error_message, "the collector has refused spans");
        }
        Ok(u64::try_from(rejected_spans).unwrap_or(0))
    }

    async fn call(&self, channel: Channel, request: Bytes) -> Result<Answer, Refusal> {
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.map_err(|error| Refusal::for_now(words(&error)))?;
        let request = tonic::Request::from_parts(
            MetadataMap::from_headers(self.headers.clone()),
            tonic::Extensions::default(),
            request,
        );
        let answer = grpc.unary(request, PathAndQuery::from_static(EXPORT), Encoded).await;
        answer.map(tonic::Response::into_inner).map_err(Refusal::from)
    }

    async fn post(&self, Http { client, url }: &Http, request: Bytes) -> Result<Answer, Refusal> {
        let mut post = Request::post(url.clone())
            .body(Full::new(request))
            .map_err(|error| Refusal::for_now(words(&error)))?;
        *post.headers_mut() = self.headers.clone();
        post.headers_mut().insert(CONTENT_TYPE, PROTOBUF);
        post.headers_mut().insert(USER_AGENT, AGENT);
        let response = client.request(post).await.map_err(|error| Refusal::for_now(words(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        if !head.status.is_success() {
            return Err(Refusal::of_status(head.status, &head.headers));
        }
        let body = body.map_err(|error| Refusal::for_now(words(&*error)))?;
        // a collector that answers with something else has taken them all the same
        Ok(Answer::decode(body.to_bytes()).unwrap_or_default())
    }
}

fn http(url: &Uri) -> io::Result<Box<Http>> {
    let connector = if is_https(url) { dial::connector() } else { dial::plain_connector() }?;
    let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
    Ok(Box::new(Http { client, url: url.clone() }))
}

fn channel(url: &Uri) -> Result<Channel, tonic::transport::Error> {
    let mut endpoint =
        Endpoint::from(url.clone()).user_agent(AGENT)?.connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
    if is_https(url) {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_enabled_roots())?;
    }
    Ok(endpoint.connect_lazy())
}

fn is_https(url: &Uri) -> bool {
    url.scheme() == Some(&Scheme::HTTPS)
}

impl Refusal {
    fn for_now(why: String) -> Self {
        Self { retry: true, after: None, why }
    }

    /// The four that OTLP/HTTP names.
    fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        let retry = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let after = seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        Self { retry, after, why: format!("status {}", status.as_u16()) }
    }
}

impl From<Status> for Refusal {
    /// Those that OTLP/gRPC names, and what a connection that broke is called.
    fn from(status: Status) -> Self {
        let retry = matches!(
            status.code(),
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
                | Code::Unknown
        );
        Self { retry, after: None, why: words(&status) }
    }
}

/// A request that is encoded already.
#[derive(Debug, Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Answer;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Answer;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Answer>, Status> {
        let answer = Answer::decode(buffer.copy_to_bytes(buffer.remaining()));
        // taken it was, whatever the words
        Ok(Some(answer.unwrap_or_default()))
    }
}
