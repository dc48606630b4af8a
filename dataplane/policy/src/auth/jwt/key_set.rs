//! The keys of an issuer that publishes them: fetched by the data plane, read by its workers.

use super::key::Keys;
use crate::clock::Now;
use arc_swap::ArcSwapOption;
use event_listener::{Event, EventListener};
use http::Uri;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Unknown keys cause at most one fetch in such a time: whoever sends forged tokens must not choose our pace.
const BETWEEN_ASKED: Duration = Duration::from_secs(10);

/// One set; all routes that name its URL share it.
#[derive(Debug)]
pub struct KeySet {
    url: Uri,
    keys: ArcSwapOption<Keys>,
    /// Counts the sets that differed from the one before.
    epoch: AtomicU64,
    fetching: AtomicBool,
    wanted: AtomicBool,
    next_ask: AtomicU64,
    want: Event,
    fetched: Event,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    document: Vec<u8>,
    loaded: Option<Now>,
    failed: Option<(Now, String)>,
    next: Option<Now>,
    fetches: u64,
    failures: u64,
}

/// How a key set is, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetView {
    /// Where it comes from.
    pub url: String,
    /// How many keys can be used.
    pub keys: usize,
    /// How often the keys have changed, the first set included.
    pub changes: u64,
    /// When it was last fetched as it should be.
    pub loaded: Option<Now>,
    /// Why the last fetch failed, and when; none if it did not.
    pub error: Option<(Now, String)>,
    /// When it will be fetched, if no token asks for it earlier; none while that is under way.
    pub next: Option<Now>,
    /// Fetches that have ended.
    pub fetches: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// Resolves when the fetch that is under way has ended, well or not.
#[derive(Debug)]
pub struct KeyWait(EventListener);

impl KeyWait {
    /// Nobody should wait longer: then the token is refused.
    pub const AT_MOST: Duration = Duration::from_secs(1);
}

impl Future for KeyWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl KeySet {
    /// A set that is still to be fetched.
    pub fn new(url: Uri) -> Self {
        Self {
            url,
            keys: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            fetching: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            next_ask: AtomicU64::new(0),
            want: Event::new(),
            fetched: Event::new(),
            history: Mutex::default(),
        }
    }

    /// Where it is to be fetched.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// Whether there ever were keys.
    pub fn was_loaded(&self) -> bool {
        self.epoch() > 0
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(super) fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.load_full()
    }

