//! The rate limits of a route, asked in turn; one that shapes makes the request wait here.

use crate::attempt::Timing;
use crate::clock;
use http::HeaderMap;
use policy::filter::Caller;
use policy::limiter::Verdict;
use policy::rejection::Rejection;
use policy::table::Route;
use std::cell::Cell;
use std::net::IpAddr;

/// Lets the request pass, at once or when its turn has come, or refuses it. `would_limit`: a limit in shadow mode would
/// have.
pub(crate) async fn pass(
    route: &Route,
    client: IpAddr,
    caller: Option<&Caller>,
    headers: &HeaderMap,
    timing: &Timing<'_>,
    would_limit: &Cell<bool>,
) -> Result<(), Rejection> {
    for limit in &route.guard.limits {
        let limit = &limit.running;
        let bucket = limit.key().bucket(headers, client, caller);
        match limit.decide(bucket, clock::at(timing.session.now())) {
            Verdict::Pass => {}
            Verdict::WouldLimit => would_limit.set(true),
            Verdict::Limit(limited) => return Err(Rejection::RateLimited(limited)),
            Verdict::Wait(turn) => timing.pause(turn).await?,
        }
    }
    Ok(())
}
