//! A request as a client would send it, and what must come back.

use super::{Failure, USER_AGENT, words};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use policy::config::health as config;
use policy::config::leaf::{StatusRange, TargetAddr};
use tokio::net::TcpStream;

/// What is read of a body at most.
const MAX_BODY: usize = 64 * 1024;

const MAX_HEAD: usize = 64 * 1024;

/// Made once for all probes of a target.
pub(super) struct HttpProbe {
    /// `GET /health`
    name: String,
    request: Request<Empty<Bytes>>,
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
        Self { name, request, expected: expected_status, body_contains }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn run(&self, stream: TcpStream) -> Result<(), Failure> {
        let failure = |error: hyper::Error| Failure::Target(words(&error));
        let (mut sender, connection) = http1::Builder::new()
            .max_header_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failure)?;
        let exchange = async {
            let response = sender.send_request(self.request.clone()).await.map_err(failure)?;
            self.judge(response).await
        };
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
