//! The store keeps what it was told across a restart, and never loses the current version.

use super::reopening::Reopening;
use super::{HISTORY, RedbStore, Store, StoreError, StoredVersion};
use crate::digest::sha256_hex;
use bytes::Bytes;
use parking_lot::Mutex;
use proto::v1::{self, VersionState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn version(number: u64) -> StoredVersion {
    StoredVersion {
        record: v1::Version {
            version: number,
            sha256: format!("hash-{number}"),
            created_ms: 1_000 + number as i64,
            author: "ops".to_owned(),
            note: "a note".to_owned(),
            state: VersionState::Preparing.into(),
            detail: String::new(),
        },
        source: format!("# version {number}\n"),
        table: Bytes::from(vec![number as u8; 3]),
    }
}

fn open(dir: &tempfile::TempDir) -> RedbStore {
    RedbStore::open(dir.path()).expect("opens")
}

#[test]
fn a_committed_version_is_current_after_a_restart_with_its_contents() {
    let dir = tempfile::tempdir().unwrap();
    let cluster_id = {
        let store = open(&dir);
        assert!(store.current().unwrap().is_none());
        store.allocate(&version(1)).unwrap();
        assert!(store.current().unwrap().is_none(), "an allocated version is not yet the current one");
        store.commit(1, true).unwrap();
        store.cluster_id().to_owned()
    };
    let store = open(&dir);
    assert_eq!(store.cluster_id(), cluster_id);
    let current = store.current().unwrap().expect("a current version");
    assert_eq!(current.source, version(1).source);
    assert_eq!(current.table, version(1).table);
    assert_eq!(current.record.state(), VersionState::Committed);
    assert_eq!(current.record.author, "ops");
    assert_eq!(store.file_sha256().unwrap(), Some(sha256_hex(version(1).source.as_bytes())));
}

#[test]
fn a_version_left_preparing_is_rejected_on_the_next_start_and_its_number_stays_used() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(&dir);
        store.allocate(&version(1)).unwrap();
        store.commit(1, true).unwrap();
        store.allocate(&version(2)).unwrap();
    }
    let store = open(&dir);
    let left = store.version(2).unwrap().expect("kept");
    assert_eq!(left.record.state(), VersionState::Rejected);
    assert_eq!(left.record.detail, "control plane restarted");
    assert_eq!(store.current().unwrap().expect("current").record.version, 1);
    assert_eq!(store.last_allocated().unwrap(), 2);
}

#[test]
fn history_is_bounded_and_the_current_version_outlives_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.allocate(&version(1)).unwrap();
    store.commit(1, true).unwrap();
    let last = HISTORY as u64 + 20;
    for number in 2..=last {
        store.allocate(&version(number)).unwrap();
        store.reject(number, "no").unwrap();
    }
    let kept = store.list(usize::MAX).unwrap();
    assert_eq!(kept.len(), HISTORY + 1);
    assert_eq!(kept[0].version, last, "newest first");
    assert_eq!(kept[HISTORY].version, 1);
    assert_eq!(store.current().unwrap().expect("current").record.version, 1);
    assert!(store.version(2).unwrap().is_none());
    assert_eq!(store.list(2).unwrap().len(), 2);
}

#[test]
fn another_source_with_the_same_meaning_replaces_the_text_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.allocate(&version(1)).unwrap();
    store.commit(1, false).unwrap();
    assert_eq!(store.file_sha256().unwrap(), None, "the file was not written yet");
    store.replace_source(1, "# a comment\n", true).unwrap();
    let current = store.current().unwrap().expect("current");
    assert_eq!(current.source, "# a comment\n");
    assert_eq!(current.table, version(1).table);
    assert_eq!(store.file_sha256().unwrap(), Some(sha256_hex(b"# a comment\n")));
}

#[test]
fn a_store_in_use_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(&dir);
    let Err(second) = RedbStore::open(dir.path()) else { panic!("opened twice") };
    assert!(matches!(second, StoreError::Locked(_)), "{second}");
    assert!(second.to_string().contains("in use by another control plane"));
}

#[test]
fn deciding_on_a_version_that_was_never_allocated_fails() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert!(matches!(store.commit(9, true), Err(StoreError::Missing(9))));
    assert!(store.current().unwrap().is_none(), "a failed commit leaves nothing behind");
}

#[cfg(unix)]
#[test]
fn the_store_is_readable_by_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("state");
    let _store = RedbStore::open(&dir).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("versions.redb")), 0o600);
}

#[test]
fn standing_orders_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let drained = v1::DrainedTarget { upstream: "u".to_owned(), addr: "http://a:1".to_owned(), by: None };
    let orders = v1::Orders { revision: 3, drained: vec![drained], ..v1::Orders::default() };
    {
        let store = open(&dir);
        assert_eq!(store.orders().unwrap(), v1::Orders::default());
        store.set_orders(&orders).unwrap();
    }
    assert_eq!(open(&dir).orders().unwrap(), orders);
}

/// A disk that can be full.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn store(&self) -> RedbStore {
        let disk = self.clone();
        let open = move || redb::Builder::new().create_with_backend(disk.clone());
        RedbStore::recover(Reopening::new("the disk".into(), Box::new(open)).expect("opens"))
            .expect("recovers")
    }

    fn has_room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        out.copy_from_slice(&self.bytes.lock()[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.has_room()?;
        self.bytes.lock().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.has_room()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.has_room()?;
        let start = offset as usize;
        self.bytes.lock()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn a_full_disk_fails_writes_until_it_has_room_and_no_longer() {
    let disk = Disk::default();
    let store = disk.store();
    store.allocate(&version(1)).unwrap();
    store.commit(1, true).unwrap();
    disk.full.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let error = store.allocate(&version(2)).expect_err("the disk is full");
        assert!(matches!(error, StoreError::Database(_)), "{error}");
    }
    disk.full.store(false, Ordering::Relaxed);
    store.allocate(&version(2)).unwrap();
    store.commit(2, false).unwrap();
    assert_eq!(store.current().unwrap().expect("current").record.version, 2);
    drop(store);
    assert_eq!(disk.store().current().unwrap().expect("current").record.version, 2);
}
