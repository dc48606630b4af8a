//! The open listeners, in the words of the wire.

use crate::listener::{ListenerState, Protocols};
use crate::tls::{Serving, Terminator};
use proto::v1::{CertificateStatus, ListenerStatus};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn report(listeners: &[Arc<ListenerState>]) -> Vec<ListenerStatus> {
    listeners.iter().map(|listener| one(listener)).collect()
}

/// Whether each is as it should be, a byte each.
pub(super) fn states(listeners: &[Arc<ListenerState>]) -> impl Iterator<Item = u8> {
    listeners.iter().map(|listener| {
        let settings = listener.settings.load();
        u8::from(settings.tls.as_ref().and_then(|tls| problem(tls)).is_some())
    })
}

fn one(listener: &ListenerState) -> ListenerStatus {
    let settings = listener.settings.load();
    let Protocols { h2, http1 } = settings.protocols;
    let protocols = [(h2, "h2"), (http1, "http1")].into_iter().filter(|(spoken, _)| *spoken);
    let live = settings.tls.as_ref().and_then(|tls| tls.live());
    ListenerStatus {
        name: settings.name.to_string(),
        address: listener.address.to_string(),
        protocols: protocols.map(|(_, name)| name.to_owned()).collect(),
        connections: listener.connections.load(Ordering::Relaxed),
        turned_away: listener.turned_away.all().map(|(_, count)| count).sum(),
        tls: settings.tls.is_some(),
        certificates: live.iter().flat_map(|live| &live.certificates).map(certificate).collect(),
        problem: settings.tls.as_ref().and_then(|tls| problem(tls)).unwrap_or_default(),
    }
}

fn certificate(serving: &Serving) -> CertificateStatus {
    let Serving { path, facts } = serving;
    let names = match facts.dns_names.as_slice() {
        [] => vec![facts.subject.clone()],
        names => names.to_vec(),
    };
    let not_after_ms = i64::try_from(facts.not_after.as_millis()).unwrap_or(i64::MAX);
    CertificateStatus { path: path.display().to_string(), names, not_after_ms }
}

/// Files that cannot be used go before a certificate that is about to expire.
fn problem(tls: &Terminator) -> Option<String> {
    tls.fault().or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let live = tls.live()?;
        live.certificates.iter().find_map(|serving| serving.facts.complaint(now))
    })
}
