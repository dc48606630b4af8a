//! TLS towards the targets of an upstream, made from its config and the files it names.

use crate::tls::file::{self, BadFile};
use crate::tls::{self, Followed, Reloaded};
use arc_swap::ArcSwapOption;
use policy::config::leaf::{FilePath, SubjectAltName};
use policy::config::transport::UpstreamTlsConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use std::io;
use std::sync::Arc;

/// TLS as one upstream wants it, with its files as they were when they were last good.
#[derive(Debug)]
pub(crate) struct TlsClient {
    wanted: UpstreamTlsConfig,
    live: ArcSwapOption<Live>,
    followed: Followed,
}

/// Good files, ready to connect with.
#[derive(Debug)]
struct Live {
    /// Its sessions are resumed over all workers.
    config: Arc<ClientConfig>,
    /// SHA-256 of all that was read for it.
    digest: [u8; 32],
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
enum TlsClientError {
    #[error(transparent)]
    File(#[from] BadFile),
    #[error("this machine has no certificate authorities{0}")]
    NoAuthorities(String),
    #[error(transparent)]
    Rustls(#[from] Error),
}

impl TlsClient {
    /// Nothing is read yet.
    pub(super) fn unread(wanted: &UpstreamTlsConfig) -> Self {
        Self { wanted: wanted.clone(), live: ArcSwapOption::empty(), followed: Followed::of(wanted.files()) }
    }

    /// What connections are made with now, or why none are.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        match &*self.live.load() {
            Some(live) => Ok(Arc::clone(&live.config)),
            None => Err(self.fault().unwrap_or_else(|| "its files were not read".to_owned())),
        }
    }

    /// Why what there is to read now is not used.
    pub(super) fn fault(&self) -> Option<String> {
        self.followed.fault()
    }

    /// Every file that it is made of.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FilePath> {
        self.wanted.files()
    }

    /// Reads the files, or the authorities of the machine. On a blocking thread.
    pub(super) fn read(&self) -> Reloaded {
        self.followed.read(self.files(), || self.renew())
    }

    /// Looks whether files have changed, and makes connections with them if they are good. On a blocking thread.
    pub(crate) fn reload(&self) -> Reloaded {
        self.followed.reload(self.files(), || self.renew())
    }

    /// Whether connections are made with other files than before.
    fn renew(&self) -> Result<bool, String> {
        let live = Live::read(&self.wanted).map_err(|error| error.to_string())?;
        if self.live.load().as_ref().is_some_and(|before| before.digest == live.digest) {
            return Ok(false);
        }
        self.live.store(Some(Arc::new(live)));
        Ok(true)
    }
}

impl Live {
    fn read(wanted: &UpstreamTlsConfig) -> Result<Self, TlsClientError> {
        let mut digest = Sha256::new();
        let provider = tls::provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let verifier: Arc<dyn ServerCertVerifier> = if wanted.insecure_skip_verify {
            Arc::new(Verifier { trust: Trust::Anybody, provider })
        } else {
            let roots = Arc::new(roots(wanted.ca.as_ref(), &mut digest)?);
            if wanted.subject_alt_names.is_empty() {
                WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?
            } else {
                let names = wanted.subject_alt_names.iter().filter_map(PinnedName::new).collect();
                Arc::new(Verifier { trust: Trust::Names(names, roots), provider })
            }
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match (&wanted.cert, &wanted.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                chain.iter().for_each(|one| digest.update(one));
                let private = file::private_key(key.as_path(), &file::read(key.as_path())?)?;
                digest.update(private.secret_der());
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| BadFile::new(key.as_path(), error.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(config), digest: digest.finalize().into() })
    }
}

fn certificates(path: &FilePath) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    file::certificates(path.as_path(), &file::read(path.as_path())?)
}

/// The authorities of a file, or of the machine.
fn roots(file: Option<&FilePath>, digest: &mut Sha256) -> Result<RootCertStore, TlsClientError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                digest.update(&certificate);
                roots.add(certificate).map_err(|error| BadFile::new(file.as_path(), error.to_string()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            found.certs.iter().for_each(|one| digest.update(one));
            // of those of a machine a few are often of no use
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
                return Err(TlsClientError::NoAuthorities(why));
            }
        }
    }
    Ok(roots)
}

/// The name that a server must prove to have; what the config lets pass as one is one.
pub(super) fn server_name(name: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(io::Error::other)
}

/// Whose certificate will do. Signatures of the handshake are verified in any case.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trust {
    /// `insecure_skip_verify`: whoever holds the key of any certificate.
    Anybody,
    /// Signed by an authority, and with one of these names in place of the one that was asked for.
    Names(Vec<PinnedName>, Arc<RootCertStore>),
}

#[derive(Debug)]
enum PinnedName {
    Host(ServerName<'static>),
    Uri(String),
}

impl PinnedName {
    fn new(name: &SubjectAltName) -> Option<Self> {
        match name {
            SubjectAltName::Host(name) => server_name(name.as_str()).ok().map(Self::Host),
            SubjectAltName::Uri(uri) => Some(Self::Uri(uri.clone())),
        }
    }
}

fn has_one(names: &[PinnedName], certificate: &CertificateDer<'_>) -> Result<bool, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let bare = webpki::EndEntityCert::try_from(certificate)
        .map_err(|_| Error::from(CertificateError::BadEncoding))?;
    Ok(names.iter().any(|name| match name {
        PinnedName::Host(name) => verify_server_name(&parsed, name).is_ok(),
        PinnedName::Uri(uri) => bare.valid_uri_names().any(|one| one == uri),
    }))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Trust::Names(names, roots) = &self.trust {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
            if !has_one(names, end_entity)? {
                return Err(CertificateError::NotValidForName.into());
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
