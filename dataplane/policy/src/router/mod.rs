//! Which route takes a request: host, then path, then method, headers and query.
