//! Lists that may be ten thousand long.

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// What is promised to a list before its items are there: memory that is never used is never the system's.
const MAX_ROOM: usize = 100_000;

/// As serde reads a `Vec`, which has room for 1 MiB at first and moves all of it whenever it grows; this one never moves.
pub(super) fn long<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(Items(PhantomData))
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(MAX_ROOM));
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}
