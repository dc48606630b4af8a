//! From the command line to the request that is asked about: the same as curl would send.

use crate::exit::Failure;
use policy::explain::Question;
use proto::v1::{self, HeaderField};
use std::net::IpAddr;

/// `Name: value`, as curl's `-H` has it.
pub fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write NAME: VALUE, as in 'X-Version: 2'".to_owned()),
    }
}

/// The request, checked here: what is no HTTP is a mistake of whoever typed it, and no instance need say so.
pub fn question(
    method: String,
    url: &str,
    headers: Vec<(String, String)>,
    peer: IpAddr,
    listener: Option<String>,
) -> Result<v1::Explain, Failure> {
    let (host, target) = split(url)?;
    let names_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let own = host.filter(|_| !names_host).map(|host| ("host".to_owned(), host));
    let headers: Vec<_> = own.into_iter().chain(headers).collect();
    Question::new(&method, &target, &headers, peer).map_err(Failure::usage)?;
    let headers = headers.into_iter().map(|(name, value)| HeaderField { name, value }).collect();
    Ok(v1::Explain {
        method,
        target,
        headers,
        peer: peer.to_string(),
        listener: listener.unwrap_or_default(),
    })
}

/// Host and target. The path stays as it is typed: how the gateway reads it is a part of the answer.
fn split(url: &str) -> Result<(Option<String>, String), Failure> {
    let url = url.split('#').next().unwrap_or_default();
    if url.starts_with('/') || url == "*" {
        return Ok((None, url.to_owned()));
    }
    let scheme =
        |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let rest = match ["http://", "https://"].into_iter().find(|one| scheme(one)) {
        Some(scheme) => &url[scheme.len()..],
        None if url.contains("://") => {
            return Err(Failure::usage(format_args!("{url}: only http and https are served")));
        }
        None => url,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    if host.is_empty() {
        return Err(Failure::usage(format_args!("{url:?} names no host")).help("write http://host/path"));
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((Some(host.to_owned()), format!("{slash}{target}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_curl_does_and_its_path_is_left_alone() {
        for (url, host, target) in [
            ("http://a.example/x?y=1", Some("a.example"), "/x?y=1"),
            ("HTTPS://a.example:8443", Some("a.example:8443"), "/"),
            ("http://a.example?y=1", Some("a.example"), "/?y=1"),
            ("localhost:8080/../x//y", Some("localhost:8080"), "/../x//y"),
            ("/x#part", None, "/x"),
            ("*", None, "*"),
        ] {
            assert_eq!(split(url), Ok((host.map(str::to_owned), target.to_owned())), "{url}");
        }
        for wrong in ["", "http://", "http:///x", "ftp://a/x"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_header_goes_before_that_of_the_url() {
        let peer = IpAddr::from([127, 0, 0, 1]);
        let own = vec![("HOST".to_owned(), "b.example".to_owned())];
        let asked = question("GET".to_owned(), "http://a.example/", own, peer, None).unwrap();
        assert_eq!(asked.headers.len(), 1);
        assert_eq!(asked.headers[0].value, "b.example");
    }
}
