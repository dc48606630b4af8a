//! Texts of configs that scenarios start from.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// One route `/` to one target; drains at once, so that scenarios end quickly.
pub fn forward_all(port: u16, target: SocketAddr) -> String {
    format!("{}routes:\n  - name: all\n    prefix: /\n{}", server(port, ""), targets(&[target]))
}

/// A `server` section with more lines (each indented by two) in it.
pub fn server(port: u16, more: &str) -> String {
    format!("server:\n  port: {port}\n  drain_delay: 0s\n{more}")
}

/// The `targets` of a route, indented as in [`forward_all`].
pub fn targets(addresses: &[SocketAddr]) -> String {
    let mut text = String::from("    targets:\n");
    for address in addresses {
        // writing to a String cannot fail
        let _ = writeln!(text, "      - addr: http://{address}");
    }
    text
}

/// A route `/name` to these targets with more keys, each `key: value` in one line.
pub fn route(name: &str, addresses: &[SocketAddr], keys: &[&str]) -> String {
    let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
    format!("  - name: {name}\n    prefix: /{name}\n{}{keys}", targets(addresses))
}
