//! The rules of precedence, fallback and conflict, each by example.
