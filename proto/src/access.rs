//! How a control plane is reached: where it is, whose certificate it must show, and the token that says who asks.

use http::Uri;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// A token is longer than what anybody would guess, and shorter than what a head may have.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

/// Why a control plane cannot even be tried, in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// The way to a control plane.
#[derive(Debug, Clone)]
pub struct Access {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: Uri,
    /// The authorities in PEM that its certificate must come from; the machine's own where there is none.
    pub ca: Option<PathBuf>,
}

impl Access {
    /// # Errors
    /// The text is no URL of a control plane.
    pub fn parse(text: &str) -> Result<Uri, Unusable> {
        const WRITE: &str = "write http://HOST:PORT or https://HOST:PORT";
        let url: Uri = text.parse().map_err(|error| Unusable(format!("not a URL: {error}; {WRITE}")))?;
        match (url.scheme_str(), url.host()) {
            (Some("http" | "https"), Some(_)) => {}
            (Some("http" | "https"), None) => return Err(Unusable(format!("the host is missing: {WRITE}"))),
            (Some(scheme), _) => {
                return Err(Unusable(format!("the scheme {scheme} is not supported: {WRITE}")));
            }
            (None, _) => return Err(Unusable(format!("the scheme is missing: {WRITE}"))),
        }
        if url.path_and_query().is_some_and(|path| path != "/") {
            return Err(Unusable(format!("it takes no path: {WRITE}")));
        }
        Ok(url)
    }

    /// Where to connect, by TLS if the URL says so. Reads the file of authorities.
    ///
    /// # Errors
    /// That file cannot be used, or is given for a URL without TLS.
    pub fn endpoint(&self) -> Result<Endpoint, Unusable> {
        let endpoint = Endpoint::from(self.url.clone());
        let tls = match (&self.ca, self.is_by_tls()) {
            (None, false) => return Ok(endpoint),
            (Some(ca), false) => {
                let (ca, url) = (ca.display(), &self.url);
                return Err(Unusable(format!("{ca} is for TLS, and {url} is not: write https://")));
            }
            (None, true) => ClientTlsConfig::new().with_enabled_roots(),
            (Some(ca), true) => {
                let content = read(ca)?;
                // tonic takes a file without any, and then trusts nobody
                if !String::from_utf8_lossy(&content).contains("-----BEGIN CERTIFICATE-----") {
                    return Err(Unusable(format!("{} holds no certificate in PEM", ca.display())));
                }
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(content))
            }
        };
        endpoint.tls_config(tls).map_err(|error| Unusable(format!("TLS cannot be used: {error}")))
    }

    fn is_by_tls(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }

    /// # Errors
    /// Others could read the token on its way.
    pub fn check_token_is_safe(&self) -> Result<(), Unusable> {
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if self.is_by_tls() || is_here {
            return Ok(());
        }
        Err(Unusable(format!("the token would travel to {} in the clear: write https://", self.url)))
    }
}

/// What says who asks. Shows itself to nobody.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

impl Token {
    /// # Errors
    /// No token looks like this.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let text = text.trim();
        if !TOKEN_LENGTH.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let (least, most) = (TOKEN_LENGTH.start(), TOKEN_LENGTH.end());
            return Err(Unusable(format!("a token has {least} to {most} visible ASCII characters")));
        }
        let value = format!("Bearer {text}");
        let mut value: MetadataValue<Ascii> =
            value.parse().map_err(|_| Unusable("a token that fits into no header".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// From a file that holds it and nothing else.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self, Unusable> {
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        Self::parse(&text).map_err(|Unusable(why)| Unusable(format!("{}: {why}", path.display())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Puts the token, if there is one, into every call.
#[derive(Debug, Clone, Default)]
pub struct Bearer(pub Option<Token>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(Token(value)) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    fs::read(path).map_err(|error| Unusable(format!("{} cannot be read: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(url: &str) -> Access {
        Access { url: Access::parse(url).unwrap(), ca: None }
    }

    #[test]
    fn a_url_of_a_control_plane_is_scheme_host_and_port() {
        for good in ["http://127.0.0.1:9090", "https://gateway.example:9090/", "http://[::1]:9090"] {
            assert!(Access::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("gateway:9090", "scheme"),
            ("ftp://gateway:9090", "ftp"),
            ("http://gateway:9090/v1", "no path"),
            ("http://", "URL"),
        ] {
            let refusal = Access::parse(bad).unwrap_err().to_string();
            assert!(refusal.contains(why), "{bad}: {refusal}");
        }
    }

    #[test]
    fn a_token_goes_by_tls_or_stays_on_the_machine() {
        for safe in ["https://gateway:1", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(access(safe).check_token_is_safe().is_ok(), "{safe}");
        }
        for clear in ["http://10.0.0.1:1", "http://gateway:1", "http://localhost.example:1"] {
            assert!(access(clear).check_token_is_safe().is_err(), "{clear}");
        }
    }

    #[test]
    fn authorities_without_tls_are_a_mistake() {
        let misled = Access { ca: Some("ca.pem".into()), ..access("http://gateway:1") };
        assert!(misled.endpoint().unwrap_err().to_string().contains("write https://"));
        let empty = Access { ca: Some("/dev/null".into()), ..access("https://gateway:1") };
        assert_eq!(empty.endpoint().unwrap_err().to_string(), "/dev/null holds no certificate in PEM");
    }

    #[test]
    fn a_token_is_read_without_the_end_of_its_line_and_never_shown() {
        let token = Token::parse("  0123456789abcdef\n").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        let request = Bearer(Some(token)).call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer 0123456789abcdef");
        assert!(!format!("{:?}", request.metadata()).contains("0123"));
        for bad in ["", "short", "0123456789 abcdef", "0123456789äbcdef"] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }
}
