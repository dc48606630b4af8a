//! Every way to save a file is noticed, and a half-written one is not taken.

use super::{Observation, WatcherHandle, spawn};
use crate::source::WatchedFile;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

struct Watched {
    dir: tempfile::TempDir,
    observations: mpsc::Receiver<Observation>,
    handle: WatcherHandle,
}

impl Watched {
    /// Watches `gateway.yaml` in a new directory that `arrange` fills.
    fn new(arrange: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        arrange(dir.path());
        let file = WatchedFile::new(dir.path().join("gateway.yaml"));
        let (send, observations) = mpsc::channel(8);
        let known = file.read().unwrap();
        let handle = spawn(file, &known, send).unwrap();
        Self { dir, observations, handle }
    }

    fn plain() -> Self {
        Self::new(|dir| fs::write(dir.join("gateway.yaml"), "first").unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn next(&mut self) -> Observation {
        let next = tokio::time::timeout(Duration::from_secs(20), self.observations.recv());
        next.await.expect("the watcher tells in time").expect("the watcher runs")
    }

    async fn text(&mut self) -> String {
        match self.next().await {
            Observation::Read(reading) => reading.text.to_string(),
            Observation::Unreadable(why) => panic!("unreadable: {why}"),
        }
    }

    /// What it tells within a time far above the debounce.
    async fn tells_nothing(&mut self) {
        let told = tokio::time::timeout(Duration::from_millis(300), self.observations.recv()).await;
        assert!(told.is_err(), "told {told:?}");
    }
}

#[tokio::test]
async fn a_rename_over_the_file_is_noticed_each_time() {
    let mut watched = Watched::plain();
    for round in ["second", "third", "fourth"] {
        fs::write(watched.path("new"), round).unwrap();
        fs::rename(watched.path("new"), watched.path("gateway.yaml")).unwrap();
        assert_eq!(watched.text().await, round);
    }
}

#[tokio::test]
async fn truncate_and_write_is_noticed_each_time_with_the_whole_text() {
    let mut watched = Watched::plain();
    for round in ["second".repeat(100_000), "third".repeat(100_000), "x".to_owned()] {
        fs::write(watched.path("gateway.yaml"), &round).unwrap();
        assert!(watched.text().await == round);
    }
}

#[tokio::test]
async fn a_swapped_symlink_is_noticed_and_so_is_a_write_behind_it() {
    let mut watched = Watched::new(|dir| {
        fs::create_dir(dir.join("elsewhere")).unwrap();
        fs::write(dir.join("elsewhere/a"), "first").unwrap();
        fs::write(dir.join("elsewhere/b"), "second").unwrap();
        symlink("elsewhere/a", dir.join("gateway.yaml")).unwrap();
    });
    symlink("elsewhere/b", watched.path("link")).unwrap();
    fs::rename(watched.path("link"), watched.path("gateway.yaml")).unwrap();
    assert_eq!(watched.text().await, "second");
    fs::write(watched.path("elsewhere/b"), "third").unwrap();
    assert_eq!(watched.text().await, "third");
}

#[tokio::test]
async fn a_config_map_is_noticed_when_kubernetes_swaps_its_data_directory() {
    let mut watched = Watched::new(|dir| {
        fs::create_dir(dir.join("..1")).unwrap();
        fs::write(dir.join("..1/gateway.yaml"), "first").unwrap();
        symlink("..1", dir.join("..data")).unwrap();
        symlink("..data/gateway.yaml", dir.join("gateway.yaml")).unwrap();
    });
    for round in ["..2", "..3"] {
        fs::create_dir(watched.path(round)).unwrap();
        fs::write(watched.path(round).join("gateway.yaml"), round).unwrap();
        symlink(round, watched.path("..data_tmp")).unwrap();
        fs::rename(watched.path("..data_tmp"), watched.path("..data")).unwrap();
        assert_eq!(watched.text().await, round);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_whose_writer_is_not_done_is_not_taken() {
    let mut watched = Watched::plain();
    let mut writer = File::create(watched.path("gateway.yaml")).unwrap();
    writer.write_all(b"routes:\n- one\n").unwrap();
    watched.tells_nothing().await;
    writer.write_all(b"- two\n").unwrap();
    drop(writer);
    assert_eq!(watched.text().await, "routes:\n- one\n- two\n");
}

#[tokio::test]
async fn a_file_left_alone_and_other_files_tell_nothing() {
    let mut watched = Watched::plain();
    fs::write(watched.path("another.yaml"), "x").unwrap();
    fs::read(watched.path("gateway.yaml")).unwrap();
    watched.tells_nothing().await;
    watched.handle.reread();
    assert_eq!(watched.text().await, "first", "asked for, it is told again");
}

#[tokio::test]
async fn a_removed_file_is_told_and_so_is_its_return() {
    let mut watched = Watched::plain();
    fs::remove_file(watched.path("gateway.yaml")).unwrap();
    assert!(matches!(watched.next().await, Observation::Unreadable(_)));
    fs::write(watched.path("gateway.yaml"), "first").unwrap();
    assert_eq!(watched.text().await, "first");
}

#[tokio::test]
async fn the_watcher_ends_with_its_handle() {
    let Watched { dir: _dir, mut observations, handle } = Watched::plain();
    drop(handle);
    assert_eq!(observations.recv().await, None);
}
