//! The scalar values: what each takes, refuses and prints.
