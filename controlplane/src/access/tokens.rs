//! Tokens: who has one, and what they may.
//!
//! The file holds the SHA-256 of each token and not the token. Tokens are random and long, so there is nothing to guess
//! from it, and no need of a slow hash; and looking a hash up tells by its time nothing about the token.

use super::renewed::OfFiles;
use crate::digest::sha256_hex;
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;
use tonic::{Request, Status};

/// Calls that change nothing. What a viewer may is listed, so that a new call is none of it.
const READS: [&str; 6] = ["WatchRollout", "GetConfig", "GetStatus", "ListVersions", "Ask", "WatchRequests"];

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    role: Role,
    /// Of the token, as [`sha256_hex`] writes it.
    sha256: String,
}

impl Caller {
    /// Who has made the call; nobody in particular where there are no tokens.
    pub(crate) fn of<T>(request: &Request<T>) -> Option<Self> {
        request.extensions().get().cloned()
    }
}

/// What somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Join the fleet, and nothing else
    DataPlane,
    /// Ask for all that can be shown; change nothing
    Viewer,
    /// Whatever gatewayctl can do
    Operator,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::DataPlane => "data-plane",
            Role::Viewer => "viewer",
            Role::Operator => "operator",
        })
    }
}

impl Role {
    /// `method` is `/package.Service/Method`.
    fn may(self, method: &str) -> bool {
        let (service, method) = method.trim_start_matches('/').split_once('/').unwrap_or_default();
        match service {
            "gateway.v1.Discovery" => self == Role::DataPlane,
            "gateway.v1.Admin" => self == Role::Operator || (self == Role::Viewer && READS.contains(&method)),
            // what services there are
            "grpc.reflection.v1.ServerReflection" => self != Role::DataPlane,
            _ => false,
        }
    }
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    /// In hexadecimal.
    sha256: String,
}

/// A line for the file's list, by which the token is known there.
pub fn token_entry(name: &str, role: Role, token: &str) -> String {
    let sha256 = sha256_hex(token.as_bytes());
    // a string of JSON is one of YAML, whatever is in it
    let name = serde_json::Value::from(name);
    format!("  - {{name: {name}, role: {role}, sha256: {sha256}}}")
}

/// Whom each token belongs to, by its SHA-256.
#[derive(Debug)]
pub(crate) struct Tokens(HashMap<String, Caller>);

impl OfFiles for Tokens {
    fn read(contents: &[Vec<u8>]) -> Result<Self, String> {
        let [content] = contents else { return Err("one file is wanted".to_owned()) };
        let text = std::str::from_utf8(content).map_err(|error| format!("it is no text: {error}"))?;
        let File { tokens } = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let mut known = HashMap::with_capacity(tokens.len());
        for Entry { name, role, sha256 } in tokens {
            if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!(
                    "the sha256 of {name} is not 64 hexadecimal digits: `printf %s TOKEN | sha256sum` makes one"
                ));
            }
            let sha256 = sha256.to_ascii_lowercase();
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(format!("{name:?} is no name"));
            }
            let caller = Caller { name: name.clone(), role, sha256: sha256.clone() };
            if let Some(other) = known.insert(sha256, caller) {
                return Err(format!("{} and {name} have the same token", other.name));
            }
        }
        Ok(Self(known))
    }
}

impl Tokens {
    /// Whether the caller's token is still good for the same.
    pub(super) fn know(&self, caller: &Caller) -> bool {
        self.0.get(&caller.sha256) == Some(caller)
    }

