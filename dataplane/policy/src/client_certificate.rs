//! Who a client is by the certificate that it has shown to its listener, and that holds.

/// What is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The distinguished name as text (RFC 4514); may be empty.
    pub subject: String,
    /// The alternative names, `DNS:`, `URI:`, `email:` or `IP:` before each, with commas between them; may be empty.
    pub names: String,
    /// SHA-256 of the certificate in DER, in lower-case hexadecimal.
    pub fingerprint: String,
}
