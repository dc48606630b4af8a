//! `protocol`, `tls`, `send_proxy_protocol` and `dns`: how the targets of a group are reached and spoken to.

use super::leaf::{Duration, Fault, FilePath, NameServer, ServerName, SubjectAltName};
use super::wire::{millis, parse, parse_all, texts};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which HTTP is spoken to the targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: over TLS the target must agree to it (ALPN), without TLS it is taken for granted (prior knowledge).
    H2,
    /// Over TLS HTTP/2 where the target agrees to it, otherwise HTTP/1.1.
    #[default]
    Auto,
}

/// TLS towards `https://` targets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTlsConfig {
    /// PEM file of the authorities that vouch for the targets. Default: those of the data plane's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<FilePath>,
    /// PEM file of the certificate by which the gateway proves itself, and of those between it and its authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<FilePath>,
    /// PEM file of the key of `cert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<FilePath>,
    /// Whom the target must prove to be, also what it is asked for (SNI). Default: the host of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<ServerName>,
    /// In place of `server_name`, the certificate must have one of these names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
    /// Any certificate will do: whoever can redirect the traffic can read and change it.
    pub insecure_skip_verify: bool,
}

impl UpstreamTlsConfig {
    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &FilePath> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten()
    }
}

/// Whether each connection to a target begins with a line that says who the client is (the PROXY protocol).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SendProxyProtocol {
    /// No such line.
    #[default]
    Off,
    /// Version 1, a line of text.
    V1,
    /// Version 2, in binary.
    V2,
}

/// How the names of targets become addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// Who is asked: `address` or `address:port`. Default: as the machine of the data plane says, its hosts file
    /// first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<NameServer>,
    /// An answer is kept for so long at least, though it says less.
    pub min_ttl: Duration,
    /// An answer is kept for so long at most, though it says more.
    pub max_ttl: Duration,
}

impl UpstreamProtocol {
    /// The word in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2 => "h2",
            Self::Auto => "auto",
        }
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { servers: Vec::new(), min_ttl: Duration::from_secs(1), max_ttl: Duration::from_secs(300) }
    }
}

impl From<UpstreamProtocol> for v1::UpstreamProtocol {
    fn from(protocol: UpstreamProtocol) -> Self {
        match protocol {
            UpstreamProtocol::Http1 => Self::Http1,
            UpstreamProtocol::H2 => Self::H2,
            UpstreamProtocol::Auto => Self::Auto,
        }
    }
}

pub(super) fn protocol(wire: i32) -> Result<UpstreamProtocol, Fault> {
    match v1::UpstreamProtocol::try_from(wire) {
        Ok(v1::UpstreamProtocol::Http1) => Ok(UpstreamProtocol::Http1),
        Ok(v1::UpstreamProtocol::H2) => Ok(UpstreamProtocol::H2),
        Ok(v1::UpstreamProtocol::Auto) => Ok(UpstreamProtocol::Auto),
        Ok(v1::UpstreamProtocol::Unspecified) => Ok(UpstreamProtocol::default()),
        Err(_) => {
            Err(Fault::new(format!("{wire} is a protocol that this version does not know")).at("protocol"))
        }
    }
}

impl From<SendProxyProtocol> for v1::SendProxyProtocol {
    fn from(send: SendProxyProtocol) -> Self {
        match send {
            SendProxyProtocol::Off => Self::Off,
            SendProxyProtocol::V1 => Self::V1,
            SendProxyProtocol::V2 => Self::V2,
        }
    }
}

pub(super) fn send_proxy_protocol(wire: i32) -> Result<SendProxyProtocol, Fault> {
    match v1::SendProxyProtocol::try_from(wire) {
        Ok(v1::SendProxyProtocol::Off) => Ok(SendProxyProtocol::Off),
        Ok(v1::SendProxyProtocol::V1) => Ok(SendProxyProtocol::V1),
        Ok(v1::SendProxyProtocol::V2) => Ok(SendProxyProtocol::V2),
        Ok(v1::SendProxyProtocol::Unspecified) => Ok(SendProxyProtocol::default()),
        Err(_) => {
            let fault = Fault::new(format!("{wire} is a version that this version does not know"));
            Err(fault.at("send_proxy_protocol"))
        }
    }
}

