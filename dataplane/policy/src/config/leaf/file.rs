//! Files on the hosts of the data planes.

use super::fault::quoted;
use super::{Fault, text_leaf};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The absolute path of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(PathBuf);

text_leaf!(
    FilePath,
    "an absolute path",
    "The absolute path of a file on the hosts of the data planes.",
    "pattern": "^/.*[^/]$"
);

/// PATH_MAX of Linux.
const LONGEST: usize = 4096;

impl FilePath {
    /// As the system takes it.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for FilePath {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| {
            let fault = Fault::new(format!("{} {why}", quoted(text)));
            Err(fault.help("write an absolute path such as `/etc/mini-gateway/tls/example.com.pem`"))
        };
        match text {
            _ if !text.starts_with('/') => bad("is not an absolute path"),
            _ if text.ends_with('/') => bad("is a directory"),
            _ if text.len() > LONGEST => bad("is longer than a path can be"),
            _ if text.contains(char::is_control) => bad("holds a control character"),
            _ => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::FilePath;

    #[test]
    fn a_path_is_absolute_and_of_a_file() {
        assert_eq!("/etc/a.pem".parse::<FilePath>().expect("a path").to_string(), "/etc/a.pem");
        for bad in ["a.pem", "", "/etc/", "/etc/a\n.pem", &format!("/{}", "a".repeat(4096))] {
            assert!(bad.parse::<FilePath>().is_err(), "{bad}");
        }
    }
}
