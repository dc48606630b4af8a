//! Standing orders as this instance carries them out: on the table that serves, and on every one before it does.

use policy::clock::Now;
use policy::table::RouteTable;
use proto::v1::Orders;
use std::collections::HashSet;

/// Makes a table obey the orders. What they do not name is left to itself again.
pub fn apply(orders: &Orders, table: &RouteTable, now: Now) {
    let drained: HashSet<(&str, &str)> =
        orders.drained.iter().map(|one| (one.upstream.as_str(), one.addr.as_str())).collect();
    for upstream in &table.upstreams {
        for target in &upstream.targets {
            let addr = target.addr.to_string();
            target.state.set_drained(drained.contains(&(&*upstream.name, addr.as_str())), now);
        }
    }
}
