//! Which target of an upstream takes a request; one file per algorithm.
