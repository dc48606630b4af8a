//! The pure core of the gateway: what a config means and what happens to a request.
//!
//! No I/O, no clock, no runtime: everything here is a function of its arguments, so it is tested by tables and
//! properties and used unchanged by the control plane (to validate), the data plane (to serve) and gatewayctl (to
//! explain). Validating a config *is* building its [`table::RouteTable`].

#![warn(missing_docs)]

pub mod access_log;
mod address_set;
pub mod auth;
pub mod balance;
pub mod breaker;
pub mod client_certificate;
pub mod clock;
pub mod concurrency;
pub mod config;
pub mod diagnostic;
pub mod explain;
pub mod filter;
pub mod forwarded;
pub mod grpc;
pub mod headers;
pub mod health;
pub mod http2;
pub mod limiter;
pub mod mirror;
pub mod outcome;
pub mod path;
pub mod proxy_protocol;
pub mod rejection;
pub mod request;
pub mod retry;
pub mod router;
pub mod snapshot;
pub mod split;
pub mod table;
pub mod trace;
pub mod upstream;
