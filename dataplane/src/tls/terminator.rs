//! The TLS of one listener: handshakes are made with its files as they were when they were last good.

use super::file::BadFile;
use super::followed::{Followed, Reloaded};
use super::material::{Digest, Expired, Loaded, Material, Serving};
use super::resolver::Certificates;
use super::{ALPN_H2, ALPN_HTTP1, provider};
use arc_swap::ArcSwapOption;
use policy::config::leaf::FilePath;
use policy::config::listener::{ClientAuth, HttpProtocol, ListenerTlsConfig, TlsVersion};
use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;

/// What the handshakes of a listener are made with, and the files that it comes from.
#[derive(Debug)]
pub(crate) struct Terminator {
    config: ListenerTlsConfig,
    protocols: Vec<HttpProtocol>,
    live: ArcSwapOption<Live>,
    followed: Followed,
}

/// Good files, ready to serve.
#[derive(Debug)]
pub(crate) struct Live {
    /// What a handshake takes.
    pub(crate) server: Arc<ServerConfig>,
    /// In the order of the config.
    pub(crate) certificates: Vec<Serving>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    /// Whose certificates clients may show, as read.
    authorities: Vec<u8>,
    digest: Digest,
}

impl Terminator {
    /// Reads every file. On a blocking thread.
    ///
    /// # Errors
    /// Each file that cannot be used.
    pub(crate) fn load(config: &ListenerTlsConfig, protocols: &[HttpProtocol]) -> Result<Self, Vec<BadFile>> {
        let terminator = Self::unread(config, protocols);
        terminator.read(Expired::Refused)?;
        Ok(terminator)
    }

    /// The same for a listener that has served before the process was started: an expired certificate is better than none,
    /// and while there is none, the others serve. What is wrong is told by the terminator.
    pub(crate) fn restore(config: &ListenerTlsConfig, protocols: &[HttpProtocol]) -> Self {
        let terminator = Self::unread(config, protocols);
        let read = || terminator.read(Expired::Served).map_err(|bad| words(&bad));
        terminator.followed.read(terminator.files(), read);
        terminator
    }

    fn unread(config: &ListenerTlsConfig, protocols: &[HttpProtocol]) -> Self {
        Self {
            config: config.clone(),
            protocols: protocols.to_vec(),
            live: ArcSwapOption::empty(),
            followed: Followed::of(config.files().map(|(_, file)| file)),
        }
    }

    fn files(&self) -> impl Iterator<Item = &FilePath> {
        self.config.files().map(|(_, file)| file)
    }

    /// Whether it does what this config says.
    pub(crate) fn is_of(&self, config: &ListenerTlsConfig, protocols: &[HttpProtocol]) -> bool {
        self.config == *config && self.protocols == protocols
    }

    /// What handshakes are made with now; none where the files could never be used.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Why the files, as they are now, are not served.
    pub(crate) fn fault(&self) -> Option<String> {
        self.followed.fault()
    }

    /// Looks whether files have changed, and serves them if they are good. On a blocking thread.
    pub(crate) fn reload(&self) -> Reloaded {
        self.followed.reload(self.files(), || self.read(Expired::Refused).map_err(|bad| words(&bad)))
    }

    /// Whether what is served is other than before.
    fn read(&self, expired: Expired) -> Result<bool, Vec<BadFile>> {
        let material = Material::read(&self.config, expired)?;
        let before = self.live();
        if before.as_ref().is_some_and(|before| before.digest == material.digest) {
            return Ok(false);
        }
        let live = Live::build(&self.config, &self.protocols, material, before.as_deref())?;
        self.live.store(Some(Arc::new(live)));
        Ok(true)
    }
}

impl Live {
    fn build(
        config: &ListenerTlsConfig,
        protocols: &[HttpProtocol],
        material: Material,
        before: Option<&Live>,
    ) -> Result<Self, Vec<BadFile>> {
        let Material { first, others, client_ca, digest } = material;
        let failed =
            |error: &dyn std::fmt::Display| vec![BadFile::new(&first.serving.path, error.to_string())];
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(config.min_version))
            .map_err(|error| failed(&error))?;
        let (authorities, roots) =
            client_ca.map_or_else(Default::default, |(content, roots)| (content, Some(roots)));
        let builder = match roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = match config.client_auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    ClientAuth::Off | ClientAuth::Required => verifier,
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| failed(&error))?)
            }
        };
        let mut resolver = Certificates::new(first.key.clone());
        for Loaded { key, serving } in std::iter::once(&first).chain(&others) {
            serving.facts.dns_names.iter().for_each(|name| resolver.add(name.clone(), key.clone()));
        }
        let mut server = builder.with_cert_resolver(Arc::new(resolver));
        server.alpn_protocols = alpn(protocols);
        // a session is in its ticket, or nowhere
        server.session_storage = Arc::new(NoServerSessionStorage {});
        // a ticket says that its client has shown a certificate, so it must not outlive the trust in that
        let kept = before
            .filter(|before| before.authorities == authorities)
            .and_then(|before| before.tickets.clone());
        let tickets = match (config.session_tickets, kept) {
            (false, _) => None,
            (true, Some(kept)) => Some(kept),
            (true, None) => Some(Ticketer::new().map_err(|error| failed(&error))?),
        };
        match &tickets {
            Some(tickets) => server.ticketer = tickets.clone(),
            None => server.send_tls13_tickets = 0,
        }
        let certificates = std::iter::once(first).chain(others).map(|loaded| loaded.serving).collect();
        Ok(Self { server: Arc::new(server), certificates, tickets, authorities, digest })
    }
}

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    static FROM_13: [&SupportedProtocolVersion; 1] = [&TLS13];
    match oldest {
        TlsVersion::Tls12 => &FROM_12,
        TlsVersion::Tls13 => &FROM_13,
    }
}

