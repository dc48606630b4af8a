//! From the head of a target's response to what the client gets.

use crate::body::Content;
use crate::connection::session::Session;
use crate::connection::tunnel::Tunnel;
use crate::pool::Checkout;
use http::header::{self, HeaderMap};
use http::{Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use policy::headers::clean_response;
use policy::rejection::Rejection;
use std::rc::Rc;
use std::time::Instant;

/// Makes the client's response from the target's.
pub(super) fn answer(
    session: &Rc<Session>,
    response: Response<Incoming>,
    mut checkout: Checkout,
    deadline: Option<Instant>,
) -> Result<Response<Content>, Rejection> {
    let (mut parts, incoming) = response.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    parts.extensions.clear();
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    clean_response(&mut parts.headers, switching).map_err(|rejection| failed(&checkout, rejection))?;

    if switching {
        // joined with the client's socket once the 101 is written
        let target = upgrade.ok_or(Rejection::Internal)?;
        session.set_tunnel(Tunnel { target, checkout, exchange: None });
        return Ok(Response::from_parts(parts, Content::Empty));
    }
    session.set_exchange_deadline(deadline);
    if incoming.is_end_stream() {
        if !session.body_pending() {
            checkout.release(session.now());
        }
        return Ok(Response::from_parts(parts, Content::Empty));
    }
    Ok(Response::from_parts(parts, Content::upstream(incoming, checkout, deadline)))
}

pub(super) fn failed(checkout: &Checkout, rejection: Rejection) -> Rejection {
    checkout.failed();
    rejection
}

/// Whether a response is final, or the upgrade that was asked for.
pub(super) fn is_expected(response: &Response<Incoming>, websocket: bool) -> bool {
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => websocket && is_websocket(response.headers()),
        // 600 and more are not HTTP (RFC 9110 §15)
        status => (200..600).contains(&status.as_u16()),
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(header::SEC_WEBSOCKET_ACCEPT)
}
