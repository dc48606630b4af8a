//! Configs as text and as what goes over the wire.

use super::{Nearly, fuzz};
use policy::config::load::{Checked, Surroundings, check, masked};
use policy::diagnostic::{Diagnostic, render};
use policy::snapshot;
use policy::table::RouteTable;
use std::io;
use std::path::{Path, PathBuf};

/// What is special in YAML and in our values.
const WORDS: &[&str] = &[
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!",
    "|\n",
    ">\n",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "${X}",
    "${X:-y}",
    "${file:/x}",
    "${",
    "$$",
    "\u{feff}",
    "\u{e9}",
    "\u{0}",
    "\u{2028}",
    "~",
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "0x10",
    ".nan",
    "18446744073709551616",
    "99999999999999h",
    "0ms",
    "1TiB",
    "http://[::1]:80",
    "/{a}/{b*}",
    "*.example.com",
    "10.0.0.0/8",
];

/// The examples and the invalid ones: `.yaml` in the folders of `configs/`.
fn texts() -> Vec<Vec<u8>> {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let folders = ["examples", "invalid", "."].map(|folder| configs.join(folder));
    let files = folders.iter().flat_map(|folder| folder.read_dir().expect("a folder of configs"));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a config")).collect()
}

fn read(text: &str) -> Result<Checked, Vec<Diagnostic>> {
    let env = |name: &str| (name == "X" || name == "JWT_SECRET").then(|| "x".repeat(40));
    let read_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
    check(text, &Surroundings { env: &env, read_file: &read_file })
}

/// A text is a config that survives the way to a data plane, or every diagnostic can be shown.
#[test]
fn configs() {
    let seeds = texts();
    fuzz!("configs", Nearly, |nearly| {
        let Ok(text) = String::from_utf8(nearly.of(&seeds, WORDS)) else { return };
        match read(&text) {
            Ok(config) => {
                // defaults stand in what is sent, so it is the second round that changes nothing
                let sent = snapshot::encode(&config.config);
                let decoded = snapshot::decode_table(&sent.table).expect("what was sent is read");
                assert_eq!(snapshot::encode(&decoded), sent);
            }
            Err(diagnostics) => {
                assert!(!diagnostics.is_empty());
                render("gateway.yaml", &text, &diagnostics, false);
            }
        }
        let _ = masked(&text);
    },);
}

/// Bytes of a table are refused, or a config that is the same after another round.
#[test]
fn snapshots() {
    let configs = texts().into_iter().filter_map(|text| {
        let text = String::from_utf8(text).ok()?;
        read(&text).ok()
    });
    let seeds: Vec<Vec<u8>> =
        configs.map(|checked| snapshot::encode(&checked.config).table.to_vec()).collect();
    assert!(seeds.len() > 20, "{} seeds", seeds.len());
    let words = ["\n", "\u{12}", "\u{1a}", "\"", "\u{0}", "\u{7f}", "\u{8}\u{1}", "a", "/", "http://a:1"];
    fuzz!("snapshots", Nearly, |nearly| {
        let Ok(config) = snapshot::decode_table(&nearly.of(&seeds, &words)) else { return };
        // what is left out on the wire is written out the first time
        let sent = snapshot::encode(&config);
        let again = snapshot::decode_table(&sent.table).expect("what was read is sent");
        assert_eq!(snapshot::encode(&again), sent);
        let _ = RouteTable::build(&config, None);
    },);
}
