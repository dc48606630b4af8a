//! What a certificate says of itself, as far as anybody here wants to know.

use policy::client_certificate::ClientCertificate;
use policy::snapshot::hex_sha256;
use rustls::ServerConnection;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use x509_cert::Certificate as X509;
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::{self, Decode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The facts of a certificate that clients are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The distinguished name as text (RFC 4514); may be empty.
    pub(crate) subject: String,
    /// The DNS names that it is made out for, lower case; the first label may be `*`.
    pub(crate) dns_names: Vec<String>,
    /// It holds from here on, since the Unix epoch.
    pub(crate) not_before: Duration,
    /// It holds up to here, since the Unix epoch.
    pub(crate) not_after: Duration,
}

impl Certificate {
    /// # Errors
    /// It is no X.509 certificate (RFC 5280).
    pub(crate) fn parse(der: &[u8]) -> der::Result<Self> {
        let certificate = X509::from_der(der)?;
        let certificate = certificate.tbs_certificate();
        let dns_names = alternative_names(certificate)?.into_iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
            _ => None,
        });
        Ok(Self {
            subject: certificate.subject().to_string(),
            dns_names: dns_names.collect(),
            not_before: certificate.validity().not_before.to_unix_duration(),
            not_after: certificate.validity().not_after.to_unix_duration(),
        })
    }

    /// What to call it: its first name, or who it is of.
    pub(crate) fn name(&self) -> &str {
        self.dns_names.first().map_or(&*self.subject, |name| name)
    }

    /// What an operator should do something about: it does not hold, or not for long any more.
    pub(crate) fn complaint(&self, now: Duration) -> Option<String> {
        let (name, until) = (self.name(), date(self.not_after));
        if now > self.not_after {
            return Some(format!("the certificate of {name} has expired on {until}"));
        }
        if now < self.not_before {
            return Some(format!("the certificate of {name} holds only from {} on", date(self.not_before)));
        }
        let lifetime = self.not_after.saturating_sub(self.not_before);
        let soon = (lifetime / 10).min(SOON);
        (self.not_after - now < soon).then(|| format!("the certificate of {name} expires on {until}"))
    }
}

/// A certificate of a year is late by then, one of 90 days by nine: who renews by a program does so after two thirds.
const SOON: Duration = Duration::from_secs(21 * 24 * 3600);

/// RFC 3339.
fn date(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |date| date.to_string())
}

/// Who the client is by the certificate that the handshake has verified; none where it has shown none.
pub(crate) fn client_certificate(tls: &ServerConnection) -> Option<ClientCertificate> {
    let der = tls.peer_certificates()?.first()?;
    // what has been verified can be read; if this reader is stricter, the fingerprint still says which it was
    let certificate = X509::from_der(der).ok();
    let certificate = certificate.as_ref().map(|certificate| certificate.tbs_certificate());
    let names = certificate.and_then(|certificate| alternative_names(certificate).ok()).unwrap_or_default();
    let names: Vec<String> = names.iter().filter_map(written).collect();
    Some(ClientCertificate {
        subject: certificate.map_or_else(String::new, |certificate| certificate.subject().to_string()),
        names: names.join(","),
        fingerprint: hex_sha256(der),
    })
}

fn alternative_names(certificate: &TbsCertificate) -> der::Result<Vec<GeneralName>> {
    let extension = certificate.get_extension::<SubjectAltName>()?;
    Ok(extension.map_or_else(Vec::new, |(_, SubjectAltName(names))| names))
}

/// With its kind before it; what would end it in a list is percent-encoded.
fn written(name: &GeneralName) -> Option<String> {
    let (kind, value) = match name {
        GeneralName::DnsName(name) => ("DNS", name.as_str().to_owned()),
        GeneralName::UniformResourceIdentifier(uri) => ("URI", uri.as_str().to_owned()),
        GeneralName::Rfc822Name(address) => ("email", address.as_str().to_owned()),
        GeneralName::IpAddress(octets) => ("IP", address(octets.as_bytes())?.to_string()),
        _ => return None,
    };
    Some(format!("{kind}:{}", value.replace('%', "%25").replace(',', "%2C")))
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_days(from: u64, until: u64) -> Certificate {
        let day = |day: u64| Duration::from_secs(day * 24 * 3600);
        let (not_before, not_after) = (day(from), day(until));
        Certificate { subject: String::new(), dns_names: vec!["a.test".to_owned()], not_before, not_after }
    }

    #[test]
    fn a_certificate_is_complained_of_before_it_expires_and_after() {
        let day = |day: u64| Duration::from_secs(day * 24 * 3600);
        for (from, until, now, complaint) in [
            (100, 190, 150, None),
            (100, 190, 182, Some("expires on 1970-07-10T00:00:00Z")),
            (100, 190, 191, Some("has expired on 1970-07-10T00:00:00Z")),
            (100, 190, 99, Some("holds only from 1970-04-11T00:00:00Z on")),
            (100, 465, 443, None),
            (100, 465, 445, Some("expires on 1971-04-11T00:00:00Z")),
        ] {
            let told = of_days(from, until).complaint(day(now));
            let complaint = complaint.map(|what| format!("the certificate of a.test {what}"));
            assert_eq!(told, complaint, "{from} {until} {now}");
        }
    }
}
