//! Where versions are kept: the store behind a trait, and what a version consists of.
//!
//! The store is the coordinator's log. A version is allocated (PREPARING) before any data plane hears of it and
//! COMMITTED before any data plane is told to commit it, so that a control plane killed at any moment finds the truth
//! here.

mod redb;
mod reopening;

pub use self::redb::RedbStore;
use bytes::Bytes;
use proto::v1;
use std::path::PathBuf;

/// How many versions are kept; the current one is kept whatever its age.
pub const HISTORY: usize = 200;

/// A version with its contents.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVersion {
    /// Number, hash, author, note, creation and state.
    pub record: v1::Version,
    /// The YAML as it was written, `${…}` not expanded.
    pub source: String,
    /// The canonical encoding of the table.
    pub table: Bytes,
}

/// A durable history of versions. Calls block: use them off the async threads.
pub trait Store: Send + Sync + 'static {
    /// The identity of this history, made once.
    fn cluster_id(&self) -> &str;

    /// The last committed version.
    fn current(&self) -> Result<Option<StoredVersion>, StoreError>;

    /// The highest version ever allocated, whatever became of it; 0 for a new store.
    fn last_allocated(&self) -> Result<u64, StoreError>;

    /// A version with its contents.
    fn version(&self, version: u64) -> Result<Option<StoredVersion>, StoreError>;

    /// The newest versions, newest first.
    fn list(&self, limit: usize) -> Result<Vec<v1::Version>, StoreError>;

    /// Records a version about to be prepared; durable on return.
    fn allocate(&self, version: &StoredVersion) -> Result<(), StoreError>;

    /// The commit decision; durable on return. With `in_file`, the watched file already holds this source.
    fn commit(&self, version: u64, in_file: bool) -> Result<(), StoreError>;

    /// Records why a version did not come to be.
    fn reject(&self, version: u64, detail: &str) -> Result<(), StoreError>;

    /// Gives the current version another source text with the same meaning (comments, layout).
    fn replace_source(&self, version: u64, source: &str, in_file: bool) -> Result<(), StoreError>;

    /// The watched file holds the current version's source.
    fn mark_in_file(&self, version: u64) -> Result<(), StoreError>;

    /// sha256 of what the watched file held when it last agreed with the current version.
    fn file_sha256(&self) -> Result<Option<String>, StoreError>;

    /// The standing orders; none of revision 0 before the first one.
    fn orders(&self) -> Result<v1::Orders, StoreError>;

    /// Replaces the standing orders; durable on return.
    fn set_orders(&self, orders: &v1::Orders) -> Result<(), StoreError>;
}

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{0} is in use by another control plane; stop it, or give this one its own --state-dir")]
    Locked(PathBuf),
    /// The directory or file cannot be made or opened.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// What could not be opened.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the version store failed: {0}")]
    Database(::redb::Error),
    /// A record does not decode.
    #[error("version {version} in the store does not decode: {source}")]
    Record {
        /// Which.
        version: u64,
        /// Why.
        source: prost::DecodeError,
    },
    /// The standing orders do not decode.
    #[error("the standing orders in the store do not decode: {0}")]
    Orders(prost::DecodeError),
    /// A later build has written them.
    #[error(
        "the standing orders in the store have format {0}, which this build does not know; start the newer one"
    )]
    OrdersFormat(u64),
    /// A version that must be there is not.
    #[error("version {0} is not in the store")]
    Missing(u64),
}

/// So that `?` works on every call of the database.
macro_rules! database_errors {
    ($($error:ident),*) => {$(
        impl From<::redb::$error> for StoreError {
            fn from(error: ::redb::$error) -> Self {
                StoreError::Database(error.into())
            }
        }
    )*};
}
database_errors!(TransactionError, TableError, StorageError, CommitError);

#[cfg(test)]
mod tests;
