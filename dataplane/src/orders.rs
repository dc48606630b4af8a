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
    let mut drained: HashMap<&str, HashSet<&str>> = HashMap::new();
    for one in &orders.drained {
        drained.entry(&one.upstream).or_default().insert(&one.addr);
    }
    for upstream in &table.upstreams {
        let addresses = drained.get(&*upstream.name);
        for target in &upstream.targets {
            // few are drained: the address of one that cannot be is not worth writing out
            let named = addresses.is_some_and(|addresses| addresses.contains(&*target.addr.to_string()));
            target.state.set_drained(named, now);
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