    /// Who calls the method with this `Authorization`.
    ///
    /// # Errors
    /// Nobody known (`UNAUTHENTICATED`), or somebody who may not (`PERMISSION_DENIED`).
    pub(super) fn admit(&self, method: &str, authorization: Option<&[u8]>) -> Result<Caller, Status> {
        let Some(authorization) = authorization else {
            return Err(Status::unauthenticated("this control plane wants a token"));
        };
        let token = authorization.split_at_checked(7).filter(|(scheme, _)| {
            // RFC 9110 §11.1: a scheme is the same in capitals
            scheme.eq_ignore_ascii_case(b"bearer ")
        });
        let caller = token.and_then(|(_, token)| self.0.get(&sha256_hex(token.trim_ascii())));
        let caller = caller.ok_or_else(|| Status::unauthenticated("the token is not known here"))?;
        if caller.role.may(method) {
            return Ok(caller.clone());
        }
        let Caller { name, role, .. } = caller;
        let call = method.rsplit('/').next().unwrap_or_default();
        Err(Status::permission_denied(format!("{name} has the role {role}, which may not call {call}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn tokens(text: &str) -> Result<Tokens, String> {
        Tokens::read(&[text.as_bytes().to_vec()])
    }

    fn entry(name: &str, role: Role, token: &str) -> String {
        token_entry(name, role, token) + "\n"
    }

    #[test]
    fn each_role_may_what_it_is_for() {
        let all = [
            entry("edge", Role::DataPlane, "e"),
            entry("wall", Role::Viewer, "v"),
            entry("alice", Role::Operator, "o"),
        ];
        let tokens = tokens(&format!("tokens:\n{}", all.concat())).unwrap();
        let admitted = |call: &str, token: &str| {
            let authorization = format!("Bearer {token}");
            match tokens.admit(&format!("/{call}"), Some(authorization.as_bytes())) {
                Ok(caller) => caller.name,
                Err(status) => format!("{:?}", status.code()),
            }
        };
        let denied = "PermissionDenied";
        for (call, data_plane, viewer, operator) in [
            ("gateway.v1.Discovery/Join", "edge", denied, denied),
            ("gateway.v1.Admin/GetStatus", denied, "wall", "alice"),
            ("gateway.v1.Admin/Ask", denied, "wall", "alice"),
            ("gateway.v1.Admin/Apply", denied, denied, "alice"),
            ("gateway.v1.Admin/Order", denied, denied, "alice"),
            ("gateway.v1.Admin/Undo", denied, denied, "alice"),
            ("gateway.v1.Admin/Push", denied, denied, "alice"),
            ("gateway.v1.Admin/OfALaterBuild", denied, denied, "alice"),
            ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", denied, "wall", "alice"),
            ("of.a.later.Build/Call", denied, denied, denied),
            ("", denied, denied, denied),
        ] {
            let got = [admitted(call, "e"), admitted(call, "v"), admitted(call, "o")];
            assert_eq!(got, [data_plane, viewer, operator], "{call}");
        }
    }

    #[test]
    fn without_a_known_token_nobody_is_known() {
        let tokens = tokens(&format!("tokens:\n{}", entry("alice", Role::Operator, "right"))).unwrap();
        let code = |authorization: Option<&str>| {
            let authorization = authorization.map(str::as_bytes);
            tokens
                .admit("/gateway.v1.Admin/GetStatus", authorization)
                .map_or_else(|status| status.code(), |_| Code::Ok)
        };
        assert_eq!(code(Some("bearer right")), Code::Ok);
        for wrong in
            [None, Some(""), Some("right"), Some("Bearer "), Some("Bearer wrong"), Some("Basic right")]
        {
            assert_eq!(code(wrong), Code::Unauthenticated, "{wrong:?}");
        }
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_with_what_is_wrong() {
        let twice = entry("a", Role::Viewer, "t") + &entry("b", Role::Operator, "t");
        for (text, why) in [
            ("tokens: [{name: a, role: admin, sha256: ''}]".to_owned(), "admin"),
            ("tokens: [{name: a, role: viewer, sha256: abc}]".to_owned(), "sha256 of a"),
            (format!("tokens: [{{name: a, role: viewer, sha256: '{}'}}]", "+1".repeat(32)), "sha256 of a"),
            ("tokens: [{name: a, role: viewer, token: abc}]".to_owned(), "token"),
            ("token: []".to_owned(), "token"),
            (format!("tokens:\n{twice}"), "a and b have the same token"),
        ] {
            let refusal = tokens(&text).unwrap_err();
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
        for name in ["Jose\u{301}", "a b\u{a0}", "o'Neill: {x}", "🦀"] {
            let tokens = tokens(&format!("tokens:\n{}", entry(name, Role::Viewer, "t"))).unwrap();
            assert!(tokens.0.values().all(|caller| caller.name == name), "{tokens:?}");
        }
        // nobody may anything
        assert!(tokens("tokens: []").is_ok());
    }
}
