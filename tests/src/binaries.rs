//! Where the programs under test are; builds them when the test run has not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of `controlplane`, `dataplane` or `gatewayctl`, built with the profile of the running test.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(build).join(name)
}

/// Cargo builds another package's programs for a test only under its own terms, so the harness asks for them.
///
/// `--workspace`, because naming packages would resolve other features and compile every dependency again.
fn build() -> PathBuf {
    let directory = profile_directory();
    if std::env::var_os("GATEWAY_TEST_PREBUILT").is_some() {
        return directory;
    }
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target = directory.parent().unwrap_or(Path::new("target"));
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(
        output.status.success(),
        "the programs do not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    directory
}

/// `target/debug` for `target/debug/deps/routing-0123` and for `target/debug/soak`.
fn profile_directory() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_else(|error| panic!("no path of this test: {error}"));
    let directory = exe.parent().unwrap_or(Path::new("."));
    if directory.ends_with("deps") {
        directory.parent().unwrap_or(directory).into()
    } else {
        directory.into()
    }
}
