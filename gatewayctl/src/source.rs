//! Config files as text: reading them, and what differs between two of them by name.
//!
//! Files are compared as written, before `${…}` is expanded: only the control plane knows its environment.

use crate::exit::Failure;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

/// A config file as it was given.
#[derive(Debug)]
pub struct Source {
    /// As the user named it; `<stdin>` for `-`.
    pub name: String,
    pub text: String,
}

impl Source {
    /// Reads a file, or standard input for `-`.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Self::read_stdin();
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { name: path.display().to_string(), text }),
            Err(error) => Err(Failure::usage(format_args!("cannot read {}: {error}", path.display()))),
        }
    }

    fn read_stdin() -> Result<Self, Failure> {
        let mut text = String::new();
        match std::io::stdin().lock().read_to_string(&mut text) {
            Ok(_) => Ok(Self { name: "<stdin>".to_owned(), text }),
            Err(error) => Err(Failure::usage(format_args!("cannot read standard input: {error}"))),
        }
    }
}

/// The named parts of a config and its other keys.
#[derive(Debug, Default, PartialEq)]
struct Outline {
    routes: BTreeMap<String, Value>,
    listeners: BTreeMap<String, Value>,
    upstreams: BTreeMap<String, Value>,
    settings: BTreeMap<String, Value>,
}

impl Outline {
    /// None when the text is no map in YAML; whether it is a valid config is not asked here.
    fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self::default());
        }
        let mut settings: BTreeMap<String, Value> = serde_yaml::from_str(text).ok()?;
        let routes = named(settings.remove("routes"));
        let listeners = named(settings.remove("listeners"));
        let upstreams = named(settings.remove("upstreams"));
        Some(Self { routes, listeners, upstreams, settings })
    }
}

fn named(list: Option<Value>) -> BTreeMap<String, Value> {
    let Some(Value::Array(items)) = list else { return BTreeMap::new() };
    items.into_iter().filter_map(|item| Some((item.get("name")?.as_str()?.to_owned(), item))).collect()
}

/// One difference between two configs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    pub change: Kind,
    pub kind: &'static str,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Added,
    Removed,
    Changed,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { change, kind, name } = self;
        let sign = match change {
            Kind::Added => '+',
            Kind::Removed => '-',
            Kind::Changed => '~',
        };
        write!(f, "{sign} {kind} {name}")
    }
}

/// What differs, whatever the layout; none when one of the texts is not YAML.
pub fn changes(from: &str, to: &str) -> Option<Vec<Change>> {
    let (from, to) = (Outline::parse(from)?, Outline::parse(to)?);
    let mut changes = compare("route", &from.routes, &to.routes);
    changes.extend(compare("listener", &from.listeners, &to.listeners));
    changes.extend(compare("upstream", &from.upstreams, &to.upstreams));
    changes.extend(compare("setting", &from.settings, &to.settings));
    Some(changes)
}

fn compare(kind: &'static str, from: &BTreeMap<String, Value>, to: &BTreeMap<String, Value>) -> Vec<Change> {
    let change = |change, name: &String| Change { change, kind, name: name.clone() };
    let removed = from.keys().filter(|name| !to.contains_key(*name)).map(|name| change(Kind::Removed, name));
    let written = to.iter().filter_map(|(name, value)| match from.get(name) {
        None => Some(change(Kind::Added, name)),
        Some(before) if before != value => Some(change(Kind::Changed, name)),
        Some(_) => None,
    });
    removed.chain(written).collect()
}

/// The routes, listeners and upstreams that are gone: what an apply asks about.
pub fn removals(from: &str, to: &str) -> Vec<Change> {
    let is_removal = |change: &Change| change.change == Kind::Removed && change.kind != "setting";
    changes(from, to).unwrap_or_default().into_iter().filter(is_removal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "server: {port: 8080}\nroutes:\n- {name: a, prefix: /a}\n- {name: b, prefix: /b}\n";

    fn told(from: &str, to: &str) -> Vec<String> {
        changes(from, to).unwrap().iter().map(Change::to_string).collect()
    }

    #[test]
    fn layout_comments_and_order_are_no_change() {
        let after = "# moved\nroutes:\n  - prefix: /b\n    name: b\n  - name: a\n    prefix: /a\nserver:\n  port: 8080\n";
        assert_eq!(told(BEFORE, after), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_change_is_told_by_name() {
        let after = "server: {port: 80}\nupstreams: [{name: u}]\nroutes: [{name: b, prefix: /bb}, {name: c}]";
        assert_eq!(
            told(BEFORE, after),
            ["- route a", "~ route b", "+ route c", "+ upstream u", "~ setting server"]
        );
    }

    #[test]
    fn unexpanded_variables_do_not_matter() {
        assert_eq!(told("server: {port: \"${PORT}\"}", "server: {port: '${PORT}'}"), Vec::<String>::new());
    }

    #[test]
    fn removals_are_routes_listeners_and_upstreams_only() {
        assert_eq!(removals(BEFORE, "routes: [{name: a}]").len(), 1);
        assert_eq!(removals("", BEFORE), []);
        assert_eq!(removals(BEFORE, "").len(), 2);
    }

    #[test]
    fn broken_yaml_has_no_outline() {
        assert_eq!(changes(BEFORE, "routes: ["), None);
    }
}
