//! The keys of token issuers, fetched on the control thread of each data plane.
//!
//! Here and not in the control plane: an issuer rotates its keys whenever it likes, and tokens must be judged rightly
//! also while the control plane is away. What keys mean is decided by `policy`; here are the tasks, one for each URL.

mod fetch;

use crate::clock;
use crate::gateway::Gateway;
use fetch::{Client, Fetched};
use policy::auth::jwt::KeySet;
use policy::retry::ceiling;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long keys are good without a word of the issuer on it.
const USUAL_AGE: Duration = Duration::from_secs(600);

/// An issuer that allows less is asked too often, one that allows more could not take a key back.
const AGES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(24 * 3600));

/// After failures in a row.
const RETRIES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The instances of a fleet ask up to so much earlier, each by chance.
const JITTER: f64 = 0.1;

/// The one task that sees to all fetches.
pub(crate) struct KeyFetching {
    gateway: Arc<Gateway>,
    client: Arc<Client>,
    fetchers: HashMap<String, Fetcher>,
}

/// The task of one set; dropped, it stops.
struct Fetcher {
    set: Arc<KeySet>,
    task: JoinHandle<()>,
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeyFetching {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway, client: Arc::default(), fetchers: HashMap::new() }
    }

    /// Follows the table until the runtime ends.
    pub(crate) async fn run(mut self) {
        let mut published = self.gateway.published();
        published.mark_changed();
        // the sender lives in `self.gateway`
        while published.changed().await.is_ok() {
            let sets = self.gateway.table().map(|table| table.key_sets.all());
            self.follow(sets.unwrap_or_default());
        }
    }

    /// One task for each set: those that stay go on, the others begin or end.
    fn follow(&mut self, sets: Vec<Arc<KeySet>>) {
        let mut before = std::mem::take(&mut self.fetchers);
        for set in sets {
            let url = set.url().to_string();
            let same = before.remove(&url).filter(|fetcher| fetcher.goes_on(&set));
            let fetcher = same.unwrap_or_else(|| Fetcher::start(set, Arc::clone(&self.client)));
            self.fetchers.insert(url, fetcher);
        }
    }
}

impl Fetcher {
    fn start(set: Arc<KeySet>, client: Arc<Client>) -> Self {
        let task = tokio::spawn(keep_fresh(Arc::clone(&set), client));
        Self { set, task }
    }

    fn goes_on(&self, set: &Arc<KeySet>) -> bool {
        Arc::ptr_eq(&self.set, set) && !self.task.is_finished()
    }
}

/// Fetches, waits until the keys are old or somebody misses one, again.
async fn keep_fresh(set: Arc<KeySet>, client: Arc<Client>) {
    let mut failures = 0;
    loop {
        let pause = match fetch_once(&set, &client).await {
            Ok(max_age) => {
                failures = 0;
                age(max_age)
            }
            Err(()) => {
                failures += 1;
                retry_after(failures)
            }
        };
        let early = pause.mul_f64(1.0 - JITTER * fastrand::f64());
        set.fetch_due(clock::now().after(early));
        tokio::select! {
            () = tokio::time::sleep(early) => {}
            () = set.asked() => tracing::debug!(url = %set.url(), "a token names an unknown key"),
        }
    }
}

/// How long the keys are good, as the issuer says.
async fn fetch_once(set: &KeySet, client: &Client) -> Result<Option<Duration>, ()> {
    let was_well = set.view().error.is_none();
    set.fetch_began();
    let fetched = client.fetch(set.url()).await;
    let max_age = fetched.as_ref().ok().and_then(|fetched| fetched.max_age);
    let document = match &fetched {
        Ok(Fetched { document, .. }) => Ok(&document[..]),
        Err(why) => Err(why.clone()),
    };
    match set.fetch_ended(document, clock::now()) {
        Ok(loaded) => {
            if loaded.changed || !was_well {
                let url = set.url();
                tracing::info!(%url, keys = loaded.keys, changed = loaded.changed, "keys of tokens loaded");
            }
            Ok(max_age)
        }
        Err(reason) => {
            // the first one of a row is enough to know
            if was_well {
                let kept = set.was_loaded();
                tracing::warn!(url = %set.url(), reason, kept, "the keys of tokens cannot be fetched");
            }
            Err(())
        }
    }
}

fn age(max_age: Option<Duration>) -> Duration {
    max_age.unwrap_or(USUAL_AGE).clamp(AGES.0, AGES.1)
}

fn retry_after(failures: u32) -> Duration {
    ceiling(RETRIES.0, RETRIES.1, failures.saturating_sub(1))
}

#[cfg(test)]
mod tests;
