//! TLS towards the targets of an upstream, made from its config and the files it names.

use crate::tls;
use crate::tls::file::{self, BadFile};
use policy::config::leaf::{self, FilePath, SubjectAltName};
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

/// TLS as one upstream wants it. Its sessions are resumed over all workers.
#[derive(Debug)]
pub(super) struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    /// Of everything that was read for it: the same again makes the same client.
    pub(super) fingerprint: [u8; 32],
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsClientError {
    #[error(transparent)]
    File(#[from] BadFile),
    #[error("this machine has no certificate authorities{0}")]
    NoAuthorities(String),
    #[error(transparent)]
    Rustls(#[from] Error),
}

impl TlsClient {
    /// Reads the files that the config names, or the authorities of the machine.
    pub(super) fn new(config: &UpstreamTlsConfig) -> Result<Self, TlsClientError> {
        let mut hash = Sha256::new();
        let provider = tls::provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let verifier: Arc<dyn ServerCertVerifier> = if config.insecure_skip_verify {
            Arc::new(Unverified(provider))
        } else {
            let roots = Arc::new(roots(config.ca.as_ref(), &mut hash)?);
            match config.subject_alt_names.is_empty() {
                true => WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?,
                false => Arc::new(Pinned { names: pinned(&config.subject_alt_names), roots, provider }),
            }
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let client = match (&config.cert, &config.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                chain.iter().for_each(|one| hash.update(one));
                let private = file::private_key(key.as_path(), &file::read(key.as_path())?)?;
                hash.update(private.secret_der());
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| BadFile::new(key.as_path(), error.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(client), fingerprint: hash.finalize().into() })
    }
}

fn certificates(path: &FilePath) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    file::certificates(path.as_path(), &file::read(path.as_path())?)
}

/// The authorities of a file, or of the machine.
fn roots(file: Option<&FilePath>, hash: &mut Sha256) -> Result<RootCertStore, TlsClientError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                hash.update(&certificate);
                roots.add(certificate).map_err(|error| BadFile::new(file.as_path(), error.to_string()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            found.certs.iter().for_each(|one| hash.update(one));
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

/// Signed by an authority, and with one of these names in place of the one that was asked for.
#[derive(Debug)]
struct Pinned {
    names: Vec<PinnedName>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum PinnedName {
    Host(ServerName<'static>),
    Uri(String),
}

fn pinned(names: &[SubjectAltName]) -> Vec<PinnedName> {
    let host = |name: &leaf::ServerName| server_name(name.as_str()).ok().map(PinnedName::Host);
    let one = |name: &SubjectAltName| match name {
        SubjectAltName::Host(name) => host(name),
        SubjectAltName::Uri(uri) => Some(PinnedName::Uri(uri.clone())),
    };
    names.iter().filter_map(one).collect()
}

impl Pinned {
    fn has_one(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let bare = webpki::EndEntityCert::try_from(certificate)
            .map_err(|_| Error::from(CertificateError::BadEncoding))?;
        Ok(self.names.iter().any(|name| match name {
            PinnedName::Host(name) => verify_server_name(&parsed, name).is_ok(),
            PinnedName::Uri(uri) => bare.valid_uri_names().any(|one| one == uri),
        }))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        match self.has_one(end_entity)? {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed_tls12(&self.provider, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed_tls13(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `insecure_skip_verify`: whoever holds the key of any certificate will do.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed_tls12(&self.0, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed_tls13(&self.0, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn signed_tls12(
    provider: &CryptoProvider,
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider.signature_verification_algorithms;
    rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
}

fn signed_tls13(
    provider: &CryptoProvider,
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider.signature_verification_algorithms;
    rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
}