    /// Asks for a fetch because a key is missing; none if that was done a moment ago and has ended.
    pub fn ask(&self, now: Now) -> Option<KeyWait> {
        // before the flag is read: what ends in between wakes us
        let ended = self.fetched.listen();
        if self.fetching.load(Ordering::Acquire) {
            return Some(KeyWait(ended));
        }
        let next = self.next_ask.load(Ordering::Relaxed);
        let later = now.after(BETWEEN_ASKED).as_nanos();
        let mine = now.as_nanos() >= next
            && self.next_ask.compare_exchange(next, later, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if mine {
            self.wanted.store(true, Ordering::Release);
            self.want.notify(usize::MAX);
        }
        // who lost the race waits for the fetch of who won it
        (mine || self.wanted.load(Ordering::Acquire)).then_some(KeyWait(ended))
    }

    /// Whether [`KeySet::ask`] would have something to wait for.
    pub fn would_ask(&self, now: Now) -> bool {
        let under_way = self.fetching.load(Ordering::Acquire) || self.wanted.load(Ordering::Acquire);
        under_way || now.as_nanos() >= self.next_ask.load(Ordering::Relaxed)
    }

    /// Resolves when somebody has asked: for the one task that fetches this set.
    pub async fn asked(&self) {
        loop {
            let want = self.want.listen();
            if self.wanted.load(Ordering::Acquire) {
                return;
            }
            want.await;
        }
    }

    /// A fetch begins: who misses a key waits for its end.
    pub fn fetch_began(&self) {
        self.fetching.store(true, Ordering::Release);
        self.wanted.store(false, Ordering::Release);
        self.history.lock().next = None;
    }

    /// The next fetch is due then.
    pub fn fetch_due(&self, next: Now) {
        self.history.lock().next = Some(next);
    }

    /// Whether the last fetch was well, and whether there are keys: what an operator should hear of soon.
    pub fn standing(&self) -> (bool, bool) {
        (self.history.lock().failed.is_none(), self.was_loaded())
    }

    /// A fetch has ended with a JWK set, or with the reason why there is none; then the last good one stays.
    ///
    /// # Errors
    /// Why the document, or the fetch, was of no use.
    pub fn fetch_ended(&self, document: Result<&[u8], String>, now: Now) -> Result<Loaded, String> {
        let read = |document| match Keys::from_jwks(document) {
            Ok(keys) => Ok((document, keys)),
            Err(why) => Err(format!("the JWK set cannot be used: {why}")),
        };
        let result = self.keep(document.and_then(read), now);
        self.fetching.store(false, Ordering::Release);
        self.fetched.notify(usize::MAX);
        result
    }

    fn keep(&self, read: Result<(&[u8], Keys), String>, now: Now) -> Result<Loaded, String> {
        let mut history = self.history.lock();
        history.fetches += 1;
        match read {
            Err(why) => {
                history.failures += 1;
                history.failed = Some((now, why.clone()));
                Err(why)
            }
            Ok((document, keys)) => {
                history.loaded = Some(now);
                history.failed = None;
                let (changed, count) = (history.document != document, keys.len());
                if changed {
                    history.document = document.to_vec();
                    // the keys first: what was checked by the old ones is remembered under the old epoch
                    self.keys.store(Some(Arc::new(keys)));
                    self.epoch.fetch_add(1, Ordering::AcqRel);
                }
                Ok(Loaded { keys: count, changed })
            }
        }
    }

    /// How it is.
    pub fn view(&self) -> KeySetView {
        let history = self.history.lock();
        KeySetView {
            url: self.url.to_string(),
            keys: self.keys.load().as_ref().map_or(0, |keys| keys.len()),
            changes: self.epoch(),
            loaded: history.loaded,
            error: history.failed.clone(),
            next: history.next,
            fetches: history.fetches,
            failures: history.failures,
        }
    }
}

/// What a fetch has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Keys that can be used.
    pub keys: usize,
    /// They differ from those before.
    pub changed: bool,
}

/// The key sets of a table by their URL: each exists once, however many routes name it, and goes on from table to table.
#[derive(Debug, Default)]
pub struct KeySets {
    before: HashMap<String, Arc<KeySet>>,
    used: Mutex<HashMap<String, Arc<KeySet>>>,
}

impl KeySets {
    /// For a table that follows one with these.
    pub fn after(previous: Option<&Self>) -> Self {
        Self {
            before: previous.map(|sets| sets.used.lock().clone()).unwrap_or_default(),
            used: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, url: &Uri) -> Arc<KeySet> {
        let url_text = url.to_string();
        let known =
            || self.before.get(&url_text).cloned().unwrap_or_else(|| Arc::new(KeySet::new(url.clone())));
        Arc::clone(self.used.lock().entry(url_text.clone()).or_insert_with(known))
    }

    pub(super) fn keep(&self, set: &Arc<KeySet>) {
        self.used.lock().insert(set.url.to_string(), Arc::clone(set));
    }

    /// Those that the table's entries go by.
    pub fn all(&self) -> Vec<Arc<KeySet>> {
        let used = self.used.lock();
        let mut all: Vec<_> = used.iter().collect();
        // whoever lists them does so in the same order each time
        all.sort_unstable_by_key(|(url, _)| *url);
        all.into_iter().map(|(_, set)| Arc::clone(set)).collect()
    }
}
