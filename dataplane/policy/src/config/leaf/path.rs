//! The paths a route is for.

use super::fault::quoted;
use super::{Fault, text_leaf};
use std::fmt;
use std::str::FromStr;

/// A normalised path without a trailing slash (`/` itself excepted).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPrefix(pub String);

/// An exact path, or one with `{name}` in place of whole segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathTemplate(pub String);

text_leaf!(
    PathPrefix,
    "a path such as `/api`",
    "Every path below this one, by whole segments: `/api` takes `/api` and `/api/x`, not `/apix`.",
    "pattern": "^/[^?#{}*]*$"
);
text_leaf!(
    PathTemplate,
    "a path such as `/users/{id}`",
    "One exact path, or a template whose `{name}` takes any one segment: `/users/{id}`.",
    "pattern": "^/[^?#*]*$"
);

impl PathPrefix {
    /// Whether a normalised path is this one or below it, by whole segments.
    pub fn covers(&self, path: &str) -> bool {
        let own = self.0.trim_end_matches('/');
        path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for PathPrefix {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text.contains(['{', '}']) {
            return Err(Fault::new(format!("{} has a parameter, which a prefix cannot have", quoted(text)))
                .help("a template is written `path: …`"));
        }
        check_normal(text, text)?;
        let without_slash = text.strip_suffix('/').filter(|shorter| !shorter.is_empty()).unwrap_or(text);
        Ok(Self(without_slash.to_owned()))
    }
}

impl FromStr for PathTemplate {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = |why: String| Fault::new(format!("{} {why}", quoted(text)));
        let mut names = Vec::new();
        let mut literal = Vec::new();
        for segment in text.split('/') {
            let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
                if segment.contains(['{', '}']) {
                    return Err(bad("has a parameter that is not a whole segment".into())
                        .help("a parameter stands alone between slashes: `/users/{id}`"));
                }
                literal.push(segment);
                continue;
            };
            if !is_identifier(name) {
                return Err(bad(format!("has the unusable parameter name {}", quoted(name)))
                    .help("a name is made of letters, digits and `_`, and begins with a letter or `_`"));
            }
            if names.contains(&name) {
                return Err(bad(format!("has two parameters named {}", quoted(name))));
            }
            names.push(name);
            // any segment that is normal will do in the parameter's place
            literal.push("x");
        }
        check_normal(text, &literal.join("/"))?;
        Ok(Self(text.to_owned()))
    }
}

fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Requests are matched by their normalised path, so one written otherwise would never match. `path` is what is
/// `written` with a text in place of each parameter.
fn check_normal(written: &str, path: &str) -> Result<(), Fault> {
    let bad = |why: &str| Fault::new(format!("{} {why}", quoted(written)));
    if !path.starts_with('/') {
        return Err(bad("does not begin with `/`").help(format!("write `/{written}`")));
    }
    if let Some(at) = written.find(['?', '#']) {
        return Err(bad("has a query or fragment")
            .help(format!("write `{}`, and match parameters with `query`", &written[..at])));
    }
    if path.contains('*') {
        return Err(bad("has a `*`")
            .help("`prefix` takes everything below a path; `{name}` in `path` takes one segment"));
    }
    match crate::path::normalize(path) {
        Err(why) => Err(bad(&format!("is not a path: {why}"))),
        Ok(normal) if normal == path => Ok(()),
        Ok(normal) => {
            let fault = bad("is not in normal form, so no request would match it");
            Err(if written == path { fault.help(format!("write `{normal}`")) } else { fault })
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
