//! The items of a list that the user named.

use crate::exit::{Exit, Failure};
use crate::output::Resource;
use policy::diagnostic::nearest;
use proto::v1::Instance;

/// Those of the names, or all when there are none. A name that nothing has is a valid no.
pub fn of<R: Resource>(items: Vec<R>, names: &[String]) -> Result<Vec<R>, Failure> {
    if names.is_empty() {
        return Ok(items);
    }
    let known: Vec<String> = items.iter().map(|item| without_kind(&item.name()).to_owned()).collect();
    for name in names {
        if !known.iter().any(|known| is_meant(known, name)) {
            let first_parts = known.iter().map(|known| known.split('/').next().unwrap_or(known));
            let whole = known.iter().map(String::as_str);
            return Err(unknown(&R::KIND.to_lowercase(), name, nearest(name, first_parts.chain(whole))));
        }
    }
    let is_wanted = |known: &String| names.iter().any(|name| is_meant(known, name));
    Ok(items.into_iter().zip(&known).filter(|(_, known)| is_wanted(known)).map(|(item, _)| item).collect())
}

/// The instance of a name.
pub fn only(instances: Vec<Instance>, name: &str) -> Result<Vec<Instance>, Failure> {
    let names: Vec<String> =
        instances.iter().filter_map(|one| Some(one.hello.as_ref()?.instance.clone())).collect();
    if !names.iter().any(|known| known == name) {
        return Err(unknown("instance", name, nearest(name, names.iter().map(String::as_str))));
    }
    let is_it = |one: &Instance| one.hello.as_ref().is_some_and(|hello| hello.instance == name);
    Ok(instances.into_iter().filter(is_it).collect())
}

/// `route/a` is `a`.
fn without_kind(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, name)| name)
}

/// An item is named as a whole or by its beginning: an upstream means all its targets. The scheme may be left out.
fn is_meant(known: &str, name: &str) -> bool {
    let begins =
        |known: &str| known.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    begins(known) || begins(&known.replacen("/http://", "/", 1))
}

fn unknown(kind: &str, name: &str, near: Option<&str>) -> Failure {
    let failure = Failure::new(Exit::No, format_args!("no {kind} is named `{name}`"));
    match near {
        Some(near) => failure.help(format_args!("did you mean `{near}`?")),
        None => failure.help("the names are in the first column of the list without names"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_meant;

    #[test]
    fn a_name_means_the_whole_or_its_beginning() {
        let target = "users/http://127.0.0.1:8081";
        for name in ["users", target, "users/127.0.0.1:8081"] {
            assert!(is_meant(target, name), "{name}");
        }
        for name in ["user", "users/127.0.0.1:808", "127.0.0.1:8081", ""] {
            assert!(!is_meant(target, name), "{name}");
        }
    }
}
