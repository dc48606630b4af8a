//! From the head of a target's response to what the client gets.

use super::Deadline;
use crate::body::Content;
use crate::connection::session::Session;
use crate::connection::tunnel::Tunnel;
use crate::pool::Checkout;
use crate::target::ResponseHead;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use policy::http2;
use policy::rejection::Rejection;
use policy::table::Route;
use std::rc::Rc;

/// Makes the client's response from the target's.
pub(super) fn answer(
    session: &Rc<Session>,
    route: &Route,
    mut head: ResponseHead,
    mut checkout: Checkout,
    deadline: Option<Deadline>,
    version: Version,
) -> Result<Response<Content>, Rejection> {
    let content = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // joined with the client once it knows
        let target = checkout.take_upgraded().ok_or(Rejection::Internal)?;
        session.set_tunnel(Tunnel {
            target,
            checkout,
            idle_timeout: route.websocket_idle_timeout,
            exchange: None,
        });
        if version == Version::HTTP_2 {
            http2::accept_websocket(&mut head.status, &mut head.headers);
        }
        Content::Empty
    } else {
        if let Some(connection) = checkout.connection() {
            connection.send_on();
        }
        session.set_exchange_deadline(deadline.map(|deadline| deadline.at));
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
pub(super) fn is_expected(head: &ResponseHead, websocket: bool, request: &Parts) -> bool {
    // the handshake of a client of HTTP/2 is ours: it cannot see what the target makes of it
    let ours = websocket && request.version == Version::HTTP_2;
    match head.status {
        StatusCode::SWITCHING_PROTOCOLS => {
            websocket && is_websocket(&head.headers) && (!ours || accepts(&request.headers, &head.headers))
        }
        // to it, a success is a tunnel (RFC 8441 §4)
        status if ours && status.is_success() => false,
        // 600 and more are not HTTP (RFC 9110 §15)
        status => (200..600).contains(&status.as_u16()),
    }
}

/// Whether the target has understood this very handshake (RFC 6455 §4.1).
fn accepts(request: &HeaderMap, response: &HeaderMap) -> bool {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let Some(key) = request.get(header::SEC_WEBSOCKET_KEY) else { return false };
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    let expected = STANDARD.encode(hash);
    response.get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept.as_bytes() == expected.as_bytes())
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(header::SEC_WEBSOCKET_ACCEPT)
}
