//! What the tests of the filters share: a filter from its YAML, its errors, its way over the wire.

use super::FilterConfig;
use crate::config::GatewayConfig;
use crate::config::load::{Surroundings, check};
use crate::diagnostic::Diagnostic;
use proto::v1;
use std::io;

fn config(yaml: &str) -> Result<GatewayConfig, Vec<Diagnostic>> {
    let source = format!("routes: []\nglobal_filters:\n  - {yaml}\n");
    let surroundings = Surroundings { env: &|_| None, read_file: &|_| Err(io::ErrorKind::NotFound.into()) };
    check(&source, &surroundings).map(|checked| checked.config)
}

/// The filter in `yaml`, which is valid.
pub(crate) fn filter(yaml: &str) -> FilterConfig {
    let mut config = config(yaml).expect("a valid filter");
    config.global_filters.remove(0)
}

/// What is wrong with the filter in `yaml`: one thing.
pub(crate) fn fault(yaml: &str) -> String {
    let diagnostics = config(yaml).expect_err("an invalid filter");
    assert_eq!(diagnostics.len(), 1, "{diagnostics:#?}");
    diagnostics[0].message.clone()
}

/// The filter in `yaml` is the same after the wire.
pub(crate) fn wire_round_trip(yaml: &str) {
    let there = filter(yaml);
    let back = FilterConfig::try_from(v1::Filter::from(&there)).expect("what was sent");
    assert_eq!(back, there);
}
