//! The embedded store: one redb file, every write one durable transaction.

use super::reopening::Reopening;
use super::{HISTORY, Store, StoreError, StoredVersion};
use crate::digest::sha256_hex;
use bytes::Bytes;
use prost::Message as _;
use proto::v1::{self, VersionState};
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction,
};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const SOURCES: TableDefinition<'_, u64, &str> = TableDefinition::new("sources");
const TABLES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tables");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("texts");
const MESSAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("messages");

const CURRENT: &str = "current_version";
const LAST_ALLOCATED: &str = "last_allocated_version";
const CLUSTER_ID: &str = "cluster_id";
const FILE_SHA256: &str = "file_sha256";
const ORDERS: &str = "orders";
const ORDERS_FORMAT: &str = "orders_format";

/// Of the standing orders: an encoded `v1::Orders`.
const FORMAT: u64 = 1;

/// Versions in a redb database.
pub struct RedbStore {
    database: Reopening,
    cluster_id: String,
}

impl RedbStore {
    /// Opens or makes the store in a directory that only this user can read.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        make_private_dir(dir).map_err(|source| StoreError::File { path: dir.to_owned(), source })?;
        let path = dir.join("versions.redb");
        make_private_file(&path).map_err(|source| StoreError::File { path: path.clone(), source })?;
        let file = path.clone();
        Self::recover(Reopening::new(path, Box::new(move || Database::create(&file)))?)
    }

    pub(super) fn recover(database: Reopening) -> Result<Self, StoreError> {
        let cluster_id = database.call(settle)?;
        Ok(Self { database, cluster_id })
    }

    fn write(&self, change: impl Fn(&WriteTransaction) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.database.call(|database| {
            let write = database.begin_write()?;
            change(&write)?;
            // redb's default durability: on return the data is on disk
            write.commit()?;
            Ok(())
        })
    }

    fn read<T>(&self, call: impl Fn(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.database.call(|database| call(&database.begin_read()?))
    }
}

impl Store for RedbStore {
    fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    fn current(&self) -> Result<Option<StoredVersion>, StoreError> {
        self.read(|read| match number(read, CURRENT)? {
            0 => Ok(None),
            current => version(read, current)?.map(Some).ok_or(StoreError::Missing(current)),
        })
    }

    fn last_allocated(&self) -> Result<u64, StoreError> {
        self.read(|read| number(read, LAST_ALLOCATED))
    }

    fn version(&self, wanted: u64) -> Result<Option<StoredVersion>, StoreError> {
        self.read(|read| version(read, wanted))
    }

    fn list(&self, limit: usize) -> Result<Vec<v1::Version>, StoreError> {
        self.read(|read| {
            let records = read.open_table(RECORDS)?;
            let mut newest = Vec::new();
            for entry in records.iter()?.rev().take(limit) {
                let (version, record) = entry?;
                newest.push(decode(version.value(), record.value())?);
            }
            Ok(newest)
        })
    }

    fn allocate(&self, version: &StoredVersion) -> Result<(), StoreError> {
        let number = version.record.version;
        self.write(|write| {
            let mut records = write.open_table(RECORDS)?;
            let mut sources = write.open_table(SOURCES)?;
            let mut tables = write.open_table(TABLES)?;
            let mut numbers = write.open_table(NUMBERS)?;
            let encoded = version.record.encode_to_vec();
            records.insert(number, encoded.as_slice())?;
            sources.insert(number, version.source.as_str())?;
            tables.insert(number, version.table.as_ref())?;
            numbers.insert(LAST_ALLOCATED, number)?;
            let current = numbers.get(CURRENT)?.map_or(0, |number| number.value());
            for old in too_old(&records, current)? {
                records.remove(old)?;
                sources.remove(old)?;
                tables.remove(old)?;
            }
            Ok(())
        })
    }

    fn commit(&self, version: u64, in_file: bool) -> Result<(), StoreError> {
        self.write(|write| {
            update_record(write, version, |record| record.state = VersionState::Committed.into())?;
            let mut numbers = write.open_table(NUMBERS)?;
            numbers.insert(CURRENT, version)?;
            if in_file { mark_in_file(write, version) } else { Ok(()) }
        })
    }

    fn reject(&self, version: u64, detail: &str) -> Result<(), StoreError> {
        self.write(|write| {
            update_record(write, version, |record| {
                record.state = VersionState::Rejected.into();
                record.detail = detail.to_owned();
            })
        })
    }

    fn replace_source(&self, version: u64, source: &str, in_file: bool) -> Result<(), StoreError> {
        self.write(|write| {
            write.open_table(SOURCES)?.insert(version, source)?;
            if in_file { mark_in_file(write, version) } else { Ok(()) }
        })
    }

    fn mark_in_file(&self, version: u64) -> Result<(), StoreError> {
        self.write(|write| mark_in_file(write, version))
    }

