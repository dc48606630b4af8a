//! Targets that speak HTTP/1.1 by hyper: echo, held answers, uploads and downloads of any size.

use super::{Upstream, Wire};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A response body of a fake target.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A request as a fake target got it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method.
    pub method: Method,
    /// Path and query as in the request line.
    pub target: String,
    /// Header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Trailer fields.
    pub trailers: HeaderMap,
}

impl Received {
    /// The one value of a header; `None` when there is none, panics when there are several.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "several {name} in {:?}", self.headers);
        Some(value.to_str().expect("header values of tests are ASCII"))
    }
}

/// Holds the answers of [`Upstream::held`] back until it is opened.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Lets `count` answers out.
    pub fn open(&self, count: usize) {
        self.0.add_permits(count);
    }
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    Empty::new().boxed_unsync()
}

impl Upstream {
    /// Answers each request as `respond` says once it has arrived whole.
    pub async fn http<F, Fut>(respond: F) -> Self
    where
        F: Fn(Received) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::accepting(move |wire, record| {
            let respond = respond.clone();
            serve(wire, move |request| {
                let (respond, record) = (respond.clone(), Arc::clone(&record));
                async move {
                    let Some(request) = receive(request).await else { return aborted() };
                    record.received(request.clone());
                    respond(request).await
                }
            })
        })
        .await
    }

    /// Tells in JSON what it got, and by its name who answers.
    pub async fn echo(name: &'static str) -> Self {
        Self::http(move |request| std::future::ready(echo_of(name, &request))).await
    }

    /// [`Upstream::echo`] whose answers wait at a gate; its requests are known before that.
    pub async fn held(name: &'static str) -> (Self, Gate) {
        let gate = Gate(Arc::new(Semaphore::new(0)));
        let shared = gate.clone();
        let upstream = Self::http(move |request| {
            let gate = shared.clone();
            async move {
                // closed never: the gate lives as long as the target
                if let Ok(permit) = gate.0.acquire().await {
                    permit.forget();
                }
                echo_of(name, &request)
            }
        })
        .await;
        (upstream, gate)
    }

    /// Counts the bytes of an upload without keeping them and answers with their number.
    pub async fn counting() -> Self {
        Self::accepting(|wire, _| {
            serve(wire, |request| async move {
                let mut total = 0;
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    let Ok(frame) = frame else { return aborted() };
                    total += frame.data_ref().map_or(0, Bytes::len);
                }
                Response::new(full(total.to_string()))
            })
        })
        .await
    }

    /// Answers with `pieces` pieces (`None`: without end) of `size` bytes, one every `pace`, chunked.
    pub async fn download(size: usize, pieces: Option<usize>, pace: Option<Duration>) -> Self {
        Self::accepting(move |wire, record| {
            serve(wire, move |_request| {
                let record = Arc::clone(&record);
                let piece = Bytes::from(vec![b'd'; size]);
                let frames = stream::repeat(piece).take(pieces.unwrap_or(usize::MAX)).then(move |piece| {
                    let record = Arc::clone(&record);
                    async move {
                        if let Some(pace) = pace {
                            tokio::time::sleep(pace).await;
                        }
                        record.produces(piece.len());
                        Ok::<_, Infallible>(Frame::data(piece))
                    }
                });
                std::future::ready(Response::new(StreamBody::new(frames).boxed_unsync()))
            })
        })
        .await
    }
}

async fn serve<F, Fut>(wire: Wire, respond: F)
where
    F: Fn(Request<Incoming>) -> Fut + Send + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    // a client that goes away is no concern of the fake
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(wire), service)
        .await;
}

async fn receive(request: Request<Incoming>) -> Option<Received> {
    let (parts, body) = request.into_parts();
    let collected = body.collect().await.ok()?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Some(Received {
        method: parts.method,
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: collected.to_bytes(),
        trailers,
    })
}

fn echo_of(name: &str, request: &Received) -> Response<Body> {
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| json!([name.as_str(), text(value.as_bytes())])).collect();
    let body = json!({
        "upstream": name,
        "method": request.method.as_str(),
        "target": request.target,
        "headers": headers,
        "body": text(&request.body),
    });
    let mut response = Response::new(full(body.to_string()));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The request broke off; nobody reads this.
fn aborted() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = http::StatusCode::BAD_REQUEST;
    response
}
