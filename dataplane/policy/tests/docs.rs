//! The documentation says what is true: its examples load, and it leaves out no key, no code and no refusal.

use policy::config::load::{Surroundings, check};
use policy::config::schema;
use policy::diagnostic::{Code, render};
use policy::rejection::Rejection;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn page(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of a language, each with the line on which it begins.
fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, text) in (1..).zip(page.lines()) {
        match &mut open {
            None if text == fence => open = Some((line + 1, String::new())),
            None => {}
            Some(_) if text == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(text);
                block.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The names of all keys that a schema has for maps, at any depth.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| keys(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

/// A page's rows of tables, by cells.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").map(str::trim).collect())
}

#[test]
fn every_example_of_a_config_is_valid() {
    let env = |name: &str| match name {
        "JWT_SECRET" | "ALICE_KEY" => Some("swordfish".to_owned()),
        "PUBLIC_HOST" => Some("www.example.com".to_owned()),
        "BACKEND_HOST" => Some("127.0.0.1".to_owned()),
        _ => None,
    };
    let surroundings = Surroundings { env: &env, read_file: &|_| Ok("s3cr3t".to_owned()) };
    for name in ["config.md", "operations.md"] {
        for (line, source) in blocks(&page(name), "yaml") {
            if let Err(diagnostics) = check(&source, &surroundings) {
                panic!("docs/{name}:{line}:\n{}", render(name, &source, &diagnostics, false));
            }
        }
    }
    assert!(blocks(&page("config.md"), "yaml").len() >= 8, "the examples are found");
}

#[test]
fn every_key_is_documented() {
    let page = page("config.md");
    let mut known = BTreeSet::new();
    keys(&schema(), &mut known);
    assert!(known.contains("max_connections_wait") && known.contains("half_open_max"), "{known:?}");
    let missing: Vec<_> = known.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/config.md does not mention {missing:?}");
}

#[test]
fn every_code_is_documented_by_its_meaning() {
    let page = page("config.md");
    for (code, title) in Code::ALL {
        let row = rows(&page).find(|row| row[0] == code.to_string());
        let row = row.unwrap_or_else(|| panic!("docs/config.md has no row for {code}"));
        assert!(row[1].starts_with(title), "docs/config.md: {code} is {title:?}, not {:?}", row[1]);
    }
}

#[test]
fn every_refusal_is_documented_with_its_status_and_error_type() {
    let page = page("operations.md");
    for rejection in Rejection::ALL {
        let reason = format!("`{}`", rejection.reason());
        let row = rows(&page).find(|row| row.get(1) == Some(&reason.as_str()));
        let row = row.unwrap_or_else(|| panic!("docs/operations.md has no row for {reason}"));
        assert_eq!(row[0], rejection.status().as_str(), "{reason}");
        assert_eq!(row[2], format!("`{}`", rejection.proxy_error()), "{reason}");
    }
}

/// All of our own Rust, as one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in folder.read_dir().expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_promise_about_hostile_input_names_a_test() {
    let mut text = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    ["dataplane", "controlplane", "proto", "tests"]
        .iter()
        .for_each(|folder| sources(&root.join(folder), &mut text));
    let page = page("security.md");
    let promises: Vec<_> = rows(&page).filter(|row| row.len() == 3 && row[2].starts_with('`')).collect();
    assert!(promises.len() > 50, "{} promises", promises.len());
    for promise in promises {
        for name in promise[2].split(", ").map(|name| name.trim_matches('`')) {
            assert!(text.contains(&format!("fn {name}()")), "docs/security.md: there is no test {name:?}");
        }
    }
}
