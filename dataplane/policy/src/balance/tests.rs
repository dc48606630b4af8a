//! Distributions, disruption and the rule that every balancer obeys.
