//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `${file:/path}` and `$$` in the values of a config.
//!
//! The file is parsed first, so a value can never change its structure.

use super::Surroundings;
use super::tree::Tree;
use crate::config::leaf::quoted;
use crate::diagnostic::{Code, Diagnostic, Span};
use std::borrow::Cow;
use std::path::Path;

/// Larger than any secret or certificate that one means to put into a config.
const MAX_FILE_BYTES: usize = 1 << 20;

/// What went wrong with one expansion.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    code: Code,
    message: String,
    help: String,
}

/// Expands every value in place; those that cannot be are reported and stay pruned.
pub(super) fn expand(tree: &mut Tree<'_>, surroundings: &Surroundings<'_>) -> Vec<Diagnostic> {
    let mut failures = Vec::new();
    for (id, span, scalar) in tree.scalars_mut().filter(|(_, _, scalar)| scalar.text.contains('$')) {
        match expanded(&scalar.text, surroundings) {
            Ok(text) => {
                let written = std::mem::replace(&mut scalar.text, Cow::Owned(text));
                scalar.written = Some(written.into());
            }
            Err(failure) => failures.push((id, span, failure)),
        }
    }
    let mut diagnostics = Vec::new();
    for (id, span, Failure { code, message, help }) in failures {
        let path = tree.path(id).to_string();
        let span: Option<Span> = Some(span);
        diagnostics.push(Diagnostic { path, span, ..Diagnostic::new(code, message).help(help) });
        if let Some((parent, position)) = tree.parent(id)
            && let Some(edge) = tree.edge_mut(parent, position)
        {
            edge.pruned = true;
        }
    }
    diagnostics
}

/// `$2b$…`, `$argon2id$…`: the hash of a password is full of `$`, and nobody should have to rewrite it.
fn is_hash(text: &str) -> bool {
    let algorithm = text.strip_prefix('$').and_then(|text| text.split_once('$'));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    algorithm.is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(plain))
}

/// A text with every `$` in it resolved.
pub(super) fn expanded(text: &str, surroundings: &Surroundings<'_>) -> Result<String, Failure> {
    if is_hash(text) {
        return Ok(text.to_owned());
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (inside, after) = after.split_once('}').ok_or_else(|| Failure {
                code: Code::EXPANSION,
                message: "`${` without its `}`".into(),
                help: "close it, or write `$$` for a plain `$`".into(),
            })?;
            result.push_str(&one(inside, surroundings)?);
            rest = after;
        } else {
            return Err(Failure {
                code: Code::EXPANSION,
                message: "a `$` that begins nothing".into(),
                help: "write `${NAME}` for a variable, or `$$` for a plain `$`".into(),
            });
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// The value of what stands between the braces.
fn one(inside: &str, surroundings: &Surroundings<'_>) -> Result<String, Failure> {
    if let Some(path) = inside.strip_prefix("file:") {
        return file(path, surroundings);
    }
    let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
    let (name, operator) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(not_understood(inside));
    }
    let value = (surroundings.env)(name);
    // as in a shell: with a colon, an empty value counts as none
    let filled = || value.clone().filter(|value| !value.is_empty());
    if operator.is_empty() {
        value.ok_or_else(|| Failure {
            code: Code::UNSET,
            message: format!("the environment variable `{name}` is not set"),
            help: format!(
                "set it where the control plane and `gatewayctl` run, or give a default: `${{{name}:-…}}`"
            ),
        })
    } else if let Some(default) = operator.strip_prefix(":-") {
        Ok(filled().unwrap_or_else(|| default.to_owned()))
    } else if let Some(message) = operator.strip_prefix(":?") {
        let message = if message.is_empty() { "it must be set" } else { message };
        filled().ok_or_else(|| Failure {
            code: Code::UNSET,
            message: format!("the environment variable `{name}` is not set: {message}"),
            help: "set it where the control plane and `gatewayctl` run".into(),
        })
    } else {
        Err(not_understood(inside))
    }
}

fn not_understood(inside: &str) -> Failure {
    Failure {
        code: Code::EXPANSION,
        message: format!("{} is not an expansion", quoted(&format!("${{{inside}}}"))),
        help: "write `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `${file:/path}`, or `$$` for a plain `$`".into(),
    }
}

/// A file's content without its last line break, as secrets are mounted.
fn file(path: &str, surroundings: &Surroundings<'_>) -> Result<String, Failure> {
    let unreadable = |why: &str, help: &str| Failure {
        code: Code::UNREADABLE,
        message: format!("{} cannot be read: {why}", quoted(path)),
        help: help.to_owned(),
    };
    if !path.starts_with('/') {
        return Err(unreadable("the path is not absolute", "write `${file:/path/to/file}`"));
    }
    let text = (surroundings.read_file)(Path::new(path)).map_err(|error| {
        unreadable(&error.to_string(), "the file must exist where the control plane and `gatewayctl` run")
    })?;
    if text.len() > MAX_FILE_BYTES {
        return Err(unreadable(
            "it has more than 1 MiB",
            "a value of a config is a key, a token or a certificate",
        ));
    }
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(text.to_owned())
}
