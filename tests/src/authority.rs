//! A certificate authority for one scenario, and the files that it hands out.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Signs certificates; its own is `ca.pem` in its directory, with `ca.key`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

/// Connects to whoever shows a certificate of the authority in a file; by ALPN these protocols.
pub fn connector(authority: &Path, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority).expect("a certificate");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate in PEM.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one whose files are in the directory, which is made if need be.
    pub fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory).expect("a directory for certificates");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate of the authority");
        fs::write(directory.join("ca.pem"), certificate.pem()).expect("write ca.pem");
        fs::write(directory.join("ca.key"), key.serialize_pem()).expect("write ca.key");
        Self { issuer: Issuer::new(params, key), directory: directory.to_owned() }
    }

    /// Its own certificate as a file.
    pub fn file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The key that it signs with as a file.
    pub fn key_file(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    /// Connects to whoever shows a certificate that it has signed; by ALPN these protocols.
    pub fn connector(&self, protocols: &[&str]) -> TlsConnector {
        connector(&self.file(), protocols)
    }

    /// A certificate for these DNS names, addresses and URIs, in `file.pem` and `file.key`.
    pub fn server(&self, file: &str, names: &[&str]) -> Files {
        self.issue(file, names, |_| {})
    }

    /// One that has expired long ago.
    pub fn expired(&self, file: &str, names: &[&str]) -> Files {
        self.issue(file, names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 4, 1);
        })
    }

    /// One for a client of this name.
    pub fn client(&self, file: &str, name: &str) -> Files {
        self.issue(file, &[], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let uri = format!("spiffe://test/{name}").try_into().expect("a URI");
            params.subject_alt_names.push(SanType::URI(uri));
        })
    }

    fn issue(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Files {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let names: Vec<String> = names.into_iter().map(ToOwned::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("DNS names");
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("a URI")));
        params.subject_alt_names.extend(uris);
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = Files {
            cert: self.directory.join(format!("{file}.pem")),
            key: self.directory.join(format!("{file}.key")),
        };
        fs::write(&files.cert, certificate.pem()).expect("write the certificate");
        fs::write(&files.key, key.serialize_pem()).expect("write the key");
        files
    }
}

impl Files {
    /// As an item of `certificates` in a config.
    pub fn item(&self) -> String {
        format!("{{cert: {}, key: {}}}", self.cert.display(), self.key.display())
    }
}
