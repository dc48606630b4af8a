//! A database that is opened again after an I/O error: redb takes nothing more until then, though the disk may have
//! room again.

use super::StoreError;
use parking_lot::RwLock;
use redb::Database;
use std::path::PathBuf;

type Open = Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// A database and the way to open it.
pub(super) struct Reopening {
    /// None while it could not be opened again.
    database: RwLock<Option<Database>>,
    open: Open,
    path: PathBuf,
}

impl Reopening {
    /// Opens it for the first time.
    pub(super) fn new(path: PathBuf, open: Open) -> Result<Self, StoreError> {
        let it = Self { database: RwLock::new(None), open, path };
        it.reopen()?;
        Ok(it)
    }

    /// Makes a call; after an I/O error once more on the database opened anew. The call must bear being made twice: its
    /// first commit may have reached the disk.
    pub(super) fn call<T>(&self, call: impl Fn(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(database) = &*self.database.read() {
            match call(database) {
                Err(error) if is_latched(&error) => {
                    tracing::warn!(%error, "the store failed, opening it again");
                }
                result => return result,
            }
        }
        self.reopen()?;
        match &*self.database.read() {
            Some(database) => call(database),
            // another thread's attempt has failed in between
            None => Err(StoreError::Database(redb::Error::PreviousIo)),
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write();
        // closed first: a file that is open is locked
        *database = None;
        *database = Some((self.open)().map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::Locked(self.path.clone()),
            error => StoreError::Database(error.into()),
        })?);
        Ok(())
    }
}

fn is_latched(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(redb::Error::Io(_) | redb::Error::PreviousIo))
}
