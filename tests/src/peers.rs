//! Programs and files of others that a scenario plays with: real peers, which not every machine has.

use std::path::{Path, PathBuf};

/// Whether all of these are here: names are looked for in `PATH`, paths as they are. If not, the scenario is to end, which
/// is said; in CI, where `.ci/run packages` brings them all, it fails.
pub fn present(peers: &[&str]) -> bool {
    let missing: Vec<_> = peers.iter().filter(|peer| find(peer).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let words = format!("{missing:?} is not here: `.ci/run packages` installs it");
    assert!(std::env::var_os("CI").is_none(), "{words}");
    eprintln!("skipped: {words}");
    false
}

fn find(peer: &str) -> Option<PathBuf> {
    if peer.contains('/') {
        return Some(PathBuf::from(peer)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(peer)).find(|program| Path::is_file(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_or_a_path() {
        assert!(find("sh").is_some() && find("/").is_some());
        assert_eq!((find("no-such-program"), find("/no/such/path")), (None, None));
    }
}
