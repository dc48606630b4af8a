//! Files of certificates and keys: what is in them, or in words for an operator what is wrong.

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The authorities of the whole web are a quarter of it.
const MAX_BYTES: u64 = 1 << 20;

/// A file that TLS cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub(crate) struct BadFile {
    /// Which.
    pub(crate) path: PathBuf,
    /// Why, lower case, no full stop.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl BadFile {
    pub(crate) fn new(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: why.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// The whole file.
///
/// # Errors
/// It cannot be read, or has more than a mebibyte.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, BadFile> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content));
    match read {
        Ok(_) if content.len() as u64 > MAX_BYTES => Err(BadFile::new(path, "it is larger than 1 MiB")),
        Ok(_) => Ok(content),
        Err(error) => {
            let bad = BadFile::new(path, format!("it cannot be read: {error}"));
            Err(match error.kind() {
                io::ErrorKind::PermissionDenied => bad.help("let the user of the data plane read it"),
                _ => bad,
            })
        }
    }
}

/// The certificates in a PEM file, in its order; at least one.
///
/// # Errors
/// It holds none, or something broken.
pub(crate) fn certificates(path: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            let bad = BadFile::new(path, "it holds no certificate in PEM");
            let has_key = PrivateKeyDer::from_pem_slice(content).is_ok();
            Err(bad.help(if has_key {
                "it holds a private key: is it in the place of the certificate?"
            } else {
                "a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`; `openssl x509 -inform DER` converts"
            }))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(not_pem(path, &error)),
    }
}

/// The first private key in a PEM file: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// It holds none, or one that is encrypted.
pub(crate) fn private_key(path: &Path, content: &[u8]) -> Result<PrivateKeyDer<'static>, BadFile> {
    match PrivateKeyDer::from_pem_slice(content) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let holds = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
            Err(if holds("ENCRYPTED PRIVATE KEY") {
                let bad = BadFile::new(path, "its private key is encrypted with a passphrase");
                bad.help(
                    "decrypt it with `openssl pkey -in FILE -out NEW`, and let only the data plane read it",
                )
            } else {
                let bad = BadFile::new(path, "it holds no private key in PEM");
                bad.help("a key in PEM begins with `-----BEGIN PRIVATE KEY-----`")
            })
        }
        Err(error) => Err(not_pem(path, &error)),
    }
}

fn not_pem(path: &Path, error: &pem::Error) -> BadFile {
    BadFile::new(path, format!("it is not valid PEM: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_told_in_words() {
        let path = Path::new("/tls/a.pem");
        let certificate = |content: &str| certificates(path, content.as_bytes()).unwrap_err().to_string();
        let key = |content: &str| private_key(path, content.as_bytes()).unwrap_err().to_string();
        assert_eq!(certificate("hello"), "/tls/a.pem: it holds no certificate in PEM");
        assert_eq!(key(""), "/tls/a.pem: it holds no private key in PEM");
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(key(encrypted), "/tls/a.pem: its private key is encrypted with a passphrase");
        let cut = certificate("-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(cut.starts_with("/tls/a.pem: it is not valid PEM: "), "{cut}");
        let missing = read(Path::new("/nowhere/a.pem")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/a.pem: it cannot be read: No such file"), "{missing}");
    }
}
