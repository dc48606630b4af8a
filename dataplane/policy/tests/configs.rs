//! Every config in `configs/` does what its place says: examples are served, invalid ones give exactly their errors.
//!
//! `UPDATE_EXPECT=1 cargo test -p policy --test configs` writes the expected texts anew; read them before committing.

use policy::config::load::{Checked, Surroundings, check};
use policy::diagnostic::{Code, Diagnostic, render};
use policy::snapshot;
use policy::table::RouteTable;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("the folder of configs");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

/// What the configs refer to; nothing of the machine the test runs on.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "JWT_SECRET" => "correct horse battery staple, and some more",
        "PUBLIC_HOST" => "www.example.com",
        "BACKEND_HOST" => "127.0.0.1",
        "WORD" => "swordfish",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn read_file(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/run/secrets/edge_token") => Ok("s3cr3t-edge-token\n".to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    }
}

fn checked(source: &str) -> Result<Checked, Vec<Diagnostic>> {
    check(source, &Surroundings { env: &env, read_file: &read_file })
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a readable config")
}

fn name(file: &Path) -> String {
    file.file_name().expect("a file name").to_string_lossy().into_owned()
}

fn shown(file: &Path, source: &str, result: Result<Checked, Vec<Diagnostic>>) -> Checked {
    result.unwrap_or_else(|diagnostics| panic!("{}", render(&name(file), source, &diagnostics, false)))
}

#[test]
fn the_main_config_is_served_as_it_is() {
    let file = configs().join("gateway.yaml");
    let source = read(&file);
    let served = shown(&file, &source, checked(&source));
    assert_eq!(served.config.routes.len(), 2);
    assert_eq!(served.config.routes[0].filters.len(), 4);
    assert_eq!(served.config.global_filters.len(), 3);
}

#[test]
fn the_routes_of_the_main_config_are_those_without_filters() {
    let (with, without) = (configs().join("gateway.yaml"), configs().join("routing.yaml"));
    let mut with = checked(&read(&with)).expect("valid").config;
    let without = checked(&read(&without)).expect("served").config;
    with.global_filters.clear();
    with.routes.iter_mut().for_each(|route| route.filters.clear());
    assert_eq!(with, without);
}

#[test]
fn every_example_is_served_and_survives_the_wire() {
    for file in yaml_files(&configs().join("examples")) {
        let source = read(&file);
        assert!(source.starts_with("# "), "{}: says what it is about", name(&file));
        let Checked { config, warnings, .. } = shown(&file, &source, checked(&source));
        assert_eq!(warnings, [], "{}", name(&file));
        let encoded = snapshot::encode(&config);
        let back = snapshot::decode_table(&encoded.table).expect("what was encoded");
        assert_eq!(snapshot::encode(&back), encoded, "{}", name(&file));
        RouteTable::build(&back, None).expect("the same table");
    }
}

/// Data planes and control planes have tables of earlier versions on their disks: `stored/NAME.table` is what an earlier
/// version made of `stored/NAME.yaml`. Neither is ever written anew.
#[test]
fn what_an_earlier_version_has_stored_means_what_it_meant() {
    for file in yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored")) {
        let source = read(&file);
        let mut config = shown(&file, &source, checked(&source)).config;
        // there was no such thing, and 0 says so
        config.server.ping_interval = "0s".parse().expect("a duration");
        for route in &mut config.routes {
            route.websocket_idle_timeout = "0s".parse().expect("a duration");
        }
        let table = std::fs::read(file.with_extension("table")).expect("the table beside it");
        let sha256 = snapshot::hex_sha256(&table);
        let stored = proto::v1::Snapshot { table: table.into(), sha256, ..Default::default() };
        let opened = snapshot::open(&stored).unwrap_or_else(|error| panic!("{}: {error}", name(&file)));
        assert_eq!(snapshot::encode(&opened), snapshot::encode(&config), "{}", name(&file));
    }
}

#[test]
fn every_invalid_config_gives_exactly_its_errors() {
    let files = yaml_files(&configs().join("invalid"));
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut codes = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in &files {
        let source = read(file);
        let Err(diagnostics) = checked(&source) else {
            panic!("{} is valid", name(file));
        };
        codes.extend(diagnostics.iter().map(|one| one.code));
        let text = render(&name(file), &source, &diagnostics, false);
        let expected = file.with_extension("expected");
        if update {
            std::fs::write(&expected, &text).expect("the expected text");
        } else if std::fs::read_to_string(&expected).ok().as_deref() != Some(&text) {
            wrong.push(text);
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
    let untested: Vec<_> =
        Code::ALL.iter().filter(|(code, _)| code.0 < 1900 && !codes.contains(code)).collect();
    assert!(untested.is_empty(), "no config shows {untested:?}");
}
