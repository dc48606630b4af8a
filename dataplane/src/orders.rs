//! Standing orders as this instance carries them out: on the table that serves, and on every one before it does.

use policy::breaker::Hold;
use policy::clock::Now;
use policy::table::RouteTable;
use proto::v1::Orders;
use std::collections::{HashMap, HashSet};

/// Makes a table obey the orders. What they do not name is left to itself again.
pub fn apply(orders: &Orders, table: &RouteTable, now: Now) {
    drain(orders, table, now);
    hold(orders, table, now);
}

fn drain(orders: &Orders, table: &RouteTable, now: Now) {
    let drained: HashSet<(&str, &str)> =
        orders.drained.iter().map(|one| (one.upstream.as_str(), one.addr.as_str())).collect();
    for upstream in &table.upstreams {
        for target in &upstream.targets {
            let addr = target.addr.to_string();
            target.state.set_drained(drained.contains(&(&*upstream.name, addr.as_str())), now);
        }
    }
}

fn hold(orders: &Orders, table: &RouteTable, now: Now) {
    let held: HashMap<&str, Hold> = orders
        .held
        .iter()
        .map(|one| (one.route.as_str(), if one.open { Hold::Open } else { Hold::Closed }))
        .collect();
    for route in &table.routes {
        let hold = held.get(&*route.name).copied();
        for (_, breaker) in route.breakers() {
            breaker.hold(hold, now);
        }
    }
}

/// Resets what an order since `revision` wants reset: each once, however often it is told.
pub fn reset(orders: &Orders, revision: u64, table: &RouteTable, now: Now) {
    let due = orders.resets.iter().filter(|reset| reset.revision > revision);
    let due: HashSet<&str> = due.map(|reset| reset.route.as_str()).collect();
    for route in table.routes.iter().filter(|route| due.contains(&*route.name)) {
        for (_, breaker) in route.breakers() {
            breaker.reset(now);
        }
    }
}
