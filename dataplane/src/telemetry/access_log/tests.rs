//! Outputs that are moved away, fail, or stand still.

use super::file::LogFile;
use super::output::{BATCH, Batch, QUEUE};
use super::*;
use policy::config::GatewayConfig;
use policy::filter::logging::WhenFull;
use rustix::fs::{CWD, Mode, OFlags};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

fn name(path: &Path) -> LogOutput {
    path.to_str().unwrap().parse().unwrap()
}

/// An output that is open.
fn output(path: &Path) -> Arc<Output> {
    let name = name(path);
    let file = LogFile::open(&name).unwrap();
    Arc::new(Output::start(name, Some(file), Arc::default()))
}

fn give(output: &Output, lines: &str) {
    let lines_in_it = lines.matches('\n').count() as u64;
    output.take(Batch { bytes: lines.as_bytes().to_vec(), lines: lines_in_it }).unwrap();
}

async fn idle(output: &Output) {
    timeout(PATIENCE, output.shared().until_idle()).await.expect("everything is written");
}

fn fifo(directory: &TempDir) -> std::path::PathBuf {
    let path = directory.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).unwrap();
    path
}

/// A reader that does not wait.
fn reader(fifo: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(fifo).unwrap()
}

/// What comes until there is nothing for now.
fn available(reader: &mut File, into: &mut Vec<u8>) {
    match reader.read_to_end(into) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        other => drop(other.unwrap()),
    }
}

