//! What a route asks of a request besides host and path: header fields, query parameters, a method.

use super::{Lookup, RouteMatch};
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;

/// The conditions of one route.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) fields: Fields,
    /// Empty for all; with the `HEAD` that comes with `GET`.
    methods: Box<[Method]>,
    /// `HEAD` is only there because of `GET`.
    head_is_implied: bool,
}

/// Header and query conditions, sorted: equal if they say the same.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Fields {
    headers: Box<[(HeaderName, Box<str>)]>,
    query: Box<[(Box<str>, Box<str>)]>,
}

impl Conditions {
    pub(super) fn of(route: &RouteMatch) -> Self {
        let head_is_implied = route.methods.contains(&Method::GET) && !route.methods.contains(&Method::HEAD);
        let mut methods = route.methods.clone();
        if let Some(get) = methods.iter().position(|method| head_is_implied && *method == Method::GET) {
            methods.insert(get + 1, Method::HEAD);
        }
        Self { fields: Fields::of(route), methods: methods.into(), head_is_implied }
    }

    /// Whether header and query conditions are met.
    pub(super) fn hold(&self, lookup: &Lookup<'_>) -> bool {
        let Fields { headers, query } = &self.fields;
        headers.iter().all(|(name, value)| has_header(lookup.headers, name, value))
            && query.iter().all(|(name, value)| has_parameter(lookup.query.unwrap_or_default(), name, value))
    }

    pub(super) fn allow(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// Every method that is allowed; empty for all.
    pub(super) fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The methods that are written in the config.
    pub(super) fn written_methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(|method| !(self.head_is_implied && **method == Method::HEAD))
    }
}

impl Fields {
    fn of(route: &RouteMatch) -> Self {
        let mut headers: Vec<(_, Box<str>)> =
            route.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        headers.sort_by(|(a, x), (b, y)| (a.as_str(), x).cmp(&(b.as_str(), y)));
        headers.dedup();
        let mut query: Vec<(Box<str>, Box<str>)> =
            route.query.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        query.sort();
        query.dedup();
        Self { headers: headers.into(), query: query.into() }
    }

    /// How many there are: more go first.
    pub(super) fn count(&self) -> usize {
        self.headers.len() + self.query.len()
    }
}

fn has_header(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    headers.get_all(name).iter().any(|one| one.as_bytes() == value.as_bytes())
}

fn has_parameter(query: &str, name: &str, value: &str) -> bool {
    query.split('&').any(|parameter| {
        let (its_name, its_value) = parameter.split_once('=').unwrap_or((parameter, ""));
        decodes_to(its_name, name) && decodes_to(its_value, value)
    })
}

fn decodes_to(encoded: &str, plain: &str) -> bool {
    percent_decode_str(encoded).eq(plain.bytes())
}
