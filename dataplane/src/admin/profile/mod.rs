//! Where the processor's time goes: samples of all threads for some seconds, as `go tool pprof` reads them, or as a
//! picture.

mod format;

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report};
use prost::Message as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// Samples of each second of processor time; not 100, so that nothing that happens each 10 ms is always met, or never.
const FREQUENCY: i32 = 99;
/// As long as Go takes when it is not told.
const USUAL: u64 = 30;
const LONGEST: u64 = 120;

/// What a profile is wanted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `profile.proto` of google/pprof, compressed.
    Pprof,
    /// SVG.
    FlameGraph,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoProfile {
    #[error("`seconds` is a whole number from 1 to {LONGEST}, not {0:?}")]
    Seconds(String),
    #[error(
        "this program was built without frame pointers, and a profile would name the wrong functions: build it with \
         RUSTFLAGS=\"-C force-frame-pointers=yes\""
    )]
    NoFramePointers,
    #[error("another profile is being taken; one at a time")]
    Busy,
    #[error("no samples: this process had nothing to do in these {0} seconds")]
    Idle(u64),
    #[error("the profiler does not work here: {0}")]
    Failed(String),
}

/// Takes them, one at a time: there is one timer for all threads of a process.
#[derive(Debug, Clone)]
pub(super) struct Profiles(Arc<Semaphore>);

impl Default for Profiles {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Profiles {
    /// Samples for as long as the query says. It ends early when nobody waits for it any more.
    pub(super) async fn take(&self, query: Option<&str>, form: Form) -> Result<Vec<u8>, NoProfile> {
        let seconds = seconds(query)?;
        if cfg!(frame_pointers) { self.sample(seconds, form).await } else { Err(NoProfile::NoFramePointers) }
    }

    async fn sample(&self, seconds: u64, form: Form) -> Result<Vec<u8>, NoProfile> {
        let turn = Arc::clone(&self.0).try_acquire_owned().map_err(|_| NoProfile::Busy)?;
        let running = blocking(|| Running::start(turn)).await??;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        blocking(move || running.finish(form, seconds)).await?
    }
}

/// Names of functions are looked up in the program's file: not on the thread that answers probes.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoProfile> {
    spawn_blocking(work).await.map_err(|panicked| NoProfile::Failed(panicked.to_string()))
}

fn seconds(query: Option<&str>) -> Result<u64, NoProfile> {
    let mut parameters = query.unwrap_or("").split('&').filter_map(|one| one.split_once('='));
    let Some((_, text)) = parameters.find(|(key, _)| *key == "seconds") else { return Ok(USUAL) };
    match text.parse() {
        Ok(seconds @ 1..=LONGEST) => Ok(seconds),
        _ => Err(NoProfile::Seconds(text.to_owned())),
    }
}

/// The timer runs, until this is dropped.
struct Running {
    guard: ProfilerGuard<'static>,
    _turn: OwnedSemaphorePermit,
}

impl Running {
    fn start(turn: OwnedSemaphorePermit) -> Result<Self, NoProfile> {
        let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).build().map_err(failed)?;
        Ok(Self { guard, _turn: turn })
    }

    fn finish(self, form: Form, seconds: u64) -> Result<Vec<u8>, NoProfile> {
        let report = self.guard.report().build().map_err(failed)?;
        match form {
            Form::Pprof => compressed(&report),
            Form::FlameGraph if report.data.is_empty() => Err(NoProfile::Idle(seconds)),
            Form::FlameGraph => {
                let mut picture = Vec::new();
                report.flamegraph(&mut picture).map_err(failed)?;
                Ok(picture)
            }
        }
    }
}

fn compressed(report: &Report) -> Result<Vec<u8>, NoProfile> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&format::profile(report).encode_to_vec()).map_err(failed)?;
    gzip.finish().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> NoProfile {
    NoProfile::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_bounded_and_mostly_left_out() {
        for (query, expected) in [
            (None, Ok(USUAL)),
            (Some(""), Ok(USUAL)),
            (Some("debug=1"), Ok(USUAL)),
            (Some("seconds=1"), Ok(1)),
            (Some("debug=1&seconds=120"), Ok(120)),
            (Some("seconds=0"), Err("0")),
            (Some("seconds=121"), Err("121")),
            (Some("seconds=1.5"), Err("1.5")),
            (Some("seconds=-1"), Err("-1")),
            (Some("seconds="), Err("")),
        ] {
            let expected = expected.map_err(|text: &str| NoProfile::Seconds(text.to_owned()));
            assert_eq!(seconds(query), expected, "{query:?}");
        }
    }

    #[tokio::test]
    async fn one_at_a_time_and_none_of_nothing() {
        let profiles = Profiles::default();
        let other = profiles.clone();
        let first = tokio::spawn(async move { other.sample(1, Form::FlameGraph).await });
        while profiles.0.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(profiles.sample(1, Form::Pprof).await, Err(NoProfile::Busy));
        // whether or not anything ran meanwhile
        let first = first.await.expect("no panic");
        assert!(
            first.as_ref().is_ok_and(|svg| svg.starts_with(b"<?xml")) || first == Err(NoProfile::Idle(1))
        );
        let taken = profiles.sample(1, Form::Pprof).await.expect("a profile");
        assert_eq!(taken[..2], [0x1f, 0x8b], "gzip");
    }
}
