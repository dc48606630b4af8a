//! The body of a gRPC response as gRPC-Web has it: the trailers are its last message.

use super::response::{FromUpstream, ResponseError};
use crate::connection::session::Session;
use crate::exchange::Exchange;
use bytes::Bytes;
use http_body::Frame;
use policy::grpc::Call;
use policy::grpc::web::{encode, encode_trailers};
use std::task::{Context, Poll, ready};

/// A body on its way from a target, translated here.
pub(crate) struct Translated {
    upstream: Box<FromUpstream>,
    call: Call,
    /// The trailers were handed on.
    ended: bool,
}

impl Translated {
    pub(super) fn new(upstream: Box<FromUpstream>, call: Call) -> Self {
        Self { upstream, call, ended: false }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        exchange: Option<&Exchange>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(self.upstream.poll_frame(cx, session, exchange)) {
            Some(Ok(frame)) => frame,
            // a failure has words of its own here, which a body that breaks off has not
            Some(Err(error)) => Frame::trailers(error.end_of_call()),
            None => {
                self.ended = true;
                return Poll::Ready(None);
            }
        };
        let data = match frame.into_data() {
            Ok(data) => encode(self.call, data),
            Err(frame) => {
                self.ended = true;
                let trailers = frame.into_trailers().unwrap_or_default();
                if let Some(exchange) = exchange {
                    exchange.call_ended(&trailers);
                }
                encode_trailers(self.call, &trailers)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}