impl From<&UpstreamTlsConfig> for v1::UpstreamTls {
    fn from(config: &UpstreamTlsConfig) -> Self {
        let UpstreamTlsConfig { ca, cert, key, server_name, subject_alt_names, insecure_skip_verify } =
            config;
        Self {
            ca: ca.as_ref().map(ToString::to_string),
            cert: cert.as_ref().map(ToString::to_string),
            key: key.as_ref().map(ToString::to_string),
            server_name: server_name.as_ref().map(ToString::to_string),
            subject_alt_names: texts(subject_alt_names),
            insecure_skip_verify: *insecure_skip_verify,
        }
    }
}

impl TryFrom<v1::UpstreamTls> for UpstreamTlsConfig {
    type Error = Fault;

    fn try_from(wire: v1::UpstreamTls) -> Result<Self, Fault> {
        let v1::UpstreamTls { ca, cert, key, server_name, subject_alt_names, insecure_skip_verify } = wire;
        let file = |at: &str, text: Option<String>| text.map(|text| parse(at, &text)).transpose();
        Ok(Self {
            ca: file("ca", ca)?,
            cert: file("cert", cert)?,
            key: file("key", key)?,
            server_name: server_name.map(|text| parse("server_name", &text)).transpose()?,
            subject_alt_names: parse_all("subject_alt_names", &subject_alt_names)?,
            insecure_skip_verify,
        })
    }
}

impl From<&DnsConfig> for v1::Dns {
    fn from(DnsConfig { servers, min_ttl, max_ttl }: &DnsConfig) -> Self {
        Self { servers: texts(servers), min_ttl_ms: min_ttl.as_millis(), max_ttl_ms: max_ttl.as_millis() }
    }
}

impl TryFrom<v1::Dns> for DnsConfig {
    type Error = Fault;

    fn try_from(v1::Dns { servers, min_ttl_ms, max_ttl_ms }: v1::Dns) -> Result<Self, Fault> {
        Ok(Self {
            servers: parse_all("servers", &servers)?,
            min_ttl: millis("min_ttl", min_ttl_ms)?,
            max_ttl: millis("max_ttl", max_ttl_ms)?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::TargetConfig;
    use crate::config::leaf::TargetAddr;
    use crate::config::tests::duration;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    pub(crate) fn any_targets() -> impl Strategy<Value = Vec<TargetConfig>> {
        let host = prop_oneof!["[a-z]{1,9}", Just("2001:db8::1".to_owned())];
        let target = (any::<bool>(), host, 1u16.., any::<u32>()).prop_map(|(tls, host, port, weight)| {
            TargetConfig { addr: TargetAddr { tls, host, port }, weight }
        });
        vec(target, 0..4)
    }

    pub(crate) fn any_reach()
    -> impl Strategy<Value = (UpstreamProtocol, UpstreamTlsConfig, SendProxyProtocol, DnsConfig)> {
        let protocol = select(vec![UpstreamProtocol::Http1, UpstreamProtocol::H2, UpstreamProtocol::Auto]);
        let send = select(vec![SendProxyProtocol::Off, SendProxyProtocol::V1, SendProxyProtocol::V2]);
        (protocol, any_tls(), send, any_dns())
    }

    fn any_tls() -> impl Strategy<Value = UpstreamTlsConfig> {
        let file = || option::of("(/[a-z]{1,5}){1,3}".prop_map(|text| text.parse().expect("a path")));
        let name = select(vec!["a.example", "192.0.2.7", "2001:db8::1"]);
        let pinned = select(vec!["b.example", "spiffe://example.org/b"]);
        let name = option::of(name.prop_map(|text| text.parse().expect("a name")));
        let pinned = vec(pinned.prop_map(|text| text.parse().expect("a name")), 0..3);
        (file(), file(), file(), name, pinned, any::<bool>()).prop_map(
            |(ca, cert, key, server_name, subject_alt_names, insecure_skip_verify)| UpstreamTlsConfig {
                ca,
                cert,
                key,
                server_name,
                subject_alt_names,
                insecure_skip_verify,
            },
        )
    }

    fn any_dns() -> impl Strategy<Value = DnsConfig> {
        let server = select(vec!["192.0.2.53:53", "[2001:db8::53]:5353"]);
        let servers = vec(server.prop_map(|text| text.parse().expect("an address")), 0..3);
        (servers, duration(), duration()).prop_map(|(servers, min_ttl, max_ttl)| DnsConfig {
            servers,
            min_ttl,
            max_ttl,
        })
    }
}