/// Everything that comes until the output has written all it was handed.
fn all(output: &Output, reader: &mut File) -> String {
    let (mut bytes, since) = (Vec::new(), Instant::now());
    while !output.shared().is_idle() {
        available(reader, &mut bytes);
        assert!(since.elapsed() < PATIENCE);
    }
    available(reader, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn at_the_word_lines_go_on_in_a_new_file() {
    let directory = TempDir::new().unwrap();
    let (path, old) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let output = output(&path);
    give(&output, "a\nb\n");
    idle(&output).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0, "nobody else reads or runs it");
    fs::rename(&path, &old).unwrap();
    output.reopen();
    give(&output, "c\n");
    idle(&output).await;
    assert_eq!(
        (fs::read_to_string(&old).unwrap(), fs::read_to_string(&path).unwrap()),
        ("a\nb\n".into(), "c\n".into())
    );
    assert_eq!((output.shared().written(), output.shared().dropped()), (3, 0));
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_noticed_without_a_word() {
    let directory = TempDir::new().unwrap();
    let (path, old) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let output = output(&path);
    give(&output, "first\n");
    idle(&output).await;
    fs::rename(&path, &old).unwrap();
    let since = Instant::now();
    let mut given = 1;
    while !path.exists() {
        give(&output, "next\n");
        given += 1;
        idle(&output).await;
        assert!(since.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    let both = fs::read_to_string(&old).unwrap() + &fs::read_to_string(&path).unwrap();
    assert_eq!(both.lines().count(), given);
    assert_eq!(output.shared().dropped(), 0);
}

#[tokio::test]
async fn when_there_is_no_new_file_lines_go_on_in_the_old_one() {
    let directory = TempDir::new().unwrap();
    let (here, away) = (directory.path().join("here"), directory.path().join("away"));
    fs::create_dir(&here).unwrap();
    let output = output(&here.join("access.log"));
    fs::rename(&here, &away).unwrap();
    output.reopen();
    give(&output, "a\n");
    idle(&output).await;
    assert_eq!(fs::read_to_string(away.join("access.log")).unwrap(), "a\n");
    fs::create_dir(&here).unwrap();
    output.reopen();
    give(&output, "b\n");
    idle(&output).await;
    assert_eq!(fs::read_to_string(here.join("access.log")).unwrap(), "b\n");
}

#[tokio::test]
async fn lines_that_a_full_disk_does_not_take_are_counted_as_lost() {
    let output = output(Path::new("/dev/full"));
    give(&output, "a\nb\n");
    idle(&output).await;
    assert_eq!((output.shared().written(), output.shared().dropped()), (0, 2));
}

/// Until a pipe has no room for a page more, so that whoever writes to it stands still.
fn until_full(path: &Path) {
    let probe =
        OpenOptions::new().write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path).unwrap();
    let since = Instant::now();
    while rustix::event::poll(
        &mut [rustix::event::PollFd::new(&probe, rustix::event::PollFlags::OUT)],
        Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }),
    )
    .unwrap()
        > 0
    {
        assert!(since.elapsed() < PATIENCE);
    }
}

/// A write that failed in the middle of a line left a part of it, and the next line was glued to that part.
#[tokio::test]
async fn a_line_after_a_torn_one_is_whole() {
    let directory = TempDir::new().unwrap();
    let path = fifo(&directory);
    let first = reader(&path);
    let output = output(&path);
    // a pipe takes 64 KiB of it
    let long = "x".repeat(200_000) + "\n";
    give(&output, &long);
    until_full(&path);
    drop(first);
    idle(&output).await;
    assert_eq!((output.shared().written(), output.shared().dropped()), (0, 1));
    let mut second = reader(&path);
    give(&output, "next\n");
    let got = all(&output, &mut second);
    let lines: Vec<_> = got.lines().collect();
    assert_eq!(lines[1..], ["next"], "{} bytes of the torn line", lines[0].len());
}

/// A sink of which the output stands still, and its reader.
fn stalled(directory: &TempDir) -> (WorkerLog, Box<[std::rc::Rc<Sink>]>, File) {
    let path = fifo(directory);
    let reader = reader(&path);
    let log = AccessLog::default();
    let table = table(&[path.to_str().unwrap()]);
    let prepared = log.prepare(&table).unwrap();
    let worker = WorkerLog::default();
    let sinks = worker.sinks(&log.adopt(&table));
    drop(prepared);
    (worker, sinks, reader)
}

fn table(outputs: &[&str]) -> RouteTable {
    let config: GatewayConfig = serde_json::from_value(json!({
        "routes": [{"name": "all", "prefix": "/", "targets": [{"addr": "http://127.0.0.1:9"}]}],
        "global_filters": [{"logging": {"output": outputs}}],
    }))
    .unwrap();
    RouteTable::build(&config, None).unwrap()
}

#[test]
fn what_a_stalled_reader_does_not_take_is_dropped_and_counted_and_memory_is_bounded() {
    let directory = TempDir::new().unwrap();
    let (_worker, sinks, mut reader) = stalled(&directory);
    let (sink, line) = (&sinks[0], "x".repeat(999) + "\n");
    let (mut given, since) = (0, Instant::now());
    while sink.output.shared().dropped() < 1000 {
        sink.add(WhenFull::Drop, |to| to.extend_from_slice(line.as_bytes()));
        given += 1;
        assert!(since.elapsed() < PATIENCE);
    }
    assert!((8000..11_000).contains(&given), "8 MiB wait: {given}");
    let mut read = all(&sink.output, &mut reader);
    assert!(sink.hand_over());
    read += &all(&sink.output, &mut reader);
    let shared = sink.output.shared();
    assert_eq!(read.lines().count() as u64, shared.written());
    assert_eq!(shared.written() + shared.dropped(), given);
    assert!(read.lines().all(|one| one.len() == 999));
}

#[test]
fn requests_that_shall_wait_do_so_until_there_is_room_and_no_line_is_lost() {
    let directory = TempDir::new().unwrap();
    let (_worker, sinks, mut reader) = stalled(&directory);
    let (sink, line) = (&sinks[0], "x".repeat(999) + "\n");
    let cx = &mut Context::from_waker(Waker::noop());
    let mut given = 0;
    let mut fill = |cx: &mut Context<'_>| {
        while pin!(sink.room()).poll(cx).is_ready() {
            sink.add(WhenFull::Block, |to| to.extend_from_slice(line.as_bytes()));
            given += 1;
        }
    };
    fill(cx);
    // what the pipe takes makes room once more
    until_full(&directory.path().join("fifo"));
    fill(cx);
    // those that were on their way have their lines all the same
    for _ in 0..100 {
        sink.add(WhenFull::Block, |to| to.extend_from_slice(line.as_bytes()));
        given += 1;
    }
    let mut waiting = pin!(sink.room());
    assert!(waiting.as_mut().poll(cx).is_pending());
    let mut read = all(&sink.output, &mut reader);
    assert_eq!(waiting.as_mut().poll(cx), Poll::Ready(()));
    read += &all(&sink.output, &mut reader);
    assert_eq!((read.lines().count(), sink.output.shared().dropped()), (given, 0));
}

