//! `redirect` and `respond`: routes that need no target, because the gateway answers.
//!
//! ```yaml
//! routes:
//!   - name: to-https
//!     hosts: [www.example.com]
//!     prefix: /
//!     redirect: {to: "https://{host}{path}", status: 308}
//!   - name: robots
//!     path: /robots.txt
//!     respond: {status: 200, body: "User-agent: *\nDisallow: /\n"}
//! ```

use super::leaf::{Fault, quoted, text_leaf};
use crate::filter::headers::Template;
use http::{HeaderValue, StatusCode};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The client is sent elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectConfig {
    /// Where to. `{path}` is the path that a target would get, after `strip_prefix` and `rewrite`; the query goes along
    /// unless `to` has one.
    pub to: RedirectTo,
    /// 301, 302, 303, 307 or 308. Default: 308, which keeps the method.
    #[serde(default = "permanent")]
    pub status: u16,
}

fn permanent() -> u16 {
    StatusCode::PERMANENT_REDIRECT.as_u16()
}

/// The client is told the same each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondConfig {
    /// 200 to 599. Default: 200.
    #[serde(default = "ok")]
    pub status: u16,
    /// At most 64 KiB. Default: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Default: `text/plain; charset=utf-8`.
    #[serde(default = "text_plain")]
    pub content_type: String,
}

fn ok() -> u16 {
    StatusCode::OK.as_u16()
}

fn text_plain() -> String {
    "text/plain; charset=utf-8".to_owned()
}

/// A larger body is a file, and files are served by a web server.
const MAX_BODY: usize = 64 * 1024;

/// A URL or an absolute path, with variables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectTo(Template);

text_leaf!(
    RedirectTo,
    "a URL such as `https://{host}{path}`",
    "An http or https URL or an absolute path, with the variables of the `headers` filter: `https://{host}{path}`.",
    "pattern": "^(https?://.|/).*$"
);

impl RedirectTo {
    /// What `Location` is made of.
    pub fn template(&self) -> &Template {
        &self.0
    }

    /// Whether it brings a query of its own.
    pub fn has_query(&self) -> bool {
        self.to_string().contains('?')
    }
}

impl fmt::Display for RedirectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RedirectTo {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::new(format!("{} {why}", quoted(text)));
        let template = Template::from_str(text)?;
        if text.contains(' ') {
            return Err(bad("holds a space").help("write `%20`"));
        }
        let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_path = text == "{path}"
            || text.starts_with("{path}?")
            || text.strip_prefix('/').is_some_and(|rest| !rest.starts_with(['/', '\\', '{']));
        match authority {
            Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(Self(template)),
            // `//host` would be a URL on another host, and the client could choose it
            None if is_path => Ok(Self(template)),
            _ => Err(bad("is neither a URL nor an absolute path")
                .help("write `https://host/path`, `/path` or `{path}`; `//` begins a host, not a path")),
        }
    }
}

impl RedirectConfig {
    pub(crate) fn check(&self) -> Result<(), Fault> {
        redirects(self.status)
    }
}

/// Whether a status can stand with `Location`.
pub(crate) fn redirects(status: u16) -> Result<(), Fault> {
    match status {
        301 | 302 | 303 | 307 | 308 => Ok(()),
        other => Err(Fault::new(format!("{other} does not send a client elsewhere"))
            .at("status")
            .help("308 and 307 keep the method (for good, for now); 301, 302 and 303 may change it to GET")),
    }
}

impl RespondConfig {
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let Self { status, body, content_type } = self;
        if !(200..=599).contains(status) {
            return Err(Fault::new(format!("{status} is no final status"))
                .at("status")
                .help("write 200 to 599"));
        }
        if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            return Err(Fault::new(format!("a response of status {status} has no body")).at("body"));
        }
        if body.len() > MAX_BODY {
            let message = format!("the body has {} bytes, more than 64 KiB", body.len());
            return Err(Fault::new(message).at("body").help("let a web server serve it"));
        }
        if HeaderValue::from_str(content_type).is_err() || content_type.is_empty() {
            return Err(Fault::new("no header can have this value").at("content_type"));
        }
        Ok(())
    }
}

impl From<&RedirectConfig> for v1::Redirect {
    fn from(RedirectConfig { to, status }: &RedirectConfig) -> Self {
        Self { to: to.to_string(), status: u32::from(*status) }
    }
}

impl TryFrom<v1::Redirect> for RedirectConfig {
    type Error = Fault;

    fn try_from(v1::Redirect { to, status }: v1::Redirect) -> Result<Self, Fault> {
        Ok(Self { to: super::wire::parse("to", &to)?, status: status_of(status)? })
    }
}

impl From<&RespondConfig> for v1::Respond {
    fn from(RespondConfig { status, body, content_type }: &RespondConfig) -> Self {
        Self { status: u32::from(*status), body: body.clone(), content_type: content_type.clone() }
    }
}

impl TryFrom<v1::Respond> for RespondConfig {
    type Error = Fault;

    fn try_from(v1::Respond { status, body, content_type }: v1::Respond) -> Result<Self, Fault> {
        Ok(Self { status: status_of(status)?, body, content_type })
    }
}

pub(super) fn status_of(wire: u32) -> Result<u16, Fault> {
    u16::try_from(wire).map_err(|_| Fault::new("is no status").at("status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_begins_with_two_slashes() {
        for good in
            ["https://a.example", "http://{host}{path}", "/new{path}", "{path}", "{path}?moved=1", "/"]
        {
            let to: RedirectTo = good.parse().unwrap();
            assert_eq!(to.to_string(), good);
        }
        for bad in [
            "//a.example",
            "/{path}",
            "/\\a.example",
            "https://",
            "https:///x",
            "ftp://a",
            "a",
            "",
            "{host}",
            "/a b",
        ] {
            assert!(bad.parse::<RedirectTo>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_status_that_says_something_else_is_refused() {
        let redirect = |status| RedirectConfig { to: "/x".parse().unwrap(), status }.check();
        assert!(redirect(308).is_ok() && redirect(302).is_ok());
        assert!(redirect(200).is_err() && redirect(304).is_err());
        let respond = |status, body: &str| {
            RespondConfig { status, body: body.to_owned(), content_type: text_plain() }.check()
        };
        assert!(respond(200, "x").is_ok() && respond(204, "").is_ok() && respond(599, "").is_ok());
        assert!(respond(204, "x").is_err() && respond(101, "").is_err() && respond(600, "").is_err());
        assert!(respond(200, &"x".repeat(MAX_BODY + 1)).is_err());
    }
}
