//! What a listener may say besides its port: protocols, the PROXY protocol, TLS.
//!
//! ```yaml
//! listeners:
//!   - name: https
//!     port: 8443
//!     protocols: [h2, http1]
//!     proxy_protocol: required
//!     proxy_protocol_from: [10.0.0.0/24]
//!     tls:
//!       certificates:
//!         - {cert: /etc/gateway/example.com.pem, key: /etc/gateway/example.com.key}
//!       client_ca: /etc/gateway/clients.pem
//!       client_auth: required
//!       min_version: "1.3"
//! ```

use super::answer::status_of;
use super::leaf::{Fault, FilePath, Network};
use super::wire::{WireError, below, convert_all, parse, parse_all, required, texts};
use super::{GatewayConfig, ServerConfig};
use crate::filter::headers::Template;
use http::StatusCode;
use ipnet::IpNet;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A port on which clients are served, besides that of `server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Unique; its name in metrics, logs and `gatewayctl status listeners`.
    pub name: String,
    /// TCP port; 0 takes any free one, which the instance reports (for tests).
    pub port: u16,
    /// Which versions of HTTP clients may speak. Default: both.
    #[serde(default = "every_protocol")]
    pub protocols: Vec<HttpProtocol>,
    /// Whether connections begin with a header of the PROXY protocol, version 1 or 2. Default: `off`.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Peers that may send one. Default: `trusted_proxies` of `server`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "Network::list")]
    #[schemars(with = "Vec<Network>")]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Clients speak TLS; absent: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTlsConfig>,
    /// Every request is sent to the same host and path by https. `{}` means the port 443 and the status 308.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_https: Option<RedirectHttpsConfig>,
}

/// Where clients of plain HTTP are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectHttpsConfig {
    /// The port on which clients reach a listener with TLS.
    pub port: u16,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Default for RedirectHttpsConfig {
    fn default() -> Self {
        Self { port: HTTPS, status: StatusCode::PERMANENT_REDIRECT.as_u16() }
    }
}

/// The port of https where a URL names none.
const HTTPS: u16 = 443;

impl RedirectHttpsConfig {
    /// What `Location` is made of.
    pub(crate) fn location(&self) -> Template {
        Template::by_https((self.port != HTTPS).then_some(self.port))
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpProtocol {
    /// HTTP/2: over TLS by ALPN, in plain text by prior knowledge.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.0 and HTTP/1.1.
    #[serde(rename = "http1")]
    Http1,
}

/// Whether connections begin with a header of the PROXY protocol, by which a load balancer tells from where a client has
/// come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// No.
    #[default]
    Off,
    /// Those of the peers that may send one can; others are served as they are.
    Optional,
    /// Yes: every other connection is closed.
    Required,
}

/// How clients speak TLS to a listener. All files are on the hosts of the data planes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTlsConfig {
    /// At least one. Each serves the DNS names that it is made out for; the first one also every other name, and clients
    /// that name none.
    pub certificates: Vec<CertificateConfig>,
    /// PEM file of the authorities whose certificates clients may show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<FilePath>,
    /// Whether clients are asked for a certificate. Default: `off`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken. Default: `1.2`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Clients may resume a session without a whole handshake. Default: true.
    #[serde(default = "yes")]
    pub session_tickets: bool,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// PEM file of the certificate and of those between it and its authority.
    pub cert: FilePath,
    /// PEM file of its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: FilePath,
    /// DER file of an OCSP response to staple.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<FilePath>,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// No.
    #[default]
    Off,
    /// Yes; who has none is served all the same. One that does not hold is refused.
    Optional,
    /// Yes, and nobody is served without.
    Required,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246, with forward secrecy and authenticated encryption only.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

pub(super) fn every_protocol() -> Vec<HttpProtocol> {
    vec![HttpProtocol::H2, HttpProtocol::Http1]
}

fn yes() -> bool {
    true
}

/// The name of the listener that `server` describes.
pub const DEFAULT_LISTENER: &str = "default";

impl ServerConfig {
    /// The listener that it describes.
    pub fn listener(&self) -> ListenerConfig {
        let Self { port, protocols, proxy_protocol, proxy_protocol_from, tls, redirect_https, .. } = self;
        ListenerConfig {
            name: DEFAULT_LISTENER.to_owned(),
            port: *port,
            protocols: protocols.clone(),
            proxy_protocol: *proxy_protocol,
            proxy_protocol_from: proxy_protocol_from.clone(),
            tls: tls.clone(),
            redirect_https: redirect_https.clone(),
        }
    }

    /// Who may send a header of the PROXY protocol to a listener.
    pub fn proxy_protocol_peers<'a>(&'a self, listener: &'a ListenerConfig) -> &'a [IpNet] {
        match listener.proxy_protocol_from.as_slice() {
            [] => &self.trusted_proxies,
            peers => peers,
        }
    }
}

impl GatewayConfig {
    /// That of `server` first, then in the order of the config; each with the peers whose PROXY protocol is believed.
    pub fn every_listener(&self) -> Vec<ListenerConfig> {
        let all = std::iter::once(self.server.listener()).chain(self.listeners.iter().cloned());
        let with_peers = |mut listener: ListenerConfig| {
            listener.proxy_protocol_from = self.server.proxy_protocol_peers(&listener).to_vec();
            listener
        };
        all.map(with_peers).collect()
    }
}

impl ListenerTlsConfig {
    /// Every file that it names, with the place of its key.
    pub fn files(&self) -> impl Iterator<Item = (String, &FilePath)> {
        let of_certificates = self.certificates.iter().enumerate().flat_map(|(at, one)| {
            let CertificateConfig { cert, key, ocsp } = one;
            let named = [("cert", Some(cert)), ("key", Some(key)), ("ocsp", ocsp.as_ref())];
            named
                .into_iter()
                .filter_map(move |(name, file)| Some((format!("certificates[{at}].{name}"), file?)))
        });
        of_certificates.chain(self.client_ca.iter().map(|file| ("client_ca".to_owned(), file)))
    }
}

impl From<&ListenerConfig> for v1::ListenerSettings {
    fn from(config: &ListenerConfig) -> Self {
        let ListenerConfig {
            name: _,
            port: _,
            protocols,
            proxy_protocol,
            proxy_protocol_from,
            tls,
            redirect_https,
        } = config;
        Self {
            protocols: protocols.iter().map(|one| v1::HttpProtocol::from(*one).into()).collect(),
            proxy_protocol: v1::ProxyProtocol::from(*proxy_protocol).into(),
            proxy_protocol_from: texts(proxy_protocol_from),
            tls: tls.as_ref().map(v1::ListenerTls::from),
            redirect_https: redirect_https.as_ref().map(v1::RedirectHttps::from),
        }
    }
}

impl ListenerConfig {
    /// What `server` and an item of `listeners` have in common on the wire, with what they have not.
    pub(super) fn from_wire(
        name: String,
        port: u32,
        settings: v1::ListenerSettings,
    ) -> Result<Self, WireError> {
        let v1::ListenerSettings { protocols, proxy_protocol, proxy_protocol_from, tls, redirect_https } =
            settings;
        let protocol = |(at, one)| http_protocol(one).map_err(|fault| fault.at(format!("protocols[{at}]")));
        let peers = parse_all("proxy_protocol_from", &proxy_protocol_from)?;
        Ok(Self {
            name,
            port: self::port(port)?,
            protocols: protocols.into_iter().enumerate().map(protocol).collect::<Result<_, _>>()?,
            proxy_protocol: self::proxy_protocol(proxy_protocol)?,
            proxy_protocol_from: peers.into_iter().map(|Network(block)| block).collect(),
            tls: below("tls", tls)?,
            redirect_https: below("redirect_https", redirect_https)?,
        })
    }
}

fn port(wire: u32) -> Result<u16, Fault> {
    u16::try_from(wire).map_err(|_| Fault::new(format!("{wire} is not a port")).at("port"))
}

impl From<&ListenerConfig> for v1::Listener {
    fn from(config: &ListenerConfig) -> Self {
        Self { name: config.name.clone(), port: u32::from(config.port), settings: Some(config.into()) }
    }
}

impl TryFrom<v1::Listener> for ListenerConfig {
    type Error = WireError;

    fn try_from(v1::Listener { name, port, settings }: v1::Listener) -> Result<Self, WireError> {
        Self::from_wire(name, port, required("settings", settings)?)
    }
}

impl From<&RedirectHttpsConfig> for v1::RedirectHttps {
    fn from(RedirectHttpsConfig { port, status }: &RedirectHttpsConfig) -> Self {
        Self { port: u32::from(*port), status: u32::from(*status) }
    }
}

impl TryFrom<v1::RedirectHttps> for RedirectHttpsConfig {
    type Error = Fault;

    fn try_from(v1::RedirectHttps { port, status }: v1::RedirectHttps) -> Result<Self, Fault> {
        Ok(Self { port: self::port(port)?, status: status_of(status)? })
    }
}

impl From<ProxyProtocol> for v1::ProxyProtocol {
    fn from(demand: ProxyProtocol) -> Self {
        match demand {
            ProxyProtocol::Off => Self::Off,
            ProxyProtocol::Optional => Self::Optional,
            ProxyProtocol::Required => Self::Required,
        }
    }
}

fn proxy_protocol(wire: i32) -> Result<ProxyProtocol, Fault> {
    match v1::ProxyProtocol::try_from(wire) {
        Ok(v1::ProxyProtocol::Off) => Ok(ProxyProtocol::Off),
        Ok(v1::ProxyProtocol::Optional) => Ok(ProxyProtocol::Optional),
        Ok(v1::ProxyProtocol::Required) => Ok(ProxyProtocol::Required),
        Ok(v1::ProxyProtocol::Unspecified) | Err(_) => {
            Err(Fault::new(format!("{wire} is a demand that this version does not know"))
                .at("proxy_protocol"))
        }
    }
}

impl From<HttpProtocol> for v1::HttpProtocol {
    fn from(protocol: HttpProtocol) -> Self {
        match protocol {
            HttpProtocol::H2 => Self::H2,
            HttpProtocol::Http1 => Self::Http1,
        }
    }
}

fn http_protocol(wire: i32) -> Result<HttpProtocol, Fault> {
    match v1::HttpProtocol::try_from(wire) {
        Ok(v1::HttpProtocol::H2) => Ok(HttpProtocol::H2),
        Ok(v1::HttpProtocol::Http1) => Ok(HttpProtocol::Http1),
        Ok(v1::HttpProtocol::Unspecified) | Err(_) => {
            Err(Fault::new(format!("{wire} is a protocol that this version does not know")))
        }
    }
}

impl From<&ListenerTlsConfig> for v1::ListenerTls {
    fn from(config: &ListenerTlsConfig) -> Self {
        let ListenerTlsConfig { certificates, client_ca, client_auth, min_version, session_tickets } = config;
        Self {
            certificates: certificates.iter().map(v1::Certificate::from).collect(),
            client_ca: client_ca.as_ref().map(ToString::to_string),
            client_auth: v1::ClientAuth::from(*client_auth).into(),
            min_version: v1::TlsVersion::from(*min_version).into(),
            session_tickets: *session_tickets,
        }
    }
}

impl TryFrom<v1::ListenerTls> for ListenerTlsConfig {
    type Error = WireError;

    fn try_from(wire: v1::ListenerTls) -> Result<Self, WireError> {
        let v1::ListenerTls { certificates, client_ca, client_auth, min_version, session_tickets } = wire;
        Ok(Self {
            certificates: convert_all("certificates", certificates)?,
            client_ca: client_ca.map(|path| parse("client_ca", &path)).transpose()?,
            client_auth: self::client_auth(client_auth)?,
            min_version: tls_version("min_version", min_version)?,
            session_tickets,
        })
    }
}

impl From<&CertificateConfig> for v1::Certificate {
    fn from(CertificateConfig { cert, key, ocsp }: &CertificateConfig) -> Self {
        let ocsp = ocsp.as_ref().map(ToString::to_string);
        Self { cert: cert.to_string(), key: key.to_string(), ocsp }
    }
}

impl TryFrom<v1::Certificate> for CertificateConfig {
    type Error = Fault;

    fn try_from(v1::Certificate { cert, key, ocsp }: v1::Certificate) -> Result<Self, Fault> {
        let ocsp = ocsp.map(|path| parse("ocsp", &path)).transpose()?;
        Ok(Self { cert: parse("cert", &cert)?, key: parse("key", &key)?, ocsp })
    }
}

impl From<ClientAuth> for v1::ClientAuth {
    fn from(auth: ClientAuth) -> Self {
        match auth {
            ClientAuth::Off => Self::Off,
            ClientAuth::Optional => Self::Optional,
            ClientAuth::Required => Self::Required,
        }
    }
}

fn client_auth(wire: i32) -> Result<ClientAuth, Fault> {
    match v1::ClientAuth::try_from(wire) {
        Ok(v1::ClientAuth::Off) => Ok(ClientAuth::Off),
        Ok(v1::ClientAuth::Optional) => Ok(ClientAuth::Optional),
        Ok(v1::ClientAuth::Required) => Ok(ClientAuth::Required),
        Ok(v1::ClientAuth::Unspecified) | Err(_) => {
            Err(Fault::new(format!("{wire} is a demand that this version does not know")).at("client_auth"))
        }
    }
}

impl From<TlsVersion> for v1::TlsVersion {
    fn from(version: TlsVersion) -> Self {
        match version {
            TlsVersion::Tls12 => Self::Tls12,
            TlsVersion::Tls13 => Self::Tls13,
        }
    }
}

pub(crate) fn tls_version(key: &str, wire: i32) -> Result<TlsVersion, Fault> {
    match v1::TlsVersion::try_from(wire) {
        Ok(v1::TlsVersion::Tls12) => Ok(TlsVersion::Tls12),
        Ok(v1::TlsVersion::Tls13) => Ok(TlsVersion::Tls13),
        Ok(v1::TlsVersion::Unspecified) | Err(_) => {
            Err(Fault::new(format!("{wire} is a version of TLS that this version does not know")).at(key))
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
