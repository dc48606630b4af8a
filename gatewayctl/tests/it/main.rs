//! gatewayctl as its users see it: arguments in; standard output, standard error and exit code out.
#![allow(clippy::unwrap_used)] // outside of a test function too, a panic fails the test

mod dev;
mod orders;
mod outcomes;
mod protection;
mod questions;
mod rendering;
mod support;
mod usage;