    fn file_sha256(&self) -> Result<Option<String>, StoreError> {
        self.read(|read| {
            let texts = read.open_table(TEXTS)?;
            Ok(texts.get(FILE_SHA256)?.map(|hash| hash.value().to_owned()))
        })
    }

    fn orders(&self) -> Result<v1::Orders, StoreError> {
        self.read(|read| {
            let format = number(read, ORDERS_FORMAT)?;
            if format > FORMAT {
                return Err(StoreError::OrdersFormat(format));
            }
            let messages = read.open_table(MESSAGES)?;
            match messages.get(ORDERS)? {
                Some(encoded) => v1::Orders::decode(encoded.value()).map_err(StoreError::Orders),
                None => Ok(v1::Orders::default()),
            }
        })
    }

    fn set_orders(&self, orders: &v1::Orders) -> Result<(), StoreError> {
        self.write(|write| {
            write.open_table(NUMBERS)?.insert(ORDERS_FORMAT, FORMAT)?;
            write.open_table(MESSAGES)?.insert(ORDERS, orders.encode_to_vec().as_slice())?;
            Ok(())
        })
    }
}

fn number(read: &ReadTransaction, name: &str) -> Result<u64, StoreError> {
    let numbers = read.open_table(NUMBERS)?;
    Ok(numbers.get(name)?.map_or(0, |number| number.value()))
}

fn version(read: &ReadTransaction, version: u64) -> Result<Option<StoredVersion>, StoreError> {
    let records = read.open_table(RECORDS)?;
    let Some(record) = records.get(version)? else { return Ok(None) };
    let sources = read.open_table(SOURCES)?;
    let tables = read.open_table(TABLES)?;
    let source = sources.get(version)?.ok_or(StoreError::Missing(version))?;
    let table = tables.get(version)?.ok_or(StoreError::Missing(version))?;
    Ok(Some(StoredVersion {
        record: decode(version, record.value())?,
        source: source.value().to_owned(),
        table: Bytes::copy_from_slice(table.value()),
    }))
}

/// Makes the tables, and settles what a control plane that died has left undecided; returns the cluster's name.
fn settle(database: &Database) -> Result<String, StoreError> {
    let write = database.begin_write()?;
    let cluster_id = {
        write.open_table(SOURCES)?;
        write.open_table(TABLES)?;
        write.open_table(NUMBERS)?;
        write.open_table(MESSAGES)?;
        let mut texts = write.open_table(TEXTS)?;
        let known = texts.get(CLUSTER_ID)?.map(|id| id.value().to_owned());
        match known {
            Some(id) => id,
            None => {
                let id = uuid::Uuid::new_v4().to_string();
                texts.insert(CLUSTER_ID, id.as_str())?;
                id
            }
        }
    };
    for version in preparing(&write)? {
        // no Commit of it can have been sent: that needs the decision stored first
        update_record(&write, version, |record| {
            record.state = VersionState::Rejected.into();
            record.detail = "control plane restarted".to_owned();
        })?;
    }
    write.commit()?;
    Ok(cluster_id)
}

fn mark_in_file(write: &WriteTransaction, version: u64) -> Result<(), StoreError> {
    let sources = write.open_table(SOURCES)?;
    let source = sources.get(version)?.ok_or(StoreError::Missing(version))?;
    let hash = sha256_hex(source.value().as_bytes());
    let mut texts = write.open_table(TEXTS)?;
    texts.insert(FILE_SHA256, hash.as_str())?;
    Ok(())
}

fn preparing(write: &WriteTransaction) -> Result<Vec<u64>, StoreError> {
    let records = write.open_table(RECORDS)?;
    let mut undecided = Vec::new();
    for entry in records.iter()? {
        let (version, record) = entry?;
        if decode(version.value(), record.value())?.state() == VersionState::Preparing {
            undecided.push(version.value());
        }
    }
    Ok(undecided)
}

fn update_record(
    write: &WriteTransaction,
    version: u64,
    change: impl FnOnce(&mut v1::Version),
) -> Result<(), StoreError> {
    let mut records = write.open_table(RECORDS)?;
    let mut record = match records.get(version)? {
        Some(encoded) => decode(version, encoded.value())?,
        None => return Err(StoreError::Missing(version)),
    };
    change(&mut record);
    records.insert(version, record.encode_to_vec().as_slice())?;
    Ok(())
}

/// The versions beyond the last [`HISTORY`], the current one excepted.
fn too_old(records: &impl ReadableTable<u64, &'static [u8]>, current: u64) -> Result<Vec<u64>, StoreError> {
    let mut old = Vec::new();
    for entry in records.iter()?.rev().skip(HISTORY) {
        let version = entry?.0.value();
        if version != current {
            old.push(version);
        }
    }
    Ok(old)
}

fn decode(version: u64, encoded: &[u8]) -> Result<v1::Version, StoreError> {
    v1::Version::decode(encoded).map_err(|source| StoreError::Record { version, source })
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// The database is made by whoever opens it with the process's umask: it is made here first, for this user alone.
fn make_private_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
