//! Files of TLS that change while they are in use: new ones are taken up, broken ones told of.

use super::{Reloaded, Terminator};
use crate::dial::TlsClient;
use crate::gateway::Gateway;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

/// A look is one `stat` for each file.
const EVERY: Duration = Duration::from_secs(2);

/// Looks after the files of every listener and of every upstream; never ends.
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
        let serving = gateway.serving();
        let clients = serving.iter().flat_map(|serving| serving.transports.tls_clients());
        let clients: Vec<Arc<TlsClient>> = clients.cloned().collect();
        if served.is_empty() && clients.is_empty() {
            continue;
        }
        let looked = spawn_blocking(move || {
            served.iter().for_each(|(name, tls)| look_at_listener(name, tls));
            clients.iter().for_each(|client| look_at_upstream(client));
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "looking at the files of TLS failed");
        }
    }
}

fn look_at_listener(listener: &str, tls: &Terminator) {
    match tls.reload() {
        Reloaded::Unchanged => {}
        Reloaded::Used => tracing::info!(listener, "new files of TLS are served"),
        Reloaded::Refused(problems) => tracing::error!(
            listener,
            problems,
            "new files of TLS cannot be used: the last good ones are served"
        ),
    }
}

fn look_at_upstream(tls: &TlsClient) {
    match tls.reload() {
        Reloaded::Unchanged => {}
        Reloaded::Used => {
            let files: Vec<_> = tls.files().map(|file| file.as_path()).collect();
            tracing::info!(?files, "new files of TLS towards targets are used");
        }
        Reloaded::Refused(problems) => tracing::error!(
            problems,
            "new files of TLS towards targets cannot be used: the last good ones are"
        ),
    }
}
