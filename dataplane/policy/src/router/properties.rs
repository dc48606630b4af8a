//! The router against a linear matcher written from its documentation, and against matchit.
