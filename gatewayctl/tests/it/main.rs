//! gatewayctl as its users see it: arguments in; standard output, standard error and exit code out.
#![allow(clippy::unwrap_used)] // a helper that panics fails the test it helps

mod dev;
mod outcomes;
mod rendering;
mod support;
mod usage;
