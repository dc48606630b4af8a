//! A request as a client would send it, and what must come back.

use super::{Failure, USER_AGENT, words};
use crate::dial::Dialled;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use policy::config::health as config;
use policy::config::leaf::{StatusRange, TargetAddr};
use std::future::Future;

/// What is read of a body at most.
const MAX_BODY: usize = 64 * 1024;

const MAX_HEAD: usize = 64 * 1024;

/// Made once for all probes of a target.
pub(super) struct HttpProbe {
    /// `GET /health`
    name: String,
    request: Request<Empty<Bytes>>,
    scheme: &'static str,
    expected: Vec<StatusRange>,
    body_contains: Option<String>,
}

impl HttpProbe {
    pub(super) fn new(address: &TargetAddr, probe: config::HttpProbe) -> Self {
        let config::HttpProbe { method, path, host, headers, expected_status, body_contains } = probe;
        let name = format!("{method} {path}");
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method.0;
        *request.uri_mut() = path.0.into();
        let host = host.map_or_else(|| address.authority(), |host| host.to_string());
        let fields = request.headers_mut();
        for field in &headers {
            // checked with the config
            if let Ok(value) = HeaderValue::from_str(&field.value) {
                fields.append(field.name.0.clone(), value);
            }
        }
        complete(fields, &host);
        Self { name, request, scheme: address.scheme(), expected: expected_status, body_contains }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn run(&self, connected: Dialled) -> Result<(), Failure> {
        let Dialled { stream, http2, origin: _ } = connected;
        let io = TokioIo::new(stream);
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let (mut sender, connection) =
                builder.max_header_list_size(MAX_HEAD as u32).handshake(io).await.map_err(failure)?;
            let request = self.http2_request()?;
            return self.exchange(sender.send_request(request), connection).await;
        }
        let (mut sender, connection) =
            http1::Builder::new().max_header_size(MAX_HEAD).handshake(io).await.map_err(failure)?;
        self.exchange(sender.send_request(self.request.clone()), connection).await
    }

    /// The same request as HTTP/2 has it: the host in the target, and nothing of the connection.
    fn http2_request(&self) -> Result<Request<Empty<Bytes>>, Failure> {
        let mut request = self.request.clone();
        let fields = request.headers_mut();
        fields.remove(header::CONNECTION);
        let host = fields.remove(header::HOST);
        let host = host.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        let target = request.uri().path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(self.scheme).authority(host).path_and_query(target).build();
        *request.uri_mut() = uri.map_err(|error| Failure::Target(words(&error)))?;
        Ok(request)
    }

    /// Sends the request while `connection` runs.
    async fn exchange(
        &self,
        response: impl Future<Output = hyper::Result<Response<Incoming>>>,
        connection: impl Future<Output = hyper::Result<()>>,
    ) -> Result<(), Failure> {
        let exchange = async { self.judge(response.await.map_err(failure)?).await };
        tokio::pin!(connection, exchange);
        tokio::select! {
            biased;
            result = &mut exchange => result,
            // what ended it, the exchange tells better
            _ = &mut connection => exchange.await,
        }
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), Failure> {
        let status = response.status();
        if !self.expected.iter().any(|range| range.contains(status)) {
            return Err(Failure::Target(self.unexpected(status)));
        }
        match &self.body_contains {
            None => Ok(()),
            Some(text) => find(text, response.into_body()).await,
        }
    }

    fn unexpected(&self, status: StatusCode) -> String {
        let expected: Vec<_> = self.expected.iter().map(StatusRange::to_string).collect();
        format!("status {}, expected {}", status.as_u16(), expected.join(" or "))
    }
}

fn failure(error: hyper::Error) -> Failure {
    Failure::Target(words(&error))
}

/// A probe's connection is for one request.
fn complete(fields: &mut HeaderMap, host: &str) {
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    fields.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
    // both kinds of host are checked with the config
    if let Ok(host) = HeaderValue::from_str(host) {
        fields.insert(header::HOST, host);
    }
}

/// Reads until the text has come, and no more than [`MAX_BODY`].
async fn find(text: &str, mut body: Incoming) -> Result<(), Failure> {
    let text = text.as_bytes();
    let mut read = Vec::new();
    let mut searched = 0;
    while !holds(&read[searched..], text) {
        // what is searched again may be the beginning of the text
        searched = (read.len() + 1).saturating_sub(text.len());
        if read.len() >= MAX_BODY {
            return Err(lacks(text, "in its first 64 KiB"));
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                read.extend_from_slice(&data[..data.len().min(MAX_BODY - read.len())]);
            }
            Some(Err(error)) => return Err(Failure::Target(words(&error))),
            None => return Err(lacks(text, "")),
        }
    }
    Ok(())
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

fn lacks(text: &[u8], place: &str) -> Failure {
    let text = String::from_utf8_lossy(text);
    Failure::Target(format!("body lacks {text:?} {place}").trim_end().to_owned())
}