/// What clients may negotiate, the best first.
fn alpn(protocols: &[HttpProtocol]) -> Vec<Vec<u8>> {
    let known = [(HttpProtocol::H2, ALPN_H2), (HttpProtocol::Http1, ALPN_HTTP1)];
    let spoken = known.iter().filter(|(protocol, _)| protocols.contains(protocol));
    spoken.map(|(_, name)| name.to_vec()).collect()
}

/// All of them in one line.
fn words(bad: &[BadFile]) -> String {
    bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::authority::{Authority, Files};
    use policy::config::listener::CertificateConfig;
    use std::fs;
    use std::path::Path;

    fn config(files: &[&Files]) -> ListenerTlsConfig {
        let path = |path: &Path| path.to_str().unwrap().parse().unwrap();
        let one =
            |files: &&Files| CertificateConfig { cert: path(&files.cert), key: path(&files.key), ocsp: None };
        ListenerTlsConfig {
            certificates: files.iter().map(one).collect(),
            client_ca: None,
            client_auth: ClientAuth::Off,
            min_version: TlsVersion::Tls12,
            session_tickets: true,
        }
    }

    fn names(terminator: &Terminator) -> Vec<String> {
        let live = terminator.live();
        live.iter().flat_map(|live| &live.certificates).map(|one| one.facts.name().to_owned()).collect()
    }

    #[test]
    fn files_are_read_anew_when_they_are_others_and_kept_while_they_are_no_good() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path());
        let (a, b) = (authority.server("a", &["a.test"]), authority.server("b", &["b.test"]));
        let terminator = Terminator::load(&config(&[&a, &b]), &[HttpProtocol::Http1]).unwrap();
        assert_eq!(names(&terminator), ["a.test", "b.test"]);
        let tickets = terminator.live().unwrap().tickets.clone().unwrap();
        assert_eq!(terminator.reload(), Reloaded::Unchanged);

        authority.server("a", &["new.test"]);
        assert_eq!(terminator.reload(), Reloaded::Used);
        assert_eq!(names(&terminator), ["new.test", "b.test"]);
        let kept = terminator.live().unwrap().tickets.clone().unwrap();
        assert!(Arc::ptr_eq(&tickets, &kept), "sessions of before are resumed");

        fs::remove_file(&b.key).unwrap();
        let Reloaded::Refused(bad) = terminator.reload() else { panic!("without a key") };
        assert!(bad.starts_with(b.key.to_str().unwrap()), "{bad}");
        assert_eq!(terminator.fault(), Some(bad));
        assert_eq!(terminator.reload(), Reloaded::Unchanged, "it is told once");
        assert_eq!(names(&terminator), ["new.test", "b.test"]);

        authority.server("b", &["c.test"]);
        assert_eq!(terminator.reload(), Reloaded::Used);
        assert_eq!(
            (names(&terminator), terminator.fault()),
            (vec!["new.test".into(), "c.test".into()], None)
        );
    }

    #[test]
    fn what_has_expired_is_refused_when_it_is_new_and_served_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let old = Authority::new(directory.path()).expired("old", &["old.test"]);
        let bad = Terminator::load(&config(&[&old]), &[]).unwrap_err();
        assert_eq!(bad[0].path, old.cert);
        let restored = Terminator::restore(&config(&[&old]), &[]);
        assert_eq!((names(&restored), restored.fault()), (vec!["old.test".to_owned()], None));
        fs::remove_file(&old.key).unwrap();
        let restored = Terminator::restore(&config(&[&old]), &[]);
        assert!(restored.live().is_none() && restored.fault().is_some());
    }

    #[test]
    fn another_authority_of_clients_ends_the_sessions_of_the_old_one() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::new(one.path());
        let files = authority.server("a", &["a.test"]);
        let with_clients = ListenerTlsConfig {
            client_ca: Some(authority.file().to_str().unwrap().parse().unwrap()),
            client_auth: ClientAuth::Required,
            ..config(&[&files])
        };
        let terminator = Terminator::load(&with_clients, &[HttpProtocol::Http1]).unwrap();
        let tickets = terminator.live().unwrap().tickets.clone().unwrap();
        fs::copy(Authority::new(other.path()).file(), authority.file()).unwrap();
        assert_eq!(terminator.reload(), Reloaded::Used);
        let others = terminator.live().unwrap().tickets.clone().unwrap();
        assert!(!Arc::ptr_eq(&tickets, &others));
    }
}
