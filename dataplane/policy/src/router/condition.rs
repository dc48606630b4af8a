//! What a route asks of a request besides host and path: a listener, header fields, query parameters, a method.

use super::{Lookup, RouteMatch};
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;

/// A route in the list of those that share a path, with what nearly always suffices to decide: its [`Conditions`] are
/// some cache misses away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) route: u32,
    /// A bit per standard method, and the highest one if others may be allowed.
    methods: u16,
    is_conditional: bool,
}

/// The conditions of one route.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) fields: Fields,
    /// Sorted; empty for all.
    pub(super) listeners: Box<[Box<str>]>,
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

/// A condition that a request does not meet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unmet<'a> {
    Listener(&'a [Box<str>]),
    Header(&'a HeaderName, &'a str),
    Parameter(&'a str, &'a str),
}

impl Candidate {
    pub(super) fn new(route: u32, conditions: &Conditions) -> Self {
        let methods = match conditions.methods() {
            [] => u16::MAX,
            listed => listed.iter().map(method_bit).fold(0, |bits, bit| bits | bit),
        };
        Self { route, methods, is_conditional: conditions.count() > 0 }
    }

    /// Whether it is for this listener, and header and query conditions are met.
    pub(super) fn holds(self, all: &[Conditions], lookup: &Lookup<'_>) -> bool {
        !self.is_conditional || all[self.route as usize].unmet(lookup).is_none()
    }

    /// Whether `method`, whose bit is `bit`, is allowed.
    pub(super) fn allows(self, all: &[Conditions], method: &Method, bit: u16) -> bool {
        self.methods & bit != 0 && (bit != OTHER_METHOD || all[self.route as usize].allow(method))
    }
}

const OTHER_METHOD: u16 = 1 << 15;

pub(super) fn method_bit(method: &Method) -> u16 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 1 << 1,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::DELETE => 1 << 4,
        Method::PATCH => 1 << 5,
        Method::OPTIONS => 1 << 6,
        Method::TRACE => 1 << 7,
        Method::CONNECT => 1 << 8,
        _ => OTHER_METHOD,
    }
}

impl Conditions {
    pub(super) fn of(route: &RouteMatch) -> Self {
        let head_is_implied = route.methods.contains(&Method::GET) && !route.methods.contains(&Method::HEAD);
        let mut methods = route.methods.clone();
        if let Some(get) = methods.iter().position(|method| head_is_implied && *method == Method::GET) {
            methods.insert(get + 1, Method::HEAD);
        }
        let mut listeners: Vec<Box<str>> = route.listeners.iter().map(|name| name.as_str().into()).collect();
        listeners.sort();
        listeners.dedup();
        Self {
            fields: Fields::of(route),
            listeners: listeners.into(),
            methods: methods.into(),
            head_is_implied,
        }
    }

    /// The first condition that a request does not meet.
    pub(super) fn unmet(&self, lookup: &Lookup<'_>) -> Option<Unmet<'_>> {
        let is_for = |listener: &str| self.listeners.iter().any(|one| **one == *listener);
        if !self.listeners.is_empty() && !is_for(lookup.listener) {
            return Some(Unmet::Listener(&self.listeners));
        }
        self.fields.unmet(lookup)
    }

    /// How many there are: more go first.
    pub(super) fn count(&self) -> usize {
        self.fields.headers.len() + self.fields.query.len() + usize::from(!self.listeners.is_empty())
    }

    fn allow(&self, method: &Method) -> bool {
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

    fn unmet(&self, lookup: &Lookup<'_>) -> Option<Unmet<'_>> {
        let header = |(name, value): &&(HeaderName, Box<str>)| !has_header(lookup.headers, name, value);
        let query = lookup.query.unwrap_or_default();
        let parameter = |(name, value): &&(Box<str>, Box<str>)| !has_parameter(query, name, value);
        let header = self.headers.iter().find(header).map(|(name, value)| Unmet::Header(name, value));
        header
            .or_else(|| self.query.iter().find(parameter).map(|(name, value)| Unmet::Parameter(name, value)))
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
