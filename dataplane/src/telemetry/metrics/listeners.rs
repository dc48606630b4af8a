//! What is told of listeners: who comes by them, who is turned away, how long their certificates hold.

use super::page::{Kind, Page};
use crate::listener::{ListenerSettings, ListenerState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) fn write(page: &mut Page, listeners: &[Arc<ListenerState>]) {
    let settings = |listener: &Arc<ListenerState>| (listener.clone(), listener.settings.load_full());
    let listeners: Vec<(Arc<ListenerState>, Arc<ListenerSettings>)> =
        listeners.iter().map(settings).collect();

    let help = "Client connections that came by a listener.";
    let mut family = page.family(Kind::Gauge, "gateway_listener_connections", help);
    for (listener, settings) in &listeners {
        let connections = listener.connections.load(Ordering::Relaxed);
        family.sample(&[("listener", &settings.name)], connections);
    }
    let help = "Connections that ended before they could ask for anything, by reason.";
    let mut family = page.family(Kind::Counter, "gateway_connections_turned_away_total", help);
    for (listener, settings) in &listeners {
        for (why, count) in listener.turned_away.all() {
            family.sample(&[("listener", &settings.name), ("reason", why.reason())], count);
        }
    }

    let secure = || {
        listeners.iter().filter_map(|(listener, settings)| Some((listener, settings, settings.tls.as_ref()?)))
    };
    let help = "Handshakes of TLS that succeeded, by version and by whether they resumed a session.";
    let mut family = page.family(Kind::Counter, "gateway_tls_handshakes_total", help);
    for (listener, settings, _) in secure() {
        for (version, resumed, count) in listener.handshakes.all() {
            let resumed = if resumed { "true" } else { "false" };
            family.sample(&[("listener", &settings.name), ("version", version), ("resumed", resumed)], count);
        }
    }
    let help = "Until when a certificate holds that clients are shown, in seconds since 1970.";
    let mut family = page.family(Kind::Gauge, "gateway_tls_certificate_expiry_timestamp_seconds", help);
    for (_, settings, tls) in secure() {
        for serving in tls.live().iter().flat_map(|live| &live.certificates) {
            let path = serving.path.to_string_lossy();
            let labels = [("listener", &*settings.name), ("name", serving.facts.name()), ("path", &*path)];
            family.sample(&labels, serving.facts.not_after.as_secs());
        }
    }
    let help = "Whether the files of a listener's TLS, as they are now, cannot be used: 1, or 0.";
    let mut family = page.family(Kind::Gauge, "gateway_tls_files_broken", help);
    for (_, settings, tls) in secure() {
        family.sample(&[("listener", &settings.name)], u64::from(tls.fault().is_some()));
    }
}
