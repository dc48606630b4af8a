//! From the head of a target's response to what the client gets.

use crate::body::Content;
use crate::connection::session::Session;
use crate::connection::tunnel::Tunnel;
use crate::pool::Checkout;
use crate::target::ResponseHead;
use http::header::{self, HeaderMap};
use http::{Response, StatusCode};
use policy::rejection::Rejection;
use std::rc::Rc;
use std::time::Instant;

/// Makes the client's response from the target's.
pub(super) fn answer(
    session: &Rc<Session>,
    head: ResponseHead,
    mut checkout: Checkout,
    deadline: Option<Instant>,
) -> Result<Response<Content>, Rejection> {
    let content = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // joined with the client's socket once the 101 is written
        let target = checkout.take_upgraded().ok_or(Rejection::Internal)?;
        session.set_tunnel(Tunnel { target, checkout, exchange: None });
        Content::Empty
    } else {
        if let Some(connection) = checkout.connection() {
            connection.send_on();
        }
        session.set_exchange_deadline(deadline);
        if checkout.has_ended() {
            if !session.body_pending() {
                checkout.release(session.now());
            }
            Content::Empty
        } else {
            Content::upstream(checkout, deadline)
        }
    };
    let mut response = Response::new(content);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

pub(super) fn failed(checkout: &Checkout, rejection: Rejection) -> Rejection {
    checkout.failed();
    rejection
}

/// Whether a response is final, or the upgrade that was asked for.
pub(super) fn is_expected(head: &ResponseHead, websocket: bool) -> bool {
    match head.status {
        StatusCode::SWITCHING_PROTOCOLS => websocket && is_websocket(&head.headers),
        // 600 and more are not HTTP (RFC 9110 §15)
        status => (200..600).contains(&status.as_u16()),
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(header::SEC_WEBSOCKET_ACCEPT)
}
