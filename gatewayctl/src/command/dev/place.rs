//! Where `dev` keeps its things: a directory with a copy of the config that may be edited.

use crate::command::validate::surroundings;
use crate::exit::{Exit, Failure};
use crate::source::Source;
use policy::config::load::{self, Loaded};
use policy::diagnostic::{Code, ConfigPath, Problem, Span};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Two routes with filters of every kind, and three targets on loopback.
const DEFAULT_CONFIG: &str = include_str!("../../../../configs/gateway.yaml");
const CONFIG_NAME: &str = "gateway.yaml";

pub enum Place {
    /// Goes with the process.
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Place {
    /// Makes the directory and writes the config, unless one from an earlier run is there.
    pub fn prepare(
        state_dir: Option<&Path>,
        file: Option<&Path>,
        port: Option<u16>,
    ) -> Result<Self, Failure> {
        let place = match state_dir {
            Some(directory) => Self::Kept(directory.to_owned()),
            None => {
                Self::Temporary(tempfile::tempdir().map_err(|error| unusable(&std::env::temp_dir(), &error))?)
            }
        };
        let directory = place.directory();
        fs::create_dir_all(directory).map_err(|error| unusable(directory, &error))?;
        let source = place.wanted(file)?;
        let text = match port {
            Some(port) => with_port(&source, port)?,
            None => source.text,
        };
        fs::write(place.config(), text).map_err(|error| unusable(&place.config(), &error))?;
        Ok(place)
    }

    /// The file that the user named, the one of an earlier run, or the default.
    fn wanted(&self, file: Option<&Path>) -> Result<Source, Failure> {
        let config = self.config();
        match (file, config.exists()) {
            (Some(_), true) => {
                Err(Failure::usage(format_args!("{} is there from an earlier run", config.display()))
                    .help("leave out --file to go on with it, or name another --state-dir"))
            }
            (Some(file), false) => Source::read(file),
            (None, true) => Source::read(&config),
            (None, false) => Ok(Source { name: CONFIG_NAME.to_owned(), text: DEFAULT_CONFIG.to_owned() }),
        }
    }

    pub fn directory(&self) -> &Path {
        match self {
            Place::Temporary(directory) => directory.path(),
            Place::Kept(directory) => directory,
        }
    }

    pub fn config(&self) -> PathBuf {
        self.directory().join(CONFIG_NAME)
    }

    pub fn source(&self) -> Result<Source, Failure> {
        Source::read(&self.config())
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format_args!("{} cannot be used: {error}", path.display()))
        .help("name another with --state-dir")
}

/// The text with another `server.port` and everything else, comments too, as it was.
fn with_port(source: &Source, port: u16) -> Result<String, Failure> {
    let text = &source.text;
    let Ok(loaded) = load::load(text, &surroundings()) else {
        // what is wrong with it is told when it is checked
        return Ok(text.clone());
    };
    let root = ConfigPath::default();
    let server = root.key("server");
    if let Some(span) = value(&loaded, &server, "port") {
        return Ok(format!("{}{port}{}", &text[..span.start as usize], &text[span.end as usize..]));
    }
    if value(&loaded, &root, "server").is_none() {
        return Ok(format!("server:\n  port: {port}\n\n{text}"));
    }
    Err(Failure::new(Exit::Usage, format_args!("{} has a `server` without a `port`", source.name))
        .help("write the port there instead of --port"))
}

/// Where the value of a key stands; a key that is not there is located at its parent.
fn value(loaded: &Loaded<'_>, parent: &ConfigPath, key: &str) -> Option<Span> {
    let span =
        |path: &ConfigPath| loaded.locate(&[Problem::new(Code::MISSING_KEY, path.clone(), "")]).pop()?.span;
    span(&parent.key(key)).filter(|found| Some(*found) != span(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str =
        "routes:\n  - name: a\n    prefix: /a\n    targets: [{addr: 'http://127.0.0.1:1'}]\n";

    fn ported(server: &str) -> Result<String, Failure> {
        with_port(&Source { name: "f".to_owned(), text: format!("{server}{ROUTES}") }, 9999)
    }

    #[test]
    fn port_is_replaced_where_it_stands() {
        assert_eq!(
            ported("server:\n  port: 8080 # ours\n").unwrap(),
            format!("server:\n  port: 9999 # ours\n{ROUTES}")
        );
        assert_eq!(ported("server: {port: 80}\n").unwrap(), format!("server: {{port: 9999}}\n{ROUTES}"));
    }

    #[test]
    fn port_is_added_where_there_is_none() {
        assert_eq!(ported("").unwrap(), format!("server:\n  port: 9999\n\n{ROUTES}"));
        assert_eq!(ported("server: {max_headers: 5}\n").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn edits_of_an_earlier_run_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Some(directory.path());
        let place = Place::prepare(kept, None, None).unwrap();
        assert_eq!(place.source().unwrap().text, DEFAULT_CONFIG);
        fs::write(place.config(), ROUTES).unwrap();
        assert_eq!(Place::prepare(kept, None, None).unwrap().source().unwrap().text, ROUTES);
        let other = directory.path().join("other.yaml");
        fs::write(&other, ROUTES).unwrap();
        assert!(Place::prepare(kept, Some(&other), None).is_err());
    }
}
