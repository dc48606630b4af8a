//! Files of TLS that change while they are served: new ones are taken up, broken ones told of.

use super::Terminator;
use super::terminator::{Reloaded, words};
use crate::gateway::Gateway;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

/// A look is one `stat` for each file.
const EVERY: Duration = Duration::from_secs(2);

/// Looks after the files of every listener; never ends.
pub(crate) async fn watch(gateway: Arc<Gateway>) {
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let listeners = gateway.listeners();
        let served: Vec<(Arc<str>, Arc<Terminator>)> = listeners
            .iter()
            .filter_map(|listener| {
                let settings = listener.settings.load();
                Some((settings.name.clone(), settings.tls.clone()?))
            })
            .collect();
        if served.is_empty() {
            continue;
        }
        let looked = spawn_blocking(move || served.iter().for_each(|(name, tls)| look(name, tls))).await;
        if let Err(error) = looked {
            tracing::error!(%error, "looking at the files of TLS failed");
        }
    }
}

fn look(listener: &str, tls: &Terminator) {
    match tls.reload() {
        Reloaded::Unchanged => {}
        Reloaded::Served => tracing::info!(listener, "new files of TLS are served"),
        Reloaded::Refused(bad) => {
            let problems = words(&bad);
            tracing::error!(
                listener,
                problems,
                "new files of TLS cannot be used: the last good ones are served"
            );
        }
    }
}
