//! Whoever watches requests as they end. While nobody does, a request pays for one look at a word that never changes.
//!
//! What is seen waits in a channel of bounded length that is emptied ten times a second, so that a tap on everything
//! costs the same at any rate of requests; what finds it full is counted, and told.

use super::{Exchanged, recent};
use parking_lot::RwLock;
use proto::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Requests that wait to be told.
const WAITING: usize = 256;

/// How often they are told.
pub(crate) const EVERY: Duration = Duration::from_millis(100);

/// Taps that one instance serves at once.
const MOST: usize = 16;

/// All taps of this instance.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    any: AtomicBool,
    open: RwLock<Vec<Arc<Tap>>>,
}

#[derive(Debug)]
struct Tap {
    id: u64,
    wanted: Wanted,
    seen: mpsc::Sender<(u64, v1::PastRequest)>,
    dropped: AtomicU64,
}

/// Which requests a tap wants.
#[derive(Debug)]
struct Wanted(v1::Tap);

impl Taps {
    /// Called for every request that ends.
    #[inline]
    pub(crate) fn tell(&self, of: &Exchanged<'_>) {
        if self.any.load(Ordering::Relaxed) {
            self.tell_those_who_want(of);
        }
    }

    #[cold]
    fn tell_those_who_want(&self, of: &Exchanged<'_>) {
        for tap in self.open.read().iter().filter(|tap| tap.wanted.includes(of)) {
            match tap.seen.try_reserve() {
                Ok(place) => place.send((tap.id, recent::told(of))),
                Err(_) => drop(tap.dropped.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
}

impl Wanted {
    fn includes(&self, of: &Exchanged<'_>) -> bool {
        let v1::Tap { route, method, path_prefix, status_from, status_to } = &self.0;
        let status = u32::from(of.status);
        (route.is_empty() || of.route.is_some_and(|taken| *taken.name == **route))
            && (method.is_empty() || of.method == method)
            && of.path.starts_with(&**path_prefix)
            && (*status_from == 0 || (*status_from..=*status_to).contains(&status))
    }
}

/// The taps of one stream to the control plane: they end with it.
#[derive(Debug)]
pub(crate) struct Watching {
    taps: Arc<Taps>,
    sender: mpsc::Sender<(u64, v1::PastRequest)>,
    seen: mpsc::Receiver<(u64, v1::PastRequest)>,
}

impl Watching {
    pub(crate) fn new(taps: Arc<Taps>) -> Self {
        let (sender, seen) = mpsc::channel(WAITING);
        Self { taps, sender, seen }
    }

    /// # Errors
    /// Why there cannot be another one.
    pub(crate) fn begin(&self, id: u64, wanted: v1::Tap) -> Result<(), String> {
        let mut open = self.taps.open.write();
        if open.len() >= MOST {
            return Err(format!("{MOST} taps are open here already"));
        }
        let (wanted, seen) = (Wanted(wanted), self.sender.clone());
        open.push(Arc::new(Tap { id, wanted, seen, dropped: AtomicU64::new(0) }));
        self.taps.any.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn end(&self, id: u64) {
        self.keep(|tap| tap.id != id);
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.taps.any.load(Ordering::Relaxed)
    }

    /// What was seen since the last time, by tap.
    pub(crate) fn take(&mut self) -> BTreeMap<u64, v1::Tapped> {
        let mut told: BTreeMap<u64, v1::Tapped> = BTreeMap::new();
        while let Ok((id, request)) = self.seen.try_recv() {
            told.entry(id).or_default().requests.push(request);
        }
        for tap in self.taps.open.read().iter() {
            let dropped = tap.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                told.entry(tap.id).or_default().dropped = dropped;
            }
        }
        told
    }

    /// These could not be told either.
    pub(crate) fn give_up(&self, id: u64, tapped: &v1::Tapped) {
        if let Some(tap) = self.taps.open.read().iter().find(|tap| tap.id == id) {
            tap.dropped.fetch_add(tapped.dropped + tapped.requests.len() as u64, Ordering::Relaxed);
        }
    }

    fn keep(&self, wanted: impl Fn(&Tap) -> bool) {
        let mut open = self.taps.open.write();
        open.retain(|tap| wanted(tap));
        self.taps.any.store(!open.is_empty(), Ordering::Relaxed);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.keep(|tap| !tap.seen.same_channel(&self.sender));
    }
}
