//! All that the TLS of a listener is made of, read and checked.

use super::certificate::Certificate;
use super::file::{self, BadFile};
use super::provider;
use policy::config::leaf::FilePath;
use policy::config::listener::{CertificateConfig, ListenerTlsConfig};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The content of good files.
pub(super) struct Material {
    /// That of clients which ask for no name, or for one that nobody has.
    pub(super) first: Loaded,
    pub(super) others: Vec<Loaded>,
    /// Whose certificates clients may show: as read, and what it means.
    pub(super) client_ca: Option<(Vec<u8>, Arc<RootCertStore>)>,
    /// Of the content of every file.
    pub(super) digest: Digest,
}

/// SHA-256.
pub(super) type Digest = [u8; 32];

/// A certificate with its key.
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) serving: Serving,
}

/// A certificate that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Serving {
    /// Its file.
    pub(crate) path: PathBuf,
    /// What it says of itself.
    pub(crate) facts: Certificate,
}

/// What becomes of a certificate whose time is over, or has not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    Refused,
    Served,
}

impl Material {
    /// # Errors
    /// Each file that cannot be used.
    pub(super) fn read(config: &ListenerTlsConfig, expired: Expired) -> Result<Self, Vec<BadFile>> {
        let (mut loaded, mut bad, mut read) = (Vec::new(), Vec::new(), Sha256::new());
        for certificate in &config.certificates {
            match load(certificate, expired, &mut read) {
                Ok(one) => loaded.push(one),
                Err(problem) => bad.push(problem),
            }
        }
        let client_ca = config.client_ca.as_ref().map(|path| authorities(path, &mut read)).transpose();
        let client_ca = client_ca.unwrap_or_else(|problem| {
            bad.push(problem);
            None
        });
        let mut loaded = loaded.into_iter();
        match loaded.next() {
            // a config without certificates is not valid
            Some(first) if bad.is_empty() => {
                Ok(Self { first, others: loaded.collect(), client_ca, digest: read.finalize().into() })
            }
            _ => Err(bad),
        }
    }
}

fn read(path: &Path, digest: &mut Sha256) -> Result<Vec<u8>, BadFile> {
    let content = file::read(path)?;
    digest.update((content.len() as u64).to_le_bytes());
    digest.update(&content);
    Ok(content)
}

fn load(config: &CertificateConfig, expired: Expired, digest: &mut Sha256) -> Result<Loaded, BadFile> {
    let CertificateConfig { cert, key, ocsp } = config;
    let (path, key_path) = (cert.as_path(), key.as_path());
    let chain = file::certificates(path, &read(path, digest)?)?;
    let key = file::private_key(key_path, &read(key_path, digest)?)?;
    let facts = chain.first().map(|first| Certificate::parse(first));
    let facts = facts.transpose().ok().flatten();
    let facts = facts.ok_or_else(|| BadFile::new(path, "its first certificate is not X.509"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if expired == Expired::Refused && !(facts.not_before..=facts.not_after).contains(&now) {
        let complaint = facts.complaint(now).unwrap_or_default();
        return Err(BadFile::new(path, complaint).help("renew it; if it is new, check the clock of the host"));
    }
    let mut certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let bad = BadFile::new(key_path, format!("its private key is not that of {}", path.display()));
            bad.help("`openssl pkey -in KEY -pubout` and `openssl x509 -in CERT -noout -pubkey` must print the same")
        }
        other => BadFile::new(key_path, format!("its private key cannot be used: {other}")),
    })?;
    certified.ocsp = ocsp.as_ref().map(|path| ocsp_response(path, digest)).transpose()?;
    Ok(Loaded { key: Arc::new(certified), serving: Serving { path: path.to_owned(), facts } })
}

fn authorities(path: &FilePath, digest: &mut Sha256) -> Result<(Vec<u8>, Arc<RootCertStore>), BadFile> {
    let path = path.as_path();
    let content = read(path, digest)?;
    let mut roots = RootCertStore::empty();
    for (at, certificate) in file::certificates(path, &content)?.into_iter().enumerate() {
        let bad = |error| BadFile::new(path, format!("its certificate {} cannot be used: {error}", at + 1));
        roots.add(certificate).map_err(bad)?;
    }
    Ok((content, Arc::new(roots)))
}

/// `OCSPResponse` of RFC 6960 §4.2.1 in DER: a sequence whose first element is the status `successful`.
fn ocsp_response(path: &FilePath, digest: &mut Sha256) -> Result<Vec<u8>, BadFile> {
    const SUCCESSFUL: [u8; 3] = [0x0a, 0x01, 0x00];
    let path = path.as_path();
    let content = read(path, digest)?;
    let header = match content.as_slice() {
        [0x30, length, ..] if *length < 0x80 => 2,
        [0x30, length, ..] => 2 + usize::from(length & 0x7f),
        _ => {
            return Err(BadFile::new(path, "it is no OCSP response in DER")
                .help("`openssl ocsp -respout` writes one"));
        }
    };
    if content.get(header..).is_some_and(|response| response.starts_with(&SUCCESSFUL)) {
        return Ok(content);
    }
    Err(BadFile::new(path, "it is an OCSP response that says nothing of a certificate"))
}
