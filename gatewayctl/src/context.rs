//! Which control plane a command speaks to: flag, environment, or a named context of the user's file.

use crate::exit::Failure;
use etcetera::BaseStrategy as _;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where a control plane on this machine listens.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:9090";

/// The variable that names a control plane for every command of a shell or CI job.
pub const ENDPOINT_VARIABLE: &str = "GATEWAYCTL_ENDPOINT";

/// `$XDG_CONFIG_HOME/gatewayctl/config.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The context that is used when none is named.
    #[serde(default)]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `http://host:port` of the control plane.
    pub endpoint: String,
}

impl Contexts {
    /// The user's file; none is the same as an empty one.
    pub fn load() -> Result<Self, Failure> {
        match path() {
            Some(path) => Self::load_from(&path),
            None => Ok(Self::default()),
        }
    }

    fn load_from(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Failure::usage(format_args!("cannot read {}: {error}", path.display())));
            }
        };
        serde_yaml::from_str(&text)
            .map_err(|error| Failure::usage(format_args!("{}: {error}", path.display())))
    }

    fn endpoint_of(&self, name: &str) -> Result<String, Failure> {
        match self.contexts.get(name) {
            Some(context) => Ok(context.endpoint.clone()),
            None => Err(Failure::usage(format_args!("no context is named {name:?}")).help(self.known())),
        }
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let file = path().map_or_else(|| "the config file".to_owned(), |path| path.display().to_string());
        if names.is_empty() {
            format!("{file} has no contexts")
        } else {
            format!("{file} has: {}", names.join(", "))
        }
    }
}

fn path() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.config_dir().join("gatewayctl").join("config.yaml"))
}

/// What the user said about where the control plane is.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub endpoint: Option<String>,
    pub context: Option<String>,
}

impl Wanted {
    /// The endpoint to use: `--endpoint`, `--context`, the environment, the file's current context, the default.
    pub fn resolve(&self) -> Result<String, Failure> {
        let variable = std::env::var(ENDPOINT_VARIABLE).ok().filter(|value| !value.is_empty());
        let endpoint = match (&self.endpoint, &self.context, variable) {
            (Some(endpoint), _, _) => endpoint.clone(),
            (None, Some(context), _) => Contexts::load()?.endpoint_of(context)?,
            (None, None, Some(endpoint)) => endpoint,
            (None, None, None) => current(&Contexts::load()?)?,
        };
        normalize(&endpoint)
    }
}

fn current(contexts: &Contexts) -> Result<String, Failure> {
    match &contexts.current {
        Some(name) => contexts.endpoint_of(name),
        None => Ok(DEFAULT_ENDPOINT.to_owned()),
    }
}

/// `host:port` is taken as `http://host:port`, which is what people type.
fn normalize(endpoint: &str) -> Result<String, Failure> {
    match endpoint.split_once("://") {
        None => Ok(format!("http://{endpoint}")),
        Some(("http", _)) => Ok(endpoint.to_owned()),
        Some((scheme, _)) => {
            Err(Failure::usage(format_args!("{endpoint}: the scheme {scheme} is not supported"))
                .help("write http://host:port"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn contexts(yaml: &str) -> Contexts {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn current_context_is_used_when_none_is_named() {
        let contexts = contexts("current: lab\ncontexts: {lab: {endpoint: 'http://lab:9090'}}");
        assert_eq!(current(&contexts).unwrap(), "http://lab:9090");
        assert_eq!(current(&Contexts::default()).unwrap(), DEFAULT_ENDPOINT);
    }

    #[test]
    fn unknown_context_lists_the_known_ones() {
        let failure =
            contexts("contexts: {lab: {endpoint: x}, prod: {endpoint: y}}").endpoint_of("prdo").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.help.unwrap().ends_with("has: lab, prod"));
    }

    #[test]
    fn misspelt_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, "contexts: {lab: {endpiont: x}}").unwrap();
        let failure = Contexts::load_from(&path).unwrap_err();
        assert!(failure.message.contains("endpiont"), "{}", failure.message);
    }

    #[test]
    fn missing_file_is_no_contexts() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Contexts::load_from(&directory.path().join("none.yaml")).unwrap().contexts.is_empty());
    }

    #[test]
    fn scheme_may_be_left_out() {
        assert_eq!(normalize("127.0.0.1:9090").unwrap(), "http://127.0.0.1:9090");
        assert_eq!(normalize("https://gw:9090").unwrap_err().exit, Exit::Usage);
    }
}
