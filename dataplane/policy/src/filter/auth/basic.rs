//! `type: basic`: a name and a password, which the gateway knows by its hash only (RFC 7617).

use super::unmasked;
use crate::config::leaf::{Fault, MASK, PathPrefix, quoted, text_leaf};
use crate::config::wire::{parse, parse_all, texts};
use argon2::{Argon2, Params, PasswordVerifier as _};
use bcrypt::HashParts;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// `type: basic`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicConfig {
    /// At least one.
    pub users: Vec<BasicUser>,
    /// What a browser asks for a password for. Default: `gateway`.
    #[serde(default)]
    pub realm: Realm,
    /// Paths, and all below them, that need no password.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_paths: Vec<PathPrefix>,
}

/// A caller and the hash of its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicUser {
    /// What it enters, and who it is in logs and for the target.
    pub name: String,
    /// Of its password, by bcrypt or Argon2.
    pub hash: PasswordHash,
}

/// The hash of a password, in the text form of its algorithm; no output shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// What a browser shows where it asks for a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm(String);

text_leaf!(
    PasswordHash,
    "the hash of a password",
    "The hash of a password by bcrypt ($2b$…) or Argon2 ($argon2id$…), best written as `${VARIABLE}` or `${file:/path}`; no output shows it."
);
text_leaf!(
    Realm,
    "a text",
    "What a browser shows where it asks for a password.",
    "pattern": "^[ !#-\\[\\]-~]{1,128}$"
);

/// What one check costs: a quarter of a second at 12 and four times as much at 14, a quarter as much at 10.
const BCRYPT_COSTS: RangeInclusive<u32> = 10..=14;

/// KiB that one check of Argon2 takes: OWASP's least, and what four at once may take of a gateway's memory.
const ARGON2_MEMORY: RangeInclusive<u32> = 7 * 1024..=128 * 1024;

/// KiB times passes: OWASP's least (5 passes over 7 MiB), and about a second.
const ARGON2_WORK: RangeInclusive<u64> = 35 * 1024..=1024 * 1024;

const MAKE_ONE: &str = "`htpasswd -nBC 12 NAME` prints one behind the colon";

impl PasswordHash {
    /// For the wire.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is the hash of this password. Takes as long as the hash was made to take.
    pub(crate) fn is_of(&self, password: &[u8]) -> bool {
        match argon2::PasswordHash::new(&self.0) {
            Ok(hash) if is_argon2(&self.0) => Argon2::default().verify_password(password, &hash).is_ok(),
            _ => bcrypt::verify(password, &self.0).unwrap_or(false),
        }
    }
}

fn is_argon2(text: &str) -> bool {
    text.starts_with("$argon2")
}

impl FromStr for PasswordHash {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            // of a table that is only shown; `check` refuses it, and no password has it
            MASK => {}
            _ if is_argon2(text) => check_argon2(text)?,
            _ if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) => {
                check_bcrypt(text)?
            }
            _ => {
                let fault = Fault::new("it is not the hash of a password by bcrypt or Argon2");
                return Err(fault.help(format!("other hashes are broken too quickly: {MAKE_ONE}")));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

fn check_bcrypt(text: &str) -> Result<(), Fault> {
    let parts = text.parse::<HashParts>().map_err(|_| {
        Fault::new("it begins as a hash of bcrypt, but is none")
            .help("it has 60 characters: `$2b$`, the cost, `$` and 53 of the salt and the hash")
    })?;
    let cost = parts.get_cost();
    if BCRYPT_COSTS.contains(&cost) {
        return Ok(());
    }
    let why = if cost < *BCRYPT_COSTS.start() { "is broken too quickly" } else { "takes seconds to check" };
    Err(Fault::new(format!("a hash of bcrypt with the cost {cost} {why}"))
        .help(format!("10 to 14 is served: {MAKE_ONE}")))
}

fn check_argon2(text: &str) -> Result<(), Fault> {
    let hash = argon2::PasswordHash::new(text);
    let hash = hash.ok().filter(|hash| hash.salt.is_some() && hash.hash.is_some()).ok_or_else(|| {
        Fault::new("it begins as a hash of Argon2, but is none")
            .help("it looks like `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`")
    })?;
    if !["argon2id", "argon2i"].contains(&hash.algorithm.as_str()) || hash.version != Some(19) {
        let fault = Fault::new("this variant of Argon2 is not for passwords, or out of date");
        return Err(fault.help("make it anew by Argon2id, version 19"));
    }
    let params = Params::try_from(&hash).map_err(|_| Fault::new("its parameters are not those of Argon2"))?;
    let (memory, passes) = (params.m_cost(), params.t_cost());
    let work = u64::from(memory) * u64::from(passes);
    let why = match () {
        () if memory < *ARGON2_MEMORY.start() || work < *ARGON2_WORK.start() => "is broken too quickly",
        () if memory > *ARGON2_MEMORY.end() => "takes too much memory to check",
        () if work > *ARGON2_WORK.end() => "takes seconds to check",
        () => return Ok(()),
    };
    let fault = Fault::new(format!("a hash of Argon2 with m={memory} and t={passes} {why}"));
    Err(fault
        .help("make it anew: `m=19456,t=2,p=1`, say; m is at most 131072, and m times t 35840 to 1048576"))
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Default for Realm {
    fn default() -> Self {
        Self("gateway".to_owned())
    }
}

impl FromStr for Realm {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let plain = |byte: u8| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
        if (1..=128).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let fault = Fault::new(format!("{} cannot be a realm", quoted(text)));
        Err(fault.help("1 to 128 characters of ASCII, without quotes and backslashes"))
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BasicConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.users.is_empty() {
            let fault = Fault::new("`users` is empty, so nobody would be let in").at("users");
            return Err(fault.help("add a user"));
        }
        let mut names = HashSet::new();
        for BasicUser { name, hash } in &self.users {
            unmasked(hash.expose(), "users")?;
            if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) || name.trim() != name {
                let fault = Fault::new(format!("{} cannot be the name of a user", quoted(name))).at("users");
                return Err(fault.help("a name has no colon, no control characters, and no blanks around it"));
            }
            if !names.insert(name) {
                let fault = Fault::new(format!("two users are named {}", quoted(name))).at("users");
                return Err(fault.help("rename one of them, or remove the one that is out of date"));
            }
        }
        Ok(())
    }
}

impl From<&BasicConfig> for v1::BasicAuth {
    fn from(BasicConfig { users, realm, exclude_paths }: &BasicConfig) -> Self {
        Self {
            users: users.iter().map(v1::BasicUser::from).collect(),
            realm: realm.to_string(),
            exclude_paths: texts(exclude_paths),
        }
    }
}

impl TryFrom<v1::BasicAuth> for BasicConfig {
    type Error = Fault;

    fn try_from(v1::BasicAuth { users, realm, exclude_paths }: v1::BasicAuth) -> Result<Self, Fault> {
        Ok(Self {
            users: users.into_iter().map(BasicUser::try_from).collect::<Result<_, _>>()?,
            realm: parse("realm", &realm)?,
            exclude_paths: parse_all("exclude_paths", &exclude_paths)?,
        })
    }
}

impl From<&BasicUser> for v1::BasicUser {
    fn from(BasicUser { name, hash }: &BasicUser) -> Self {
        Self { name: name.clone(), hash: hash.expose().to_owned() }
    }
}

impl TryFrom<v1::BasicUser> for BasicUser {
    type Error = Fault;

    fn try_from(v1::BasicUser { name, hash }: v1::BasicUser) -> Result<Self, Fault> {
        Ok(Self { name, hash: parse("hash", &hash)? })
    }
}
