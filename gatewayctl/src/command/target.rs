//! `gatewayctl target`: take a target out of service without touching the config, and put it back.

use super::order;
use crate::command::{Global, Waiting, completion};
use crate::exit::{Exit, Failure};
use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use proto::v1::{TargetOrder, order_request::Order};

/// Take a target out of service on every instance, or put it back
///
/// The order stands until it is taken back, also through restarts and for instances that join later; it ends when a
/// config without the target is rolled out. Exits 0 when every known instance has confirmed it, 5 when one has not.
#[derive(Debug, Args)]
pub struct Target {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send it no new requests; those under way may finish
    Drain(Drain),
    /// Send it requests again
    Enable(Enable),
}

#[derive(Debug, Args)]
struct Drain {
    /// As in `gatewayctl status targets`; `http://` may be left out
    #[arg(value_name = "UPSTREAM/ADDR", value_parser = parse, add = ArgValueCandidates::new(completion::targets))]
    target: Named,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, Args)]
struct Enable {
    /// As in `gatewayctl status targets`; `http://` may be left out
    #[arg(value_name = "UPSTREAM/ADDR", value_parser = parse, add = ArgValueCandidates::new(completion::drained))]
    target: Named,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    upstream: String,
    addr: String,
}

fn parse(text: &str) -> Result<Named, String> {
    match text.split_once('/') {
        Some((upstream, addr)) if !upstream.is_empty() && !addr.is_empty() => {
            Ok(Named { upstream: upstream.to_owned(), addr: addr.to_owned() })
        }
        _ => Err("write UPSTREAM/ADDR, as in users/10.0.0.7:8080".to_owned()),
    }
}

impl Target {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (Named { upstream, addr }, drained, waiting) = match self.what {
            What::Drain(Drain { target, waiting }) => (target, true, waiting),
            What::Enable(Enable { target, waiting }) => (target, false, waiting),
        };
        let what = format!("{upstream}/{addr} is {}", if drained { "drained" } else { "enabled" });
        let target = TargetOrder { upstream, addr, drained };
        order::give(global, Order::Target(target), &what, &waiting).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Named, parse};

    #[test]
    fn the_upstream_ends_at_the_first_slash() {
        let named = |addr: &str| Ok(Named { upstream: "users".to_owned(), addr: addr.to_owned() });
        assert_eq!(parse("users/http://10.0.0.7:8080"), named("http://10.0.0.7:8080"));
        assert_eq!(parse("users/10.0.0.7:8080"), named("10.0.0.7:8080"));
        for wrong in ["users", "users/", "/10.0.0.7:8080", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
