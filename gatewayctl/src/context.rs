//! Which control plane a command speaks to: flag, environment, or a named context of the user's file.

use crate::client::Way;
use crate::exit::Failure;
use etcetera::BaseStrategy as _;
use proto::access::{Access, Token};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where a control plane on this machine listens.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:9090";

/// The variable that names a control plane for every command of a shell or CI job.
pub const ENDPOINT_VARIABLE: &str = "GATEWAYCTL_ENDPOINT";
/// The variable that names the file of authorities.
pub const CA_VARIABLE: &str = "GATEWAYCTL_CA";
/// The variable that holds the token itself.
pub const TOKEN_VARIABLE: &str = "GATEWAYCTL_TOKEN";

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

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `http://host:port` or `https://host:port` of the control plane.
    pub endpoint: String,
    /// Authorities in PEM; like the next one, written as seen from the directory of the file.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Holds the token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
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
        let mut contexts: Self = serde_yaml::from_str(&text)
            .map_err(|error| Failure::usage(format_args!("{}: {error}", path.display())))?;
        for Context { ca, token_file, .. } in contexts.contexts.values_mut() {
            for file in ca.iter_mut().chain(token_file) {
                *file = path.with_file_name(&*file);
            }
        }
        Ok(contexts)
    }

    fn named(&self, name: &str) -> Result<Context, Failure> {
        match self.contexts.get(name) {
            Some(context) => Ok(context.clone()),
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

/// What the user said about where the control plane is, and who asks.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub endpoint: Option<String>,
    pub context: Option<String>,
    pub ca: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
}

impl Wanted {
    /// The endpoint by `--endpoint`, `--context`, the environment, the file's current context, or the default. Authorities
    /// and token by flag; else of the context, if one was used: what the environment has may be meant for another control
    /// plane; else of the environment.
    pub fn resolve(self) -> Result<Way, Failure> {
        let context = match (self.endpoint, self.context, variable(ENDPOINT_VARIABLE)) {
            (Some(endpoint), _, _) => Named::by_url(endpoint),
            (None, Some(context), _) => Named::by_context(&Contexts::load()?, &context)?,
            (None, None, Some(endpoint)) => Named::by_url(endpoint),
            (None, None, None) => current(&Contexts::load()?)?,
        };
        let Named { endpoint, ca, token_file, is_context } = context;
        let url = Access::parse(&normalize(&endpoint))
            .map_err(|error| Failure::usage(format_args!("{endpoint}: {error}")))?;
        let of_environment = |name| if is_context { None } else { variable(name) };
        // for every other control plane of the shell; this one may have no TLS
        let of_shell = || of_environment(CA_VARIABLE).filter(|_| url.scheme_str() == Some("https"));
        let ca = self.ca.or(ca).or_else(|| of_shell().map(PathBuf::from));
        let token = match (self.token_file.or(token_file), of_environment(TOKEN_VARIABLE)) {
            (Some(file), _) => Some(Token::read(&file).map_err(Failure::usage)?),
            (None, Some(token)) => Some(
                Token::parse(&token)
                    .map_err(|error| Failure::usage(format_args!("{TOKEN_VARIABLE}: {error}")))?,
            ),
            (None, None) => None,
        };
        Ok(Way { access: Access { url, ca }, token })
    }
}

/// A control plane as it was named, and what belongs to it.
struct Named {
    endpoint: String,
    ca: Option<PathBuf>,
    token_file: Option<PathBuf>,
    is_context: bool,
}

impl Named {
    fn by_url(endpoint: String) -> Self {
        Self { endpoint, ca: None, token_file: None, is_context: false }
    }

    fn by_context(contexts: &Contexts, name: &str) -> Result<Self, Failure> {
        let Context { endpoint, ca, token_file } = contexts.named(name)?;
        Ok(Self { endpoint, ca, token_file, is_context: true })
    }
}

/// What is empty counts as not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn current(contexts: &Contexts) -> Result<Named, Failure> {
    match &contexts.current {
        Some(name) => Named::by_context(contexts, name),
        None => Ok(Named::by_url(DEFAULT_ENDPOINT.to_owned())),
    }
}

/// `host:port` is taken as `http://host:port`, which is what people type.
fn normalize(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") }
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
        assert_eq!(current(&contexts).unwrap().endpoint, "http://lab:9090");
        assert_eq!(current(&Contexts::default()).unwrap().endpoint, DEFAULT_ENDPOINT);
    }

    #[test]
    fn unknown_context_lists_the_known_ones() {
        let failure =
            contexts("contexts: {lab: {endpoint: x}, prod: {endpoint: y}}").named("prdo").unwrap_err();
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
        assert_eq!(normalize("127.0.0.1:9090"), "http://127.0.0.1:9090");
        assert_eq!(normalize("https://gw:9090"), "https://gw:9090");
    }
}
