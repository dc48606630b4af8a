//! Snapshots: a table's canonical bytes, the hash that names them, and the way back to a config.

use crate::config::GatewayConfig;
use crate::config::wire::WireError;
use bytes::Bytes;
use prost::Message as _;
use proto::v1;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// A config in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The encoding of a [`v1::RouteTable`].
    pub table: Bytes,
    /// Lower-case hex, of `table`.
    pub sha256: String,
}

/// Why a snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Damaged on its way or on the disk.
    #[error("the snapshot's table has the hash {actual}, but is said to have {claimed}")]
    Hash {
        /// What the snapshot says.
        claimed: String,
        /// What its table has.
        actual: String,
    },
    /// Not a table at all.
    #[error("the snapshot's table cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    /// It says more than would be obeyed.
    #[error(
        "{0} bytes of the snapshot's table are fields that this version does not know: it was written by a newer one"
    )]
    Unknown(usize),
    /// A table that is not a config, or one of a newer version.
    #[error("the snapshot's table is not a config of this version: {0}")]
    Content(#[from] WireError),
}

/// The canonical bytes of a config and their hash.
pub fn encode(config: &GatewayConfig) -> Encoded {
    let table = Bytes::from(v1::RouteTable::from(config).encode_to_vec());
    let sha256 = hex_sha256(&table);
    Encoded { table, sha256 }
}

/// The config in a snapshot whose hash is right and in which there is nothing unknown.
pub fn open(snapshot: &v1::Snapshot) -> Result<GatewayConfig, SnapshotError> {
    let actual = hex_sha256(&snapshot.table);
    if actual != snapshot.sha256 {
        return Err(SnapshotError::Hash { claimed: snapshot.sha256.clone(), actual });
    }
    let decoded = decode(&snapshot.table)?;
    // what is skipped as unknown is not encoded again
    match snapshot.table.len().saturating_sub(decoded.encoded_len()) {
        0 => Ok(decoded.try_into()?),
        unknown => Err(SnapshotError::Unknown(unknown)),
    }
}

/// The config in the canonical bytes of a table, as far as this version knows its fields: to show it, not to run it.
pub fn decode_table(table: &[u8]) -> Result<GatewayConfig, SnapshotError> {
    Ok(decode(table)?.try_into()?)
}

fn decode(table: &[u8]) -> Result<v1::RouteTable, prost::DecodeError> {
    // room for all at once, of which nothing moves as it fills: memory that is not used is only promised
    let room = (table.len() / BYTES_OF_ROUTE).min(MAX_ROOM);
    let mut decoded = v1::RouteTable { routes: Vec::with_capacity(room), ..v1::RouteTable::default() };
    decoded.merge(table)?;
    Ok(decoded)
}

/// What a route of a table takes on the wire at least.
const BYTES_OF_ROUTE: usize = 32;
/// In routes.
const MAX_ROOM: usize = 100_000;

/// In lower-case hexadecimal.
pub fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}
