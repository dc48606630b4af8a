//! What the `headers` filter does to a message: removes, then sets, then adds.

use super::{Changes, Fields, HeadersConfig, Template, Vars};
use crate::config::leaf;
use crate::headers::forbid_trailers;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A `headers` filter at run time.
#[derive(Debug)]
pub struct HeaderRules {
    request: Plan,
    response: Plan,
    /// What `request` sets or removes: the client must not get its own value through as `X_User`, which many servers
    /// read as `X-User`.
    dashed: Vec<HeaderName>,
}

#[derive(Debug)]
struct Plan {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
}

#[derive(Debug)]
enum Value {
    Constant(HeaderValue),
    /// With variables.
    Template(Template),
}

impl HeaderRules {
    /// Makes the values that are the same for every request.
    pub fn new(HeadersConfig { request, response }: &HeadersConfig) -> Self {
        let request = Plan::new(request);
        let changed = request.remove.iter().chain(request.set.iter().map(|(name, _)| name));
        let dashed = changed.filter(|name| name.as_str().contains('-')).cloned().collect();
        Self { dashed, response: Plan::new(response), request }
    }

    /// Changes what the target gets.
    pub fn request(&self, headers: &mut HeaderMap, vars: &Vars<'_>) {
        self.remove_underscored(headers);
        // nor as a trailer, which some servers take for a header
        forbid_trailers(headers, |name| self.request.replaces(name));
        self.request.apply(headers, vars);
    }

    /// Changes what the client gets.
    pub fn response(&self, headers: &mut HeaderMap, vars: &Vars<'_>) {
        self.response.apply(headers, vars);
    }

    fn remove_underscored(&self, headers: &mut HeaderMap) {
        let alike = |name: &str, other: &str| {
            let same = |(a, b): (u8, u8)| a == b || (a == b'_' && b == b'-');
            name.len() == other.len() && name.bytes().zip(other.bytes()).all(same)
        };
        let means_ours = |name: &&HeaderName| {
            name.as_str().contains('_') && self.dashed.iter().any(|ours| alike(name.as_str(), ours.as_str()))
        };
        if !self.dashed.is_empty() && headers.keys().any(|name| means_ours(&name)) {
            let found: Vec<HeaderName> = headers.keys().filter(means_ours).cloned().collect();
            for name in found {
                headers.remove(name);
            }
        }
    }
}

impl Plan {
    fn new(Changes { set, add, remove }: &Changes) -> Self {
        let values = |fields: &Fields| {
            fields.iter().map(|(leaf::HeaderName(name), value)| (name.clone(), Value::new(value))).collect()
        };
        let remove = remove.iter().map(|leaf::HeaderName(name)| name.clone()).collect();
        Self { remove, set: values(set), add: values(add) }
    }

    /// Whether the sender's own value of this field, written with `-`, goes no further.
    fn replaces(&self, name: &str) -> bool {
        let mut replaced = self.remove.iter().chain(self.set.iter().map(|(name, _)| name));
        replaced.any(|ours| ours.as_str().replace('_', "-") == name)
    }

    fn apply(&self, headers: &mut HeaderMap, vars: &Vars<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            match value.of(vars) {
                Some(value) => drop(headers.insert(name.clone(), value)),
                // what the sender wrote must not stand where the gateway's word is expected
                None => drop(headers.remove(name)),
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = value.of(vars) {
                headers.append(name.clone(), value);
            }
        }
    }
}

impl Value {
    fn new(template: &Template) -> Self {
        template.constant().map_or_else(|| Self::Template(template.clone()), Self::Constant)
    }

    fn of(&self, vars: &Vars<'_>) -> Option<HeaderValue> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Template(template) => template.fill(vars),
        }
    }
}
