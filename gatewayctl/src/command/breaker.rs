//! `gatewayctl breaker`: the operator's word over a route's circuit breaker.

use super::order;
use crate::command::{Global, Waiting, completion};
use crate::exit::{Exit, Failure};
use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use proto::v1::{BreakerAction, BreakerOrder, order_request::Order};

/// Reset a route's circuit breaker on every instance, or hold it open or closed
///
/// With a breaker for each target, all those of the route are meant. A hold stands until `reset`, also through restarts
/// and for instances that join later. Exits 0 when every known instance has confirmed it, 5 when one has not.
#[derive(Debug, Args)]
pub struct Breaker {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Close it, forget its failures, and leave it to itself again
    Reset(Named),
    /// Hold it open: every request of the route is refused with 503
    Open(Named),
    /// Hold it closed: no request is refused, whatever becomes of them
    Close(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// A route that has a circuit breaker
    #[arg(value_name = "ROUTE", add = ArgValueCandidates::new(completion::routes))]
    route: String,
    #[command(flatten)]
    waiting: Waiting,
}

impl Breaker {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (action, done, Named { route, waiting }) = match self.what {
            What::Reset(named) => (BreakerAction::Reset, "reset", named),
            What::Open(named) => (BreakerAction::Open, "held open", named),
            What::Close(named) => (BreakerAction::Close, "held closed", named),
        };
        let what = format!("the breaker of {route} is {done}");
        let breaker = BreakerOrder { route, action: action.into() };
        order::give(global, Order::Breaker(breaker), &what, &waiting).await
    }
}
