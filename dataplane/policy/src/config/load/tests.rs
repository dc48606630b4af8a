//! Loading: what the tables of valid and invalid files do not show.