#[test]
fn clients_that_give_up_waiting_do_not_fill_the_memory() {
    let directory = TempDir::new().unwrap();
    let (_worker, sinks, _reader) = stalled(&directory);
    let (sink, line) = (&sinks[0], "x".repeat(8191) + "\n");
    // what is kept can be told only once nothing moves any more
    for _ in 0..8 {
        sink.add(WhenFull::Block, |to| to.extend_from_slice(line.as_bytes()));
    }
    until_full(&directory.path().join("fifo"));
    let add = |lines| {
        for _ in 0..lines {
            sink.add(WhenFull::Block, |to| to.extend_from_slice(line.as_bytes()));
        }
    };
    // one batch more than wait, so the writer has taken one and stands still
    let since = Instant::now();
    for _ in 0..=QUEUE {
        add(BATCH / line.len());
        while !sink.hand_over() {
            assert!(since.elapsed() < PATIENCE);
        }
    }
    add(4000 - (QUEUE + 1) * (BATCH / line.len()));
    let dropped = sink.output.shared().dropped();
    assert!(
        (1500..2500).contains(&dropped),
        "8 MiB wait, and 8 MiB more are kept: {dropped} of 32 were dropped"
    );
}

#[test]
fn a_place_that_frees_takes_one_batch_of_what_is_kept() {
    let directory = TempDir::new().unwrap();
    let (_worker, sinks, mut reader) = stalled(&directory);
    let (sink, line) = (&sinks[0], "x".repeat(8191) + "\n");
    let (shared, mut read, since) = (sink.output.shared(), Vec::new(), Instant::now());
    // the reader is slow, and between two of its reads many clients give up
    for given in (0..).step_by(2000).skip(1).take(50) {
        for _ in 0..2000 {
            sink.add(WhenFull::Block, |to| to.extend_from_slice(line.as_bytes()));
        }
        let before = read.len();
        while read.len() == before {
            available(&mut reader, &mut read);
            assert!(since.elapsed() < PATIENCE);
        }
        let held = given - shared.dropped() - (read.len() / line.len()) as u64;
        assert!(held * line.len() as u64 <= 17 << 20, "{held} lines of 8 KiB");
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_told_with_path_place_and_cause() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("missing/access.log");
    let (fine, folder) = (directory.path().join("fine.log"), directory.path().join("folder"));
    fs::create_dir(&folder).unwrap();
    let outputs = [&fine, &missing, &folder].map(|path| path.to_str().unwrap().to_owned());
    let log = AccessLog::default();
    let found = log.prepare(&table(&outputs.each_ref().map(String::as_str))).unwrap_err();
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.code, &*first.path), (Code::LOG_OUTPUT, "global_filters[0].logging.output"));
    assert!(
        first
            .message
            .starts_with(&format!("the access log {} cannot be written: No such", missing.display()))
    );
    assert_eq!(
        first.help.as_deref(),
        Some(&*format!("create the directory {}/missing", directory.path().display()))
    );
    assert!(second.message.ends_with("Is a directory (os error 21)"), "{second:?}");
    assert!(
        log.known.lock().values().all(|known| known.output.strong_count() == 0),
        "what was opened is closed"
    );

    let nobody_reads = fifo(&directory);
    let found = log.prepare(&table(&[nobody_reads.to_str().unwrap()])).unwrap_err();
    assert!(found[0].help.as_deref().unwrap().contains("start the reader first"), "{found:?}");
}

#[tokio::test]
async fn an_output_lives_as_long_as_a_table_has_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("access.log");
    let log = AccessLog::default();
    let with = table(&[path.to_str().unwrap()]);
    let prepared = log.prepare(&with).unwrap();
    log.adopt(&with);
    drop(prepared);
    let first = log.living(&name(&path)).unwrap();
    log.adopt(&with);
    assert!(Arc::ptr_eq(&first, &log.living(&name(&path)).unwrap()), "the next table writes by the same");
    give(&first, "a\n");
    log.adopt(&table(&["stderr"]));
    drop(first);
    assert!(log.living(&name(&path)).is_none());
    log.finish(PATIENCE).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "a\n", "what was handed over is written all the same");

    log.adopt(&with);
    give(&log.living(&name(&path)).unwrap(), "b\n");
    log.finish(PATIENCE).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    let counts = LineCounts { output: path.display().to_string(), written: 2, dropped: 0 };
    assert_eq!(log.counts(), [counts], "counters go on");
}

#[tokio::test]
async fn an_output_that_cannot_be_opened_is_tried_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("later/access.log");
    let log = AccessLog::default();
    // as after a restart, when the snapshot on disk serves whatever has become of its log
    log.adopt(&table(&[path.to_str().unwrap()]));
    let output = log.living(&name(&path)).unwrap();
    give(&output, "a\n");
    idle(&output).await;
    assert_eq!(output.shared().dropped(), 1);
    fs::create_dir(directory.path().join("later")).unwrap();
    let since = Instant::now();
    while !path.exists() {
        give(&output, "b\n");
        idle(&output).await;
        assert!(since.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
}
