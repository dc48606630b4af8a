//! The names of targets and their addresses: looked up in the background, kept while nobody answers.
//!
//! A name with several addresses is one target. Its connections go to each address in turn, and to the next one when an
//! address takes none; so weights stay what they are, whatever a name stands for. A request waits for an answer only
//! while there has never been one.

mod resolver;

pub(super) use resolver::Resolvers;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use policy::config::transport::DnsConfig;
use resolver::Answer;
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The longest pause between questions while there is no answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A name that is looked up for as long as this lives.
#[derive(Debug)]
pub(crate) struct Name {
    host: Arc<str>,
    config: DnsConfig,
    addresses: ArcSwap<Vec<IpAddr>>,
    /// Counts the changes of `addresses`.
    epoch: AtomicU64,
    /// Whose turn it is.
    turn: AtomicUsize,
    /// Why the last question had no answer.
    error: Mutex<Option<String>>,
    /// Whether the first question has had an answer, or none.
    settled: watch::Sender<bool>,
}

/// The address that a connection was made to, and whether the name still has it.
#[derive(Debug)]
pub(crate) struct Origin {
    name: Arc<Name>,
    address: IpAddr,
    /// When the name was last seen to have it.
    epoch: Cell<u64>,
}

impl Name {
    /// Looks the name up at once, and then whenever an answer grows old; on the current runtime.
    pub(super) fn follow(host: &str, config: &DnsConfig, resolvers: &Arc<Resolvers>) -> Arc<Self> {
        let name = Arc::new(Self {
            host: host.into(),
            config: config.clone(),
            addresses: ArcSwap::default(),
            epoch: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            error: Mutex::new(None),
            settled: watch::Sender::new(false),
        });
        tokio::spawn(keep_up(Arc::downgrade(&name), Arc::clone(resolvers)));
        name
    }

    /// Those of the last answer.
    pub(crate) fn addresses(&self) -> Arc<Vec<IpAddr>> {
        self.addresses.load_full()
    }

    /// Why the last question had no answer; `None` when it had one.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    /// Waits until the first question has had an answer, or none.
    pub(super) async fn settled(&self) {
        // the sender lives in `self`
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// All addresses, beginning with the one whose turn it is.
    ///
    /// # Errors
    /// Why there has never been one.
    pub(super) async fn in_turn(&self) -> Result<Vec<IpAddr>, String> {
        if self.addresses.load().is_empty() {
            self.settled().await;
        }
        let mut addresses = Vec::clone(&self.addresses.load());
        if addresses.is_empty() {
            return Err(self.last_error().unwrap_or_else(|| "no answer".to_owned()));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
        addresses.rotate_left(turn);
        Ok(addresses)
    }

    /// How long to wait until the next question.
    fn take(&self, answer: Result<Answer, String>, failures: &mut u32) -> Duration {
        let (min, max) = (self.config.min_ttl.get(), self.config.max_ttl.get());
        let pause = match answer {
            Ok(Answer { addresses, ttl }) => {
                *failures = 0;
                *self.error.lock() = None;
                self.change_to(addresses);
                ttl.clamp(min, max)
            }
            Err(error) => {
                let kept = self.addresses.load().len();
                tracing::warn!(name = &*self.host, error, kept, "a name of a target was not resolved");
                *self.error.lock() = Some(error);
                let pause = min.saturating_mul(1 << (*failures).min(16));
                *failures += 1;
                pause.min(LONGEST_PAUSE.max(min))
            }
        };
        self.settled.send_replace(true);
        pause
    }

    fn change_to(&self, mut addresses: Vec<IpAddr>) {
        // servers answer in an order that changes
        addresses.sort_unstable();
        addresses.dedup();
        if **self.addresses.load() == addresses {
            return;
        }
        tracing::info!(name = &*self.host, ?addresses, "a name of a target has new addresses");
        self.addresses.store(Arc::new(addresses));
        self.epoch.fetch_add(1, Ordering::Release);
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addresses.load().contains(&address)
    }
}

async fn keep_up(name: Weak<Name>, resolvers: Arc<Resolvers>) {
    let mut failures = 0;
    loop {
        // what nobody wants to know any more is not asked
        let Some(strong) = name.upgrade() else { return };
        let (host, servers) = (Arc::clone(&strong.host), strong.config.servers.clone());
        drop(strong);
        let answer = resolvers.resolve(&host, &servers).await;
        let Some(strong) = name.upgrade() else { return };
        let pause = strong.take(answer, &mut failures);
        drop(strong);
        sleep(pause).await;
    }
}

impl Origin {
    pub(super) fn new(name: Arc<Name>, address: IpAddr) -> Self {
        // not the current epoch: the name may have changed while the connection was made
        Self { name, address, epoch: Cell::new(0) }
    }

    /// Whether the name still stands for the address: a connection to another one serves what it has begun, and no more.
    pub(crate) fn is_current(&self) -> bool {
        let epoch = self.name.epoch.load(Ordering::Acquire);
        if epoch != self.epoch.get() {
            if !self.name.has(self.address) {
                return false;
            }
            self.epoch.set(epoch);
        }
        true
    }
}

#[cfg(test)]
mod tests;
