//! Building tables: what is taken over, what is refused.
