//! Harness of the end-to-end scenarios: real processes, fake upstreams, exact bytes.
//!
//! A scenario starts a [`fleet::Fleet`] (a control plane and data planes on 127.0.0.1, 127.0.0.2, …), points its
//! config at [`upstream::Upstream`]s that live in the test itself, talks to it by [`client`] and waits with
//! [`wait::eventually`], never for a fixed time.

pub mod authority;
pub mod binaries;
pub mod calls;
pub mod client;
pub mod collector;
pub mod config;
pub mod ctl;
pub mod dns;
pub mod drills;
pub mod fleet;
pub mod guard;
pub mod load;
pub mod peers;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod servers;
pub mod upstream;
pub mod wait;
