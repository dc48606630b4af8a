//! What is stored comes back, what was damaged does not.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn snapshot(version: u64) -> Snapshot {
    Snapshot {
        cluster_id: "c1".into(),
        version,
        sha256: "ab".repeat(32),
        created_ms: 1,
        author: "ops".into(),
        note: "line\nbreak".into(),
        table: vec![b'\n', 0, 255].into(),
    }
}

fn opened() -> (tempfile::TempDir, Disk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::open(dir.path().join("a/b")).unwrap();
    (dir, disk)
}

fn files(disk: &Disk) -> Vec<String> {
    let names =
        fs::read_dir(&disk.dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn an_empty_directory_has_no_snapshot() {
    let (_dir, disk) = opened();
    assert!(disk.load().unwrap().is_none());
}

#[test]
fn the_last_one_stored_comes_back() {
    let (_dir, disk) = opened();
    disk.stage(&snapshot(1)).unwrap().commit().unwrap();
    disk.stage(&snapshot(2)).unwrap().commit().unwrap();
    assert_eq!(disk.load().unwrap(), Some(snapshot(2)));
    assert_eq!(files(&disk), ["lock", "snapshot"], "temporary files stay behind");
}

#[test]
fn what_is_staged_changes_nothing_until_it_is_committed() {
    let (_dir, disk) = opened();
    disk.stage(&snapshot(1)).unwrap().commit().unwrap();
    let staged = disk.stage(&snapshot(2)).unwrap();
    assert_eq!(disk.load().unwrap(), Some(snapshot(1)));
    drop(staged);
    assert_eq!(disk.load().unwrap(), Some(snapshot(1)));
    assert_eq!(files(&disk), ["lock", "snapshot"]);
}

#[test]
fn a_start_removes_what_a_killed_process_had_staged() {
    let (dir, disk) = opened();
    disk.stage(&snapshot(1)).unwrap().commit().unwrap();
    fs::write(disk.dir.join("snapshotAbC123.staged"), "half").unwrap();
    drop(disk);
    let disk = Disk::open(dir.path().join("a/b")).unwrap();
    assert_eq!(files(&disk), ["lock", "snapshot"]);
}

#[test]
fn only_the_owner_may_read_it() {
    let (_dir, disk) = opened();
    disk.stage(&snapshot(1)).unwrap().commit().unwrap();
    assert_eq!(fs::metadata(disk.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&disk.dir).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn damage_anywhere_in_the_file_is_found_and_set_aside() {
    let (_dir, disk) = opened();
    disk.stage(&snapshot(1)).unwrap().commit().unwrap();
    let good = fs::read(disk.path()).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(disk.path(), &bad).unwrap();
        assert!(matches!(disk.load(), Err(LoadError::Corrupt { .. })), "byte {at}");
        assert!(!disk.path().exists());
        assert_eq!(fs::read(disk.path().with_extension(ASIDE)).unwrap(), bad);
        assert!(disk.load().unwrap().is_none(), "the next start is a clean one");
    }
}

#[test]
fn a_truncated_file_is_corrupt() {
    let (_dir, disk) = opened();
    disk.stage(&snapshot(1)).unwrap().commit().unwrap();
    let good = fs::read(disk.path()).unwrap();
    for len in 0..good.len() {
        fs::write(disk.path(), &good[..len]).unwrap();
        assert!(matches!(disk.load(), Err(LoadError::Corrupt { .. })), "{len} bytes");
    }
}

#[test]
fn two_data_planes_do_not_share_a_directory() {
    let (dir, disk) = opened();
    let error = Disk::open(dir.path().join("a/b")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    drop(disk);
    Disk::open(dir.path().join("a/b")).unwrap();
}

#[test]
fn standing_orders_are_kept_beside_the_snapshot_as_safely() {
    let (_dir, disk) = opened();
    assert!(disk.load_orders().unwrap().is_none());
    let orders = |revision| Orders { cluster_id: "c1".into(), revision, ..Orders::default() };
    disk.store_orders(&orders(1)).unwrap();
    disk.store_orders(&orders(2)).unwrap();
    assert_eq!(disk.load_orders().unwrap(), Some(orders(2)));
    let path = disk.dir.join("orders");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    disk.stage(&snapshot(1)).unwrap().commit().unwrap();
    fs::copy(disk.path(), &path).unwrap();
    assert!(matches!(disk.load_orders(), Err(LoadError::Corrupt { .. })), "a snapshot is no set of orders");
    assert_eq!(files(&disk), ["lock", "orders.corrupt", "snapshot"]);
}
