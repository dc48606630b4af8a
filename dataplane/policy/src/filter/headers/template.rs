//! The value of a header with variables in it: parsed once, put together for each request.

use crate::client_certificate::ClientCertificate;
use crate::config::leaf::{Fault, quoted, text_leaf};
use crate::diagnostic::nearest;
use http::HeaderValue;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

/// A header value: text and `{variable}`s; `{{` and `}}` stand for braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
}

/// What is known about a request when its headers are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    ClientCertFingerprint,
    ClientCertNames,
    ClientCertSubject,
    ClientIp,
    Consumer,
    Host,
    Method,
    Path,
    RequestId,
    Route,
}

const VARIABLES: [(&str, Variable); 10] = [
    ("client_cert_fingerprint", Variable::ClientCertFingerprint),
    ("client_cert_names", Variable::ClientCertNames),
    ("client_cert_subject", Variable::ClientCertSubject),
    ("client_ip", Variable::ClientIp),
    ("consumer", Variable::Consumer),
    ("host", Variable::Host),
    ("method", Variable::Method),
    ("path", Variable::Path),
    ("request_id", Variable::RequestId),
    ("route", Variable::Route),
];

text_leaf!(
    Template,
    "a header value",
    "A header value. `{client_cert_fingerprint}`, `{client_cert_names}`, `{client_cert_subject}`, `{client_ip}`, `{consumer}`, `{host}`, `{method}`, `{path}`, `{request_id}` and `{route}` stand for what they say of the request; `{{` and `}}` for braces."
);

/// What the variables stand for in one request.
#[derive(Debug, Clone, Copy)]
pub struct Vars<'a> {
    /// What the client has shown to its listener, and what holds.
    pub client_certificate: Option<&'a ClientCertificate>,
    /// The client as `trusted_proxies` let it be known.
    pub client_ip: IpAddr,
    /// Who an `auth` filter found the caller to be.
    pub consumer: Option<&'a str>,
    /// The host asked for, lower case, without the port.
    pub host: &'a str,
    /// The method.
    pub method: &'a str,
    /// The normalised path as the client asked for it, before `strip_prefix` and `rewrite`.
    pub path: &'a str,
    /// The id that the client gets back.
    pub request_id: &'a str,
    /// The name of the route.
    pub route: &'a str,
}

impl Template {
    /// `https://{host}{path}`, with the port that stands behind the host, if any.
    pub(crate) fn by_https(port: Option<u16>) -> Self {
        let text = |text: &str| Piece::Text(text.to_owned());
        let port = port.map(|port| text(&format!(":{port}")));
        let before = [text("https://"), Piece::Variable(Variable::Host)];
        Self { pieces: before.into_iter().chain(port).chain([Piece::Variable(Variable::Path)]).collect() }
    }

    /// The value itself, if it has no variables.
    pub(super) fn constant(&self) -> Option<HeaderValue> {
        match self.pieces.as_slice() {
            [] => Some(HeaderValue::from_static("")),
            [Piece::Text(text)] => HeaderValue::from_str(text).ok(),
            _ => None,
        }
    }

    /// The value for one request; none if one of its variables has no value there.
    pub(crate) fn fill(&self, vars: &Vars<'_>) -> Option<HeaderValue> {
        let mut text = String::with_capacity(64);
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Variable(variable) => variable.write(vars, &mut text)?,
            }
        }
        HeaderValue::try_from(text).ok()
    }
}

impl Variable {
    fn write(self, vars: &Vars<'_>, text: &mut String) -> Option<()> {
        let plain = |byte: u8| matches!(byte, b' '..=b'~');
        // no two values may look alike once they stand in a header
        let unambiguous = |byte: u8| plain(byte) && byte != b'%';
        match self {
            Self::ClientCertFingerprint => push_encoded(text, &vars.client_certificate?.fingerprint, plain),
            Self::ClientCertNames => push_encoded(text, &vars.client_certificate?.names, plain),
            Self::ClientCertSubject => push_encoded(text, &vars.client_certificate?.subject, unambiguous),
            Self::ClientIp => write!(text, "{}", vars.client_ip).ok()?,
            // a name is whatever another system says
            Self::Consumer => push_encoded(text, vars.consumer?, |byte| unambiguous(byte) && byte != b' '),
            Self::Host => push_encoded(text, vars.host, plain),
            Self::Method => push_encoded(text, vars.method, plain),
            Self::Path => push_encoded(text, vars.path, plain),
            Self::RequestId => push_encoded(text, vars.request_id, plain),
            Self::Route => push_encoded(text, vars.route, plain),
        }
        Some(())
    }
}

/// Percent-encodes every byte that is not `plain`: no value can end the header it stands in.
fn push_encoded(text: &mut String, value: &str, plain: impl Fn(u8) -> bool) {
    if value.bytes().all(&plain) {
        return text.push_str(value);
    }
    for byte in value.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            // writing to a text cannot fail
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

impl FromStr for Template {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::new(format!("{} {why}", quoted(text)));
        if HeaderValue::from_str(text).is_err() {
            return Err(bad("is no header value: it holds a control character").help("a value is one line"));
        }
        if text.trim() != text {
            return Err(bad("begins or ends with a space, which no header keeps").help("remove the space"));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            let doubled = ["{{", "}}"].into_iter().find(|pair| brace.starts_with(pair));
            if let Some(pair) = doubled {
                literal.push_str(&pair[..1]);
                rest = &brace[2..];
                continue;
            }
            let inside = brace.strip_prefix('{').and_then(|open| open.split_once('}'));
            let (name, after) = inside.ok_or_else(|| {
                bad("has a brace without its other half").help("write `{{` or `}}` for a brace itself")
            })?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Variable(variable(name)?));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }
}

fn variable(name: &str) -> Result<Variable, Fault> {
    if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) {
        return Ok(*variable);
    }
    let help = match nearest(name, VARIABLES.map(|(known, _)| known)) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None => format!(
            "the variables are {}; write `{{{{` for a brace itself",
            VARIABLES.map(|(known, _)| known).join(", ")
        ),
    };
    Err(Fault::new(format!("{} is no variable", quoted(&format!("{{{name}}}")))).help(help))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Piece::Variable(variable) => {
                    let name =
                        VARIABLES.iter().find(|(_, known)| known == variable).map_or("", |(name, _)| name);
                    write!(f, "{{{name}}}")?;
                }
            }
        }
        Ok(())
    }
}
