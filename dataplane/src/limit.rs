//! The rate limits of a route, asked in turn; one that shapes makes the request wait here.

use crate::attempt::Timing;
use crate::clock;
use http::HeaderMap;
use policy::filter::Caller;
use policy::limiter::Verdict;
use policy::rejection::Rejection;
use policy::table::Route;
use std::net::IpAddr;

/// Lets the request pass, at once or when its turn has come, or refuses it.
pub(crate) async fn pass(
    route: &Route,
    client: IpAddr,
    caller: Option<&Caller>,
    headers: &HeaderMap,
    timing: &Timing<'_>,
) -> Result<(), Rejection> {
    for limit in &route.guard.limits {
        let limit = &limit.running;
        let bucket = limit.key().bucket(headers, client, caller);
        match limit.decide(bucket, clock::at(timing.session.now())) {
            Verdict::Pass => {}
            Verdict::Limit(limited) => return Err(Rejection::RateLimited(limited)),
            Verdict::Wait(turn) => timing.pause(turn).await?,
        }
    }
    Ok(())
}
